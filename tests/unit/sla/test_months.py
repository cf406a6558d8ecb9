"""Months: the real minutes between two local midnights (clause 8)."""

import doctest
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import naive
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_sla.sla import months
from otel_sla.sla.months import Month, day_ranges, month_of, month_range

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = (
    "UTC",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "America/Havana",
    "Pacific/Apia",
)


def test_examples_in_docstrings() -> None:
    """The examples that the module shows are true."""
    assert doctest.testmod(months).failed == 0


@pytest.mark.parametrize(
    ("text", "n_minutes"),
    [("2026-02", 40_320), ("2028-02", 41_760), ("2026-11", 43_200), ("2026-12", 44_640), ("2100-02", 40_320)],
)
def test_clause_8_months_in_utc(text: str, n_minutes: int) -> None:
    """Months of 28, 29, 30 and 31 days have the minutes that the clause names."""
    assert month_range(Month.parse(text), "UTC").n_minutes == n_minutes


@pytest.mark.parametrize(
    ("text", "time_zone", "n_minutes", "start"),
    [
        ("2026-03", "America/New_York", 44_580, "2026-03-01T05:00"),
        ("2026-11", "America/New_York", 43_260, "2026-11-01T04:00"),
        ("2026-04", "Australia/Lord_Howe", 43_230, "2026-03-31T13:00"),
        ("2026-10", "Australia/Lord_Howe", 44_610, "2026-09-30T13:30"),
        ("2026-02", "Africa/Casablanca", 40_380, "2026-01-31T23:00"),
        ("2026-03", "Africa/Casablanca", 44_580, "2026-03-01T00:00"),
        ("2026-11", "Asia/Kolkata", 43_200, "2026-10-31T18:30"),
    ],
)
def test_clause_8_months_with_a_clock_change(text: str, time_zone: str, n_minutes: int, start: str) -> None:
    """A month in which the clock is changed has more or fewer real minutes, at Lord Howe by half an hour."""
    minutes = month_range(Month.parse(text), time_zone)
    assert minutes.n_minutes == n_minutes
    assert EPOCH + timedelta(minutes=minutes.start_minute) == datetime.fromisoformat(start).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time_zone"),
    [
        ("2006-04", "Asia/Gaza"),  # 00:00 to 01:00 does not exist.
        ("2008-06", "Asia/Karachi"),
        ("1981-03", "Australia/Lord_Howe"),  # 00:00 to 00:30 does not exist.
        ("1981-04", "Asia/Ust-Nera"),  # 00:00 to 03:00 does not exist.
        ("1979-10", "Europe/Sofia"),  # 00:00 exists twice.
        ("2004-10", "Asia/Gaza"),
        ("1979-10", "Pacific/Kiritimati"),  # 00:00 to 00:40 does not exist.
    ],
)
def test_clause_8_a_midnight_that_is_not_there_once(text: str, time_zone: str) -> None:
    """Where the clock jumps over the first midnight or shows it twice, each minute has the month of its local date."""
    minutes = month_range(Month.parse(text), time_zone)
    assert minutes == (naive.month_minutes(text, time_zone).start, naive.month_minutes(text, time_zone).stop)


def test_clause_8_offsets_with_seconds() -> None:
    """A zone whose old offset had seconds starts its months with the next whole minute."""
    minutes = month_range(Month.parse("1970-02"), "Africa/Monrovia")
    assert minutes == (naive.month_minutes("1970-02", "Africa/Monrovia").start, minutes.stop_minute)


@given(st.integers(0, 12 * 130), st.sampled_from(ZONES))
@settings(max_examples=150, derandomize=True, deadline=None)
def test_clause_8_months_adjoin(index: int, time_zone: str) -> None:
    """The months of a zone part time without a gap, and a minute's month is the one whose range holds it."""
    month = Month(1970 + index // 12, index % 12 + 1)
    minutes = month_range(month, time_zone)
    assert month_range(month.next, time_zone).start_minute == minutes.stop_minute
    assert month.next.previous == month
    assert month_of(minutes.start_minute, time_zone) == month
    assert month_of(minutes.stop_minute - 1, time_zone) == month
    assert month_of(minutes.stop_minute, time_zone) == month.next
    assert month_of(minutes.start_minute - 1, time_zone) == month.previous


def test_clause_8_the_hour_that_comes_twice() -> None:
    """Minutes of the hour before midnight that comes again after it stay with the months that adjoin there."""
    # Sofia set 01:00 back to 00:00, St. John's 00:01 to 23:01 of the day before.
    for text, zone in (("1979-10", "Europe/Sofia"), ("2009-11", "America/St_Johns")):
        start = month_range(Month.parse(text), zone).start_minute
        assert (EPOCH + timedelta(minutes=start)).astimezone(ZoneInfo(zone)).hour == 0
        found = [month_of(minute, zone) for minute in range(start - 180, start + 180)]
        assert found == [Month.parse(text).previous] * 180 + [Month.parse(text)] * 180


@pytest.mark.parametrize(
    "text", ["2026-13", "2026-00", "2026-1", "26-01", "2026/01", "", "2026-011", "1969-12", "²026-01"]
)
def test_a_month_that_is_none(text: str) -> None:
    """Text that is no month is refused with what was read."""
    with pytest.raises(ValueError, match="a month is"):
        Month.parse(text)


def test_months_are_ordered_and_written() -> None:
    """Months compare by time and are written as they are read."""
    assert Month.parse("2026-12") < Month.parse("2027-01")
    assert str(Month.parse("2026-02")) == "2026-02"


@pytest.mark.parametrize(
    ("month", "time_zone", "day", "n_minutes"),
    [
        (Month(2026, 3), "America/New_York", 8, 1380),
        (Month(2026, 11), "America/New_York", 1, 1500),
        (Month(2026, 10), "Australia/Lord_Howe", 4, 1410),
        (Month(2026, 4), "Australia/Lord_Howe", 5, 1470),
        (Month(2018, 11), "America/Sao_Paulo", 4, 1380),
        (Month(2026, 6), "UTC", 30, 1440),
    ],
)
def test_clause_8_days_with_a_clock_change(month: Month, time_zone: str, day: int, n_minutes: int) -> None:
    """A day has the minutes that its clock shows, and the days of a month make up the month."""
    days = day_ranges(month, time_zone)
    assert {date.day: minutes.n_minutes for date, minutes in days}[day] == n_minutes
    edges = [days[0][1].start_minute, *(minutes.stop_minute for _, minutes in days)]
    assert [minutes.start_minute for _, minutes in days] == edges[:-1]
    assert (edges[0], edges[-1]) == month_range(month, time_zone)


def test_clause_8_a_day_that_the_calendar_leaves_out() -> None:
    """Samoa crossed the date line: its 30 December 2011 never was."""
    days = [date.day for date, _ in day_ranges(Month(2011, 12), "Pacific/Apia")]
    assert days == [day for day in range(1, 32) if day != 30]
