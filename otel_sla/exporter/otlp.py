"""Sends verdicts over OTLP with opentelemetry-exporter-otlp's own exporters.

The library makes the request, the channel or session, TLS, headers and compression, and reads the standard environment
variables where the configuration is silent. Its `export` is not enough, as it gives SUCCESS or FAILURE and no more:
neither whether it may be tried again, nor what was rejected of a request that was taken (OTLP's `partial_success`).
Without the one an item that the backend will never take holds up all behind it, without the other it is lost unseen.
Its own retries hold a thread for up to its time limit and know nothing of the ledger. So each attempt is made once
and its answer is read: over gRPC by a call on the exporter's channel (`otlp_grpc`), over HTTP by a session that the
exporter is given (`otlp_http`). When to try again is decided in `schedule`.

Calls block; `delivery` makes them on a thread of its own.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.sdk.metrics.export import Metric, MetricsData
from opentelemetry.sdk.resources import OTELResourceDetector

from otel_sla.errors import ConfigError, ConfigProblem
from otel_sla.exporter.otlp_data import as_data, make_log_record, make_metrics, make_resource
from otel_sla.exporter.otlp_grpc import GrpcExporter, make_grpc_exporters
from otel_sla.exporter.otlp_http import HttpExporter, make_http_exporters
from otel_sla.exporter.refusal import Answer
from otel_sla.exporter.settings import OtlpSettings, Signal
from otel_sla.sla.events import Event
from otel_sla.sla.uptime import MinuteFigures

_NOT_SENT = Answer(is_sent=False)


class OtlpSender:
    """Implements `exporter.delivery.Sender`; `instance_id` is the ledger's (`make_resource`).

    Raises:
        ConfigError: The settings, or the environment where they are silent, cannot be used.
    """

    def __init__(self, settings: OtlpSettings, instance_id: str, clock: Callable[[], int] = time.time_ns) -> None:
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES hold where they are set.
        self._resource = make_resource(instance_id).merge(OTELResourceDetector().detect())
        self._clock = clock
        self._signals = settings.signals
        self._logs: GrpcExporter | HttpExporter
        self._metrics: GrpcExporter | HttpExporter
        make_exporters = make_http_exporters if settings.is_http else make_grpc_exporters
        try:
            self._logs, self._metrics = make_exporters(settings)
        except Exception as error:  # The library has no type for what it cannot use.
            problem = ConfigProblem("", f"cannot be used: {error}")
            raise ConfigError(f"exporters.{settings.name}", [problem]) from error

    def send_events(self, events: Sequence[Event]) -> Answer:
        """Send events in one request, or raise `Refused`."""
        if Signal.LOGS not in self._signals:
            return _NOT_SENT
        now = self._clock()
        body = self._logs.send([make_log_record(event, self._resource, now) for event in events])
        taken = _read(ExportLogsServiceResponse, body).partial_success
        return Answer(taken.rejected_log_records, taken.error_message)

    def send_figures(self, figures: Sequence[MinuteFigures]) -> Answer:
        """Send the points of minutes in one request, or raise `Refused`."""
        if Signal.METRICS not in self._signals:
            return _NOT_SENT
        return self._send_metrics(make_metrics(figures, self._resource))

    def send_own_metrics(self, metrics: Sequence[Metric]) -> Answer:
        """Send the pipeline's own metrics, under the same resource as its verdicts, or raise `Refused`."""
        return self._send_metrics(as_data(metrics, self._resource))

    def close(self) -> None:
        """Close the connections; a call that is under way ends."""
        self._logs.shutdown()
        self._metrics.shutdown()

    def _send_metrics(self, data: MetricsData) -> Answer:
        taken = _read(ExportMetricsServiceResponse, self._metrics.send(data)).partial_success
        return Answer(taken.rejected_data_points, taken.error_message)


def _read(response: type[Any], body: bytes) -> Any:  # noqa: ANN401  Generated classes.
    """Read a success; one whose body cannot be read is a success all the same."""
    try:
        return response.FromString(body)
    except DecodeError:
        return response()
