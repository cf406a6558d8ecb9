"""What was counted, with as much of its surroundings as judging needs, and judged.

Between the ledger, which keeps counts, and `sla/`, which judges arrays that are handed to it: this module knows how
far to read so that no run is cut at an edge. It takes what it reads from a snapshot and gives values; it keeps nothing.

Dimensions:
    n_minutes: consecutive minutes of one series.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from otel_sla.ledger.records import ExclusionRecord, Reopened
from otel_sla.sla.agreement import Agreement, ExclusionWindow, NoData, Outcome
from otel_sla.sla.counts import N_OUTCOMES
from otel_sla.sla.downtime import (
    JudgedMinutes,
    MinuteState,
    SeriesCounts,
    judge_minutes,
    judged_state,
    needs_minutes_after,
    needs_minutes_before,
)
from otel_sla.sla.exclusions import CoveredMinutes, accepted_windows, all_covered, excluded_minutes
from otel_sla.sla.months import MinuteRange
from otel_sla.sla.series import Series
from otel_sla.sla.story import World
from otel_sla.spans.columns import Int64Array

_MINUTES_PER_DAY = 1440


@dataclass(frozen=True, slots=True)
class JudgedSeries:
    """One series over a range of minutes: what was counted and how it is judged, minute for minute."""

    counts: SeriesCounts
    judged: JudgedMinutes

    @property
    def world(self) -> World:
        """The same as the story tells it."""
        return World(self.judged, self.counts.counts)

    def with_silence(self) -> "JudgedSeries":
        """The same and one minute more, without data and not down, so that nothing goes on behind its end."""
        counts, judged = self.counts, self.judged
        rows = np.concatenate((counts.counts, np.zeros((1, len(Outcome)), dtype=np.int64)))
        silent = np.array([MinuteState.NO_DATA], dtype=np.int8)
        states = (np.concatenate((each, silent)) for each in (judged.raw, judged.adjusted, judged.unfiltered))
        return JudgedSeries(
            SeriesCounts(counts.start_minute, rows, counts.carried, counts.first_data_minute),
            JudgedMinutes(judged.start_minute, *states),
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """An agreement together with the windows that hold for it at some time, configured and recorded ones."""

    agreement: Agreement
    windows: tuple[ExclusionWindow, ...]
    covered: tuple[CoveredMinutes, ...] = field(init=False, compare=False)  # By the windows that exclude (clause 14).

    def __post_init__(self) -> None:
        # Once for all series: a window takes 30 us to decide.
        exclusions, time_zone = self.agreement.exclusions, self.agreement.time_zone
        object.__setattr__(self, "covered", all_covered(accepted_windows(self.windows, exclusions, time_zone)))

    @classmethod
    def of(cls, agreement: Agreement, records: Iterable[ExclusionRecord], change: int) -> "Terms":
        """Give what holds after so many changes of the recorded exclusions."""
        recorded = tuple(
            record.window
            for record in records
            if record.agreement == agreement.name
            and record.change <= change
            and (record.withdrawal is None or record.withdrawal.change > change)
        )
        return cls(agreement, (*agreement.exclusions.windows, *recorded))


def series_of(agreement: Agreement, all_series: Iterable[Series]) -> tuple[Series, ...]:
    """Give the series that the agreement, grouped as it is now, is judged by; the overflow series among them."""
    keys = agreement.group_by
    return tuple(
        series
        for series in all_series
        if series.agreement == agreement.name and (series.is_overflow or tuple(key for key, _ in series.group) == keys)
    )


class CountReadings(Protocol):
    """Where the past is read: a ledger (`ledger.reader.LedgerReadings`), or what an application keeps in memory."""

    def month_counts(
        self, series_id: int, start_minute: int, stop_minute: int, columns: int = N_OUTCOMES
    ) -> Int64Array:
        """Totals of one series: int64[n_minutes, columns], the first columns of `counts.Count`, 0 where are none."""

    def each_month_counts(
        self, series_ids: Sequence[int], start_minute: int, stop_minute: int, columns: int = N_OUTCOMES
    ) -> Iterator[tuple[int, Int64Array]]:
        """`month_counts` of many series, one after the other."""

    def last_data_minute(
        self, series_id: int, before_minute: int, valid_requests_min: int, *, is_adjusted: bool = False
    ) -> tuple[int, tuple[int, ...]] | None:
        """Give the last minute before `before_minute` with at least so many valid requests, and its N_OUTCOMES counts;
        if `is_adjusted`, by adjusted counts, and its N_COUNTS counts.
        """


class History:
    """Reads the past of one ledger; every call sees the connection's snapshot.

    Args:
        reader: The caller holds its `snapshot()` where several calls have to agree.
        first_data_minutes: `reader.first_data_minutes()`, read once for all series.
    """

    def __init__(self, reader: CountReadings, first_data_minutes: Mapping[int, int]) -> None:
        self._reader = reader
        self._first_data_minutes = first_data_minutes

    def judged(self, series: Series, terms: Terms, minutes: MinuteRange, elapsed_stop_minute: int) -> JudgedSeries:
        """Judge `minutes` of a series, and as many before and behind as the runs at their edges reach.

        Args:
            series: Of the terms' agreement.
            terms: What to judge by.
            minutes: The minutes asked for; those from `elapsed_stop_minute` on are left out.
            elapsed_stop_minute: No minute from this one on has elapsed.
        """
        asked = _elapsed_part(minutes, elapsed_stop_minute)
        return self._judged(series, terms, self.counts(series, terms.agreement, asked), elapsed_stop_minute)

    def each_judged(
        self, all_series: Sequence[Series], terms: Terms, minutes: MinuteRange, elapsed_stop_minute: int
    ) -> Iterator[tuple[Series, JudgedSeries]]:
        """Judge as `judged` does, one series after the other; faster than series by series.

        Args:
            all_series: Of the terms' agreement. In the order of their ids, that of the ledger, they are read fastest.
            terms: As for `judged`.
            minutes: As for `judged`.
            elapsed_stop_minute: As for `judged`.
        """
        asked = _elapsed_part(minutes, elapsed_stop_minute)
        each_rows = self._reader.each_month_counts([series.series_id for series in all_series], *asked)
        for series, (_, rows) in zip(all_series, each_rows, strict=True):
            counts = self._reaching_back(series, terms.agreement, asked.start_minute, rows)
            yield series, self._judged(series, terms, counts, elapsed_stop_minute)

    def counts(self, series: Series, agreement: Agreement, minutes: MinuteRange) -> SeriesCounts:
        """Give the counts of `minutes`, and of as many minutes before as a run at their start reaches back."""
        return self._reaching_back(series, agreement, minutes.start_minute, self._dense(series, *minutes))

    def _judged(self, series: Series, terms: Terms, counts: SeriesCounts, elapsed_stop_minute: int) -> JudgedSeries:
        """Judge counts that reach back far enough, and as many minutes behind them as a run reaches."""
        judged = judge(series, terms, counts)
        while needs_minutes_after(judged.judged, elapsed_stop_minute):
            stop_minute = min(elapsed_stop_minute, judged.judged.stop_minute + _MINUTES_PER_DAY)
            judged = judge(series, terms, self._extended(judged.counts, series, stop_minute))
        return judged

    def _reaching_back(self, series: Series, agreement: Agreement, start_minute: int, rows: Int64Array) -> SeriesCounts:
        """Put as many minutes before the rows as a run at their start reaches back."""
        n_more = 64
        while True:
            counts = SeriesCounts(
                start_minute=start_minute,
                counts=rows,
                carried=self._carried(series, agreement, start_minute),
                first_data_minute=self._first_data_minutes.get(series.series_id),
            )
            if not needs_minutes_before(counts, agreement.downtime):
                return counts
            assert counts.first_data_minute is not None, "what had no data cannot be down"
            earlier = max(counts.first_data_minute, start_minute - n_more)
            rows = np.concatenate((self._dense(series, earlier, start_minute), rows))
            start_minute, n_more = earlier, 4 * n_more

    def _extended(self, counts: SeriesCounts, series: Series, stop_minute: int) -> SeriesCounts:
        more = self._dense(series, counts.stop_minute, stop_minute)
        return SeriesCounts(
            counts.start_minute, np.concatenate((counts.counts, more)), counts.carried, counts.first_data_minute
        )

    def _dense(self, series: Series, start_minute: int, stop_minute: int) -> Int64Array:
        return self._reader.month_counts(series.series_id, start_minute, stop_minute)

    def _carried(self, series: Series, agreement: Agreement, start_minute: int) -> MinuteState | None:
        if agreement.downtime.no_data is not NoData.CARRY:
            return None
        found = self._reader.last_data_minute(series.series_id, start_minute, agreement.downtime.valid_requests_min)
        if found is None:
            return None
        succeeded, failed, invalid = found[1]
        return judged_state((succeeded, failed, invalid), agreement.downtime)


def _elapsed_part(minutes: MinuteRange, elapsed_stop_minute: int) -> MinuteRange:
    stop_minute = max(minutes.start_minute, min(minutes.stop_minute, elapsed_stop_minute))
    return MinuteRange(minutes.start_minute, stop_minute)


def judge(series: Series, terms: Terms, counts: SeriesCounts) -> JudgedSeries:
    """Judge counts that reach as far as they have to (`downtime.judge_minutes`)."""
    excluded = excluded_minutes(terms.covered, series.group_text, counts.start_minute, counts.stop_minute)
    return JudgedSeries(counts, judge_minutes(counts, terms.agreement.downtime, excluded))


def counts_as_told(counts: SeriesCounts, reopened: Sequence[Reopened], told_before: int) -> SeriesCounts:
    """Give the counts as they were when they were told of: before the requests that came late.

    Args:
        counts: From before the oldest re-opened minute on.
        reopened: The series' minutes that got requests since, each with what it held.
        told_before: Epoch minute; those from it on are left out.
    """
    rows = counts.counts[: max(0, told_before - counts.start_minute)].copy()
    for minute in reopened:
        if counts.start_minute <= minute.epoch_minute < told_before:
            rows[minute.epoch_minute - counts.start_minute] = minute.counts_before
    first = counts.first_data_minute
    if first is not None and first >= counts.start_minute:
        valid = rows[:, 0] + rows[:, 1]
        has_data = np.flatnonzero(valid > 0)
        first = counts.start_minute + int(has_data[0]) if len(has_data) else None
    return SeriesCounts(counts.start_minute, rows, counts.carried, first)
