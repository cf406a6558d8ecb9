"""From counts to states of minutes and downtime periods (clauses 5 to 7).

Dimensions:
    n_minutes: consecutive minutes from `start_minute` on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np

from otel_sla.arrays import BoolArray, Int8Array, Int64Array
from otel_sla.sla.agreement import DowntimeTerms, NoData, Outcome

_INT64_MAX = 2**63 - 1


class MinuteState(IntEnum):
    """What a minute counts as (clauses 6, 7 and 13)."""

    UP = 0
    DOWN = 1
    EXCLUDED = 2
    LOW_TRAFFIC = 3
    NO_DATA = 4

    @property
    def wire_name(self) -> str:
        """The state as reports, metrics and events write it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class SeriesCounts:
    """What was counted for one series in consecutive minutes, and what of its past bears on them."""

    start_minute: int  # Epoch minute of the first row.
    counts: Int64Array  # int64[n_minutes, 3], parts of requests (`counts.judged_counts`). Columns as in Outcome.
    carried: MinuteState | None  # UP or DOWN: state of the last minute before start_minute that was judged by its
    #                              requests (`judged_state`); None if there was none. Only `no_data: carry` reads it.
    first_data_minute: int | None  # First minute ever with a valid request, wherever it lies; None if there is none.
    retired_minute: int | None = None  # First epoch minute whose silence is not judged any more; None: all is.
    carried_after: MinuteState | None = None  # The same after exclusions: of the last such minute that is not excluded.
    parts: int = 1  # Parts of one request.
    valid: Int64Array = field(init=False, repr=False, compare=False)  # int64[n_minutes], valid ones, parts of requests;
    #                                            Python's ints where samplers claim more than an int64 can hold.

    def __post_init__(self) -> None:
        succeeded, failed = self.counts[:, Outcome.SUCCEEDED], self.counts[:, Outcome.FAILED]
        if self.parts > 1 and int(succeeded.max(initial=0)) + int(failed.max(initial=0)) > _INT64_MAX:
            succeeded = succeeded.astype(object)
        object.__setattr__(self, "valid", succeeded + failed)

    @property
    def stop_minute(self) -> int:
        """One past the last minute."""
        return self.start_minute + len(self.counts)


@dataclass(frozen=True, slots=True)
class JudgedMinutes:
    """States of consecutive minutes of one series. A minute that is down adjusted is down raw too."""

    start_minute: int  # Epoch minute of the first element.
    raw: Int8Array  # int8[n_minutes]. A MinuteState: before exclusions, after clause 7.
    adjusted: Int8Array  # int8[n_minutes]. A MinuteState: after exclusions, after clause 7. What counts.
    unfiltered: Int8Array  # int8[n_minutes]. A MinuteState: before exclusions and before clause 7.

    @property
    def stop_minute(self) -> int:
        """One past the last minute."""
        return self.start_minute + len(self.raw)

    def part(self, start_minute: int, stop_minute: int) -> "JudgedMinutes":
        """The same states in a range within this one; views, no copies."""
        assert self.start_minute <= start_minute <= stop_minute <= self.stop_minute, "a part lies within the whole"
        cut = slice(start_minute - self.start_minute, stop_minute - self.start_minute)
        return JudgedMinutes(start_minute, self.raw[cut], self.adjusted[cut], self.unfiltered[cut])


@dataclass(frozen=True, slots=True)
class JudgedSeries:
    """One series over consecutive minutes: what was counted and how it is judged, minute for minute."""

    counts: SeriesCounts
    judged: JudgedMinutes

    def __post_init__(self) -> None:
        assert self.judged.start_minute == self.counts.start_minute, "states and counts start together"
        assert self.judged.stop_minute == self.counts.stop_minute, "states and counts stop together"

    def part(self, start_minute: int, stop_minute: int) -> "JudgedSeries":
        """The same in a range within this one; views, no copies."""
        cut = slice(start_minute - self.counts.start_minute, stop_minute - self.counts.start_minute)
        counts = replace(self.counts, start_minute=start_minute, counts=self.counts.counts[cut])
        return JudgedSeries(counts, self.judged.part(start_minute, stop_minute))


def is_state(states: Int8Array, state: MinuteState) -> BoolArray:
    """Mark the minutes in a state.

    An enum's member makes NumPy compare in int64: 17 us for a month of minutes where a plain int takes 1.5 us.
    """
    marked: BoolArray = states == int(state)
    return marked


def judge_minutes(
    series_counts: SeriesCounts, terms: DowntimeTerms, excluded: BoolArray, *, carries_excluded: bool = False
) -> JudgedMinutes:
    """Judge consecutive minutes of one series.

    Runs are only known in full where the edges do not cut them. On the left the caller hands in more minutes as long
    as `needs_minutes_before` says so. On the right the minutes end where no more have elapsed, or go on as long as
    `needs_minutes_after` says so; an open run that is still shorter than `period_minutes_min` counts as up for now.

    After exclusions an excluded minute is not carried (clause 6): silence behind it goes on as what was before it. An
    exclusion only ever takes downtime away, so a minute that is not down raw is not down after exclusions either,
    whatever would be carried to it then.

    Args:
        series_counts: The minutes; counts are not negative.
        terms: Clauses 5 to 7.
        excluded: bool[n_minutes]. Covered whole by an accepted window (`exclusions.excluded_minutes`).
        carries_excluded: `Agreement.carries_excluded`; `series_counts.carried_after` is not read then.
    """
    assert len(excluded) == len(series_counts.counts), "one exclusion flag per minute"
    unfiltered = unfiltered_states(series_counts, terms)
    raw = _drop_short_runs(unfiltered, terms.period_minutes_min)
    if not excluded.any() and series_counts.carried_after is series_counts.carried:
        return JudgedMinutes(series_counts.start_minute, raw, raw, unfiltered)
    adjusted = unfiltered.copy()
    adjusted[excluded] = MinuteState.EXCLUDED
    if terms.no_data is NoData.CARRY and not carries_excluded:
        # Down without a request is down by what was carried, which may be another state now.
        is_carried = is_state(adjusted, MinuteState.DOWN) & (series_counts.valid == 0)
        adjusted[is_carried] = MinuteState.NO_DATA
        is_carried &= _follows_down(adjusted, series_counts.carried_after)
        adjusted[is_carried] = MinuteState.DOWN
    adjusted = _drop_short_runs(adjusted, terms.period_minutes_min)
    return JudgedMinutes(series_counts.start_minute, raw, adjusted, unfiltered)


def unfiltered_states(series_counts: SeriesCounts, terms: DowntimeTerms) -> Int8Array:
    """Give each minute's state by its requests and the policy for silence: before exclusions and clause 7.

    Returns:
        int8[n_minutes]. A MinuteState; never EXCLUDED.
    """
    valid = series_counts.valid
    states = np.zeros(len(valid), dtype=np.int8)  # UP.
    failed = series_counts.counts[:, Outcome.FAILED]
    # A minute above the limit has more failures than the quietest one may have. Few have, and only those are compared
    # exactly: 15 us for a month of minutes instead of 390.
    n, d = terms.error_rate_above.as_integer_ratio()
    suspects = np.flatnonzero(failed > int(valid.min(initial=_INT64_MAX)) * n // d)
    states[suspects] = _is_above_limit(failed[suspects], valid[suspects], terms)
    if terms.valid_requests_min > 1:
        is_low: BoolArray = (valid < terms.valid_requests_min * series_counts.parts).astype(np.bool_)
        states[is_low] = MinuteState.LOW_TRAFFIC
    has_no_data: BoolArray = (valid == 0).astype(np.bool_, copy=False)
    if not has_no_data.any():
        return states
    states[has_no_data] = MinuteState.NO_DATA
    first = series_counts.first_data_minute
    if terms.no_data is NoData.UP or first is None:
        return states
    has_no_data[: max(0, first - series_counts.start_minute)] = False
    if series_counts.retired_minute is not None:
        has_no_data[max(0, series_counts.retired_minute - series_counts.start_minute) :] = False
    if terms.no_data is NoData.DOWN:
        states[has_no_data] = MinuteState.DOWN
    else:
        states[has_no_data & _follows_down(states, series_counts.carried)] = MinuteState.DOWN
    return states


def judged_state(counts: Sequence[int], terms: DowntimeTerms, parts: int = 1) -> MinuteState | None:
    """Judge one minute by its requests alone, for `SeriesCounts.carried`: UP, DOWN, or None if it has too few to say.

    Counts and parts are those of `SeriesCounts`.
    """
    valid = counts[Outcome.SUCCEEDED] + counts[Outcome.FAILED]
    if valid < max(1, terms.valid_requests_min) * parts:
        return None
    limit = terms.error_rate_above
    is_above = counts[Outcome.FAILED] * limit.denominator > valid * limit.numerator
    return MinuteState.DOWN if is_above else MinuteState.UP


def downtime_periods(states: Int8Array) -> Int64Array:
    """Find the maximal runs of down minutes (clause 7), as `runs` gives them.

    >>> downtime_periods(np.array([1, 0, 1, 1], dtype=np.int8)).tolist()
    [[0, 1], [2, 4]]
    """
    return runs(is_state(states, MinuteState.DOWN))


def runs(is_in_run: BoolArray) -> Int64Array:
    """Find the maximal runs of true elements: int64[n_runs, 2], offsets `[start, stop)`, ascending."""
    is_before = np.concatenate(([False], is_in_run))
    is_behind = np.concatenate((is_in_run, [False]))
    return np.flatnonzero(is_before != is_behind).reshape(-1, 2)


def needs_minutes_before(series_counts: SeriesCounts, terms: DowntimeTerms) -> bool:
    """Whether a run may reach across the left edge: the first minute is down and the series' data began earlier.

    The caller then hands in earlier minutes too and asks again. `series_counts` may hold just the first minute.
    """
    first = series_counts.first_data_minute
    if first is None or first >= series_counts.start_minute or len(series_counts.counts) == 0:
        return False
    head = replace(series_counts, counts=series_counts.counts[:1])
    return bool(unfiltered_states(head, terms)[0] == MinuteState.DOWN)


def needs_minutes_after(judged: JudgedMinutes, elapsed_stop_minute: int) -> bool:
    """Whether a run may reach across the right edge: the last minute is down and later minutes have elapsed."""
    return (
        judged.stop_minute < elapsed_stop_minute
        and len(judged.unfiltered) > 0
        and bool(judged.unfiltered[-1] == MinuteState.DOWN)
    )


def _is_above_limit(failed: Int64Array, valid: Int64Array, terms: DowntimeTerms) -> BoolArray:
    """Clause 5 in integers: `failed * d > valid * n`; as bools DOWN is 1 and UP is 0."""
    n, d = terms.error_rate_above.as_integer_ratio()
    # failed <= valid and n <= d, so this bounds both products: with d = 20 it holds below 4.6e17 requests a minute.
    if int(valid.max(initial=1)) > _INT64_MAX // d:
        failed, valid = failed.astype(object), valid.astype(object)
    is_above: BoolArray = (failed * d > valid * n).astype(np.bool_, copy=False)
    return is_above


def _follows_down(states: Int8Array, carried: MinuteState | None) -> BoolArray:
    """Mark the minutes that no requests judge (low traffic, silence) and before which the last judged one was down."""
    unjudged = runs(states > int(MinuteState.DOWN))
    before = states[unjudged[:, 0] - 1]
    if len(unjudged) and unjudged[0, 0] == 0:
        before[0] = MinuteState.NO_DATA if carried is None else carried
    return _mark(unjudged[is_state(before, MinuteState.DOWN)], len(states))


def _mark(chosen: Int64Array, n_minutes: int) -> BoolArray:
    """Mark the minutes of runs; undoes `runs`."""
    step = np.zeros(n_minutes + 1, dtype=np.int8)
    step[chosen[:, 0]] = 1
    step[chosen[:, 1]] = -1  # Runs never adjoin, so a stop is no other run's start.
    return np.cumsum(step[:-1], dtype=np.int8).astype(np.bool_)


def _drop_short_runs(states: Int8Array, period_minutes_min: int) -> Int8Array:
    """Clause 7: the minutes of a run of down minutes shorter than the minimum count as up."""
    if period_minutes_min <= 1:
        return states
    periods = downtime_periods(states)
    short = periods[periods[:, 1] - periods[:, 0] < period_minutes_min]
    if len(short) == 0:
        return states
    filtered = states.copy()
    filtered[_mark(short, len(states))] = MinuteState.UP
    return filtered
