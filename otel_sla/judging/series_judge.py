"""Counts of a series, with as much of their surroundings as judging needs, judged.

Between the ledger, which keeps counts, and `sla/`, which judges arrays that are handed to it: this module knows how
far to read so that no run is cut at an edge. It reads from a snapshot, gives values, and keeps nothing.

Dimensions:
    n_minutes: consecutive minutes of one series.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from otel_sla.arrays import Int64Array
from otel_sla.ledger.reader import LedgerReadings
from otel_sla.ledger.records import Reopened
from otel_sla.sla.agreement import Agreement, ExclusionWindow, NoData, Outcome
from otel_sla.sla.counts import MINUTES_PER_DAY, CountsBeside, columns_of, judged_counts, parts_of
from otel_sla.sla.downtime import (
    JudgedMinutes,
    JudgedSeries,
    MinuteState,
    SeriesCounts,
    judge_minutes,
    judged_state,
    needs_minutes_after,
    needs_minutes_before,
)
from otel_sla.sla.exclusions import ExclusionRecord, accepted_windows, covered_from, excluded_minutes
from otel_sla.sla.months import MinuteRange, Month, month_of, month_range
from otel_sla.sla.series import Series
from otel_sla.sla.uptime import (
    MinuteFigures,
    MonthFigures,
    MonthSoFar,
    SpanCounts,
    is_in_month,
    minute_figures,
    month_figures,
)


def joined(pieces: Sequence[JudgedSeries]) -> JudgedSeries:
    """Put consecutive minutes of one series together, each piece judged by terms of its own."""
    first = pieces[0]
    states = zip(*((piece.judged.raw, piece.judged.adjusted, piece.judged.unfiltered) for piece in pieces), strict=True)
    raw, adjusted, unfiltered = (np.concatenate(each) for each in states)
    # They may be judged on other bases: in the finest one, a request is as many parts in all of them.
    finest = max(piece.counts.parts for piece in pieces)
    rows = np.concatenate([piece.counts.counts * (finest // piece.counts.parts) for piece in pieces])
    return JudgedSeries(
        replace(first.counts, counts=rows, parts=finest),
        JudgedMinutes(first.judged.start_minute, raw, adjusted, unfiltered),
    )


@dataclass(frozen=True, slots=True)
class Terms:
    """An agreement together with the windows that hold for it at some time, configured and recorded ones."""

    agreement: Agreement
    windows: tuple[ExclusionWindow, ...]
    excluding: tuple[ExclusionWindow, ...] = field(init=False, compare=False)  # Those that exclude (clause 14).

    def __post_init__(self) -> None:
        # Once for all series: a window takes 30 us to decide.
        exclusions, time_zone = self.agreement.exclusions, self.agreement.time_zone
        object.__setattr__(self, "excluding", accepted_windows(self.windows, exclusions, time_zone))

    @classmethod
    def of(cls, agreement: Agreement, records: Sequence[ExclusionRecord], change: int) -> "Terms":
        """Give what holds after so many changes of the recorded exclusions; worked out once for the same `records`."""
        return _terms_of(agreement, _Same(records), change)


class _Same:
    """Records as a key: those that are the same object, as a reader gives them until they change."""

    __slots__ = ("records",)

    def __init__(self, records: Sequence[ExclusionRecord]) -> None:
        self.records = records

    def __hash__(self) -> int:
        return id(self.records)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.records is self.records


@lru_cache(maxsize=64)
def _terms_of(agreement: Agreement, same: _Same, change: int) -> Terms:
    recorded = tuple(
        record.window
        for record in same.records
        if record.agreement == agreement.name
        and record.change <= change
        and (record.withdrawal is None or record.withdrawal.change > change)
    )
    return Terms(agreement, (*agreement.exclusions.windows, *recorded))


def series_of(agreement: Agreement, all_series: Iterable[Series]) -> tuple[Series, ...]:
    """Give the series that are judged by an agreement's terms, those of former groupings too (clause 22)."""
    return tuple(series for series in all_series if series.agreement == agreement.name)


def is_grouped(series: Series, agreement: Agreement) -> bool:
    """Whether a series of the agreement is grouped as the terms say, or takes what has no series of its own."""
    return series.is_overflow or tuple(key for key, _ in series.group) == agreement.group_by


class History:
    """Reads the past of one ledger; where several calls have to agree, the caller holds its `snapshot()`.

    What the ledger has of the same name, first data and retired minutes, is read once for all series.
    """

    def __init__(
        self, reader: LedgerReadings, first_data_minutes: Mapping[int, int], retired_minutes: Mapping[int, int]
    ) -> None:
        self._reader = reader
        self._first_data_minutes = first_data_minutes
        self._retired_minutes = retired_minutes

    @classmethod
    def of(cls, reader: LedgerReadings) -> "History":
        """Give the past of a ledger; the caller holds its `snapshot()`."""
        return cls(reader, reader.first_data_minutes(), reader.retired_minutes())

    def judged(self, series: Series, terms: Terms, minutes: MinuteRange, elapsed_stop_minute: int) -> JudgedSeries:
        """Judge `minutes` of a series, and as many before and behind as the runs at their edges reach.

        Minutes from `elapsed_stop_minute` on are left out: they have not elapsed.
        """
        asked = _elapsed_part(minutes, elapsed_stop_minute)
        rows = self.rows(series, parts_of(terms.agreement.counting), asked)
        counts = self.counts(series, terms, asked.start_minute, rows)
        return self._judged(series, terms, counts, elapsed_stop_minute)

    def each_judged(
        self, all_series: Sequence[Series], terms: Terms, minutes: MinuteRange, elapsed_stop_minute: int
    ) -> Iterator[tuple[Series, JudgedSeries]]:
        """Judge as `judged` does, one series after the other; fastest in the order of their ids."""
        asked, parts = _elapsed_part(minutes, elapsed_stop_minute), parts_of(terms.agreement.counting)
        all_ids = [series.series_id for series in all_series]
        each_rows = self._reader.each_month_counts(all_ids, *asked, columns_of(parts))
        for series, (_, rows) in zip(all_series, each_rows, strict=True):
            counts = self.counts(series, terms, asked.start_minute, judged_counts(rows, parts))
            yield series, self._judged(series, terms, counts, elapsed_stop_minute)

    def minute_figures(
        self,
        series: Series,
        terms: Terms,
        minutes: MinuteRange,
        elapsed_stop_minute: int,
        so_far: MonthSoFar | None = None,
    ) -> Iterator[MinuteFigures]:
        """Go through elapsed minutes of one local month, each with its month up to and including it.

        `so_far` is as for `uptime.minute_figures`; without it, the month is judged from its start.
        """
        agreement, start_minute = terms.agreement, minutes.start_minute
        if so_far is None:
            start_minute = month_range(month_of(start_minute, agreement.time_zone), agreement.time_zone).start_minute
        judged = self.judged(series, terms, MinuteRange(start_minute, minutes.stop_minute), elapsed_stop_minute)
        return minute_figures(series, agreement, judged, minutes, so_far)

    def rows(self, series: Series, parts: int, minutes: MinuteRange) -> Int64Array:
        """Give what is judged of the counts of minutes: int64[n_minutes, 3], `parts` to a request."""
        return judged_counts(self._reader.month_counts(series.series_id, *minutes, columns_of(parts)), parts)

    def counts(self, series: Series, terms: Terms, start_minute: int, rows: Int64Array) -> SeriesCounts:
        """Give the counts that terms judge: those of `rows`, and as many before as a run at their start reaches back.

        `start_minute` is the epoch minute of the first row; rows are int64[n_minutes, 3], parts of requests (`rows`).
        """
        parts = parts_of(terms.agreement.counting)
        n_more = 64
        while True:
            carried, carried_after = self._carried(series, terms, start_minute)
            counts = SeriesCounts(
                start_minute=start_minute,
                counts=rows,
                carried=carried,
                first_data_minute=self._first_data_minutes.get(series.series_id),
                retired_minute=self._retired_minutes.get(series.series_id),
                carried_after=carried_after,
                parts=parts,
            )
            known_from = self._reader.known_from
            if start_minute <= known_from or not needs_minutes_before(counts, terms.agreement.downtime):
                return counts
            assert counts.first_data_minute is not None, "what had no data cannot be down"
            earlier = max(counts.first_data_minute, known_from, start_minute - n_more)
            rows = np.concatenate((self.rows(series, parts, MinuteRange(earlier, start_minute)), rows))
            start_minute, n_more = earlier, 4 * n_more

    def _judged(self, series: Series, terms: Terms, counts: SeriesCounts, elapsed_stop_minute: int) -> JudgedSeries:
        judged = judge(series, terms, counts)
        while needs_minutes_after(judged.judged, elapsed_stop_minute):
            stop_minute = min(elapsed_stop_minute, judged.judged.stop_minute + MINUTES_PER_DAY)
            more = self.rows(series, judged.counts.parts, MinuteRange(judged.counts.stop_minute, stop_minute))
            rows = np.concatenate((judged.counts.counts, more))
            judged = judge(series, terms, replace(judged.counts, counts=rows))
        return judged

    def _carried(
        self, series: Series, terms: Terms, start_minute: int
    ) -> tuple[MinuteState | None, MinuteState | None]:
        """Give `SeriesCounts.carried` and `carried_after`."""
        if terms.agreement.downtime.no_data is not NoData.CARRY:
            return None, None
        found = last = self._last_judged(series, terms, start_minute)
        while last is not None and (covered := covered_from(terms.excluding, series.group_text, last[0])) is not None:
            last = self._last_judged(series, terms, covered)
        return None if found is None else found[1], None if last is None else last[1]

    def _last_judged(self, series: Series, terms: Terms, before_minute: int) -> tuple[int, MinuteState | None] | None:
        downtime, parts = terms.agreement.downtime, parts_of(terms.agreement.counting)
        valid_min = downtime.valid_requests_min
        found = self._reader.last_data_minute(series.series_id, before_minute, valid_min, is_adjusted=parts > 1)
        if found is None:
            return None
        (row,) = judged_counts(np.array([found[1]], dtype=np.int64), parts).tolist()
        return found[0], judged_state(row, downtime, parts)


def _elapsed_part(minutes: MinuteRange, elapsed_stop_minute: int) -> MinuteRange:
    stop_minute = max(minutes.start_minute, min(minutes.stop_minute, elapsed_stop_minute))
    return MinuteRange(minutes.start_minute, stop_minute)


def judge(series: Series, terms: Terms, counts: SeriesCounts) -> JudgedSeries:
    """Judge counts that reach as far as they have to (`downtime.judge_minutes`)."""
    excluded = excluded_minutes(terms.excluding, series.group_text, counts.start_minute, counts.stop_minute)
    carries_excluded = terms.agreement.carries_excluded
    judged = judge_minutes(counts, terms.agreement.downtime, excluded, carries_excluded=carries_excluded)
    return JudgedSeries(counts, judged)


def counts_as_published(counts: SeriesCounts, reopened: Sequence[Reopened], published_before: int) -> SeriesCounts:
    """Give the counts before `published_before` as they were published: without the requests that came late.

    `reopened` are the series' minutes that got requests since, each with what it held.
    """
    rows = counts.counts[: max(0, published_before - counts.start_minute)].copy()
    for minute in reopened:
        if counts.start_minute <= minute.epoch_minute < published_before:
            before = np.array([(*minute.counts_before, *minute.beside_before)], dtype=np.int64)
            rows[minute.epoch_minute - counts.start_minute] = judged_counts(before, counts.parts)[0]
    first = counts.first_data_minute
    if first is not None and first >= counts.start_minute:
        # Not their sum: of what samplers claim it may not have room in an int64.
        has_data = np.flatnonzero((rows[:, Outcome.SUCCEEDED] > 0) | (rows[:, Outcome.FAILED] > 0))
        first = counts.start_minute + int(has_data[0]) if len(has_data) else None
    return replace(counts, counts=rows, first_data_minute=first)


class JudgedMonth(NamedTuple):
    """One series' month."""

    series: Series
    judged: JudgedSeries  # As many minutes around the month as the runs at its edges reach are there, too.
    figures: MonthFigures


def judge_month(
    reader: LedgerReadings,
    each_judged: Iterable[tuple[Series, JudgedSeries]],
    agreement: Agreement,
    month: Month,
    beside: Mapping[int, CountsBeside],
) -> Iterator[JudgedMonth]:
    """Judge an agreement's month, series by series; those that have nothing in it are left out.

    Args:
        reader: Its snapshot is the caller's.
        each_judged: The series with the month's minutes (`History.each_judged`); taken one by one.
        agreement: By whose terms they are judged.
        month: Local to the agreement's time zone.
        beside: `reader.counts_beside` of the month's elapsed minutes.
    """
    minutes = month_range(month, agreement.time_zone)
    for series, judged in each_judged:
        if not is_in_month(minutes, judged.counts, agreement.downtime.no_data):
            continue
        figures = month_figures(minutes, judged, agreement.target)
        held = beside.get(series.series_id)
        if held is not None:
            total = figures.spans.total
            if figures.parts > 1:  # Its counts are those of the requests that the spans stand for.
                elapsed = MinuteRange(minutes.start_minute, minutes.start_minute + figures.elapsed)
                total = int(reader.month_counts(series.series_id, *elapsed).sum())
            figures = replace(figures, spans=SpanCounts(total, held.spared, held.sampled, held.thresholded))
        yield JudgedMonth(series, judged, figures)
