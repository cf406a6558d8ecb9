"""All addresses of the page."""

from otel_sla.page import html
from otel_sla.page.app import PageRoute

# An agreement's name may hold any sign, slashes too.
ROUTES = (
    PageRoute("/", html.overview, is_live=True),
    PageRoute("/agreements/{name:path}/history", html.history),
    PageRoute("/agreements/{name:path}/series/{series_id:int}", html.series),
    PageRoute("/agreements/{name:path}/{month}", html.report),
    PageRoute("/exclusions", html.exclusions, is_for_all=False),
    PageRoute("/pipeline", html.pipeline, is_live=True, is_for_all=False),
)
