"""One connection of the HTTP server: requests are read, answered and written one after another.

What a sender sends behind a request waits in its own system's buffers, but for 128 KiB: no request is parsed, and
nothing more is read, before the one in front of it is answered.
"""

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import NamedTuple, cast

from otel_sla.errors import OtelSlaError, Overloaded
from otel_sla.receiver.http.app import HttpApp, HttpResponse
from otel_sla.receiver.http.body import Body, ChunkedBody, SenderGone, take
from otel_sla.receiver.http.request import HeadParser, Request
from otel_sla.receiver.refusals import REFUSED_CONNECTION
from otel_sla.receiver.responses import MalformedRequest

_READ_SIZE_BYTES = 64 * 1024  # At once. A connection that has so much unparsed is not read.
_READ_SIZE_BYTES_MAX = 256 * 1024  # Within a body that has so much left.
# Of a refused body, read and dropped: many clients read no answer before they have sent all of it.
_UNWANTED_SIZE_BYTES_MAX = 1024 * 1024
# Pause before a pipelined request. No sender of OTLP pipelines, and at full speed one that reads no answers leaves
# others 0.6 of their rate: `make hostile ARGS="--floods --only pipelined"`.
_QUEUED_S = 0.001
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class RefusedLimits(NamedTuple):
    """Limits on connections that are over the limit, or whose last answer is a refusal."""

    linger_s: float = 1.0  # For the sender to read why; closed at once, what it sends would make its side drop that.
    refused_max: int = 256  # At a time; others are closed without an answer, or no limit would hold them.


class ConnectionSet:
    """The connections of one server, and what they share.

    Args:
        app: Answers the requests; its settings hold.
        limits: On refused connections.
    """

    def __init__(self, app: HttpApp, limits: RefusedLimits) -> None:
        self.app = app
        self.limits = limits
        self.open: set[Connection] = set()
        self.handshakes: set[Connection] = set()  # Accepted, and in their TLS handshake.
        self.refused: set[Connection] = set()  # Those over the limit, until they have their answer.
        self.tasks: set[asyncio.Task[None]] = set()  # That serve them.
        self.is_empty = asyncio.Event()  # No connection is left.
        self.is_empty.set()
        self.date_header = b""
        # Connections copy what they read at once, so one buffer does for all.
        self.read_buffer = memoryview(bytearray(_READ_SIZE_BYTES_MAX))

    @property
    def is_full(self) -> bool:
        """Whether one more is over the limit."""
        return len(self.open) + len(self.handshakes) >= self.app.settings.connections_max

    def admit(self, connection: "Connection") -> bool:
        """Add a connection that was made; False: even a refusal would be one too many."""
        self.handshakes.discard(connection)
        self.is_empty.clear()
        if not self.is_full:
            self.open.add(connection)
            return True
        self.app.refusals.add(REFUSED_CONNECTION)
        if len(self.refused) >= self.limits.refused_max:
            return False
        self.refused.add(connection)
        return True

    def discard(self, connection: "Connection") -> None:
        """Remove a connection that has ended."""
        self.open.discard(connection)
        self.refused.discard(connection)
        self.end_handshake(connection)

    def end_handshake(self, connection: "Connection") -> None:
        """Forget the handshake of a connection: it was made, or is gone."""
        self.handshakes.discard(connection)
        if not (self.open or self.handshakes or self.refused):
            self.is_empty.set()


class Connection(asyncio.BufferedProtocol):
    """One connection, of this set."""

    def __init__(self, connections: ConnectionSet) -> None:
        self._all = connections
        self._settings = connections.app.settings
        self._loop = asyncio.get_running_loop()
        self._transport = cast("asyncio.Transport", None)  # Until the connection is made.
        self._owner: object = None
        self._waiter: asyncio.Future[None] | None = None  # Of the task that serves, for whatever happens next.
        self._is_between = True  # No request is under way.
        self._is_first = True
        self._is_stopping = False
        self._is_ended = False  # The sender sends nothing more.
        self._is_lost = False
        self._is_reading_paused = False
        self._is_writing_paused = False
        self._abort: asyncio.TimerHandle | None = None
        self._wanted_bytes = 0  # Of the body that is waited for.
        self.data = bytearray()  # Arrived, and not taken yet.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve, if there are not too many."""
        self._transport = cast("asyncio.Transport", transport)
        self._owner = transport.get_extra_info("peername")
        if not self._all.admit(self):
            self._transport.abort()
            return
        serving = self._loop.create_task(self._serve())
        self._all.tasks.add(serving)
        serving.add_done_callback(self._all.tasks.discard)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's.
        """End what waits."""
        self._is_lost = self._is_ended = True
        if self._abort is not None:
            self._abort.cancel()
        self._all.discard(self)
        self._wake()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's.
        """Where to read to."""
        return self._all.read_buffer[: max(_READ_SIZE_BYTES, self._wanted_bytes)]

    def buffer_updated(self, nbytes: int) -> None:
        """Keep what was read; with enough of it, read no more."""
        self.data += self._all.read_buffer[:nbytes]
        if len(self.data) >= _READ_SIZE_BYTES:
            self._is_reading_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """Keep the connection for the answers that are still to come, where it can end in one direction: not by TLS."""
        self._is_ended = True
        self._wake()
        return self._transport.can_write_eof()

    def pause_writing(self) -> None:
        """Called where the sender does not read its answers."""
        self._is_writing_paused = True

    def resume_writing(self) -> None:
        """Called when it has read most of them."""
        self._is_writing_paused = False
        self._wake()

    def shutdown(self) -> None:
        """End now if no request is under way, else after its answer."""
        self._is_stopping = True
        if self._is_between:
            self._transport.close()

    def abort(self) -> None:
        """End now, whatever is under way."""
        self._transport.abort()

    async def more(self, wanted_bytes: int = 0) -> None:
        """Wait until more has arrived.

        Args:
            wanted_bytes: How much will be taken, if that is known.

        Raises:
            SenderGone: Nothing more will.
        """
        size_bytes = len(self.data)
        while len(self.data) == size_bytes:
            if self._is_ended or self._transport.is_closing():
                raise SenderGone
            if self._is_reading_paused:
                self._is_reading_paused = False
                self._transport.resume_reading()
            self._wanted_bytes = wanted_bytes
            await self._wait()
            self._wanted_bytes = 0

    def send_continue(self) -> None:
        """Ask for the body that the sender keeps back."""
        if not self._transport.is_closing():
            self._transport.write(_CONTINUE)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def _serve(self) -> None:
        try:
            while await self._serve_one():
                if self.data:
                    await asyncio.sleep(_QUEUED_S)
        except (SenderGone, TimeoutError):
            pass  # The sender has gone, or does not send or read.
        finally:
            if self._is_writing_paused:
                self._transport.abort()
            else:
                self._transport.close()
                # It closes when all is written, which a sender that does not read prevents.
                self._abort = self._loop.call_later(self._settings.body_timeout_s, self._transport.abort)

    async def _serve_one(self) -> bool:
        """Read a request and answer it; whether another may follow."""
        app, request = self._all.app, Request(self._owner, Body(self))
        try:
            await self._read_head(request)
        except OtelSlaError as error:
            answer = app.refuse(request, error)
        else:
            if self in self._all.refused:
                answer = app.refuse(request, Overloaded("connections_max is reached"))
                answer.is_last = True
            else:
                answer = await app.answer(request)
        body = request.body
        is_last = answer.is_last or request.is_last or self._is_stopping or (body.has_more and body.is_kept_back)
        self._write(request, answer, is_last=is_last)
        if self._is_writing_paused:
            await self._drain()
        if body.has_more and not is_last:
            is_last = not await self._drop(request)
        if is_last and (answer.is_last or body.has_more or self.data or request.method == "CONNECT"):
            await self._linger()
        return not is_last

    async def _read_head(self, request: Request) -> None:
        settings, parser = self._settings, HeadParser(request)
        self._is_between = True
        if not self._is_first and not self.data:
            async with asyncio.timeout(settings.keep_alive_timeout_s):
                await self.more()
        if not self.data or not parser.feed(self.data):
            async with asyncio.timeout(
                self._all.limits.linger_s if self in self._all.refused else settings.header_timeout_s
            ):
                await self.more()
                while not parser.feed(self.data):
                    await self.more()
        self._is_between = self._is_first = False
        headers = request.headers
        is_kept_back = "expect" in headers
        if request.method == "CONNECT":
            return  # Has no body (RFC 9110, 9.3.6).
        if "transfer-encoding" in headers:
            request.body = ChunkedBody(self, is_kept_back=is_kept_back)
        else:
            request.body = Body(self, int(headers.get("content-length", 0)), is_kept_back=is_kept_back)

    def _write(self, request: Request, answer: HttpResponse, *, is_last: bool) -> None:
        if self._transport.is_closing():
            raise SenderGone
        headers = answer.all_headers()
        if is_last:
            headers.append((b"connection", b"close"))
        head = b"".join([b"%b: %b\r\n" % header for header in headers])
        body = b"" if request.method == "HEAD" else answer.body
        self._transport.write(b"%b%b%b\r\n%b" % (_STATUS_LINES[answer.http_status], self._all.date_header, head, body))

    async def _drain(self) -> None:
        async with asyncio.timeout(self._settings.body_timeout_s):
            while self._is_writing_paused and not self._is_lost:
                await self._wait()

    async def _drop(self, request: Request) -> bool:
        """Take what follows of a body that was not read; whether it came to its end."""
        dropped_bytes = 0
        with suppress(MalformedRequest):
            async with asyncio.timeout(self._settings.body_timeout_s):
                while request.body.has_more and (request.is_welcome or dropped_bytes <= _UNWANTED_SIZE_BYTES_MAX):
                    dropped_bytes += len(await request.body.receive())
        return not request.body.has_more

    async def _linger(self) -> None:
        """Close when the sender has had time to read its answer; of what it sends meanwhile a little is taken."""
        if self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        dropped_bytes = len(take(self.data, len(self.data)))
        async with asyncio.timeout(self._all.limits.linger_s):
            while dropped_bytes <= _UNWANTED_SIZE_BYTES_MAX:
                await self.more()
                dropped_bytes += len(take(self.data, len(self.data)))
            self._transport.pause_reading()
            while not self._is_lost:
                await self._wait()
