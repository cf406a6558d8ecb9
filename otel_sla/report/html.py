"""The report as one HTML file that needs nothing else: for screens, light or dark, and for paper.

It runs no script and loads nothing. What senders put into names is text in it.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC

from otel_sla import __version__
from otel_sla.report.calendar import legend, pattern_definitions
from otel_sla.report.document import AgreementReport, Report, SeriesReport, by_badness
from otel_sla.report.html_series import exclusions_alone_section, series_section
from otel_sla.report.markup import Child, Markup, join, table, tag
from otel_sla.report.notes import each_note
from otel_sla.report.style import STYLE
from otel_sla.report.terms import each_term
from otel_sla.report.wording import (
    elapsed_until,
    group_name,
    month_name,
    percent,
    short_minute,
    verdict_text,
    version_text,
)
from otel_sla.sla.texts import moment_text, term_percent_text

# Series with a section of their own. A page with a calendar for each of a thousand would not be read, nor printed.
SECTIONS_MAX = 50

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render_html(report: Report) -> str:
    """Write the report as an HTML document.

    Args:
        report: With the single minutes of `SECTIONS_MAX` series of each agreement (`document.draw_worst`); a series
            without them has no calendar.
    """
    title = f"Monthly uptime, {month_name(report.month)}"
    names = ", ".join(section.agreement.name for section in report.agreements)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("title", f"{title}: {names}" if names else title),
        tag("style", STYLE),
    )
    moment = moment_text(report.generated_at.astimezone(UTC).replace(microsecond=0))
    body = tag(
        "body",
        pattern_definitions(),
        tag("header", tag("h1", title), tag("p", f"Generated at {moment}", class_="quiet")),
        tag(
            "main",
            *(_agreement_section(report, section, number) for number, section in enumerate(report.agreements)),
        ),
        _footer(moment),
    )
    return "<!DOCTYPE html>\n" + tag("html", head, "\n", body, lang="en") + "\n"


def _agreement_section(report: Report, section: AgreementReport, number: int) -> Markup:
    agreement = section.agreement
    chosen = sorted(section.series, key=by_badness)[:SECTIONS_MAX]
    anchors = {series.series.series_id: f"a{number}-s{series.series.series_id}" for series in chosen}
    return tag(
        "section",
        tag("h2", tag("bdi", agreement.name)),
        tag("p", _range_text(section), class_="quiet"),
        tag("p", version_text(section), class_="quiet") if version_text(section) else "",
        *(tag("p", note) for note in each_note(section)),
        _verdict(section),
        _overview(section, anchors) if section.series else _no_series(section),
        _left_out(section, len(chosen)),
        tag("h4", "What was agreed"),
        _terms(section),
        legend() if chosen else "",
        *(series_section(series, section, report.month, anchors[series.series.series_id]) for series in chosen),
        *exclusions_alone_section(section),
    )


def _no_series(section: AgreementReport) -> Child:
    return "" if section.is_as_closed else tag("p", "No requests were counted in this month.")


def _range_text(section: AgreementReport) -> str:
    start, stop = section.minutes
    zone = section.agreement.time_zone
    words = f"{short_minute(start, zone)} to {short_minute(stop, zone)}, {zone}: {section.minutes.n_minutes:,} minutes"
    elapsed_stop = elapsed_until(section)
    if elapsed_stop is None:
        return words
    return f"{words}, of which {elapsed_stop - start:,} have elapsed, until {short_minute(elapsed_stop, zone)}"


def _verdict(section: AgreementReport) -> Markup:
    """Say first how it ended."""
    n_series = len(section.series)
    n_broken = sum(series.figures.is_breached for series in section.series)
    is_running = any(series.figures.elapsed < series.figures.total for series in section.series)
    promise = f"promise of {term_percent_text(section.agreement.target)} monthly uptime"
    if not n_series:
        return tag("p", f"Nothing to judge: the {promise} is neither kept nor broken.", class_="verdict")
    if n_broken:
        whose = f"by {n_broken} of {n_series} series" if n_series > 1 else ""
        return tag("p", f"\u2717 The {promise} was BROKEN {whose}".rstrip(), class_="verdict broken")
    whose = f" by all {n_series} series" if n_series > 1 else ""
    so_far = " so far" if is_running else ""
    return tag("p", f"\u2713 The {promise} was kept{whose}{so_far}", class_="verdict kept")


def _overview(section: AgreementReport, anchors: dict[int, str]) -> Markup:
    is_running = any(series.figures.elapsed < series.figures.total for series in section.series)
    head: list[Child] = [
        "Series",
        "Promise",
        ["Monthly uptime", Markup("<br/>"), "and before exclusions"],
        *(["Elapsed part"] if is_running else []),
        "Downtime, allowed",
        "Coverage",
        "Failed of valid",
    ]
    rows = [_overview_row(series, anchors, is_running=is_running) for series in section.series]
    return tag("div", table(head, rows, class_="figures"), class_="wide")


def _overview_row(series: SeriesReport, anchors: dict[int, str], *, is_running: bool) -> list[Child]:
    figures = series.figures
    name: Markup = tag("bdi", group_name(series))
    anchor = anchors.get(series.series.series_id)
    raw: list[Child] = []
    if figures.down_raw != figures.down:
        raw = [Markup("<br/>"), tag("span", percent(figures.monthly_uptime_raw), class_="quiet")]
    return [
        name if anchor is None else tag("a", name, href=f"#{anchor}"),
        tag("span", verdict_text(figures), class_="broken" if figures.is_breached else "kept"),
        [percent(figures.monthly_uptime), *raw],
        *([percent(figures.elapsed_uptime)] if is_running else []),
        f"{figures.down:,} of {figures.downtime_minutes_allowed:,} min",
        percent(figures.coverage, 2),
        f"{figures.failed:,} of {figures.valid:,}",
    ]


def _left_out(section: AgreementReport, n_chosen: int) -> Child:
    if len(section.series) == n_chosen:
        return ""
    return tag(
        "p",
        f"The table has all {len(section.series):,} series. The {n_chosen} with the most downtime follow with their"
        " calendars, periods and exclusions; those of the others are in the JSON and CSV reports.",
        class_="quiet",
    )


def _terms(section: AgreementReport) -> Markup:
    rows: Sequence[list[Child]] = [
        [heading, words, tag("span", clauses, class_="clause")]
        for clauses, heading, words in each_term(section.agreement)
    ]
    return table(["Term", "Agreed", "Clause"], rows, class_="terms")


def _footer(moment: str) -> Markup:
    return tag("footer", tag("p", join(_footer_words(moment))), class_="quiet")


def _footer_words(moment: str) -> Iterator[str]:
    yield f"Written by otel-sla {__version__} at {moment}. "
    yield "Every figure is exact before it is shown; percentages are cut off, never rounded up. "
    yield "The JSON report of the same month has the same figures for programs."
