"""The drawing of a month, read back from its paths."""

import re

import numpy as np
import pytest

from otel_sla.report.calendar import LEGEND, draw_calendar, legend, pattern_definitions
from otel_sla.report.style import STYLE
from otel_sla.sla.downtime import JudgedMinutes, MinuteState
from otel_sla.sla.months import Month, day_ranges, month_range

LEFT = 120
Stretch = tuple[int, int, int]  # Height of the row's middle, minutes since midnight: start and stop.


def stretches(drawing: str, name: str) -> list[Stretch]:
    """What one path draws."""
    found: list[Stretch] = []
    for path in re.findall(rf'<path class="{name}" d="([^"]*)"', drawing):
        x = y = 0
        for step in re.findall(r"[Mmh][^Mmh]*", path):
            numbers = [int(number) for number in step[1:].split()]
            if step[0] == "M":
                x, y = numbers
            elif step[0] == "m":
                x, y = x + numbers[0], y + numbers[1]
            else:
                found.append((y, x - LEFT, x - LEFT + numbers[0]))
                x += numbers[0]
    return found


def random_states(seed: int, start_minute: int, n_minutes: int) -> JudgedMinutes:
    """States in stretches of some minutes; what is excluded may have been down."""
    rng = np.random.default_rng(seed)
    adjusted = np.repeat(rng.integers(0, 5, n_minutes // 4 + 1), rng.integers(4, 9))[:n_minutes].astype(np.int8)
    raw = np.where((adjusted == MinuteState.EXCLUDED) & (rng.random(n_minutes) < 0.5), MinuteState.DOWN, adjusted)
    return JudgedMinutes(start_minute, raw.astype(np.int8), adjusted, raw.astype(np.int8))


@pytest.mark.parametrize("time_zone", ["UTC", "Australia/Lord_Howe", "America/New_York"])
@pytest.mark.parametrize("n_before", [0, 7])
def test_every_minute_is_drawn_as_it_is(time_zone: str, n_before: int) -> None:
    """Minute by minute, on days of clock changes too, what was drawn is what was judged."""
    month = Month(2026, 10) if time_zone.startswith("A") else Month(2026, 2)
    if time_zone.startswith("America"):
        month = Month(2026, 11)
    minutes = month_range(month, time_zone)
    n_elapsed = minutes.n_minutes - 2000
    states = random_states(3, minutes.start_minute - n_before, n_before + n_elapsed)
    drawing = draw_calendar(states, month, time_zone)
    rows = {44 + 34 * row + 17: day.start_minute for row, (_, day) in enumerate(day_ranges(month, time_zone))}
    drawn = np.full(minutes.n_minutes, "nothing", dtype=object)
    for name in LEGEND:
        for y, start, stop in stretches(drawing, name):
            first = rows[y] - minutes.start_minute
            if name != "down":
                assert (drawn[first + start : first + stop] == "nothing").all()
            # Downtime is drawn wider than it is where it is short, above all else.
            n_shown = stop - start
            drawn[first + start : first + start + n_shown] = name
    raw, adjusted = states.raw[n_before:], states.adjusted[n_before:]
    names = {0: "up", 1: "down", 2: "excluded", 3: "low-traffic", 4: "no-data"}
    for index in range(n_elapsed):
        is_saved = adjusted[index] == MinuteState.EXCLUDED and raw[index] == MinuteState.DOWN
        wanted = "saved" if is_saved else names[int(adjusted[index])]
        assert drawn[index] == wanted or (drawn[index] == "down" and 1 in adjusted[max(0, index - 3) : index + 1])
    assert set(drawn[n_elapsed:]) <= {"to-come", "down"}


def test_a_single_minute_of_downtime_can_be_seen() -> None:
    """One down minute of a month is drawn four minutes wide, and its day says how many there were."""
    month = Month(2026, 11)
    states = np.zeros(43_200, dtype=np.int8)
    states[1440 + 61] = MinuteState.DOWN
    start = month_range(month, "UTC").start_minute
    drawing = draw_calendar(JudgedMinutes(start, states, states, states), month, "UTC")
    assert stretches(drawing, "down") == [(44 + 34 + 17, 61, 65)]
    assert re.findall(r'class="sum">([^<]*)<', drawing) == ["1 down"]


def test_clause_8_a_day_of_another_length_is_marked() -> None:
    """A day on which the clock is changed has a star and is named below."""
    month = Month(2026, 10)
    minutes = month_range(month, "Australia/Lord_Howe")
    states = np.zeros(minutes.n_minutes, dtype=np.int8)
    drawing = draw_calendar(JudgedMinutes(minutes.start_minute, states, states, states), month, "Australia/Lord_Howe")
    assert ">Sun 4*<" in drawing
    assert "The clock is changed on 2026-10-04: it has 23.5 h." in drawing


def test_a_month_to_come_is_drawn_empty() -> None:
    """Where nothing has elapsed every minute is still to come."""
    month = Month(2026, 11)
    none = np.empty(0, dtype=np.int8)
    drawing = draw_calendar(JudgedMinutes(month_range(month, "UTC").start_minute, none, none, none), month, "UTC")
    assert sum(stop - start for _, start, stop in stretches(drawing, "to-come")) == 43_200


@pytest.mark.parametrize("name", list(LEGEND))
def test_every_drawing_is_explained_and_has_a_look(name: str) -> None:
    """What is drawn stands in the legend, and the style knows it in a thickness or filling of its own."""
    assert f'class="{name}"' in legend()
    looks = dict(re.findall(r"path\.([a-z-]+) \{ ([^}]*)", STYLE))
    shapes = {other: re.sub(r"var\([^)]*\)", "", look) for other, look in looks.items()}
    assert name in shapes
    assert list(shapes.values()).count(shapes[name]) == 1, "without colours two would look the same"
    for pattern in re.findall(r"url\(#(\w+)\)", STYLE):
        assert f'id="{pattern}"' in pattern_definitions()
