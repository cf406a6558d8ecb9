"""One look at the ledger: what has to be told, and what follows from it.

What was told is never guessed from memory: the old world is judged anew from what the minutes held when they were told
of (`reopened`), the new one from what they hold, and the events are their difference (`sla/downtime_events.py`). So a
crash at any point only means that the same difference is found again.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from otel_sla.judging.clock import MinuteMarks
from otel_sla.judging.closed_months import MonthCloser, warn_of_edge
from otel_sla.judging.findings import Findings
from otel_sla.judging.series_judge import History, NewCounts, Terms, counts_as_told, is_grouped, series_of
from otel_sla.judging.standing import Standing
from otel_sla.judging.stopped_series import Stopped, find_stopped
from otel_sla.judging.terms_over_time import AsTold, TermsOverTime, judged_alike
from otel_sla.ledger.agreement_json import agreement_of
from otel_sla.ledger.reader import LedgerReadings
from otel_sla.ledger.records import Closing, Reopened
from otel_sla.sla.agreement import Agreement, NoData, Outcome
from otel_sla.sla.counts import N_COUNTS, CountRows, judged_counts, parts_of
from otel_sla.sla.downtime import JudgedMinutes, JudgedSeries, SeriesCounts
from otel_sla.sla.downtime_events import Cause, change_events
from otel_sla.sla.events import Subject
from otel_sla.sla.exclusions import ExclusionRecord, excluded_minutes
from otel_sla.sla.month_events import Promise, breach_event
from otel_sla.sla.months import MinuteRange, kept_from, month_of, month_range, months_between
from otel_sla.sla.series import Series

# Series that are looked at in one snapshot; a month of one takes some milliseconds.
_SERIES_AT_ONCE = 100
# Series that are brought back in one go, each with all minutes that it was away.
BROUGHT_BACK_MAX = 100


class Look:
    """One look at one state of the ledger."""

    def __init__(
        self,
        reader: LedgerReadings,
        configured: Sequence[Agreement],
        removed: Sequence[Agreement],
        versions: Mapping[str, int],
        progress: MinuteMarks,
        standings: dict[int, Standing],
    ) -> None:
        self._standings = standings
        self._versions = versions
        self._reader = reader
        self._configured = configured
        self._agreements = (*configured, *removed)
        self._progress = progress
        self._marks = reader.watermarks()
        self._first_data = reader.first_data_minutes()
        self._retired = reader.retired_minutes()
        self._history = History(reader, self._first_data, self._retired)
        self._all_series = reader.series()
        self._revisions = reader.revisions()
        self._exclusions = reader.exclusions()
        self._reopened: Mapping[int, list[Reopened]] = _by_series(reader.reopened())
        self._found = Findings()
        self._months = MonthCloser(
            reader, self._history, versions, progress, self._marks.sealed_before, self._found, self._in_turns
        )
        # A ledger that was filled before it was ever judged is told from its first minute on.
        first = min(self._first_data.values(), default=progress.judged_before)
        self._first_minute = first = max(first, kept_from(self._marks.expired_before))
        told_before = self._marks.told_before
        self._told_before = min(first, progress.judged_before) if told_before is None else told_before

    def next_stopped(self) -> tuple[Agreement, Mapping[int, Stopped]] | None:
        """Give an agreement with series that an earlier version stopped judging and that are not retired yet."""
        told = self._reader.told_versions()
        each = (
            (one, find_stopped(self._reader, one, self._all_series, self._retired, told.get(one.name)))
            for one in self._agreements
        )
        return next((found for found in each if found[1]), None)

    def stopped(self, agreement: Agreement, stopped: Mapping[int, Stopped]) -> Closing:
        """Retire series that an earlier version stopped judging, and tell the end of what went on in them.

        All of the agreement at once: what is closed here would show the next look that it was configured for longer.
        """
        change = self._marks.exclusion_change
        terms = Terms.of(self._told_by(agreement), self._exclusions, change)
        self._retired |= {series_id: one.retired_minute for series_id, one in stopped.items()}
        some = [series for series in self._all_series if series.series_id in stopped]
        for series in some:
            one = stopped[series.series_id]
            if one.told_before <= self._first_minute:
                continue  # Its counts are kept no longer.
            told_before = min(one.told_before, self._told_before)
            eras = self._eras(terms, change, told_before)
            stop_minute = min(one.retired_minute + 1, self._told_before)  # The last one ends what goes on.
            minutes = self._with_lead(series, _minutes_to_judge(eras, told_before, stop_minute))
            told = (_told_until(stop, self._reopened.get(series.series_id, [])) for stop in (told_before, stop_minute))
            old, new = judged_alike(self._history, series, minutes, [(eras, as_told) for as_told in told])
            self._tell(series, (eras, eras), (old, new), Cause.CONFIGURATION)
        first, last = min(one.told_before for one in stopped.values()), max(map(self._retired.__getitem__, stopped))
        # The month before may have been closed without them.
        before = month_range(month_of(first, agreement.time_zone).previous, agreement.time_zone)
        self._months.close_again(terms, some, MinuteRange(before.start_minute, last + 1))
        return self._found.closing(retired=tuple((each, self._retired[each]) for each in stopped))

    def next_changed_terms(self) -> tuple[Agreement, Agreement] | None:
        """Give the agreement whose open months were told by other terms than today's: as it was, and as it is."""
        told = self._reader.told_versions()
        for agreement in self._agreements:
            if told.get(agreement.name, self._versions[agreement.name]) != self._versions[agreement.name]:
                return self._told_by(agreement), agreement
        return None

    def _told_by(self, agreement: Agreement) -> Agreement:
        version = self._reader.told_versions().get(agreement.name, self._versions[agreement.name])
        versions = self._reader.agreement_versions(agreement.name)
        return next(agreement_of(known.terms) for known in versions if known.version == version)

    def terms_changed(self, was: Agreement, agreement: Agreement) -> Closing:
        """Tell what other terms make of the open months' minutes that were told of."""
        change = self._marks.exclusion_change
        terms = (Terms.of(was, self._exclusions, change), Terms.of(agreement, self._exclusions, change))
        old, new = (self._eras(one, change, self._first_minute) for one in terms)
        start_minute = max(new.open_minute, self._first_minute)
        if was.time_zone != agreement.time_zone:
            warn_of_edge(agreement, (*old.closed, *new.closed))
        if start_minute < self._told_before:
            for series in self._in_turns(series_of(agreement, self._all_series)):
                self._retell(series, old, new, start_minute, Cause.CONFIGURATION)
        return self._found.closing(told_versions=((agreement.name, self._versions[agreement.name]),))

    def next_change_of_counting(self) -> tuple[dict[int, int], list[Series]]:
        """Give the series that nothing is counted for from now on, with the first minute whose silence is not judged;
        and those that are counted for again.
        """
        counted = {
            series
            for agreement in self._configured
            for series in series_of(agreement, self._all_series)
            if is_grouped(series, agreement)
        }
        known = {agreement.name for agreement in self._agreements}
        retired, brought_back = dict[int, int](), list[Series]()
        for series in self._all_series:
            if series in counted:
                if series.series_id in self._retired:
                    brought_back.append(series)
            elif series.series_id not in self._retired and series.agreement in known:
                last = self._reader.last_minute(series.series_id, self._told_before)
                retired[series.series_id] = self._told_before if last is None else last + 1
        return retired, brought_back

    def brought_back(self, some: Sequence[Series]) -> Closing:
        """Tell what the silence is, since they were retired, of series that are counted for again."""
        since = {series.series_id: self._retired.pop(series.series_id) for series in some}
        for agreement in self._configured:
            terms = Terms.of(agreement, self._exclusions, self._marks.exclusion_change)
            for series in series_of(agreement, some):
                retired_minute = max(since[series.series_id], self._first_minute)
                if retired_minute >= self._told_before:
                    continue
                eras = self._eras(terms, self._marks.exclusion_change, retired_minute)
                self._retell(series, eras, eras, retired_minute, Cause.CONFIGURATION, was_retired=retired_minute)
            if series_of(agreement, some):
                away = MinuteRange(max(min(since.values()), self._first_minute), self._told_before)
                self._months.close_again(terms, series_of(agreement, some), away)
        return self._found.closing(retired=tuple((series.series_id, None) for series in some))

    def next_exclusion_changes(self) -> list[ExclusionRecord]:
        """Give the exclusions whose recording, or whose withdrawal, are the next changes that were not told of yet.

        Of one agreement, and all of them recordings or all withdrawals: they are told at once, as one cause.
        """
        told = self._marks.exclusion_change
        changes = {record.change: record for record in self._exclusions if record.change > told}
        withdrawn = {
            record.withdrawal.change: record
            for record in self._exclusions
            if record.withdrawal is not None and record.withdrawal.change > told
        }
        found: list[ExclusionRecord] = []
        for number in range(told + 1, told + 1 + len(changes) + len(withdrawn)):
            record = (changes if told + 1 in changes else withdrawn).get(number)
            if record is None or (found and record.agreement != found[0].agreement):
                break
            found.append(record)
        return found

    def exclusions_changed(self, records: Sequence[ExclusionRecord]) -> Closing:
        """Tell what exclusions, or their withdrawals, change in minutes that were told of."""
        told = self._marks.exclusion_change
        number = told + len(records)
        cause = Cause.EXCLUSION_ADDED if records[0].change == told + 1 else Cause.EXCLUSION_WITHDRAWN
        each_covered = [record.window.minutes for record in records]
        covered = MinuteRange(
            min(minutes.start_minute for minutes in each_covered), max(minutes.stop_minute for minutes in each_covered)
        )
        for agreement in self._agreements:
            if agreement.name != records[0].agreement:
                continue
            start_minute = max(covered.start_minute, kept_from(self._marks.expired_before))
            if start_minute >= self._told_before:
                continue
            old, new = (
                self._eras(Terms.of(agreement, self._exclusions, change), change, start_minute)
                for change in (told, number)
            )
            for series in self._in_turns(series_of(agreement, self._all_series)):
                self._retell(series, old, new, start_minute, cause)
            # What is not carried out of excluded minutes any more may lie anywhere behind them.
            is_carried = agreement.downtime.no_data is NoData.CARRY
            changed = MinuteRange(covered.start_minute, self._told_before) if is_carried else covered
            self._months.close_again(new.current, self._all_series, changed)
        return self._found.closing(exclusion_change=number)

    def late_series_count(self) -> int:
        """How many series have minutes that grew since they were told."""
        return len(self._late())

    def late_told(self, series_max: int) -> Closing:
        """Tell what has become of re-opened minutes of some series, and of no minute that is new."""
        chosen = self._late()[:series_max]
        some = [series for series in self._all_series if series.series_id in set(chosen)]
        self._reopened = {series_id: minutes for series_id, minutes in self._reopened.items() if series_id in chosen}
        self._progress = self._months.progress = MinuteMarks(self._told_before, self._marks.sealed_before or 0)
        oldest = min(minute.epoch_minute for series_id in chosen for minute in self._reopened[series_id])
        for agreement in self._agreements:
            of_agreement = series_of(agreement, some)
            if of_agreement:
                terms = Terms.of(agreement, self._exclusions, self._marks.exclusion_change)
                eras = self._eras(terms, self._marks.exclusion_change, oldest)
                for series in of_agreement:
                    self._advance(series, eras)
                self._months.close_again(terms, of_agreement, MinuteRange(oldest, self._told_before))
        self._settle_unjudged()
        return self._found.closing()

    def _in_turns(self, some: Sequence[Series]) -> Iterator[Series]:
        """Go through series, now and then in a newer snapshot, as none may last long.

        What was told of a series is the same in each, by what was re-opened since. What came to a series that was
        looked at before re-opens its minutes, once for all this is told.
        """
        for place, series in enumerate(some, 1):
            yield series
            if place % _SERIES_AT_ONCE == 0:
                self._reader.renew_snapshot()
                self._first_data.update(self._reader.first_data_minutes())
                self._reopened = self._reopened_before(self._progress.judged_before)

    def _reopened_before(self, judged_before: int) -> Mapping[int, list[Reopened]]:
        return _by_series(minute for minute in self._reader.reopened() if minute.epoch_minute < judged_before)

    def _late(self) -> list[int]:
        return [
            series_id
            for series_id, minutes in self._reopened.items()
            if all(minute.epoch_minute < self._told_before for minute in minutes)
        ]

    def advanced(self, piece_minutes_max: int, *, may_have_forgotten: bool) -> Closing | None:
        """Tell of the minutes that have elapsed and of those that were re-opened, or of the first piece of them."""
        progress = self._piece(piece_minutes_max)
        is_new = progress.judged_before > self._told_before or self._marks.told_before is None
        is_sealing = progress.sealed_before > (self._marks.sealed_before or 0)
        if not (is_new or self._reopened or is_sealing):
            return None
        self._progress = self._months.progress = progress
        self._reopened = self._reopened_before(progress.judged_before)
        # From the last told minute on: what was down in it goes on or ends now.
        rows = self._reader.counts(max(0, self._told_before - 1), progress.judged_before)
        self._new_counts = NewCounts(rows, self._told_before, progress.judged_before)
        all_terms = [
            Terms.of(agreement, self._exclusions, self._marks.exclusion_change) for agreement in self._agreements
        ]
        # Nothing older can be re-opened, also meanwhile.
        oldest = min(self._told_before, self._marks.sealed_before or self._told_before)
        for terms in all_terms:
            eras = self._eras(terms, self._marks.exclusion_change, oldest)
            suspects = self._suspects(terms.agreement, rows) | set(self._reopened)
            of_agreement = series_of(terms.agreement, self._all_series)
            for series in self._in_turns([one for one in of_agreement if one.series_id in suspects]):
                self._advance(series, eras)
        oldest = min((self._told_before, *(minute.epoch_minute for minute in self._found.settled)))
        for terms in all_terms:
            self._months.close(terms, self._all_series, self._first_minute)
            if may_have_forgotten:
                self._months.close_forgotten(terms, self._all_series, self._first_data)
            self._months.close_again(terms, self._all_series, MinuteRange(oldest, progress.judged_before))
        self._settle_unjudged()
        return self._found.closing(told_before=progress.judged_before, sealed_before=progress.sealed_before)

    def _piece(self, piece_minutes_max: int) -> MinuteMarks:
        """Give how far to go now; what is sealed follows as far behind as it does at the end."""
        behind = self._progress.judged_before - self._progress.sealed_before
        minutes_max = max(1, piece_minutes_max // max(1, len(self._all_series)))
        judged_before = min(self._progress.judged_before, self._told_before + minutes_max)
        sealed_before = max(self._marks.sealed_before or 0, min(judged_before - behind, self._progress.sealed_before))
        return MinuteMarks(judged_before=judged_before, sealed_before=min(sealed_before, judged_before))

    def _suspects(self, agreement: Agreement, rows: CountRows) -> set[int]:
        """Give the series to which something may have happened in the new minutes; the others are just up."""
        n, d = agreement.downtime.error_rate_above.as_integer_ratio()
        judged = judged_counts(rows.counts, parts_of(agreement.counting))
        failed = judged[:, Outcome.FAILED]
        valid = failed + judged[:, Outcome.SUCCEEDED]
        # In floats and with slack: this only decides who is looked at, not what is found.
        is_suspect = failed.astype(np.float64) * d > valid.astype(np.float64) * n * (1 - 1e-9) - 1e-9
        suspects = set(rows.series_id[is_suspect & (failed > 0)].tolist())
        if agreement.downtime.no_data is not NoData.UP:
            stop_minutes = np.full(len(self._all_series), self._progress.judged_before)
            for series_id, retired_minute in self._retired.items():
                stop_minutes[series_id] = min(stop_minutes[series_id], retired_minute)
            is_heard = (valid > 0) & (rows.epoch_minute < stop_minutes[rows.series_id])
            n_heard = np.bincount(rows.series_id[is_heard], minlength=len(self._all_series))
            suspects.update(np.flatnonzero(n_heard < stop_minutes - max(0, self._told_before - 1)).tolist())
        return suspects

    def _settle_unjudged(self) -> None:
        """Leave nothing re-opened for ever: of a series that no agreement judges any more there is nothing to tell."""
        known = {agreement.name for agreement in self._agreements}
        for series in self._all_series:
            if series.agreement not in known:
                self._settle(series.series_id, self._reopened.get(series.series_id, []))

    def _settle(self, series_id: int, reopened: Sequence[Reopened]) -> None:
        """Keep what re-opened minutes of a series hold now that it is told."""
        if reopened:
            start_minute = min(minute.epoch_minute for minute in reopened)
            stop_minute = max(minute.epoch_minute for minute in reopened) + 1
            held = self._reader.month_counts(series_id, start_minute, stop_minute, N_COUNTS)
            for minute in reopened:
                self._found.settle(minute, held[minute.epoch_minute - start_minute].tolist())

    def _advance(self, series: Series, eras: TermsOverTime) -> None:
        """Tell one series up to where time has come."""
        reopened = self._reopened.get(series.series_id, [])
        standing = None if reopened else self._standing(series, eras)
        if standing is not None and self._goes_on(series, eras, standing):
            return
        if standing is None:
            start_minute = min([self._told_before, *(minute.epoch_minute for minute in reopened)])
            minutes = _minutes_to_judge(eras, start_minute, self._progress.judged_before)
        else:
            minutes = MinuteRange(standing.open_minute - 1, self._progress.judged_before)
        sides = ((eras, self._as_told(reopened)), (eras, lambda held: held))
        old, new = judged_alike(self._history, series, self._with_lead(series, minutes), sides)
        down_before = 0 if standing is None else standing.down_before
        self._tell(series, (eras, eras), (old, new), Cause.LATE_SPANS, down_before)
        self._stand(series, eras, new.judged, standing)
        self._settle(series.series_id, reopened)
        for minute in reopened:
            if minute.epoch_minute < self._told_before:
                self._found.retell(series.series_id, range(minute.epoch_minute, minute.epoch_minute + 1))

    def _standing(self, series: Series, eras: TermsOverTime) -> Standing | None:
        """Give how a series stands now; None where that is not known."""
        standing = self._standings.get(series.series_id)
        if standing is None or standing.told_before > self._told_before:
            return None  # What would hold if the last closing had been written.
        if standing.told_before < self._told_before:
            standing = standing.after_no_look(self._told_before, self._promise_at(eras, self._told_before).minutes)
        return standing

    def _goes_on(self, series: Series, eras: TermsOverTime, standing: Standing) -> bool:
        """Whether the new minutes are as the last one was, so that there is nothing to tell."""
        terms, judged_before = eras.current, self._progress.judged_before
        if judged_before <= self._told_before:
            return False
        parts = parts_of(terms.agreement.counting)
        counts = SeriesCounts(
            start_minute=self._told_before,
            counts=judged_counts(self._new_counts.of(series.series_id), parts),
            carried=None,
            first_data_minute=self._first_data.get(series.series_id),
            retired_minute=self._retired.get(series.series_id),
            parts=parts,
        )
        is_covered = bool(excluded_minutes(terms.covered, series.group_text, self._told_before, judged_before).any())
        promise = self._promise_at(eras, judged_before)
        after = standing.after(counts, terms.agreement.downtime, promise, is_covered=is_covered)
        if after is not None:
            self._standings[series.series_id] = after
        return after is not None

    def _stand(self, series: Series, eras: TermsOverTime, judged: JudgedMinutes, before: Standing | None) -> None:
        """Remember how a series stands behind its judged minutes."""
        self._standings.pop(series.series_id, None)
        if len(judged.raw):
            month = self._promise_at(eras, judged.stop_minute).minutes
            down_before = before.down_before if before is not None and before.month == month else 0
            self._standings[series.series_id] = Standing.of(judged, month, down_before)

    def _promise_at(self, eras: TermsOverTime, epoch_minute: int) -> Promise:
        agreement = eras.current.agreement
        return self._months.promise(agreement, eras, month_of(epoch_minute, agreement.time_zone))

    def _with_lead(self, series: Series, minutes: MinuteRange) -> MinuteRange:
        """Leave out what lies before a series' first data, as nothing is down there; but for what was re-opened."""
        reopened = self._reopened.get(series.series_id, [])
        first = self._first_data.get(series.series_id, minutes.stop_minute)
        first = min([first - 1, *(minute.epoch_minute for minute in reopened), minutes.stop_minute])
        return MinuteRange(max(minutes.start_minute, first), minutes.stop_minute)

    def _retell(
        self,
        series: Series,
        old: TermsOverTime,
        new: TermsOverTime,
        start_minute: int,
        cause: Cause,
        *,
        was_retired: int | None = None,
    ) -> None:
        """Tell one series again by other terms, by the counts that were told and no further than was told.

        Args:
            series: Which one.
            old: It was told by.
            new: To tell it by.
            start_minute: Epoch minute; nothing differs before it.
            cause: Why.
            was_retired: The minute that its silence was judged to, where it is not retired any more.
        """
        reopened = self._reopened.get(series.series_id, [])
        start_minute = min([start_minute, *(minute.epoch_minute for minute in reopened)])
        starts = (_minutes_to_judge(eras, start_minute, self._told_before).start_minute for eras in (old, new))
        as_told = self._as_told(reopened)
        minutes = self._with_lead(series, MinuteRange(min(starts), self._told_before))
        told = as_told
        if was_retired is not None:
            told = lambda held: replace(as_told(held), retired_minute=was_retired)  # noqa: E731
        worlds = judged_alike(self._history, series, minutes, ((old, told), (new, as_told)))
        self._tell(series, (old, new), (worlds[0], worlds[1]), cause)

    def _eras(self, terms: Terms, change: int, start_minute: int) -> TermsOverTime:
        start_minute = _minutes_to_judge(TermsOverTime((), terms), start_minute, start_minute).start_minute
        return self._months.eras(terms, self._exclusions, change, max(start_minute, self._first_minute))

    def _as_told(self, reopened: Sequence[Reopened]) -> AsTold:
        return _told_until(self._told_before, reopened)

    def _tell(
        self,
        series: Series,
        eras: tuple[TermsOverTime, TermsOverTime],
        worlds: tuple[JudgedSeries, JudgedSeries],
        cause: Cause,
        down_before: int = 0,
    ) -> None:
        """Tell what makes the second world of the first; `down_before` are down in their first month before both."""
        old, new = worlds
        agreement = eras[1].current.agreement
        subject = Subject(series, agreement)
        before = self._found.revisions.get(series.series_id, self._revisions.get(series.series_id, 0))
        events, revision = change_events(subject, old, new, cause, before)
        self._found.events.extend(events)
        for month in months_between(old.judged.start_minute + 1, new.judged.stop_minute, agreement.time_zone):
            was, promise = (
                replace(self._months.promise(agreement, one, month), down_before=down_before) for one in eras
            )
            events, revision = breach_event(subject, old, new, promise, revision, was_promised=was)
            self._found.events.extend(events)
            down_before = 0
        if revision != before:
            self._found.revisions[series.series_id] = revision
        self._found.retell_differences(series.series_id, old, new)


def _told_until(stop_minute: int, reopened: Sequence[Reopened]) -> AsTold:
    return lambda held: counts_as_told(held, reopened, stop_minute)


def _minutes_to_judge(eras: TermsOverTime, start_minute: int, stop_minute: int) -> MinuteRange:
    # Earlier by the minutes of a period: a run that grows to one makes so many told minutes down, and where nothing
    # differs both worlds are the same, so a run that reaches further back does so in both. From the month's start,
    # because a breach counts the month's minutes.
    agreement = eras.agreement_at(start_minute)
    first_minute = max(0, start_minute - agreement.downtime.period_minutes_min)
    month = month_range(month_of(first_minute, agreement.time_zone), agreement.time_zone)
    return MinuteRange(max(0, month.start_minute - 1), stop_minute)


def _by_series(reopened: Iterable[Reopened]) -> dict[int, list[Reopened]]:
    found: dict[int, list[Reopened]] = defaultdict(list)
    for minute in reopened:
        found[minute.series_id].append(minute)
    return found
