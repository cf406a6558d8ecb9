"""Paths of the page's drawings."""

from fractions import Fraction

import numpy as np

from otel_sla.page.drawing import BUDGET_HEIGHT, BUDGET_WIDTH, draw_bars, draw_budget, draw_rate, write_days

UP = [1440, 0, 0, 0, 0, 9, 0]
DOWN = [1430, 10, 0, 0, 0, 9, 9]
OUTAGE = [0, 1440, 0, 0, 0, 9, 9]
EXCLUDED = [1400, 0, 40, 0, 0, 9, 0]
SILENT = [0, 0, 0, 40, 1400, 0, 0]
UNKNOWN = [0] * 7


def test_each_day_is_drawn_once_by_its_worst() -> None:
    """Downtime shows before exclusions, these before up; a day of which nothing is known is blank."""
    lines = draw_bars(np.array([UNKNOWN, UP, UP, DOWN, OUTAGE, EXCLUDED, SILENT]), minutes_allowed=43)
    assert lines == {
        "up": "M1 10h2",
        "no-data": "M6 10h1",
        "excluded": "M5 10h1",
        "down": "M3 10h1",
        "long": "M4 10h1",
    }


def test_the_figures_of_days_alike_are_written_once() -> None:
    """Days without downtime cost nothing; all others can be read back."""
    days = np.array([UNKNOWN, UNKNOWN, UP, UP, DOWN, DOWN, EXCLUDED, SILENT])
    assert write_days(days) == "0+2: 4+2:10,0,0 6+1:0,40,0 7+1:0,0,1440"
    assert write_days(np.array([UP] * 90)) == ""


def test_the_budget_ends_at_the_last_day() -> None:
    """The line begins at nothing, ends at the elapsed day, and meets the allowed line where the budget is used."""
    drawn = draw_budget(np.array([0, 43, 0]), 30, 43)
    assert (drawn.now_x, drawn.now_y) == (BUDGET_WIDTH / 10, drawn.allowed_y)
    assert drawn.line.startswith(f"M0 {BUDGET_HEIGHT}")
    over = draw_budget(np.array([86]), 30, 43)
    assert over.now_y < over.allowed_y, "above the allowed line"
    assert draw_budget(np.array([], dtype=np.int64), 30, 0).now_x == 0, "nothing has elapsed, and nothing is allowed"


def test_silent_minutes_break_the_line() -> None:
    """Without a valid request there is no error rate; the limit is always within the drawing."""
    drawn = draw_rate(np.array([10, 0, 10, 10]), np.array([0, 0, 10, 0]), Fraction(1, 20))
    assert drawn.line == "M0 120h1M2 0h1V120h1"
    assert drawn.dots == "M0.5 120h0", "a single minute is seen"
    assert drawn.top == 1
    assert draw_rate(np.array([0]), np.array([0]), Fraction(1, 20)).limit_y == 60
