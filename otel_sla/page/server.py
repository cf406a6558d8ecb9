"""The page's process: reads the ledger as it changes, and serves until its pipeline ends."""

import asyncio
import itertools
import logging
import pickle
import socket
import sys
import time
from collections.abc import Iterator
from functools import partial

import uvicorn

from otel_sla.errors import LedgerError
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.threads import LedgerThread
from otel_sla.logs import set_up_logs
from otel_sla.page.app import Page
from otel_sla.page.figures import Figures, FiguresReader
from otel_sla.page.live import LiveState
from otel_sla.page.routes import ROUTES
from otel_sla.page.settings import PageTask
from otel_sla.receiver.workers.messages import FramedSocket, FrameKind

_log = logging.getLogger(__name__)

_LIVE_S = 0.5  # How old a live state may be that is shown.
_ANSWER_S = 2.0  # For the pipeline to answer.
_REFRESH_S = 0.5  # Between two looks at the ledger.
_REFRESH_SHARE = 0.1  # Of one core, at most, for judging what has changed.


class PipelineLink:
    """The connection to the pipeline."""

    def __init__(self) -> None:
        self.connection = FramedSocket(self._take)
        self.task: asyncio.Future[PageTask] = asyncio.get_running_loop().create_future()
        self.page: Page | None = None
        self._numbers = itertools.count()
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

    def _take(self, kind: FrameKind, _number: int, payload: memoryview) -> None:
        # From our own parent, over a private socket.
        if kind is FrameKind.SETTINGS:
            self.task.set_result(pickle.loads(payload))  # noqa: S301
        elif kind is FrameKind.LIVE_STATE:
            self._state, self._state_at = pickle.loads(payload), time.monotonic()  # noqa: S301
            asked, self._asked = self._asked, None
            if asked is not None and self._state is not None:
                asked.set_result(self._state)
        elif kind is FrameKind.RELOAD and self.page is not None and self.page.auth is not None:
            self.page.auth.reload()


async def _read_for_ever(page: Page) -> None:
    """Keep the page's figures up to date."""
    thread = LedgerThread("page", lambda: LedgerReader.open(page.task.ledger_url))
    await thread.open()
    reader = await thread.call(lambda connection: FiguresReader(connection, page.task.agreements))
    is_stale = False
    while True:
        began = time.monotonic()
        try:
            changes = reader.refresh()
            while (change := await thread.call(partial(_next, changes))) is not None:
                page.figures = change
            is_stale = False
        except LedgerError as error:
            if not is_stale:
                _log.warning("the page shows what it read last: %s", error, extra={"action": "page_stale"})
            is_stale = True
        await asyncio.sleep(max(_REFRESH_S, (time.monotonic() - began) * (1 / _REFRESH_SHARE - 1)))


def _next(changes: Iterator[Figures], _reader: LedgerReader) -> Figures | None:
    return next(changes, None)


async def _serve(socket_: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    pipeline = PipelineLink()
    await loop.create_unix_connection(lambda: pipeline.connection, sock=socket_)
    task = await pipeline.task
    set_up_logs(task.logs, sys.stderr)
    page = pipeline.page = Page(task, pipeline.live_state, ROUTES)
    server = uvicorn.Server(
        uvicorn.Config(
            page.app,
            http="httptools",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level=logging.WARNING,
            server_header=False,
            limit_concurrency=task.settings.connections_max,
            timeout_keep_alive=20,
            timeout_graceful_shutdown=1,
        )
    )
    sockets = [socket.socket(fileno=descriptor) for descriptor in task.listening]
    serving = asyncio.create_task(server.serve(sockets))
    reading = asyncio.create_task(_read_for_ever(page))
    await asyncio.wait((serving, reading, pipeline.connection.lost), return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    reading.cancel()
    await asyncio.wait((serving, reading))
    await page.close()
    for ended in (serving, reading):
        if not ended.cancelled() and (error := ended.exception()) is not None:
            raise error


def main() -> None:
    """Serve with the connection's socket as the first argument."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.setblocking(False)  # noqa: FBT003 - the standard library's signature.
    asyncio.run(_serve(connection))
