"""The drawing of a month, read back from its paths."""

import re
from typing import Any

import numpy as np
import pytest

from otel_sla.report.html.calendar import LEGEND, draw_month
from otel_sla.report.html.page import TEMPLATES
from otel_sla.sla.downtime import JudgedMinutes, MinuteState
from otel_sla.sla.months import Month, day_ranges, month_range

Stretch = tuple[int, int, int]  # Row, minutes since midnight: start and stop.

STYLE = TEMPLATES.get_template("style.css").render()
CALENDAR: Any = TEMPLATES.get_template("calendar.html.j2").module


def draw_calendar(states: JudgedMinutes, month: Month, time_zone: str) -> str:
    """The table of a month."""
    return str(CALENDAR.calendar(draw_month(states, month, time_zone), "chat", month, time_zone))


def stretches(drawing: str, name: str) -> list[Stretch]:
    """What the days' paths of one state draw."""
    found: list[Stretch] = []
    for row, words in enumerate(re.findall(r'<tr><th scope="row">.*?</tr>', drawing)):
        for path in re.findall(rf'<path class="{name}" d="([^"]*)"', words):
            x = 0
            for step in re.findall(r"[Mmh][^Mmh]*", path):
                number = int(step[1:].split()[0])
                if step[0] == "h":
                    found.append((row, x, x + number))
                x = number if step[0] == "M" else x + number
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
    rows = [day.start_minute for _, day in day_ranges(month, time_zone)]
    drawn = np.full(minutes.n_minutes, "nothing", dtype=object)
    for name in LEGEND:
        for row, start, stop in stretches(drawing, name):
            first = rows[row] - minutes.start_minute
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
    assert set(drawn[n_elapsed:]) <= {"nothing", "down"}


def test_a_single_minute_of_downtime_can_be_seen() -> None:
    """One down minute of a month is drawn four minutes wide, and its day says how many there were."""
    month = Month(2026, 11)
    states = np.zeros(43_200, dtype=np.int8)
    states[1440 + 61] = MinuteState.DOWN
    start = month_range(month, "UTC").start_minute
    drawing = draw_calendar(JudgedMinutes(start, states, states, states), month, "UTC")
    assert stretches(drawing, "down") == [(1, 61, 65)]
    assert [said for said in re.findall(r"</svg></td><td>([^<]*)<", drawing) if said] == ["1 down"]
    assert "<caption>chat, November 2026: 1 minute down. " in drawing


def test_clause_8_a_day_of_another_length_is_marked() -> None:
    """A day on which the clock is changed has a star and is named below."""
    month = Month(2026, 10)
    minutes = month_range(month, "Australia/Lord_Howe")
    states = np.zeros(minutes.n_minutes, dtype=np.int8)
    judged = JudgedMinutes(minutes.start_minute, states, states, states)
    drawing = draw_calendar(judged, month, "Australia/Lord_Howe")
    assert ">Sun 4*<" in drawing
    assert "The clock is changed on 2026-10-04: it has 23.5 h." in drawing


def test_a_month_to_come_is_drawn_empty() -> None:
    """Where nothing has elapsed every day is there and blank, which the caption says."""
    month = Month(2026, 11)
    none = np.empty(0, dtype=np.int8)
    drawing = draw_calendar(JudgedMinutes(month_range(month, "UTC").start_minute, none, none, none), month, "UTC")
    assert drawing.count('<th scope="row">') == 30
    assert not [name for name in LEGEND if stretches(drawing, name)]
    assert "what has not elapsed is blank" in drawing


@pytest.mark.parametrize("name", list(LEGEND))
def test_every_drawing_is_explained_and_has_a_look(name: str) -> None:
    """What is drawn stands in the legend, and the style knows it in a thickness or filling of its own."""
    assert f'class="{name}"' in CALENDAR.legend()
    looks = dict(re.findall(r"path\.([a-z-]+) \{ ([^}]*)", STYLE))
    shapes = {other: re.sub(r"var\([^)]*\)", "", look) for other, look in looks.items()}
    assert name in shapes
    assert list(shapes.values()).count(shapes[name]) == 1, "without colours two would look the same"
    for pattern in re.findall(r"url\(#(\w+)\)", STYLE):
        assert f'id="{pattern}"' in CALENDAR.definitions()


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1])
@pytest.mark.parametrize(
    ("name", "least"), [(name, 3) for name in ("up", "down", "ink", "low", "nothing")] + [("text", 4.5), ("quiet", 4.5)]
)
def test_contrasts_are_what_readers_need(scheme: int, name: str, least: float) -> None:
    """Graphics have a contrast of 3:1 and words of 4.5:1, on the page and in the legend's panel, light and dark."""
    colours = re.findall(rf"--{name}: (#\w+)", STYLE)[scheme]
    for ground in ("page", "panel"):
        dark, light = sorted((luminance(colours), luminance(re.findall(rf"--{ground}: (#\w+)", STYLE)[scheme])))
        assert (light + 0.05) / (dark + 0.05) >= least
