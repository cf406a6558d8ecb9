"""Badges: an agreement's or a series' month as a small picture, in the look that shields.io has made common."""

import unicodedata
from html import escape

from starlette.exceptions import HTTPException

from otel_sla.page.api import month_sections, running_month
from otel_sla.page.app import Content, View
from otel_sla.page.parameters import LABEL, MONTH
from otel_sla.report.document import SeriesReport
from otel_sla.report.wording import percent, printable, verdict_text

_MAX_AGE_S = 60
_PADDING = 5
# Darker than those of shields.io: white text on them has a contrast of 4.5 and more.
_KEPT, _BREACHED, _UNKNOWN = "#2b7a0b", "#c0392b", "#6b6b6b"
_WIDE = 12.0  # Signs of East Asia.
_OTHER = 7.5
# Advances of Verdana at 11 px, to the tenth.
_WIDTHS = {
    sign: width
    for width, signs in (
        *((3.0, "ijl'"), (3.9, " ft,.r"), (5.0, '()-/:;[]\\|I"J'), (5.7, "csz?k"), (6.6, "aeghnoubdpqvxyLF")),
        *((7.0, "0123456789$_*{}YTE"), (7.7, "ABCKPRSVXZ~"), (8.5, "DGHNOQU#+<=>^&w"), (10.8, "mMW%@")),
    )
    for sign in signs
}


async def badge(view: View) -> Content:
    """`/badge/{agreement}.svg`: of its worst series."""
    return await _badge(view, view.request.path_params["agreement"], None)


async def series_badge(view: View) -> Content:
    """`/badge/{agreement}/{series_id}.svg`; that of an agreement whose name ends like this goes before it."""
    whole = view.request.scope["path"].removeprefix("/badge/").removesuffix(".svg")
    if any(each.agreement.name == whole for each in view.agreements):
        return await _badge(view, whole, None)
    return await _badge(view, view.request.path_params["agreement"], view.request.path_params["series_id"])


async def _badge(view: View, name: str, series_id: int | None) -> Content:
    agreement = view.agreement(name)
    if series_id is not None:
        known = view.figures.series[series_id] if series_id < len(view.figures.series) else None
        if known is None or known.agreement != agreement.agreement.name:
            raise HTTPException(404, "there is no such series")
    month = MONTH.of(view.request) or running_month(view, [agreement])
    (section,) = await month_sections(view, [agreement], month)
    found = [each for each in section.series if series_id in (None, each.series.series_id)]
    worst = min(found, key=lambda each: each.figures.monthly_uptime, default=None)
    label = LABEL.of(view.request) or "uptime"
    return Content(draw(label, *_value(worst)).encode(), "image/svg+xml", max_age_s=_MAX_AGE_S)


def _value(report: SeriesReport | None) -> tuple[str, str]:
    if report is None:
        return "no data", _UNKNOWN
    figures = report.figures
    colour = _BREACHED if figures.is_breached else _KEPT
    return f"{percent(figures.monthly_uptime, 3)}, {verdict_text(figures).lower()}", colour


def draw(label: str, value: str, colour: str) -> str:
    """Draw a badge."""
    label, value = printable(label), printable(value)
    texts = [(label, text_width(label)), (value, text_width(value))]
    left, right = (round(width) + 2 * _PADDING for _, width in texts)
    drawn = "".join(
        f'<text x="{x:.1f}" y="{y}" textLength="{width:.1f}"{shade}>{escape(text)}</text>'
        for (text, width), x in zip(texts, (left / 2, left + right / 2), strict=True)
        for y, shade in ((15, ' fill="#010101" fill-opacity=".3" aria-hidden="true"'), (14, ""))
    )
    title = escape(f"{label}: {value}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" aria-label="{title}">'
        f"<title>{title}</title>"
        '<linearGradient id="shine" x2="0" y2="100%"><stop offset="0" stop-color="#bbb" stop-opacity=".1"/>'
        '<stop offset="1" stop-opacity=".1"/></linearGradient>'
        f'<clipPath id="round"><rect width="{left + right}" height="20" rx="3"/></clipPath>'
        f'<g clip-path="url(#round)"><rect width="{left}" height="20" fill="#555"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{colour}"/>'
        f'<rect width="{left + right}" height="20" fill="url(#shine)"/></g>'
        '<g fill="#fff" text-anchor="middle" font-family="Verdana,Geneva,DejaVu Sans,sans-serif" font-size="11"'
        f' text-rendering="geometricPrecision">{drawn}</g></svg>'
    )


def text_width(text: str) -> float:
    """Give about the width that a text has in Verdana at 11 px; it is drawn to fill it exactly."""
    return sum(_WIDTHS.get(sign, _WIDE if unicodedata.east_asian_width(sign) in "WF" else _OTHER) for sign in text)
