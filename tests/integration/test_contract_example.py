"""The contract as a ready file, and how an application says its answers' codes, tried on real instrumentations."""

import asyncio
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cli_parts import invoke, lines_of
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.instrumentation import _semconv
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from pipeline_parts import Clock, make_config, report_of, run, running

from otel_sla.config import load_config
from otel_sla.ledger.writer import Ledger
from otel_sla.report.terms import each_term
from otel_sla.sla.agreement import Agreement, CodeRule, Condition, ExclusionReason, Scope, WhenAbsent

CONTRACTS = Path(__file__).resolve().parents[2] / "examples" / "contracts"
CONTRACT = CONTRACTS / "haptik-2022.yaml"
CODE_KEY = "app.response.code"
START = 1_782_086_400 * 10**9  # 2026-06-22T00:00:00Z, a Monday.
ENVIRONMENTS = ("deployment.environment.name", "deployment.environment")


def contract() -> Agreement:
    """The file's one agreement."""
    (agreement,) = load_config(CONTRACT, {}).agreements
    return agreement


def snippet(framework: str) -> dict[str, Any]:
    """Run the page's Python lines of a framework; gives their names."""
    page = (CONTRACTS / "README.md").read_text(encoding="utf-8")
    section = page.partition(f"### {framework}\n")[2].partition("\n### ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    module = ModuleType("contract_example")
    exec(compile(code, f"README.md, {framework}", "exec"), module.__dict__)  # noqa: S102 - the page's own lines.
    return module.__dict__


@pytest.fixture(autouse=True)
def new_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """The semantic conventions by which error.type is set; an instrumentation decides that once in a process."""
    stability = _semconv._OpenTelemetrySemanticConventionStability
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http")
    monkeypatch.setattr(stability, "_initialized", False)
    monkeypatch.setattr(stability, "_OTEL_SEMCONV_STABILITY_SIGNAL_MAPPING", {})


class Traced:
    """A tracer of the production environment, and the server spans that it has ended."""

    def __init__(self, environment_key: str = ENVIRONMENTS[0]) -> None:
        self._exporter = InMemorySpanExporter()
        resource = Resource({"service.name": "chat-web", environment_key: "production"})
        self.tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def spans(self) -> list[ReadableSpan]:
        """In the order of their ends."""
        return [span for span in self._exporter.get_finished_spans() if span.kind is SpanKind.SERVER]

    def codes(self) -> list[tuple[object, object]]:
        """HTTP status and answer's code of each."""
        return [(span.attributes["http.response.status_code"], span.attributes.get(CODE_KEY)) for span in self.spans]


def judged(folder: Path, agreement: Agreement, spans: Sequence[ReadableSpan]) -> dict[str, Any]:
    """What the pipeline reports of a minute in which all these spans ended: the agreement's one series."""
    config = replace(make_config(folder), agreements=(agreement,))
    request = encode_spans(spans)
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                span.end_time_unix_nano = START

    async def scenario() -> None:
        async with running(config, Clock(START)) as (_, send):
            await send(request.SerializeToString())

    run(scenario)
    (series,) = report_of(config, "2026-06", START + 3 * 60 * 10**9)["agreements"][0]["series"]
    found: dict[str, Any] = series
    return found


def counts_of(series: dict[str, Any]) -> tuple[int, ...]:
    """Valid, failed, invalid and spared requests, and minutes down."""
    requests = series["requests"]
    return (*(requests[key] for key in ("valid", "failed", "invalid", "spared")), series["minutes"]["down"])


def ask(app: Any, tracers: TracerProvider, paths: Sequence[str]) -> None:  # noqa: ANN401 - a FastAPI.
    """Instrument an application and ask for some paths."""
    import httpx
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    FastAPIInstrumentor.instrument_app(app, tracer_provider=tracers)

    async def asking() -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://chat.test") as client:
            for path in paths:
                await client.get(path)

    asyncio.run(asking())


def fastapi_spans(environment_key: str = ENVIRONMENTS[0]) -> list[ReadableSpan]:
    """The page's FastAPI application through 60 requests: 40 crash, 10 answer another 500, 10 are well."""
    names = snippet("FastAPI")
    app = names["app"]

    @app.get("/crash")
    def crash() -> None:
        raise RuntimeError("crashed")

    @app.get("/upstream")
    def upstream() -> Any:  # noqa: ANN401 - a response.
        return names["error_answer"](500, "Upstream Timeout")

    @app.get("/well")
    def well() -> str:
        return "well"

    traced = Traced(environment_key)
    ask(app, traced.tracers, ["/crash"] * 40 + ["/upstream"] * 10 + ["/well"] * 10)
    expected = [(500, "Internal Error")] * 40 + [(500, "Upstream Timeout")] * 10 + [(200, None)] * 10
    assert traced.codes() == expected
    assert {span.attributes.get("error.type") for span in traced.spans[:50] if span.attributes} == {"500"}
    return traced.spans


@pytest.mark.parametrize("environment_key", ENVIRONMENTS)
def test_clause_4_the_contract_counts_500_with_its_code_by_real_fastapi_instrumentation(
    tmp_path: Path, environment_key: str
) -> None:
    """40 of 60 answers are 500 with "Internal Error", 10 are 500 with another code: 40 failed, 10 spared, and down.

    In the production environment, by the environment's new key and by its old one.
    """
    assert counts_of(judged(tmp_path, contract(), fastapi_spans(environment_key))) == (60, 40, 0, 10, 1)


def test_clause_4_a_rule_on_error_type_spares_every_failure(tmp_path: Path) -> None:
    """The same outage by a rule that reads error.type, which is "500" on each: no downtime, but all told as spared."""
    wrong = replace(contract(), code=CodeRule("error.type", ("Internal Error",), WhenAbsent.FAILED))
    assert counts_of(judged(tmp_path, wrong, fastapi_spans())) == (60, 0, 0, 50, 0)


def test_flask_says_its_codes() -> None:
    """The page's Flask lines: a crash is an "Internal Error", another answer has its own code."""
    from opentelemetry.instrumentation.flask import FlaskInstrumentor

    names = snippet("Flask")
    site, traced = names["app"], Traced()

    @site.get("/crash")
    def crash() -> str:
        raise RuntimeError("crashed")

    @site.get("/upstream")
    def upstream() -> Any:  # noqa: ANN401 - a response.
        return names["error_answer"](500, "Upstream Timeout")

    FlaskInstrumentor().instrument_app(site, tracer_provider=traced.tracers)
    client = site.test_client()
    for path in ("/crash", "/upstream"):
        client.get(path)
    assert traced.codes() == [(500, "Internal Error"), (500, "Upstream Timeout")]


def test_django_says_its_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's Django middleware: the same."""
    import django
    from django.conf import settings
    from django.http import HttpRequest, JsonResponse
    from django.test import Client, override_settings
    from django.urls import path
    from opentelemetry.instrumentation.django import DjangoInstrumentor

    names, traced = snippet("Django"), Traced()

    def crash(_: HttpRequest) -> JsonResponse:
        raise RuntimeError("crashed")

    def upstream(_: HttpRequest) -> JsonResponse:
        answer: JsonResponse = names["error_answer"](500, "Upstream Timeout")
        return answer

    urls = ModuleType("contract_test_urls")
    urls.urlpatterns = [path("crash", crash), path("upstream", upstream)]
    monkeypatch.setitem(sys.modules, urls.__name__, urls)
    middleware = ModuleType("contract_test_middleware")
    middleware.__dict__.update(names)
    monkeypatch.setitem(sys.modules, middleware.__name__, middleware)
    if not settings.configured:
        settings.configure(ROOT_URLCONF=urls.__name__, ALLOWED_HOSTS=["*"], MIDDLEWARE=[], LOGGING_CONFIG=None)
        django.setup()
    with override_settings(ROOT_URLCONF=urls.__name__, MIDDLEWARE=[f"{middleware.__name__}.AnswerCode"]):
        instrumentor = DjangoInstrumentor()
        instrumentor.instrument(tracer_provider=traced.tracers)
        try:
            client = Client(raise_request_exception=False)
            for each in ("/crash", "/upstream"):
                client.get(each)
        finally:
            instrumentor.uninstrument()
    assert traced.codes() == [(500, "Internal Error"), (500, "Upstream Timeout")]


def test_the_contract_says_what_the_contract_says() -> None:
    """Every term of the published agreement is in the file, and the words of the report are the contract's."""
    agreement = contract()
    assert agreement.covered_any == tuple((Condition(Scope.RESOURCE, key, ("production",)),) for key in ENVIRONMENTS)
    assert (agreement.target, agreement.downtime.error_rate_above) == (Fraction(999, 1000), Fraction(1, 20))
    assert (agreement.time_zone, agreement.exclusions.notice_business_days_min) == ("Asia/Kolkata", 3)
    said = {heading: words for _, heading, words in each_term(agreement)}
    assert said["Failed requests"].startswith(
        "HTTP 500 if app.response.code is \u201cInternal Error\u201d or absent; no gRPC code; without a status code,"
    )
    assert "feature.stage is \u201calpha\u201d or \u201cbeta\u201d" in said["Valid requests"]


def test_every_exclusion_of_the_contract_is_recorded_by_its_command(tmp_path: Path) -> None:
    """The commands in the file's comments, run as they stand: all are accepted, for each of the contract's six."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    config = tmp_path / "contract.yaml"
    config.write_text(f"ledger: {{url: '{url}'}}\n{CONTRACT.read_text(encoding='utf-8')}", encoding="utf-8")
    Ledger.open(url).close()
    comments = re.sub(r"\\\n\s*#\s*", "", CONTRACT.read_text(encoding="utf-8"))
    commands = re.findall(r"#\s+otel-sla (exclusion add .*)", comments)
    reasons = []
    for command in commands:
        said = lines_of(invoke(*shlex.split(command), "--config", config))
        assert "  accepted" in said, said
        reasons.append(command.split("--reason ")[1].split()[0])
    assert set(reasons) == {reason.value for reason in ExclusionReason} - {"not_covered"}
