"""The limit on the bytes that requests hold while they are read, counted and committed.

All servers of a process share one `InFlight`. It runs on the event loop's thread, without locks.
"""

import asyncio
from contextlib import suppress
from typing import Self

from otel_sla.counting.receipt import LARGE_SIZE_BYTES, Receipt, TracesConsumer
from otel_sla.errors import Overloaded, RequestTooLarge
from otel_sla.receiver.limits.large_requests import LargeRequests, StartedRequest

_RESERVE_PART = 64  # Large requests leave one part of this many to small ones; one alone may hold it too.


class Share:
    """A part of the limit, for requests that must leave the rest to others; one alone may hold more."""

    def __init__(self, name: str, size_bytes_max: int) -> None:
        self.name = name  # Of the requests that share it, for the error's text.
        self.size_bytes_max = size_bytes_max
        self.size_bytes = 0  # Held now.

    def has_room(self, size_bytes: int, size_bytes_before: int) -> bool:
        """Whether a request that held `size_bytes_before` of it may hold `size_bytes`."""
        of_others = self.size_bytes - size_bytes_before
        return size_bytes <= size_bytes_before or of_others == 0 or of_others + size_bytes <= self.size_bytes_max


class InFlight:
    """Counts the bytes in flight; what would exceed the limit fails as `Overloaded`, which senders retry.

    Args:
        size_bytes_max: The limit.
        room_wait_s: How long a request waits for room; senders give up an attempt after 5 s or more.
        slow_after_s: A body that takes longer to arrive is slow, and joins the share of the slow ones.
        large_requests: Lets large requests begin one after another.
    """

    def __init__(
        self,
        size_bytes_max: int,
        *,
        room_wait_s: float = 2.0,
        slow_after_s: float = 1.0,
        large_requests: LargeRequests | None = None,
    ) -> None:
        assert size_bytes_max > 0, size_bytes_max
        self.size_bytes_max = size_bytes_max
        self.room_wait_s = room_wait_s
        self.slow_after_s = slow_after_s
        self.large_requests = large_requests or LargeRequests()
        self.size_bytes = 0  # Held now.
        self.refused_count = 0
        # With all three full, a new connection's first body still has room: see `GrpcConnections`.
        self.slow = self.new_share("slow requests")
        self.late = Share("late requests", size_bytes_max // 8)  # Bodies of known connections, until they are slow.
        self.waiting = Share("requests that wait to be read", size_bytes_max // 8)
        self._waiters: list[asyncio.Future[None]] = []  # For room.

    def new_share(self, name: str) -> Share:
        """Make a share of half of the limit."""
        return Share(name, self.size_bytes_max // 2)

    def hold(self, size_bytes: int, connection: Share | None = None) -> "Held":
        """Hold this much for one request; give it back with `release` or as a context manager.

        Args:
            size_bytes: How much.
            connection: The share of its connection, where that carries several requests at once.

        Raises:
            Overloaded: With all the others it would exceed the limit.
            RequestTooLarge: It exceeds the limit by itself.
        """
        held = Held(self, connection)
        held.resize(size_bytes)
        return held

    async def freed(self) -> None:
        """Wait until some of it has been given back."""
        freed = asyncio.get_running_loop().create_future()
        self._waiters.append(freed)
        await freed

    def wake(self) -> None:
        """Let the requests that wait for room look again, in their order."""
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for freed in waiters:
                if not freed.done():
                    freed.set_result(None)

    def most_bytes(self, size_bytes: int) -> int:
        """How much all may hold together for one to hold `size_bytes`."""
        if size_bytes < LARGE_SIZE_BYTES:
            return self.size_bytes_max
        reserve = self.size_bytes_max // _RESERVE_PART
        return min(self.size_bytes_max, max(self.size_bytes_max - reserve, size_bytes + reserve))


class Held:
    """What one request holds of the limit, and of up to two shares: its connection's, and that of its state."""

    __slots__ = ("_connection", "_started", "_state", "in_flight", "owner", "size_bytes")

    def __init__(self, in_flight: InFlight, connection: Share | None = None, owner: object = None) -> None:
        self.in_flight = in_flight
        self.owner = owner  # Who sends it, for `LargeRequests`.
        self.size_bytes = 0
        self._connection = connection
        self._state: Share | None = None  # Waiting, late, slow.
        self._started: StartedRequest | None = None  # It is large, and had its turn to begin.

    def has_room(self, size_bytes: int, state: Share | None = None) -> bool:
        """Whether `join` would succeed."""
        return self._refusal(size_bytes, state) is None

    async def wait_for_room(self, size_bytes: int, state: Share | None = None) -> None:
        """Join `state` with `size_bytes` as soon as there is room.

        Raises:
            Overloaded: There was none in time.
            RequestTooLarge: It exceeds the limit by itself.
        """
        with suppress(TimeoutError):  # `join` then says what has no room.
            async with asyncio.timeout(self.in_flight.room_wait_s):
                while not self.has_room(size_bytes, state) and size_bytes <= self.in_flight.size_bytes_max:
                    await self.in_flight.freed()
        self.join(state, size_bytes)

    async def wait_for_turn(self, size_bytes: int) -> None:
        """Wait until a request of this size may begin: a large one leaves time to small ones, once."""
        if size_bytes >= LARGE_SIZE_BYTES and self._started is None:
            self._started = await self.in_flight.large_requests.wait(self.owner, size_bytes)

    def resize(self, size_bytes: int) -> None:
        """Hold `size_bytes` from now on; raises as `join`."""
        self.join(self._state, size_bytes)

    def join(self, state: Share | None, size_bytes: int) -> None:
        """Hold `size_bytes` of `state` from now on, instead of what was held.

        Raises:
            Overloaded: There is no room for it; nothing changed.
            RequestTooLarge: It exceeds the limit by itself.
        """
        in_flight, connection, state_before = self.in_flight, self._connection, self._state
        if size_bytes > in_flight.size_bytes_max:
            raise RequestTooLarge(
                f"the request needs {size_bytes} bytes of memory, more than the limit of {in_flight.size_bytes_max}"
            )
        if (refusal := self._refusal(size_bytes, state)) is not None:
            in_flight.refused_count += 1
            name, wanted, size_bytes_max = refusal
            raise Overloaded(f"{name} would hold {wanted} bytes, more than the limit of {size_bytes_max}")
        growth_bytes = size_bytes - self.size_bytes
        if state_before is not None:
            state_before.size_bytes -= self.size_bytes
        if state is not None:
            state.size_bytes += size_bytes
        if connection is not None:
            connection.size_bytes += growth_bytes
        in_flight.size_bytes += growth_bytes
        self._state, self.size_bytes = state, size_bytes
        if growth_bytes < 0 or (state_before is not None and state_before is not state):
            in_flight.wake()

    def _refusal(self, size_bytes: int, state: Share | None) -> tuple[str, int, int] | None:
        """What has no room for it, the bytes that it would hold then, and its limit; None: there is room."""
        in_flight, before = self.in_flight, self.size_bytes
        wanted = in_flight.size_bytes + size_bytes - before
        if size_bytes > before and wanted > (most_bytes := in_flight.most_bytes(size_bytes)):
            return "requests in flight", wanted, most_bytes
        if (share := self._connection) is not None and not share.has_room(size_bytes, before):
            return share.name, share.size_bytes + size_bytes - before, share.size_bytes_max
        if state is not None:
            before = before if state is self._state else 0
            if not state.has_room(size_bytes, before):
                return state.name, state.size_bytes + size_bytes - before, state.size_bytes_max
        return None

    def move(self) -> "Held":
        """Hand all of it over to a longer-lived owner; nothing is held here afterwards."""
        moved = Held(self.in_flight, self._connection, self.owner)
        moved._state, moved._started, moved.size_bytes = self._state, self._started, self.size_bytes
        self._connection = self._state = self._started = None
        self.size_bytes = 0
        return moved

    def release(self) -> None:
        """Give all of it back."""
        if self._started is not None:
            self._started.end()
        self.join(None, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


async def account(accountant: TracesConsumer, body: bytes, held: Held) -> Receipt:
    """Have `body` counted when it is its turn; raises as `TracesConsumer.account`."""
    if len(body) >= LARGE_SIZE_BYTES:
        await held.wait_for_turn(len(body))
        return await accountant.account(body)
    large_requests = held.in_flight.large_requests
    large_requests.begin_small(held.owner)
    try:
        return await accountant.account(body)
    finally:
        large_requests.end_small()


class Intake:
    """Hands bodies to the accountant, each in a task of its own.

    A sender that gives up cancels the server's handler; the accounting goes on, because what is half counted must be
    finished. Its bytes are held until then.
    """

    def __init__(self, accountant: TracesConsumer) -> None:
        self._accountant = accountant
        self._tasks: set[asyncio.Task[Receipt]] = set()  # The loop itself keeps weak references only.

    async def take(self, body: bytes, held: Held) -> Receipt:
        """Have `body` counted; `held` is released when that is over, also when the caller is cancelled.

        Raises:
            OtelSlaError: As `TracesConsumer.account`.
        """
        task = asyncio.create_task(self._account(body, held))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        finally:
            # An error's traceback holds this frame. If the frame still held the task, which holds the error, the body
            # would stay until the garbage collector happens to run: up to 64 MiB for each refused request.
            del task

    async def close(self, within_s: float = 1.0) -> None:
        """Wait for what is being accounted, and cancel what is not over in time: the ledger is closed next.

        Nobody is left to be answered, and a request is counted as a whole or not at all.
        """
        for wait_s in (within_s, None):
            if self._tasks:
                _, late = await asyncio.wait(self._tasks, timeout=wait_s)
                for task in late:
                    task.cancel()

    async def _account(self, body: bytes, held: Held) -> Receipt:
        with held:
            return await account(self._accountant, body, held)
