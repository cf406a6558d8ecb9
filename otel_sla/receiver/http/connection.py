"""One connection of the HTTP server: requests are read, answered and written one after another.

What a sender sends behind a request waits, in its own system's buffers but for 128 KiB: no request is parsed, and
nothing more is read, before the one in front of it is answered.
"""

import asyncio
import re
from contextlib import suppress
from http import HTTPStatus
from typing import cast

from otel_sla.errors import OtelSlaError, Overloaded
from otel_sla.receiver.http.app import HttpApp, HttpResponse
from otel_sla.receiver.http.body import SenderGone
from otel_sla.receiver.http.request import HeadParser, Request
from otel_sla.receiver.refusals import REFUSED_CONNECTION, Refusals
from otel_sla.receiver.settings import HttpServerSettings
from otel_sla.receiver.status import MalformedRequest

_READ_SIZE_BYTES = 64 * 1024  # At once. A connection that has so much unparsed is not read.
_READ_SIZE_BYTES_MAX = 256 * 1024  # Within a body that has so much left.
# Of a body that nobody wants, taken and dropped: many clients read no answer before they have sent all of it.
_UNWANTED_SIZE_BYTES_MAX = 1024 * 1024
# Between requests of which one was sent before its answer. No sender of OTLP does so, and at full speed one that reads
# no answers leaves others 0.6 of their rate: `make hostile ARGS="--floods --only pipelined"`.
_QUEUED_S = 0.001
_LINGER_S = 1.0  # For a refused sender to read why; closed at once, what it sends would make its side drop the answer.
_REFUSED_MAX = 256  # At a time; others are closed unheard, or they would be in no limit.
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
# RFC 9112, 7.1: a line with the size of a chunk, or a trailer's, or the empty one at the end.
_CHUNK = rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t -~\x80-\xff]*)?\r\n"
_FIRST_CHUNK, _NEXT_CHUNK = re.compile(_CHUNK), re.compile(rb"\r\n" + _CHUNK)
_TRAILER = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*)?\r\n")
_LINE_SIZE_BYTES = 16  # Of a chunk; what is more, and more than twice the content, is excess.
_EXCESS_SIZE_BYTES_MAX = 16 * 1024
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class State:
    """What the connections of one server share; `refusals` is told of those over the limit."""

    def __init__(self, refusals: Refusals) -> None:
        self.refusals = refusals
        self.connections: set[Connection] = set()
        self.handshakes: set[Connection] = set()  # Those that have not been made yet, but accepted.
        self.refused: set[Connection] = set()  # Those over the limit, for the moment that they last.
        self.tasks: set[asyncio.Task[None]] = set()  # That serve them.
        self.is_empty = asyncio.Event()  # No connection is left.
        self.is_empty.set()
        self.date_header = b""
        # What the system gives is copied from here at once, so one buffer does for all.
        self.read_buffer = memoryview(bytearray(_READ_SIZE_BYTES_MAX))

    @property
    def open_count(self) -> int:
        """How many connections count for the limit."""
        return len(self.connections) + len(self.handshakes)

    def begin_handshake(self, connection: "Connection") -> None:
        """Count a connection that is in its TLS handshake."""
        self.handshakes.add(connection)
        self.is_empty.clear()

    def end_handshake(self, connection: "Connection") -> None:
        """Count it no more: it was made, or is gone."""
        self.handshakes.discard(connection)
        self.end_connection()

    def end_connection(self) -> None:
        """Tell those who wait for the end of all when the last one is gone."""
        if not self.open_count and not self.refused:
            self.is_empty.set()


class Connection(asyncio.BufferedProtocol):
    """One connection.

    Args:
        app: Answers the requests.
        settings: The limits on time and number.
        state: Shared with the others.
    """

    def __init__(self, app: HttpApp, settings: HttpServerSettings, state: State) -> None:
        self._app = app
        self._settings = settings
        self._state = state
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
        self.data = bytearray()  # What has arrived and was not taken yet.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve, if there are not too many."""
        self._transport = cast("asyncio.Transport", transport)
        self._owner = transport.get_extra_info("peername")
        state = self._state
        state.handshakes.discard(self)
        state.is_empty.clear()
        if state.open_count < self._settings.connections_max:
            state.connections.add(self)
        else:
            state.refusals.add(REFUSED_CONNECTION)
            if len(state.refused) >= _REFUSED_MAX:
                self._transport.abort()
                return
            state.refused.add(self)
        serving = self._loop.create_task(self._serve())
        state.tasks.add(serving)
        serving.add_done_callback(state.tasks.discard)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's.
        """Count it no more."""
        self._is_lost = self._is_ended = True
        if self._abort is not None:
            self._abort.cancel()
        self._state.connections.discard(self)
        self._state.refused.discard(self)
        self._state.end_connection()
        self._wake()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's.
        """Tell where to read to."""
        return self._state.read_buffer[: max(_READ_SIZE_BYTES, self._wanted_bytes)]

    def buffer_updated(self, nbytes: int) -> None:
        """Keep what was read; with enough of it, read no more."""
        self.data += self._state.read_buffer[:nbytes]
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

    def take(self, size_bytes: int) -> bytes:
        """Take this much of what has arrived, or all if that is less."""
        with memoryview(self.data) as arrived, arrived[:size_bytes] as wanted:
            taken = bytes(wanted)
        del self.data[:size_bytes]
        return taken

    def tell_to_continue(self) -> None:
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
            pass  # Nobody is there to be answered, or who is there does not send or read.
        finally:
            if self._is_writing_paused:
                self._transport.abort()
            else:
                self._transport.close()
                # It closes when all is written, which a sender that does not read prevents.
                self._abort = self._loop.call_later(self._settings.body_timeout_s, self._transport.abort)

    async def _serve_one(self) -> bool:
        """Read a request and answer it; tells whether another may follow."""
        request = Request(self._owner, SizedBody(self, 0))
        try:
            await self._read_head(request)
        except OtelSlaError as error:
            answer = self._app.refuse(request, error)
        else:
            if self in self._state.refused:
                answer = self._app.refuse(request, Overloaded("connections_max is reached"))
                answer.is_last = True
            else:
                answer = await self._app.answer(request)
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
            async with asyncio.timeout(_LINGER_S if self in self._state.refused else settings.header_timeout_s):
                await self.more()
                while not parser.feed(self.data):
                    await self.more()
        self._is_between = self._is_first = False
        headers = request.headers
        if request.method == "CONNECT":
            return  # Has no body (RFC 9110, 9.3.6).
        if "transfer-encoding" in headers:
            request.body = ChunkedBody(self)
        elif "content-length" in headers:
            request.body = SizedBody(self, int(headers["content-length"]))
        request.body.is_kept_back = "expect" in headers

    def _write(self, request: Request, answer: HttpResponse, *, is_last: bool) -> None:
        if self._transport.is_closing():
            raise SenderGone
        headers = answer.all_headers()
        if is_last:
            headers.append((b"connection", b"close"))
        head = b"".join([b"%b: %b\r\n" % header for header in headers])
        body = b"" if request.method == "HEAD" else answer.body
        self._transport.write(
            b"%b%b%b\r\n%b" % (_STATUS_LINES[answer.http_status], self._state.date_header, head, body)
        )

    async def _drain(self) -> None:
        async with asyncio.timeout(self._settings.body_timeout_s):
            while self._is_writing_paused and not self._is_lost:
                await self._wait()

    async def _drop(self, request: Request) -> bool:
        """Take what follows of a body that was not read; tells whether it came to its end."""
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
        dropped_bytes = len(self.take(len(self.data)))
        async with asyncio.timeout(_LINGER_S):
            while dropped_bytes <= _UNWANTED_SIZE_BYTES_MAX:
                await self.more()
                dropped_bytes += len(self.take(len(self.data)))
            self._transport.pause_reading()
            while not self._is_lost:
                await self._wait()


class SizedBody:
    """A body whose size was told; implements `http_body.Body`."""

    __slots__ = ("_connection", "is_kept_back", "left_bytes")

    def __init__(self, connection: Connection, size_bytes: int) -> None:
        self._connection = connection
        self.left_bytes = size_bytes
        self.is_kept_back = False

    @property
    def has_more(self) -> bool:
        """Not all of it was given."""
        return self.left_bytes > 0

    @property
    def is_here(self) -> bool:
        """What was not given has arrived."""
        return len(self._connection.data) >= self.left_bytes

    async def receive(self) -> bytes:
        """Give what has arrived, or arrives next."""
        if self.has_more and not self._connection.data:
            if self.is_kept_back:
                self._connection.tell_to_continue()
            await self._connection.more(self.left_bytes)
        self.is_kept_back = False
        part = self._connection.take(self.left_bytes)
        self.left_bytes -= len(part)
        return part


class ChunkedBody:
    """A body in chunks; implements `http_body.Body`. Extensions and trailers are dropped."""

    __slots__ = ("_connection", "_excess_bytes", "_line", "has_more", "is_kept_back", "left_bytes")

    is_here = False  # As far as is known.

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._line = _FIRST_CHUNK  # What comes next, or behind the rest of a chunk.
        self._excess_bytes = 0  # Of lines, beyond what content may have of them.
        self.has_more = True
        self.is_kept_back = False
        self.left_bytes = 0  # Of the chunk.

    async def receive(self) -> bytes:
        """Give what has arrived, or arrives next; nothing where that is a chunk's size, or the end.

        Raises:
            MalformedRequest: It is not in chunks, or there is too much beside their content.
        """
        connection, parts = self._connection, list[bytes]()
        while not self._parse(connection.data, parts):
            if self.is_kept_back:
                connection.tell_to_continue()
            self.is_kept_back = False
            await connection.more(self.left_bytes)
        self.is_kept_back = False
        return b"".join(parts)

    def _parse(self, data: bytearray, parts: list[bytes]) -> int:
        """Take lines and content off `data`; gives how much."""
        start = 0
        with memoryview(data) as view:
            while self.has_more and start < len(data):
                if self.left_bytes:
                    parts.append(bytes(view[start : start + self.left_bytes]))
                    start += len(parts[-1])
                    self.left_bytes -= len(parts[-1])
                    continue
                line = self._line.match(data, start)
                if line is None:
                    break
                start = line.end()
                self._take_line(line)
            # A chunk's last bytes are the CRLF that its successor's line begins with here.
            is_malformed = self.has_more and not self.left_bytes and data.find(b"\n", start + 2) >= 0
        pending_bytes = len(data) - start if self.has_more and not self.left_bytes else 0
        if is_malformed or self._excess_bytes + pending_bytes > _EXCESS_SIZE_BYTES_MAX:
            raise MalformedRequest("the body's chunks are malformed, or have too much beside their content")
        del data[:start]
        return start

    def _take_line(self, line: re.Match[bytes]) -> None:
        self._excess_bytes += len(line[0])
        if self._line is _TRAILER:
            self.has_more = len(line[0]) > len(b"\r\n")
            return
        self.left_bytes = int(line[1], 16)
        self._line = _NEXT_CHUNK if self.left_bytes else _TRAILER
        self._excess_bytes = max(0, self._excess_bytes - _LINE_SIZE_BYTES - 2 * self.left_bytes)
