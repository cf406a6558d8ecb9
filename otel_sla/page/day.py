"""One day of one series, minute by minute."""

from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import numpy as np

from otel_sla.arrays import Int64Array
from otel_sla.page.drawing import DrawnRate, draw_rate
from otel_sla.report.document import SeriesMinutes
from otel_sla.report.html.calendar import DrawnDay, draw_month
from otel_sla.sla.agreement import Agreement, Outcome
from otel_sla.sla.downtime import MinuteState
from otel_sla.sla.months import MinuteRange, Month, day_ranges

_STRETCHES_MAX = 200


@dataclass(frozen=True, slots=True)
class DayFigures:
    """One row of the month's days: the columns of `figures.MonthDays`."""

    date: date
    up: int  # Minutes, as the next four.
    down: int
    excluded: int
    low_traffic: int
    no_data: int
    valid: int
    failed: int


@dataclass(frozen=True, slots=True)
class DayPage:
    """The days of a month, and one of them in full."""

    days: tuple[DayFigures, ...]
    shown: DrawnDay | None  # None: its single minutes are not kept, or nothing of it has elapsed.
    rate: DrawnRate | None
    stretches: tuple[tuple[int, int, str], ...]  # First minute, one past the last, state; the first ones.
    n_stretches: int
    previous: date | None
    next: date | None


def day_page(
    agreement: Agreement, month: Month, days: Int64Array | None, minutes: SeriesMinutes | None, asked: str | None
) -> DayPage:
    """Put together the days of a month and the one that is asked for, or else the worst one.

    Args:
        agreement: Of the series.
        month: Local to the agreement.
        days: As in `figures.MonthDays`; None: there are none.
        minutes: The month's elapsed minutes; None: they are not kept.
        asked: `YYYY-MM-DD`; anything else is the worst day.
    """
    if days is None or not len(days):
        return DayPage((), None, None, (), 0, None, None)
    dates = [day for day, _ in day_ranges(month, agreement.time_zone)][: len(days)]
    figures = tuple(DayFigures(day, *row) for day, row in zip(dates, days.tolist(), strict=True))
    place = _place(dates, days, asked)
    before, behind = (dates[each] if 0 <= each < len(dates) else None for each in (place - 1, place + 1))
    if minutes is None:
        return DayPage(figures, None, None, (), 0, before, behind)
    drawn = draw_month(minutes.states, month, agreement.time_zone)[place]
    stretches = tuple(_stretches(minutes, drawn.minutes))
    rate = _rate(agreement, minutes, drawn.minutes)
    return DayPage(figures, drawn, rate, stretches[:_STRETCHES_MAX], len(stretches), before, behind)


def _place(dates: list[date], days: Int64Array, asked: str | None) -> int:
    texts = [day.isoformat() for day in dates]
    if asked in texts:
        return texts.index(asked)
    down = days[:, MinuteState.DOWN]
    return int(down.argmax()) if down.any() else len(dates) - 1


def _rate(agreement: Agreement, minutes: SeriesMinutes, day: MinuteRange) -> DrawnRate:
    first = minutes.counts.start_minute
    cut = slice(max(0, day.start_minute - first), max(0, day.stop_minute - first))
    valid = minutes.counts.valid[cut]
    return draw_rate(valid, minutes.counts.counts[cut, Outcome.FAILED], agreement.downtime.error_rate_above)


def _stretches(minutes: SeriesMinutes, day: MinuteRange) -> list[tuple[int, int, str]]:
    first = minutes.states.start_minute
    states = minutes.states.adjusted[max(0, day.start_minute - first) : max(0, day.stop_minute - first)]
    if not len(states):
        return []
    start = max(day.start_minute, first)
    edges = [0, *(np.flatnonzero(states[1:] != states[:-1]) + 1).tolist(), len(states)]
    return [(start + begin, start + end, MinuteState(states[begin]).wire_name) for begin, end in pairwise(edges)]
