"""How many requests of each gRPC connection are read at once; the others wait unread.

gRPC does not tell how large a message is before it has arrived, and once asked for one it takes all of it: 256 calls
of one connection could bring 16 GiB. A message that is not asked for stays with its sender, but for the 64 KiB that
HTTP/2 lets arrive. So as many of a connection's bodies are read at once as its recent ones were small, and of a new
connection one.

A body holds 64 KiB of the limit while it waits to be read; while it is read, the size of its connection's recent
bodies. A late body of a known connection holds more until it is slow. A late body of a new connection may have any
size: it is slow at once, holds the largest size, and is refused where there is no room for that.
"""

import asyncio
from collections import OrderedDict, deque
from contextlib import suppress
from typing import Self

from otel_sla.counting.receipt import LARGE_SIZE_BYTES
from otel_sla.errors import Overloaded
from otel_sla.receiver.limits.memory import Held, InFlight

READ_SIZE_BYTES_MIN = 64 * 1024  # Held at least while a body is read: about what HTTP/2 lets arrive unasked.
_READING_MAX = 32  # At once, of one connection.
_LATE_FACTOR = 2  # A late body holds as many times what its connection's bodies needed,
_LATE_PART = 16  # and at least one part of this many of the largest: a sender of small ones may send a large one now.


class GrpcConnections:
    """All connections; idle ones are forgotten when there are more than connections may be.

    Args:
        in_flight: The limit.
        size_bytes_max: Of a body.
        count_max: How many are kept.
        wait_s_max: For a body's turn to be read.
    """

    def __init__(self, in_flight: InFlight, size_bytes_max: int, count_max: int, wait_s_max: float) -> None:
        self.in_flight = in_flight
        self.wait_s_max = wait_s_max
        self.late_size_bytes_min = size_bytes_max // _LATE_PART
        self.first_size_bytes = max(READ_SIZE_BYTES_MIN, min(size_bytes_max, in_flight.size_bytes_max * 3 // 16))
        self.firsts = in_flight.new_share("first requests of connections")
        if self.first_size_bytes < size_bytes_max:  # They may become larger than what they hold: so one at a time.
            self.firsts.size_bytes_max = self.first_size_bytes
        self._count_max = count_max
        self._by_peer: OrderedDict[str, GrpcConnection] = OrderedDict()  # The longest unused first.

    def of(self, peer: str) -> "GrpcConnection":
        """The connection from this address."""
        connection = self._by_peer.get(peer)
        if connection is None:
            connection = self._by_peer[peer] = GrpcConnection(peer, self)
            for oldest in list(self._by_peer)[: len(self._by_peer) - self._count_max]:
                if self._by_peer[oldest].is_idle:
                    del self._by_peer[oldest]
        else:
            self._by_peer.move_to_end(peer)
        return connection


class GrpcConnection:
    """One connection: its queue of bodies to be read, and how large they were."""

    def __init__(self, peer: str, connections: GrpcConnections) -> None:
        self._peer = peer
        self._all = connections
        self._in_flight = connections.in_flight
        self._share = self._in_flight.new_share("requests of one connection")
        self._expected_bytes = READ_SIZE_BYTES_MIN  # What its recent bodies needed.
        self._is_known = False  # It has sent a body.
        self._reading = 0
        self._queue: deque[asyncio.Future[None]] = deque()  # Of bodies to be read.
        self._room_turn = asyncio.Lock()  # One of its bodies at a time waits for room among all connections.

    @property
    def is_idle(self) -> bool:
        """Nothing is under way."""
        return not (self._reading or self._queue or self._share.size_bytes)

    async def begin(self) -> "BodyRead":
        """Wait until one more body may be read.

        Raises:
            Overloaded: There is no room for it, or its turn did not come in time.
        """
        held = Held(self._in_flight, self._share, self._peer)
        if self._queue or self._reading >= self._reading_max():
            await self._wait_in_queue(held)
        else:
            self._reading += 1
        try:
            size_bytes = self._expected_bytes if self._is_known else LARGE_SIZE_BYTES
            if size_bytes < LARGE_SIZE_BYTES and not self._room_turn.locked() and held.has_room(size_bytes):
                held.join(None, size_bytes)
            else:
                await self._wait_for_room(held)
        except BaseException:
            self.leave()
            held.release()
            raise
        return BodyRead(self, held)

    def late_size_bytes(self) -> int | None:
        """What a late body holds; None: it may have any size."""
        return max(_LATE_FACTOR * self._expected_bytes, self._all.late_size_bytes_min) if self._is_known else None

    def learn(self, size_bytes: int) -> None:
        """Remember how large a body was."""
        # Forgets slowly, so that one small body among large ones does not let too many in.
        self._expected_bytes = max(READ_SIZE_BYTES_MIN, size_bytes, self._expected_bytes * 15 // 16)
        self._is_known = True

    def leave(self) -> None:
        """End the reading of one body, and let the next be read."""
        self._reading -= 1
        while self._queue and self._reading < self._reading_max():
            turn = self._queue.popleft()
            if not turn.done():  # Else its call has just been cancelled.
                self._reading += 1
                turn.set_result(None)

    async def _wait_in_queue(self, held: Held) -> None:
        held.join(self._in_flight.waiting, READ_SIZE_BYTES_MIN)
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            async with asyncio.timeout(self._all.wait_s_max):
                await turn
        except BaseException as error:
            held.release()
            if turn.done() and not turn.cancelled():  # Its turn came at the same moment.
                self.leave()
            with suppress(ValueError):
                self._queue.remove(turn)
            if isinstance(error, TimeoutError):
                raise self._waited_too_long() from None
            raise

    async def _wait_for_room(self, held: Held) -> None:
        connections = self._all
        size_bytes, state = (
            (self._expected_bytes, None) if self._is_known else (connections.first_size_bytes, connections.firsts)
        )
        if self._room_turn.locked() or not held.has_room(size_bytes, state):
            held.join(self._in_flight.waiting, READ_SIZE_BYTES_MIN)
        try:
            async with asyncio.timeout(connections.wait_s_max), self._room_turn:
                await held.wait_for_room(size_bytes, state)
                if state is None:
                    await held.wait_for_turn(size_bytes)
        except TimeoutError:
            raise self._waited_too_long() from None

    def _waited_too_long(self) -> Overloaded:
        self._in_flight.refused_count += 1
        return Overloaded(f"the request waited {self._all.wait_s_max:g} s for others of its connection")

    def _reading_max(self) -> int:
        if not self._is_known:
            return 1
        return max(1, min(_READING_MAX, self._share.size_bytes_max // self._expected_bytes))


class BodyRead:
    """One body that is being read; a context manager that releases what it holds."""

    __slots__ = ("_connection", "_has_left", "held")

    def __init__(self, connection: GrpcConnection, held: Held) -> None:
        self._connection = connection
        self._has_left = False
        self.held = held

    def end(self, size_bytes: int) -> None:
        """The body has arrived, and is this large."""
        self._connection.learn(size_bytes)
        self.leave()
        self.held.join(None, size_bytes)

    def be_late(self) -> bool:
        """Let others be read; whether there is room for it among the late ones. If not, it has to be slow."""
        self.leave()
        late, size_bytes = self.held.in_flight.late, self._connection.late_size_bytes()
        if size_bytes is None or not self.held.has_room(size_bytes, late):
            return False
        self.held.join(late, size_bytes)
        return True

    def leave(self) -> None:
        """Let the next of its connection be read; called again, nothing changes."""
        if not self._has_left:
            self._has_left = True
            self._connection.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
        self.held.release()
