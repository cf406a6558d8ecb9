"""When a kind of delivery is due: at once, at its interval, or after a back-off; and what is said of its failures."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from otel_sla.errors import LedgerError, OtelSlaError
from otel_sla.exporter.answers import Refused

_log = logging.getLogger(__name__)

BACK_OFF_START_S = 1.0
BACK_OFF_MAX_S = 60.0
RETRY_AFTER_MAX_S = 300.0  # What a backend may ask for.
NEVER = float("inf")


async def wait_for(event: asyncio.Event, timeout_s: float | None) -> None:
    """Return when the event is set or the time is over; None waits without an end."""
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return


@dataclass(frozen=True, slots=True)
class Pace:
    """Time and chance, as the delivery sees them."""

    clock: Callable[[], float] = time.monotonic  # Seconds.
    wait: Callable[[asyncio.Event, float | None], Awaitable[None]] = wait_for
    jitter: Callable[[], float] = random.random  # In [0, 1).

    def back_off_s(self, failures: int, refused: OtelSlaError | None) -> float:
        """Give the pause after so many failures in a row: 1, 2, 4 … 60 s, each shortened by up to a half at random."""
        longest_s = min(BACK_OFF_MAX_S, BACK_OFF_START_S * 2.0 ** min(failures - 1, 10))
        pause_s = longest_s * (1.0 - self.jitter() / 2)
        asked_s = refused.retry_after_s if isinstance(refused, Refused) else None
        return max(pause_s, min(asked_s or 0.0, RETRY_AFTER_MAX_S))


class Lane:
    """One kind of delivery: when it is due, and what is said about its failures.

    Args:
        name: Of the exporter.
        what: Is delivered, for the log.
        deliver: Delivers some or all, and gives whether more may be left; raises OtelSlaError.
        interval_s: Shortest time between two starts.
        pace: Time and chance.
    """

    def __init__(
        self, name: str, what: str, deliver: Callable[[], Awaitable[bool]], interval_s: float, pace: Pace
    ) -> None:
        self._name = name
        self._what = what
        self._deliver = deliver
        self._interval_s = interval_s
        self._pace = pace
        self._started_s = -NEVER
        self._failures = 0
        self._failing_since_s = 0.0
        self.due_s = NEVER

    def wake(self) -> None:
        """Something new is there; a back-off goes on all the same."""
        if not self._failures:
            self.due_s = min(self.due_s, max(self._pace.clock(), self._started_s + self._interval_s))

    def is_due(self) -> bool:
        """Whether it is time to go."""
        return self.due_s <= self._pace.clock()

    async def go(self) -> bool:
        """Deliver, and set the time of the next attempt; gives whether more may be left and the backend is well."""
        self._started_s = self._pace.clock()
        self.due_s = NEVER
        try:
            has_more = await self._deliver()
        except OtelSlaError as error:
            self._failed(str(error), error)
        except Exception as error:  # noqa: BLE001 - a mistake of ours must not end the delivery; it goes on trying.
            _log.exception("exporter %s: unexpected", self._name, extra={"action": "export_error"})
            self._failed(repr(error), None)
        else:
            self._worked()
            if has_more:
                self.due_s = self._started_s
            return has_more
        return False

    def _failed(self, message: str, error: OtelSlaError | None) -> None:
        self._failures += 1
        self.due_s = self._pace.clock() + self._pace.back_off_s(self._failures, error)
        if self._failures > 1:
            return
        self._failing_since_s = self._pace.clock()
        _log.warning(
            "exporter %s: %s wait, nothing is lost: %s",
            self._name,
            self._what,
            message,
            extra={"action": "ledger_failed" if isinstance(error, LedgerError) else "export_failed"},
        )

    def _worked(self) -> None:
        if self._failures:
            _log.info(
                "exporter %s: %s are delivered again, after %.0f s and %d attempts",
                self._name,
                self._what,
                self._pace.clock() - self._failing_since_s,
                self._failures,
                extra={"action": "export_works_again"},
            )
        self._failures = 0
