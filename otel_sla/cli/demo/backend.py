"""An OTLP/gRPC backend that keeps what it gets: for the demo and the tests.

It runs on threads of its own, so that a pipeline can run on the event loop of the same process. It has no limit on
what it keeps: it is no backend for anything that goes on.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Condition
from types import TracebackType
from typing import NamedTuple, Self

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, NumberDataPoint

METRICS_SERVICE = "opentelemetry.proto.collector.metrics.v1.MetricsService"
LOGS_SERVICE = "opentelemetry.proto.collector.logs.v1.LogsService"

Value = str | int | float | bool


class Point(NamedTuple):
    """A number data point of a gauge or a sum."""

    attributes: Mapping[str, Value]
    time_unix_nano: int
    value: int | float


@dataclass(frozen=True, slots=True)
class CapturedEvent:
    """A log record."""

    name: str
    uid: str  # `log.record.uid`.
    time_unix_nano: int
    severity_number: int
    body: str
    attributes: Mapping[str, Value]  # Without the uid.


class Capture:
    """Listens on a free port of loopback once it is started; used as a context it is stopped at the end.

    Every reading method sees only requests that were answered with OK.
    """

    def __init__(self) -> None:
        self._server: grpc.Server | None = None
        self._changed = Condition()  # Guards all below; its lock is re-entrant, so predicates may read.
        self._answers: deque[grpc.StatusCode] = deque()
        self._points: dict[str, list[Point]] = {}
        self._events: list[CapturedEvent] = []
        self._metric_requests: list[ExportMetricsServiceRequest] = []
        self._log_requests: list[ExportLogsServiceRequest] = []
        self._n_calls = 0

    def start(self) -> str:
        """Listen and serve.

        Returns:
            The endpoint, as `127.0.0.1:port`.
        """
        assert self._server is None, "started once"
        server = grpc.server(ThreadPoolExecutor(2, thread_name_prefix="capture"), options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(METRICS_SERVICE, {"Export": self._metrics_handler()}),
                grpc.method_handlers_generic_handler(LOGS_SERVICE, {"Export": self._logs_handler()}),
            )
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self._server = server
        return f"127.0.0.1:{port}"

    def stop(self) -> None:
        """Stop serving; what was kept stays readable. Safe to call twice."""
        server, self._server = self._server, None
        if server is not None:
            server.stop(grace=None).wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def answer_with(self, *codes: grpc.StatusCode) -> None:
        """Answer the next calls with these codes, one each; calls after them get OK. What is refused is not kept."""
        with self._changed:
            self._answers.extend(codes)

    def points(self, name: str) -> list[Point]:
        """Give the points of one metric in the order of their arrival."""
        with self._changed:
            return list(self._points.get(name, ()))

    def events(self) -> list[CapturedEvent]:
        """Give the log records in the order of their arrival."""
        with self._changed:
            return list(self._events)

    @property
    def metric_names(self) -> frozenset[str]:
        """The metrics of which there are points."""
        with self._changed:
            return frozenset(self._points)

    @property
    def metric_requests(self) -> Sequence[ExportMetricsServiceRequest]:
        """The metrics as they came, resource and scope included."""
        with self._changed:
            return tuple(self._metric_requests)

    @property
    def log_requests(self) -> Sequence[ExportLogsServiceRequest]:
        """The logs as they came, resource and scope included."""
        with self._changed:
            return tuple(self._log_requests)

    @property
    def n_calls(self) -> int:
        """Calls so far, refused ones included."""
        with self._changed:
            return self._n_calls

    def wait_for(self, predicate: Callable[["Capture"], bool], timeout_s: float) -> bool:
        """Wait until the predicate holds, looking once per call that arrives.

        Returns:
            Whether it held before the time was over.
        """
        with self._changed:
            return self._changed.wait_for(lambda: predicate(self), timeout_s)

    def _metrics_handler(self) -> grpc.RpcMethodHandler:
        def export(request: ExportMetricsServiceRequest, context: grpc.ServicerContext) -> ExportMetricsServiceResponse:
            self._answer(context, lambda: self._keep_metrics(request))
            return ExportMetricsServiceResponse()

        return grpc.unary_unary_rpc_method_handler(
            export, ExportMetricsServiceRequest.FromString, ExportMetricsServiceResponse.SerializeToString
        )

    def _logs_handler(self) -> grpc.RpcMethodHandler:
        def export(request: ExportLogsServiceRequest, context: grpc.ServicerContext) -> ExportLogsServiceResponse:
            self._answer(context, lambda: self._keep_logs(request))
            return ExportLogsServiceResponse()

        return grpc.unary_unary_rpc_method_handler(
            export, ExportLogsServiceRequest.FromString, ExportLogsServiceResponse.SerializeToString
        )

    def _answer(self, context: grpc.ServicerContext, keep: Callable[[], None]) -> None:
        with self._changed:
            self._n_calls += 1
            code = self._answers.popleft() if self._answers else grpc.StatusCode.OK
            if code is grpc.StatusCode.OK:
                keep()
            self._changed.notify_all()
        if code is not grpc.StatusCode.OK:
            context.abort(code, "as the test asked for")

    def _keep_metrics(self, request: ExportMetricsServiceRequest) -> None:
        self._metric_requests.append(request)
        for resource_metrics in request.resource_metrics:
            for scope_metrics in resource_metrics.scope_metrics:
                for metric in scope_metrics.metrics:
                    self._points.setdefault(metric.name, []).extend(map(_point, _number_points(metric)))

    def _keep_logs(self, request: ExportLogsServiceRequest) -> None:
        self._log_requests.append(request)
        for resource_logs in request.resource_logs:
            for scope_logs in resource_logs.scope_logs:
                self._events.extend(map(_event, scope_logs.log_records))


def _number_points(metric: Metric) -> Iterator[NumberDataPoint]:
    if metric.HasField("gauge"):
        yield from metric.gauge.data_points
    yield from metric.sum.data_points


def _point(point: NumberDataPoint) -> Point:
    value = point.as_int if point.HasField("as_int") else point.as_double
    return Point(_values(point.attributes), point.time_unix_nano, value)


def _event(record: LogRecord) -> CapturedEvent:
    attributes = _values(record.attributes)
    return CapturedEvent(
        name=record.event_name,
        uid=str(attributes.pop("log.record.uid", "")),
        time_unix_nano=record.time_unix_nano,
        severity_number=record.severity_number,
        body=record.body.string_value,
        attributes=attributes,
    )


def _values(attributes: Iterable[KeyValue]) -> dict[str, Value]:
    return {attribute.key: _value(attribute.value) for attribute in attributes}


def _value(value: AnyValue) -> Value:
    """Give a scalar; this package sends no other values."""
    kind = value.WhichOneof("value")
    assert kind in ("string_value", "bool_value", "int_value", "double_value"), f"no scalar: {kind}"
    found: Value = getattr(value, kind)
    return found
