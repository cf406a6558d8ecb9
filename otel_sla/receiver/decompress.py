"""Undoes the compression of a request's body, within its limits."""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import cramjam
import numpy as np
import zstandard
from isal import isal_zlib

from otel_sla.errors import DecodeError, RequestTooLarge
from otel_sla.receiver.limits.memory import Held
from otel_sla.receiver.responses import UnsupportedMediaType

_GZIP_WBITS, _ZLIB_WBITS = 31, 15
_STEP_SIZE_BYTES = 1024 * 1024  # What is expanded before other requests run,
_STEPS_PER_TURN = 1024  # in at most so many steps.
_GZIP_SLICE_SIZE_BYTES = 64 * 1024  # Given to isal at once; it copies what it has not consumed at each step.
_ZSTD_SLICE_SIZE_BYTES = 256
_MEMBERS_MAX = 4096  # Each costs a decoder; 64 MiB could be millions of empty ones.
_ZSTD_WINDOW_SIZE_BYTES_MAX = 8 * 1024 * 1024  # RFC 9659: HTTP's zstd needs no more.
_SNAPPY_STREAM = b"\xff\x06\x00\x00sNaPpY"  # How a framed stream begins.
# Room for what expands at once, without steps: requests seldom expand to more than eight times their size.
_ROOM_RATIO, _ROOM_SIZE_BYTES_MIN, _ROOM_GROWTH = 8, 64 * 1024, 4
_ON_LOOP_SIZE_BYTES_MAX = 32 * 1024  # Expand to 8 MiB at most, in 4 ms; larger bodies are expanded on a thread.


async def expand_body(body: bytes, encoding: str, held: Held, *, size_bytes_max: int) -> bytes:
    """Undo the Content-Encoding; `held` follows the size, other requests run in between.

    The encodings are those of the Collector's exporter, in its formats: `deflate` is zlib's as RFC 9110 says, `snappy`
    a block, or from older Collectors the stream that is `x-snappy-framed` today.

    Raises:
        UnsupportedMediaType: None of `ENCODINGS`.
        DecodeError: The body is not what the encoding says.
        RequestTooLarge: It expands to more than `size_bytes_max`.
        Overloaded: It expands to more than there is room for now.
    """
    if encoding in ("", "identity"):
        return body
    try:
        if encoding in _EXPANDERS:
            expanded = await _expand_in_steps(body, _EXPANDERS[encoding], held, size_bytes_max)
        elif encoding in _EXPANDERS_AT_ONCE:
            expanded = await _expand_at_once(body, _EXPANDERS_AT_ONCE[encoding], held, size_bytes_max)
        else:
            raise UnsupportedMediaType(f"Content-Encoding {encoding!r} is none of {', '.join(ENCODINGS)}")
    except _NOT_AS_ENCODED as error:
        raise DecodeError(f"the body is not {encoding}: {error}", len(body)) from None
    held.resize(len(expanded))
    return expanded


async def _expand_in_steps(
    body: bytes, expand: Callable[[bytes], Iterator[bytes]], held: Held, size_bytes_max: int
) -> bytes:
    parts: list[bytes] = []
    size_bytes = 0
    turn_ends_at = _STEP_SIZE_BYTES
    for index, part in enumerate(expand(body), start=1):
        parts.append(part)
        size_bytes += len(part)
        check_size(size_bytes, size_bytes_max)
        held.resize(len(body) + size_bytes)
        if size_bytes >= turn_ends_at or index % _STEPS_PER_TURN == 0:
            turn_ends_at = size_bytes + _STEP_SIZE_BYTES
            await asyncio.sleep(0)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _expand_at_once(
    body: bytes, expand_into: Callable[[bytes, Any], int], held: Held, size_bytes_max: int
) -> bytes:
    """Expand as a whole; each time that the room is too small it is made four times as large, up to the limit."""
    room_size_bytes = min(_ROOM_RATIO * len(body) + _ROOM_SIZE_BYTES_MIN, size_bytes_max)
    if expand_into is _expand_snappy and not body.startswith(_SNAPPY_STREAM):
        room_size_bytes = cramjam.snappy.decompress_raw_len(body)  # A block begins with its size.
        check_size(room_size_bytes, size_bytes_max)
    while True:
        held.resize(len(body) + room_size_bytes)
        try:
            if len(body) <= _ON_LOOP_SIZE_BYTES_MAX:
                return _expand_into_room(body, expand_into, room_size_bytes)
            return await asyncio.to_thread(_expand_into_room, body, expand_into, room_size_bytes)
        except cramjam.DecompressionError as error:
            if "write whole buffer" not in str(error):
                raise
        check_size(room_size_bytes + 1, size_bytes_max)
        # Before a body is refused it is tried with all the room that one request may have.
        rest_bytes = held.in_flight.size_bytes_max - len(body)
        room_size_bytes = min(_ROOM_GROWTH * room_size_bytes, size_bytes_max, max(rest_bytes, room_size_bytes + 1))


def _expand_into_room(body: bytes, expand_into: Callable[[bytes, Any], int], room_size_bytes: int) -> bytes:
    room = np.empty(room_size_bytes, dtype=np.uint8)
    return room[: expand_into(body, room)].tobytes()


def _expand_snappy(body: bytes, room: Any) -> int:  # noqa: ANN401 - cramjam's buffers have no type.
    is_stream = body.startswith(_SNAPPY_STREAM)
    return (cramjam.snappy.decompress_into if is_stream else cramjam.snappy.decompress_raw_into)(body, room)


def check_size(size_bytes: int, size_bytes_max: int) -> None:
    """Refuse a body that is, or will be, larger than it may be, as `RequestTooLarge`."""
    if size_bytes > size_bytes_max:
        raise RequestTooLarge(f"the request's body is larger than {size_bytes_max} bytes")


def _expand_deflate(wbits: int, body: bytes) -> Iterator[bytes]:
    """Expand all members, at most `_STEP_SIZE_BYTES` at a time."""
    member = isal_zlib.decompressobj(wbits)
    members_left = _MEMBERS_MAX
    for piece in _slices(body, _GZIP_SLICE_SIZE_BYTES):
        rest: bytes | memoryview = piece
        while rest:
            if member.eof:  # Gzip may be several members in a row.
                members_left = _count_down(members_left)
                member = isal_zlib.decompressobj(wbits)
            yield member.decompress(rest, _STEP_SIZE_BYTES)
            rest = member.unused_data if member.eof else member.unconsumed_tail
    while not member.eof:
        more = member.decompress(b"", _STEP_SIZE_BYTES)
        if not more and not member.eof:
            raise EOFError("it is cut off")
        yield more


def _expand_zstd(body: bytes) -> Iterator[bytes]:
    """Expand all frames, at most 8 MiB at a time.

    `decompressobj` cannot be told how much to expand at once, `stream_reader` does not notice a frame that is cut off:
    so it is the former, given so little that even blocks of one repeated byte (4 bytes for 128 KiB) stay small.
    """
    expander = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_SIZE_BYTES_MAX)
    frame = expander.decompressobj()
    frames_left = _MEMBERS_MAX
    for piece in _slices(body, _ZSTD_SLICE_SIZE_BYTES):
        rest: bytes | memoryview = piece
        while rest:
            if frame.eof:
                frames_left = _count_down(frames_left)
                frame = expander.decompressobj()
            yield frame.decompress(rest)
            rest = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise EOFError("it is cut off")


def _slices(body: bytes, size_bytes: int) -> Iterator[memoryview]:
    view = memoryview(body)
    return (view[start : start + size_bytes] for start in range(0, len(body), size_bytes))


def _count_down(members_left: int) -> int:
    if members_left == 0:
        raise EOFError(f"it is more than {_MEMBERS_MAX} members in a row")
    return members_left - 1


_NOT_AS_ENCODED: tuple[type[Exception], ...] = (
    isal_zlib.error,  # type: ignore[assignment]  # isal's stub gives the class as an instance.
    zstandard.ZstdError,
    cramjam.DecompressionError,
    EOFError,
)
_EXPANDERS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "gzip": partial(_expand_deflate, _GZIP_WBITS),
    "x-gzip": partial(_expand_deflate, _GZIP_WBITS),
    "zlib": partial(_expand_deflate, _ZLIB_WBITS),
    "deflate": partial(_expand_deflate, _ZLIB_WBITS),
    "zstd": _expand_zstd,
}
# cramjam has no steps, but says how much it may write, and lets other threads run meanwhile.
_EXPANDERS_AT_ONCE: dict[str, Callable[[bytes, Any], int]] = {
    "snappy": _expand_snappy,
    "x-snappy-framed": cramjam.snappy.decompress_into,
    "lz4": cramjam.lz4.decompress_into,
}
ENCODINGS = ("gzip", "zstd", "zlib", "deflate", "snappy", "x-snappy-framed", "lz4", "identity")
