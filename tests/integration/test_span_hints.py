"""What is logged once, and counted, of spans that may not be counted as meant (clauses 1, 4 and 19)."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import builders
import pytest
from pipeline_parts import Clock, make_config, run, running
from sdk_parts import Application
from sdk_parts import running as running_application
from sla_parts import make_agreement

from otel_sla.config import load_config
from otel_sla.sla.agreement import Agreement, CodeRule, WhenAbsent

MINUTE = 60 * 10**9
NOW = builders.START_UNIX_NANO
HTTP = "http.response.status_code"
STRICT = replace(make_agreement(), name="strict", code=CodeRule("error.type", ("Internal Error",), WhenAbsent.FAILED))


def body(*attributes: builders.Attributes, end: int = NOW, **span: Any) -> bytes:  # noqa: ANN401  fields of the span
    """A request of spans."""
    spans = [builders.make_span(each, end_time_unix_nano=end, **span) for each in attributes]
    return builders.make_request_of(*spans)


def counted_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, agreement: Agreement, steps: Sequence[bytes | int]
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Self-metrics, and action and text of each warning, of bodies that are sent and of minutes that pass."""
    caplog.set_level(logging.WARNING, logger="otel_sla.counting.first_requests")
    found: dict[str, int] = {}

    async def scenario() -> None:
        clock = Clock(NOW)
        async with running(make_config(tmp_path, [agreement]), clock) as (pipeline, send):
            for step in steps:
                if isinstance(step, bytes):
                    await send(step)
                else:
                    clock.now += step * MINUTE
                    await pipeline.tick()
            text = pipeline.metrics.prometheus_text().splitlines()
            found.update({line.split(" ")[0]: int(float(line.split(" ")[1])) for line in text if line[0] != "#"})

    run(scenario)
    records = [record for record in caplog.records if record.name == "otel_sla.counting.first_requests"]
    return found, [(record.action, record.getMessage()) for record in records]


def test_clause_4_an_unusable_status_is_counted_by_key_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A sender whose statuses cannot be read does not look healthy: each key counts, and is told with one value."""
    bodies = [body({HTTP: "Server Error"}, {HTTP: 99}), body({HTTP: "?"}, {"http.status_code": [500]}, {HTTP: 200})]
    metrics, logged = counted_and_logged(tmp_path, caplog, make_agreement(), bodies)
    assert metrics['sla_receiver_unusable_status_spans_total{key="http.response.status_code"}'] == 3
    assert metrics['sla_receiver_unusable_status_spans_total{key="http.status_code"}'] == 1
    assert metrics['sla_receiver_unusable_status_spans_total{key="rpc.grpc.status_code"}'] == 0
    assert [action for action, _ in logged] == ["unusable_status"] * 2
    assert logged[0][1].startswith("http.response.status_code is no status code on some spans, such as 99:")
    assert logged[1][1].startswith("http.status_code is no status code on some spans, such as an array, a map,")


def test_clause_1_unknown_parents_are_counted_and_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """95 failures of 100 whose senders say nothing of their parents count, and somebody hears of it."""
    spans = [{HTTP: 500}] * 95 + [{HTTP: 200}] * 5
    bodies = [body(*spans, flags=flags, parent_span_id=b"12345678") for flags in (0, 1)]
    agreement = replace(make_agreement(), entry_spans_only=True)
    metrics, logged = counted_and_logged(tmp_path, caplog, agreement, [*bodies, body({HTTP: 200}, flags=0)])
    assert metrics["sla_receiver_unknown_parent_spans_total"] == 200
    ((action, text),) = logged
    assert action == "unknown_parent"
    assert "flags, bit 8" in text


def test_clause_19_sampled_spans_are_counted_and_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Spans with a threshold above 0 are told of once, and those whose threshold cannot be read."""
    bodies = [
        body({HTTP: 200}, {HTTP: 200}, trace_state=state) for state in ("ot=th:8", "ot=th:c", "ot=th:0", "ot=th:?")
    ]
    metrics, logged = counted_and_logged(tmp_path, caplog, make_agreement(), bodies)
    assert metrics["sla_receiver_sampled_spans_total"] == 4
    assert metrics["sla_receiver_unusable_threshold_spans_total"] == 2
    assert [action for action, _ in logged] == ["sampled_requests", "unusable_threshold"]
    assert "error rates are biased unless" in logged[0][1]


def test_clause_4_spared_requests_without_failed_ones_are_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """40 answers 500 that FastAPI's instrumentation gives error.type 500: told when a minute of them is judged."""
    spared = body(*[{HTTP: 500, "error.type": "500"}] * 39, {HTTP: 500, "error.type": "OSError"})
    metrics, logged = counted_and_logged(tmp_path, caplog, STRICT, [spared, 1, 0])
    assert (metrics["sla_receiver_spared_requests_total"], logged) == (40, [])
    caplog.clear()
    (other := tmp_path / "other").mkdir()
    again = body({HTTP: 500, "error.type": "503"}, end=NOW + MINUTE)
    _, logged = counted_and_logged(other, caplog, STRICT, [spared, 3, again, 3])
    ((action, text),) = logged
    assert action == "spared_requests"
    assert text.startswith("agreement strict: error_rate.code has spared requests")
    assert "of error.type it has seen 'OSError';" in text


def test_clause_4_spared_requests_beside_failed_ones_are_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the code fails requests too the rule reads what it should."""
    both = body({HTTP: 500, "error.type": "500"}, {HTTP: 500, "error.type": "Internal Error"})
    metrics, logged = counted_and_logged(tmp_path, caplog, STRICT, [both, 3])
    assert (metrics["sla_receiver_spared_requests_total"], logged) == (1, [])


def test_an_application_hears_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """Counted in the application's own process: the same warnings, once each."""
    caplog.set_level(logging.WARNING, logger="otel_sla.counting.first_requests")
    config = replace(load_config(None, {}), agreements=(STRICT,))
    with running_application(config) as app:
        _answer(app, {HTTP: 500, "error.type": "500"})
        _answer(app, {HTTP: "Server Error"})
        app.pass_minutes(3)
        _answer(app, {HTTP: "Server Error"})
        app.pass_minutes(3)
        assert app.requests()["succeeded"] == 3
    assert [record.action for record in caplog.records] == ["unusable_status", "spared_requests"]


def _answer(app: Application, attributes: dict[str, Any]) -> None:
    app.request(None, attributes=attributes)
