"""Which day of which month a bar stands for."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
from page_parts import ShownPage, page_series
from sla_parts import make_agreement

from otel_sla.page.figures import N_COLUMNS
from otel_sla.page.overview import DAYS_SHOWN, _bar_places, days_of
from otel_sla.sla.downtime import MinuteState
from otel_sla.sla.months import Month, month_range


def test_each_bar_is_a_date(tmp_path: Path) -> None:
    """Over four months and a day that the calendar leaves out, each day's minutes stand at its own date."""
    zone = "Pacific/Apia"  # It had no 30 December 2011.
    agreement = make_agreement(time_zone=zone)
    shown = ShownPage(tmp_path, [agreement])
    january = month_range(Month(2012, 1), zone)
    first_down, last_down = january.start_minute - 1, january.start_minute
    rows = [(minute, 0, 1, 0, 0) for minute in range(january.start_minute - 110 * 1440, january.start_minute, 1440)]
    outage = [(first_down, 0, 0, 5, 0), (last_down, 0, 0, 5, 0)]
    shown.count(page_series(["chat-1"]), [*rows, *outage], judged_before=january.start_minute + 60)
    last_day = date(2012, 1, 1)
    days = days_of(_bar_places(shown.page.figures.agreements[0], last_day), 0)
    assert days.shape == (DAYS_SHOWN, N_COLUMNS)
    down = {last_day - timedelta(days=DAYS_SHOWN - 1 - int(bar)) for bar in np.flatnonzero(days[:, MinuteState.DOWN])}
    assert down == {date(2011, 12, 31), date(2012, 1, 1)}
    unknown = [bar for bar in range(DAYS_SHOWN) if not days[bar].any()]
    assert [last_day - timedelta(days=DAYS_SHOWN - 1 - bar) for bar in unknown] == [date(2011, 12, 30)]
