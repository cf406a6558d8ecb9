"""States of minutes and downtime periods (clauses 5 to 7)."""

import doctest
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sla_parts import MINUTE, make_series_counts, make_terms

from otel_sla.sla import downtime
from otel_sla.sla.agreement import DowntimeTerms, NoData
from otel_sla.sla.downtime import (
    MinuteState,
    SeriesCounts,
    downtime_periods,
    judge_minutes,
    judged_state,
    needs_minutes_after,
    needs_minutes_before,
    unfiltered_states,
)

UP, DOWN, EXCLUDED, LOW, SILENT = MinuteState
SIGNS = {".": (20, 0, 0), "x": (0, 20, 0), "1": (0, 1, 0), " ": (0, 0, 3)}


def counts_of(minutes: str, *, start_minute: int = MINUTE) -> SeriesCounts:
    """Minutes as signs: `.` up, `x` down, `1` a single failed request, a space no valid request."""
    return make_series_counts([SIGNS[sign] for sign in minutes], start_minute=start_minute)


def judged(minutes: str, terms: DowntimeTerms, excluded: str = "") -> tuple[str, str]:
    """Raw and adjusted states as signs: `.` up, `x` down, `e` excluded, `1` low traffic, a space no data."""
    mask = np.array([sign == "e" for sign in excluded.ljust(len(minutes))], dtype=np.bool_)
    result = judge_minutes(counts_of(minutes), terms, mask)
    raw, adjusted = ("".join(".xe1 "[state] for state in states) for states in (result.raw, result.adjusted))
    return raw, adjusted


def test_examples_in_docstrings() -> None:
    """The examples that the module shows are true."""
    assert doctest.testmod(downtime).failed == 0


@pytest.mark.parametrize(
    ("valid", "failed", "limit", "valid_requests_min", "state"),
    [
        (100, 5, "5/100", 1, UP),
        (100, 6, "5/100", 1, DOWN),
        (20, 1, "5/100", 1, UP),
        (19, 1, "5/100", 1, DOWN),
        (1, 1, "5/100", 1, DOWN),
        (1, 1, "5/100", 2, LOW),
        (0, 0, "5/100", 1, SILENT),
        (0, 0, "5/100", 2, SILENT),
        (100, 29, "29/100", 1, UP),
        (100, 30, "29/100", 1, DOWN),
        (3, 3, "1", 1, UP),
        (3, 1, "0", 1, DOWN),
        (3, 0, "0", 1, UP),
        (2**62, 2**61 + 1, "1/2", 1, DOWN),
        (2**62, 2**61, "1/2", 1, UP),
        (10**18, 1, f"1/{10**18}", 1, UP),
        (10**18 - 1, 1, f"1/{10**18}", 1, DOWN),
        (5, 1, f"1/{10**40}", 1, DOWN),
        (0, 0, f"1/{10**40}", 1, SILENT),
    ],
)
def test_clause_5_worked_cases(
    valid: int, failed: int, limit: str, valid_requests_min: int, state: MinuteState
) -> None:
    """The worked cases, the limit itself and counts that overflow 64 bits are judged exactly."""
    terms = make_terms(Fraction(limit), valid_requests_min=valid_requests_min)
    found = unfiltered_states(make_series_counts([(valid - failed, failed, 0)]), terms)
    assert MinuteState(found[0]) is state
    expected = state if state in (UP, DOWN) else None
    assert judged_state((valid - failed, failed, 0), terms) is expected


def test_clause_5_the_trap_of_floats() -> None:
    """29 of 100 is not above 29 %, though it is as floats."""
    assert 0.29 * 100 < 29, "the trap is there"
    assert judged_state((71, 29, 0), make_terms(Fraction(29, 100))) is UP


def test_clause_6_only_invalid_requests_are_no_data() -> None:
    """50 invalid requests say nothing about the service."""
    assert unfiltered_states(make_series_counts([(0, 0, 50)]), make_terms()).tolist() == [SILENT]


@pytest.mark.parametrize(
    ("no_data", "expected"),
    [
        (NoData.UP, "  .  x  1 . "),
        (NoData.DOWN, "  .xxxxx1x.x"),
        (NoData.CARRY, "  .  xxx1x. "),
    ],
)
def test_clause_6_policies_for_silence(no_data: NoData, expected: str) -> None:
    """Silence is up, down or as before; before the first data it is never down; low traffic is not carried."""
    terms = make_terms(valid_requests_min=2, no_data=no_data)
    assert judged("  .  x  1 . ", terms)[0] == expected


def test_clause_6_low_traffic_begins_the_data_but_carries_nothing() -> None:
    """A first minute with too few requests makes later silence down under `down`, and nothing under `carry`."""
    assert judged(" 1 ", make_terms(valid_requests_min=2, no_data=NoData.DOWN))[0] == " 1x"
    assert judged(" 1 ", make_terms(valid_requests_min=2, no_data=NoData.CARRY))[0] == " 1 "


@pytest.mark.parametrize(("carried", "expected"), [(UP, [SILENT, UP]), (DOWN, [DOWN, UP]), (None, [SILENT, UP])])
def test_clause_6_carry_from_before_the_minutes(carried: MinuteState | None, expected: list[MinuteState]) -> None:
    """The state of the last judged minute is carried in from before the first minute."""
    counts = SeriesCounts(MINUTE, counts_of(" .").counts, carried, MINUTE - 100)
    assert unfiltered_states(counts, make_terms(no_data=NoData.CARRY)).tolist() == expected


def test_clause_6_no_data_ever() -> None:
    """A series that never had data is not down, whatever the policy."""
    for no_data in NoData:
        assert judged("   ", make_terms(no_data=no_data)) == ("   ", "   ")


@pytest.mark.parametrize(
    ("minutes", "excluded", "period_minutes_min", "raw", "adjusted"),
    [
        ("..xx.x..", "", 2, "..xx....", "..xx...."),
        ("..xx.x..", "", 3, "........", "........"),
        ("..xx.x..", "  e     ", 1, "..xx.x..", "..ex.x.."),
        ("..xx.x..", "  e     ", 2, "..xx....", "..e....."),
        ("xxxxxxx", "   e   ", 3, "xxxxxxx", "xxxexxx"),
        ("xxxxxx", "   e  ", 3, "xxxxxx", "xxxe.."),
        ("xx xx", "", 3, "..\x20..", "..\x20.."),
        (". x", "eee", 1, ". x", "eee"),
        ("", "", 2, "", ""),
    ],
)
def test_clause_7_short_runs_count_as_up(
    minutes: str, excluded: str, period_minutes_min: int, raw: str, adjusted: str
) -> None:
    """Runs below the minimum are up, raw and after exclusions each by itself; any other state ends a run."""
    assert judged(minutes, make_terms(period_minutes_min=period_minutes_min), excluded) == (raw, adjusted)


def test_clause_7_low_traffic_ends_a_run() -> None:
    """A minute of low traffic between down minutes parts them."""
    assert judged("xx1xx", make_terms(valid_requests_min=2, period_minutes_min=3))[0] == "..1.."


def test_clause_7_an_open_run_is_up_until_it_is_long_enough() -> None:
    """The last minutes of a run that goes on count as up as long as it is short, and as down from then on."""
    terms = make_terms(period_minutes_min=3)
    assert [judged("." + "x" * n, terms)[0] for n in (1, 2, 3)] == ["..", "...", ".xxx"]


def test_clause_7_periods() -> None:
    """Periods are the maximal runs, also at both edges."""
    for signs, expected in (("", []), ("x", [[0, 1]]), ("x.xx", [[0, 1], [2, 4]]), (".xx.", [[1, 3]]), ("..", [])):
        assert downtime_periods(unfiltered_states(counts_of(signs), make_terms())).tolist() == expected


def test_clause_7_more_minutes_are_needed_where_a_run_is_cut() -> None:
    """The caller is told to go further back or on while an edge lies in a run, and not where there is nothing."""
    terms = make_terms()

    def needs_before(minutes: str, first_data_minute: int | None, carried: MinuteState | None = None) -> bool:
        counts = SeriesCounts(MINUTE, counts_of(minutes).counts, carried, first_data_minute)
        return needs_minutes_before(counts, make_terms(no_data=NoData.CARRY))

    assert needs_before("x.", MINUTE - 1)
    assert needs_before(" .", MINUTE - 1, DOWN)
    assert not needs_before(" .", MINUTE - 1, UP)
    assert not needs_before(".x", MINUTE - 1)
    assert not needs_before("x.", MINUTE)
    assert not needs_before("", MINUTE - 1)
    assert not needs_before("x", None)
    result = judge_minutes(counts_of(".x"), terms, np.array([False, True]))
    assert needs_minutes_after(result, MINUTE + 3)
    assert not needs_minutes_after(result, MINUTE + 2)
    assert not needs_minutes_after(result.part(MINUTE, MINUTE + 1), MINUTE + 2)
    assert not needs_minutes_after(result.part(MINUTE, MINUTE), MINUTE + 2)


def test_clause_7_a_part_keeps_its_states() -> None:
    """A part of judged minutes is the same states, and lies within them."""
    result = judge_minutes(counts_of(".x.x"), make_terms(), np.array([False, False, False, True]))
    part = result.part(MINUTE + 1, MINUTE + 4)
    assert (part.start_minute, part.stop_minute) == (MINUTE + 1, MINUTE + 4)
    assert part.adjusted.tolist() == [DOWN, UP, EXCLUDED]
    with pytest.raises(AssertionError, match="within"):
        result.part(MINUTE - 1, MINUTE)


def test_clause_13_a_minute_that_is_down_adjusted_is_down_raw() -> None:
    """Exclusion takes downtime away and never adds any."""
    rng = np.random.default_rng(7)
    for _ in range(50):
        signs = "".join(rng.choice(list("..xx1 "), size=60))
        excluded = "".join(rng.choice(list("...e"), size=60))
        raw, adjusted = judged(signs, make_terms(period_minutes_min=int(rng.integers(1, 5))), excluded)
        assert all(before == "x" for before, after in zip(raw, adjusted, strict=True) if after == "x")


@given(
    st.lists(st.tuples(st.sampled_from("..x1   "), st.booleans()), min_size=3, max_size=12),
    st.integers(0, 12),
    st.sampled_from([*NoData, NoData.CARRY]),
    st.integers(1, 4),
)
@settings(max_examples=1000, derandomize=True, deadline=None)
def test_clause_7_a_cut_that_asks_for_no_more_changes_nothing(
    minutes: list[tuple[str, bool]], cut: int, no_data: NoData, period_minutes_min: int
) -> None:
    """Judging from a later start gives the same states where `needs_minutes_before` is content with it."""
    signs, excluded = "".join(sign for sign, _ in minutes), np.array([mark for _, mark in minutes], dtype=np.bool_)
    terms = make_terms(valid_requests_min=2, period_minutes_min=period_minutes_min, no_data=no_data)
    whole = counts_of(signs)

    def tail(cut: int) -> SeriesCounts:
        before = [judged_state((a, b, c), terms) for a, b, c in whole.counts[:cut].tolist()]
        after = [None if mark else state for state, mark in zip(before, excluded, strict=False)]
        carried, carried_after = (
            next((one for one in reversed(each) if one is not None), None) for each in (before, after)
        )
        cut_off = replace(whole, start_minute=MINUTE + cut, counts=whole.counts[cut:])
        return replace(cut_off, carried=carried, carried_after=carried_after)

    cut = min(cut, len(signs))
    while needs_minutes_before(tail(cut), terms):
        cut -= 1
    expected, found = judge_minutes(whole, terms, excluded), judge_minutes(tail(cut), terms, excluded[cut:])
    assert found.raw.tolist() == expected.raw[cut:].tolist()
    assert found.adjusted.tolist() == expected.adjusted[cut:].tolist()


def test_wire_names() -> None:
    """States are written as reports and metrics promise."""
    assert [state.wire_name for state in MinuteState] == ["up", "down", "excluded", "low_traffic", "no_data"]


def test_clause_6_silence_is_judged_until_nothing_is_counted_any_more() -> None:
    """From the retired minute on silence is no data, whatever the policy; what was counted stays judged (clause 22)."""
    for policy in (NoData.DOWN, NoData.CARRY):
        counts = replace(counts_of("x   x "), retired_minute=MINUTE + 2)
        states = judge_minutes(counts, make_terms(no_data=policy), np.zeros(6, dtype=np.bool_))
        assert states.adjusted.tolist() == [DOWN, DOWN, SILENT, SILENT, DOWN, SILENT]


@pytest.mark.parametrize(
    ("minutes", "excluded", "adjusted"),
    [
        ("x  ", [1, 0, 0], [EXCLUDED, SILENT, SILENT]),  # Nothing before the window: nothing is carried.
        ("xx ", [0, 1, 0], [DOWN, EXCLUDED, DOWN]),  # Down before the window: that goes on behind it.
        (".x ", [0, 1, 0], [UP, EXCLUDED, SILENT]),  # Up before the window.
        ("x. ", [0, 1, 0], [DOWN, EXCLUDED, SILENT]),  # Up in the window: not down raw, so not down after it either.
        ("x  ", [0, 1, 0], [DOWN, EXCLUDED, DOWN]),  # Silence in the window.
    ],
)
def test_clause_6_an_excluded_minute_is_not_carried(minutes: str, excluded: list[int], adjusted: list[int]) -> None:
    """After exclusions silence goes on as what was before the window; an exclusion never makes a minute down."""
    mask = np.array(excluded, dtype=np.bool_)
    found = judge_minutes(counts_of(minutes), make_terms(no_data=NoData.CARRY), mask)
    assert found.adjusted.tolist() == adjusted
    assert not ((found.adjusted == DOWN) & (found.raw != DOWN)).any()


def test_clause_6_as_it_was_carries_an_excluded_minute() -> None:
    """A month that 0.1.0 closed stays judged as it judged it: failures in the window go on behind it."""
    mask, terms = np.array([1, 0, 0], dtype=np.bool_), make_terms(no_data=NoData.CARRY)
    assert judge_minutes(counts_of("x  "), terms, mask, carries_excluded=True).adjusted.tolist() == [
        EXCLUDED,
        DOWN,
        DOWN,
    ]


def test_clause_6_an_excluded_minute_before_the_first_is_not_carried() -> None:
    """The failures that would be carried lie before the minutes, in maintenance."""
    counts = replace(counts_of("   "), carried=MinuteState.DOWN, first_data_minute=MINUTE - 5)
    found = judge_minutes(counts, make_terms(no_data=NoData.CARRY), np.zeros(3, dtype=np.bool_))
    assert (found.raw.tolist(), found.adjusted.tolist()) == ([DOWN] * 3, [SILENT] * 3)


def test_clause_6_what_was_before_a_window_is_carried_although_it_was_up_in_it() -> None:
    """The minutes begin within the window: down before it, up in it, down in it again, and silent behind it."""
    counts = replace(counts_of(" x "), carried=UP, carried_after=DOWN, first_data_minute=MINUTE - 5)
    found = judge_minutes(counts, make_terms(no_data=NoData.CARRY), np.array([True, True, False]))
    assert (found.raw.tolist(), found.adjusted.tolist()) == ([SILENT, DOWN, DOWN], [EXCLUDED, EXCLUDED, DOWN])
