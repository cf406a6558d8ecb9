"""Downtime periods with what happened in them (clause 7)."""

from dataclasses import dataclass

import numpy as np

from otel_sla.arrays import BoolArray, Int64Array
from otel_sla.sla.agreement import Outcome
from otel_sla.sla.counts import exact_sum
from otel_sla.sla.downtime import JudgedSeries, MinuteState, downtime_periods, is_state
from otel_sla.sla.months import MinuteRange


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
    parts = series.counts.parts
    succeeded, failed = (
        _exact_sums(series.counts.counts[:, outcome], parts, starts, stops)
        for outcome in (Outcome.SUCCEEDED, Outcome.FAILED)
    )
    figures = np.stack((starts, stops, n_inside[touches], n_excluded), axis=1).tolist()
    return tuple(
        DowntimePeriod(
            start_minute=judged.start_minute + start,
            stop_minute=judged.start_minute + stop,
            minutes_in_month=minutes_in_month,
            excluded_minutes=excluded_minutes,
            valid=(n_succeeded + n_failed) // parts,
            failed=n_failed // parts,
        )
        for (start, stop, minutes_in_month, excluded_minutes), n_succeeded, n_failed in zip(
            figures, succeeded, failed, strict=True
        )
    )


def _exact_sums(values: Int64Array, parts: int, starts: Int64Array, stops: Int64Array) -> list[int]:
    """Add up each run, however large its sum is."""
    if parts == 1:
        sums: list[int] = _sums(values, starts, stops).tolist()
        return sums
    return [exact_sum(values[start:stop]) for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]


def _sums(values: Int64Array | BoolArray, starts: Int64Array, stops: Int64Array) -> Int64Array:
    """Add up `values[start:stop]` of each run."""
    if len(starts) == 0:
        return starts
    edges = np.stack((starts, stops), axis=1).ravel()
    # reduceat takes no edge behind the last element; a piece without one reaches the end by itself.
    edges = edges[:-1] if edges[-1] == len(values) else edges
    # Every other piece lies between two runs.
    sums: Int64Array = np.add.reduceat(values, edges, dtype=np.int64)[::2]
    return sums
