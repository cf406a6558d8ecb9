"""What is so in the newest judged minute."""

from typing import NamedTuple

from otel_sla.page.figures import AgreementMonths, MonthDays
from otel_sla.sla.agreement import ExclusionWindow


class SeriesNow(NamedTuple):
    """One series in the newest judged minute."""

    windows: list[ExclusionWindow]  # Accepted ones that the minute lies in.
    down_from: int | None  # Epoch minute; None: it is not down, or excluded.


def newest_months(months: AgreementMonths) -> list[MonthDays]:
    """Give the newest two, the newest first: a downtime may go on over the edge of both."""
    return [months.months[month] for month in sorted(months.months, reverse=True)[:2]]


def series_now(months: AgreementMonths, series_id: int, judged_before: int) -> SeriesNow:
    """Find out how a series is."""
    reports = [report for each in newest_months(months) if (report := each.series.get(series_id)) is not None]
    windows = [
        exclusion.window
        for each in reports
        for exclusion in each.exclusions
        if exclusion.refusal is None
        and exclusion.window.minutes.start_minute < judged_before <= exclusion.window.minutes.stop_minute
    ]
    starts = [
        period.start_minute
        for each in reports
        for period in each.figures.downtime_periods[-1:]
        if period.stop_minute == judged_before
    ]
    return SeriesNow(windows, min(starts) if starts and not windows else None)
