"""The processor in an application: what it counts, what it shows, and that it never gets in the way."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from sdk_parts import MINUTE_NANOS, START, make_config, running

from otel_sla.errors import ConfigError
from otel_sla.exporter.otlp_data import GAUGES, SUMS
from otel_sla.sdk import RecordServerSpans, SlaSpanProcessor

CHAT = frozenset({("service.name", "chat-1"), ("sla.agreement.name", "default")})


def test_server_spans_become_gauges() -> None:
    """A minute with one failure in ten: every metric of the exporter is there with its unit and the minute's value."""
    with running() as app:
        for status in [200] * 9 + [503]:
            app.request(status)
        app.request(500, kind=SpanKind.CLIENT)
        app.request(404)
        app.pass_minutes(2)
        metrics = app.metrics()
        assert {metric.name: metric.unit for metric in (*GAUGES, *SUMS)}.items() <= {
            name: metric.unit for name, metric in metrics.items()
        }.items()
        assert app.points("sla.error_rate") == {CHAT: 0.1}
        assert app.points("sla.downtime") == {CHAT: 60}
        assert app.points("sla.downtime.budget") == {CHAT: 42 * 60}
        assert app.points("sla.monthly_uptime") == {CHAT: (43_200 - 1) / 43_200}
        assert app.points("sla.monthly_uptime.target") == {CHAT: 0.999}
        assert app.requests() == {"succeeded": 9, "failed": 1, "invalid": 1}
        assert app.points("sla.minute.status")[CHAT | {("sla.minute.state", "down")}] == 1
        assert app.uncounted() == {}


def test_a_silent_minute_has_no_error_rate() -> None:
    """The minute after has no requests: its state is no_data, its error rate is absent, the month stands."""
    with running() as app:
        app.request(500)
        app.pass_minutes(3)
        assert app.values("sla.error_rate") == []
        assert app.points("sla.minute.status")[CHAT | {("sla.minute.state", "no_data")}] == 1
        assert app.values("sla.downtime") == [60]


def test_nothing_is_shown_before_a_minute_is_judged() -> None:
    """Within the minute and its grace there are no points, as nothing is known yet."""
    with running() as app:
        app.request()
        app.pass_minutes(1)
        assert set(app.metrics()) == {"sla.sdk.overflow_spans"}


def test_what_finds_no_room_is_dropped_and_told(caplog: pytest.LogCaptureFixture) -> None:
    """Three spans too many for the queue: they are counted as uncounted, told of once, and the others count."""
    with running(queue_size_max=5) as app:
        assert app.processor.force_flush()
        with app.processor._fork_lock:  # The thread cannot take any.
            for _ in range(8):
                app.request()
        app.pass_minutes(2)
        assert app.requests()["succeeded"] == 5
        assert app.uncounted() == {"queue_full": 3}
    assert [record.action for record in caplog.records] == ["spans_dropped"]


def test_a_full_queue_calls_the_thread() -> None:
    """More spans than are gathered in a second are counted at once, and none is lost."""
    with running() as app:
        for _ in range(5_000):
            app.request()
        app.pass_minutes(2)
        assert app.requests()["succeeded"] == 5_000


def test_a_span_that_cannot_be_encoded_costs_only_itself(caplog: pytest.LogCaptureFixture) -> None:
    """An end time below zero fits no message: that span is told of, those beside it count."""
    with running() as app:
        app.request()
        app.request(end=-1)
        app.request()
        app.pass_minutes(2)
        assert app.requests()["succeeded"] == 2
        assert app.uncounted() == {"failed": 1}
    assert [record.action for record in caplog.records] == ["span_failed"]


def test_text_costs_no_span(caplog: pytest.LogCaptureFixture) -> None:
    """Half an emoji in an exception's message, in what nobody counts by and in what is: all 20 failures count."""
    half = "boom \ud83d"
    config = make_config("agreements: [{name: a, group_by: [service.name, http.route]}]")
    with running(config) as app:
        app.tracer.resource.attributes._dict["host.name"] = half
        for _ in range(20):
            span = app.tracer.start_span(half, kind=SpanKind.SERVER)
            span.set_attributes({"http.route": half, "note": half, "http.response.status_code": 500})
            span.record_exception(ValueError(half))
            span.set_status(StatusCode.ERROR, half)
            span.end(end_time=app.clock.now)
        app.pass_minutes(2)
        assert app.requests() == {"succeeded": 0, "failed": 20, "invalid": 0}
        assert app.uncounted() == {}
        assert {dict(key)["http.route"] for key in app.points("sla.error_rate")} == {"boom \ufffd"}
    assert caplog.records == []


def test_no_value_costs_a_span(caplog: pytest.LogCaptureFixture) -> None:
    """Watched keys with an array of half an emoji, or a number that fits no message: the requests count without them,
    and a status that is no number is told as such.
    """
    config = make_config("agreements: [{name: a, group_by: [service.name, http.route]}]")
    with running(config) as app:
        for route, status in ((["\ud83d"], 500), (2**70, 500), ("/", ["\ud83d"]), ("/", 2**70), (True, -(2**63))):
            span = app.tracer.start_span("GET", kind=SpanKind.SERVER)
            span.set_attributes({"http.route": route, "http.response.status_code": status})
            span.set_status(StatusCode.ERROR)
            span.end(end_time=app.clock.now)
        app.pass_minutes(2)
        assert app.requests() == {"succeeded": 0, "failed": 5, "invalid": 0}
        assert app.uncounted() == {}
        assert {dict(key)["http.route"] for key in app.points("sla.error_rate")} == {"", "/", "true"}
    assert [record.action for record in caplog.records] == ["unusable_status"]


def test_spans_out_of_time_are_not_counted() -> None:
    """A day late, an hour ahead, without an end: none counts, each has its reason."""
    with running() as app:
        app.request(end=START - 25 * 60 * MINUTE_NANOS)
        app.request(end=START + 60 * MINUTE_NANOS)
        app.request(end=0)
        app.pass_minutes(2)
        assert app.uncounted() == {"late": 1, "future": 1, "malformed": 1}


def test_shutdown_counts_what_waits_and_ends() -> None:
    """What ended before counts; what ends afterwards does not, and is told; a second shutdown is nothing."""
    with running() as app:
        assert app.processor.force_flush()  # While kernels are loaded, a shutdown does not wait for them.
        app.request(500)
        app.clock.now += 2 * MINUTE_NANOS
        app.processor.shutdown()
        app.processor.shutdown()
        app.request(500)
        assert app.requests()["failed"] == 1
        assert app.uncounted() == {"shutdown": 1}
        assert not app.processor.force_flush()


def test_a_round_that_fails_is_told_once_and_the_next_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """A clock that raises: the application notices nothing, and counting goes on when it is mended."""
    with running() as app:
        assert app.processor.force_flush()
        app.request()
        now, app.clock.now = app.clock.now, None
        assert app.processor.force_flush()
        assert app.processor.force_flush()
        app.clock.now = now
        app.request()
        app.pass_minutes(2)
        assert app.requests()["succeeded"] == 1
        assert app.uncounted() == {"failed": 1}
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    assert len(caplog.records) == 2


def test_a_sampler_that_drops_need_not_hide_requests() -> None:
    """Nothing is exported, and with RecordServerSpans around the sampler all requests count all the same."""
    with running(sampler=ALWAYS_OFF) as app:
        app.request(500)
        app.pass_minutes(2)
        assert app.requests() == {}
    with running(sampler=RecordServerSpans(ALWAYS_OFF)) as app:
        app.request(500)
        app.request(200, kind=SpanKind.CLIENT)
        app.pass_minutes(2)
        assert app.requests()["failed"] == 1
        assert app.exporter.get_finished_spans() == ()


def test_a_file_is_read_and_a_wrong_one_refused(tmp_path: Path) -> None:
    """The pipeline's own file configures it; a mistake in it is told when the processor is made."""
    path = tmp_path / "otel-sla.yaml"
    path.write_text("agreements: [{name: chat, monthly_uptime: {target: 99%}}]")
    with running(path) as app:
        app.request()
        app.pass_minutes(2)
        assert app.values("sla.monthly_uptime.target") == [0.99]
    path.write_text("agreements: [{title: chat}]")
    with pytest.raises(ConfigError, match="title"):
        SlaSpanProcessor(path)


def test_two_agreements_stand_side_by_side() -> None:
    """Each has its own points, told apart by its name; what is not covered has none."""
    config = make_config(
        "agreements:\n"
        "  - {name: all, group_by: []}\n"
        "  - {name: one, group_by: [http.route], covered_service: {span: {http.route: ['/v1/*']}}}\n"
    )
    with running(config) as app:
        app.request(attributes={"http.route": "/v1/a"})
        app.request(500, attributes={"http.route": "/health"})
        app.pass_minutes(2)
        assert app.points("sla.downtime") == {
            frozenset({("sla.agreement.name", "all")}): 60,
            frozenset({("sla.agreement.name", "one"), ("http.route", "/v1/a")}): 0,
        }


def test_more_series_than_allowed_share_one(caplog: pytest.LogCaptureFixture) -> None:
    """Three routes where two series may be: the third counts in the overflow series, which is told."""
    with running(make_config("agreements: [{name: a, group_by: [http.route]}]"), series_max=2) as app:
        for route in "abcc":
            app.request(500, attributes={"http.route": route})
        app.pass_minutes(2)
        assert app.points("sla.downtime") == {
            frozenset({("sla.agreement.name", "a"), label}): 60
            for label in (("http.route", "a"), ("http.route", "b"), ("sla.series.overflow", "true"))
        }
        assert app.values("sla.sdk.overflow_spans") == [2]
    assert [record.action for record in caplog.records] == ["series_overflow"]


def test_importing_it_is_light() -> None:
    """The import brings neither compiler nor models nor servers with it."""
    heavy = ("numba", "numpy", "pydantic", "yaml", "grpc", "uvicorn", "asyncio", "sqlite3", "typer")
    code = f"import sys, otel_sla.sdk; sys.exit(', '.join(set({heavy}) & set(sys.modules)) or None)"
    subprocess.run([sys.executable, "-c", code], check=True)
