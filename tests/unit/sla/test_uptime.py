"""The figures of a month, whole and minute by minute (clauses 8 to 11)."""

import doctest
from fractions import Fraction

import numpy as np
import pytest
from naive import is_breached
from sla_parts import judge_series, make_agreement, make_counts, make_series, make_terms

from otel_sla.sla import figures_text, uptime
from otel_sla.sla.agreement import NoData
from otel_sla.sla.downtime import JudgedSeries, MinuteState, SeriesCounts
from otel_sla.sla.figures_text import percent_text, ratio_text, term_percent_text, term_text
from otel_sla.sla.months import MinuteRange, Month, month_range
from otel_sla.sla.uptime import (
    MonthSoFar,
    downtime_minutes_allowed,
    is_in_month,
    minute_figures,
    month_figures,
    month_so_far,
)

TARGET = Fraction(999, 1000)
NOVEMBER = month_range(Month(2026, 11), "UTC")
DECEMBER = month_range(Month(2026, 12), "UTC")


def judge(counts: np.ndarray, *, start_minute: int = NOVEMBER.start_minute, n_excluded: int = 0) -> JudgedSeries:
    """Judge minutes by the contract's terms, the first of them excluded."""
    series_counts = SeriesCounts(start_minute, counts, None, start_minute)
    return judge_series(series_counts, make_terms(), np.arange(len(counts)) < n_excluded)


def some_down(n_down: int, n_minutes: int) -> np.ndarray:
    """So many minutes, the first ones down."""
    counts = np.full((n_minutes, 3), (10, 0, 1), dtype=np.int64)
    counts[:n_down] = (5, 5, 0)
    return counts


def test_examples_in_docstrings() -> None:
    """The examples that the modules show are true."""
    assert doctest.testmod(uptime).failed == 0
    assert doctest.testmod(figures_text).failed == 0


@pytest.mark.parametrize(("total", "allowed"), [(40_320, 40), (41_760, 41), (43_200, 43), (44_640, 44)])
def test_clause_9_what_a_month_bears(total: int, allowed: int) -> None:
    """Each month bears the minutes that the clause names and not one more."""
    assert downtime_minutes_allowed(total, TARGET) == allowed
    assert [is_breached(allowed + more, total, TARGET) for more in (0, 1)] == [False, True]


@pytest.mark.parametrize(
    ("target", "total", "allowed"),
    [
        (Fraction(1), 43_200, 0),
        (Fraction(99, 100), 43_200, 432),
        (Fraction(1, 2), 3, 1),
        (Fraction(9999, 10_000), 9, 0),
    ],
)
def test_clause_9_exactly_the_target_is_no_breach(target: Fraction, total: int, allowed: int) -> None:
    """Uptime of exactly the target keeps the promise."""
    assert downtime_minutes_allowed(total, target) == allowed
    assert [is_breached(allowed + more, total, target) for more in (0, 1)] == [False, True]


@pytest.mark.parametrize(
    ("n_down", "uptime_text", "percent", "breached"),
    [(43, "0.99900462", "99.90046 %", False), (44, "0.99898148", "99.89814 %", True)],
)
def test_clause_9_a_month_of_43200_minutes(n_down: int, uptime_text: str, percent: str, *, breached: bool) -> None:
    """43 minutes keep 99.9 % of a November, 44 break it."""
    figures = month_figures(NOVEMBER, judge(some_down(n_down, NOVEMBER.n_minutes)), TARGET)
    assert figures.total == figures.elapsed == 43_200
    assert ratio_text(figures.monthly_uptime) == uptime_text
    assert percent_text(figures.monthly_uptime) == percent
    assert figures.is_breached is breached
    assert figures.downtime_minutes_allowed == 43
    assert (figures.up, figures.down) == (43_200 - n_down, n_down)
    assert figures.counts == (10 * (43_200 - n_down) + 5 * n_down, 5 * n_down, 43_200 - n_down)
    assert figures.valid == 10 * 43_200


def test_clause_10_a_running_month() -> None:
    """In a running month the denominator is the whole month; the elapsed part is told beside it."""
    figures = month_figures(NOVEMBER, judge(some_down(10, 100)), TARGET)
    assert (figures.total, figures.elapsed, figures.up, figures.down) == (43_200, 100, 90, 10)
    assert figures.monthly_uptime == Fraction(43_190, 43_200)
    assert figures.elapsed_uptime == Fraction(90, 100)
    assert figures.coverage == 1


def test_clause_10_a_future_month() -> None:
    """A month of which nothing has elapsed is up so far and says that nothing was measured."""
    for minutes in (0, 100):
        figures = month_figures(DECEMBER, judge(some_down(10, minutes)), TARGET)
        assert (figures.elapsed, figures.up, figures.down) == (0, 0, 0)
        assert figures.monthly_uptime == 1
        assert figures.elapsed_uptime is None
        assert figures.coverage is None
        assert not figures.downtime_periods
        assert not figures.is_breached


def test_clause_6_coverage() -> None:
    """The share of minutes with a valid request is reported; invalid ones are no data."""
    counts = make_counts([(1, 0, 0), (0, 0, 9), (0, 1, 0), (0, 0, 0)])
    figures = month_figures(NOVEMBER, judge(counts), TARGET)
    assert figures.coverage == Fraction(1, 2)
    assert (figures.up, figures.down, figures.no_data, figures.low_traffic) == (1, 1, 2, 0)


def test_clause_13_raw_and_adjusted_figures() -> None:
    """Excluded minutes count as uptime, stay in the total, and are told apart."""
    figures = month_figures(NOVEMBER, judge(some_down(60, NOVEMBER.n_minutes), n_excluded=50), TARGET)
    assert (figures.down, figures.down_raw, figures.excluded) == (10, 60, 50)
    assert figures.monthly_uptime == Fraction(43_190, 43_200)
    assert figures.monthly_uptime_raw == Fraction(43_140, 43_200)
    assert not figures.is_breached
    (period,) = figures.downtime_periods
    assert (period.minutes, period.excluded_minutes, period.valid, period.failed) == (60, 50, 600, 300)


def test_clause_7_a_period_across_the_months_edge() -> None:
    """A run across the end of a month is one period in both reports; its minutes fall to their own months."""
    start_minute = DECEMBER.start_minute - 30
    judged = judge(some_down(40, 100), start_minute=start_minute)
    december = month_figures(DECEMBER, judged, TARGET)
    (period,) = december.downtime_periods
    assert (period.start_minute, period.stop_minute) == (start_minute, start_minute + 40)
    assert (period.minutes, period.minutes_in_month) == (40, 10)
    assert december.down == 10
    wide = np.concatenate((np.zeros((NOVEMBER.n_minutes - 30, 3), dtype=np.int64), judged.counts.counts))
    november = month_figures(NOVEMBER, judge(wide), TARGET)
    assert november.down == 30
    assert [period.minutes_in_month for period in november.downtime_periods] == [30]
    assert november.downtime_periods[0].minutes == 40


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (Fraction(998_999_999, 10**9), "99.89999 %"),
        (Fraction(999, 1000), "99.90000 %"),
        (Fraction(1), "100.00000 %"),
        (Fraction(0), "0.00000 %"),
        (Fraction(2, 3), "66.66666 %"),
    ],
)
def test_clause_11_percentages_are_truncated(ratio: Fraction, text: str) -> None:
    """A percentage for people is never rounded up."""
    assert percent_text(ratio) == text
    assert percent_text(Fraction(998_999, 10**6), places=0) == "99 %"


def test_clause_11_terms_are_written_as_they_are() -> None:
    """A term of the agreement has all its places; one without end is truncated."""
    terms = (Fraction(1, 20), Fraction(1), Fraction(999, 1000), Fraction(1, 2**20), Fraction(1, 3))
    assert [term_text(term) for term in terms] == ["0.05", "1", "0.999", "0.00000095367431640625", "0.33333333"]
    assert term_percent_text(Fraction(9995, 10_000)) == "99.95 %"


def test_minute_by_minute() -> None:
    """Each minute comes with its month up to and including it, and a new month starts anew."""
    start_minute = DECEMBER.start_minute - 2
    counts = make_counts([(1, 0, 0), (0, 3, 1), (0, 4, 0), (0, 0, 2)])
    judged = judge(counts, start_minute=start_minute, n_excluded=2)
    so_far = MonthSoFar(counts=(100, 5, 0), down=1, down_raw=2, elapsed=43_198, with_data=50)
    minutes = MinuteRange(start_minute, start_minute + 4)
    found = list(minute_figures(make_series(), make_agreement(), judged, minutes, so_far))
    assert [figures.epoch_minute for figures in found] == list(range(*minutes))
    assert [figures.state.wire_name for figures in found] == ["excluded", "excluded", "down", "no_data"]
    assert [figures.counts for figures in found] == [(1, 0, 0), (0, 3, 1), (0, 4, 0), (0, 0, 2)]
    assert [figures.error_rate for figures in found] == [0, 1, 1, None]
    assert [figures.month for figures in found] == [NOVEMBER, NOVEMBER, DECEMBER, DECEMBER]
    assert found[1].so_far == MonthSoFar((101, 8, 1), 1, 3, 43_200, 52)
    assert found[3].so_far == MonthSoFar((0, 4, 2), 1, 1, 2, 1)
    last = found[3]
    assert last.monthly_uptime == Fraction(44_639, 44_640)
    assert last.monthly_uptime_raw == last.monthly_uptime
    assert last.coverage == Fraction(1, 2)
    assert (last.downtime_s, last.downtime_budget_s) == (60, 43 * 60)
    assert last.target == TARGET
    assert last.series == make_series()


def test_minute_by_minute_without_a_sum_before() -> None:
    """Without a sum handed in, the month is added up from its start."""
    judged = judge(some_down(50, 60))
    minutes = MinuteRange(NOVEMBER.start_minute + 45, NOVEMBER.start_minute + 47)
    found = list(minute_figures(make_series(), make_agreement(), judged, minutes))
    assert [figures.so_far.down for figures in found] == [46, 47]
    assert [figures.downtime_budget_s for figures in found] == [-180, -240]
    assert found[-1].so_far == month_so_far(NOVEMBER, judged, minutes.stop_minute)
    assert list(minute_figures(make_series(), make_agreement(), judged, MinuteRange(5, 5))) == []


@pytest.mark.parametrize(
    ("no_data", "first_data_minute", "expected"),
    [
        (NoData.UP, None, False),
        (NoData.UP, NOVEMBER.start_minute - 5, False),
        (NoData.DOWN, NOVEMBER.start_minute - 5, True),
        (NoData.CARRY, NOVEMBER.start_minute - 5, True),
        (NoData.DOWN, NOVEMBER.start_minute + 10, False),
        (NoData.DOWN, None, False),
    ],
)
def test_a_silent_series_is_in_the_month_if_its_silence_is_judged(
    no_data: NoData, first_data_minute: int | None, *, expected: bool
) -> None:
    """A series without counts in the month is reported only where silence can be downtime."""
    silent = SeriesCounts(NOVEMBER.start_minute, np.zeros((10, 3), dtype=np.int64), None, first_data_minute)
    assert is_in_month(NOVEMBER, silent, no_data) is expected


def test_a_series_with_counts_is_in_the_month() -> None:
    """Counts in the month's elapsed part put a series into its report, invalid ones too; those outside do not."""
    counts = make_counts([(1, 0, 0), (0, 0, 1)])
    across = SeriesCounts(DECEMBER.start_minute - 1, counts, None, DECEMBER.start_minute - 1)
    assert is_in_month(DECEMBER, across, NoData.UP)
    assert is_in_month(NOVEMBER, across, NoData.UP)
    before = SeriesCounts(DECEMBER.start_minute - 2, counts, None, DECEMBER.start_minute - 2)
    assert not is_in_month(DECEMBER, before, NoData.UP)


def test_states_have_one_column_each() -> None:
    """The states of a month are exclusive and add up to the elapsed minutes."""
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 3, size=(5_000, 3), dtype=np.int64)
    figures = month_figures(NOVEMBER, judge(counts, n_excluded=100), TARGET)
    states = (figures.up, figures.down, figures.excluded, figures.low_traffic, figures.no_data)
    assert sum(states) == figures.elapsed == 5_000
    assert len(states) == len(MinuteState)
