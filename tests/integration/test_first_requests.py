"""What the log says to who has just sent the first spans."""

from pathlib import Path

import builders
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pipeline_parts import Clock, make_config, run, running

from otel_sla.config import load_config
from otel_sla.counting.first_requests import UNCOVERED_BODIES, UNCOVERED_SPANS

MINUTE = 60 * 10**9
NOW = builders.START_UNIX_NANO
EACH = UNCOVERED_SPANS // UNCOVERED_BODIES


def body(n_spans: int, service: str, kind: Span.SpanKind = Span.SPAN_KIND_SERVER) -> bytes:
    """Spans of one service."""
    span = builders.make_span(kind=kind, end_time_unix_nano=NOW)
    return builders.make_request_of(*[span] * n_spans, resource={"service.name": service})


def told(tmp_path: Path, caplog: pytest.LogCaptureFixture, *bodies: bytes) -> list[tuple[str, str]]:
    """Action and text of what is logged about the first requests while bodies are counted for chat-*."""
    (tmp_path / "sla.yaml").write_text(
        "agreements: [{name: chat, covered_service: {resource: {service.name: 'chat-*'}}, group_by: [service.name]}]"
    )
    config = make_config(tmp_path, load_config(tmp_path / "sla.yaml", {}).agreements)
    caplog.clear()
    caplog.set_level("INFO", logger="otel_sla.counting.first_requests")

    async def scenario() -> None:
        async with running(config, Clock(NOW + MINUTE)) as (_, send):
            for one in bodies:
                await send(one)

    run(scenario)
    records = [record for record in caplog.records if record.name == "otel_sla.counting.first_requests"]
    return [(record.action, record.getMessage()) for record in records]


def test_the_first_requests_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line when counting begins, with the agreement and the group; none for what follows."""
    lines = told(tmp_path, caplog, body(1, "shop"), body(1, "chat-1"), body(2, "chat-2"))
    assert lines == [("first_requests", "the first requests are counted: agreement chat, service.name 'chat-1'")]


def test_many_spans_without_a_request_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Services that no agreement covers: one warning names them, and later the first request is told all the same."""
    bodies = [body(EACH, service) for service in ["shop", "cart\n"] * UNCOVERED_BODIES]
    (warning, first) = told(tmp_path, caplog, *bodies, body(1, "chat-1"))
    said = (
        f"{UNCOVERED_SPANS:,} spans came, and none is a request of an agreement: {UNCOVERED_SPANS:,} are server spans,"
    )
    said += " of service.name 'cart\\n', 'shop'; see covered_service and entry_spans_only"
    assert warning == ("no_requests", said)
    assert first[0] == "first_requests"


def test_spans_of_other_kinds_are_told_as_such(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An application that sends client spans only; one body of them, however large, says nothing yet."""
    large = body(UNCOVERED_SPANS, "chat-1", Span.SPAN_KIND_CLIENT)
    assert told(tmp_path, caplog, large) == []
    small = body(1, "chat-1", Span.SPAN_KIND_CLIENT)
    ((_, said),) = told(tmp_path, caplog, large, *[small] * UNCOVERED_BODIES)
    assert said.endswith("no server span is among them, and only these are requests")
