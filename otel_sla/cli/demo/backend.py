"""An OTLP/gRPC backend that keeps the points and events that it gets.

It runs on threads of its own, so that a pipeline can run on the event loop of the same process. It has no limit on
what it keeps: it serves an hour, not a month.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Condition
from typing import NamedTuple

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

METRICS_SERVICE = "opentelemetry.proto.collector.metrics.v1.MetricsService"
LOGS_SERVICE = "opentelemetry.proto.collector.logs.v1.LogsService"

Value = str | int | float | bool


class Point(NamedTuple):
    """A number data point of a gauge or a sum."""

    attributes: Mapping[str, Value]
    time_unix_nano: int
    value: int | float


class Capture:
    """What the backend has received so far; any thread may read it."""

    def __init__(self) -> None:
        self._changed = Condition()  # Guards all below; its lock is re-entrant, so predicates may read.
        self._points: dict[str, list[Point]] = {}
        self._events: list[LogRecord] = []

    def points(self, name: str) -> list[Point]:
        """Give the points of one metric in the order of their arrival."""
        with self._changed:
            return list(self._points.get(name, ()))

    def events(self) -> list[LogRecord]:
        """Give the log records in the order of their arrival."""
        with self._changed:
            return list(self._events)

    def wait_for(self, predicate: Callable[["Capture"], bool], timeout_s: float) -> bool:
        """Wait until the predicate holds, looking once per request that arrives; False if the time ends before."""
        with self._changed:
            return self._changed.wait_for(lambda: predicate(self), timeout_s)

    def export_metrics(
        self, request: ExportMetricsServiceRequest, _: grpc.ServicerContext
    ) -> ExportMetricsServiceResponse:
        """Answer a request of metrics."""
        scopes = (scope for resource in request.resource_metrics for scope in resource.scope_metrics)
        with self._changed:
            for metric in (metric for scope in scopes for metric in scope.metrics):
                points = map(_point, (*metric.gauge.data_points, *metric.sum.data_points))
                self._points.setdefault(metric.name, []).extend(points)
            self._changed.notify_all()
        return ExportMetricsServiceResponse()

    def export_logs(self, request: ExportLogsServiceRequest, _: grpc.ServicerContext) -> ExportLogsServiceResponse:
        """Answer a request of logs."""
        with self._changed:
            for resource in request.resource_logs:
                self._events += (record for scope in resource.scope_logs for record in scope.log_records)
            self._changed.notify_all()
        return ExportLogsServiceResponse()


@contextmanager
def serve_backend() -> Iterator[tuple[Capture, str]]:
    """Serve on a free port of loopback; gives what is received, and the endpoint as `127.0.0.1:port`."""
    capture = Capture()
    server = grpc.server(ThreadPoolExecutor(2, thread_name_prefix="capture"), options=[("grpc.so_reuseport", 0)])
    for service, export, request_type in (
        (METRICS_SERVICE, capture.export_metrics, ExportMetricsServiceRequest),
        (LOGS_SERVICE, capture.export_logs, ExportLogsServiceRequest),
    ):
        handler = grpc.unary_unary_rpc_method_handler(
            export, request_type.FromString, lambda response: response.SerializeToString()
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield capture, f"127.0.0.1:{port}"
    finally:
        server.stop(grace=None).wait()


def _point(point: NumberDataPoint) -> Point:
    # This package sends scalars only.
    attributes = {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in point.attributes}
    return Point(attributes, point.time_unix_nano, point.as_int if point.HasField("as_int") else point.as_double)
