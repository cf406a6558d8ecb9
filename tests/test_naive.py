"""The twin against the specification's own examples: it is only worth comparing with if these hold."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import agreements
import naive
import pytest

from otel_sla.sla.agreement import (
    Agreement,
    DowntimeTerms,
    ExclusionReason,
    ExclusionTerms,
    ExclusionWindow,
    NoData,
    NoStatusCode,
)

PLAIN = Agreement(
    name="plain",
    covered_service=(),
    entry_spans_only=False,
    group_by=(),
    invalid=(),
    no_status_code=NoStatusCode.SPAN_STATUS,
    failed_http_status=frozenset(range(500, 600)),
    code=None,
    downtime=DowntimeTerms(Fraction(1, 20), valid_requests_min=1, period_minutes_min=1, no_data=NoData.UP),
    target=Fraction(999, 1000),
    time_zone="UTC",
    exclusions=ExclusionTerms(notice_business_days_min=3, holidays=(), windows=()),
)


def terms(**changes: object) -> Agreement:
    """PLAIN with other downtime terms."""
    return replace(PLAIN, downtime=replace(PLAIN.downtime, **changes))


@pytest.mark.parametrize(
    ("valid", "failed", "limit", "valid_requests_min", "state"),
    [
        (100, 5, "5/100", 1, "up"),
        (100, 6, "5/100", 1, "down"),
        (20, 1, "5/100", 1, "up"),
        (19, 1, "5/100", 1, "down"),
        (1, 1, "5/100", 1, "down"),
        (1, 1, "5/100", 2, "low_traffic"),
        (0, 0, "5/100", 1, "no_data"),
        (100, 29, "29/100", 1, "up"),
    ],
)
def test_worked_cases(valid: int, failed: int, limit: str, valid_requests_min: int, state: str) -> None:
    """The specification's table of minutes comes out state by state."""
    agreement = terms(error_rate_above=Fraction(limit), valid_requests_min=valid_requests_min)
    counts = {7: [valid - failed, failed, 50]}
    assert naive.unfiltered_states(counts, agreement, 7, 8) == {7: state}


def test_month_of_43200_minutes_bears_43() -> None:
    """At 99.9 % a month bears the minutes that the specification lists, and each shown figure is cut off."""
    borne = [naive.minutes_allowed(total, Fraction(999, 1000)) for total in (43200, 44640, 40320, 41760)]
    assert borne == [43, 44, 40, 41]
    assert naive.truncated(Fraction(43200 - 44, 43200)) == "0.99898148"
    assert naive.truncated(Fraction(1)) == "1.00000000"


@pytest.mark.parametrize(
    ("month", "time_zone", "minutes"),
    [
        ("2026-02", "UTC", 40320),
        ("2028-02", "UTC", 41760),
        ("2026-03", "Europe/Berlin", 44580),
        ("2026-10", "Europe/Berlin", 44700),
        ("2026-10", "Australia/Lord_Howe", 44610),
    ],
)
def test_months_have_their_real_minutes(month: str, time_zone: str, minutes: int) -> None:
    """A month is as long as its clock changes make it."""
    assert len(naive.month_minutes(month, time_zone)) == minutes


def test_silence_is_judged_by_its_policy_from_the_first_data_on() -> None:
    """Minutes without data are down by `down`, keep the last verdict by `carry`, and low traffic is not carried."""
    counts = {2: [0, 5, 0], 5: [1, 0, 0], 7: [5, 0, 0]}
    carry = naive.unfiltered_states(counts, terms(no_data=NoData.CARRY, valid_requests_min=2), 0, 9)
    assert list(carry.values()) == [*["no_data"] * 2, *["down"] * 3, "low_traffic", "down", "up", "no_data"]
    down = naive.unfiltered_states(counts, terms(no_data=NoData.DOWN), 0, 9)
    assert list(down.values()) == [*["no_data"] * 2, *["down"] * 3, "up", "down", "up", "down"]


def test_exclusion_cuts_a_run_before_short_ones_are_dropped() -> None:
    """What an excluded minute leaves of a run may be too short to be a period; raw figures keep it whole."""
    counts = {minute: [0, 1, 0] for minute in range(10, 16)}
    start = naive.EPOCH + timedelta(minutes=12)
    window = ExclusionWindow(
        ExclusionReason.FORCE_MAJEURE, start, start + timedelta(seconds=90), None, None, "storm", "a test", None
    )
    raw, adjusted = naive.states(counts, terms(period_minutes_min=3), [window], 10, 16)
    assert list(raw.values()) == ["down"] * 6
    assert list(adjusted.values()) == ["up", "up", "excluded", "down", "down", "down"]


@pytest.mark.parametrize(
    ("start_s", "stop_s", "covered"),
    [(0, 60, [0]), (0, 59, []), (1, 120, [1]), (1, 119, []), (59, 61, []), (-30, 180, [0, 1, 2]), (60, 60, [])],
)
def test_clause_13_the_twins_windows_cover_whole_minutes(start_s: int, stop_s: int, covered: list[int]) -> None:
    """Seconds at either end of a window cover no minute."""
    start, stop = (naive.EPOCH + timedelta(seconds=seconds) for seconds in (start_s, stop_s))
    window = ExclusionWindow(ExclusionReason.FORCE_MAJEURE, start, stop, None, None, "storm", "a test", None)
    assert list(naive.covered(window)) == covered


@pytest.mark.parametrize(
    ("announced", "accepted"),
    [(date(2026, 11, 3), True), (date(2026, 11, 4), False)],
)
def test_notice_is_three_business_days(announced: date, accepted: bool) -> None:  # noqa: FBT001
    """Maintenance on a Saturday rolls to Friday; three business days before it is Tuesday, and a holiday is none."""
    start = datetime(2026, 11, 7, 20, tzinfo=UTC)
    told = datetime(announced.year, announced.month, announced.day, 23, 59, tzinfo=UTC)
    window = ExclusionWindow(
        ExclusionReason.SCHEDULED_MAINTENANCE, start, start + timedelta(hours=1), None, told, "", "a test", None
    )
    assert naive.is_accepted(window, PLAIN.exclusions, "UTC") is accepted
    holiday = replace(PLAIN.exclusions, holidays=(date(2026, 11, 5),))
    assert not naive.is_accepted(window, holiday, "UTC")


def test_cases_are_the_same_for_a_seed_and_reach_every_state() -> None:
    """A seed is a case for good, and a few dozen of them hold every state, outcome and kind of rejection."""
    states: set[str] = set()
    outcomes = [0, 0, 0]
    late = future = malformed = refused = 0
    for seed in range(40):
        case = agreements.random_case(seed)
        assert case == agreements.random_case(seed)
        counted = naive.count(
            case.requests,
            case.agreements,
            late_spans_max=case.late_spans_max,
            future_spans_max=case.future_spans_max,
        )
        late, future, malformed = late + counted.late, future + counted.future, malformed + counted.malformed
        for minutes in counted.series.values():
            for counts in minutes.values():
                outcomes = [total + more for total, more in zip(outcomes, counts, strict=True)]
        report = naive.report(case.months[1], case.agreements, counted.whole, now=case.now, grace=case.grace)
        for agreement in report["agreements"]:
            for series in agreement["series"]:
                states |= {state for state, minutes in series["minutes"].items() if minutes}
                refused += sum(not window["accepted"] for window in series["exclusions"])
    assert states == {"total", "elapsed", "up", "down", "excluded", "low_traffic", "no_data"}
    assert min(*outcomes, late, future, malformed, refused) > 0
