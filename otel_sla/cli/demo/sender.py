"""Sends the demo's traffic as an instrumented service would: with the real OpenTelemetry SDK, unchanged."""

from collections.abc import Iterable

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, Status, StatusCode

from otel_sla.cli.demo.traffic import DemoRequest
from otel_sla.errors import OtelSlaError

_ROUTE = "/v1/orders"
_FLUSH_TIMEOUT_MS = 20_000


class ServiceSender:
    """One service (`service.name`) with a tracer of its own; it sends by OTLP/gRPC to `endpoint`, a host:port."""

    def __init__(self, service: str, endpoint: str) -> None:
        exporter = OTLPSpanExporter(f"http://{endpoint}", insecure=True, timeout=10)
        # Sampler and resource are given, so that those of the environment do not apply.
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=Resource({"service.name": service}), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("otel_sla.cli.demo")
        self._service = service
        self.close = self._provider.shutdown

    def send(self, requests: Iterable[DemoRequest]) -> int:
        """Send one span for each request and return how many when they are acknowledged. Blocks.

        Raises:
            OtelSlaError: The SDK could not bring them all in time.
        """
        n_spans = 0
        for n_spans, request in enumerate(requests, start=1):  # noqa: B007 - the last number is how many there were.
            attributes: dict[str, str | int] = {
                "http.request.method": "POST",
                "http.route": _ROUTE,
                "http.response.status_code": request.http_status,
            }
            span = self._tracer.start_span(
                f"POST {_ROUTE}", kind=SpanKind.SERVER, attributes=attributes, start_time=request.start_unix_nano
            )
            if request.http_status >= 500:
                span.set_status(Status(StatusCode.ERROR))
            span.end(end_time=request.end_unix_nano)
        if not self._provider.force_flush(_FLUSH_TIMEOUT_MS):
            raise OtelSlaError(f"the SDK did not bring the spans of {self._service} to the pipeline in time")
        return n_spans
