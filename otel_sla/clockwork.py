"""What the clock means to the pipeline: what is accepted, what is judged, what is sealed."""

from collections.abc import Callable
from dataclasses import dataclass

from otel_sla.config import ProcessorSettings
from otel_sla.ledger.records import Watermarks
from otel_sla.sla.classify import AcceptWindow
from otel_sla.sla.counts import NANOS_PER_MINUTE

Clock = Callable[[], int]  # ns since the Unix epoch.

_NANOS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far time has come; all are epoch minutes."""

    judged_before: int  # Minutes before it may be told; the ledger has this mark already.
    sealed_before: int  # Minutes before it cannot change any more.


class Clockwork:
    """Turns the clock into the three bounds that the pipeline works by; none of them ever steps back.

    Args:
        processor: Its durations.
        clock: ns since the Unix epoch.
        marks: What the ledger was left with.
    """

    def __init__(self, processor: ProcessorSettings, clock: Clock, marks: Watermarks) -> None:
        self._grace = round(processor.grace_s * _NANOS_PER_S)
        self._late_spans_max = round(processor.late_spans_max_s * _NANOS_PER_S)
        self._future_spans_max = round(processor.future_spans_max_s * _NANOS_PER_S)
        self._clock = clock
        self._judged_before = marks.judged_before or 0
        self._sealed_before = marks.sealed_before or 0

    def window(self) -> AcceptWindow:
        """Give what is accepted now (clause 16)."""
        now = self._clock()
        self._sealed_before = max(self._sealed_before, (now - self._late_spans_max) // NANOS_PER_MINUTE)
        return AcceptWindow(self._sealed_before, now + self._future_spans_max)

    def progress(self) -> Progress:
        """Give how far time has come (clause 17)."""
        now = self._clock()
        self._judged_before = max(self._judged_before, (now - self._grace) // NANOS_PER_MINUTE)
        sealed_before = min(self.window().sealed_before_minute, self._judged_before)
        return Progress(judged_before=self._judged_before, sealed_before=sealed_before)

    def newest_minute(self) -> int:
        """Give the newest minute that is accepted."""
        return (self._clock() + self._future_spans_max) // NANOS_PER_MINUTE
