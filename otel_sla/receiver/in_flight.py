"""The limit on the bytes that requests hold while they are read, counted and committed.

One `InFlight` is shared by all servers of a pipeline. It runs on the event loop's thread, without locks.
"""

import asyncio
from typing import Self

from otel_sla.errors import Overloaded, RequestTooLarge
from otel_sla.receiver.accounting import Accountant, Receipt


class InFlight:
    """Counts the bytes in flight and refuses what would take more than `size_bytes_max`."""

    def __init__(self, size_bytes_max: int) -> None:
        assert size_bytes_max > 0, size_bytes_max
        self.size_bytes_max = size_bytes_max
        self.size_bytes = 0  # Held now.
        self.refused_count = 0

    def hold(self, size_bytes: int) -> "Held":
        """Hold this much for one request; give it back with `release` or as a context manager.

        Raises:
            Overloaded: With all the others it would be more than the limit.
            RequestTooLarge: It is more than the limit by itself.
        """
        held = Held(self)
        held.resize(size_bytes)
        return held


class Held:
    """What one request holds of the limit."""

    __slots__ = ("_in_flight", "size_bytes")

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
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
            in_flight.refused_count += 1
            raise Overloaded(
                f"requests in flight would hold {wanted} bytes, more than the limit of {in_flight.size_bytes_max}"
            )
        in_flight.size_bytes = wanted
        self.size_bytes = size_bytes

    def move(self) -> "Held":
        """Hand all of it over to somebody who ends later; nothing is held here afterwards."""
        moved = Held(self._in_flight)
        moved.size_bytes, self.size_bytes = self.size_bytes, 0
        return moved

    def release(self) -> None:
        """Give all of it back."""
        self._in_flight.size_bytes -= self.size_bytes
        self.size_bytes = 0

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
            # An error's traceback holds this frame. If the frame still held the task, which holds the error, the body would
            # stay until the garbage collector happens to run: up to 64 MiB for each refused request.
            del task

    async def _account(self, body: bytes, held: Held) -> Receipt:
        with held:
            return await self._accountant.account(body)
