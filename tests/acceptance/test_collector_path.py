"""The whole path with the real outside: application -> Collector -> otel-sla -> Collector -> file."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import naive
import parts
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

from otel_sla.ledger.reader import LedgerReader

CONFIG = parts.ROOT / "collector-config" / "beside-otel-sla.yaml"
NANOS_PER_MINUTE = 60 * 10**9

OTEL_SLA_CONFIG = """
page: null
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "{listen}"}}
ledger:
  url: sqlite:///{ledger}
exporters:
  otlp: {{endpoint: "{backend}", interval: 1s, tls: {{insecure: true}}}}
agreements:
  - name: chat
    group_by: [service.name]
    error_rate: {{failed_http_status: [5xx]}}
    downtime: {{error_rate_above: 5%}}
    monthly_uptime: {{target: 99.9%, time_zone: UTC}}
"""

# (requests, failed among them) of consecutive minutes: a whole outage, half of one, one at exactly the limit.
TRAFFIC = ((20, 0), (20, 20), (20, 10), (20, 1), (20, 0))


class Stack:
    """otel-sla with a Collector around it, both real processes on ports of their own."""

    def __init__(self, collector_binary: Path, folder: Path) -> None:
        self.signals = folder / "signals.json"
        self.ledger = folder / "ledger.db"
        self.config = folder / "otel-sla.yaml"
        self._listen = f"127.0.0.1:{parts.free_ports(1)[0]}"
        environment = {
            "OUTPUT_FILE": str(self.signals),
            "OTEL_SLA_ENDPOINT": self._listen,
            "QUEUE_FOLDER": str(folder / "queue"),
        }
        ports = ("OTLP_ENDPOINT", "HEALTH_ENDPOINT")
        self.collector = parts.CollectorProcess(collector_binary, CONFIG, ports, environment)
        self.otel_sla = parts.LoggedProcess([sys.executable, "-m", "otel_sla", "run", "--config", str(self.config)])

    def start(self) -> None:
        """Starts both; returns when both take spans."""
        self.collector.start()
        backend = self.collector.endpoints["OTLP_ENDPOINT"]
        self.config.write_text(OTEL_SLA_CONFIG.format(listen=self._listen, ledger=self.ledger, backend=backend))
        self.start_otel_sla()

    def start_otel_sla(self) -> None:
        """Starts otel-sla and returns when it takes spans."""
        self.otel_sla.start()
        self.otel_sla.wait_for("action=serving", timeout_s=120)

    @property
    def applications_url(self) -> str:
        """Where applications send to: the Collector."""
        return f"http://{self.collector.endpoints['OTLP_ENDPOINT']}"

    def report(self, month: str) -> dict[str, Any]:
        """What `otel-sla report` says of a month."""
        command = [sys.executable, "-m", "otel_sla", "report", "--config", self.config, "--month", month]
        done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def counted_requests(self) -> int:
        """All requests in the ledger."""
        reader = LedgerReader.open(f"sqlite:///{self.ledger}")
        try:
            return int(reader.counts(0, 1 << 40).counts.sum())
        finally:
            reader.close()

    def stop(self) -> None:
        """Kills what is left."""
        self.otel_sla.kill()
        self.collector.kill()


@pytest.fixture
def stack(collector_binary: Path, tmp_path: Path) -> Iterator[Stack]:
    """Everything running and ready."""
    both = Stack(collector_binary, tmp_path)
    try:
        both.start()
        yield both
    finally:
        both.stop()


def tell_story(url: str, first_minute: int) -> None:
    """Sends TRAFFIC with the real SDK, as server spans that ended in the minutes from `first_minute` on."""
    provider = TracerProvider(resource=Resource.create({"service.name": "chat-1"}))
    exporter = OTLPSpanExporter(endpoint=url, insecure=True)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_export_batch_size=512))
    tracer = provider.get_tracer("traffic")
    for offset, (requests, failed) in enumerate(TRAFFIC):
        minute = (first_minute + offset) * NANOS_PER_MINUTE
        for number in range(requests):
            start = minute + number * 10**9
            span = tracer.start_span("GET /v1/chat", kind=SpanKind.SERVER, start_time=start)
            span.set_attribute("http.response.status_code", 500 if number < failed else 200)
            tracer.start_span("SELECT", kind=SpanKind.CLIENT, start_time=start).end(start + 10**8)
            span.end(start + 2 * 10**8)
    assert provider.force_flush()
    provider.shutdown()


def read_signals(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The metrics and the log records that the Collector's file exporter wrote."""
    metrics: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    for line in path.read_text().splitlines():
        message = json.loads(line)
        for resource in message.get("resourceMetrics", ()):
            for scope in resource["scopeMetrics"]:
                metrics += scope["metrics"]
        for resource in message.get("resourceLogs", ()):
            for scope in resource["scopeLogs"]:
                records += scope["logRecords"]
    return metrics, records


def points_of(metrics: list[dict[str, Any]], name: str) -> dict[int, float]:
    """The last value of a gauge for each point in time, in ns since the Unix epoch."""
    return {
        int(point["timeUnixNano"]): point["asDouble"]
        for metric in metrics
        if metric["name"] == name
        for point in metric["gauge"]["dataPoints"]
    }


@pytest.mark.collector
def test_story_comes_out_as_gauges_events_and_report(stack: Stack) -> None:
    """An outage told by the real SDK is in the backend's file as gauges and events, and in the report."""
    first_minute = time.time_ns() // NANOS_PER_MINUTE - 30
    tell_story(stack.applications_url, first_minute)
    stack.collector.wait_for("sla.downtime.ended", timeout_s=60)
    stack.collector.wait_for("Name: sla.monthly_uptime", timeout_s=60)

    month = f"{naive.EPOCH + naive.timedelta(minutes=first_minute):%Y-%m}"
    (agreement,) = stack.report(month)["agreements"]
    assert stack.otel_sla.stop() == 0
    assert stack.collector.stop() == 0

    metrics, records = read_signals(stack.signals)
    error_rates = points_of(metrics, "sla.error_rate")
    expected = {
        (first_minute + offset + 1) * NANOS_PER_MINUTE: failed / requests
        for offset, (requests, failed) in enumerate(TRAFFIC)
    }
    assert {moment: error_rates.get(moment) for moment in expected} == pytest.approx(expected)
    moments = {record["eventName"]: int(record["timeUnixNano"]) for record in records}
    assert moments["sla.downtime.started"] == (first_minute + 1) * NANOS_PER_MINUTE
    assert moments["sla.downtime.ended"] == (first_minute + 3) * NANOS_PER_MINUTE
    (series,) = agreement["series"]
    assert series["group"] == {"service.name": "chat-1"}
    assert series["requests"]["failed"] == sum(failed for _, failed in TRAFFIC)
    assert [period["minutes"] for period in series["downtime_periods"]] == [2]


@pytest.mark.collector
def test_every_generated_span_is_counted_once(stack: Stack, telemetrygen_binary: Path) -> None:
    """What telemetrygen sends through a Collector is counted, server spans only and each once."""
    subprocess.run(generator_command(telemetrygen_binary, stack, traces=1000), capture_output=True, check=True)
    stack.otel_sla.wait_until(lambda: stack.counted_requests() >= 1000)
    assert stack.collector.stop() == 0
    assert stack.otel_sla.stop() == 0
    assert stack.counted_requests() == 1000


@pytest.mark.collector
def test_crash_of_otel_sla_loses_and_doubles_nothing(stack: Stack, telemetrygen_binary: Path) -> None:
    """Killed in the middle of the load and started again, otel-sla has every span once: the Collector repeats."""
    traces = 10_000
    load = subprocess.Popen(
        generator_command(telemetrygen_binary, stack, traces=traces),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stack.otel_sla.wait_until(lambda: stack.counted_requests() > 0)
    stack.otel_sla.kill()
    assert 0 < stack.counted_requests() < traces
    stack.start_otel_sla()
    assert load.wait(120) == 0
    stack.otel_sla.wait_until(lambda: stack.counted_requests() >= traces)
    assert stack.collector.stop() == 0
    assert stack.otel_sla.stop() == 0
    assert stack.counted_requests() == traces


def generator_command(telemetrygen: Path, stack: Stack, *, traces: int) -> list[str]:
    """The generator as fast as it can without losing any: each trace is one client span and one server span."""
    endpoint = stack.collector.endpoints["OTLP_ENDPOINT"]
    # In batches it would throw away what its queue cannot hold.
    options = ["--otlp-insecure", "--otlp-endpoint", endpoint, "--rate", "0", "--batch=false", "--service", "chat-1"]
    return [os.fspath(telemetrygen), "traces", *options, "--workers", "4", "--traces", str(traces // 4)]
