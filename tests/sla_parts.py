"""Small agreements, series and counts for the tests of judging and reporting."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from otel_sla.arrays import BoolArray, Int64Array
from otel_sla.sla.agreement import (
    Agreement,
    DowntimeTerms,
    ExclusionTerms,
    NoData,
    NoStatusCode,
)
from otel_sla.sla.downtime import JudgedMinutes, JudgedSeries, SeriesCounts, judge_minutes
from otel_sla.sla.series import Series

MINUTE = 29_701_440  # 2026-06-22T00:00:00Z, a Monday.


def judge_series(series_counts: SeriesCounts, terms: DowntimeTerms, excluded: BoolArray) -> JudgedSeries:
    """Counts, judged (`downtime.judge_minutes`)."""
    return JudgedSeries(series_counts, judge_minutes(series_counts, terms, excluded))


def nothing_published(start_minute: int) -> JudgedSeries:
    """A series of which nothing was published."""
    no_states = np.empty(0, dtype=np.int8)
    states = JudgedMinutes(start_minute, no_states, no_states, no_states)
    return JudgedSeries(make_series_counts((), start_minute=start_minute), states)


def make_terms(
    error_rate_above: Fraction = Fraction(1, 20),
    *,
    valid_requests_min: int = 1,
    period_minutes_min: int = 1,
    no_data: NoData = NoData.UP,
) -> DowntimeTerms:
    """Clauses 5 to 7, by default as the contract has them."""
    return DowntimeTerms(error_rate_above, valid_requests_min, period_minutes_min, no_data)


def make_agreement(
    *,
    downtime: DowntimeTerms | None = None,
    target: Fraction = Fraction(999, 1000),
    time_zone: str = "UTC",
    exclusions: ExclusionTerms | None = None,
) -> Agreement:
    """The contract's agreement over everything, grouped by service."""
    return Agreement(
        name="chat",
        covered_service=(),
        entry_spans_only=False,
        group_by=("service.name",),
        invalid=(),
        no_status_code=NoStatusCode.SPAN_STATUS,
        failed_http_status=frozenset(range(500, 600)),
        code=None,
        downtime=make_terms() if downtime is None else downtime,
        target=target,
        time_zone=time_zone,
        exclusions=ExclusionTerms(3, (), ()) if exclusions is None else exclusions,
    )


def make_series(*, group: tuple[tuple[str, bytes], ...] = (("service.name", b"chat-1"),)) -> Series:
    """One series of the agreement."""
    return Series(series_id=0, agreement="chat", group=group, is_overflow=False)


def make_counts(rows: Sequence[tuple[int, int, int]]) -> Int64Array:
    """Counts of consecutive minutes: succeeded, failed, invalid."""
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def make_series_counts(rows: Sequence[tuple[int, int, int]], *, start_minute: int = MINUTE) -> SeriesCounts:
    """Consecutive minutes of a series whose data begins where it begins in the rows."""
    first = next((start_minute + n for n, (ok, failed, _) in enumerate(rows) if ok + failed), None)
    return SeriesCounts(start_minute, make_counts(rows), None, first)
