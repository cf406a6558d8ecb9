"""The page's process, as the pipeline sees it: started, restarted when it ends, answered when it asks."""

import asyncio
import logging
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable

import numpy as np

from otel_sla.counting.minute_ring import MinuteRing
from otel_sla.errors import ListenError
from otel_sla.page.live import LIVE_MINUTES, LiveMinutes, LiveState
from otel_sla.page.messages import FramedSocket, FrameKind
from otel_sla.page.settings import PageSettings, PageTask
from otel_sla.receiver.security.bearer import BearerAuth
from otel_sla.receiver.security.tls import ServerTls
from otel_sla.receiver.sockets import Address, addresses_of, beyond_loopback, close_sockets, open_sockets
from otel_sla.sla.counts import N_OUTCOMES

_log = logging.getLogger(__name__)

_END_S = 3.0  # For the process to end by itself.
_RESTART_DELAY_S_MAX = 60.0


def read_live_minutes(ring: MinuteRing, newest_minute: int) -> LiveMinutes:
    """Read the ring's newest minutes up to `newest_minute`, what is not yet committed too."""
    series_ids, minutes, outcomes = (
        [np.zeros(0, np.int64)],
        [np.zeros(0, np.int64)],
        [np.zeros((0, N_OUTCOMES), np.int64)],
    )
    for minute in range(newest_minute - LIVE_MINUTES + 1, newest_minute + 1):
        totals = ring.totals(minute)
        if totals is not None:
            series_ids.append(np.flatnonzero(totals.any(axis=1)))
            minutes.append(np.full(len(series_ids[-1]), minute, dtype=np.int64))
            outcomes.append(totals[series_ids[-1]])
    return LiveMinutes(newest_minute, np.concatenate(series_ids), np.concatenate(minutes), np.concatenate(outcomes))


class PageProcess:
    """The page of a pipeline. Whatever happens to it, the pipeline goes on.

    Args:
        settings: What the configuration says.
        make_task: Gives what the process serves, for the descriptors of the listening sockets.
        answer: Gives the live state; called when somebody looks at the page, at most twice a second.
    """

    def __init__(
        self,
        settings: PageSettings,
        make_task: Callable[[tuple[int, ...]], PageTask],
        answer: Callable[[], LiveState],
    ) -> None:
        self._settings, self._make_task, self._answer = settings, make_task, answer
        self._listening: list[socket.socket] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: FramedSocket | None = None
        self._keeping: asyncio.Task[None] | None = None
        self.addresses: list[Address] = []

    @property
    def url(self) -> str | None:
        """Where people on this machine reach it; None: it is not served."""
        if not self.addresses:
            return None
        scheme = "https" if self._settings.tls else "http"
        return f"{scheme}://{self._settings.endpoint.rpartition(':')[0]}:{self.addresses[0].port}/"

    async def start(self) -> None:
        """Listen, and start the process. A port that cannot be had is logged: spans are counted without a page.

        Raises:
            ConfigError: Certificates or tokens cannot be read, which the process would find too late.
        """
        settings = self._settings
        if settings.tls is not None:
            ServerTls(settings.tls, settings.source)
        if settings.auth is not None:
            BearerAuth(settings.auth, settings.source)
        try:
            self._listening = await open_sockets(self._settings.endpoint, "page")
        except ListenError as error:
            _log.error(
                "there is no status page: %s; set page.endpoint to another port, or page: null",
                error,
                extra={"action": "page_off"},
            )
            return
        self.addresses = addresses_of(self._listening)
        if beyond := beyond_loopback(self.addresses):
            _warn_if_open(settings, beyond)
        self._keeping = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """End the process."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.wait((keeping,))
        await self._end()
        close_sockets(self._listening)
        self._listening, self.addresses = [], []

    def reload(self) -> None:
        """Have certificates and tokens read again."""
        if self._connection is not None:
            self._connection.send(FrameKind.RELOAD)

    async def _keep(self) -> None:
        delay_s = 1.0
        while True:
            began = asyncio.get_running_loop().time()
            try:
                connection = await self._start_process()
                await asyncio.shield(connection.lost)
                reason = f"exit code {await self._end()}"
            except Exception as error:  # noqa: BLE001 - whatever it is, there is to be a page.
                reason = f"{type(error).__name__}: {error}"
                await self._end()
            if asyncio.get_running_loop().time() - began > _RESTART_DELAY_S_MAX:
                delay_s = 1.0
            _log.warning(
                "the status page ended by itself (%s) and is restarted in %.0f s",
                reason,
                delay_s,
                extra={"action": "page_ended"},
            )
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _RESTART_DELAY_S_MAX)

    async def _start_process(self) -> FramedSocket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            ours.setblocking(False)  # noqa: FBT003 - the standard library's signature.
            descriptors = tuple(each.fileno() for each in self._listening)
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603 - ourselves; takes 2 ms.
                [sys.executable, "-m", "otel_sla.page", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *descriptors),
            )
        connection = self._connection = FramedSocket(self._take)
        await asyncio.get_running_loop().create_unix_connection(lambda: connection, sock=ours)
        connection.send(FrameKind.TASK, pickle.dumps(self._make_task(descriptors)))
        return connection

    def _take(self, kind: FrameKind, _payload: bytes) -> None:
        assert kind is FrameKind.ASK_STATE, "the page asks nothing else"
        assert self._connection is not None, "it came from there"
        self._connection.send(FrameKind.LIVE_STATE, pickle.dumps(self._answer()))

    async def _end(self) -> int | None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if (process := self._process) is None:
            return None
        try:
            exit_code = await asyncio.to_thread(process.wait, _END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            exit_code = await asyncio.to_thread(process.wait)
        self._process = None  # Only now: whoever cancels this ends it again.
        return exit_code


def _warn_if_open(settings: PageSettings, beyond: str) -> None:
    """Log once what other machines can read."""
    if settings.auth is None and (settings.tls is None or settings.tls.client_ca_file is None):
        danger = "anybody who reaches %s sees every agreement; set page.auth, or listen on localhost"
    elif settings.tls is None:
        danger = "tokens go to %s in plain text; set page.tls, or listen on localhost behind a proxy that has TLS"
    else:
        return
    _log.warning(f"page: {danger}", beyond, extra={"action": "endpoint_open"})
