"""When a kind of delivery is due: at once, at its interval, or after a back-off; and logs of its failures."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from otel_sla.errors import LedgerError, OtelSlaError
from otel_sla.exporter.refusal import Refused
from otel_sla.self_metrics import SignalCounts

_log = logging.getLogger(__name__)

BACK_OFF_MAX_S = 60.0
RETRY_AFTER_MAX_S = 300.0  # Of what a backend may ask for.
NEVER = float("inf")


async def wait_for(event: asyncio.Event, timeout_s: float | None) -> None:
    """Return when the event is set or the time is over; None waits without an end."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), timeout_s)


@dataclass(frozen=True, slots=True)
class Timing:
    """Time and chance, as the delivery sees them."""

    clock: Callable[[], float] = time.monotonic  # Seconds.
    wait: Callable[[asyncio.Event, float | None], Awaitable[None]] = wait_for
    jitter: Callable[[], float] = random.random  # In [0, 1).

    def back_off_s(self, failures: int, error: OtelSlaError | None) -> float:
        """Give the pause after so many failures in a row: 1, 2, 4 … 60 s, each shortened by up to a half at random."""
        longest_s = min(BACK_OFF_MAX_S, 2.0 ** min(failures - 1, 10))
        return max(longest_s * (1.0 - self.jitter() / 2), _asked_pause_s(error))


def _asked_pause_s(error: OtelSlaError | None) -> float:
    asked_s = error.retry_after_s if isinstance(error, Refused) else None
    return min(asked_s or 0.0, RETRY_AFTER_MAX_S)


def _reason_of(error: OtelSlaError | None) -> str:
    if isinstance(error, Refused):
        return error.blame.value
    return "ledger" if isinstance(error, LedgerError) else "internal"


class Schedule:
    """When one kind of delivery of an exporter is due; failures are counted in `counts`.

    `deliver` delivers some or all, and gives whether more may be left, or raises OtelSlaError; between two of its
    starts lie `interval_s` at least.
    """

    def __init__(
        self, name: str, counts: SignalCounts, deliver: Callable[[], Awaitable[bool]], interval_s: float, timing: Timing
    ) -> None:
        self._name = name
        self.counts = counts
        self._deliver = deliver
        self._interval_s = interval_s
        self._timing = timing
        self._started_s = -NEVER
        self._failures = 0
        self._failing_since_s = 0.0
        self._not_before_s = -NEVER  # As the backend asked.
        self._may_cut_back_off = False
        self.due_s = NEVER

    @property
    def is_failing(self) -> bool:
        """Whether the last attempt failed."""
        return self._failures > 0

    def wake(self) -> None:
        """There is something to deliver; a back-off goes on all the same."""
        if not self._failures:
            self.due_s = min(self.due_s, max(self._timing.clock(), self._started_s + self._interval_s))

    def note_backend(self, *, is_well: bool) -> None:
        """Take into account how the backend took another kind of data: once it is well, a back-off ends.

        That happens once per outage: a backend that takes figures and refuses events for good must not be sent events
        with each batch of figures.
        """
        if not is_well:
            self._may_cut_back_off = True
        elif self.is_failing and self._may_cut_back_off:
            self._may_cut_back_off = False
            self.due_s = min(self.due_s, max(self._timing.clock(), self._not_before_s))

    def is_due(self) -> bool:
        """Whether it is time to deliver."""
        return self.due_s <= self._timing.clock()

    async def go(self) -> bool:
        """Deliver, and set the time of the next attempt; gives whether it worked and more may be left."""
        self._started_s = self._timing.clock()
        self.due_s = NEVER
        try:
            has_more = await self._deliver()
        except OtelSlaError as error:
            self._failed(str(error), error)
            return False
        except Exception as error:  # noqa: BLE001 - a mistake of ours must not end the delivery; it goes on trying.
            _log.exception("exporter %s: unexpected", self._name, extra={"action": "export_error"})
            self._failed(repr(error), None)
            return False
        self._worked()
        if has_more:
            self.due_s = self._started_s
        return has_more

    def _failed(self, message: str, error: OtelSlaError | None) -> None:
        self._failures += 1
        self.counts.failed_attempts[_reason_of(error)] += 1
        now_s = self._timing.clock()
        self.due_s = now_s + self._timing.back_off_s(self._failures, error)
        self._not_before_s = now_s + _asked_pause_s(error)
        if self._failures == 1:
            self._failing_since_s, self._may_cut_back_off = now_s, True
            _log.warning(
                "exporter %s: %s wait, nothing is lost: %s",
                self._name,
                self.counts.what,
                message,
                extra={"action": "ledger_failed" if isinstance(error, LedgerError) else "export_failed"},
            )

    def _worked(self) -> None:
        if self._failures:
            _log.info(
                "exporter %s: %s are delivered again, after %.0f s and %d attempts",
                self._name,
                self.counts.what,
                self._timing.clock() - self._failing_since_s,
                self._failures,
                extra={"action": "export_works_again"},
            )
        self._failures = 0
