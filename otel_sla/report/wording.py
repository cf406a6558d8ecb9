"""Words and numbers of the report as people read them."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

from otel_sla.report.document import SeriesReport
from otel_sla.sla.months import Month
from otel_sla.sla.texts import percent_text
from otel_sla.sla.uptime import MonthFigures

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def month_name(month: Month) -> str:
    """Write a month.

    >>> month_name(Month(2026, 11))
    'November 2026'
    """
    return f"{_MONTHS[month.month - 1]} {month.year}"


def group_name(report: SeriesReport) -> str:
    """Name a series by its group."""
    if report.series.is_overflow:
        return "all series beyond the limit"
    return (
        ", ".join(f"{key} = {value or '(none)'}" for key, value in report.series.group_text.items()) or "all requests"
    )


def percent(ratio: Fraction | None, places: int = 5) -> str:
    """Write a percentage, truncated; a dash where there is none."""
    return "\u2013" if ratio is None else percent_text(ratio, places)


def verdict_text(figures: MonthFigures) -> str:
    """Say what became of the promise."""
    if figures.is_breached:
        return "broken"
    return "kept so far" if figures.elapsed < figures.total else "kept"


def short_minute(epoch_minute: int, time_zone: str) -> str:
    """Write a minute's start, local to the zone, with its offset unless the zone is UTC.

    >>> short_minute(29_701_440, "Asia/Kolkata")
    '2026-06-22 05:30 +05:30'
    """
    return moment_in(_EPOCH + timedelta(minutes=epoch_minute), time_zone)


def moment_in(moment: datetime, time_zone: str) -> str:
    """Write a moment, local to the zone, to the minute or as fine as it is."""
    local = moment.astimezone(ZoneInfo(time_zone))
    fineness = "minutes" if local.second == local.microsecond == 0 else "auto"
    words = local.isoformat(" ", timespec=fineness)
    # The offset is as long as the zone's is fine: hours and minutes, of old ones the seconds too.
    at = max(words.rfind("+"), words.rfind("-"))
    return f"{words[:at]} UTC" if time_zone == "UTC" else f"{words[:at]} {words[at:]}"
