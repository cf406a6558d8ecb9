"""Durations, ratios, statuses, times: exact from text, and back."""

import doctest
from datetime import UTC, date, datetime
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_sla.config import parse
from otel_sla.config.parse import (
    format_duration,
    format_ratio,
    format_status_set,
    parse_date,
    parse_duration,
    parse_ratio,
    parse_status_set,
    parse_time,
)

derandomized = settings(derandomize=True, max_examples=200)


@pytest.mark.parametrize(
    ("text", "seconds_expected"),
    [
        ("90s", 90),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("24h", 86400),
        ("400d", 400 * 86400),
        ("1d12h", 129600),
        (".5m", 30),
        ("1.s", 1),
        ("250ms", 0.25),
        ("3us", 3e-6),
        ("3µs", 3e-6),
        ("7ns", 7e-9),
        ("0", 0),
        ("0s", 0),
    ],
)
def test_durations_are_read_exactly(text: str, seconds_expected: float) -> None:
    """Every unit, several together, fractions: the number of seconds that is nearest."""
    assert parse_duration(text) == seconds_expected


@pytest.mark.parametrize(
    "text", ["", "s", "1", "-1s", "1 s", "1h 30m", "1w", "1e3s", "1,5h", "\u0663s", "1s" * 40, "106752d"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Missing and unknown units, signs, spaces, other digits, too much: refused with an example."""
    with pytest.raises(ValueError, match="must be a duration"):
        parse_duration(text)


def test_a_bare_number_is_asked_whether_seconds_were_meant() -> None:
    """90 without a unit: refused, with what was probably meant."""
    with pytest.raises(ValueError, match="did you mean '90s'"):
        parse_duration("90")


@derandomized
@given(st.integers(0, 2**51) | st.integers(0, 2**63 // 10**9).map(lambda seconds: seconds * 10**9))
def test_durations_survive_writing_and_reading(nanos: int) -> None:
    """Whole nanoseconds up to 26 days, whole seconds up to the longest duration: the text reads as the same."""
    assert parse_duration(format_duration(nanos / 10**9)) == nanos / 10**9


@pytest.mark.parametrize(
    ("text", "ratio"),
    [
        ("5%", Fraction(1, 20)),
        ("0.05", Fraction(1, 20)),
        ("0.1", Fraction(1, 10)),
        ("99.9%", Fraction(999, 1000)),
        ("99.95 %", Fraction(1999, 2000)),
        ("29%", Fraction(29, 100)),
        ("1", Fraction(1)),
        ("100%", Fraction(1)),
        ("0", Fraction(0)),
        (".5", Fraction(1, 2)),
        ("0.00000000000000000000000000001%", Fraction(1, 10**31)),
    ],
)
def test_ratios_are_exact(text: str, ratio: Fraction) -> None:
    """Percentages and numbers: the fraction that the text says, no float between."""
    assert parse_ratio(text) == ratio


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5", "must be at most 1, not 5; did you mean 5%"),
        ("99.9", "did you mean 99.9%"),
        ("99,9%", "not '99,9%'; did you mean 99.9%?"),
        ("0,05", "did you mean 0.05?"),
        ("101%", "must be from 0% to 100%, not 101%"),
        ("-1%", "must be from 0% to 100%, not -1%"),
        ("-0.1", "must be from 0% to 100%, not -0.1"),
        ("five", "must be a percentage such as 5% or a ratio such as 0.05, not 'five'"),
        ("1/20", "must be a percentage"),
        ("1e-2", "must be a percentage"),
        ("nan", "must be a percentage"),
        ("", "must be a percentage"),
        ("%", "must be a percentage"),
        ("0." + "1" * 5000, "must be a percentage"),
    ],
)
def test_what_is_no_ratio_is_refused(text: str, message: str) -> None:
    """Numbers above 1, out of range, words, endless digits: refused, saying what would be right."""
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the message is compared.
        parse_ratio(text)
    assert message in str(raised.value)


@derandomized
@given(st.integers(0, 10**12))
def test_ratios_survive_writing_and_reading(parts: int) -> None:
    """Any ratio of twelve places: its percentage reads as the same fraction."""
    ratio = Fraction(parts, 10**12)
    assert parse_ratio(format_ratio(ratio)) == ratio


def test_decimals_have_no_needless_places() -> None:
    """Whole and broken numbers: as short as they can be."""
    assert [format_ratio(Fraction(value)) for value in ("0", "1", "0.999", "0.0005")] == [
        "0%",
        "100%",
        "99.9%",
        "0.05%",
    ]


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        ("500", {500}),
        ("5xx", set(range(500, 600))),
        ("5XX", set(range(500, 600))),
        ("502-504", {502, 503, 504}),
        ("502 - 504", {502, 503, 504}),
        ("599-599", {599}),
    ],
)
def test_statuses_are_read(text: str, statuses: frozenset[int]) -> None:
    """One status, a class, a range: the set of them."""
    assert parse_status_set(text) == statuses


@pytest.mark.parametrize("text", ["404", "4xx", "499-500", "599-600", "200-599", "600"])
def test_only_server_errors_can_fail(text: str) -> None:
    """Statuses outside 500 to 599, partly or whole: refused, with the reason (clause 4)."""
    with pytest.raises(ValueError, match="only 500 to 599 can fail"):
        parse_status_set(text)


@pytest.mark.parametrize("text", ["", "50", "5x", "5000", "500-", "x", "500,501", "\u0665\u0660\u0660"])
def test_what_is_no_status_is_refused(text: str) -> None:
    """Texts that are neither status nor range: refused with examples."""
    with pytest.raises(ValueError, match="must be an HTTP status such as 500"):
        parse_status_set(text)


def test_a_range_that_runs_backwards_is_refused() -> None:
    """599-500: refused, with both values."""
    with pytest.raises(ValueError, match="599-500 is empty: 599 is above 500"):
        parse_status_set("599-500")


@derandomized
@given(st.frozensets(st.integers(500, 599), min_size=1))
def test_statuses_survive_writing_and_reading(statuses: frozenset[int]) -> None:
    """Any set of statuses: its texts read as the same set."""
    assert frozenset().union(*map(parse_status_set, format_status_set(statuses))) == statuses


def test_times_keep_their_offset_or_have_none() -> None:
    """Times with an offset, with Z, and local ones: as ISO 8601 says."""
    assert parse_time("2026-11-06T20:00:00Z") == datetime(2026, 11, 6, 20, tzinfo=UTC)
    assert parse_time("2026-11-06T21:00+01:00") == datetime(2026, 11, 6, 20, tzinfo=UTC)
    assert parse_time("2026-11-06 20:00") == datetime(2026, 11, 6, 20)  # noqa: DTZ001 - local is the point.


@pytest.mark.parametrize("text", ["2026-11-06", "20:00", "2026-13-06T20:00", "tomorrow", "20261106T200000Z", ""])
def test_what_is_no_time_is_refused(text: str) -> None:
    """Dates alone, times alone, impossible ones: refused with examples."""
    with pytest.raises(ValueError, match="must be a time such as"):
        parse_time(text)


@pytest.mark.parametrize("text", ["2026-02-29", "20261225", "2026-W01-1", "25.12.2026", "2026-12-25T00:00"])
def test_what_is_no_date_is_refused(text: str) -> None:
    """Impossible and differently written dates: refused with an example."""
    with pytest.raises(ValueError, match="must be a date such as 2026-12-25"):
        parse_date(text)


def test_dates_are_read() -> None:
    """A date: itself."""
    assert parse_date("2024-02-29") == date(2024, 2, 29)


def test_doctests_hold() -> None:
    """The examples in the module's docstrings: true."""
    assert doctest.testmod(parse).failed == 0
