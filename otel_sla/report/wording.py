"""Words and numbers of the report as people read them."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

from otel_sla.report.document import AgreementReport, ExclusionReport, Report, SeriesReport
from otel_sla.sla.figures_text import counted, percent_text, term_percent_text, term_text
from otel_sla.sla.months import EPOCH, Month
from otel_sla.sla.series import Series
from otel_sla.sla.uptime import MonthFigures

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def month_name(month: Month) -> str:
    """Write a month.

    >>> month_name(Month(2026, 11))
    'November 2026'
    """
    return f"{_MONTHS[month.month - 1]} {month.year}"


def group_text(report: SeriesReport) -> str:
    """Name a series as `exclusion add --group` takes it; one of a former grouping is marked."""
    name = series_name(report.series)
    return f"{name} (former)" if report.former else name


def series_name(series: Series) -> str:
    """Name a series."""
    if series.is_overflow:
        return "all series beyond the limit"
    return printable(pairs_text(series.group_text) or "all requests")


def pairs_text(group: Mapping[str, str]) -> str:
    """Write a group's attributes."""
    return ", ".join(f"{key}={value}" for key, value in group.items())


def words_of(name: str) -> str:
    """Write the name of a reason or refusal as words."""
    return name.replace("_", " ")


def generated_text(report: Report) -> str:
    """Say when the report was made, in the agreements' zone; in UTC if they have several."""
    zones = {section.agreement.time_zone for section in report.agreements}
    zone = zones.pop() if len(zones) == 1 else "UTC"
    return f"generated at {moment_in(report.generated_at.replace(microsecond=0), zone)}"


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
    """Say what became of the target."""
    if figures.is_breached:
        return "BREACHED"
    return "kept so far" if figures.elapsed < figures.total else "kept"


def breached_text(report: AgreementReport) -> str:
    """Say how an agreement's month ended, or stands, in one line."""
    n_series = len(report.series)
    n_breached = sum(series.figures.is_breached for series in report.series)
    target = f"target of {term_percent_text(report.agreement.target)} monthly uptime"
    if not n_series:
        return f"Nothing to judge: the {target} is neither kept nor breached."
    if n_breached:
        return f"\u2717 The {target} is BREACHED" + (f" by {n_breached} of {n_series:,} series" if n_series > 1 else "")
    whose = f" by all {n_series:,} series" if n_series > 1 else ""
    return f"\u2713 The {target} is kept{whose}{' so far' if report.is_running else ''}"


def absence_text(report: AgreementReport) -> str:
    """Say why an agreement has no series in the month, and what to do or wait for."""
    absence = report.absence
    if report.is_as_closed:
        return "Its counts are kept no longer (ledger.retention), and it was not closed; a backup has them."
    if absence is None:
        return "No request was counted in this month."
    if absence.requests:
        at = moment_in(absence.judged_at, report.agreement.time_zone)
        verb = "is" if absence.requests == 1 else "are"
        return (
            f"{counted(absence.requests, 'request')} {verb} counted so far, in minutes that cannot be judged yet:"
            f" the first minute is judged at {at}."
        )
    names = ", ".join(map(repr, absence.others))
    return (
        f"No requests were counted for it. The ledger holds those of {counted(len(absence.others), 'other agreement')}:"
        f" {names}. Is this the right configuration? See --config."
    )


def range_text(section: AgreementReport) -> str:
    """Say which minutes the month has, and how many of them have elapsed."""
    start, stop = section.minutes
    zone = section.agreement.time_zone
    words = f"{short_minute(start, zone)} to {short_minute(stop, zone)}: {stop - start:,} minutes"
    elapsed_stop = elapsed_until(section)
    if elapsed_stop is None:
        return words
    n_elapsed = elapsed_stop - start
    verb = "has" if n_elapsed == 1 else "have"
    return f"{words}, of which {n_elapsed:,} {verb} elapsed, until {short_minute(elapsed_stop, zone)}"


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
    return f"withdrawn by {withdrawn.withdrawn_by}, {moment_in(withdrawn.withdrawn_at, time_zone)}: {withdrawn.why}"


def short_minute(epoch_minute: int, time_zone: str) -> str:
    """Write a minute's start, local to the zone, with its offset unless the zone is UTC.

    >>> short_minute(29_701_440, "Asia/Kolkata")
    '2026-06-22 05:30 +05:30'
    """
    return moment_in(EPOCH + timedelta(minutes=epoch_minute), time_zone)


def moment_in(moment: datetime, time_zone: str) -> str:
    """Write a moment, local to the zone, to the minute or as fine as it is."""
    local = moment.astimezone(ZoneInfo(time_zone))
    fineness = "minutes" if local.second == local.microsecond == 0 else "auto"
    words = local.isoformat(" ", timespec=fineness)
    # The offset is as long as the zone's is fine: hours and minutes, of old ones the seconds too.
    at = max(words.rfind("+"), words.rfind("-"))
    return f"{words[:at]} UTC" if time_zone == "UTC" else f"{words[:at]} {words[at:]}"


def printable(text: str, besides: str = "") -> str:
    """Replace what is no visible character: escape sequences in a name are text here, and steer no terminal."""
    return "".join(sign if sign.isprintable() or sign in besides else "\ufffd" for sign in text)
