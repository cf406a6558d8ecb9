"""The report as one HTML file that needs nothing else: for screens, light or dark, and for paper.

It runs no script and loads nothing. What senders put into names is text in it.
"""

from collections.abc import Iterator, Sequence

from otel_sla import __version__
from otel_sla.report.document import AgreementReport, Report, SeriesReport, by_badness
from otel_sla.report.html.calendar import legend, pattern_definitions
from otel_sla.report.html.markup import Child, Markup, join, table, tag
from otel_sla.report.html.series import exclusions_alone_section, series_section
from otel_sla.report.html.style import STYLE
from otel_sla.report.notes import each_note
from otel_sla.report.terms import each_term
from otel_sla.report.wording import (
    absence_text,
    breached_text,
    generated_text,
    group_text,
    month_name,
    percent,
    range_text,
    verdict_text,
    version_text,
)

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
    moment = generated_text(report)
    body = tag(
        "body",
        pattern_definitions(),
        tag("header", tag("h1", title), tag("p", f"{moment[:1].upper()}{moment[1:]}", class_="quiet")),
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
        tag("p", range_text(section), class_="quiet"),
        tag("p", version_text(section), class_="quiet") if version_text(section) else "",
        *(tag("p", note) for note in each_note(section)),
        _verdict(section),
        _overview(section, anchors) if section.series else tag("p", absence_text(section)),
        _left_out(section, len(chosen)),
        _terms(section),
        legend() if chosen else "",
        *(series_section(series, section, report.month, anchors[series.series.series_id]) for series in chosen),
        *exclusions_alone_section(section),
    )


def _verdict(section: AgreementReport) -> Markup:
    """Say first how it ended."""
    is_breached = any(series.figures.is_breached for series in section.series)
    kind = "" if not section.series else " breached" if is_breached else " kept"
    return tag("p", breached_text(section), class_=f"verdict{kind}")


def _overview(section: AgreementReport, anchors: dict[int, str]) -> Markup:
    is_running = any(series.figures.elapsed < series.figures.total for series in section.series)
    head = [
        "Series",
        "Target",
        "Monthly uptime",
        *(["Elapsed part"] if is_running else []),
        "Downtime of allowed",
        "Coverage",
        "Failed of valid",
    ]
    rows = [_overview_row(series, anchors, is_running=is_running) for series in section.series]
    return table(head, rows, "figures", "Figures of the month")


def _overview_row(series: SeriesReport, anchors: dict[int, str], *, is_running: bool) -> list[Child]:
    figures = series.figures
    name: Markup = tag("bdi", group_text(series))
    anchor = anchors.get(series.series.series_id)
    raw: list[Child] = []
    if figures.down_raw != figures.down:
        before = f"before exclusions {percent(figures.monthly_uptime_raw)}"
        raw = [Markup("<br/>"), tag("span", before, class_="quiet")]
    return [
        name if anchor is None else tag("a", name, href=f"#{anchor}"),
        tag("span", verdict_text(figures), class_="breached" if figures.is_breached else "kept"),
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
    return table(["Term", "Agreed", "Clause"], rows, "terms", "What was agreed")


def _footer(moment: str) -> Markup:
    return tag("footer", tag("p", join(_footer_words(moment))), class_="quiet")


def _footer_words(moment: str) -> Iterator[str]:
    yield f"Written by otel-sla {__version__}, {moment}. "
    yield "Every figure is exact before it is shown; percentages are cut off, never rounded up. "
    yield "The JSON report of the same month has the same figures for programs."
