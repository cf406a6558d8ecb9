"""Words and numbers of the report as people read them."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

from otel_sla.report.document import AgreementReport, ExclusionReport, SeriesReport
from otel_sla.sla.months import Month
from otel_sla.sla.texts import percent_text, term_text
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
    """Name a series by its group; one of a former grouping is marked."""
    if report.series.is_overflow:
        name = "all series beyond the limit"
    else:
        pairs = (f"{key} = {value or '(none)'}" for key, value in report.series.group_text.items())
        name = ", ".join(pairs) or "all requests"
    return f"{name} (former)" if report.former else name


def counted_text(count: int, noun: str, plural: str = "") -> str:
    """Write how many.

    >>> counted_text(1, "agreement"), counted_text(2, "agreement"), counted_text(2, "series", "series")
    ('1 agreement', '2 agreements', '2 series')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def percent(ratio: Fraction | None, places: int = 5) -> str:
    """Write a percentage, truncated; a dash where there is none."""
    return "\u2013" if ratio is None else percent_text(ratio, places)


def requests_text(requests: Fraction) -> str:
    """Write a number of requests exactly; adjusted ones (clause 19) may be no whole number.

    >>> requests_text(Fraction(1500)), requests_text(Fraction(4097, 4))
    ('1,500', '1,024.25')
    """
    whole, rest = divmod(requests, 1)
    return f"{whole:,}{term_text(rest)[1:] if rest else ''}"


def verdict_text(figures: MonthFigures) -> str:
    """Say what became of the promise."""
    if figures.is_breached:
        return "broken"
    return "kept so far" if figures.elapsed < figures.total else "kept"


def elapsed_until(report: AgreementReport) -> int | None:
    """Give the epoch minute up to which a running month's figures speak; None for a month that is over."""
    elapsed = min((series.figures.elapsed for series in report.series), default=report.minutes.n_minutes)
    elapsed = elapsed if report.elapsed is None else report.elapsed
    return None if elapsed == report.minutes.n_minutes else report.minutes.start_minute + elapsed


def version_text(report: AgreementReport) -> str:
    """Say which version of the agreement the month is judged by; empty where the ledger knows of none."""
    if report.version is None:
        by = "Judged by the terms as they are configured now" if report.closed_version is not None else ""
    else:
        by = f"Judged by version {report.version} of the agreement"
    if report.closed_version is None:
        return by
    if report.version == report.closed_version:
        return f"{by}, which closed the month"
    return f"{by}; the month was closed by version {report.closed_version}"


def withdrawal_text(exclusion: ExclusionReport, time_zone: str) -> str:
    """Say who took a window back, when and why; empty for one that holds."""
    withdrawn = exclusion.withdrawn
    if withdrawn is None:
        return ""
    return f"withdrawn by {withdrawn.by}, {moment_in(withdrawn.at, time_zone)}: {withdrawn.why}"


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


def printable(text: str) -> str:
    """Replace what is no visible character: escape sequences in a name are text here, and steer no terminal."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text)
