"""The connections of the gRPC server: how many requests of each are read at once, the others wait unread.

gRPC does not tell how large a message is before it is there, and from the moment that it is asked for one it takes all
of it: 256 calls of one connection could bring 16 GiB. What is not asked for stays on the sender's side, but for the
64 KiB that HTTP/2 lets arrive unasked. So a connection is read as far as its recent bodies were small, and a new one
shows first, by one body, how large its are.
"""

import asyncio
from collections import OrderedDict, deque
from typing import Self

from otel_sla.receiver.in_flight import Held, InFlight, Share
from otel_sla.receiver.pace import LARGE_SIZE_BYTES

READ_SIZE_BYTES_MIN = 64 * 1024  # Held at least while a body is read: about what HTTP/2 lets arrive unasked.
_READING_MAX = 32  # At once, of one connection.


class Lane:
    """One connection."""

    def __init__(self, peer: str, in_flight: InFlight, unknown_bytes: int) -> None:
        self._peer = peer
        self._in_flight = in_flight
        self._unknown_bytes = unknown_bytes  # Held while its first body is read.
        self._share: Share = in_flight.new_share("requests of one connection")
        self._expected_bytes = READ_SIZE_BYTES_MIN  # What its recent bodies needed.
        self._is_known = False  # It has sent a body.
        self._reading = 0
        self._waiting: deque[asyncio.Future[None]] = deque()  # To be read.
        self._turn = asyncio.Lock()  # One of a connection waits for what all connections wait for.

    @property
    def is_idle(self) -> bool:
        """Nothing is under way."""
        return not (self._reading or self._waiting or self._share.size_bytes)

    async def begin(self) -> "Reading":
        """Wait until one more body may be read.

        Raises:
            Overloaded: There is no room for it.
        """
        await self._enter()
        held = Held(self._in_flight, (self._share,))
        held.owner = self._peer
        reading = Reading(self, held)
        try:
            size_bytes = self._expected_bytes if self._is_known else self._unknown_bytes
            if size_bytes < LARGE_SIZE_BYTES and not self._turn.locked() and held.has_room(size_bytes):
                held.resize(size_bytes)
            else:
                async with self._turn:
                    await held.wait_for_room(size_bytes)
                    if self._is_known:
                        await held.pace(size_bytes)
        except BaseException:
            reading.leave()
            held.release()
            raise
        return reading

    def learn(self, size_bytes: int) -> None:
        """Remember how large a body was."""
        # Forgets slowly, so that one small body among large ones does not let too many in.
        self._expected_bytes = max(READ_SIZE_BYTES_MIN, size_bytes, self._expected_bytes * 15 // 16)
        self._is_known = True

    def leave(self) -> None:
        """Let the next be read."""
        self._reading -= 1
        while self._waiting and self._reading < self._reading_max():
            waiting = self._waiting.popleft()
            if not waiting.done():
                self._reading += 1
                waiting.set_result(None)

    async def _enter(self) -> None:
        if self._reading < self._reading_max() and not self._waiting:
            self._reading += 1
            return
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                self.leave()
            raise

    def _reading_max(self) -> int:
        if not self._is_known:
            return 1
        return max(1, min(_READING_MAX, self._share.size_bytes_max // self._expected_bytes))


class Reading:
    """One body that is being read; a context manager that gives what it holds."""

    __slots__ = ("_has_left", "_lane", "held")

    def __init__(self, lane: Lane, held: Held) -> None:
        self._lane = lane
        self._has_left = False
        self.held = held

    def end(self, size_bytes: int) -> None:
        """Tell that it is there, and how large it is."""
        self._lane.learn(size_bytes)
        self.leave()
        self.held.resize(size_bytes)

    def be_late(self) -> None:
        """Let others be read: this one is not held up by us, and so cannot grow as quickly as it might have."""
        self.leave()
        self.held.resize(min(self.held.size_bytes, READ_SIZE_BYTES_MIN))

    def leave(self) -> None:
        """Let the next of its connection be read; called again, nothing changes."""
        if not self._has_left:
            self._has_left = True
            self._lane.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
        self.held.release()


class Lanes:
    """All of them; those that are idle are forgotten when there are more than connections may be.

    Args:
        in_flight: The limit.
        size_bytes_max: Of a body.
        count_max: How many are kept.
    """

    def __init__(self, in_flight: InFlight, size_bytes_max: int, count_max: int) -> None:
        self._in_flight = in_flight
        # Slow bodies may hold one half of the limit: new senders have to find room in the other, beside small ones.
        self._unknown_bytes = max(READ_SIZE_BYTES_MIN, min(size_bytes_max, in_flight.size_bytes_max * 3 // 8))
        self._count_max = count_max
        self._lanes: OrderedDict[str, Lane] = OrderedDict()  # By peer, the longest unused first.

    def of(self, peer: str) -> Lane:
        """Give the lane of this connection."""
        lane = self._lanes.get(peer)
        if lane is None:
            lane = self._lanes[peer] = Lane(peer, self._in_flight, self._unknown_bytes)
            for oldest in list(self._lanes)[: len(self._lanes) - self._count_max]:
                if self._lanes[oldest].is_idle:
                    del self._lanes[oldest]
        else:
            self._lanes.move_to_end(peer)
        return lane
