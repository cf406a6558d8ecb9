"""What the clock means to the pipeline: what is accepted, what is judged, what is sealed.

What was judged and sealed stays so. So a step of the clock forward counts only once it has stood for a while
(`TrustedClock`).
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from otel_sla.judging.settings import ProcessorSettings
from otel_sla.ledger.records import Watermarks
from otel_sla.sla.counts import NANOS_PER_MINUTE, AcceptWindow
from otel_sla.sla.figures_text import minute_text

Clock = Callable[[], int]  # ns since the Unix epoch.

_NANOS_PER_S = 1_000_000_000
STEP_NANOS_MAX = 5 * NANOS_PER_MINUTE  # A clock that is corrected by less is just a clock.
_LOG_EVERY_S = 10.0  # Between two lines of `CatchingUp`.
STEP_STANDS_NANOS = 10 * NANOS_PER_MINUTE  # A larger step is believed after it has stood so long.

# Hint of the warning `ledger_ahead`; % the ledger's path.
AHEAD_HINT = (
    "spans of sealed minutes are rejected, and no other minute is judged until then. If this machine's clock is behind,"
    " set it right; if it is right, it was far ahead when %s was written: stop, and restore a backup"
    " (docs/operations.md)"
)

_log = logging.getLogger(__name__)


def steady_clock() -> int:
    """Give the time since some moment, ns; nobody sets it, and it goes on while the machine sleeps, where it can."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class TrustedClock:
    """The wall clock, but for large steps forward that have not stood for long enough yet by a clock that nobody sets.

    Until a step forward has stood, time goes on as the steady clock does; another step begins the wait anew. A step
    back is believed at once: the bounds that are made of it do not step back, so judging only waits. Other machines,
    whose clocks are right, then send spans of its future: `latest` goes on for as long as a step has to stand.
    """

    def __init__(self, wall: Clock, steady: Clock) -> None:
        self._wall = wall
        self._steady = steady
        self._now, self._read_at = wall(), steady()
        self._stepped_at: int | None = None  # By the steady clock.
        self._step_nanos = 0  # How large that step was.
        self._ahead_nanos = 0  # How far the clock had been, before it was last set back, ahead of the steady one.
        self._set_back_at: int | None = None  # By the steady clock.

    def __call__(self) -> int:
        """Give the time, ns since the Unix epoch."""
        wall, steady = self._wall(), self._steady()
        expected = self._now + steady - self._read_at
        step = wall - expected
        if step < -STEP_NANOS_MAX:
            ahead_nanos = expected - steady
            self._ahead_nanos = ahead_nanos if self._set_back_at is None else max(self._ahead_nanos, ahead_nanos)
            self._set_back_at = steady
            _warn("the clock was set back by %d s: no minute is judged until it is there again", -step, "clock_back")
        if step <= STEP_NANOS_MAX:
            if self._stepped_at is not None:
                _warn("the clock is back from its step, now at most %d s off", abs(step), "clock_returned")
            self._stepped_at = None
        elif self._stepped_at is None or abs(step - self._step_nanos) > STEP_NANOS_MAX:
            # Another step has to stand by itself: it is not the one that has stood.
            self._stepped_at, self._step_nanos = steady, step
            _warn("the clock was set ahead by %d s: judging follows if that stands for 10 minutes", step, "clock_ahead")
        elif steady - self._stepped_at >= STEP_STANDS_NANOS:
            _warn("the clock has stood ahead by %d s for 10 minutes: judging follows it", step, "clock_believed")
            self._stepped_at = None
        self._now, self._read_at = (wall if self._stepped_at is None else expected), steady
        return self._now

    def latest(self) -> int:
        """Give the latest that it may be, ns since the Unix epoch: also by a clock that was just set back, or ahead."""
        now, wall, steady = self(), self._wall(), self._steady()
        if self._set_back_at is not None and steady - self._set_back_at >= STEP_STANDS_NANOS:
            self._set_back_at = None
        return max(now, wall) if self._set_back_at is None else max(now, wall, steady + self._ahead_nanos)


def _warn(text: str, step_nanos: int, action: str) -> None:
    _log.warning(text, step_nanos // _NANOS_PER_S, extra={"action": action})


@dataclass(frozen=True, slots=True)
class MinuteMarks:
    """How far time has come; all are epoch minutes."""

    judged_before: int  # Minutes before it may be published; the ledger has this mark already.
    sealed_before: int  # Minutes before it cannot change any more.


class JudgingClock:
    """The three bounds that the pipeline works by; none of them ever steps back.

    `clock` is the latest that senders may stamp their spans by, `trusted` what is judged and sealed by; `marks` are
    those of the ledger.
    """

    def __init__(self, processor: ProcessorSettings, clock: Clock, trusted: Clock, marks: Watermarks) -> None:
        self._grace = round(processor.grace_s * _NANOS_PER_S)
        self._late_spans_max = round(processor.late_spans_max_s * _NANOS_PER_S)
        self._future_spans_max = round(processor.future_spans_max_s * _NANOS_PER_S)
        self._clock = clock
        self._trusted = trusted
        self._judged_before = marks.judged_before or 0
        self._sealed_before = marks.sealed_before or 0

    def window(self) -> AcceptWindow:
        """Give what is accepted now (clause 16)."""
        sealed_before = (self._trusted() - self._late_spans_max) // NANOS_PER_MINUTE
        self._sealed_before = max(self._sealed_before, sealed_before)
        return AcceptWindow(self._sealed_before, self._clock() + self._future_spans_max)

    def progress(self) -> MinuteMarks:
        """Give how far time has come (clause 17)."""
        self._judged_before = max(self._judged_before, (self._trusted() - self._grace) // NANOS_PER_MINUTE)
        sealed_before = min(self.window().sealed_before_minute, self._judged_before)
        return MinuteMarks(judged_before=self._judged_before, sealed_before=sealed_before)

    def newest_minute(self) -> int:
        """Give the newest minute that is accepted."""
        return (self._clock() + self._future_spans_max) // NANOS_PER_MINUTE

    def why_ahead(self) -> str:
        """Say how far the ledger is sealed ahead of the clock and of what senders may be ahead; empty: it is not."""
        return self._ahead("sealed", self._sealed_before)

    def ahead_at_start(self) -> str:
        """Say the same, or how far it is only judged ahead: then spans are accepted, and judging waits."""
        return self.why_ahead() or self.why_judging_waits()

    def why_judging_waits(self) -> str:
        """Say how far the ledger is judged ahead of the clock, so that no minute is judged; empty: it is not."""
        return self._ahead("judged", self._judged_before)

    def lag_s(self, published_before: int) -> int:
        """Give how far the judge, at that minute, is behind what can be judged; negative: it is ahead."""
        return 60 * ((self._trusted() - self._grace) // NANOS_PER_MINUTE - published_before)

    def _ahead(self, what: str, marked_before: int) -> str:
        ahead_nanos = marked_before * NANOS_PER_MINUTE - self._clock()
        if ahead_nanos <= self._future_spans_max:
            return ""
        return f"the ledger has {what} minutes that are {ahead_nanos // _NANOS_PER_S} s ahead of the clock"


def since_minute(marks: Watermarks, judging_clock: JudgingClock) -> int:
    """Give the epoch minute from which terms hold that are new to a ledger: the first that was not published."""
    return marks.published_before or judging_clock.progress().judged_before


class CatchingUp:
    """Logs now and then how far a judging has come that ends at some minute; none that takes less than ten seconds."""

    def __init__(self, judged_before: int) -> None:
        self._judged_before = judged_before
        self._logged_at_s = time.monotonic()
        self._has_logged = False

    def is_there(self, published_before: int) -> bool:
        """Note how far it has come, and give whether that is all."""
        is_there = published_before >= self._judged_before
        now_s = time.monotonic()
        if (is_there and self._has_logged) or (not is_there and now_s - self._logged_at_s >= _LOG_EVERY_S):
            self._logged_at_s, self._has_logged = now_s, True
            _log.info(
                "judging catches up: published until %s, %d minutes are left",
                minute_text(published_before),
                self._judged_before - published_before,
                extra={"action": "judging_catches_up"},
            )
        return is_there
