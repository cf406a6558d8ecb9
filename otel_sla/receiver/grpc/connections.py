"""The connections of the gRPC server: how many requests of each are read at once, the others wait unread.

gRPC does not tell how large a message is before it is there, and from the moment that it is asked for one it takes all
of it: 256 calls of one connection could bring 16 GiB. What is not asked for stays on the sender's side, but for the
64 KiB that HTTP/2 lets arrive unasked. So a connection is read as far as its recent bodies were small, and a new one
shows first, by one body, how large its are.

What a body holds meanwhile: 64 KiB while it waits to be read; while it is read, what its connection's bodies needed.
One that is late may have become more. A known connection's then holds more for a second. A new connection's may become
anything: it is slow, holds the largest size, and is refused where there is no room for that.
"""

import asyncio
from collections import OrderedDict, deque
from typing import NamedTuple, Self

from otel_sla.counting.receipt import LARGE_SIZE_BYTES
from otel_sla.errors import Overloaded
from otel_sla.receiver.limits.memory import Held, InFlight, Share

READ_SIZE_BYTES_MIN = 64 * 1024  # Held at least while a body is read: about what HTTP/2 lets arrive unasked.
_READING_MAX = 32  # At once, of one connection.
_LATE_FACTOR = 2  # A late body holds as many times what its connection's bodies needed,
_LATE_PART = 16  # and at least one part of this many of the largest: who sent small ones may send a large one now.


class _Queued(NamedTuple):
    """One that waits in line."""

    is_turn: asyncio.Future[bool]  # False: it did not come in time.
    until_s: float  # By the loop's clock.


class _Limits(NamedTuple):
    """What all connections have in common."""

    firsts: Share  # Of the first bodies of all connections.
    first_bytes: int  # Held while one is read.
    late_bytes_min: int
    waiting_s_max: float


class GrpcConnection:
    """One connection."""

    def __init__(self, peer: str, in_flight: InFlight, limits: "_Limits") -> None:
        self._peer = peer
        self._in_flight = in_flight
        self._limits = limits
        self._share: Share = in_flight.new_share("requests of one connection")
        self._expected_bytes = READ_SIZE_BYTES_MIN  # What its recent bodies needed.
        self._is_known = False  # It has sent a body.
        self._reading = 0
        self._waiting: deque[_Queued] = deque()  # To be read.
        self._looking: asyncio.TimerHandle | None = None  # For who has waited too long.
        self._turn = asyncio.Lock()  # One of a connection waits for what all connections wait for.

    @property
    def is_idle(self) -> bool:
        """Nothing is under way."""
        return not (self._reading or self._waiting or self._share.size_bytes)

    async def begin(self) -> "BodyRead":
        """Wait until one more body may be read.

        Raises:
            Overloaded: There is no room for it, or its turn did not come in time.
        """
        held = Held(self._in_flight, (self._share,))
        held.owner = self._peer
        if self._waiting or self._reading >= self._reading_max():
            await self._wait_in_line(held)
        else:
            self._reading += 1
        try:
            size_bytes = self._expected_bytes if self._is_known else LARGE_SIZE_BYTES
            if size_bytes < LARGE_SIZE_BYTES and not self._turn.locked() and held.has_room(size_bytes):
                held.join(None, size_bytes)
            else:
                await self._wait_for_room(held)
        except BaseException:
            self.leave()
            held.release()
            raise
        return BodyRead(self, held)

    def late_size_bytes(self) -> int | None:
        """What a late body holds; None: it may become anything."""
        return max(_LATE_FACTOR * self._expected_bytes, self._limits.late_bytes_min) if self._is_known else None

    def learn(self, size_bytes: int) -> None:
        """Remember how large a body was."""
        # Forgets slowly, so that one small body among large ones does not let too many in.
        self._expected_bytes = max(READ_SIZE_BYTES_MIN, size_bytes, self._expected_bytes * 15 // 16)
        self._is_known = True

    def leave(self) -> None:
        """Let the next be read."""
        self._reading -= 1
        while self._waiting and self._reading < self._reading_max():
            is_turn = self._waiting.popleft().is_turn
            if not is_turn.done():  # Else its call has just been cancelled.
                self._reading += 1
                is_turn.set_result(True)

    async def _wait_in_line(self, held: Held) -> None:
        held.join(self._in_flight.waiting, READ_SIZE_BYTES_MIN)
        loop = asyncio.get_running_loop()
        waiting = _Queued(loop.create_future(), loop.time() + self._limits.waiting_s_max)
        self._waiting.append(waiting)
        if self._looking is None:
            self._looking = loop.call_at(waiting.until_s, self._look)
        try:
            is_turn = await waiting.is_turn
        except asyncio.CancelledError:
            held.release()
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            elif not waiting.is_turn.cancelled() and waiting.is_turn.result():
                self.leave()
            raise
        if not is_turn:
            held.release()
            raise self._waited_too_long()

    def _look(self) -> None:
        """End the waiting of those whose turn did not come in time; one timer for all."""
        loop = asyncio.get_running_loop()
        while self._waiting and self._waiting[0].until_s <= loop.time():
            is_turn = self._waiting.popleft().is_turn
            if not is_turn.done():
                is_turn.set_result(False)
        self._looking = loop.call_at(self._waiting[0].until_s, self._look) if self._waiting else None

    async def _wait_for_room(self, held: Held) -> None:
        known_bytes, firsts = self._expected_bytes, self._limits.firsts
        size_bytes, share = (known_bytes, None) if self._is_known else (self._limits.first_bytes, firsts)
        if self._turn.locked() or not held.has_room(size_bytes, share):
            held.join(self._in_flight.waiting, READ_SIZE_BYTES_MIN)
        try:
            async with asyncio.timeout(self._limits.waiting_s_max), self._turn:
                await held.wait_for_room(size_bytes, share)
                if share is None:
                    await held.pace(size_bytes)
        except TimeoutError:
            raise self._waited_too_long() from None

    def _waited_too_long(self) -> Overloaded:
        self._in_flight.refused_count += 1
        return Overloaded(f"the request waited {self._limits.waiting_s_max:g} s for others of its connection")

    def _reading_max(self) -> int:
        if not self._is_known:
            return 1
        return max(1, min(_READING_MAX, self._share.size_bytes_max // self._expected_bytes))


class BodyRead:
    """One body that is being read; a context manager that gives what it holds."""

    __slots__ = ("_has_left", "_lane", "held")

    def __init__(self, lane: GrpcConnection, held: Held) -> None:
        self._lane = lane
        self._has_left = False
        self.held = held

    def end(self, size_bytes: int) -> None:
        """Tell that it is there, and how large it is."""
        self._lane.learn(size_bytes)
        self.leave()
        self.held.join(None, size_bytes)

    def be_late(self) -> bool:
        """Let others be read; tells whether there is room for it among the late ones. If not, it has to be slow."""
        self.leave()
        late, size_bytes = self.held.in_flight.late, self._lane.late_size_bytes()
        if size_bytes is None or not self.held.has_room(size_bytes, late):
            return False
        self.held.join(late, size_bytes)
        return True

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


class GrpcConnections:
    """All of them; those that are idle are forgotten when there are more than connections may be.

    Args:
        in_flight: The limit.
        size_bytes_max: Of a body.
        count_max: How many are kept.
        waiting_s_max: For a body's turn to be read.
    """

    def __init__(self, in_flight: InFlight, size_bytes_max: int, count_max: int, waiting_s_max: float) -> None:
        self._in_flight = in_flight
        first_bytes = max(READ_SIZE_BYTES_MIN, min(size_bytes_max, in_flight.size_bytes_max * 3 // 16))
        firsts = in_flight.new_share("first requests of connections")
        if first_bytes < size_bytes_max:  # They may become larger than what they can hold: so one at a time.
            firsts.size_bytes_max = first_bytes
        self._limits = _Limits(firsts, first_bytes, size_bytes_max // _LATE_PART, waiting_s_max)
        self._count_max = count_max
        self._lanes: OrderedDict[str, GrpcConnection] = OrderedDict()  # By peer, the longest unused first.

    def of(self, peer: str) -> GrpcConnection:
        """Give the lane of this connection."""
        lane = self._lanes.get(peer)
        if lane is None:
            lane = self._lanes[peer] = GrpcConnection(peer, self._in_flight, self._limits)
            for oldest in list(self._lanes)[: len(self._lanes) - self._count_max]:
                if self._lanes[oldest].is_idle:
                    del self._lanes[oldest]
        else:
            self._lanes.move_to_end(peer)
        return lane
