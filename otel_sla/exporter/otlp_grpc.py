"""OTLP over gRPC: one call of the library's exporter for each attempt, and what its answer says."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from otel_sla.exporter.refusal import Blame, Refused, grpc_blame, one_line
from otel_sla.exporter.settings import ClientTlsSettings, OtlpSettings

_COMPRESSION = {"none": grpc.Compression.NoCompression, "gzip": grpc.Compression.Gzip}
_CHANNEL_OPTIONS = (
    # gRPC's own are up to two minutes: a backend that is back would be found late, whatever `delivery` tries.
    ("grpc.initial_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 10_000),
)


class _OneCall:
    """For an exporter of the library: one attempt, without its retries, and the answer as it came.

    These four attributes and `_translate_data` are the library's, the same from 1.40 on at least; the integration
    tests would not pass without them. Its stub is not used: where an answer cannot be read gRPC makes an error of it,
    as if nothing had been taken.
    """

    _service: str
    _response: type[Message]
    _channel: Any
    _headers: Any
    _timeout: float
    _endpoint: Any

    def send(self, data: Any) -> Any:  # noqa: ANN401  In: log records or metrics. Out: the signal's response message.
        """Send once. A success whose body cannot be read is one all the same.

        Raises:
            Refused: It was not taken.
        """
        try:
            request = self._translate_data(data)  # type: ignore[attr-defined]
        except Exception as error:
            raise Refused(f"cannot be encoded: {one_line(str(error))}", Blame.ITEM) from error
        try:
            answer: bytes = self._call(request, metadata=self._headers, timeout=self._timeout)
        except grpc.RpcError as error:
            raise self._refused(error) from None
        except ValueError as error:  # "Cannot invoke RPC on closed channel!": we are stopping.
            raise Refused(f"{self._endpoint} is not called any more: {one_line(str(error))}", Blame.BACKEND) from None
        try:
            return self._response.FromString(answer)
        except DecodeError:
            return self._response()

    @cached_property
    def _call(self) -> Any:  # noqa: ANN401  grpc.UnaryUnaryMultiCallable, which has no type that mypy knows.
        path = f"/{self._service}/Export"
        return self._channel.unary_unary(path, request_serializer=lambda request: request.SerializeToString())

    def _refused(self, error: Any) -> Refused:  # noqa: ANN401  An RpcError that is a Call too.
        code: grpc.StatusCode = error.code()
        retry_after_s = retry_delay_s(error.trailing_metadata() or ())
        message = f"{self._endpoint} answers {code.name}: {one_line(error.details() or '')}"
        return Refused(message, grpc_blame(code, retry_after_s), retry_after_s)


class GrpcLogs(_OneCall, OTLPLogExporter):
    """Takes a sequence of ReadableLogRecord."""

    _service = "opentelemetry.proto.collector.logs.v1.LogsService"
    _response = ExportLogsServiceResponse


class GrpcMetrics(_OneCall, OTLPMetricExporter):
    """Takes MetricsData."""

    _service = "opentelemetry.proto.collector.metrics.v1.MetricsService"
    _response = ExportMetricsServiceResponse


def make_grpc_exporters(settings: OtlpSettings) -> tuple[GrpcLogs, GrpcMetrics]:
    """Build both exporters; what is None in `settings` they take from the environment.

    Raises:
        OSError: A certificate cannot be read.
    """
    options: dict[str, Any] = {
        "endpoint": settings.endpoint,
        "insecure": settings.tls.insecure if settings.tls else None,
        "credentials": _credentials(settings.tls) if settings.tls else None,
        "headers": tuple((key.lower(), value) for key, value in settings.headers.items()) or None,
        "timeout": settings.timeout_s,
        "compression": _COMPRESSION[settings.compression] if settings.compression else None,
        "channel_options": _CHANNEL_OPTIONS,
    }
    return GrpcLogs(**options), GrpcMetrics(**options)


def retry_delay_s(trailers: Sequence[tuple[str, str | bytes]]) -> float | None:
    """Find the delay of a RetryInfo in a call's trailers: bare, as a detail of the status, or not there (None)."""
    values = {key: value for key, value in trailers if isinstance(value, bytes)}
    try:
        if "google.rpc.retryinfo-bin" in values:
            return _seconds(RetryInfo.FromString(values["google.rpc.retryinfo-bin"]).retry_delay)
        for detail in Status.FromString(values.get("grpc-status-details-bin", b"")).details:
            info = RetryInfo()
            if detail.Unpack(info):
                return _seconds(info.retry_delay)
    except DecodeError:
        return None  # What cannot be read asks for nothing.
    return None


def _seconds(delay: Duration) -> float:
    seconds: float = delay.seconds + delay.nanos / 1e9
    return max(0.0, seconds)


def _credentials(tls: ClientTlsSettings) -> grpc.ChannelCredentials | None:
    if tls.insecure or not (tls.ca_file or tls.cert_file):
        return None
    return grpc.ssl_channel_credentials(
        root_certificates=tls.ca_file.read_bytes() if tls.ca_file else None,
        private_key=tls.key_file.read_bytes() if tls.key_file else None,
        certificate_chain=tls.cert_file.read_bytes() if tls.cert_file else None,
    )
