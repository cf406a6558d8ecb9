"""A request's body as it arrives: of a size that its head says, or in chunks (RFC 9112, 7.1)."""

import re
from typing import Protocol

from otel_sla.counting.receipt import LARGE_SIZE_BYTES
from otel_sla.receiver.decompress import check_size
from otel_sla.receiver.limits.memory import Held
from otel_sla.receiver.limits.slow_bodies import BodyDeadline
from otel_sla.receiver.responses import MalformedRequest

_BEGINNING_SIZE_BYTES = 32 * 1024  # Of a large body, before it waits for its turn.
# A line with the size of a chunk, or a trailer's, or the empty one at the end.
_CHUNK = rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t -~\x80-\xff]*)?\r\n"
_FIRST_CHUNK, _NEXT_CHUNK = re.compile(_CHUNK), re.compile(rb"\r\n" + _CHUNK)
_TRAILER = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*)?\r\n")
_LINE_SIZE_BYTES = 16  # Of a chunk; what is more, and more than twice the content, is excess.
_EXCESS_SIZE_BYTES_MAX = 16 * 1024


class SenderGone(Exception):
    """The connection ended before the body did: there is nobody to answer."""


class Arriving(Protocol):
    """The connection, as its request's body sees it."""

    data: bytearray  # Arrived, and not taken yet.

    async def more(self, wanted_bytes: int) -> None:
        """Wait until more has arrived; raises `SenderGone` if nothing more will."""

    def send_continue(self) -> None:
        """Ask for the body."""


class Body:
    """A body of known size.

    Attributes:
        left_bytes: How many are known to follow.
        has_more: Not all of it was received.
        is_kept_back: The sender waits for `100 Continue` (RFC 9110, 10.1.1).
    """

    __slots__ = ("_connection", "has_more", "is_kept_back", "left_bytes")

    def __init__(self, connection: Arriving, size_bytes: int = 0, *, is_kept_back: bool = False) -> None:
        self._connection = connection
        self.left_bytes = size_bytes
        self.has_more = size_bytes > 0
        self.is_kept_back = is_kept_back

    async def read(self, held: Held, size_bytes_max: int, timeout_s: float) -> bytes:
        """Read the body as sent.

        A large one waits for its turn once its beginning has arrived: a sender that announces much and sends nothing
        takes no turn from others.

        Args:
            held: What the request holds, nothing yet; follows the size.
            size_bytes_max: Of the body.
            timeout_s: For the body, and once more for what follows the beginning of a large one.

        Raises:
            RequestTooLarge: More than `size_bytes_max`.
            Overloaded: More than there is room for now.
            BodyTimeout: It did not arrive in time.
            SenderGone: The connection ended.
            MalformedRequest: It is not framed as the head says.
        """
        announced_bytes = self.left_bytes
        check_size(announced_bytes, size_bytes_max)
        part = self._take() or b""
        check_size(len(part) + self.left_bytes, size_bytes_max)
        held.resize(len(part))
        if not self.has_more:  # Fast path: a deadline would cost a twentieth of a request of 100 spans.
            return part
        self.is_kept_back = self.is_kept_back and not part
        parts = [part] if part else []
        stop_bytes = _BEGINNING_SIZE_BYTES if announced_bytes >= LARGE_SIZE_BYTES else size_bytes_max
        while True:
            async with BodyDeadline(held, timeout_s) as deadline:
                while self.has_more and held.size_bytes <= stop_bytes:
                    if parts:  # A pause before the body is not the body's.
                        deadline.start_patience()
                    part = await self.receive()
                    check_size(held.size_bytes + len(part) + self.left_bytes, size_bytes_max)
                    if part:
                        parts.append(part)
                        held.resize(held.size_bytes + len(part))
            if not self.has_more:
                return parts[0] if len(parts) == 1 else b"".join(parts)
            await held.wait_for_turn(announced_bytes)
            stop_bytes = size_bytes_max

    async def receive(self) -> bytes:
        """Give what has arrived, or arrives next; nothing where that is a chunk's size, or the end.

        Raises:
            SenderGone: The connection ended.
            MalformedRequest: It is not framed as the head says.
        """
        while (part := self._take()) is None:
            if self.is_kept_back:
                self._connection.send_continue()
            self.is_kept_back = False
            await self._connection.more(self.left_bytes)
        self.is_kept_back = False
        return part

    def _take(self) -> bytes | None:
        """Take what has arrived; None: nothing has, and more follows."""
        data = self._connection.data
        if self.has_more and not data:
            return None
        part = take(data, self.left_bytes)
        self.left_bytes -= len(part)
        self.has_more = self.left_bytes > 0
        return part


class ChunkedBody(Body):
    """A body in chunks. Extensions and trailers are dropped."""

    __slots__ = ("_excess_bytes", "_line")

    def __init__(self, connection: Arriving, *, is_kept_back: bool = False) -> None:
        super().__init__(connection, is_kept_back=is_kept_back)
        self.has_more = True
        self._line = _FIRST_CHUNK  # What comes next, or behind the rest of a chunk.
        self._excess_bytes = 0  # Of lines, beyond what content may have of them.

    def _take(self) -> bytes | None:
        data, parts, start = self._connection.data, list[bytes](), 0
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
        return b"".join(parts) if start else None

    def _take_line(self, line: re.Match[bytes]) -> None:
        self._excess_bytes += len(line[0])
        if self._line is _TRAILER:
            self.has_more = len(line[0]) > len(b"\r\n")
            return
        self.left_bytes = int(line[1], 16)
        self._line = _NEXT_CHUNK if self.left_bytes else _TRAILER
        self._excess_bytes = max(0, self._excess_bytes - _LINE_SIZE_BYTES - 2 * self.left_bytes)


def take(data: bytearray, size_bytes: int) -> bytes:
    """Take this much off `data`, or all if that is less."""
    with memoryview(data) as arrived, arrived[:size_bytes] as wanted:
        taken = bytes(wanted)
    del data[:size_bytes]
    return taken
