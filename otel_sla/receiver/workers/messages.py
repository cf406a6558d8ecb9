"""Messages between the process that counts and a worker, over a socket pair.

A frame is its length, its kind, a number that an answer repeats, and the payload.
"""

import asyncio
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, cast

import orjson

from otel_sla.errors import DecodeError, LedgerError, LedgerUnavailable, Overloaded, RequestTooLarge
from otel_sla.logs import LogSettings
from otel_sla.receiver.settings import ReceiverSettings
from otel_sla.receiver.sockets import Address

_HEADER = struct.Struct("<IBI")  # Bytes of the payload, kind, number.
PLACE = struct.Struct("<QQ")  # Of a body in the shared memory: where, and how many bytes.
SOCKET_BUFFER_BYTES = 4 * 1024 * 1024  # Or as much as the system allows.


class FrameKind(IntEnum):
    """What a frame is."""

    SETTINGS = 1  # To the worker, first: what it serves.
    READY = 2  # From the worker: it serves.
    FAILED = 3  # From the worker: it cannot; why.
    BODY = 4  # From the worker: a request to count.
    COUNTED = 5  # To the worker: the numbers of requests that are durable.
    RECEIPT = 6  # To the worker: a request is durable, and what was rejected of it.
    REFUSED = 7  # To the worker: a request is not durable, and why.
    STATE = 8  # To the worker: the two lines of `Readiness`.
    TALLY = 9  # From the worker: the sums of its own work.
    ASK_METRICS = 10  # From the worker: it needs the self-metrics.
    METRICS = 11  # To the worker: these.
    STOP = 12  # To the worker: seconds of grace.
    SHARED_BODY = 13  # From the worker: as BODY, where it lies in the shared memory.
    REFUSALS = 14  # From the worker: a request or connection that was refused for good, and how many.
    RELOAD = 15  # To the worker, or the page: read certificates and tokens again.
    ASK_STATE = 16  # From the page: it needs the live state.
    LIVE_STATE = 17  # To the page: this.


Take = Callable[[FrameKind, int, memoryview], None]


class FramedSocket(asyncio.Protocol):
    """One end.

    Args:
        take: Gets each frame; its payload keeps all that arrived with it in memory.
    """

    def __init__(self, take: Take) -> None:
        self._take = take
        self._chunks: list[bytes] = []
        self._size = 0
        self._needed = _HEADER.size
        self._transport: asyncio.WriteTransport | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def send(self, kind: FrameKind, number: int = 0, payload: bytes | memoryview = b"") -> None:
        """Send a frame; after the end it is dropped, and `lost` is done."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines((_HEADER.pack(len(payload), kind, number), payload))

    def close(self) -> None:
        """End it, after all that was sent."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio's: begin."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature.
        """Asyncio's: the other side has ended."""
        if not self.lost.done():
            self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Asyncio's: take frames off what has arrived."""
        self._chunks.append(data)
        self._size += len(data)
        if self._size < self._needed:
            return
        view = memoryview(data if len(self._chunks) == 1 else b"".join(self._chunks))
        at = 0
        while True:
            left = len(view) - at
            self._needed = _HEADER.size
            if left >= _HEADER.size:
                length, kind, number = _HEADER.unpack_from(view, at)
                self._needed = _HEADER.size + length
            if left < self._needed:
                break
            self._take(FrameKind(kind), number, view[at + _HEADER.size : at + self._needed])
            at += self._needed
        self._chunks = [bytes(view[at:])] if left else []
        self._size = left


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker gets first."""

    receiver: ReceiverSettings  # `memory_limit_mib` is this worker's share.
    grpc_addresses: Sequence[Address]
    http_addresses: Sequence[Address]
    logs: LogSettings
    shared_memory: tuple[int, int] | None  # Its descriptor and its size in bytes, if there is any.


# What a worker sends of its own work, summed since it started; these are the sums of one that has not begun.
NO_TALLY: dict[str, Any] = {
    "grpc": {},
    "http": {},
    "overloaded": 0,
    "in_flight_bytes": 0,
    "rss_bytes": 0,
    "cpu_s": 0.0,
}

_BY_NAME: dict[str, type[Exception]] = {
    error.__name__: error for error in (RequestTooLarge, Overloaded, LedgerError, LedgerUnavailable)
}


class CountingFailed(Exception):
    """A bug of ours in the process that counts; its log has it."""


def encode_error(error: Exception) -> bytes:
    """Write an error for `decode_error`."""
    if isinstance(error, DecodeError):
        return orjson.dumps(["DecodeError", error.reason, error.offset])
    name = next(
        (name for name in (type(error).__name__, "LedgerError") if isinstance(error, _BY_NAME.get(name, ()))), ""
    )
    return orjson.dumps([name, str(error)])


def decode_error(payload: bytes | memoryview) -> Exception:
    """Read what `encode_error` wrote."""
    name, *arguments = orjson.loads(payload)
    if name == "DecodeError":
        return DecodeError(*arguments)
    return _BY_NAME.get(name, CountingFailed)(*arguments)
