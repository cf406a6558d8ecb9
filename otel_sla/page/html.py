"""Pages for people: each handler puts together what its template shows."""

from jinja2 import ChoiceLoader, PackageLoader

from otel_sla.page.app import Content, View
from otel_sla.report.html.page import TEMPLATES

_HTML = "text/html"
_TEMPLATES = TEMPLATES.overlay(
    loader=ChoiceLoader([PackageLoader("otel_sla.page"), PackageLoader("otel_sla.report.html", "")])
)


def _render(name: str, view: View, **values: object) -> Content:
    text = _TEMPLATES.get_template(name).render(view=view, settings=view.settings, **values)
    return Content(text.encode(), _HTML)


async def overview(view: View) -> Content:
    """`/`: each agreement's verdict, its budget, what happens now, and the days of its series."""
    return _render("overview.html.j2", view)


async def pipeline(view: View) -> Content:
    """`/pipeline`: whether spans arrive, and what becomes of them."""
    return _render("pipeline.html.j2", view)
