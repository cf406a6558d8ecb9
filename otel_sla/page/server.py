"""The page's process: reads the ledger as it changes, and serves until its pipeline ends."""

import asyncio
import logging
import os
import pickle
import socket
import sys
import time
from collections.abc import Callable

from otel_sla.errors import LedgerError, OtelSlaError
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.threads import LedgerThread
from otel_sla.logs import set_up_logs
from otel_sla.page.app import Page
from otel_sla.page.connections import serve
from otel_sla.page.figures import FiguresReader
from otel_sla.page.live import LiveState
from otel_sla.page.messages import FramedSocket, FrameKind
from otel_sla.page.routes import ROUTES
from otel_sla.page.settings import PageTask
from otel_sla.process import connections_that_fit
from otel_sla.receiver.security.tls import ServerTls

_log = logging.getLogger(__name__)

_LIVE_S = 0.5  # How old a live state may be that is shown.
_ANSWER_S = 2.0  # For the pipeline to answer.
_REFRESH_S = 0.5  # Between two looks at the ledger.
_REFRESH_SHARE = 0.25  # Of one core, at most, for judging what has changed.


class PipelineLink:
    """The connection to the pipeline."""

    def __init__(self) -> None:
        self.connection = FramedSocket(self._take)
        self.task: asyncio.Future[PageTask] = asyncio.get_running_loop().create_future()
        self.reload: tuple[Callable[[], None], ...] = ()  # What reads certificates and tokens again.
        self._asked: asyncio.Future[LiveState] | None = None
        self._state: LiveState | None = None
        self._state_at = -_LIVE_S

    async def live_state(self) -> LiveState | None:
        """Give the live state, at most `_LIVE_S` old; None: the pipeline does not answer. All who ask share it."""
        now = time.monotonic()
        if now - self._state_at < _LIVE_S:
            return self._state
        if self._asked is None:
            self._asked = asyncio.get_running_loop().create_future()
            self.connection.send(FrameKind.ASK_STATE)
        try:
            return await asyncio.wait_for(asyncio.shield(self._asked), _ANSWER_S)
        except TimeoutError:
            return None

    def _take(self, kind: FrameKind, payload: bytes) -> None:
        # From our own parent, over a private socket.
        if kind is FrameKind.TASK:
            self.task.set_result(pickle.loads(payload))  # noqa: S301
        elif kind is FrameKind.LIVE_STATE:
            self._state, self._state_at = pickle.loads(payload), time.monotonic()  # noqa: S301
            asked, self._asked = self._asked, None
            if asked is not None and self._state is not None:
                asked.set_result(self._state)
        elif kind is FrameKind.RELOAD:
            for reload in self.reload:
                reload()


async def _read_for_ever(page: Page) -> None:
    """Keep the page's figures up to date."""
    thread = LedgerThread("page", lambda: LedgerReader.open(page.task.ledger_url))
    await thread.open()
    reader = await thread.call(lambda connection: FiguresReader(connection, page.task.agreements))
    is_stale = False
    while True:
        began, has_moved = time.monotonic(), False
        try:
            has_moved = await thread.call(lambda _: reader.step())
            page.figures, is_stale = reader.figures, False
        except LedgerError as error:
            if not is_stale:
                _log.warning("the page shows what it read last: %s", error, extra={"action": "page_stale"})
            is_stale = True
        pause_s = (time.monotonic() - began) * (1 / _REFRESH_SHARE - 1)
        if not has_moved or reader.figures.is_complete:
            await asyncio.sleep(max(_REFRESH_S, pause_s))


async def _serve(socket_: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    pipeline = PipelineLink()
    await loop.create_unix_connection(lambda: pipeline.connection, sock=socket_)
    await asyncio.wait((pipeline.task, pipeline.connection.lost), return_when=asyncio.FIRST_COMPLETED)
    if not pipeline.task.done():
        return
    task = pipeline.task.result()
    settings = task.settings
    set_up_logs(task.logs, sys.stderr)
    page = Page(task, pipeline.live_state, ROUTES)
    tls = None if settings.tls is None else ServerTls(settings.tls, settings.source)
    pipeline.reload = tuple(guard.reload for guard in (page.auth, tls) if guard is not None)
    listening = [socket.socket(fileno=descriptor) for descriptor in task.listening]
    connections_max = connections_that_fit(settings.connections_max)
    context = None if tls is None else tls.ssl_context()
    serving = asyncio.create_task(serve(page.app, listening, connections_max, context))
    reading = asyncio.create_task(_read_for_ever(page))
    await asyncio.wait((serving, reading, pipeline.connection.lost), return_when=asyncio.FIRST_COMPLETED)
    for each in (serving, reading):
        each.cancel()
    await asyncio.wait((serving, reading))
    for ended in (serving, reading):
        if not ended.cancelled() and (error := ended.exception()) is not None:
            raise error


def main() -> None:
    """Serve with the connection's socket as the first argument."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.setblocking(False)  # noqa: FBT003 - the standard library's signature.
    try:
        asyncio.run(_serve(connection))
    except OtelSlaError as error:
        _log.error("%s", error, extra={"action": "page_failed"})
        os._exit(1)
    os._exit(0)  # Not held up by a thread that reads.
