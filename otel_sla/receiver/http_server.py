"""Serves OTLP over HTTP/1.1 at one endpoint."""

import asyncio
import socket
from collections.abc import Sequence
from email.utils import formatdate

from otel_sla.receiver.accounting import Accountant
from otel_sla.receiver.endpoint import (
    Address,
    addresses_of,
    close_sockets,
    listen_shared,
    open_sockets,
    warn_if_open,
)
from otel_sla.receiver.http_app import HttpApp, Probes
from otel_sla.receiver.http_connection import Connection, State
from otel_sla.receiver.http_door import TlsDoor
from otel_sla.receiver.in_flight import InFlight
from otel_sla.receiver.refusals import Refusals
from otel_sla.receiver.settings import HTTP_SOURCE, HttpServerSettings
from otel_sla.receiver.tls import ServerTls

_CANCEL_S = 1.0  # For the answers of those that the end of the grace cut off.


class HttpServer:
    """Serves one endpoint.

    Args:
        settings: What the configuration says.
        accountant: Counts the requests.
        in_flight: The limit on bytes, shared with the gRPC server.
        probes: Readiness and self-metrics.
        refusals: Told of requests that are refused for good, and of connections over the limit.

    Raises:
        ConfigError: The tokens or the certificates cannot be read.
    """

    def __init__(
        self,
        settings: HttpServerSettings,
        accountant: Accountant,
        in_flight: InFlight,
        probes: Probes,
        refusals: Refusals,
    ) -> None:
        self.app = HttpApp(settings, accountant, in_flight, probes, refusals)
        self._settings = settings
        self._tls = None if settings.tls is None else ServerTls(settings.tls, HTTP_SOURCE)
        self._state = State(refusals)
        self._servers: list[asyncio.Server] = []
        self._doors: list[TlsDoor] = []  # Instead of them, with TLS.
        self._date_timer: asyncio.TimerHandle | None = None

    async def start(self, shared: Sequence[Address] = ()) -> int:
        """Listen and serve.

        Args:
            shared: Addresses that other processes of ours listen at too, instead of the endpoint.

        Returns:
            The port.

        Raises:
            ListenError: The endpoint cannot be bound.
        """
        if shared:
            sockets = listen_shared(shared)
        else:
            sockets = await open_sockets(self._settings.endpoint, "HTTP")
            is_guarded = bool(self._settings.tls or self._settings.auth)
            warn_if_open(addresses_of(sockets), HTTP_SOURCE, is_guarded=is_guarded)
        addresses = addresses_of(sockets)
        try:
            while sockets:
                await self._serve(sockets[0])
                sockets.pop(0)
        finally:
            close_sockets(sockets)
        self._refresh_date()
        return addresses[0].port

    def reload(self) -> None:
        """Read certificates and tokens again now."""
        for guard in (self._tls, self.app.auth):
            if guard is not None:
                guard.reload()

    async def stop(self, grace_s: float) -> None:
        """Take nothing new; give what is under way `grace_s` to finish."""
        for server in self._servers:
            server.close()
        doors, self._servers, self._doors = self._doors, [], []
        for door in doors:
            await door.close()
        for connection in (*self._state.connections, *self._state.refused):
            connection.shutdown()
        for wait_s in (grace_s, _CANCEL_S):
            if self._state.tasks:
                _, late = await asyncio.wait(self._state.tasks, timeout=wait_s)
                for task in late:
                    task.cancel()
        for connection in (*self._state.connections, *self._state.refused):
            connection.abort()
        await self._state.is_empty.wait()
        if self._date_timer is not None:
            self._date_timer.cancel()
            self._date_timer = None

    def _new_connection(self) -> Connection:
        return Connection(self.app, self._settings, self._state)

    async def _serve(self, listening: socket.socket) -> None:
        if self._tls is not None:
            door = TlsDoor(listening, self._new_connection, self._state, self._settings, self._tls.ssl_context())
            self._doors.append(door)
            return
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_server(self._new_connection, sock=listening))

    def _refresh_date(self) -> None:
        self._state.date_header = f"date: {formatdate(usegmt=True)}\r\n".encode()
        self._date_timer = asyncio.get_running_loop().call_later(1.0, self._refresh_date)
