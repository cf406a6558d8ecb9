"""What one look at the ledger finds, gathered until it becomes one `Closing`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from otel_sla.ledger.records import ClosedMonth, Closing, Reopened, Retold
from otel_sla.sla.counts import CountsBeside
from otel_sla.sla.downtime import JudgedSeries, runs
from otel_sla.sla.events import Event

_RETOLD_MINUTES_MAX = 60  # An exporter reads a few ranges at once.


@dataclass(slots=True)
class Findings:
    """What one look finds, as it grows."""

    events: list[Event] = field(default_factory=list)
    settled: list[Reopened] = field(default_factory=list)
    revisions: dict[int, int] = field(default_factory=dict)  # Series -> number of revisions.
    retold: list[Retold] = field(default_factory=list)
    closed_months: list[ClosedMonth] = field(default_factory=list)

    def settle(self, minute: Reopened, held: Sequence[int]) -> None:
        """Note that a re-opened minute was told with these counts, N_COUNTS of them."""
        succeeded, failed, invalid, *beside = held
        told = replace(minute, counts_before=(succeeded, failed, invalid), beside_before=CountsBeside(*beside))
        self.settled.append(told)

    def retell(self, series_id: int, minutes: range) -> None:
        """Note that the gauges of minutes are due once more."""
        for start in range(minutes.start, minutes.stop, _RETOLD_MINUTES_MAX):
            self.retold.append(Retold(series_id, start, min(start + _RETOLD_MINUTES_MAX, minutes.stop)))

    def retell_differences(self, series_id: int, old: JudgedSeries, new: JudgedSeries) -> None:
        """Note the told minutes whose state is another now, also those of a run that has only grown to a period."""
        for minutes in _differences(old, new):
            self.retell(series_id, minutes)

    def closing(
        self,
        *,
        told_before: int | None = None,
        sealed_before: int | None = None,
        exclusion_change: int | None = None,
        told_versions: tuple[tuple[str, int], ...] = (),
        retired: tuple[tuple[int, int | None], ...] = (),
    ) -> Closing:
        """Give all of it, with how far the judge has come."""
        return Closing(
            judged_before=None,
            told_before=told_before,
            sealed_before=sealed_before,
            events=tuple(self.events),
            settled=tuple(self.settled),
            retold=tuple(dict.fromkeys(self.retold)),
            revisions=tuple(self.revisions.items()),
            closed_months=tuple(self.closed_months),
            exclusion_change=exclusion_change,
            told_versions=told_versions,
            retired=retired,
        )


def _differences(old: JudgedSeries, new: JudgedSeries) -> Iterator[range]:
    told = old.judged
    for start, stop in runs(told.adjusted != new.judged.adjusted[: len(told.adjusted)]).tolist():
        yield range(told.start_minute + start, told.start_minute + stop)
