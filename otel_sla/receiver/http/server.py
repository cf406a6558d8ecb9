"""Serves OTLP over HTTP/1.1 at one endpoint."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from email.utils import formatdate

from otel_sla.counting.receipt import TracesConsumer
from otel_sla.receiver.http.app import HttpApp, Probes
from otel_sla.receiver.http.connection import Connection, State
from otel_sla.receiver.limits.memory import InFlight
from otel_sla.receiver.refusals import REFUSED_CONNECTION, Refusals
from otel_sla.receiver.security.tls import ServerTls
from otel_sla.receiver.settings import HTTP_SOURCE, HttpServerSettings
from otel_sla.receiver.sockets import (
    Address,
    addresses_of,
    close_sockets,
    listen_shared,
    open_sockets,
    warn_if_open,
)

_log = logging.getLogger(__name__)

_AGAIN_S = 1.0  # Where the system has no room for a connection; asyncio's own server waits as long.


class TlsListener:
    """One listening socket.

    Args:
        listening: Owned from now on.
        new_connection: Makes what serves a connection.
        state: What they share.
        settings: The limits on time and number.
        context: The certificates.
    """

    def __init__(
        self,
        listening: socket.socket,
        new_connection: Callable[[], Connection],
        state: State,
        settings: HttpServerSettings,
        context: ssl.SSLContext,
    ) -> None:
        self._new_connection = new_connection
        self._state = state
        self._settings = settings
        self._context = context
        self._handshakes: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.create_task(self._accept_all(listening))

    async def close(self) -> None:
        """Let nobody in any more, those neither who are in their handshake."""
        self._accepting.cancel()
        await asyncio.wait((self._accepting,))  # After that each handshake has begun, and closes what it has.
        for handshake in self._handshakes:
            handshake.cancel()
        if self._handshakes:
            await asyncio.wait(self._handshakes)

    async def _accept_all(self, listening: socket.socket) -> None:
        loop, is_failing = asyncio.get_running_loop(), False
        with listening:
            while True:
                try:
                    accepted, _ = await loop.sock_accept(listening)
                except ConnectionAbortedError:  # By who connected.
                    continue
                except OSError as error:
                    if not is_failing:
                        _log.warning("connections cannot be accepted: %s", error, extra={"action": "accept_failed"})
                    is_failing = True
                    await asyncio.sleep(_AGAIN_S)
                    continue
                is_failing = False
                self._let_in(accepted)
                await asyncio.sleep(0)  # Many who connect at once must not hold up those who send.

    def _let_in(self, accepted: socket.socket) -> None:
        """Begin a handshake. What is over the limit is closed: without a handshake nothing can be answered."""
        if self._state.open_count >= self._settings.connections_max:
            accepted.close()
            self._state.refusals.add(REFUSED_CONNECTION)
            return
        handshake = asyncio.create_task(self._shake_hands(accepted))
        self._handshakes.add(handshake)
        handshake.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, accepted: socket.socket) -> None:
        settings = self._settings
        connection = self._new_connection()
        self._state.begin_handshake(connection)
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
            self._state.end_handshake(connection)


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
        accountant: TracesConsumer,
        in_flight: InFlight,
        probes: Probes,
        refusals: Refusals,
    ) -> None:
        self.app = HttpApp(settings, accountant, in_flight, probes, refusals)
        self._settings = settings
        self._tls = None if settings.tls is None else ServerTls(settings.tls, HTTP_SOURCE)
        self._state = State(refusals)
        self._servers: list[asyncio.Server] = []
        self._doors: list[TlsListener] = []  # Instead of them, with TLS.
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
            door = TlsListener(listening, self._new_connection, self._state, self._settings, self._tls.ssl_context())
            self._doors.append(door)
            return
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_server(self._new_connection, sock=listening))

    def _refresh_date(self) -> None:
        self._state.date_header = f"date: {formatdate(usegmt=True)}\r\n".encode()
        self._date_timer = asyncio.get_running_loop().call_later(1.0, self._refresh_date)
