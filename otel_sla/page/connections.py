"""The page's connections: how many there may be, and how long each may take.

uvicorn speaks HTTP; a client that says nothing, or reads nothing, it would keep for ever, and as many as come.
"""

import asyncio
import logging
import socket
import ssl
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from otel_sla.receiver.sockets import accept_all

_HEADERS_SIZE_MAX = 16 * 1024  # Bytes, of a request's line and headers.
_IDLE_S = 5  # Without a request, after an answer.
_EXCHANGE_S = 30.0  # From one answer to the end of the next: silence, the request, and until the client has read it.
_HANDSHAKE_S = 10.0
_NO_LINGER = struct.pack("ii", 1, 0)
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\ncontent-length: 25\r\nretry-after: 5\r\n"
    b"connection: close\r\n\r\n503: too many connections"
)


class PageConnection(H11Protocol):
    """One connection.

    Args:
        server: What it belongs to.
        others: All that are open; it is among them until it is lost.
    """

    def __init__(self, server: uvicorn.Server, others: set["PageConnection"]) -> None:
        super().__init__(server.config, server.server_state, {})
        self._others = others
        self._others.add(self)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Asyncio's: begin."""
        super().connection_made(transport)
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Asyncio's: it has ended."""
        super().connection_lost(exc)
        self._others.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()

    def data_received(self, data: bytes) -> None:
        """Asyncio's: parse what has arrived, in pieces: h11 bounds only headers that do not end with them."""
        for start in range(0, len(data), _HEADERS_SIZE_MAX // 2):
            if not self.transport.is_closing():
                super().data_received(data[start : start + _HEADERS_SIZE_MAX // 2])

    def on_response_complete(self) -> None:
        """uvicorn's: the answer is given."""
        self._set_deadline()
        super().on_response_complete()

    def _set_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(_EXCHANGE_S, self._reset)

    def _reset(self) -> None:
        # Else the kernel keeps what the client did not read, for minutes.
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.transport.abort()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals end the pipeline, and that ends this process."""
        yield


async def serve(
    app: ASGIApp, listening: Sequence[socket.socket], connections_max: int, tls: ssl.SSLContext | None
) -> None:
    """Serve until this is cancelled; what is under way has a second then.

    Args:
        app: What is served.
        listening: Closed in the end.
        connections_max: More are answered 503, with TLS closed before their handshake.
        tls: None: plain text.
    """
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level=logging.ERROR,  # A line for whatever a client does wrong would fill the log.
        server_header=False,
        h11_max_incomplete_event_size=_HEADERS_SIZE_MAX,
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=1,
    )
    config.load()
    server = _Server(config)
    connections = _Connections(server, connections_max, tls)
    working = [
        asyncio.create_task(each)
        for each in (server.serve([]), *(accept_all(each, connections.take) for each in listening))
    ]
    try:
        await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
    finally:
        server.should_exit = True
        for each in working[1:]:
            each.cancel()
        await asyncio.wait(working)
        connections.abort()


class _Connections:
    """All that are open."""

    def __init__(self, server: uvicorn.Server, connections_max: int, tls: ssl.SSLContext | None) -> None:
        self._server, self._connections_max, self._tls = server, connections_max, tls
        self._open: set[PageConnection] = set()
        self._beginning: set[asyncio.Task[None]] = set()

    def take(self, accepted: socket.socket) -> None:
        """Begin a connection, or refuse it."""
        if len(self._open) >= self._connections_max:
            with accepted, suppress(OSError):
                if self._tls is None:
                    accepted.send(_FULL)
            return
        beginning = asyncio.create_task(self._begin(accepted, PageConnection(self._server, self._open)))
        self._beginning.add(beginning)
        beginning.add_done_callback(self._beginning.discard)

    def abort(self) -> None:
        """End them all."""
        for beginning in self._beginning:
            beginning.cancel()
        for connection in self._open:
            if connection.transport is not None:
                connection.transport.abort()

    async def _begin(self, accepted: socket.socket, connection: PageConnection) -> None:
        handshake_s = None if self._tls is None else _HANDSHAKE_S
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection, accepted, ssl=self._tls, ssl_handshake_timeout=handshake_s
            )
        except OSError:  # Of the handshake or the network; it is closed.
            self._open.discard(connection)
