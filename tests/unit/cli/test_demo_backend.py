"""The capturing backend, spoken to by the exporters that it stands in for."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_sla.cli.demo.backend import Capture, Point, serve_backend

SCOPE = InstrumentationScope("test")
RESOURCE = Resource({"service.name": "tester"})


@dataclass
class Peer:
    """A backend and an open connection to it."""

    capture: Capture
    endpoint: str
    channel: grpc.Channel

    def send_metrics(self, data: MetricsData) -> None:
        """One Export call of metrics."""
        MetricsServiceStub(self.channel).Export(encode_metrics(data), timeout=10)

    def send_event(self, name: str) -> None:
        """One Export call of one event."""
        LogsServiceStub(self.channel).Export(encode_logs([make_event(name)]), timeout=10)


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A started backend."""
    with serve_backend() as (capture, endpoint), grpc.insecure_channel(endpoint) as channel:
        yield Peer(capture, endpoint, channel)


def make_metrics(name: str, *values: float, minute: int = 1) -> MetricsData:
    """A gauge of these values; whole numbers go as a sum of integers."""
    points = [NumberDataPoint({"at": index}, 0, minute * 60, value) for index, value in enumerate(values)]
    is_sum = all(isinstance(value, int) for value in values)
    data = Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True) if is_sum else Gauge(points)
    metric = Metric(name, "", "1", data)
    return MetricsData([ResourceMetrics(RESOURCE, [ScopeMetrics(SCOPE, [metric], "")], "")])


def make_event(name: str) -> ReadableLogRecord:
    """One event."""
    record = LogRecord(timestamp=60, severity_number=SeverityNumber.WARN, body="said", event_name=name)
    return ReadableLogRecord(record, RESOURCE, SCOPE)


def test_points_are_kept_as_sent(peer: Peer) -> None:
    """A gauge and a sum: their points by name, with attributes, time and value of the right type."""
    peer.send_metrics(make_metrics("gauge", 0.5, 1.5))
    peer.send_metrics(make_metrics("sum", 3, minute=2))
    assert peer.capture.points("gauge") == [Point({"at": 0}, 60, 0.5), Point({"at": 1}, 60, 1.5)]
    assert peer.capture.points("sum") == [Point({"at": 0}, 120, 3)]
    assert isinstance(peer.capture.points("sum")[0].value, int)
    assert peer.capture.points("unheard of") == []


def test_events_are_kept_as_sent(peer: Peer) -> None:
    """An event: name, time, severity and text, as they were sent."""
    peer.send_event("first")
    (event,) = peer.capture.events()
    shown = (event.event_name, event.time_unix_nano, event.severity_number, event.body.string_value)
    assert shown == ("first", 60, 13, "said")


def test_the_library_sends_to_it(peer: Peer) -> None:
    """opentelemetry-exporter-otlp, unchanged: it reports success and the points are here."""
    exporter = OTLPMetricExporter(f"http://{peer.endpoint}", insecure=True)
    assert exporter.export(make_metrics("gauge", 0.25)) is MetricExportResult.SUCCESS
    exporter.shutdown()
    assert peer.capture.points("gauge") == [Point({"at": 0}, 60, 0.25)]


def test_waiting_ends_when_it_is_there(peer: Peer) -> None:
    """A waiter that is asleep before the call: woken by it, and what it waited for can be read."""
    is_waiting = threading.Event()

    def has_two(capture: Capture) -> bool:
        is_waiting.set()
        return len(capture.points("sum")) == 2

    found: list[bool] = []
    waiter = threading.Thread(target=lambda: found.append(peer.capture.wait_for(has_two, timeout_s=20)))
    waiter.start()
    assert is_waiting.wait(20)
    peer.send_metrics(make_metrics("sum", 1))
    peer.send_metrics(make_metrics("sum", 2))
    waiter.join(20)
    assert found == [True]


def test_waiting_has_an_end(peer: Peer) -> None:
    """What never comes: the wait says so after its time."""
    assert not peer.capture.wait_for(lambda capture: bool(capture.events()), timeout_s=0.01)


def test_stopped_it_is_readable_and_silent() -> None:
    """After the stop calls fail, and what was kept can be read."""
    with serve_backend() as (capture, endpoint), grpc.insecure_channel(endpoint) as channel:
        Peer(capture, endpoint, channel).send_metrics(make_metrics("sum", 1))
    with grpc.insecure_channel(endpoint) as channel, pytest.raises(grpc.RpcError):
        Peer(capture, endpoint, channel).send_metrics(make_metrics("sum", 2))
    assert [point.value for point in capture.points("sum")] == [1]
