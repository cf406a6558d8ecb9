"""The limit on the bytes that requests hold while they are read, counted and committed.

One `InFlight` is shared by all servers of a pipeline. It runs on the event loop's thread, without locks.
"""

import asyncio
from typing import NoReturn, Self

from otel_sla.errors import Overloaded, RequestTooLarge
from otel_sla.receiver.accounting import Accountant, Receipt

# Takes a few ms to count. Of larger ones, were they ready all at once, small requests would wait for every one; in turn
# they wait for one.
_LARGE_SIZE_BYTES = 1024 * 1024


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
        self.slow = self.new_share("slow requests")  # Whose bodies take long.
        self.large_turn = asyncio.Lock()  # Large requests are counted one after another.

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


class Held:
    """What one request holds of the limit."""

    __slots__ = ("_in_flight", "_shares", "size_bytes")

    def __init__(self, in_flight: InFlight, shares: tuple[Share, ...] = ()) -> None:
        self._in_flight = in_flight
        self._shares = shares
        self.size_bytes = 0

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
        if wanted > in_flight.size_bytes_max and size_bytes > self.size_bytes:
            self._refuse("requests in flight", wanted, in_flight.size_bytes_max)
        for share in self._shares:
            if not share.has_room(size_bytes, self.size_bytes):
                wanted_of_share = share.size_bytes + size_bytes - self.size_bytes
                self._refuse(share.name, wanted_of_share, share.size_bytes_max)
        for share in self._shares:
            share.size_bytes += size_bytes - self.size_bytes
        in_flight.size_bytes = wanted
        self.size_bytes = size_bytes

    def slow_down(self, size_bytes: int) -> None:
        """Be one of the slow requests from now on, and hold `size_bytes`.

        Raises:
            Overloaded: There is no room for it; nothing changed.
        """
        slow = self._in_flight.slow
        if not slow.has_room(size_bytes, 0):
            self._refuse(slow.name, slow.size_bytes + size_bytes, slow.size_bytes_max)
        self.resize(size_bytes)
        slow.size_bytes += size_bytes
        self._shares = (*self._shares, slow)

    @property
    def large_turn(self) -> asyncio.Lock:
        """What a large request is counted under."""
        return self._in_flight.large_turn

    def move(self) -> "Held":
        """Hand all of it over to somebody who ends later; nothing is held here afterwards."""
        moved = Held(self._in_flight, self._shares)
        moved.size_bytes, self.size_bytes = self.size_bytes, 0
        self._shares = ()
        return moved

    def release(self) -> None:
        """Give all of it back."""
        for share in self._shares:
            share.size_bytes -= self.size_bytes
        self._in_flight.size_bytes -= self.size_bytes
        self.size_bytes = 0

    def _refuse(self, name: str, wanted_bytes: int, size_bytes_max: int) -> NoReturn:
        self._in_flight.refused_count += 1
        raise Overloaded(f"{name} would hold {wanted_bytes} bytes, more than the limit of {size_bytes_max}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Intake:
    """Hands bodies to the accountant, each in a task of its own.

    A sender that gives up cancels the server's handler; the accounting goes on, because what is half counted must be
    finished. Its bytes are held until then.
    """

    def __init__(self, accountant: Accountant) -> None:
        self._accountant = accountant
        self._tasks: set[asyncio.Task[Receipt]] = set()  # The loop itself keeps weak references only.

    async def take(self, body: bytes, held: Held) -> Receipt:
        """Account for `body`; `held` is released when that is over, whatever becomes of the caller.

        Raises:
            OtelSlaError: As `Accountant.account`.
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

    async def _account(self, body: bytes, held: Held) -> Receipt:
        with held:
            if len(body) < _LARGE_SIZE_BYTES:
                return await self._accountant.account(body)
            async with held.large_turn:
                return await self._accountant.account(body)
