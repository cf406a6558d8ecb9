"""What the page draws: days as bars, a month's budget, a day's error rate. Numbers in, paths of SVG out.

A state is seen by its height and pattern besides its colour, as in the report's calendar.

Dimensions:
    n_days: consecutive days.
    n_minutes: consecutive minutes.
"""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

from otel_sla.arrays import Int64Array
from otel_sla.page.figures import N_COLUMNS
from otel_sla.report.html.calendar import broken_line
from otel_sla.sla.downtime import MinuteState

N_STATES = len(MinuteState)
BUDGET_WIDTH, BUDGET_HEIGHT = 320, 72
RATE_HEIGHT = 120

# Class of a bar -> what it means. The order is that of drawing.
BARS = {
    "up": "no downtime",
    "no-data": "no data",
    "excluded": "excluded minutes, no downtime",
    "down": "downtime",
    "long": "more downtime than the whole month allows",
}


def draw_bars(days: Int64Array, minutes_allowed: int) -> dict[str, str]:
    """Draw each day as a bar: class -> path in a view box of n_days times 20; only what occurs.

    Args:
        days: int64[n_days, N_COLUMNS], as in `figures.MonthDays`. A day of which nothing is known is 0.
        minutes_allowed: Downtime that the month allows.
    """
    down = days[:, MinuteState.DOWN]
    is_excluded = (down == 0) & (days[:, MinuteState.EXCLUDED] > 0)
    is_up = (down == 0) & ~is_excluded & (days[:, MinuteState.UP] > 0)
    is_long = (down > 0) & (down > minutes_allowed)
    masks = {
        "up": is_up,
        "no-data": (down == 0) & ~is_excluded & ~is_up & (days[:, :N_STATES].sum(axis=1) > 0),
        "excluded": is_excluded,
        "down": (down > 0) & ~is_long,
        "long": is_long,
    }
    return {name: line for name, mask in masks.items() if (line := broken_line(mask))}


def write_days(days: Int64Array) -> str:
    """Write the days' figures for the script, days alike in one: `first+count:down,excluded,no data`.

    Days that are nothing but up are left out; of a day of which nothing is known there are no figures.

    >>> write_days(np.array([[0] * 7, [0] * 7, [1440, 0, 0, 0, 0, 9, 0], [1430, 10, 0, 0, 0, 9, 9]]))
    '0+2: 3+1:10,0,0'
    """
    shown = np.zeros((len(days), 4), dtype=np.int64)
    shown[:, 0] = days[:, :N_STATES].sum(axis=1) > 0
    shown[:, 1:3] = days[:, [MinuteState.DOWN, MinuteState.EXCLUDED]]
    shown[:, 3] = days[:, [MinuteState.NO_DATA, MinuteState.LOW_TRAFFIC]].sum(axis=1)
    starts = [0, *(np.flatnonzero((shown[1:] != shown[:-1]).any(axis=1)) + 1).tolist(), len(shown)]
    runs = [
        f"{start}+{stop - start}:{','.join(map(str, figures)) if is_known else ''}"
        for start, stop in pairwise(starts)
        for is_known, *figures in [shown[start].tolist()]
        if not is_known or any(figures)
    ]
    return " ".join(runs)


@dataclass(frozen=True, slots=True)
class DrawnBudget:
    """How a month's downtime has grown, against what is allowed."""

    line: str  # In a view box of BUDGET_WIDTH times BUDGET_HEIGHT.
    area: str  # Below the line.
    allowed_y: float
    now_x: float
    now_y: float


def draw_budget(down: Int64Array, n_days: int, minutes_allowed: int) -> DrawnBudget:
    """Draw it.

    Args:
        down: int64[n_elapsed_days], minutes down of each day.
        n_days: Of the whole month.
        minutes_allowed: Downtime that the month allows.
    """
    total = [0, *np.cumsum(down).tolist()]
    scale = BUDGET_HEIGHT / (1.2 * max(minutes_allowed, total[-1], 1))
    places = [
        (round(BUDGET_WIDTH * day / n_days, 1), round(BUDGET_HEIGHT - minutes * scale, 1))
        for day, minutes in enumerate(total)
    ]
    line = "".join(f"{'L' if n else 'M'}{x:g} {y:g}" for n, (x, y) in enumerate(places))
    now_x, now_y = places[-1]
    allowed_y = round(BUDGET_HEIGHT - minutes_allowed * scale, 1)
    return DrawnBudget(line, f"{line}V{BUDGET_HEIGHT}H0z", allowed_y, now_x, now_y)


@dataclass(frozen=True, slots=True)
class DrawnRate:
    """A day's error rate, minute by minute, against its limit."""

    line: str  # In a view box of the day's minutes times RATE_HEIGHT; broken where there is no data.
    dots: str  # Minutes with data between minutes without, which are too short for a line to be seen.
    limit_y: float
    top: Fraction  # The ratio at the upper edge.


def draw_rate(valid: Int64Array, failed: Int64Array, limit: Fraction) -> DrawnRate:
    """Draw it.

    Args:
        valid: int64[n_minutes], requests.
        failed: int64[n_minutes].
        limit: Above it is downtime.
    """
    has_data = valid > 0
    rates = np.full(len(valid), np.nan)
    rates[has_data] = failed[has_data].astype(np.float64) / valid[has_data].astype(np.float64)
    highest = Fraction(float(np.nanmax(rates))).limit_denominator(1000) if has_data.any() else Fraction(0)
    top = min(Fraction(1), max(2 * limit, highest * 11 / 10, Fraction(1, 100)))
    heights = np.round(RATE_HEIGHT - rates / float(top) * RATE_HEIGHT, 1)
    beside = np.concatenate(([False], has_data, [False]))
    alone = np.flatnonzero(has_data & ~beside[:-2] & ~beside[2:])
    dots = "".join(f"M{minute}.5 {heights[minute]:g}h0" for minute in alone.tolist())
    line: list[str] = []
    before = None
    for minute, height in enumerate(heights.tolist()):
        if np.isnan(height):
            before = None
        elif before is None:
            line.append(f"M{minute} {height:g}h1")
        else:
            line.append(f"V{height:g}h1" if height != before else "h1")
        before = None if np.isnan(height) else height
    return DrawnRate("".join(line), dots, round(RATE_HEIGHT - float(limit / top) * RATE_HEIGHT, 1), top)


assert N_COLUMNS == N_STATES + 2, "a day has its states first"
