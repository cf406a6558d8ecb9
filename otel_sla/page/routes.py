"""All addresses of the page."""

from otel_sla.page import html
from otel_sla.page.app import PageRoute

ROUTES = (
    PageRoute("/", html.overview, is_live=True),
    PageRoute("/pipeline", html.pipeline, is_live=True, is_for_all=False),
)
