"""The report as one HTML file that needs nothing else: for screens, light or dark, and for paper.

It runs no script and loads nothing. What senders put into names is text in it.
"""

import re
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from otel_sla import __version__
from otel_sla.report import wording
from otel_sla.report.document import Report, SeriesReport, by_badness
from otel_sla.report.html.calendar import LEGEND, draw_month
from otel_sla.report.notes import each_note
from otel_sla.report.terms import each_term
from otel_sla.sla.figures_text import counted, term_text

# Series with a section of their own. A page with a calendar for each of a thousand would not be read, nor printed.
SECTIONS_MAX = 50

_PERCENT = re.compile(r"(?<=\d) %")


def render_html(report: Report, periods_max: int = 200) -> str:
    """Write the report as an HTML document.

    Args:
        report: With the single minutes of `SECTIONS_MAX` series of each agreement (`document.draw_worst`).
        periods_max: So many downtime periods of each series are listed: a series that flaps has thousands.
    """
    return TEMPLATES.get_template("page.html.j2").render(
        report=report, generated=wording.generated_text(report), periods_max=periods_max
    )


def _written(value: object) -> object:
    """Make a value fit to stand in a page; Jinja escapes it then, unless it is markup of a macro.

    Characters that cannot be seen, or that turn the reading order, are replaced. No line is broken between a number and
    its percent sign. A sender's own no-break spaces do not pass for spaces.
    """
    if hasattr(value, "__html__"):
        return value
    return _PERCENT.sub("\u00a0%", wording.printable(str(value), besides="\n"))


def _worst(series: Sequence[SeriesReport]) -> list[SeriesReport]:
    return sorted(series, key=by_badness)[:SECTIONS_MAX]


def _anchor(number: int, series: SeriesReport) -> str:
    return f"a{number}-s{series.series.series_id}"


# Reads the package's own templates, the only files that the core reads.
TEMPLATES = Environment(
    loader=PackageLoader("otel_sla.report.html", ""),
    autoescape=True,
    finalize=_written,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
TEMPLATES.filters |= {"percent": wording.percent, "term": term_text, "thousands": "{:,}".format, "worst": _worst}
_FUNCTIONS = (
    *(each_note, each_term, draw_month, counted, wording.absence_text, wording.breached_text, wording.group_text),
    *(wording.moment_in, wording.month_name, wording.range_text, wording.requests_text, wording.short_minute),
    *(wording.verdict_text, wording.version_text, wording.withdrawal_text, wording.words_of),
)
TEMPLATES.globals |= {"version": __version__, "LEGEND": LEGEND, "anchor": _anchor}
TEMPLATES.globals |= {function.__name__: function for function in _FUNCTIONS}
