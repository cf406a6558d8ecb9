"""Adjusted counts: judged as exactly as requests, whatever they are worth."""

import random
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sla_parts import MINUTE, judge_series, make_agreement, make_series, make_terms, nothing_published

from otel_sla.arrays import Int64Array
from otel_sla.sla.agreement import Counting, Outcome
from otel_sla.sla.counts import (
    COUNT_MAX,
    N_COUNTS,
    N_OUTCOMES,
    PARTS_PER_REQUEST,
    SPANS_MAX,
    columns_of,
    exact_sum,
    judged_counts,
    parts_of,
)
from otel_sla.sla.downtime import MinuteState, SeriesCounts, judge_minutes, judged_state
from otel_sla.sla.downtime_events import Cause, change_events
from otel_sla.sla.events import Subject
from otel_sla.sla.months import MinuteRange
from otel_sla.sla.uptime import MonthSoFar, list_periods, minute_figures, month_figures

ADJUSTED = parts_of(Counting.ADJUSTED)
PARTS = st.integers(0, 1 << 40)  # A million requests in a minute; more than that in `LARGE`.
LARGE = st.integers(0, COUNT_MAX) | st.just(COUNT_MAX)
SPANS = st.integers(0, SPANS_MAX) | st.just(SPANS_MAX)
MINUTES = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 5), PARTS, PARTS, PARTS), min_size=1
)
derandomized = settings(derandomize=True, deadline=None, max_examples=200)


def counts_of(minutes: Sequence[Sequence[int]]) -> Int64Array:
    """Columns of counts of (succeeded, failed, invalid, and what each stands for beyond itself)."""
    counts = np.zeros((len(minutes), N_COUNTS), dtype=np.int64)
    for row, (succeeded, failed, invalid, *excesses) in zip(counts, minutes, strict=True):
        row[:N_OUTCOMES] = succeeded, failed, invalid
        # What is no request stands for none.
        row[6:] = [excess if requests else 0 for requests, excess in zip(row[:N_OUTCOMES], excesses, strict=True)]
    return counts


def series_counts(counts: Int64Array) -> SeriesCounts:
    """The minutes of a series that is judged on adjusted counts."""
    return SeriesCounts(MINUTE, judged_counts(counts, ADJUSTED), None, MINUTE, parts=ADJUSTED)


def fractions_of(counts: Int64Array) -> list[list[Fraction]]:
    """Adjusted requests, exactly."""
    return [
        [Fraction(row[at]) + Fraction(row[6 + at], PARTS_PER_REQUEST) for at in range(3)] for row in counts.tolist()
    ]


def test_clause_19_tail_sampling_that_keeps_all_errors_makes_no_downtime() -> None:
    """All 6 errors and 1 of 16 successes are kept, 94 of 1,504: 6 of 100 is above 5 %, 6 of 1,510 is 0.4 %."""
    counts = counts_of([(94, 6, 0, 94 * 15 * PARTS_PER_REQUEST, 0, 0)])
    excluded = np.zeros(1, dtype=np.bool_)
    judged = judge_series(series_counts(counts), make_terms(), excluded)
    as_received = SeriesCounts(MINUTE, judged_counts(counts, 1), None, MINUTE)
    assert judged.judged.raw.tolist() == [MinuteState.UP]
    assert judge_minutes(as_received, make_terms(), excluded).raw.tolist() == [MinuteState.DOWN]
    figures = month_figures(MinuteRange(MINUTE, MINUTE + 1), judged, Fraction(999, 1000))
    assert (figures.valid, figures.failed) == (1510, 6)


@derandomized
@given(MINUTES, st.fractions(0, 1, max_denominator=10**6), st.integers(1, 10**6))
def test_clause_5_and_6_states_are_those_of_exact_fractions(
    minutes: list[tuple[int, ...]], limit: Fraction, valid_requests_min: int
) -> None:
    """Any counts, limit and minimum: the state that Fractions of requests give, for one minute alone as well."""
    terms = make_terms(limit, valid_requests_min=valid_requests_min)
    counts = counts_of(minutes)
    expected = []
    for succeeded, failed, _ in fractions_of(counts):
        valid = succeeded + failed
        if valid == 0:
            expected.append(MinuteState.NO_DATA)
        elif valid < valid_requests_min:
            expected.append(MinuteState.LOW_TRAFFIC)
        else:
            expected.append(MinuteState.DOWN if failed / valid > limit else MinuteState.UP)
    held = series_counts(counts)
    judged = judge_minutes(held, terms, np.zeros(len(counts), dtype=np.bool_))
    assert judged.raw.tolist() == expected
    for row, state in zip(held.counts.tolist(), expected, strict=True):
        is_judged = state in (MinuteState.UP, MinuteState.DOWN)
        assert judged_state(row, terms, ADJUSTED) == (state if is_judged else None)


def test_clause_5_exactly_the_limit_is_not_above_it() -> None:
    """1 of 20 requests and one part more: only the part makes the minute down; the minimum likewise."""
    nineteen = 19 * PARTS_PER_REQUEST - 1  # Besides the one that was received.
    for more, state in ((0, MinuteState.UP), (1, MinuteState.DOWN)):
        held = series_counts(counts_of([(1, 1, 0, nineteen - PARTS_PER_REQUEST + 1, more, 0)]))
        assert judge_minutes(held, make_terms(), np.zeros(1, dtype=np.bool_)).raw.tolist() == [state]
    for short, state in ((0, MinuteState.UP), (1, MinuteState.LOW_TRAFFIC)):
        held = series_counts(counts_of([(1, 0, 0, 4 * PARTS_PER_REQUEST - short, 0, 0)]))
        terms = make_terms(valid_requests_min=5)
        assert judge_minutes(held, terms, np.zeros(1, dtype=np.bool_)).raw.tolist() == [state]


@derandomized
@given(MINUTES)
def test_figures_periods_gauges_and_events_are_cut_off_to_whole_requests(minutes: list[tuple[int, ...]]) -> None:
    """The month, a downtime period, the gauges' sums and the events: sums of Fractions, cut off once after summing."""
    counts = counts_of(minutes)
    held = series_counts(counts)
    exact = [sum(column) for column in zip(*fractions_of(counts), strict=True)]
    judged = judge_series(held, make_terms(Fraction(0)), np.zeros(len(counts), dtype=np.bool_))
    month = MinuteRange(MINUTE, MINUTE + len(counts))
    figures = month_figures(month, judged, Fraction(999, 1000))
    assert figures.adjusted == (exact[0] + exact[1], exact[1], exact[2])
    assert (figures.valid, figures.failed, figures.invalid) == tuple(map(int, figures.adjusted))

    agreement = make_agreement()
    *_, last = minute_figures(make_series(), agreement, judged, month, MonthSoFar())
    assert last.requests_so_far == tuple(map(int, exact))

    for period in list_periods(month, judged):
        rows = fractions_of(counts[period.start_minute - MINUTE : period.stop_minute - MINUTE])
        assert period.valid == int(sum(row[0] + row[1] for row in rows))
        assert period.failed == int(sum(row[1] for row in rows))

    found = change_events(Subject(make_series(), agreement), nothing_published(MINUTE), judged, Cause.LATE_SPANS, 0)
    ended = [event.attributes for event in found.events if event.name == "sla.downtime.ended"]
    periods = [period for period in list_periods(month, judged) if period.stop_minute < held.stop_minute]
    assert [one["sla.downtime.requests.valid"] for one in ended] == [period.valid for period in periods]
    assert [one["sla.downtime.requests.failed"] for one in ended] == [period.failed for period in periods]


@derandomized
@given(st.lists(st.tuples(*[SPANS] * 3, *[LARGE] * 3), min_size=1))
def test_no_count_is_too_large_to_be_judged(minutes: list[tuple[int, ...]]) -> None:
    """Whatever samplers claim, up to what the ledger can hold: sums never wrap, and verdicts are the exact ones."""
    counts = counts_of(minutes)
    judged = judged_counts(counts, ADJUSTED)
    expected = [[int(requests * PARTS_PER_REQUEST) for requests in row] for row in fractions_of(counts)]
    assert judged.tolist() == expected
    held = series_counts(counts)
    assert (held.valid >= 0).all()
    states = judge_minutes(held, make_terms(), np.zeros(len(counts), dtype=np.bool_))
    assert states.raw.tolist() == [
        MinuteState.NO_DATA
        if succeeded + failed == 0
        else MinuteState.LOW_TRAFFIC
        if succeeded + failed < PARTS_PER_REQUEST
        else int(20 * failed > succeeded + failed)
        for succeeded, failed, _ in expected
    ]
    for column in judged.T:
        assert exact_sum(column) == sum(column.tolist())


@pytest.mark.parametrize("seed", range(5))
def test_sums_are_the_same_in_any_order(seed: int) -> None:
    """The parts of many spans, added up in any order and grouping: the same counts, so the same verdicts."""
    rng = random.Random(seed)
    spans = [counts_of([(1, 0, 0, rng.randrange(1 << 50), 0, 0)]) for _ in range(100)]
    shuffled = rng.sample(spans, len(spans))
    assert (sum(spans) == sum(shuffled)).all()
    assert judged_counts(np.sum(spans, axis=0), ADJUSTED)[0, Outcome.SUCCEEDED] == sum(
        PARTS_PER_REQUEST + int(span[0, 6]) for span in spans
    )


def test_requests_are_judged_as_they_came() -> None:
    """Without adjusting, three columns are read and given on, without a copy."""
    counts = counts_of([(1, 2, 3, 4, 5, 6)])
    assert (parts_of(Counting.REQUESTS), columns_of(1), columns_of(ADJUSTED)) == (1, N_OUTCOMES, N_COUNTS)
    assert judged_counts(counts, 1).base is counts
    assert judged_counts(counts, 1).tolist() == [[1, 2, 3]]
