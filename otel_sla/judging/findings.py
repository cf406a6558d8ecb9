"""What one pass of the judge finds, gathered until it becomes one `Closing`."""

from dataclasses import dataclass, field

from otel_sla.ledger.records import ClosedMonth, Closing, Reopened, Replacement
from otel_sla.sla.downtime import JudgedSeries, runs
from otel_sla.sla.events import Event

_REPLACEMENT_MINUTES_MAX = 60  # An exporter reads a few ranges at once.


@dataclass(slots=True)
class Findings:
    """What one pass finds, as it grows."""

    events: list[Event] = field(default_factory=list)
    settled: list[Reopened] = field(default_factory=list)
    revisions: dict[int, int] = field(default_factory=dict)  # Series -> number of revisions.
    replacements: list[Replacement] = field(default_factory=list)
    closed_months: list[ClosedMonth] = field(default_factory=list)

    def republish(self, series_id: int, minutes: range) -> None:
        """Note that the gauges of minutes are due once more."""
        for start in range(minutes.start, minutes.stop, _REPLACEMENT_MINUTES_MAX):
            self.replacements.append(Replacement(series_id, start, min(start + _REPLACEMENT_MINUTES_MAX, minutes.stop)))

    def republish_differences(self, series_id: int, old: JudgedSeries, new: JudgedSeries) -> None:
        """Note the published minutes whose state is another now, also of a run that has only grown to a period."""
        start_minute, n_published = old.judged.start_minute, len(old.judged.adjusted)
        for start, stop in runs(old.judged.adjusted != new.judged.adjusted[:n_published]).tolist():
            self.republish(series_id, range(start_minute + start, start_minute + stop))

    def closing(self) -> Closing:
        """Give all of it; how far the judge has come is the caller's."""
        return Closing(
            judged_before=None,
            sealed_before=None,
            events=tuple(self.events),
            settled=tuple(self.settled),
            replacements=tuple(dict.fromkeys(self.replacements)),
            revisions=tuple(self.revisions.items()),
            closed_months=tuple(self.closed_months),
        )
