"""A series' month drawn minute by minute: one row for each local day, as SVG without colours of its own.

Every state has a shape besides its colour, so that the drawing can be read without any. One unit is one minute.
"""

from collections.abc import Iterator, Sequence
from datetime import date

import numpy as np

from otel_sla.report.markup import Markup, tag
from otel_sla.sla.downtime import JudgedMinutes, MinuteState, is_state, runs
from otel_sla.sla.months import MinuteRange, Month, day_ranges
from otel_sla.spans.columns import BoolArray, Int64Array

_LEFT = 120
_RIGHT = 250
_TOP = 44
_ROW_HEIGHT = 34
_MINUTES_PER_DAY = 1440
_DOWN_MIN_WIDTH = 4  # A minute of downtime has to be seen on paper.

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

# Class of the drawing -> what it means. The order is that of drawing: what comes later lies above.
LEGEND = {
    "up": "up",
    "no-data": "no data: no valid request",
    "low-traffic": "low traffic: too few requests to judge",
    "excluded": "excluded",
    "saved": "excluded, and would have been down",
    "to-come": "not elapsed",
    "down": f"down; drawn at least {_DOWN_MIN_WIDTH} minutes wide",
}


def pattern_definitions() -> Markup:
    """Give the fillings that drawings refer to; needed once in a document, before the first drawing."""
    return Markup(
        '<svg width="0" height="0" class="definitions" aria-hidden="true"><defs>'
        '<pattern id="hatch" width="9" height="9" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect width="9" height="9" class="ground"/><rect width="3" height="9" class="ink"/></pattern>'
        '<pattern id="cross" width="9" height="9" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect width="9" height="9" class="ground"/><rect width="3" height="9" class="strong"/>'
        '<rect width="9" height="3" class="strong"/></pattern>'
        '<pattern id="dots" width="8" height="8" patternUnits="userSpaceOnUse">'
        '<circle cx="4" cy="4" r="2.4" class="dot"/></pattern></defs></svg>'
    )


def legend() -> Markup:
    """Explain the drawings."""
    return tag("ul", *(tag("li", _sample(name), meaning) for name, meaning in LEGEND.items()), class_="legend")


def draw_calendar(states: JudgedMinutes, month: Month, time_zone: str) -> Markup:
    """Draw a month, with the words that belong below.

    Args:
        states: Hold the month's elapsed minutes; what they hold before or behind it is left out.
        month: Local to the time zone.
        time_zone: IANA name.
    """
    days = day_ranges(month, time_zone)
    month_start, month_stop = days[0][1].start_minute, days[-1][1].stop_minute
    states = states.part(max(states.start_minute, month_start), min(states.stop_minute, month_stop))
    longest = max(minutes.n_minutes for _, minutes in days)
    height = _TOP + _ROW_HEIGHT * len(days)
    masks = _masks(states)
    paths: dict[str, list[str]] = {name: [] for name in LEGEND}
    labels: list[Markup] = []
    for row, (day, minutes) in enumerate(days):
        middle = _TOP + row * _ROW_HEIGHT + _ROW_HEIGHT // 2
        start, stop = (min(max(minute - states.start_minute, 0), len(states.raw)) for minute in minutes)
        for name, mask in masks.items():
            paths[name] += _line(runs(mask[start:stop]), middle, _DOWN_MIN_WIDTH if name == "down" else 1)
        if stop - start < minutes.n_minutes:
            paths["to-come"] += _line(np.array([[stop - start, minutes.n_minutes]]), middle, 1)
        down, saved, excluded = (int(masks[name][start:stop].sum()) for name in ("down", "saved", "excluded"))
        labels += _labels(day, minutes, middle, down, saved + excluded)
    drawn = [tag("path", class_=name, d="".join(pieces)) for name, pieces in paths.items() if pieces]
    drawing = tag(
        "svg",
        _axis(longest, height),
        *drawn,
        *labels,
        class_="calendar",
        viewBox=f"0 0 {_LEFT + longest + _RIGHT} {height}",
        role="img",
        aria_label=f"{month}: {int(masks['down'].sum())} minutes down. The table of downtime periods has the times.",
    )
    return tag("figure", drawing, tag("figcaption", _caption(days, time_zone), class_="quiet"))


def _caption(days: Sequence[tuple[date, MinuteRange]], time_zone: str) -> str:
    said = f"A row is a day in {time_zone}, drawn by the hours since its midnight."
    for day, minutes in days:
        if minutes.n_minutes != _MINUTES_PER_DAY:
            said += f" * The clock is changed on {day.isoformat()}: it has {minutes.n_minutes / 60:g} h."
    return said


def _masks(states: JudgedMinutes) -> dict[str, BoolArray]:
    """Which minutes are drawn how."""
    is_excluded = is_state(states.adjusted, MinuteState.EXCLUDED)
    was_down = is_state(states.raw, MinuteState.DOWN)
    return {
        "up": is_state(states.adjusted, MinuteState.UP),
        "no-data": is_state(states.adjusted, MinuteState.NO_DATA),
        "low-traffic": is_state(states.adjusted, MinuteState.LOW_TRAFFIC),
        "excluded": is_excluded & ~was_down,
        "saved": is_excluded & was_down,
        "down": is_state(states.adjusted, MinuteState.DOWN),
    }


def _line(stretches: Int64Array, middle: int, width_min: int) -> Iterator[str]:
    """Write stretches of a day as one broken line; CSS makes it as thick as the state needs.

    A month in which every other minute is another state has twenty thousand stretches: each is a few bytes.
    """
    place = None
    for start, stop in stretches.tolist():
        x = _LEFT + start
        # Relative steps are shorter to write than absolute ones.
        yield f"M{x} {middle}" if place is None else f"m{x - place} 0"
        width = max(stop - start, width_min)
        yield f"h{width}"
        place = x + width


def _labels(day: date, minutes: MinuteRange, middle: int, down: int, excluded: int) -> Iterator[Markup]:
    base = middle + 9
    star = "" if minutes.n_minutes == _MINUTES_PER_DAY else "*"
    yield tag("text", f"{_WEEKDAYS[day.weekday()]} {day.day}{star}", x=_LEFT - 14, y=base, class_="day")
    said = ", ".join(filter(None, (f"{down} down" * (down > 0), f"{excluded} excl." * (excluded > 0))))
    if said:
        yield tag("text", said, x=_LEFT + minutes.n_minutes + 12, y=base, class_="sum")


def _axis(longest: int, height: int) -> Iterator[Markup]:
    for hour in range(0, longest // 60 + 1, 3):
        x = _LEFT + 60 * hour
        yield tag("path", class_="grid", d=f"M{x} {_TOP - 6}V{height}")
        yield tag("text", f"{hour} h", x=x, y=_TOP - 14, class_="hour")


def _sample(name: str) -> Markup:
    path = tag("path", class_=name, d="M28 15h4" if name == "down" else "M2 15h56")
    return tag("svg", path, class_="sample", viewBox="0 0 60 30", aria_hidden="true")
