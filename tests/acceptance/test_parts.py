import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import parts
import pytest
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

CONFIG = parts.ROOT / "collector-config" / "beside-otel-sla.yaml"
PORTS = ("OTLP_ENDPOINT", "OTEL_SLA_ENDPOINT", "HEALTH_ENDPOINT")


@pytest.mark.collector
def test_collector_runs_with_the_published_config(collector_binary: Path, tmp_path: Path) -> None:
    """The config for users starts a real Collector; metrics sent to its return port are in the file once it stopped."""
    output = tmp_path / "signals.json"
    environment = {"OUTPUT_FILE": str(output), "QUEUE_FOLDER": str(tmp_path / "queue")}
    with parts.CollectorProcess(collector_binary, CONFIG, PORTS, environment) as collector:
        health = f"http://{collector.endpoints['HEALTH_ENDPOINT']}/"
        with urllib.request.urlopen(health, timeout=5) as answer:
            assert answer.status == 200
        exporter = OTLPMetricExporter(endpoint=f"http://{collector.endpoints['OTLP_ENDPOINT']}", insecure=True)
        provider = MeterProvider([PeriodicExportingMetricReader(exporter, export_interval_millis=float("inf"))])
        provider.get_meter("test").create_counter("sent.by.the.test").add(7)
        assert provider.force_flush()
        provider.shutdown()
        collector.wait_for("Name: sent.by.the.test")
        assert collector.stop() == 0
    (line,) = output.read_text().splitlines()
    (metric,) = json.loads(line)["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    assert metric["name"] == "sent.by.the.test"
    assert metric["sum"]["dataPoints"][0]["asInt"] == "7"


@pytest.mark.collector
def test_collectors_run_beside_each_other(collector_binary: Path, tmp_path: Path) -> None:
    """Two Collectors by a configuration that leaves their own metrics alone, as users' do: none takes a fixed port."""
    config = tmp_path / "plain.yaml"
    config.write_text(
        "receivers: {otlp: {protocols: {grpc: {endpoint: '${env:OTLP_ENDPOINT}'}}}}\n"
        "exporters: {nop: {}}\n"
        "service: {pipelines: {traces: {receivers: [otlp], exporters: [nop]}}}\n"
    )
    with (
        parts.CollectorProcess(collector_binary, config, ("OTLP_ENDPOINT",)) as first,
        parts.CollectorProcess(collector_binary, config, ("OTLP_ENDPOINT",)) as second,
    ):
        assert first.is_running
        assert second.is_running
        assert not [line for line in first.lines + second.lines if "8888" in line]


@pytest.mark.collector
def test_collector_that_cannot_start_says_why(collector_binary: Path, tmp_path: Path) -> None:
    """A Collector whose configuration is wrong fails the test at once, with its own words."""
    config = tmp_path / "wrong.yaml"
    config.write_text("receivers: {nonesuch: {}}\n")
    with pytest.raises(parts.ProcessEnded, match="nonesuch"), parts.CollectorProcess(collector_binary, config, ()):
        pass


@pytest.mark.collector
def test_telemetrygen_is_there(telemetrygen_binary: Path) -> None:
    """The load generator that was built runs."""
    done = subprocess.run([telemetrygen_binary, "traces", "--help"], capture_output=True, text=True, check=True)
    assert "--otlp-endpoint" in done.stdout


def test_logged_process_waits_for_a_line() -> None:
    """A process is waited for by what it writes, early or late lines alike, and stops on SIGTERM."""
    script = "import signal, sys; sys.stderr.write('first\\nport 12\\n'); sys.stderr.flush(); signal.pause()"
    with parts.LoggedProcess([sys.executable, "-c", script]) as process:
        assert process.wait_for("port", r"\d+") == "port 12"
        assert process.wait_for("first") == "first"
        assert process.stop() == -15


def test_logged_process_that_ended_is_an_error() -> None:
    """Waiting for a line that can no longer come fails at once and shows the log."""
    with parts.LoggedProcess([sys.executable, "-c", "raise SystemExit('gave up')"]) as process:
        with pytest.raises(parts.ProcessEnded, match="gave up"):
            process.wait_for("never")
        assert process.stop() == 1


def test_free_ports_are_distinct() -> None:
    """Ports asked for together are different ones."""
    assert len(set(parts.free_ports(5))) == 5


def test_missing_part_names_the_command(tmp_path: Path) -> None:
    """A part that is not built is an error that says how to get it."""
    with pytest.raises(parts.PartUnavailable, match="--get"):
        parts.find_part(tmp_path / "nothing")
