"""FastAPI, Django and Flask with their real instrumentations, by the old names of attributes and by the new ones."""

import asyncio
import sys
import time
from collections.abc import Iterator
from types import ModuleType

import pytest
from opentelemetry.instrumentation import _semconv
from opentelemetry.trace import SpanKind
from sdk_parts import MINUTE_NANOS, Application, RunningClock, make_config, running, twin_counts

from otel_sla.sla.agreement import Outcome

# What is asked, and what becomes of it; each application answers alike.
PATHS = {
    "/v1/items/7": Outcome.SUCCEEDED,
    "/v1/items/8": Outcome.SUCCEEDED,
    "/v1/broken": Outcome.FAILED,  # An exception that nobody catches.
    "/v1/busy": Outcome.FAILED,  # 503.
    "/v1/nothing": Outcome.INVALID,  # 404.
    "/health": Outcome.INVALID,  # By a rule of the agreement.
}
CONFIG = """
agreements:
  - name: shop
    covered_service: {resource: {service.name: "chat-*"}}
    group_by: [service.name]
    valid_requests: {invalid: [{span: {http.route: ["/health", "health"]}}, {span: {http.target: "/health"}}]}
"""


@pytest.fixture(params=["", "http", "http/dup"], ids=["old", "new", "both"])
def names(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Which semantic conventions an instrumentation follows; it decides that once in a process."""
    stability = _semconv._OpenTelemetrySemanticConventionStability
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", request.param)
    monkeypatch.setattr(stability, "_initialized", False)
    monkeypatch.setattr(stability, "_OTEL_SEMCONV_STABILITY_SIGNAL_MAPPING", {})
    return request.param


@pytest.fixture
def app() -> Iterator[Application]:
    """An application to be instrumented, its clock the machine's."""
    with running(make_config(CONFIG), clock=RunningClock()) as application:
        yield application


def check(app: Application, names: str) -> None:
    """What the processor shows is what was asked, what the slow twin counts of the same spans, and by these names."""
    spans = [span for span in app.exporter.get_finished_spans() if span.kind is SpanKind.SERVER]
    assert len(spans) == len(PATHS)
    keys = {key for span in spans for key in span.attributes}
    assert ("http.status_code" in keys, "http.response.status_code" in keys) == {
        "": (True, False),
        "http": (False, True),
        "http/dup": (True, True),
    }[names]
    assert app.processor.force_flush()
    app.clock.ahead = 3 * MINUTE_NANOS
    assert app.processor.force_flush()
    outcomes = list(PATHS.values())
    expected = {outcome.name.lower(): outcomes.count(outcome) for outcome in Outcome}
    assert app.requests() == expected
    config = make_config(CONFIG)
    (minutes,) = twin_counts(app.exporter.get_finished_spans(), config.agreements, time.time_ns()).values()
    assert [sum(column) for column in zip(*minutes.values(), strict=True)] == [
        expected[outcome.name.lower()] for outcome in Outcome
    ]
    down = sum(failed > 0 for _, failed, _ in minutes.values())
    assert app.values("sla.downtime") == [60 * down]


def test_fastapi(app: Application, names: str) -> None:
    """Routes, an exception, a 503 and a 404 of FastAPI are counted as the agreement says."""
    import httpx
    from fastapi import FastAPI, HTTPException
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    api = FastAPI()

    @api.get("/v1/items/{item}")
    def items(item: int) -> int:
        return item

    @api.get("/v1/broken")
    def broken() -> None:
        raise RuntimeError("broken")

    @api.get("/v1/busy")
    def busy() -> None:
        raise HTTPException(503)

    @api.get("/health")
    def health() -> str:
        return "fine"

    FastAPIInstrumentor.instrument_app(api, tracer_provider=app.tracers, meter_provider=app.meters)

    async def ask() -> None:
        transport = httpx.ASGITransport(api, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as client:
            for path in PATHS:
                await client.get(path)

    asyncio.run(ask())
    check(app, names)


def test_flask(app: Application, names: str) -> None:
    """The same of Flask."""
    from flask import Flask, abort
    from opentelemetry.instrumentation.flask import FlaskInstrumentor

    site = Flask("shop")

    @site.get("/v1/items/<int:item>")
    def items(item: int) -> str:
        return str(item)

    @site.get("/v1/broken")
    def broken() -> str:
        raise RuntimeError("broken")

    @site.get("/v1/busy")
    def busy() -> str:
        abort(503)

    @site.get("/health")
    def health() -> str:
        return "fine"

    instrumentor = FlaskInstrumentor()
    instrumentor.instrument_app(site, tracer_provider=app.tracers, meter_provider=app.meters)
    client = site.test_client()
    for path in PATHS:
        client.get(path)
    check(app, names)


def test_django(app: Application, names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same of Django."""
    import django
    from django.conf import settings
    from django.http import HttpRequest, HttpResponse
    from django.test import Client
    from django.urls import path
    from opentelemetry.instrumentation.django import DjangoInstrumentor

    def answer(_: HttpRequest, item: int = 0, status: int = 200) -> HttpResponse:
        return HttpResponse(str(item), status=status)

    def broken(_: HttpRequest) -> HttpResponse:
        raise RuntimeError("broken")

    urls = ModuleType("sdk_test_urls")
    urls.urlpatterns = [
        path("v1/items/<int:item>", answer),
        path("v1/broken", broken),
        path("v1/busy", answer, {"status": 503}),
        path("health", answer),
    ]
    monkeypatch.setitem(sys.modules, urls.__name__, urls)
    if not settings.configured:
        settings.configure(ROOT_URLCONF=urls.__name__, ALLOWED_HOSTS=["*"], MIDDLEWARE=[], LOGGING_CONFIG=None)
        django.setup()
    django.urls.clear_url_caches()
    instrumentor = DjangoInstrumentor()
    instrumentor.instrument(tracer_provider=app.tracers, meter_provider=app.meters)
    try:
        client = Client(raise_request_exception=False)
        for each in PATHS:
            client.get(each)
    finally:
        instrumentor.uninstrument()
    check(app, names)
