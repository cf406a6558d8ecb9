"""Messages between the pipeline and the page's process, over a socket pair.

A frame is its payload's length, its kind, and the payload.
"""

import asyncio
import struct
from collections.abc import Callable
from enum import IntEnum
from typing import cast

_HEADER = struct.Struct("<IB")


class FrameKind(IntEnum):
    """What a frame is."""

    TASK = 1  # To the page, first: what it serves.
    RELOAD = 2  # To the page: read certificates and tokens again.
    ASK_STATE = 3  # From the page: it needs the live state.
    LIVE_STATE = 4  # To the page: this.


class FramedSocket(asyncio.Protocol):
    """One end. `take` gets each frame."""

    def __init__(self, take: Callable[[FrameKind, bytes], None]) -> None:
        self._take = take
        self._arrived = bytearray()
        self._transport: asyncio.WriteTransport | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def send(self, kind: FrameKind, payload: bytes = b"") -> None:
        """Send a frame; after the end it is dropped, and `lost` is done."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines((_HEADER.pack(len(payload), kind), payload))

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
        self._arrived += data
        while len(self._arrived) >= _HEADER.size:
            length, kind = _HEADER.unpack_from(self._arrived)
            stop = _HEADER.size + length
            if len(self._arrived) < stop:
                return
            payload = bytes(self._arrived[_HEADER.size : stop])
            del self._arrived[:stop]
            self._take(FrameKind(kind), payload)
