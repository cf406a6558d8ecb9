"""A series' month drawn minute by minute: one row for each local day, in a table whose words grow with the reader's.

A state is seen by its height and stripes besides its colour, so that the drawing can be read without any, and at any
width: what varies along a day would be lost on a telephone. One unit is one minute.
"""

from dataclasses import dataclass
from datetime import date

from otel_sla.arrays import BoolArray
from otel_sla.sla.counts import MINUTES_PER_DAY
from otel_sla.sla.downtime import JudgedMinutes, MinuteState, is_state, runs
from otel_sla.sla.months import MinuteRange, Month, day_ranges

_DOWN_WIDTH_MIN = 4  # A minute of downtime has to be seen on paper.
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


@dataclass(frozen=True, slots=True)
class DrawnDay:
    """One row of the calendar."""

    date: date
    minutes: MinuteRange
    lines: dict[str, str]  # Class of the drawing -> path in a view box that is 20 high; only what occurs.
    n_down: int
    n_excluded: int

    @property
    def name(self) -> str:
        """Weekday and number; a star where the clock is changed."""
        star = "" if self.minutes.n_minutes == MINUTES_PER_DAY else "*"
        return f"{_WEEKDAYS[self.date.weekday()]} {self.date.day}{star}"


def draw_month(states: JudgedMinutes, month: Month, time_zone: str) -> list[DrawnDay]:
    """Draw a month that is local to the time zone, a row for each day; states before or behind it are left out."""
    is_excluded = is_state(states.adjusted, MinuteState.EXCLUDED)
    was_down = is_state(states.raw, MinuteState.DOWN)
    masks = {
        "up": is_state(states.adjusted, MinuteState.UP),
        "no-data": is_state(states.adjusted, MinuteState.NO_DATA),
        "low-traffic": is_state(states.adjusted, MinuteState.LOW_TRAFFIC),
        "excluded": is_excluded & ~was_down,
        "saved": is_excluded & was_down,
        "down": is_state(states.adjusted, MinuteState.DOWN),
    }
    return [
        _draw_day(day, minutes, masks, [minute - states.start_minute for minute in minutes])
        for day, minutes in day_ranges(month, time_zone)
    ]


def _draw_day(day: date, minutes: MinuteRange, masks: dict[str, BoolArray], indices: list[int]) -> DrawnDay:
    start, stop = (max(index, 0) for index in indices)
    of_day = {name: mask[start:stop] for name, mask in masks.items()}
    lines = {name: broken_line(mask, _DOWN_WIDTH_MIN if name == "down" else 1) for name, mask in of_day.items()}
    return DrawnDay(
        day,
        minutes,
        {name: line for name, line in lines.items() if line},
        n_down=int(of_day["down"].sum()),
        n_excluded=int((of_day["saved"] | of_day["excluded"]).sum()),
    )


def broken_line(mask: BoolArray, width_min: int = 1) -> str:
    """Draw where a mask is set as one broken line at the height 10; CSS makes it as thick as the state needs.

    A month in which every other minute is another state has twenty thousand stretches: each is a few bytes.

    >>> import numpy as np
    >>> broken_line(np.array([True, True, False, True]))
    'M0 10h2m1 0h1'
    """
    line: list[str] = []
    place = None
    for start, stop in runs(mask).tolist():
        # Relative steps are shorter to write than absolute ones.
        line.append(f"M{start} 10" if place is None else f"m{start - place} 0")
        width = max(stop - start, width_min)
        line.append(f"h{width}")
        place = start + width
    return "".join(line)
