"""The judged months that the page shows, kept in memory and made anew where the ledger has changed.

All figures are as of the judge's newest pass, so that page, gauges, events and a report of the same moment agree.

Dimensions:
    n_days: local days of a month that have begun, up to the last judged minute.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np

from otel_sla.arrays import Int64Array
from otel_sla.judging.month_report import judge_section
from otel_sla.judging.terms_versions import find_basis, removed_agreements
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Watermarks
from otel_sla.report.document import AgreementReport, SeriesReport
from otel_sla.sla.agreement import Agreement, Outcome
from otel_sla.sla.counts import MINUTES_PER_DAY
from otel_sla.sla.downtime import JudgedSeries, MinuteState
from otel_sla.sla.months import MinuteRange, Month, day_ranges, month_of, month_range
from otel_sla.sla.series import Series

MONTHS_KEPT = 13
_STATES = len(MinuteState)
VALID, FAILED, N_COLUMNS = _STATES, _STATES + 1, _STATES + 2  # Columns of a day, behind one for each MinuteState.


@dataclass(frozen=True, slots=True)
class MonthDays:
    """A month of one agreement, and each series' days in it."""

    report: AgreementReport
    first_day: date
    # By series_id: int64[n_days, N_COLUMNS]. Minutes in each MinuteState after exclusions, then valid and failed
    # requests. Nothing of a month whose counts are dropped.
    days: Mapping[int, Int64Array]
    series: Mapping[int, SeriesReport]  # By series_id.


@dataclass(frozen=True, slots=True)
class AgreementMonths:
    """What is known of one agreement, newest month first."""

    agreement: Agreement
    is_configured: bool
    months: Mapping[Month, MonthDays]

    @property
    def newest(self) -> MonthDays:
        """The month that the newest judged minute, or the next one, lies in."""
        return self.months[max(self.months)]


@dataclass(frozen=True, slots=True)
class Figures:
    """All that is judged, as of one pass of the judge."""

    generation: int = 0  # Grows with each change.
    judged_before: int = 0  # Epoch minute; 0: nothing was judged yet.
    agreements: tuple[AgreementMonths, ...] = ()
    series: tuple[Series, ...] = ()  # All that were ever seen, also those without a judged minute; by series_id.
    is_complete: bool = False  # False while the first look at the ledger goes on.

    def find(self, name: str) -> AgreementMonths | None:
        """Give an agreement by its name."""
        return next((each for each in self.agreements if each.agreement.name == name), None)


@dataclass(slots=True)
class _Seen:
    """What the ledger held when it was last looked at."""

    marks: Watermarks
    versions: Mapping[str, int]
    replacement_id: int
    event_id: int
    n_series: int


@dataclass(slots=True)
class FiguresReader:
    """Reads the ledger and judges the months that have changed; one thread uses it.

    Attributes:
        reader: Its own connection.
        configured: The agreements as configured.
    """

    reader: LedgerReader
    configured: Sequence[Agreement]
    figures: Figures = field(default_factory=Figures)
    _seen: _Seen | None = None

    def refresh(self) -> Iterator[Figures]:
        """Give the figures each time that one more month is up to date; nothing if nothing has changed.

        Raises:
            LedgerError: It cannot be read.
        """
        with self.reader.snapshot():
            marks = self.reader.watermarks()
            seen = _Seen(marks, self.reader.published_versions(), *self.reader.last_ids(), self.reader.n_series())
            if self._seen is not None and seen == self._seen:
                return
            changed = self._changed_minutes(seen)
            all_series = self.figures.series
            if seen.n_series != len(all_series):
                all_series = self.reader.series()
            removed = removed_agreements(self.reader, self.configured)
        judged_before = marks.published_before or 0
        known = {each.agreement.name: each for each in self.figures.agreements}
        agreements = [(each, True) for each in self.configured] + [(each, False) for each in removed]
        for back in range(MONTHS_KEPT):
            some: list[AgreementMonths] = []
            is_new = False
            for agreement, is_configured in agreements:
                before = known.get(agreement.name)
                months = dict(before.months) if before is not None else {}
                month = _month_back(month_of(max(0, judged_before), agreement.time_zone), back)
                minutes = month_range(month, agreement.time_zone)
                if month not in months or any(_touch(minutes, each) for each in changed):
                    months[month] = self._judge(agreement, month, judged_before)
                    is_new = True
                some.append(AgreementMonths(agreement, is_configured, dict(sorted(months.items())[-MONTHS_KEPT:])))
            known = {each.agreement.name: each for each in some}
            if is_new:
                self.figures = Figures(
                    self.figures.generation + 1,
                    judged_before,
                    tuple(some),
                    all_series,
                    self.figures.is_complete or back == MONTHS_KEPT - 1,
                )
                yield self.figures
        self.figures = replace(
            self.figures, is_complete=True, series=all_series, generation=self.figures.generation + 1
        )
        self._seen = seen
        yield self.figures

    def _changed_minutes(self, seen: _Seen) -> list[MinuteRange]:
        """Give the minutes whose months have to be judged again."""
        before = self._seen
        everything = [MinuteRange(0, 1 << 40)]
        if before is None:
            return everything
        marks = seen.marks
        if (
            (marks.exclusion_change, marks.expired_before)
            != (before.marks.exclusion_change, before.marks.expired_before)
            or seen.versions != before.versions
            or any("month" in stored.event.name for stored in self.reader.events_after(before.event_id, 1000))
        ):
            return everything
        replaced = self.reader.replacements_after(before.replacement_id, 1000)
        if len(replaced) == 1000:
            return everything
        # A run that goes on may make minutes down before it; no term asks for a day.
        new = MinuteRange((before.marks.published_before or 0) - MINUTES_PER_DAY, (marks.published_before or 0) + 1)
        return [new, *(MinuteRange(each.start_minute, each.stop_minute) for each in replaced)]

    def _judge(self, agreement: Agreement, month: Month, judged_before: int) -> MonthDays:
        minutes = month_range(month, agreement.time_zone)
        days: dict[int, Int64Array] = {}
        days_of_month = day_ranges(month, agreement.time_zone)
        starts = np.array(
            [day.start_minute - minutes.start_minute for _, day in days_of_month if day.start_minute < judged_before],
            dtype=np.int64,
        )

        def add_days(report: SeriesReport, judged: JudgedSeries) -> None:
            days[report.series.series_id] = fold_days(judged, minutes, starts)

        with self.reader.snapshot():
            basis = find_basis(self.reader, agreement, month)
            records = self.reader.exclusions()
            report = judge_section(self.reader, basis, month, judged_before, records, on_series=add_days)
        first_day = date(month.year, month.month, 1)
        return MonthDays(report, first_day, days, {each.series.series_id: each for each in report.series})


def _month_back(month: Month, back: int) -> Month:
    for _ in range(back):
        month = month.previous
    return month


def _touch(one: MinuteRange, other: MinuteRange) -> bool:
    return one.start_minute < other.stop_minute and other.start_minute < one.stop_minute


def fold_days(judged: JudgedSeries, minutes: MinuteRange, starts: Int64Array) -> Int64Array:
    """Sum a series' month by local days.

    Args:
        judged: Holds the elapsed part of the month.
        minutes: The month's.
        starts: int64[n_days], offsets into the month. Where days with an elapsed minute begin; ascending, the first 0.

    Returns:
        int64[n_days, N_COLUMNS]; owned by the caller.
    """
    stop = min(minutes.stop_minute, judged.judged.stop_minute)
    folded = np.zeros((len(starts), N_COLUMNS), dtype=np.int64)
    if stop <= minutes.start_minute or not len(starts):
        return folded
    part = judged.part(minutes.start_minute, stop)
    for state in range(_STATES):
        folded[:, state] = np.add.reduceat((part.judged.adjusted == state).astype(np.int64), starts)
    failed = part.counts.counts[:, Outcome.FAILED]
    for column, requests in ((VALID, part.counts.valid), (FAILED, failed)):
        folded[:, column] = np.add.reduceat(requests, starts) // part.counts.parts
    return folded
