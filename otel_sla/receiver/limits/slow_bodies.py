"""How long a body may take to arrive, and that slow ones leave room for the others."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from otel_sla.errors import Overloaded
from otel_sla.receiver.limits.memory import Held
from otel_sla.receiver.responses import BodyTimeout

_LATE_S = 0.1  # A body that takes longer waits for its sender rather than for us.
_LAG_S_MAX = 0.1  # A timer that is later than this was delayed by us, not by the sender.


class BodyDeadline:
    """Ends the reading of a body that takes too long; a context manager around it.

    Slow bodies share a part of the limit (`InFlight.slow`), and one that finds no room there fails as `Overloaded`.
    So senders that stall, however many, cannot keep the quick ones out.

    Args:
        held: What the request holds.
        timeout_s: For the whole body.
        slow_size_bytes: What a slow body holds at least: how large it may be, where that is not seen while it arrives.
        on_late: Called when it is late; says whether it has room until it is slow, else it is slow at once.
    """

    def __init__(
        self, held: Held, timeout_s: float, slow_size_bytes: int = 0, on_late: Callable[[], bool] | None = None
    ) -> None:
        self._held = held
        self._timeout_s = timeout_s
        self._slow_size_bytes = slow_size_bytes
        self._on_late = on_late
        self._timeout = asyncio.timeout(timeout_s)
        self._timer: asyncio.Handle | None = None
        self._refused_because = ""

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except TimeoutError:
            if self._refused_because:
                raise Overloaded(self._refused_because) from None
            raise BodyTimeout(f"the request's body did not arrive within {self._timeout_s} s") from None

    def start_patience(self) -> None:
        """The body becomes slow, counted from the first call; until then only the time for the whole body runs."""
        if self._timer is None:
            self._start_timer()

    def _start_timer(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time() + (self._held.in_flight.slow_after_s if self._on_late is None else _LATE_S)
        self._timer = loop.call_at(due_s, self._on_due, due_s)

    def _on_due(self, due_s: float) -> None:
        if self._timeout.expired():
            return
        now_s = asyncio.get_running_loop().time()
        if now_s - due_s > _LAG_S_MAX:
            self._start_timer()
            return
        if self._on_late is not None:
            be_late, self._on_late = self._on_late, None
            if be_late():
                self._start_timer()
                return
        held = self._held
        try:
            held.join(held.in_flight.slow, max(held.size_bytes, self._slow_size_bytes))
        except Overloaded as refusal:
            self._refused_because = str(refusal)
            self._timeout.reschedule(now_s)
