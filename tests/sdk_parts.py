"""An application in small: a tracer, a meter, the processor between them, and a clock that stands still."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import naive
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from opentelemetry.trace import SpanKind, StatusCode

from otel_sla.config import Config, parse_config
from otel_sla.sdk import SlaSpanProcessor
from otel_sla.sla.agreement import Agreement

MINUTE_NANOS = naive.NANOS_PER_MINUTE
START = 1_782_086_400 * 10**9  # 2026-06-22T00:00:00Z, a Monday.
RESOURCE = {"service.name": "chat-1", "deployment.environment.name": "production"}

Points = dict[frozenset[tuple[str, Any]], float]


class Clock:
    """Tells the time that it is set to, ns since the Unix epoch."""

    def __init__(self, now: int = START) -> None:
        self.now = now

    def __call__(self) -> int:
        """Tell it."""
        return self.now


class RunningClock(Clock):
    """Tells the machine's time and what it was set ahead by."""

    ahead = 0

    def __call__(self) -> int:
        """Tell it."""
        return time.time_ns() + self.ahead


def make_config(text: str = "") -> Config:
    """A configuration from its text."""
    return parse_config(text, "test", {})


class Application:
    """A tracer and a meter with the processor, and beside it an exporter that keeps what others would get."""

    def __init__(
        self,
        config: Config | str | Path | None = None,
        *,
        clock: Clock | None = None,
        sampler: Sampler = ALWAYS_ON,
        **options: Any,  # noqa: ANN401 - the processor's own.
    ) -> None:
        self.clock = clock or Clock()
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.processor = SlaSpanProcessor(config, meter_provider=self.meters, clock=self.clock, **options)
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(sampler=sampler, resource=Resource(RESOURCE), shutdown_on_exit=False)
        self.tracers.add_span_processor(self.processor)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.tracers.get_tracer("test")

    def request(
        self,
        status: int | None = 200,
        *,
        kind: SpanKind = SpanKind.SERVER,
        end: int | None = None,
        attributes: Mapping[str, Any] | None = None,
        span_status: StatusCode = StatusCode.UNSET,
    ) -> None:
        """Answer one request: its span ends now, or at `end`."""
        given = {} if status is None else {"http.response.status_code": status}
        span = self.tracer.start_span("request", kind=kind, attributes={**given, **(attributes or {})})
        span.set_status(span_status)
        span.end(end_time=self.clock.now if end is None else end)

    def pass_minutes(self, count: int) -> None:
        """Let whole minutes go by, and all that has elapsed be judged."""
        assert self.processor.force_flush()
        for _ in range(count):
            self.clock.now += MINUTE_NANOS
            assert self.processor.force_flush()

    def metrics(self) -> dict[str, Metric]:
        """All metrics of the MeterProvider by name."""
        data = self.reader.get_metrics_data()
        found = (scope for resource in data.resource_metrics for scope in resource.scope_metrics) if data else ()
        return {metric.name: metric for scope in found for metric in scope.metrics}

    def points(self, name: str) -> Points:
        """One metric's values by their attributes; none if it has no points."""
        metric = self.metrics().get(name)
        return {frozenset(point.attributes.items()): point.value for point in metric.data.data_points} if metric else {}

    def values(self, name: str) -> list[float]:
        """One metric's values."""
        return list(self.points(name).values())

    def requests(self) -> dict[str, float]:
        """Counted requests by outcome, of all series together."""
        found: dict[str, float] = {}
        for attributes, value in self.points("sla.requests").items():
            outcome = dict(attributes)["sla.request.outcome"]
            found[outcome] = found.get(outcome, 0) + value
        return found

    def uncounted(self) -> dict[str, float]:
        """Spans that were not counted, by reason."""
        points = self.points("sla.sdk.uncounted_spans").items()
        return {dict(attributes)["error.type"]: value for attributes, value in points}

    def close(self) -> None:
        """End the application."""
        self.tracers.shutdown()
        self.meters.shutdown()


@contextmanager
def running(config: Config | str | Path | None = None, **options: Any) -> Iterator[Application]:  # noqa: ANN401
    """An application that is ended afterwards."""
    application = Application(config, **options)
    try:
        yield application
    finally:
        application.close()


def twin_counts(
    spans: Sequence[ReadableSpan], agreements: Sequence[Agreement], now: int
) -> dict[naive.SeriesKey, naive.MinuteCounts]:
    """What the slow twin counts of spans that were sent to a pipeline as they are."""
    body = encode_spans(spans).SerializeToString()
    counted = naive.count(
        [(body, now)], agreements, late_spans_max=timedelta(hours=24), future_spans_max=timedelta(minutes=5)
    )
    return counted.series
