"""Messages between the process that counts and one that receives, over a socket pair.

A frame is its length, its kind, a number that an answer repeats, and the payload.
"""

import asyncio
import struct
from collections.abc import Callable
from enum import IntEnum
from typing import cast

_HEADER = struct.Struct("<IBI")  # Bytes of the payload, kind, number.
PLACE = struct.Struct("<QQ")  # Of a body in the shared memory: where, and how many bytes.
SOCKET_BUFFER_BYTES = 4 * 1024 * 1024  # As much of it as the system allows.


class FrameKind(IntEnum):
    """What a frame is."""

    SETTINGS = 1  # To the worker, first: what it serves.
    READY = 2  # From the worker: it serves.
    FAILED = 3  # From the worker: it cannot; why.
    BODY = 4  # From the worker: a request to be counted.
    COUNTED = 5  # To the worker: the numbers of requests that are durable.
    RECEIPT = 6  # To the worker: one that is, and what was rejected of it.
    REFUSED = 7  # To the worker: one that is not, and why.
    STATE = 8  # To the worker: the two lines of `receiver.readiness`.
    TALLY = 9  # From the worker: what it has counted of its own work.
    ASK_METRICS = 10  # From the worker: somebody asked for the self-metrics.
    METRICS = 11  # To the worker: these.
    STOP = 12  # To the worker: seconds of grace.
    SHARED_BODY = 13  # From the worker: as BODY, where it lies in the shared memory.
    REFUSALS = 14  # From the worker: a request that was refused for good, or a connection, and how many.
    RELOAD = 15  # To the worker: read certificates and tokens again.


Take = Callable[[FrameKind, int, memoryview], None]


class FramedSocket(asyncio.Protocol):
    """One end.

    Args:
        take: Gets each frame; its payload keeps all that came with it in memory.
    """

    def __init__(self, take: Take) -> None:
        self._take = take
        self._chunks: list[bytes] = []
        self._size = 0
        self._needed = _HEADER.size
        self._transport: asyncio.WriteTransport | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def send(self, kind: FrameKind, number: int = 0, payload: bytes | memoryview = b"") -> None:
        """Send a frame; one that comes after the end is dropped, as who sent it sees by `lost`."""
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
        """Asyncio's: take apart what came."""
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
