"""A series' month drawn minute by minute: one row for each local day, in a table whose words grow with the reader's.

A state is seen by its height and stripes besides its colour, so that the drawing can be read without any, and at any
width: what varies along a day would be lost on a telephone. One unit is one minute.
"""

from collections.abc import Iterator, Sequence
from datetime import date

from otel_sla.arrays import BoolArray, Int64Array
from otel_sla.report.html.markup import Markup, tag
from otel_sla.report.wording import month_name
from otel_sla.sla.downtime import JudgedMinutes, MinuteState, is_state, runs
from otel_sla.sla.figures_text import counted
from otel_sla.sla.months import MinuteRange, Month, day_ranges

HEIGHT = 20
_MIDDLE = HEIGHT // 2
_MINUTES_PER_DAY = 1440
_DOWN_WIDTH_MIN = 4  # A minute of downtime has to be seen on paper.
_HOURS_MAX = 27  # The longest local day there was, and some.

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

# Class of the drawing -> what it means. The order is that of drawing: what comes later lies above.
LEGEND = {
    "up": "up",
    "no-data": "no data: no valid request",
    "low-traffic": "low traffic: too few requests to judge",
    "excluded": "excluded",
    "saved": "excluded, and would have been down",
    "down": f"down; drawn at least {_DOWN_WIDTH_MIN} minutes wide",
}


def pattern_definitions() -> Markup:
    """Give what drawings refer to; needed once in a document, before the first drawing."""
    hours = "".join(f"M{60 * hour} 0V{HEIGHT}" for hour in range(0, _HOURS_MAX, 3))
    return Markup(
        '<svg width="0" height="0" class="definitions" aria-hidden="true"><defs>'
        f'<path id="hours" d="{hours}"/>'
        f'<pattern id="edges" width="60" height="{HEIGHT}" patternUnits="userSpaceOnUse">'
        '<path class="ink" d="M0 4h60M0 16h60"/></pattern>'
        f'<pattern id="bars" width="60" height="{HEIGHT}" patternUnits="userSpaceOnUse">'
        '<path class="strong" d="M0 2.5h60M0 10h60M0 17.5h60"/></pattern>'
        f'<pattern id="floor" width="60" height="{HEIGHT}" patternUnits="userSpaceOnUse">'
        '<path class="low" d="M0 17h60"/></pattern></defs></svg>'
    )


def legend() -> Markup:
    """Explain the drawings."""
    return tag("ul", *(tag("li", _sample(name), meaning) for name, meaning in LEGEND.items()), class_="legend")


def draw_calendar(states: JudgedMinutes, month: Month, time_zone: str, series_name: str) -> Markup:
    """Draw a month as a table, a row for each day, with what it shows in words.

    Args:
        states: Hold the month's elapsed minutes; what they hold before or behind it is left out.
        month: Local to the time zone.
        time_zone: IANA name.
        series_name: Whose month it is, for those who hear the page or jump to this table.
    """
    days = day_ranges(month, time_zone)
    month_start, month_stop = days[0][1].start_minute, days[-1][1].stop_minute
    states = states.part(max(states.start_minute, month_start), min(states.stop_minute, month_stop))
    longest = max(minutes.n_minutes for _, minutes in days)
    masks = _masks(states)
    n_down = counted(int(masks["down"].sum()), "minute")
    return tag(
        "table",
        tag("caption", f"{series_name}, {month_name(month)}: {n_down} down. {_explanation(days, time_zone)}"),
        tag("thead", tag("tr", tag("th", "Day", scope="col"), tag("th", _axis(longest)), tag("th", scope="col"))),
        tag("tbody", *(_day_row(day, minutes, masks, states, longest) for day, minutes in days)),
        class_="calendar",
    )


def _explanation(days: Sequence[tuple[date, MinuteRange]], time_zone: str) -> str:
    said = f"A row is a day in {time_zone}, drawn by the hours since its midnight; what has not elapsed is blank."
    for day, minutes in days:
        if minutes.n_minutes != _MINUTES_PER_DAY:
            said += f" * The clock is changed on {day.isoformat()}: it has {minutes.n_minutes / 60:g} h."
    return said


def _day_row(
    day: date, minutes: MinuteRange, masks: dict[str, BoolArray], states: JudgedMinutes, longest: int
) -> Markup:
    start, stop = (min(max(minute - states.start_minute, 0), len(states.raw)) for minute in minutes)
    of_day = {name: mask[start:stop] for name, mask in masks.items()}
    drawn = [
        tag("path", class_=name, d=line)
        for name, mask in of_day.items()
        if (line := "".join(_line(runs(mask), _DOWN_WIDTH_MIN if name == "down" else 1)))
    ]
    hours = tag("use", href="#hours", class_="grid")
    drawing = tag(
        "svg", hours, *drawn, viewBox=f"0 0 {longest} {HEIGHT}", preserveAspectRatio="none", aria_hidden="true"
    )
    down, excluded = int(of_day["down"].sum()), int((of_day["saved"] | of_day["excluded"]).sum())
    said = ", ".join(filter(None, (f"{down:,} down" * (down > 0), f"{excluded:,} excl." * (excluded > 0))))
    star = "" if minutes.n_minutes == _MINUTES_PER_DAY else "*"
    name = f"{_WEEKDAYS[day.weekday()]} {day.day}{star}"
    return tag("tr", tag("th", name, scope="row"), tag("td", drawing), tag("td", said))


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


def _line(stretches: Int64Array, width_min: int) -> Iterator[str]:
    """Write stretches of a day as one broken line; CSS makes it as thick as the state needs.

    A month in which every other minute is another state has twenty thousand stretches: each is a few bytes.
    """
    place = None
    for start, stop in stretches.tolist():
        # Relative steps are shorter to write than absolute ones.
        yield f"M{start} {_MIDDLE}" if place is None else f"m{start - place} 0"
        width = max(stop - start, width_min)
        yield f"h{width}"
        place = start + width


def _axis(longest: int) -> Markup:
    """Name every third hour; without a view box, so that letters keep their shape at any width."""
    names = (
        tag("text", f"{hour} h", x=f"{100 * 60 * hour / longest:.4g}%", y="80%")
        for hour in range(0, longest // 60 + 1, 3)
    )
    return tag("svg", *names, class_="axis", aria_hidden="true")


def _sample(name: str) -> Markup:
    path = tag("path", class_=name, d=f"M28 {_MIDDLE}h4" if name == "down" else f"M0 {_MIDDLE}h60")
    return tag("svg", path, class_="sample", viewBox=f"0 0 60 {HEIGHT}", aria_hidden="true")
