"""The report for people in a terminal: plain text of 80 columns, wider where the terminal is.

Nothing is said by colour, and what senders put into names cannot steer the terminal.
"""

from collections.abc import Iterator, Sequence

from otel_sla.report.document import AgreementReport, ExclusionReport, Report, SeriesReport
from otel_sla.report.notes import each_note
from otel_sla.report.terms import counting_term, each_outcome_term
from otel_sla.report.wording import elapsed_until, printable, version_text, withdrawal_text
from otel_sla.sla.agreement import Agreement, NoData
from otel_sla.sla.periods import DowntimePeriod
from otel_sla.sla.texts import minute_text, moment_text, percent_text, term_percent_text
from otel_sla.sla.uptime import MonthFigures, SpanCounts

WIDTH_MIN = 80

_NOTHING = "-"


def render_table(report: Report, width: int = WIDTH_MIN) -> str:
    """Write the report as text; ends with a line feed.

    Args:
        report: The month.
        width: Columns of the terminal; fewer than 80 count as 80.
    """
    width = max(width, WIDTH_MIN)
    lines = [f"Month {report.month}, generated at {moment_text(report.generated_at.replace(microsecond=0))}"]
    for agreement in report.agreements:
        lines += ["", *_agreement_lines(agreement, width)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def terms_text(agreement: Agreement) -> str:
    """Write the agreement's terms in one sentence.

    A reader of a figure needs them all: each changes what the figure says.
    """
    terms = agreement.downtime
    downtime = f"downtime is an error rate above {term_percent_text(terms.error_rate_above)}"
    if terms.valid_requests_min > 1:
        downtime += f" of at least {terms.valid_requests_min} requests a minute"
    if terms.period_minutes_min > 1:
        downtime += f" for at least {terms.period_minutes_min} minutes"
    silence = {
        NoData.UP: "silence is no downtime",
        NoData.DOWN: "silence is downtime",
        NoData.CARRY: "silence goes on as the minutes before it",
    }[terms.no_data]
    target = term_percent_text(agreement.target)
    return f"at least {target} uptime; {downtime}; {silence}; months in {agreement.time_zone}"


def group_text(report: SeriesReport) -> str:
    """Name a series for people by its group."""
    name = ", ".join(f"{key}={value}" for key, value in report.series.group_text.items()) or "all requests"
    return f"{name} (former)" if report.former else name


def _agreement_lines(report: AgreementReport, width: int) -> Iterator[str]:
    yield from _wrapped(f"{report.agreement.name}: {terms_text(report.agreement)}", width)
    for _, heading, said in (*each_outcome_term(report.agreement), counting_term(report.agreement)):
        yield from _wrapped(f"{heading}: {said}", width)
    start, stop = report.minutes
    yield f"{minute_text(start)} to {minute_text(stop)}, {stop - start} minutes"
    elapsed_stop = elapsed_until(report)
    if elapsed_stop is not None:
        yield f"of which {elapsed_stop - start} have elapsed, until {minute_text(elapsed_stop)}"
    if version_text(report):
        yield version_text(report)
    for note in each_note(report):
        yield from _wrapped(note, width)
    yield ""
    if not report.series:
        if not report.is_as_closed:
            yield "  no requests"
        yield from _alone_lines(report, width)
        return
    yield from _figures_lines(report.series, width)
    for series in report.series:
        if series.figures.downtime_periods or series.exclusions:
            yield ""
            yield from _wrapped(group_text(series), width, indent=2)
            yield from _period_lines(series.figures.downtime_periods)
            yield from _exclusion_lines(series.exclusions, width)
    yield from _alone_lines(report, width)


def _alone_lines(report: AgreementReport, width: int) -> Iterator[str]:
    if report.exclusions:
        yield from ("", "  Exclusions that are meant for no series of the month:")
        yield from _exclusion_lines(report.exclusions, width)


def _figures_lines(reports: Sequence[SeriesReport], width: int) -> Iterator[str]:
    """One line per series; a name that does not fit its column stands on lines of its own above."""
    is_running = any(report.figures.elapsed < report.figures.total for report in reports)
    heads = ["uptime", *(["elapsed part"] if is_running else []), "target", "downtime, allowed", "coverage"]
    cells = [_figure_cells(report.figures, is_running=is_running) for report in reports]
    widths = [max(len(row[at]) for row in [heads, *cells]) for at in range(len(heads))]
    name_width = width - 2 - sum(2 + column for column in widths)
    yield _figure_line("series", heads, name_width, widths)
    for report, row in zip(reports, cells, strict=True):
        name = printable(group_text(report))
        if len(name) > name_width:
            yield from _wrapped(name, width, indent=2)
            name = ""
        yield _figure_line(name, row, name_width, widths)
        figures = report.figures
        if figures.down_raw != figures.down:
            uptime = percent_text(figures.monthly_uptime_raw)
            yield f"    before exclusions {uptime}, {figures.down_raw} min of downtime"
        yield from _beside_lines(figures.spans)


def _beside_lines(spans: SpanCounts) -> Iterator[str]:
    """What was counted besides, where there is any of it."""
    said = [f"{spans.spared:,} spared"] if spans.spared else []
    said += [f"{spans.sampled:,} of sampled traces"] if spans.sampled else []
    if said:
        yield f"    of {spans.total:,} spans {', '.join(said)}"


def _figure_line(name: str, cells: Sequence[str], name_width: int, widths: Sequence[int]) -> str:
    figures = "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
    return f"  {name:<{name_width}}{figures}"


def _figure_cells(figures: MonthFigures, *, is_running: bool) -> list[str]:
    elapsed_uptime, coverage = figures.elapsed_uptime, figures.coverage
    elapsed_cells = [_NOTHING if elapsed_uptime is None else percent_text(elapsed_uptime)] if is_running else []
    kept = "kept so far" if is_running else "kept"
    return [
        percent_text(figures.monthly_uptime),
        *elapsed_cells,
        "BREACHED" if figures.is_breached else kept,
        f"{figures.down} of {figures.downtime_minutes_allowed} min",
        _NOTHING if coverage is None else percent_text(coverage, 2),
    ]


def _period_lines(periods: Sequence[DowntimePeriod]) -> Iterator[str]:
    if not periods:
        return
    yield f"    {'downtime from':<17}  {'to':<17}  {'minutes':>7}  {'excluded':>8}  failed of valid"
    for period in periods:
        times = f"{_short(period.start_minute)}  {_short(period.stop_minute)}"
        requests = f"{period.failed} of {period.valid}"
        yield f"    {times}  {period.minutes:>7}  {period.excluded_minutes:>8}  {requests}"
        if period.minutes_in_month != period.minutes:
            yield f"      {period.minutes_in_month} of these minutes fall to this month"


def _exclusion_lines(exclusions: Sequence[ExclusionReport], width: int) -> Iterator[str]:
    if not exclusions:
        return
    yield f"    {'exclusion from':<20}  {'to':<20}  reason"
    for exclusion in exclusions:
        window = exclusion.window
        yield f"    {moment_text(window.start):<20}  {moment_text(window.stop):<20}  {window.reason.value}"
        fate = f"accepted, saved {exclusion.minutes_saved} min"
        if exclusion.withdrawn is not None:
            fate = f"excludes nothing: {withdrawal_text(exclusion, 'UTC')}"
        elif exclusion.refusal is not None:
            fate = f"excludes nothing: {exclusion.refusal.value.replace('_', ' ')}"
        if exclusion.exclusion_id is not None:
            fate = f"exclusion {exclusion.exclusion_id} by {window.recorded_by}: {fate}"
        yield from _wrapped(f"{fate}; {window.note}" if window.note else fate, width, indent=6)


def _short(epoch_minute: int) -> str:
    """A minute's start without its seconds, of which it has none."""
    return minute_text(epoch_minute).removesuffix(":00Z") + "Z"


def _wrapped(text: str, width: int, indent: int = 0) -> Iterator[str]:
    """Break text between words, or within one that is longer than a line."""
    room = width - indent
    rest = printable(text)
    while len(rest) > room:
        at = rest.rfind(" ", 1, room + 1)
        at = at if at > 0 else room
        yield " " * indent + rest[:at]
        rest = rest[at:].lstrip(" ")
    yield " " * indent + rest
