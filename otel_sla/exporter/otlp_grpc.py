"""OTLP over gRPC: one call on the channel of the library's exporter for each attempt, and what its answer says."""

from collections.abc import Callable, Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

from otel_sla.exporter.refusal import Blame, Refused, grpc_blame, one_line
from otel_sla.exporter.settings import ClientTlsSettings, OtlpSettings

_COMPRESSION = {"none": grpc.Compression.NoCompression, "gzip": grpc.Compression.Gzip}
_CHANNEL_OPTIONS = (
    # gRPC's own are up to two minutes: a backend that is back would be found late, whatever `schedule` tries.
    ("grpc.initial_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 10_000),
)


class GrpcExporter:
    """One signal over gRPC: one attempt, without the library's retries, and the answer as it came.

    Four private attributes of its exporters are read, the same from 1.40 on at least; the integration tests would not
    pass without them. Its stub is not used: gRPC makes an error of an answer that the stub cannot read.
    """

    def __init__(self, exporter: Any, service: str, encode: Callable[[Any], Any]) -> None:  # noqa: ANN401  See above.
        self._exporter = exporter
        self._encode = encode
        self._endpoint = exporter._endpoint  # noqa: SLF001
        self._options = {"metadata": exporter._headers, "timeout": exporter._timeout}  # noqa: SLF001
        # Without a deserializer gRPC gives the bytes.
        self._call = exporter._channel.unary_unary(  # noqa: SLF001
            f"/opentelemetry.proto.collector.{service}/Export",
            request_serializer=lambda request: request.SerializeToString(),
        )

    def send(self, data: Any) -> bytes:  # noqa: ANN401  Log records or metrics.
        """Send once, and give the response's bytes.

        Raises:
            Refused: It was not taken.
        """
        try:
            request = self._encode(data)
        except Exception as error:
            raise Refused(f"cannot be encoded: {one_line(str(error))}", Blame.ITEM) from error
        try:
            answer: bytes = self._call(request, **self._options)
        except grpc.RpcError as error:
            raise self._refused(error) from None
        except ValueError as error:  # "Cannot invoke RPC on closed channel!": we are stopping.
            raise Refused(f"{self._endpoint} is not called any more: {one_line(str(error))}", Blame.BACKEND) from None
        return answer

    def shutdown(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()

    def _refused(self, error: Any) -> Refused:  # noqa: ANN401  An RpcError that is a Call too.
        code: grpc.StatusCode = error.code()
        retry_after_s = retry_delay_s(error.trailing_metadata() or ())
        message = f"{self._endpoint} answers {code.name}: {one_line(error.details() or '')}"
        return Refused(message, grpc_blame(code, retry_after_s), retry_after_s)


def make_grpc_exporters(settings: OtlpSettings) -> tuple[GrpcExporter, GrpcExporter]:
    """Build the exporters of logs and of metrics; what is None in `settings` they take from the environment.

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
    return (
        GrpcExporter(OTLPLogExporter(**options), "logs.v1.LogsService", encode_logs),
        GrpcExporter(OTLPMetricExporter(**options), "metrics.v1.MetricsService", encode_metrics),
    )


def retry_delay_s(trailers: Sequence[tuple[str, str | bytes]]) -> float | None:
    """Find the delay of a RetryInfo in a call's trailers: bare, as a detail of the status, or not there (None)."""
    values = {key: value for key, value in trailers if isinstance(value, bytes)}
    info, bare = RetryInfo(), values.get("google.rpc.retryinfo-bin")
    try:
        if bare is not None:
            info.ParseFromString(bare)
        elif not any(
            detail.Unpack(info) for detail in Status.FromString(values.get("grpc-status-details-bin", b"")).details
        ):
            return None
    except DecodeError:
        return None  # Trailers that cannot be read ask for nothing.
    delay_s: float = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
    return max(0.0, delay_s)


def _credentials(tls: ClientTlsSettings) -> grpc.ChannelCredentials | None:
    if tls.insecure or not (tls.ca_file or tls.cert_file):
        return None
    return grpc.ssl_channel_credentials(
        root_certificates=tls.ca_file.read_bytes() if tls.ca_file else None,
        private_key=tls.key_file.read_bytes() if tls.key_file else None,
        certificate_chain=tls.cert_file.read_bytes() if tls.cert_file else None,
    )
