"""The judged months that the page shows, kept in memory and made anew where the ledger has changed.

All figures are as of the judge's newest pass, so that page, gauges, events and a report of the same moment agree.

Dimensions:
    n_days: local days of a month that have begun, up to the last judged minute.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from otel_sla.arrays import Int64Array
from otel_sla.errors import LedgerError
from otel_sla.judging.month_report import judge_section
from otel_sla.judging.terms_versions import find_basis, removed_agreements
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Watermarks
from otel_sla.report.document import AgreementReport, SeriesReport
from otel_sla.sla.agreement import Agreement, NoData, Outcome
from otel_sla.sla.downtime import JudgedSeries, MinuteState
from otel_sla.sla.months import MinuteRange, Month, day_ranges, kept_from, month_of, month_range
from otel_sla.sla.series import Series

_log = logging.getLogger(__name__)

MONTHS_KEPT = 13
_EVENTS_AT_ONCE = 1000
_STATES = len(MinuteState)
VALID, FAILED, N_COLUMNS = _STATES, _STATES + 1, _STATES + 2  # Columns of a day, behind one for each MinuteState.


@dataclass(frozen=True, slots=True)
class MonthDays:
    """A month of one agreement, and each series' days in it."""

    report: AgreementReport  # By the terms that judge the month, whose time zone its days are in.
    # By series_id: int64[n_days, N_COLUMNS]. Minutes in each MinuteState after exclusions, then valid and failed
    # requests. Nothing of a month whose counts are dropped.
    days: Mapping[int, Int64Array]
    series: Mapping[int, SeriesReport]  # By series_id.

    def depends_on(self, changed: MinuteRange) -> bool:
        """Whether a change in these minutes may change the month, or a downtime period that it lists."""
        minutes, reach = self.report.minutes, self.report.agreement.downtime.period_minutes_min
        periods = [each.figures.downtime_periods for each in self.report.series if each.figures.downtime_periods]
        start_minute = min((each[0].start_minute for each in periods), default=minutes.start_minute)
        stop_minute = max((each[-1].stop_minute for each in periods), default=minutes.stop_minute)
        return (
            changed.start_minute - reach <= max(stop_minute, minutes.stop_minute)
            and min(start_minute, minutes.start_minute) <= changed.stop_minute + reach
        )


@dataclass(frozen=True, slots=True)
class AgreementMonths:
    """What is known of one agreement, by months in the order of time."""

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


@dataclass(frozen=True, slots=True)
class _Look:
    """What the ledger held when it was looked at; whatever changes a judged month changes one of these."""

    marks: Watermarks
    versions: Mapping[str, int]
    replacement_id: int
    event_id: int
    n_series: int


class FiguresReader:
    """Reads the ledger and judges the months that have changed; one thread uses it.

    Args:
        reader: Its own connection.
        configured: The agreements as configured.

    Attributes:
        figures: What `step` gave last.
    """

    def __init__(self, reader: LedgerReader, configured: Sequence[Agreement]) -> None:
        self._reader, self._configured = reader, configured
        self.figures = Figures()
        self._last: _Look | None = None
        self._agreements: dict[str, Agreement] = {}  # By name, those that are no longer configured behind the others.
        self._months: dict[str, dict[Month, MonthDays]] = {}  # By agreement.
        self._due: set[tuple[Month, str]] = set()  # To be judged, or judged again; agreements by name.

    def step(self) -> bool:
        """Bring `figures` a step further, and say whether there was anything to do.

        A step takes in all that the judge has published since the last one, or else judges one older month again.

        Raises:
            LedgerError: It cannot be read.
        """
        with self._reader.snapshot():
            look = _Look(
                self._reader.watermarks(),
                self._reader.published_versions(),
                *self._reader.last_ids(),
                self._reader.n_series(),
            )
            has_changed = look != self._last
            if has_changed:
                self._take(look)
        judged_before = look.marks.published_before or 0
        # Months that go on, together: what is published of them is as of one moment. Of the others the newest first.
        since_minute, newest = self.figures.judged_before or judged_before, max(self._due, default=(None, ""))[0]
        now = [each for each in self._due if each[0] == newest or self._stop_minute(*each) > since_minute]
        if not now and not has_changed:
            return False
        for month, name in sorted(now):
            try:
                self._judge(self._agreements[name], month, judged_before)
            except LedgerError:
                raise
            except Exception:  # noqa: BLE001 - whatever it is, the other months are still shown.
                _log.exception("the page cannot judge %s of %s", month, name, extra={"action": "page_month_failed"})
            self._due.discard((month, name))
        self._last = look
        self.figures = Figures(
            self.figures.generation + 1,
            judged_before,
            tuple(self._agreement_months(each) for each in self._agreements.values() if self._months[each.name]),
            self.figures.series if look.n_series == len(self.figures.series) else self._reader.series(),
            is_complete=self.figures.is_complete or not self._due,
        )
        return True

    def _take(self, look: _Look) -> None:
        """Find which months are due by what has changed since the last look."""
        removed = removed_agreements(self._reader, self._configured)
        self._agreements = {agreement.name: agreement for agreement in (*self._configured, *removed)}
        due = self._due | set(self._closed_months())
        self._due = set()
        for name, agreement in self._agreements.items():
            kept = list(
                islice(_months_back(month_of(look.marks.published_before or 0, agreement.time_zone)), MONTHS_KEPT)
            )
            months = self._months[name] = {
                month: found for month, found in self._months.get(name, {}).items() if month in kept
            }
            is_same = self._last is not None and look.versions.get(name) == self._last.versions.get(name)
            changed = list(self._changed(agreement, self._last, look)) if self._last is not None else []
            due -= {(month, each) for month, each in due if each == name and month not in kept}
            due |= {
                (month, name)
                for month in kept
                if not is_same or month not in months or any(months[month].depends_on(each) for each in changed)
            }
        self._due = {each for each in due if each[1] in self._agreements}

    def _closed_months(self) -> Iterator[tuple[Month, str]]:
        """Give what was closed, or closed again, since the last look."""
        after = self._last.event_id if self._last is not None else None
        while after is not None and (events := self._reader.events_after(after, _EVENTS_AT_ONCE)):
            after = events[-1].event_id
            for event in (stored.event for stored in events):
                if event.name == "sla.month.closed":
                    month, name = event.attributes["sla.month.name"], event.attributes["sla.agreement.name"]
                    yield Month.parse(str(month)), str(name)

    def _changed(self, agreement: Agreement, last: _Look, look: _Look) -> Iterator[MinuteRange]:
        """Give the minutes in which counts or exclusions have changed since the last look."""
        stop_minute = (look.marks.published_before or 0) + 1
        if (look.marks, look.replacement_id) != (last.marks, last.replacement_id):
            # What was sealed then cannot have been counted since.
            yield MinuteRange(last.marks.sealed_before or 0, stop_minute)
        for record in self._reader.exclusions():
            change = max(record.change, record.withdrawal.change if record.withdrawal is not None else 0)
            if record.agreement == agreement.name and change > last.marks.exclusion_change:
                is_carried = agreement.downtime.no_data is NoData.CARRY
                start, stop = record.window.minutes
                yield MinuteRange(start, max(start + 1, stop_minute if is_carried else stop))
        if look.marks.expired_before != last.marks.expired_before:
            yield MinuteRange(0, kept_from(look.marks.expired_before) + 1)

    def _stop_minute(self, month: Month, name: str) -> int:
        return month_range(month, self._agreements[name].time_zone).stop_minute

    def _judge(self, agreement: Agreement, month: Month, judged_before: int) -> None:
        days: dict[int, Int64Array] = {}
        with self._reader.snapshot():
            basis = find_basis(self._reader, agreement, month)
            zone = basis.agreement.time_zone  # That of the terms that closed it.
            minutes, days_of_month = month_range(month, zone), day_ranges(month, zone)
            begun = [day.start_minute for _, day in days_of_month if day.start_minute < judged_before]
            starts = np.array(begun, dtype=np.int64) - minutes.start_minute

            def add_days(report: SeriesReport, judged: JudgedSeries) -> None:
                days[report.series.series_id] = fold_days(judged, minutes, starts)

            records = self._reader.exclusions()
            report = judge_section(self._reader, basis, month, judged_before, records, on_series=add_days)
        report = replace(report, configured=agreement in self._configured)
        by_series = {each.series.series_id: each for each in report.series}
        self._months[agreement.name][month] = MonthDays(report, days, by_series)

    def _agreement_months(self, agreement: Agreement) -> AgreementMonths:
        months = dict(sorted(self._months[agreement.name].items()))
        return AgreementMonths(agreement, agreement in self._configured, months)


def _months_back(month: Month) -> Iterator[Month]:
    while True:
        yield month
        month = month.previous


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
