"""How long a body may take to arrive, and that slow ones leave room for the others."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from otel_sla.errors import Overloaded
from otel_sla.receiver.limits.memory import Held
from otel_sla.receiver.status import BodyTimeout

LATE_S = 0.1  # A body that takes longer waits for its sender rather than for us.
PATIENCE_S = 1.0  # A body that takes longer is slow,
_LAG_S_MAX = 0.1  # unless it was us who had no time to look.


class BodyDeadline:
    """Ends the reading of a body that takes too long; a context manager.

    Slow bodies may only hold a share of the limit together (`InFlight.slow`), and one that finds no room there is given
    up. So senders who stall, however many, cannot keep the quick ones out.

    Args:
        held: What the request holds.
        timeout_s: For the whole body.
        slow_size_bytes: What a slow body holds at least: how large it may be, where that is not seen while it comes.
        on_late: Called when it is found to be late; tells whether it may be so for a while, else it is slow at once.
    """

    def __init__(
        self, held: Held, timeout_s: float, slow_size_bytes: int = 0, on_late: Callable[[], bool] | None = None
    ) -> None:
        self._held = held
        self._timeout_s = timeout_s
        self._slow_size_bytes = slow_size_bytes
        self._on_late = on_late
        self._timeout = asyncio.timeout(timeout_s)
        self._patience: asyncio.Handle | None = None
        self._due_s = 0.0  # When it ends, by the loop's clock.
        self._refused_because = ""

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._patience is not None:
            self._patience.cancel()
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except TimeoutError:
            if self._refused_because:
                raise Overloaded(self._refused_because) from None
            raise BodyTimeout(f"the request's body did not arrive within {self._timeout_s} s") from None

    def start_patience(self) -> None:
        """From now on the body is waited for; called again, nothing changes."""
        if self._patience is None:
            self._wait()

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        patience_s = PATIENCE_S if self._on_late is None else LATE_S
        self._due_s = loop.time() + patience_s
        self._patience = loop.call_later(patience_s, self._lose_patience)

    def _lose_patience(self) -> None:
        if self._timeout.expired():
            return
        if asyncio.get_running_loop().time() - self._due_s > _LAG_S_MAX:
            self._wait()
            return
        if self._on_late is not None:
            be_late, self._on_late = self._on_late, None
            if be_late():
                self._wait()
                return
        held = self._held
        try:
            held.join(held.in_flight.slow, max(held.size_bytes, self._slow_size_bytes))
        except Overloaded as refusal:
            self._refused_because = str(refusal)
            self._timeout.reschedule(asyncio.get_running_loop().time())
