"""Closes minutes: finds what has become old enough to judge, and what follows from it.

Takes a snapshot of the ledger and how far time has come; gives one `Closing`, which the writer makes durable as a
whole. What was told is never guessed from memory: the old world is judged anew from what the minutes held when they
were told of (`reopened`), the new one from what they hold, and the events are their difference (`sla/story.py`).
So a crash at any point only means that the same difference is found again.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from otel_sla.clockwork import Progress
from otel_sla.findings import Findings
from otel_sla.history import History, JudgedSeries, Terms, counts_as_told, judge, series_of
from otel_sla.ledger.reader import LedgerReadings
from otel_sla.ledger.records import ClosedMonth, Closing, ExclusionRecord, Reopened
from otel_sla.sla.agreement import Agreement, NoData, Outcome
from otel_sla.sla.counts import CountRows
from otel_sla.sla.downtime import MinuteState, SeriesCounts
from otel_sla.sla.exclusions import covered_minutes
from otel_sla.sla.month_story import MonthBefore, tell_breach, tell_month_closed
from otel_sla.sla.months import MinuteRange, Month, month_of, month_range
from otel_sla.sla.series import Series
from otel_sla.sla.story import Cause, tell
from otel_sla.sla.telling import Subject
from otel_sla.sla.uptime import is_in_month, month_figures
from otel_sla.versions import Basis, find_basis


class Closer:
    """Finds what to tell. Remembers only which series it need not look at; on one thread.

    Args:
        reader: A reading connection of its own.
        agreements: As configured.
        versions: The ledger's version of each one's terms, by name.
    """

    def __init__(self, reader: LedgerReadings, agreements: Sequence[Agreement], versions: Mapping[str, int]) -> None:
        self._reader = reader
        self._versions = dict(versions)
        self._agreements = tuple(agreements)
        self._open_runs: set[int] | None = None  # Series that were down in the last told minute; None: not known yet.

    def find(self, progress: Progress) -> Closing | None:
        """Look for what has to be told; None if nothing has happened.

        An exclusion that was recorded or withdrawn is told of by itself, before anything newer.

        Raises:
            LedgerError: The ledger cannot be read.
        """
        with self._reader.snapshot():
            look = _Snapshot(self._reader, self._agreements, self._versions, progress)
            change = look.next_exclusion_change()
            if change is not None:
                self._open_runs = None
                return look.exclusion_changed(change)
            closing, self._open_runs = look.advanced(self._open_runs)
            return closing


class _Snapshot:
    """One look at one state of the ledger."""

    def __init__(
        self,
        reader: LedgerReadings,
        agreements: Sequence[Agreement],
        versions: Mapping[str, int],
        progress: Progress,
    ) -> None:
        self._versions = versions
        self._reader = reader
        self._agreements = agreements
        self._progress = progress
        self._marks = reader.watermarks()
        self._first_data = reader.first_data_minutes()
        self._history = History(reader, self._first_data)
        self._all_series = reader.series()
        self._revisions = reader.revisions()
        self._exclusions = reader.exclusions()
        self._reopened: Mapping[int, list[Reopened]] = _by_series(reader.reopened())
        self._found = Findings()
        self._months_closed: dict[tuple[str, Month], tuple[Basis, dict[int, list[ClosedMonth]]]] = {}
        # A ledger that was filled before it was ever judged is told from its first minute on.
        first = min(self._first_data.values(), default=progress.judged_before)
        told_before = self._marks.told_before
        self._told_before = min(first, progress.judged_before) if told_before is None else told_before

    def next_exclusion_change(self) -> ExclusionRecord | None:
        """Give the exclusion whose recording or withdrawal is the next change that was not told of yet."""
        number = self._marks.exclusion_change + 1
        for record in self._exclusions:
            if record.change == number or (record.withdrawal is not None and record.withdrawal.change == number):
                return record
        return None

    def exclusion_changed(self, record: ExclusionRecord) -> Closing:
        """Tell what one exclusion, or its withdrawal, changes in minutes that were told of."""
        number = self._marks.exclusion_change + 1
        cause = Cause.EXCLUSION_ADDED if record.change == number else Cause.EXCLUSION_WITHDRAWN
        for agreement in self._agreements:
            if agreement.name != record.agreement:
                continue
            old_terms, new_terms = (Terms.of(agreement, self._exclusions, change) for change in (number - 1, number))
            covered = covered_minutes(record.window)
            if covered.start_minute >= self._told_before:
                continue
            for series in series_of(agreement, self._all_series):
                self._retell(series, old_terms, new_terms, covered.start_minute, cause)
                self._close_again(series, new_terms, covered)
        return self._found.closing(exclusion_change=number)

    def advanced(self, open_runs: set[int] | None) -> tuple[Closing | None, set[int] | None]:
        """Tell of the minutes that have elapsed and of those that were re-opened; give the series still down.

        None for those is not known: then every series is looked at.
        """
        is_new = self._progress.judged_before > self._told_before or self._marks.told_before is None
        is_sealing = self._progress.sealed_before > (self._marks.sealed_before or 0)
        if not (is_new or self._reopened or is_sealing):
            return None, open_runs
        rows = self._reader.counts(self._told_before, self._progress.judged_before)
        still_down: set[int] = set()
        for agreement in self._agreements:
            terms = Terms.of(agreement, self._exclusions, self._marks.exclusion_change)
            suspects = self._suspects(agreement, rows) | set(self._reopened)
            for series in series_of(agreement, self._all_series):
                if open_runs is None or series.series_id in open_runs or series.series_id in suspects:
                    judged = self._advance(series, terms)
                    if len(judged.judged.unfiltered) and judged.judged.unfiltered[-1] == MinuteState.DOWN:
                        still_down.add(series.series_id)
            self._close_months(agreement, terms)
        self._settle_unjudged()
        closing = self._found.closing(
            told_before=self._progress.judged_before, sealed_before=self._progress.sealed_before
        )
        return closing, still_down

    def _suspects(self, agreement: Agreement, rows: CountRows) -> set[int]:
        """Give the series to which something may have happened in the new minutes; the others are just up."""
        n, d = agreement.downtime.error_rate_above.as_integer_ratio()
        failed = rows.counts[:, Outcome.FAILED]
        valid = failed + rows.counts[:, Outcome.SUCCEEDED]
        # In floats and with slack: this only decides who is looked at, not what is found.
        is_suspect = failed.astype(np.float64) * d > valid.astype(np.float64) * n * (1 - 1e-9) - 1e-9
        suspects = set(rows.series_id[is_suspect & (failed > 0)].tolist())
        if agreement.downtime.no_data is not NoData.UP:
            n_minutes = self._progress.judged_before - self._told_before
            n_with_data = np.bincount(rows.series_id[valid > 0], minlength=len(self._all_series))
            suspects |= {series.series_id for series in self._all_series if n_with_data[series.series_id] < n_minutes}
        return suspects

    def _settle_unjudged(self) -> None:
        """Leave nothing re-opened for ever: of a series that no agreement judges any more there is nothing to tell."""
        told = {minute.series_id for minute in self._found.settled}
        for series_id, reopened in self._reopened.items():
            if series_id not in told:
                for minute in reopened:
                    held = self._reader.counts(minute.epoch_minute, minute.epoch_minute + 1, [series_id]).counts
                    self._found.settle(minute, held[0].tolist() if len(held) else [0, 0, 0])

    def _advance(self, series: Series, terms: Terms) -> JudgedSeries:
        """Tell one series up to where time has come."""
        reopened = self._reopened.get(series.series_id, [])
        start_minute = min([self._told_before, *(minute.epoch_minute for minute in reopened)])
        counts = self._counts(series, terms, start_minute, self._progress.judged_before)
        new = judge(series, terms, counts)
        old = judge(series, terms, counts_as_told(counts, reopened, self._told_before))
        self._tell(series, terms, (old, new), Cause.LATE_SPANS)
        rows = counts.counts
        for minute in reopened:
            held = rows[minute.epoch_minute - counts.start_minute].tolist()
            self._found.settle(minute, held)
            if minute.epoch_minute < self._told_before:
                self._found.retell(series.series_id, range(minute.epoch_minute, minute.epoch_minute + 1))
        return new

    def _retell(self, series: Series, old_terms: Terms, new_terms: Terms, start_minute: int, cause: Cause) -> None:
        """Tell one series again by other terms, by the counts that were told and no further than was told."""
        reopened = self._reopened.get(series.series_id, [])
        start_minute = min([start_minute, *(minute.epoch_minute for minute in reopened)])
        counts = self._counts(series, new_terms, start_minute, self._told_before)
        told = counts_as_told(counts, reopened, self._told_before)
        worlds = judge(series, old_terms, told), judge(series, new_terms, told)
        self._tell(series, new_terms, worlds, cause)

    def _counts(self, series: Series, terms: Terms, start_minute: int, stop_minute: int) -> SeriesCounts:
        # Earlier by the minutes of a period: a run that grows to one makes so many told minutes down, and where nothing
        # differs both worlds are the same, so a run that reaches further back does so in both. From the month's start,
        # because a breach counts the month's minutes.
        time_zone = terms.agreement.time_zone
        first_minute = max(0, start_minute - terms.agreement.downtime.period_minutes_min)
        month = month_range(month_of(first_minute, time_zone), time_zone)
        return self._history.counts(series, terms.agreement, MinuteRange(max(0, month.start_minute - 1), stop_minute))

    def _tell(self, series: Series, terms: Terms, worlds: tuple[JudgedSeries, JudgedSeries], cause: Cause) -> None:
        old, new = worlds[0].world, worlds[1].world
        subject = Subject(series, terms.agreement)
        before = self._found.revisions.get(series.series_id, self._revisions.get(series.series_id, 0))
        events, revision = tell(subject, old, new, cause, before)
        self._found.events.extend(events)
        for month in _months(terms.agreement, old.judged.start_minute + 1, new.judged.stop_minute):
            minutes = month_range(month, terms.agreement.time_zone)
            events, revision = tell_breach(subject, old, new, MonthBefore(month, minutes), revision)
            self._found.events.extend(events)
        if revision != before:
            self._found.revisions[series.series_id] = revision
        self._found.retell_differences(series.series_id, old, new)

    def _close_months(self, agreement: Agreement, terms: Terms) -> None:
        """Tell the figures of the months whose last minute is sealed now."""
        sealed_from = self._marks.sealed_before
        if sealed_from is None:
            sealed_from = min(self._first_data.values(), default=self._progress.sealed_before)
        for month in _months(agreement, sealed_from, self._progress.sealed_before):
            minutes = month_range(month, agreement.time_zone)
            if sealed_from < minutes.stop_minute <= self._progress.sealed_before:
                for series in series_of(agreement, self._all_series):
                    self._close_month(series, terms, month)

    def _close_again(self, series: Series, terms: Terms, covered: MinuteRange) -> None:
        """Tell the figures again of months that are closed and that the minutes lie in."""
        stop_minute = min(covered.stop_minute, self._marks.sealed_before or 0)
        for month in _months(terms.agreement, covered.start_minute, stop_minute):
            minutes = month_range(month, terms.agreement.time_zone)
            if minutes.stop_minute <= (self._marks.sealed_before or 0):
                self._close_month(series, terms, month)

    def _close_month(self, series: Series, terms: Terms, month: Month) -> None:
        # A month that is closed stays judged by the terms that closed it; its windows are those of today.
        basis, closed_series = self._closed(terms.agreement, month)
        agreement = basis.agreement
        recorded = terms.windows[len(terms.agreement.exclusions.windows) :]
        terms = Terms(agreement, (*agreement.exclusions.windows, *recorded))
        minutes = month_range(month, agreement.time_zone)
        judged = self._history.judged(series, terms, minutes, self._progress.judged_before)
        if not is_in_month(minutes, judged.counts, agreement.downtime.no_data):
            return
        figures = month_figures(minutes, judged.judged, judged.counts, agreement.target)
        earlier = closed_series.get(series.series_id, [])
        revision = len(earlier)
        supersedes = str(earlier[-1].figures["uid"]) if earlier else None
        event = tell_month_closed(Subject(series, agreement), month, figures, revision, supersedes)
        told = {key: value for key, value in event.attributes.items() if not key.startswith("sla.revision.")}
        if earlier and earlier[-1].figures["attributes"] == told:
            return
        self._found.events.append(event)
        self._found.closed_months.append(
            ClosedMonth(
                agreement=agreement.name,
                series_id=series.series_id,
                month=str(month),
                revision=revision,
                version=basis.closed_version or self._versions[agreement.name],
                figures={"uid": event.uid, "attributes": told},
                closed_unix_nano=event.time_unix_nano,
            )
        )

    def _closed(self, agreement: Agreement, month: Month) -> tuple[Basis, dict[int, list[ClosedMonth]]]:
        """Give what a month is judged by, and its closings so far by series; read once for all series."""
        if (agreement.name, month) not in self._months_closed:
            closed: dict[int, list[ClosedMonth]] = defaultdict(list)
            for one in self._reader.closed_months(agreement.name, str(month)):
                closed[one.series_id].append(one)
            self._months_closed[agreement.name, month] = (find_basis(self._reader, agreement, month), closed)
        return self._months_closed[agreement.name, month]


def _by_series(reopened: Sequence[Reopened]) -> dict[int, list[Reopened]]:
    found: dict[int, list[Reopened]] = defaultdict(list)
    for minute in reopened:
        found[minute.series_id].append(minute)
    return found


def _months(agreement: Agreement, start_minute: int, stop_minute: int) -> Iterator[Month]:
    """Go through the months that `[start_minute, stop_minute)` touches."""
    if start_minute >= stop_minute:
        return
    month = month_of(start_minute, agreement.time_zone)
    last = month_of(stop_minute - 1, agreement.time_zone)
    while month != last:
        yield month
        month = month.next
    yield last
