"""From states to downtime periods and the figures of a month (clauses 7 to 11), whole and minute by minute.

Everything is counted in ints and exact Fractions; text is made at the very end and truncated, never rounded up.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from otel_sla.arrays import BoolArray, Int64Array
from otel_sla.sla.agreement import Agreement, NoData, Outcome
from otel_sla.sla.counts import exact_sum
from otel_sla.sla.downtime import JudgedSeries, MinuteState, SeriesCounts, downtime_periods, is_state
from otel_sla.sla.months import MinuteRange, month_of, month_range
from otel_sla.sla.series import Series

Counts = tuple[int, int, int]  # Parts of requests (`counts`). Columns as in agreement.Outcome.


@dataclass(frozen=True, slots=True)
class DowntimePeriod:
    """One raw downtime period, whole even where it crosses the month's edge (clause 7)."""

    start_minute: int
    stop_minute: int
    minutes_in_month: int
    excluded_minutes: int  # Of the whole period.
    valid: int  # Requests of the whole period, in the agreement's basis; adjusted ones are cut off to whole ones.
    failed: int

    @property
    def minutes(self) -> int:
        """Minutes of the whole period."""
        return self.stop_minute - self.start_minute


@dataclass(frozen=True, slots=True)
class SpanCounts:
    """What was counted of a month whatever it is judged on: each span as one (clauses 4 and 19)."""

    total: int  # Requests, invalid ones too.
    spared: int = 0  # Succeeded, by the code attribute, with an HTTP status of the failing set.
    sampled: int = 0  # With a sampling threshold above 0.
    thresholded: int = 0  # With a sampling threshold, 0 included.

    @property
    def unthresholded(self) -> int:
        """Spans that do not say how many requests they stand for; they count as one."""
        return self.total - self.thresholded

    @property
    def sampled_share(self) -> Fraction | None:
        """Share of the spans that stand for more than themselves; None without spans."""
        return Fraction(self.sampled, self.total) if self.total else None


@dataclass(frozen=True, slots=True)
class MonthFigures:
    """A month of one series. Minutes of a running month are those that have elapsed; `total` is the whole month."""

    minutes: MinuteRange  # The calendar month's.
    elapsed: int
    up: int
    down: int  # After exclusions and clause 7: what the uptime is computed from.
    excluded: int
    low_traffic: int
    no_data: int
    down_raw: int  # Before exclusions.
    with_data: int  # Minutes with at least one valid request.
    counts: Counts  # Of the elapsed minutes.
    parts: int  # Parts of one request in `counts`.
    spans: SpanCounts  # Of the elapsed minutes.
    target: Fraction
    downtime_periods: tuple[DowntimePeriod, ...]  # Raw ones that touch the elapsed part of the month, in time order.

    @property
    def total(self) -> int:
        """Minutes of the whole month: the denominator, in a running month too (clause 10)."""
        return self.minutes.n_minutes

    @property
    def adjusted(self) -> tuple[Fraction, Fraction, Fraction]:
        """Valid, failed and invalid requests in the agreement's basis, exactly."""
        succeeded, failed, invalid = self.counts
        return Fraction(succeeded + failed, self.parts), Fraction(failed, self.parts), Fraction(invalid, self.parts)

    @property
    def valid(self) -> int:
        """Valid requests in the agreement's basis, cut off to whole ones, as are the next two."""
        return (self.counts[Outcome.SUCCEEDED] + self.counts[Outcome.FAILED]) // self.parts

    @property
    def failed(self) -> int:
        """Failed requests."""
        return self.counts[Outcome.FAILED] // self.parts

    @property
    def invalid(self) -> int:
        """Requests that are not valid."""
        return self.counts[Outcome.INVALID] // self.parts

    @property
    def monthly_uptime(self) -> Fraction:
        """Clause 9, after exclusions."""
        return Fraction(self.total - self.down, self.total)

    @property
    def monthly_uptime_raw(self) -> Fraction:
        """Clause 9, before exclusions."""
        return Fraction(self.total - self.down_raw, self.total)

    @property
    def elapsed_uptime(self) -> Fraction | None:
        """Uptime of the elapsed part alone (clause 10); None if no minute has elapsed."""
        return Fraction(self.elapsed - self.down, self.elapsed) if self.elapsed else None

    @property
    def coverage(self) -> Fraction | None:
        """Share of the elapsed minutes with data (clause 6); None if no minute has elapsed."""
        return Fraction(self.with_data, self.elapsed) if self.elapsed else None

    @property
    def downtime_minutes_allowed(self) -> int:
        """The most down minutes that keep the promise."""
        return downtime_minutes_allowed(self.total, self.target)

    @property
    def is_breached(self) -> bool:
        """Whether the promise is broken, whatever still comes (clause 9)."""
        return self.down > self.downtime_minutes_allowed


@dataclass(frozen=True, slots=True)
class MonthSoFar:
    """What a month has gathered up to some minute."""

    counts: Counts = (0, 0, 0)
    down: int = 0
    down_raw: int = 0
    elapsed: int = 0
    with_data: int = 0


@dataclass(frozen=True, slots=True)
class MinuteFigures:
    """One judged minute of one series, with its month up to and including it: what gauges and sums are made of."""

    series: Series
    epoch_minute: int
    state: MinuteState  # After exclusions.
    counts: Counts  # Of this minute.
    month: MinuteRange  # The calendar month's; cumulative sums start at its start_minute.
    so_far: MonthSoFar
    target: Fraction
    parts: int = 1  # Parts of one request in all counts here.
    has_month: bool = True  # False: only what the minute itself held; a later point has its month.

    @property
    def requests_so_far(self) -> Counts:
        """The month's requests, cut off to whole ones."""
        succeeded, failed, invalid = self.so_far.counts
        return succeeded // self.parts, failed // self.parts, invalid // self.parts

    @property
    def valid(self) -> int:
        """Valid requests of this minute, in parts."""
        return self.counts[Outcome.SUCCEEDED] + self.counts[Outcome.FAILED]

    @property
    def error_rate(self) -> Fraction | None:
        """Share of failed among the valid requests of this minute; None without data."""
        return Fraction(self.counts[Outcome.FAILED], self.valid) if self.valid else None

    @property
    def monthly_uptime(self) -> Fraction:
        """Clauses 9 and 10: what the month ends with if nothing more goes wrong."""
        return Fraction(self.month.n_minutes - self.so_far.down, self.month.n_minutes)

    @property
    def monthly_uptime_raw(self) -> Fraction:
        """The same before exclusions."""
        return Fraction(self.month.n_minutes - self.so_far.down_raw, self.month.n_minutes)

    @property
    def coverage(self) -> Fraction:
        """Share of the elapsed minutes with data."""
        return Fraction(self.so_far.with_data, self.so_far.elapsed)

    @property
    def downtime_s(self) -> int:
        """Downtime of the month so far, seconds."""
        return 60 * self.so_far.down

    @property
    def downtime_budget_s(self) -> int:
        """Downtime that the month still bears, seconds in whole minutes; negative iff the promise is broken."""
        return 60 * (downtime_minutes_allowed(self.month.n_minutes, self.target) - self.so_far.down)


def downtime_minutes_allowed(total: int, target: Fraction) -> int:
    """Give the most down minutes of `total` that do not break the promise: total * (1 - target) (clause 9).

    >>> [downtime_minutes_allowed(total, Fraction(999, 1000)) for total in (40_320, 41_760, 43_200, 44_640)]
    [40, 41, 43, 44]
    """
    return total * (target.denominator - target.numerator) // target.denominator


def month_figures(month: MinuteRange, series: JudgedSeries, target: Fraction) -> MonthFigures:
    """Add up one month (`months.month_range`) of one series.

    The series starts at or before the month and ends where no more minutes have elapsed, or behind the month; for
    periods to be whole its edges cut no run (`downtime.judge_minutes`). `spans` are one for each request.
    """
    judged, series_counts = series.judged, series.counts
    stop_minute = max(month.start_minute, min(month.stop_minute, judged.stop_minute))
    elapsed = MinuteRange(month.start_minute, stop_minute)
    assert elapsed.n_minutes == 0 or judged.start_minute <= month.start_minute, "the month is there from its start"
    cut = slice(elapsed.start_minute - judged.start_minute, elapsed.stop_minute - judged.start_minute)
    # Five passes over bytes take less time than one bincount, which widens them first.
    n_in_state = [int(np.count_nonzero(is_state(judged.adjusted[cut], state))) for state in MinuteState]
    counts = _sum_counts(series_counts.counts[cut], series_counts.parts)
    return MonthFigures(
        minutes=month,
        elapsed=elapsed.n_minutes,
        up=n_in_state[MinuteState.UP],
        down=n_in_state[MinuteState.DOWN],
        excluded=n_in_state[MinuteState.EXCLUDED],
        low_traffic=n_in_state[MinuteState.LOW_TRAFFIC],
        no_data=n_in_state[MinuteState.NO_DATA],
        down_raw=int(np.count_nonzero(is_state(judged.raw[cut], MinuteState.DOWN))),
        with_data=int(np.count_nonzero(series_counts.valid[cut])),
        counts=counts,
        parts=series_counts.parts,
        spans=SpanCounts(sum(counts) // series_counts.parts),
        target=target,
        downtime_periods=list_periods(elapsed, series),
    )


def list_periods(elapsed: MinuteRange, series: JudgedSeries) -> tuple[DowntimePeriod, ...]:
    """List the raw downtime periods that touch a month's elapsed part, each with the figures of all its minutes.

    The edges of `series` cut no run (`downtime.judge_minutes`).
    """
    judged = series.judged
    starts, stops = downtime_periods(judged.raw).T
    n_inside = np.minimum(stops, elapsed.stop_minute - judged.start_minute) - np.maximum(
        starts, elapsed.start_minute - judged.start_minute
    )
    touches = n_inside > 0
    if not touches.any():
        return ()
    starts, stops = starts[touches], stops[touches]
    # Without exclusions both are one array (judge_minutes), and a month of many series has few.
    n_excluded = np.zeros_like(starts)
    if judged.adjusted is not judged.raw:
        n_excluded = _sums(is_state(judged.adjusted, MinuteState.EXCLUDED), starts, stops)
    parts, rows = series.counts.parts, series.counts.counts
    if parts == 1:
        outcomes = Outcome.SUCCEEDED, Outcome.FAILED
        requests = np.stack([_sums(rows[:, outcome], starts, stops) for outcome in outcomes], axis=1).tolist()
    else:
        requests = [_sum_counts(rows[start:stop], parts)[:2] for start, stop in zip(starts, stops, strict=True)]
    figures = np.stack((starts, stops, n_inside[touches], n_excluded), axis=1).tolist()
    return tuple(
        DowntimePeriod(
            start_minute=judged.start_minute + start,
            stop_minute=judged.start_minute + stop,
            minutes_in_month=minutes_in_month,
            excluded_minutes=excluded_minutes,
            valid=(succeeded + failed) // parts,
            failed=failed // parts,
        )
        for (start, stop, minutes_in_month, excluded_minutes), (succeeded, failed) in zip(
            figures, requests, strict=True
        )
    )


def _sums(values: Int64Array | BoolArray, starts: Int64Array, stops: Int64Array) -> Int64Array:
    """Add up `values[start:stop]` of each run; there is at least one."""
    edges = np.stack((starts, stops), axis=1).ravel()
    # reduceat takes no edge behind the last element; a piece without one reaches the end by itself.
    edges = edges[:-1] if edges[-1] == len(values) else edges
    # Every other piece lies between two runs.
    sums: Int64Array = np.add.reduceat(values, edges, dtype=np.int64)[::2]
    return sums


def is_in_month(month: MinuteRange, series_counts: SeriesCounts, no_data: NoData) -> bool:
    """Whether a month's report names the series: it has counts in the month's elapsed part, or its silence is judged.

    `series_counts` begin at the month's start or before, and stop where no more minutes have elapsed, or behind it.
    """
    stop_minute = min(month.stop_minute, series_counts.stop_minute)
    start, stop = (max(0, minute - series_counts.start_minute) for minute in (month.start_minute, stop_minute))
    counts = series_counts.counts[start:stop]
    # Nearly always the first hour settles it, and the whole month takes 40 us.
    if counts[:60].any() or counts.any():
        return True
    # Clause 6: silence is judged from the first data on, while the series is counted.
    first, retired = series_counts.first_data_minute, series_counts.retired_minute
    return (
        no_data is not NoData.UP
        and first is not None
        and first < stop_minute
        and (retired is None or retired > month.start_minute)
    )


def month_so_far(month: MinuteRange, series: JudgedSeries, stop_minute: int) -> MonthSoFar:
    """Add up the month from its start to `stop_minute`, both within what was judged."""
    judged, series_counts = series.judged, series.counts
    part = judged.part(month.start_minute, stop_minute)
    cut = slice(month.start_minute - judged.start_minute, stop_minute - judged.start_minute)
    return MonthSoFar(
        counts=_sum_counts(series_counts.counts[cut], series_counts.parts),
        down=int(np.count_nonzero(is_state(part.adjusted, MinuteState.DOWN))),
        down_raw=int(np.count_nonzero(is_state(part.raw, MinuteState.DOWN))),
        elapsed=len(part.raw),
        with_data=int(np.count_nonzero(series_counts.valid[cut])),
    )


def minute_figures(
    series: Series,
    agreement: Agreement,
    judged_series: JudgedSeries,
    minutes: MinuteRange,
    so_far: MonthSoFar | None = None,
) -> Iterator[MinuteFigures]:
    """Go through a range of judged minutes, across the edges of months, with the month up to and including each.

    Args:
        series: Whose minutes these are.
        agreement: Its target and time zone.
        judged_series: Holds `minutes`; without `so_far` also all before them of the month that they start in.
        minutes: As judged.
        so_far: The first month up to `minutes.start_minute`, where it is known. A run that reaches
            `period_minutes_min` makes minutes before it down: such a sum has to be taken anew.
    """
    judged, series_counts = judged_series.judged, judged_series.counts
    month = MinuteRange(0, 0)
    first, stop = (minute - judged.start_minute for minute in minutes)
    # Python's own integers: an enum's member compared with one of numpy's is most of this loop, 15 us a minute to 6.
    rows = zip(
        range(*minutes),
        series_counts.counts[first:stop].tolist(),
        judged.adjusted[first:stop].tolist(),
        judged.raw[first:stop].tolist(),
        strict=True,
    )
    for epoch_minute, (succeeded, failed, invalid), adjusted, raw in rows:
        if epoch_minute >= month.stop_minute:
            month = month_range(month_of(epoch_minute, agreement.time_zone), agreement.time_zone)
            if so_far is None or epoch_minute > minutes.start_minute:
                so_far = month_so_far(month, judged_series, epoch_minute)
        assert so_far is not None, "set where the month is"
        before = so_far.counts
        so_far = MonthSoFar(
            counts=(before[0] + succeeded, before[1] + failed, before[2] + invalid),
            down=so_far.down + int(adjusted == MinuteState.DOWN),
            down_raw=so_far.down_raw + int(raw == MinuteState.DOWN),
            elapsed=so_far.elapsed + 1,
            with_data=so_far.with_data + int(succeeded + failed > 0),
        )
        yield MinuteFigures(
            series=series,
            epoch_minute=epoch_minute,
            state=MinuteState(adjusted),
            counts=(succeeded, failed, invalid),
            month=month,
            so_far=so_far,
            target=agreement.target,
            parts=series_counts.parts,
        )


def _sum_counts(counts: Int64Array, parts: int) -> Counts:
    # Requests that were received are a span each: no month has 2^63.
    succeeded, failed, invalid = (int(column.sum()) if parts == 1 else exact_sum(column) for column in counts.T)
    return succeeded, failed, invalid
