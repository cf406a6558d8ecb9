"""The limit on the bytes that requests hold while they are read, counted and committed.

One `InFlight` is shared by all servers of a pipeline. It runs on the event loop's thread, without locks.
"""

import asyncio
from contextlib import suppress
from typing import NoReturn, Self

from otel_sla.counting.receipt import LARGE_SIZE_BYTES, Receipt, TracesConsumer
from otel_sla.errors import OtelSlaError, Overloaded, RequestTooLarge
from otel_sla.receiver.limits.large_requests import LargeRequests, StartedRequest

ROOM_WAIT_S = 2.0  # Senders give up an attempt after 5 s or more.
_RESERVE_PART = 64  # Large requests leave one part of this many to small ones; one alone may hold it too.


class Share:
    """A part of the limit, for requests that must leave the rest to others; one alone may hold more."""

    def __init__(self, name: str, size_bytes_max: int) -> None:
        self.name = name  # Of those who share, for the error's text.
        self.size_bytes_max = size_bytes_max
        self.size_bytes = 0  # Held now.

    def has_room(self, size_bytes: int, size_bytes_before: int) -> bool:
        """Tell whether a request that held `size_bytes_before` of it may hold `size_bytes`."""
        of_others = self.size_bytes - size_bytes_before
        return size_bytes <= size_bytes_before or of_others == 0 or of_others + size_bytes <= self.size_bytes_max


class InFlight:
    """Counts the bytes in flight and refuses what would take more than `size_bytes_max`."""

    def __init__(self, size_bytes_max: int) -> None:
        assert size_bytes_max > 0, size_bytes_max
        self.size_bytes_max = size_bytes_max
        self.size_bytes = 0  # Held now.
        self.refused_count = 0
        # When these three hold all that they may, a new connection's first body finds room all the same: see `Lanes`.
        self.slow = self.new_share("slow requests")  # Whose bodies take long.
        self.late = Share("late requests", size_bytes_max // 8)  # Bodies of known connections, for their first second.
        self.waiting = Share("requests that wait to be read", size_bytes_max // 8)  # With what came of them unasked.
        self.pace = LargeRequests()  # And begin one after another.
        self._waiting: list[asyncio.Future[None]] = []  # For room.

    def new_share(self, name: str) -> Share:
        """Give a share of half of the limit."""
        return Share(name, self.size_bytes_max // 2)

    def hold(self, size_bytes: int, share: Share | None = None) -> "Held":
        """Hold this much for one request; give it back with `release` or as a context manager.

        Args:
            size_bytes: How much.
            share: Of those who send by the same connection, where it carries several requests at once.

        Raises:
            Overloaded: With all the others it would be more than the limit.
            RequestTooLarge: It is more than the limit by itself.
        """
        held = Held(self, () if share is None else (share,))
        held.resize(size_bytes)
        return held

    async def freed(self) -> None:
        """Wait until some of it has been given back."""
        freed = asyncio.get_running_loop().create_future()
        self._waiting.append(freed)
        await freed

    def wake(self) -> None:
        """Let those who wait for room look again, in their order."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for freed in waiting:
                if not freed.done():
                    freed.set_result(None)

    def most_bytes(self, size_bytes: int) -> int:
        """Tell how much all may hold together for one to hold `size_bytes`."""
        if size_bytes < LARGE_SIZE_BYTES:
            return self.size_bytes_max
        reserve = self.size_bytes_max // _RESERVE_PART
        return min(self.size_bytes_max, max(self.size_bytes_max - reserve, size_bytes + reserve))


class Held:
    """What one request holds of the limit."""

    __slots__ = ("_begun", "_in_flight", "_joined", "_shares", "owner", "size_bytes")

    def __init__(self, in_flight: InFlight, shares: tuple[Share, ...] = ()) -> None:
        self._in_flight = in_flight
        self._shares = shares
        self._joined: Share | None = None  # One of these: of those that are in the same state as it is.
        self.owner: object = None  # Whose request it is, for `LargeRequests`.
        self._begun: StartedRequest | None = None  # It is large, and had its turn to begin.
        self.size_bytes = 0

    def has_room(self, size_bytes: int, share: Share | None = None) -> bool:
        """Tell whether `join` would not be refused for what others hold now."""
        if share is not None and not share.has_room(size_bytes, self.size_bytes if share is self._joined else 0):
            return False
        in_flight = self._in_flight
        if in_flight.size_bytes - self.size_bytes + size_bytes > in_flight.most_bytes(size_bytes):
            return False
        for own in self._shares:  # A generator costs more than what it looks at, for each request.
            if own is not self._joined and not own.has_room(size_bytes, self.size_bytes):
                return False
        return True

    async def wait_for_room(self, size_bytes: int, share: Share | None = None) -> None:
        """Hold `size_bytes`, of that share if there is one, as soon as there is room.

        Raises:
            Overloaded: There was none for a while.
            RequestTooLarge: It is more than the limit by itself.
        """
        with suppress(TimeoutError):  # Then it is refused for the reason that there is now.
            async with asyncio.timeout(ROOM_WAIT_S):
                while not self.has_room(size_bytes, share) and size_bytes <= self._in_flight.size_bytes_max:
                    await self._in_flight.freed()
        self.join(share, size_bytes)

    async def pace(self, size_bytes: int) -> None:
        """Wait until a request of this size may begin: a large one leaves time to small ones, once."""
        if size_bytes >= LARGE_SIZE_BYTES and self._begun is None:
            self._begun = await self._in_flight.pace.wait(self.owner, size_bytes)

    def resize(self, size_bytes: int) -> None:
        """Hold `size_bytes` from now on, instead of what was held.

        Raises:
            Overloaded: With all the others it would be more than the limit; what was held stays held.
            RequestTooLarge: It is more than the limit by itself.
        """
        in_flight = self._in_flight
        if size_bytes > in_flight.size_bytes_max:
            raise RequestTooLarge(
                f"the request needs {size_bytes} bytes of memory, more than the limit of {in_flight.size_bytes_max}"
            )
        wanted = in_flight.size_bytes + size_bytes - self.size_bytes
        if wanted > in_flight.most_bytes(size_bytes) and size_bytes > self.size_bytes:
            self._refuse("requests in flight", wanted, in_flight.most_bytes(size_bytes))
        for share in self._shares:
            if not share.has_room(size_bytes, self.size_bytes):
                wanted_of_share = share.size_bytes + size_bytes - self.size_bytes
                self._refuse(share.name, wanted_of_share, share.size_bytes_max)
        for share in self._shares:
            share.size_bytes += size_bytes - self.size_bytes
        in_flight.size_bytes = wanted
        is_less = size_bytes < self.size_bytes
        self.size_bytes = size_bytes
        if is_less:
            in_flight.wake()

    def join(self, share: Share | None, size_bytes: int) -> None:
        """Be one of those who share from now on, and of those joined before no longer; hold `size_bytes`.

        Raises:
            Overloaded: There is no room for it; nothing changed.
            RequestTooLarge: It is more than the limit by itself.
        """
        before = self._joined
        if share is before:
            self.resize(size_bytes)
            return
        if share is not None and not share.has_room(size_bytes, 0):
            self._refuse(share.name, share.size_bytes + size_bytes, share.size_bytes_max)
        self._be_joined(None)
        try:
            self.resize(size_bytes)
        except OtelSlaError:
            self._be_joined(before)
            raise
        self._be_joined(share)
        if before is not None:  # Others may be waiting for room in the share that was left.
            self._in_flight.wake()

    def _be_joined(self, share: Share | None) -> None:
        if self._joined is not None:
            self._joined.size_bytes -= self.size_bytes
            self._shares = tuple(other for other in self._shares if other is not self._joined)
        if share is not None:
            share.size_bytes += self.size_bytes
            self._shares = (*self._shares, share)
        self._joined = share

    @property
    def in_flight(self) -> InFlight:
        """The limit that it is a part of."""
        return self._in_flight

    def move(self) -> "Held":
        """Hand all of it over to somebody who ends later; nothing is held here afterwards."""
        moved = Held(self._in_flight, self._shares)
        moved.owner, moved._joined = self.owner, self._joined
        moved._begun, self._begun = self._begun, None
        moved.size_bytes, self.size_bytes = self.size_bytes, 0
        self._shares, self._joined = (), None
        return moved

    def release(self) -> None:
        """Give all of it back."""
        if self._begun is not None:
            self._begun.end()
        for share in self._shares:
            share.size_bytes -= self.size_bytes
        self._in_flight.size_bytes -= self.size_bytes
        self.size_bytes = 0
        self._in_flight.wake()

    def _refuse(self, name: str, wanted_bytes: int, size_bytes_max: int) -> NoReturn:
        self._in_flight.refused_count += 1
        raise Overloaded(f"{name} would hold {wanted_bytes} bytes, more than the limit of {size_bytes_max}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


async def account(accountant: TracesConsumer, body: bytes, held: Held) -> Receipt:
    """Have `body` counted when it is its turn.

    Raises:
        OtelSlaError: As `TracesConsumer.account`.
    """
    pace = held.in_flight.pace
    if len(body) < LARGE_SIZE_BYTES:
        pace.begin_small(held.owner)
        try:
            return await accountant.account(body)
        finally:
            pace.end_small()
    await held.pace(len(body))
    return await accountant.account(body)


class Intake:
    """Hands bodies to the accountant, each in a task of its own.

    A sender that gives up cancels the server's handler; the accounting goes on, because what is half counted must be
    finished. Its bytes are held until then.
    """

    def __init__(self, accountant: TracesConsumer) -> None:
        self._accountant = accountant
        self._tasks: set[asyncio.Task[Receipt]] = set()  # The loop itself keeps weak references only.

    def begin(self, body: bytes, held: Held) -> asyncio.Future[Receipt]:
        """Account for `body`; `held` is released when that is over, whatever becomes of who waits for it.

        Returns:
            What `TracesConsumer.account` gives or raises. Shield it: it must not be cancelled.
        """
        task = asyncio.create_task(self._account(body, held))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def take(self, body: bytes, held: Held) -> Receipt:
        """Wait for what `begin` begins.

        Raises:
            OtelSlaError: As `TracesConsumer.account`.
        """
        task = self.begin(body, held)
        try:
            return await asyncio.shield(task)
        finally:
            # An error's traceback holds this frame. If the frame still held the task, which holds the error, the body
            # would stay until the garbage collector happens to run: up to 64 MiB for each refused request.
            del task

    async def close(self, within_s: float = 1.0) -> None:
        """Wait for what is being accounted, and end what is not over in time: the ledger is closed next.

        Nobody is told any more that it was counted, and it was as a whole or not at all.
        """
        for wait_s in (within_s, None):
            if self._tasks:
                _, late = await asyncio.wait(self._tasks, timeout=wait_s)
                for task in late:
                    task.cancel()

    async def _account(self, body: bytes, held: Held) -> Receipt:
        with held:
            return await account(self._accountant, body, held)
