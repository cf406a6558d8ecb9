"""Serves OTLP over HTTP/1.1 at one endpoint."""

import asyncio
import socket
import ssl
from email.utils import formatdate

from otel_sla.receiver.http.app import HttpApp
from otel_sla.receiver.http.connection import Connection, ConnectionSet, RefusedLimits
from otel_sla.receiver.refusals import REFUSED_CONNECTION
from otel_sla.receiver.security.tls import ServerTls
from otel_sla.receiver.sockets import accept_all, addresses_of, close_sockets, open_sockets, warn_if_open

_CANCEL_S = 1.0  # For the answers to requests that the end of the grace cut off.
_REFUSED_LIMITS = RefusedLimits()


class TlsListener:
    """One listening socket, owned from now on. It counts handshakes as connections, which asyncio's server cannot."""

    def __init__(self, listening: socket.socket, connections: ConnectionSet, context: ssl.SSLContext) -> None:
        self._connections = connections
        self._context = context
        self._handshakes: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.create_task(accept_all(listening, self._begin_handshake))

    async def close(self) -> None:
        """Accept no more, and end the handshakes."""
        self._accepting.cancel()
        await asyncio.wait((self._accepting,))  # After that each handshake has begun, and closes what it has.
        for handshake in self._handshakes:
            handshake.cancel()
        if self._handshakes:
            await asyncio.wait(self._handshakes)

    def _begin_handshake(self, accepted: socket.socket) -> None:
        """A connection over the limit is closed: without a handshake it cannot be answered."""
        if self._connections.is_full:
            accepted.close()
            self._connections.app.refusals.add(REFUSED_CONNECTION)
            return
        handshake = asyncio.create_task(self._shake_hands(accepted))
        self._handshakes.add(handshake)
        handshake.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, accepted: socket.socket) -> None:
        connections, settings = self._connections, self._connections.app.settings
        connection = Connection(connections)
        connections.handshakes.add(connection)
        connections.is_empty.clear()
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=settings.header_timeout_s,
                ssl_shutdown_timeout=settings.body_timeout_s,  # Of a sender that does not read.
            )
        except OSError:
            pass  # Of the handshake or the network; it is closed.
        finally:
            connections.end_handshake(connection)


class HttpServer:
    """Serves one endpoint.

    Args:
        app: Answers the requests; its settings are the server's.
        limits: On refused connections.

    Raises:
        ConfigError: The certificates cannot be read.
    """

    def __init__(self, app: HttpApp, limits: RefusedLimits = _REFUSED_LIMITS) -> None:
        self.app = app
        self._settings = settings = app.settings
        self._tls = None if settings.tls is None else ServerTls(settings.tls, settings.source)
        self.connections = ConnectionSet(app, limits)
        self._servers: list[asyncio.Server] = []
        self._listeners: list[TlsListener] = []  # Instead of them, with TLS.
        self._date_timer: asyncio.TimerHandle | None = None

    async def start(self) -> int:
        """Listen and serve; returns the port.

        Raises:
            ListenError: The endpoint cannot be bound.
        """
        sockets = await open_sockets(self._settings.endpoint, "HTTP")
        addresses = addresses_of(sockets)
        warn_if_open(addresses, self._settings)
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
        listeners, self._servers, self._listeners = self._listeners, [], []
        for listener in listeners:
            await listener.close()
        connections = self.connections
        for connection in (*connections.open, *connections.refused):
            connection.shutdown()
        for wait_s in (grace_s, _CANCEL_S):
            if connections.tasks:
                _, late = await asyncio.wait(connections.tasks, timeout=wait_s)
                for task in late:
                    task.cancel()
        for connection in (*connections.open, *connections.refused):
            connection.abort()
        await connections.is_empty.wait()
        if self._date_timer is not None:
            self._date_timer.cancel()
            self._date_timer = None

    async def _serve(self, listening: socket.socket) -> None:
        if self._tls is not None:
            self._listeners.append(TlsListener(listening, self.connections, self._tls.ssl_context()))
            return
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_server(lambda: Connection(self.connections), sock=listening))

    def _refresh_date(self) -> None:
        self.connections.date_header = f"date: {formatdate(usegmt=True)}\r\n".encode()
        self._date_timer = asyncio.get_running_loop().call_later(1.0, self._refresh_date)
