"""otel-sla with a real Collector around it, as `collector-config/` has them.

The Collector is a process. The pipeline runs in the test's own, on a clock that the test moves: a minute need not pass.
"""

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import builders
import grpc
import naive
import parts
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from pipeline_parts import Clock, report_of

from otel_sla.config import Config, load_config
from otel_sla.exporter.settings import OtlpSettings
from otel_sla.ledger.reader import LedgerReader
from otel_sla.serving.pipeline import Pipeline

CONFIGS = Path(__file__).resolve().parents[2] / "collector-config"
MINUTE_NANOS = 60 * 10**9
GRACE_MINUTES = 1  # `processor.grace`, its default.
WAIT_S = 60.0  # For what another process does; never reached unless a test fails.
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_PORT_VARIABLES = ("OTLP_ENDPOINT", "HEALTH_ENDPOINT")
_SIGNALS: dict[str, Any] = {
    "trace.v1.TraceService": ExportTraceServiceRequest,
    "metrics.v1.MetricsService": ExportMetricsServiceRequest,
    "logs.v1.LogsService": ExportLogsServiceRequest,
}
_numbers = itertools.count(1)


def body_of(epoch_minute: int, requests: int, failed: int = 0, *, service_name: str = "chat-1") -> bytes:
    """Requests that ended in a minute, each a trace of a server span and a client span; no two calls give the same."""
    spans = []
    for index in range(requests):
        number = next(_numbers)
        trace_id, is_failed = number.to_bytes(16), index < failed
        moment = epoch_minute * MINUTE_NANOS + (index + 1) * 10**6
        server = builders.make_span(
            {"http.response.status_code": 500 if is_failed else 200},
            end_time_unix_nano=moment,
            trace_id=trace_id,
            span_id=(2 * number).to_bytes(8),
            status_code=Status.STATUS_CODE_ERROR if is_failed else Status.STATUS_CODE_UNSET,
        )
        client = builders.make_span(
            kind=Span.SPAN_KIND_CLIENT,
            end_time_unix_nano=moment,
            trace_id=trace_id,
            span_id=(2 * number + 1).to_bytes(8),
            parent_span_id=server.span_id,
        )
        spans += [server, client]
    return builders.make_request_of(*spans, resource={"service.name": service_name})


async def until(is_so: Callable[[], bool], what: str) -> None:
    """Return once it is so; it is asked some times a second, as what is waited for happens in another process."""
    deadline, never = time.monotonic() + WAIT_S, threading.Event()
    while not await asyncio.to_thread(is_so):
        assert time.monotonic() < deadline, f"not in {WAIT_S} s: {what}"
        await asyncio.to_thread(never.wait, 0.05)


class Backend:
    """Takes all signals over OTLP/gRPC and keeps them; in the place of what a user has."""

    def __init__(self) -> None:
        self.endpoint = ""
        self._kept: dict[str, list[Any]] = {service: [] for service in _SIGNALS}

    @classmethod
    @contextmanager
    def listening(cls) -> Iterator[Self]:
        """One on a free port."""
        backend = cls()
        server = grpc.server(ThreadPoolExecutor(2))
        server.add_generic_rpc_handlers([backend._handler(service) for service in _SIGNALS])
        backend.endpoint = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield backend
        finally:
            server.stop(None)

    def _handler(self, service: str) -> grpc.GenericRpcHandler:
        def keep(body: bytes, _: grpc.ServicerContext) -> bytes:
            self._kept[service].append(_SIGNALS[service].FromString(body))
            return b""

        method = grpc.unary_unary_rpc_method_handler(keep)
        return grpc.method_handlers_generic_handler(f"opentelemetry.proto.collector.{service}", {"Export": method})

    def spans(self) -> list[Span]:
        """All spans so far."""
        kept = list(self._kept["trace.v1.TraceService"])
        resources = itertools.chain.from_iterable(request.resource_spans for request in kept)
        return [span for resource in resources for scope in resource.scope_spans for span in scope.spans]

    def points(self, name: str) -> dict[int, NumberDataPoint]:
        """The last point of a gauge for each minute that it speaks of."""
        kept = list(self._kept["metrics.v1.MetricsService"])
        resources = itertools.chain.from_iterable(request.resource_metrics for request in kept)
        metrics = (metric for resource in resources for scope in resource.scope_metrics for metric in scope.metrics)
        points = itertools.chain.from_iterable(metric.gauge.data_points for metric in metrics if metric.name == name)
        return {point.time_unix_nano // MINUTE_NANOS - 1: point for point in points}

    def events(self) -> list[LogRecord]:
        """All log records so far."""
        kept = list(self._kept["logs.v1.LogsService"])
        resources = itertools.chain.from_iterable(request.resource_logs for request in kept)
        return [record for resource in resources for scope in resource.scope_logs for record in scope.log_records]


class Beside:
    """A Collector and otel-sla beside it. Made by `beside`."""

    def __init__(self, binary: Path, config: Path, folder: Path, environment: dict[str, str]) -> None:
        self.ledger = folder / "ledger.db"
        self.clock = Clock(time.time_ns() // MINUTE_NANOS * MINUTE_NANOS - 60 * MINUTE_NANOS)
        self.first_minute = self.minute  # Of what a test tells.
        self._listen = f"127.0.0.1:{parts.free_ports(1)[0]}"
        variables = {"OTEL_SLA_ENDPOINT": self._listen, "QUEUE_FOLDER": str(folder / "queue"), **environment}
        self.collector = parts.CollectorProcess(binary, config, _PORT_VARIABLES, variables)
        self._pipeline: Pipeline | None = None

    @property
    def minute(self) -> int:
        """The running epoch minute."""
        return int(self.clock.now // MINUTE_NANOS)

    def config(self) -> Config:
        """`collector-config/otel-sla.yaml`, but figures are delivered at once."""
        variables = {
            "OTEL_SLA_ENDPOINT": self._listen,
            "OTLP_ENDPOINT": self.collector.endpoints["OTLP_ENDPOINT"],
            "LEDGER_FILE": str(self.ledger),
        }
        config = load_config(CONFIGS / "otel-sla.yaml", variables)
        (exporter,) = config.exporters
        assert isinstance(exporter, OtlpSettings)
        return replace(config, exporters=(replace(exporter, interval_s=0.01),), page=None)

    async def start(self) -> None:
        """Start otel-sla."""
        self._pipeline = Pipeline(self.config(), clock=self.clock, tick_s=3600)
        await self._pipeline.start()

    async def stop(self) -> None:
        """Stop otel-sla, as SIGTERM does."""
        if self._pipeline is not None:
            pipeline, self._pipeline = self._pipeline, None
            await pipeline.stop()

    async def send(self, *bodies: bytes) -> None:
        """Send to the Collector, as applications do."""
        async with grpc.aio.insecure_channel(self.collector.endpoints["OTLP_ENDPOINT"]) as channel:
            call = channel.unary_unary(EXPORT)
            for body in bodies:
                await call(body, timeout=WAIT_S)

    def counted(self) -> int:
        """All requests in the ledger."""
        with closing(LedgerReader.open(f"sqlite:///{self.ledger}")) as reader:
            return int(reader.counts(0, 1 << 40).counts.sum())

    async def until_counted(self, requests: int) -> None:
        """Wait until the ledger has so many requests, and see that it has no more."""
        await until(lambda: self.counted() >= requests, f"{requests} requests counted")
        assert self.counted() == requests

    async def pass_minutes(self, minutes: int) -> None:
        """Let time go on, and have otel-sla judge what has elapsed."""
        self.clock.now += minutes * MINUTE_NANOS
        if self._pipeline is not None:
            await self._pipeline.tick()

    def report(self) -> dict[str, Any]:
        """This month's report of the one agreement."""
        moment = naive.EPOCH + naive.timedelta(minutes=self.first_minute)
        (agreement,) = report_of(self.config(), f"{moment:%Y-%m}", self.clock.now)["agreements"]
        return dict(agreement)


@asynccontextmanager
async def beside(
    binary: Path, config_name: str, folder: Path, environment: dict[str, str] | None = None
) -> AsyncIterator[Beside]:
    """A configuration of `collector-config/`, run with otel-sla beside it; both are serving."""
    stack = Beside(binary, CONFIGS / f"{config_name}.yaml", folder, environment or {})
    await asyncio.to_thread(stack.collector.start)
    try:
        await stack.start()
        yield stack
    finally:
        await stack.stop()
        await asyncio.to_thread(stack.collector.kill)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario; it ends by itself or fails."""

    async def bounded() -> None:
        await asyncio.wait_for(scenario(), 5 * WAIT_S)

    asyncio.run(bounded())
