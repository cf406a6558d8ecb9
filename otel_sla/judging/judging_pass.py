"""One pass of the judge over one state of the ledger: what has to be published, and what follows from it.

What was published is never guessed from memory: it is judged anew from the counts that the minutes had then
(`reopened`), beside what is judged from their counts of now, and the events are the difference
(`sla/downtime_events.py`). So a crash at any point only means that the same difference is found again.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from otel_sla.judging.clock import MinuteMarks
from otel_sla.judging.closed_months import MonthCloser, warn_of_edge
from otel_sla.judging.findings import Findings
from otel_sla.judging.retired_series import Stopped, find_stopped
from otel_sla.judging.series_judge import History, Terms, counts_as_published, is_grouped, series_of
from otel_sla.judging.series_state import SeriesState
from otel_sla.judging.terms_over_time import AsPublished, ClosedTerms, Side, TermsOverTime, judged_alike
from otel_sla.ledger.agreement_json import agreement_of
from otel_sla.ledger.reader import LedgerReadings
from otel_sla.ledger.records import Closing, Reopened
from otel_sla.sla.agreement import Agreement, NoData, Outcome
from otel_sla.sla.counts import N_COUNTS, CountRows, CountsBeside, judged_counts, parts_of
from otel_sla.sla.downtime import JudgedMinutes, SeriesCounts
from otel_sla.sla.downtime_events import Cause, change_events
from otel_sla.sla.events import Subject
from otel_sla.sla.exclusions import excluded_minutes
from otel_sla.sla.month_events import Promise, breach_event
from otel_sla.sla.months import MinuteRange, kept_from, month_of, month_range, months_between
from otel_sla.sla.series import Series

# Series that are judged in one snapshot; a month of one takes some milliseconds.
SERIES_PER_SNAPSHOT_MAX = 100
# Series that are brought back in one go, each with all minutes that it was away.
_BROUGHT_BACK_MAX = 100


class JudgingPass:
    """Finds one closing in one state of the ledger: each method that gives one is called at most once, the last.

    Args are those of `Judge`, and what it remembers of series (`series_state`), which grows.
    """

    def __init__(  # noqa: PLR0913 - the judge's, and how far time has come.
        self,
        reader: LedgerReadings,
        configured: Sequence[Agreement],
        removed: Sequence[Agreement],
        versions: Mapping[str, int],
        progress: MinuteMarks,
        *,
        states: dict[int, SeriesState],
        series_per_snapshot_max: int,
    ) -> None:
        self._series_per_snapshot_max = series_per_snapshot_max
        self._states = states
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
        # A ledger that was filled before it was ever judged is published from its first minute on.
        first = min(self._first_data.values(), default=progress.judged_before)
        self._first_minute = first = max(first, kept_from(self._marks.expired_before))
        before = self._marks.published_before
        self._published_before = min(first, progress.judged_before) if before is None else before

    def stopped(self) -> Closing | None:
        """Retire series that an earlier version stopped judging, and publish the end of what went on in them.

        All of the agreement at once: what is closed here would show the next pass that it was configured for longer.
        """
        versions = self._reader.published_versions()
        for agreement in self._agreements:
            version = versions.get(agreement.name)
            stopped = find_stopped(self._reader, agreement, self._all_series, self._retired, version)
            if stopped:
                return self._retire(agreement, stopped)
        return None

    def _retire(self, agreement: Agreement, stopped: Mapping[int, Stopped]) -> Closing:
        published_terms = self._published_terms(agreement)
        self._retired |= {series_id: one.retired_minute for series_id, one in stopped.items()}
        some = [series for series in self._all_series if series.series_id in stopped]
        for series in some:
            one = stopped[series.series_id]
            if one.published_before <= self._first_minute:
                continue  # Its counts are kept no longer.
            published_before = min(one.published_before, self._published_before)
            timeline = self._timeline(published_terms, published_before)
            stop_minute = min(one.retired_minute + 1, self._published_before)  # The last one ends what goes on.
            minutes = _minutes_to_judge(timeline, published_before, stop_minute)
            reopened = self._reopened.get(series.series_id, [])
            old, new = ((timeline, _published_until(stop, reopened)) for stop in (published_before, stop_minute))
            self._publish_difference(series, minutes, (old, new), Cause.CONFIGURATION)
        first = min(one.published_before for one in stopped.values())
        last = max(one.retired_minute for one in stopped.values())
        # The month before may have been closed without them.
        before = month_range(month_of(first, agreement.time_zone).previous, agreement.time_zone)
        self._months.close_again(self._terms_of(published_terms), some, MinuteRange(before.start_minute, last + 1))
        return replace(self._found.closing(), retired=tuple((each, self._retired[each]) for each in stopped))

    def changed(self) -> Closing | None:
        """Publish what a change of the past makes of published minutes, each change by itself: terms, then what is
        counted at all, then exclusions.
        """
        return self._terms_changed() or self._counting_changed() or self._exclusions_changed()

    def _published_terms(self, agreement: Agreement) -> Agreement:
        version = self._reader.published_versions().get(agreement.name, self._versions[agreement.name])
        versions = self._reader.agreement_versions(agreement.name)
        return next(agreement_of(known.terms) for known in versions if known.version == version)

    def _terms_changed(self) -> Closing | None:
        published = self._reader.published_versions()
        for agreement in self._agreements:
            version = self._versions[agreement.name]
            if published.get(agreement.name, version) == version:
                continue
            was = self._published_terms(agreement)
            old, new = (self._timeline(one, self._first_minute) for one in (was, agreement))
            start_minute = max(new.open_minute, self._first_minute)
            if was.time_zone != agreement.time_zone:
                warn_of_edge(agreement, (*old.closed, *new.closed))
            if start_minute < self._published_before:
                for series in self._in_turns(series_of(agreement, self._all_series)):
                    self._rejudge(series, old, new, start_minute, Cause.CONFIGURATION)
            return replace(self._found.closing(), published_versions=((agreement.name, version),))
        return None

    def _counting_changed(self) -> Closing | None:
        """Retire the series that nothing is counted for from now on, or bring back those that are counted again."""
        counted = {
            series
            for agreement in self._configured
            for series in series_of(agreement, self._all_series)
            if is_grouped(series, agreement)
        }
        known = {agreement.name for agreement in self._agreements}
        retired, again = dict[int, int](), list[Series]()
        for series in self._all_series:
            if series in counted:
                if series.series_id in self._retired:
                    again.append(series)
            elif series.series_id not in self._retired and series.agreement in known:
                last = self._reader.last_minute(series.series_id, self._published_before)
                retired[series.series_id] = self._published_before if last is None else last + 1
        if retired:
            return replace(self._found.closing(), retired=tuple(retired.items()))
        return self._brought_back(again[:_BROUGHT_BACK_MAX]) if again else None

    def _brought_back(self, some: Sequence[Series]) -> Closing:
        """Publish what the silence is, since they were retired, of series that are counted for again."""
        since = {series.series_id: self._retired.pop(series.series_id) for series in some}
        away = MinuteRange(max(min(since.values()), self._first_minute), self._published_before)
        for agreement in self._configured:
            of_agreement = series_of(agreement, some)
            for series in of_agreement:
                retired_minute = max(since[series.series_id], self._first_minute)
                if retired_minute < self._published_before:
                    timeline = self._timeline(agreement, retired_minute)
                    cause = Cause.CONFIGURATION
                    self._rejudge(series, timeline, timeline, retired_minute, cause, was_retired=retired_minute)
            if of_agreement:
                self._months.close_again(self._terms_of(agreement), of_agreement, away)
        return replace(self._found.closing(), retired=tuple((series.series_id, None) for series in some))

    def _exclusions_changed(self) -> Closing | None:
        """Publish the next changes of exclusions that are in no verdict yet.

        Of one agreement, recordings that follow each other, or withdrawals, are published at once, as one cause.
        """
        changes: dict[int, tuple[Cause, str, MinuteRange]] = {}
        for record in self._exclusions:
            changes[record.change] = Cause.EXCLUSION_ADDED, record.agreement, record.window.minutes
            if record.withdrawal is not None:
                changes[record.withdrawal.change] = Cause.EXCLUSION_WITHDRAWN, record.agreement, record.window.minutes
        published = number = self._marks.exclusion_change
        if published + 1 not in changes:
            return None
        cause, name, covered = changes[published + 1]
        while number + 1 in changes and changes[number + 1][:2] == (cause, name):
            number += 1
            start, stop = changes[number][2]
            covered = MinuteRange(min(start, covered.start_minute), max(stop, covered.stop_minute))
        for agreement in self._agreements:
            start_minute = max(covered.start_minute, kept_from(self._marks.expired_before))
            if agreement.name != name or start_minute >= self._published_before:
                continue
            old, new = (self._timeline(agreement, start_minute, change) for change in (published, number))
            for series in self._in_turns(series_of(agreement, self._all_series)):
                self._rejudge(series, old, new, start_minute, cause)
            # What is not carried out of excluded minutes any more may lie anywhere behind them.
            is_carried = agreement.downtime.no_data is NoData.CARRY
            changed = MinuteRange(covered.start_minute, self._published_before) if is_carried else covered
            self._months.close_again(new.current, self._all_series, changed)
        return replace(self._found.closing(), exclusion_change=number)

    def late_judged(self, series_max: int) -> Closing:
        """Publish what has become of re-opened minutes of some series, and no minute that is new."""
        chosen = self.late_series()[:series_max]
        some = [series for series in self._all_series if series.series_id in set(chosen)]
        self._reopened = {series_id: minutes for series_id, minutes in self._reopened.items() if series_id in chosen}
        self._progress = self._months.progress = MinuteMarks(self._published_before, self._marks.sealed_before or 0)
        oldest = min(minute.epoch_minute for series_id in chosen for minute in self._reopened[series_id])
        for agreement in self._agreements:
            of_agreement = series_of(agreement, some)
            if of_agreement:
                timeline = self._timeline(agreement, oldest)
                for series in of_agreement:
                    self._advance(series, timeline)
                self._months.close_again(timeline.current, of_agreement, MinuteRange(oldest, self._published_before))
        self._settle_unjudged()
        return self._found.closing()

    def _in_turns(self, some: Sequence[Series]) -> Iterator[Series]:
        """Go through series, now and then in a newer snapshot, as none may last long.

        What was published of a series is the same in each, by what was re-opened since. What comes for a series that
        was judged before re-opens its minutes, once all this is published.
        """
        for place, series in enumerate(some, 1):
            yield series
            if place % self._series_per_snapshot_max == 0:
                self._reader.renew_snapshot()
                self._first_data.update(self._reader.first_data_minutes())
                self._reopened = self._reopened_before(self._progress.judged_before)

    def _reopened_before(self, judged_before: int) -> Mapping[int, list[Reopened]]:
        return _by_series(minute for minute in self._reader.reopened() if minute.epoch_minute < judged_before)

    def late_series(self) -> list[int]:
        """Give the series whose re-opened minutes were all published before."""
        return [
            series_id
            for series_id, minutes in self._reopened.items()
            if all(minute.epoch_minute < self._published_before for minute in minutes)
        ]

    def advanced(self, piece_minutes_max: int, *, may_have_missed: bool) -> Closing | None:
        """Publish the minutes that have elapsed and those that were re-opened, or the first piece of them."""
        progress = self._piece(piece_minutes_max)
        is_new = progress.judged_before > self._published_before or self._marks.published_before is None
        is_sealing = progress.sealed_before > (self._marks.sealed_before or 0)
        if not (is_new or self._reopened or is_sealing):
            return None
        self._progress = self._months.progress = progress
        self._reopened = self._reopened_before(progress.judged_before)
        # From the last published minute on: what was down in it goes on or ends now.
        rows = self._reader.counts(max(0, self._published_before - 1), progress.judged_before)
        # Of the new minutes: int64[n_series, n_minutes, N_COUNTS], 18 MB in the largest piece.
        n_minutes = max(0, progress.judged_before - self._published_before)
        self._new_counts = np.zeros((len(self._all_series), n_minutes, N_COUNTS), dtype=np.int64)
        is_new_row = rows.epoch_minute >= self._published_before
        places = rows.epoch_minute[is_new_row] - self._published_before
        self._new_counts[rows.series_id[is_new_row], places] = rows.counts[is_new_row]
        # Nothing older can be re-opened, also meanwhile.
        oldest = min(self._published_before, self._marks.sealed_before or self._published_before)
        for agreement in self._agreements:
            timeline = self._timeline(agreement, oldest)
            suspects = self._suspects(agreement, rows) | set(self._reopened)
            of_agreement = series_of(agreement, self._all_series)
            for series in self._in_turns([one for one in of_agreement if one.series_id in suspects]):
                self._advance(series, timeline)
        oldest = min((self._published_before, *(minute.epoch_minute for minute in self._found.settled)))
        for agreement in self._agreements:
            terms = self._terms_of(agreement)
            sealed_from = self._first_minute if self._marks.sealed_before is None else self._marks.sealed_before
            self._months.close(terms, self._all_series, sealed_from)
            if may_have_missed:  # They ended in another time zone, or while the agreement was not configured.
                ids = (series.series_id for series in series_of(agreement, self._all_series))
                first = min((self._first_data[each] for each in ids if each in self._first_data), default=sealed_from)
                self._months.close(terms, self._all_series, first, only_missed=True)
            self._months.close_again(terms, self._all_series, MinuteRange(oldest, progress.judged_before))
        self._settle_unjudged()
        return replace(
            self._found.closing(), published_before=progress.judged_before, sealed_before=progress.sealed_before
        )

    def _piece(self, piece_minutes_max: int) -> MinuteMarks:
        """Give how far to go now; what is sealed follows as far behind as it does at the end."""
        behind = self._progress.judged_before - self._progress.sealed_before
        minutes_max = max(1, piece_minutes_max // max(1, len(self._all_series)))
        judged_before = min(self._progress.judged_before, self._published_before + minutes_max)
        sealed_before = max(self._marks.sealed_before or 0, min(judged_before - behind, self._progress.sealed_before))
        return MinuteMarks(judged_before=judged_before, sealed_before=min(sealed_before, judged_before))

    def _suspects(self, agreement: Agreement, rows: CountRows) -> set[int]:
        """Give the series to which something may have happened in the new minutes; the others are just up."""
        n, d = agreement.downtime.error_rate_above.as_integer_ratio()
        judged = judged_counts(rows.counts, parts_of(agreement.counting))
        failed = judged[:, Outcome.FAILED]
        valid = failed + judged[:, Outcome.SUCCEEDED]
        # In floats and with slack: this only decides which series are judged, not how.
        is_suspect = failed.astype(np.float64) * d > valid.astype(np.float64) * n * (1 - 1e-9) - 1e-9
        suspects = set(rows.series_id[is_suspect & (failed > 0)].tolist())
        if agreement.downtime.no_data is not NoData.UP:
            stop_minutes = np.full(len(self._all_series), self._progress.judged_before)
            for series_id, retired_minute in self._retired.items():
                stop_minutes[series_id] = min(stop_minutes[series_id], retired_minute)
            is_heard = (valid > 0) & (rows.epoch_minute < stop_minutes[rows.series_id])
            n_heard = np.bincount(rows.series_id[is_heard], minlength=len(self._all_series))
            suspects.update(np.flatnonzero(n_heard < stop_minutes - max(0, self._published_before - 1)).tolist())
        return suspects

    def _settle_unjudged(self) -> None:
        """Settle what is re-opened of series that no agreement judges any more: nothing is published of them."""
        known = {agreement.name for agreement in self._agreements}
        for series in self._all_series:
            if series.agreement not in known:
                self._settle(series.series_id, self._reopened.get(series.series_id, []))

    def _settle(self, series_id: int, reopened: Sequence[Reopened]) -> None:
        """Keep what re-opened minutes of a series hold now that it is published."""
        if reopened:
            start_minute = min(minute.epoch_minute for minute in reopened)
            stop_minute = max(minute.epoch_minute for minute in reopened) + 1
            held = self._reader.month_counts(series_id, start_minute, stop_minute, N_COUNTS)
            for minute in reopened:
                succeeded, failed, invalid, *beside = held[minute.epoch_minute - start_minute].tolist()
                before, beside_before = (succeeded, failed, invalid), CountsBeside(*beside)
                self._found.settled.append(replace(minute, counts_before=before, beside_before=beside_before))

    def _advance(self, series: Series, timeline: TermsOverTime) -> None:
        """Judge one series up to where time has come."""
        reopened = self._reopened.get(series.series_id, [])
        state = None if reopened else self._state(series, timeline)
        if state is not None and self._goes_on(series, timeline, state):
            return
        if state is None:
            start_minute = min([self._published_before, *(minute.epoch_minute for minute in reopened)])
            minutes = _minutes_to_judge(timeline, start_minute, self._progress.judged_before)
        else:
            minutes = MinuteRange(state.open_minute - 1, self._progress.judged_before)
        sides = (timeline, _published_until(self._published_before, reopened)), (timeline, lambda held: held)
        down_before = 0 if state is None else state.down_before
        judged = self._publish_difference(series, minutes, sides, Cause.LATE_SPANS, down_before)
        self._remember(series, timeline, judged, state)
        self._settle(series.series_id, reopened)
        for minute in reopened:
            if minute.epoch_minute < self._published_before:
                self._found.republish(series.series_id, range(minute.epoch_minute, minute.epoch_minute + 1))

    def _state(self, series: Series, timeline: TermsOverTime) -> SeriesState | None:
        """Give the remembered state of a series as of now; None where it is not known."""
        state = self._states.get(series.series_id)
        if state is None or state.published_before > self._published_before:
            return None  # The last closing was not written.
        if state.published_before < self._published_before:
            month = self._promise_at(timeline, self._published_before).minutes
            state = state.after_unseen(self._published_before, month)
        return state

    def _goes_on(self, series: Series, timeline: TermsOverTime, state: SeriesState) -> bool:
        """Whether the new minutes are as the last one was, so that nothing is to be published."""
        terms, judged_before = timeline.current, self._progress.judged_before
        if judged_before <= self._published_before:
            return False
        parts = parts_of(terms.agreement.counting)
        counts = SeriesCounts(
            start_minute=self._published_before,
            counts=judged_counts(self._new_counts[series.series_id], parts),
            carried=None,
            first_data_minute=self._first_data.get(series.series_id),
            retired_minute=self._retired.get(series.series_id),
            parts=parts,
        )
        excluded = excluded_minutes(terms.excluding, series.group_text, self._published_before, judged_before)
        promise = self._promise_at(timeline, judged_before)
        after = state.after(counts, terms.agreement.downtime, promise, is_covered=bool(excluded.any()))
        if after is not None:
            self._states[series.series_id] = after
        return after is not None

    def _remember(
        self, series: Series, timeline: TermsOverTime, judged: JudgedMinutes, before: SeriesState | None
    ) -> None:
        self._states.pop(series.series_id, None)
        if len(judged.raw):
            month = self._promise_at(timeline, judged.stop_minute).minutes
            down_before = before.down_before if before is not None and before.month == month else 0
            self._states[series.series_id] = SeriesState.of(judged, month, down_before)

    def _promise_at(self, timeline: TermsOverTime, epoch_minute: int) -> Promise:
        agreement = timeline.current.agreement
        return self._months.promise(agreement, timeline, month_of(epoch_minute, agreement.time_zone))

    def _rejudge(
        self,
        series: Series,
        old: TermsOverTime,
        new: TermsOverTime,
        start_minute: int,
        cause: Cause,
        *,
        was_retired: int | None = None,
    ) -> None:
        """Judge one series by `new` terms where it was published by `old` ones: by the published counts, no further.

        Nothing differs before `start_minute`. `was_retired` is the minute that its silence was judged to, where it is
        not retired any more.
        """
        reopened = self._reopened.get(series.series_id, [])
        start_minute = min([start_minute, *(minute.epoch_minute for minute in reopened)])
        starts = (
            _minutes_to_judge(timeline, start_minute, self._published_before).start_minute for timeline in (old, new)
        )
        is_now = was = _published_until(self._published_before, reopened)
        minutes = MinuteRange(min(starts), self._published_before)
        if was_retired is not None:
            was = lambda held: replace(is_now(held), retired_minute=was_retired)  # noqa: E731
        self._publish_difference(series, minutes, ((old, was), (new, is_now)), cause)

    def _terms_of(self, agreement: Agreement, change: int | None = None) -> Terms:
        return Terms.of(agreement, self._exclusions, self._marks.exclusion_change if change is None else change)

    def _timeline(self, agreement: Agreement, start_minute: int, change: int | None = None) -> TermsOverTime:
        """Give the terms of all minutes that judging those from `start_minute` on looks at."""
        terms = self._terms_of(agreement, change)
        first_minute = _minutes_to_judge(TermsOverTime((), terms), start_minute, start_minute).start_minute
        closed = self._months.closed_by(agreement, max(first_minute, self._first_minute))
        return TermsOverTime(tuple(ClosedTerms(self._terms_of(by, change), stop) for by, stop in closed), terms)

    def _publish_difference(
        self, series: Series, minutes: MinuteRange, sides: tuple[Side, Side], cause: Cause, down_before: int = 0
    ) -> JudgedMinutes:
        """Add the events that lead from the first side to the other, and give what that is judged as.

        `down_before` minutes of their first month are down before both.
        """
        # Nothing is down before a series' first data.
        reopened = self._reopened.get(series.series_id, [])
        first = self._first_data.get(series.series_id, minutes.stop_minute) - 1
        first = min([first, *(minute.epoch_minute for minute in reopened), minutes.stop_minute])
        minutes = MinuteRange(max(minutes.start_minute, first), minutes.stop_minute)
        old, new = judged_alike(self._history, series, minutes, sides)
        timelines = [timeline for timeline, _ in sides]
        agreement = timelines[1].current.agreement
        subject = Subject(series, agreement)
        before = self._found.revisions.get(series.series_id, self._revisions.get(series.series_id, 0))
        events, revision = change_events(subject, old, new, cause, before)
        self._found.events.extend(events)
        for month in months_between(old.judged.start_minute + 1, new.judged.stop_minute, agreement.time_zone):
            was, promise = (
                replace(self._months.promise(agreement, one, month), down_before=down_before) for one in timelines
            )
            events, revision = breach_event(subject, old, new, promise, revision, was_promised=was)
            self._found.events.extend(events)
            down_before = 0
        if revision != before:
            self._found.revisions[series.series_id] = revision
        self._found.republish_differences(series.series_id, old, new)
        return new.judged


def _published_until(stop_minute: int, reopened: Sequence[Reopened]) -> AsPublished:
    return lambda held: counts_as_published(held, reopened, stop_minute)


def _minutes_to_judge(timeline: TermsOverTime, start_minute: int, stop_minute: int) -> MinuteRange:
    # Earlier by the minutes of a period: a run that grows to one makes so many published minutes down. Where nothing
    # differs both sides are the same, so a run that reaches further back does so in both. From the month's start,
    # because a breach counts the month's minutes.
    agreement = timeline.agreement_at(start_minute)
    first_minute = max(0, start_minute - agreement.downtime.period_minutes_min)
    month = month_range(month_of(first_minute, agreement.time_zone), agreement.time_zone)
    return MinuteRange(max(0, month.start_minute - 1), stop_minute)


def _by_series(reopened: Iterable[Reopened]) -> dict[int, list[Reopened]]:
    found: dict[int, list[Reopened]] = defaultdict(list)
    for minute in reopened:
        found[minute.series_id].append(minute)
    return found
