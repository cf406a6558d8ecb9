"""Exclusion windows: their notice, the minutes they cover, what they save (clauses 12 to 14)."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sla_parts import MINUTE, make_series_counts, make_terms

from otel_sla.sla.agreement import ExclusionReason, ExclusionTerms, ExclusionWindow
from otel_sla.sla.downtime import judge_minutes
from otel_sla.sla.exclusions import (
    Refusal,
    accepted_windows,
    excluded_minutes,
    find_refusal,
    is_in_scope,
    minutes_saved,
)
from otel_sla.sla.months import MinuteRange

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START = EPOCH + timedelta(minutes=MINUTE)
TERMS = ExclusionTerms(notice_business_days_min=3, holidays=(), windows=())


def window_of(
    start: datetime = START,
    stop: datetime | None = None,
    *,
    reason: ExclusionReason = ExclusionReason.FORCE_MAJEURE,
    announced_at: datetime | None = None,
) -> ExclusionWindow:
    """A window of ten minutes from the start of the tests' minutes, or another."""
    return ExclusionWindow(
        reason=reason,
        start=start,
        stop=start + timedelta(minutes=10) if stop is None else stop,
        group=None,
        announced_at=announced_at,
        note="",
        recorded_by="",
        recorded_at=None,
    )


def is_accepted(window: ExclusionWindow, terms: ExclusionTerms, time_zone: str) -> bool:
    """Whether the window excludes anything at all."""
    return find_refusal(window, terms, time_zone) is None


def maintenance(start: str, announced_at: str | None) -> ExclusionWindow:
    """Scheduled maintenance by its times, ISO 8601 with offset."""
    return window_of(
        datetime.fromisoformat(start),
        reason=ExclusionReason.SCHEDULED_MAINTENANCE,
        announced_at=None if announced_at is None else datetime.fromisoformat(announced_at),
    )


@pytest.mark.parametrize("reason", [reason for reason in ExclusionReason if reason.value != "scheduled_maintenance"])
def test_clause_12_other_reasons_need_no_notice(reason: ExclusionReason) -> None:
    """Only scheduled maintenance has to be announced."""
    assert is_accepted(window_of(reason=reason), TERMS, "UTC")


def test_clause_12_there_are_eight_reasons() -> None:
    """The reasons are those of the clause."""
    assert len(ExclusionReason) == 8


@pytest.mark.parametrize(
    ("start", "announced_at", "is_enough"),
    [
        # Friday 6 November 2026: Tuesday is the last day.
        ("2026-11-06T20:00+00:00", "2026-11-03T23:59:59+00:00", True),
        ("2026-11-06T20:00+00:00", "2026-11-04T00:00+00:00", False),
        # Monday: the Wednesday before, the weekend lies between.
        ("2026-11-09T00:00+00:00", "2026-11-04T12:00+00:00", True),
        ("2026-11-09T00:00+00:00", "2026-11-05T12:00+00:00", False),
        # Saturday and Sunday roll to Friday: Tuesday.
        ("2026-11-07T02:00+00:00", "2026-11-03T12:00+00:00", True),
        ("2026-11-07T02:00+00:00", "2026-11-04T12:00+00:00", False),
        ("2026-11-08T02:00+00:00", "2026-11-03T12:00+00:00", True),
        ("2026-11-08T02:00+00:00", "2026-11-04T12:00+00:00", False),
        # Announced at a weekend, after the last day.
        ("2026-11-11T02:00+00:00", "2026-11-07T12:00+00:00", False),
        ("2026-11-11T02:00+00:00", "2026-11-06T12:00+00:00", True),
        # Never announced, and announced afterwards.
        ("2026-11-06T20:00+00:00", None, False),
        ("2026-11-06T20:00+00:00", "2026-11-07T00:00+00:00", False),
    ],
)
def test_clause_14_three_business_days(start: str, announced_at: str | None, is_enough: bool) -> None:  # noqa: FBT001
    """Maintenance needs three business days between the dates; a start at the weekend rolls to the Friday before."""
    expected = None if is_enough else Refusal.NOTICE_TOO_SHORT
    assert find_refusal(maintenance(start, announced_at), TERMS, "UTC") is expected


@pytest.mark.parametrize(("hour", "is_enough"), [("03T23:59", True), ("04T00:00", False)])
def test_clause_21_notice_is_a_difference_of_dates(hour: str, is_enough: bool) -> None:  # noqa: FBT001
    """Friday's first minute, announced in Tuesday's last: 48 hours and a minute are three business days; no less."""
    window = maintenance("2026-11-06T00:00+00:00", f"2026-11-{hour}+00:00")
    assert is_accepted(window, TERMS, "UTC") is is_enough


def test_clause_14_holidays_are_no_business_days() -> None:
    """A holiday between announcement and start costs a day; a start on a holiday rolls back."""
    terms = replace(TERMS, holidays=(date(2026, 12, 25),))
    # Monday 28 December: without the holiday Wednesday 23 would do.
    window = maintenance("2026-12-28T10:00+00:00", "2026-12-23T10:00+00:00")
    assert is_accepted(window, TERMS, "UTC")
    assert not is_accepted(window, terms, "UTC")
    assert is_accepted(maintenance("2026-12-28T10:00+00:00", "2026-12-22T10:00+00:00"), terms, "UTC")
    assert is_accepted(maintenance("2026-12-25T10:00+00:00", "2026-12-21T10:00+00:00"), terms, "UTC")
    assert not is_accepted(maintenance("2026-12-25T10:00+00:00", "2026-12-22T10:00+00:00"), terms, "UTC")


def test_clause_14_dates_are_local() -> None:
    """The same two moments can be three business days apart in one time zone and two in another."""
    # In New York Thursday evening and Friday evening become Thursday and Friday; in Kolkata Friday and Saturday.
    window = maintenance("2026-11-06T20:00+00:00", "2026-11-03T20:00+00:00")
    assert is_accepted(window, TERMS, "America/New_York")
    assert not is_accepted(window, TERMS, "Asia/Kolkata")


def test_clause_14_no_notice_needed() -> None:
    """With a notice of no days, maintenance is to be announced by the day it starts on."""
    terms = replace(TERMS, notice_business_days_min=0)
    assert is_accepted(maintenance("2026-11-06T20:00+00:00", "2026-11-06T23:00+00:00"), terms, "UTC")
    assert not is_accepted(maintenance("2026-11-06T20:00+00:00", "2026-11-07T00:00+00:00"), terms, "UTC")


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)),  # noqa: DTZ001  aware below
    st.integers(0, 15 * 24),
    st.integers(0, 6),
    st.lists(st.dates(date(2026, 1, 1), date(2027, 12, 31)), max_size=8),
    st.sampled_from(["UTC", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe"]),
)
@settings(max_examples=300, derandomize=True, deadline=None)
def test_clause_14_as_the_slow_twin(
    start: datetime, hours_before: int, days: int, holidays: list[date], time_zone: str
) -> None:
    """Notice is judged as a walk back over the calendar judges it."""
    begin = start.replace(tzinfo=UTC)
    window = window_of(
        begin,
        reason=ExclusionReason.SCHEDULED_MAINTENANCE,
        announced_at=begin - timedelta(hours=hours_before),
    )
    terms = ExclusionTerms(days, tuple(holidays), ())
    assert is_accepted(window, terms, time_zone) == naive.is_accepted(window, terms, time_zone)


@pytest.mark.parametrize(
    ("start_s", "stop_s", "covered"),
    [
        (0, 120, (0, 2)),
        (1, 120, (1, 2)),
        (0, 119, (0, 1)),
        (0, 59, (0, 0)),
        (30, 90, (1, 1)),
        (10, 50, (1, 1)),
        (-1, 61, (0, 1)),
        (-60, 60, (-1, 1)),
    ],
)
def test_clause_13_only_whole_minutes(start_s: int, stop_s: int, covered: tuple[int, int]) -> None:
    """A minute is covered only if the window covers all of it."""
    window = window_of(START + timedelta(seconds=start_s), START + timedelta(seconds=stop_s))
    assert window.minutes == (MINUTE + covered[0], MINUTE + covered[1])


def test_clause_13_windows_do_not_add_up_to_a_minute() -> None:
    """Two windows that cover half a minute each exclude nothing: one window has to cover it whole."""
    middle = START + timedelta(seconds=30)
    windows = (window_of(START, middle), window_of(middle, START + timedelta(seconds=60)))
    assert not excluded_minutes(windows, {}, MINUTE, MINUTE + 1).any()


def test_clause_13_times_of_any_zone() -> None:
    """A window is the same whatever zone its times are written in, in the hour that comes twice too."""
    zone = ZoneInfo("America/New_York")
    start = datetime(2026, 11, 1, 1, 30, tzinfo=zone)
    window = window_of(start, start.replace(fold=1))
    assert window.minutes.n_minutes == 60


def test_clause_13_minutes_excluded() -> None:
    """Windows mark what they cover of the minutes asked for, whether they begin before, end after or lie outside."""
    windows = (
        window_of(START - timedelta(minutes=5), START + timedelta(minutes=2)),
        window_of(START + timedelta(minutes=4), START + timedelta(minutes=50)),
        window_of(START - timedelta(minutes=50), START - timedelta(minutes=40)),
        window_of(START + timedelta(minutes=60), START + timedelta(minutes=70)),
    )
    assert excluded_minutes(windows, {}, MINUTE, MINUTE + 6).tolist() == [
        True,
        True,
        False,
        False,
        True,
        True,
    ]
    assert excluded_minutes((), {}, MINUTE, MINUTE).tolist() == []


def test_clause_13_scope() -> None:
    """A window for one group excludes nothing of another, in whatever order its keys stand."""
    window = replace(window_of(), group=(("service.name", "chat-1"), ("region", "eu")))
    assert is_in_scope(window, {"region": "eu", "service.name": "chat-1"})
    assert not is_in_scope(window, {"region": "us", "service.name": "chat-1"})
    assert not is_in_scope(window, {"service.name": "chat-1"})
    assert is_in_scope(window_of(), {"service.name": "chat-2"})
    assert not excluded_minutes([window], {"service.name": "chat-2"}, MINUTE, MINUTE + 5).any()
    assert excluded_minutes([window], {"region": "eu", "service.name": "chat-1"}, MINUTE, MINUTE + 5).all()


def test_clause_14_too_short_a_notice_excludes_nothing() -> None:
    """Refused windows are left out before minutes are marked."""
    refused = maintenance("2026-11-06T20:00+00:00", "2026-11-06T19:00+00:00")
    good = window_of()
    assert accepted_windows((refused, good), TERMS, "UTC") == (good,)


def test_clause_15_minutes_saved_of_overlapping_windows_add_up() -> None:
    """A window saved the minutes that are down raw and excluded after; shared ones count for the earlier window."""
    counts = make_series_counts([(0, 5, 0)] * 4 + [(5, 0, 0)] * 4)
    windows = (
        window_of(START - timedelta(minutes=9), START + timedelta(minutes=3)),
        window_of(START + timedelta(minutes=2), START + timedelta(minutes=6)),
    )
    excluded = excluded_minutes(windows, {}, MINUTE, MINUTE + 8)
    judged = judge_minutes(counts, make_terms(), excluded)
    assert minutes_saved(windows, judged, MinuteRange(MINUTE, MINUTE + 8)) == [3, 1]
    assert minutes_saved(windows[1:], judged, MinuteRange(MINUTE, MINUTE + 8)) == [2]
    assert minutes_saved(windows, judged, MinuteRange(MINUTE + 3, MINUTE + 8)) == [0, 1]
    assert minutes_saved(windows, judged, MinuteRange(MINUTE + 7, MINUTE + 8)) == [0, 0]
    assert np.count_nonzero(judged.adjusted == 1) == 0


def test_clause_7_a_run_too_short_was_not_saved() -> None:
    """A window saves nothing of a run that was no downtime period in the first place."""
    counts = make_series_counts([(0, 5, 0)] * 2 + [(5, 0, 0)])
    excluded = np.array([True, False, False])
    judged = judge_minutes(counts, make_terms(period_minutes_min=3), excluded)
    assert minutes_saved([window_of()], judged, MinuteRange(MINUTE, MINUTE + 3)) == [0]
