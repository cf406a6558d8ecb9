"""Sends verdicts over OTLP with opentelemetry-exporter-otlp's own exporters.

The library makes the request, the channel or session, TLS, headers and compression, and reads the standard environment
variables where the configuration is silent. Its `export` is not enough, as it gives SUCCESS or FAILURE and no more:
neither whether it may be tried again, nor what was rejected of a request that was taken (OTLP's `partial_success`).
Without the one an item that the backend will never take holds up all behind it, without the other it is lost unseen.
Its own retries hold a thread for up to its time limit and know nothing of the ledger. So each attempt is made once
and its answer is read: over gRPC by calling the exporter's own stub (`otlp_grpc`), over HTTP by a session that the
exporter is given (`otlp_http`). When to try again is decided in `delivery`.

Calls block; `delivery` makes them on a thread of its own.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.resources import OTELResourceDetector

from otel_sla.errors import ConfigError, ConfigProblem
from otel_sla.exporter.otlp_data import make_log_record, make_metrics, make_resource
from otel_sla.exporter.otlp_grpc import make_grpc_exporters
from otel_sla.exporter.otlp_http import make_http_exporters
from otel_sla.exporter.refusal import Answer
from otel_sla.exporter.settings import OtlpSettings, Signal
from otel_sla.sla.events import Event
from otel_sla.sla.uptime import MinuteFigures

_NOT_SENT = Answer(is_sent=False)


class OtlpSender:
    """Implements `exporter.delivery.Sender`.

    Args:
        settings: What the configuration says.
        instance_id: The ledger's, so that a restart goes on with the same time series.
        clock: ns since the Unix epoch.

    Raises:
        ConfigError: The settings, or the environment where they are silent, cannot be used.
    """

    def __init__(self, settings: OtlpSettings, instance_id: str, clock: Callable[[], int] = time.time_ns) -> None:
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES hold where they are set.
        self._resource = make_resource(instance_id).merge(OTELResourceDetector().detect())
        self._clock = clock
        self._signals = settings.signals
        try:
            self._logs, self._metrics = _make_exporters(settings)
        except Exception as error:  # The library has no type for what it cannot use.
            problem = ConfigProblem("", f"cannot be used: {error}")
            raise ConfigError(f"exporters.{settings.name}", [problem]) from error

    def send_events(self, events: Sequence[Event]) -> Answer:
        """Send events, in one request.

        Raises:
            Refused: None of them was taken.
        """
        if Signal.LOGS not in self._signals:
            return _NOT_SENT
        now = self._clock()
        records = [make_log_record(event, self._resource, now) for event in events]
        taken = self._logs.send(records).partial_success
        return Answer(taken.rejected_log_records, taken.error_message)

    def send_figures(self, figures: Sequence[MinuteFigures]) -> Answer:
        """Send the points of some minutes, in one request.

        Raises:
            Refused: None of them was taken.
        """
        if Signal.METRICS not in self._signals:
            return _NOT_SENT
        data = make_metrics(figures, self._resource)
        taken = self._metrics.send(data).partial_success
        return Answer(taken.rejected_data_points, taken.error_message)

    def send_telemetry(self, data: MetricsData) -> Answer:
        """Send the pipeline's own metrics, under the same resource as its verdicts, in one request.

        Raises:
            Refused: None of them was taken.
        """
        told = [replace(of_resource, resource=self._resource) for of_resource in data.resource_metrics]
        taken = self._metrics.send(MetricsData(told)).partial_success
        return Answer(taken.rejected_data_points, taken.error_message)

    def close(self) -> None:
        """Close the connections; a call that is under way ends."""
        self._logs.shutdown()
        self._metrics.shutdown()


class _Exporter(Protocol):
    """One signal's way to the backend."""

    def send(self, data: Any) -> Any:  # noqa: ANN401  In: log records or metrics. Out: the signal's response message.
        """Send once, or raise `Refused`."""

    def shutdown(self) -> None:
        """Close the connection."""


def _make_exporters(settings: OtlpSettings) -> tuple[_Exporter, _Exporter]:
    return make_http_exporters(settings) if settings.is_http else make_grpc_exporters(settings)
