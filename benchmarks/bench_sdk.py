"""What the span processor costs an application: on the request's thread, and behind it.

Side by side and in turns, in CPU time: no processor, `SlaSpanProcessor`, and the SDK's `BatchSpanProcessor` with an
exporter that encodes and does not send. Each round ends spans on one thread, and lets what was left be done before the
next one. Run: python benchmarks/bench_sdk.py [--rounds 40] [--spans 1000].

- on_end: the call alone, of spans that ended before; the best round, and the median.
- request: starting, ending and whatever is called in between, of a span with 10 attributes.
- behind: all other CPU time of the process, of one span: encoding and counting, or encoding.
"""

import argparse
import statistics
import time
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind

from otel_sla.sdk import SlaSpanProcessor

ATTRIBUTES = {
    "http.request.method": "GET",
    "url.scheme": "https",
    "url.path": "/v1/messages/7f3a",
    "http.route": "/v1/messages/{id}",
    "http.response.status_code": 200,
    "server.address": "chat.example.com",
    "server.port": 443,
    "network.protocol.version": "1.1",
    "client.address": "203.0.113.9",
    "user_agent.original": "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101",
}


class Encoder(SpanExporter):
    """Does what an OTLP exporter does before it sends."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Encode."""
        encode_spans(spans).SerializeToString()
        return SpanExportResult.SUCCESS


class Nothing(SpanProcessor):
    """What the SDK's own call costs."""


class Runner:
    """One processor, and what was measured of it."""

    def __init__(self, processor: SpanProcessor) -> None:
        self.processor = processor
        self.provider = TracerProvider(resource=Resource({"service.name": "chat-1"}), shutdown_on_exit=False)
        self.provider.add_span_processor(processor)
        self.tracer = self.provider.get_tracer("benchmark")
        self.on_end_ns: list[float] = []
        self.request_ns: list[float] = []
        self.behind_ns: list[float] = []

    def run(self, spans: Sequence[ReadableSpan]) -> None:
        """One round: the calls alone, then whole requests."""
        count, on_end = len(spans), self.processor.on_end
        self.processor.force_flush()
        start_ns = time.thread_time_ns()
        for span in spans:
            on_end(span)
        self.on_end_ns.append((time.thread_time_ns() - start_ns) / count)
        self.processor.force_flush()
        process_ns, start_ns = time.process_time_ns(), time.thread_time_ns()
        for _ in range(count):
            self.tracer.start_span("GET /v1/messages/{id}", kind=SpanKind.SERVER, attributes=ATTRIBUTES).end()
        request_ns = time.thread_time_ns() - start_ns
        self.processor.force_flush()
        # BatchSpanProcessor flushes on this thread, SlaSpanProcessor on its own: all but the requests is behind them.
        self.behind_ns.append((time.process_time_ns() - process_ns - request_ns) / count)
        self.request_ns.append(request_ns / count)


def ended_spans(count: int) -> list[ReadableSpan]:
    """Spans as processors get them."""
    kept: list[ReadableSpan] = []

    class Keeper(Nothing):
        def on_end(self, span: ReadableSpan) -> None:
            kept.append(span)

    tracer = Runner(Keeper()).tracer
    for _ in range(count):
        tracer.start_span("GET /v1/messages/{id}", kind=SpanKind.SERVER, attributes=ATTRIBUTES).end()
    return kept


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--spans", type=int, default=1000, help="of a round; less than wakes the processors' threads")
    arguments = parser.parse_args()
    runners = {
        "no processor": Runner(Nothing()),
        "SlaSpanProcessor": Runner(SlaSpanProcessor(meter_provider=MeterProvider(shutdown_on_exit=False))),
        "BatchSpanProcessor": Runner(
            BatchSpanProcessor(Encoder(), max_queue_size=2 * arguments.spans, max_export_batch_size=arguments.spans + 1)
        ),
    }
    spans = ended_spans(arguments.spans)
    for _ in range(arguments.rounds):
        for runner in runners.values():
            runner.run(spans)
    print(f"{'ns per span':<20}{'on_end':>8}{'median':>8}{'request':>9}{'median':>8}{'behind':>8}{'median':>8}")
    for name, runner in runners.items():
        row = f"{name:<20}"
        for measured, width in ((runner.on_end_ns, 8), (runner.request_ns, 9), (runner.behind_ns, 8)):
            row += f"{min(measured):>{width}.0f}{statistics.median(measured):>8.0f}"
        print(row)
        runner.provider.shutdown()


if __name__ == "__main__":
    main()
