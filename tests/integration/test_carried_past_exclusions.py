"""`no_data: carry` with windows across the edge of a month (clause 6): report, events and naive twin agree."""

import random
from dataclasses import replace
from pathlib import Path

import naive
import pytest
from history_parts import EDGE, NOVEMBER, OCTOBER, History
from sla_parts import make_agreement, make_terms

from otel_sla.sla.agreement import ExclusionWindow, NoData
from otel_sla.sla.months import month_range

CARRY = make_agreement(downtime=make_terms(no_data=NoData.CARRY))
# What a minute of each sign counts: succeeded, failed.
SIGNS = {"u": (9, 0), "d": (0, 9), "f": (1, 0), "F": (0, 1)}


def judged(
    folder: Path, story: str, windows: list[tuple[int, int]], *, steps: list[int], valid_min: int = 1
) -> History:
    """An hour before the months' edge and what is behind it, of one service, told in steps; windows are offsets of it.

    Raises:
        AssertionError: Report, events or gauges are not what the naive twin makes of it.
    """
    terms = replace(CARRY, group_by=(), downtime=replace(CARRY.downtime, valid_requests_min=valid_min))
    history = History(folder, terms)
    start, known = history.now, list[ExclusionWindow]()
    counts = {start: [1, 0, 0]} | {start + 1 + at: [*SIGNS[one], 0] for at, one in enumerate(story) if one in SIGNS}
    for step in steps:
        stop = history.now + step
        history.count(
            [(minute, 0, *counts[minute]) for minute in range(max(start + 1, history.now), stop) if minute in counts]
        )
        history.now = stop
        while len(known) < len(windows) and start + 1 + windows[len(known)][0] < stop:
            first, after = windows[len(known)]
            known.append(history.exclude(start + 1 + first, after - first))
        history.judge()
        told_of = {minute: row for minute, row in counts.items() if minute < stop}
        _, adjusted = naive.states(told_of, terms, known, start, stop)
        down = {minute for minute, state in adjusted.items() if state == naive.DOWN}
        for month in (OCTOBER, NOVEMBER):
            minutes = range(*month_range(month, "UTC"))
            for one in history.report(month).values():
                assert one["minutes"]["down"] == len(down & set(minutes)), (month, stop - EDGE)  # type: ignore[index]
        assert set().union(*history.told_down().values()) == down, stop - EDGE
    history.assert_gauges_agree(story)
    return history


def test_what_went_on_before_a_window_across_the_edge_goes_on_behind_it(tmp_path: Path) -> None:
    """Down before maintenance; in it up, and behind the edge down again; then silent: what was before it is carried."""
    story = "." * 49 + "dd" + "u" + "." * 7 + "....dd" + "." * 10
    history = judged(tmp_path, story, [(51, 67)], steps=[51, 20, 5, 1, 1])
    assert history.report(NOVEMBER)
    history.stop()


@pytest.mark.parametrize("seed", range(40))
def test_windows_in_silence_are_judged_alike_everywhere(seed: int, tmp_path: Path) -> None:
    """Any windows around the edge, recorded as time goes on."""
    rng = random.Random(seed)
    story = ""
    while len(story) < 110:
        story += rng.choice("uddd....fF") * rng.choice([1, 1, 2, 5, 15])
    windows = sorted((first, first + rng.randint(1, 30)) for first in rng.sample(range(20, 90), rng.randint(1, 4)))
    steps = [1]
    while sum(steps) < 110:
        steps.append(rng.choice([1, 1, 2, 7, 30]))
    judged(tmp_path, story, windows, steps=steps, valid_min=rng.choice([1, 4])).stop()
