"""All addresses of the page."""

from otel_sla.page import api, badge, feed, html, openapi, statuspage
from otel_sla.page.app import PageRoute
from otel_sla.page.parameters import AGREEMENT, CURSOR, FORMAT, FROM, LABEL, LIMIT, MONTH, TO, Api

_OBJECT = {"application/json": {"type": "object"}}
_PICTURE = {"image/svg+xml": {"type": "string"}}

# An agreement's name may hold any sign, slashes too.
ROUTES = (
    PageRoute("/", html.overview, is_live=True),
    PageRoute("/agreements/{name:path}/history", html.history),
    PageRoute("/agreements/{name:path}/series/{series_id:int}", html.series),
    PageRoute("/agreements/{name:path}/{month}", html.report),
    PageRoute("/exclusions", html.exclusions, is_for_all=False),
    PageRoute("/pipeline", html.pipeline, is_live=True, is_for_all=False),
    PageRoute(
        "/api/v1/report",
        api.report,
        api=Api("The month's report, as otel-sla report writes it.", (MONTH, AGREEMENT, FORMAT), api.REPORT_CONTENTS),
    ),
    PageRoute(
        "/api/v1/live",
        api.live,
        is_live=True,
        api=Api("Requests of the running and the last minutes, not judged.", (AGREEMENT,), api.LIVE_CONTENTS),
    ),
    PageRoute(
        "/api/v1/periods",
        api.periods,
        api=Api("Downtime periods.", (FROM, TO, AGREEMENT, LIMIT, CURSOR), api.PERIODS_CONTENTS),
    ),
    PageRoute(
        "/api/v2/summary.json",
        statuspage.summary,
        api=Api("What is down now and what is planned, as clients of Atlassian's Statuspage read it.", (), _OBJECT),
    ),
    PageRoute("/api/openapi.json", openapi.openapi, api=Api("This document.", (), _OBJECT)),
    PageRoute(
        "/badge/{agreement:path}/{series_id:int}.svg",
        badge.series_badge,
        api=Api("A series' uptime and verdict as a picture.", (LABEL, MONTH), _PICTURE),
    ),
    PageRoute(
        "/badge/{agreement:path}.svg",
        badge.badge,
        api=Api("The uptime and verdict of an agreement's worst series as a picture.", (LABEL, MONTH), _PICTURE),
    ),
    PageRoute(
        "/feed.atom",
        feed.feed,
        api=Api("Downtimes, broken promises and closed months.", (), {"application/atom+xml": {"type": "string"}}),
    ),
)
