"""A real pipeline inside a test: real ports on loopback, a real ledger, and a clock that the test moves."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import naive

from otel_sla.config import Config, load_config
from otel_sla.exporter.settings import ExporterSettings
from otel_sla.judging.month_report import elapsed_stop_minute, load_report
from otel_sla.ledger.reader import LedgerReader
from otel_sla.receiver.settings import GrpcServerSettings, ReceiverSettings
from otel_sla.report.json import report_object
from otel_sla.serving.pipeline import Pipeline
from otel_sla.sla.agreement import Agreement
from otel_sla.sla.events import Event
from otel_sla.sla.months import Month

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Clock:
    """The time that a pipeline sees, ns since the Unix epoch."""

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        """Tell the time."""
        return self.now


def make_config(
    folder: Path, agreements: Sequence[Agreement] = (), exporters: tuple[ExporterSettings, ...] = (), **processor: float
) -> Config:
    """The defaults on a ledger in `folder` and a free gRPC port, without HTTP."""
    config = load_config(None, {})
    return replace(
        config,
        receiver=ReceiverSettings(grpc=GrpcServerSettings(endpoint="127.0.0.1:0"), http=None),
        ledger=replace(config.ledger, url=f"sqlite:///{folder}/ledger.db"),
        processor=replace(config.processor, **processor),  # type: ignore[arg-type]
        exporters=exporters or config.exporters,
        agreements=tuple(agreements) or config.agreements,
        page=None,
    )


def case_processor(case: Any) -> dict[str, float]:  # noqa: ANN401  agreements.Case
    """A case's durations as the processor's settings."""
    return {
        "grace_s": case.grace.total_seconds(),
        "late_spans_max_s": case.late_spans_max.total_seconds(),
        "future_spans_max_s": case.future_spans_max.total_seconds(),
    }


@asynccontextmanager
async def running(config: Config, clock: Clock, *, steady: Clock | None = None) -> "AsyncPipeline":  # type: ignore[misc]
    """A pipeline that closes minutes only when the test says so (`tick`), and what sends to it."""
    pipeline = Pipeline(config, clock=clock, tick_s=3600, steady=steady)
    await pipeline.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{pipeline.grpc_port}") as channel:
        call = channel.unary_unary(EXPORT)

        async def send(body: bytes) -> bytes:
            return bytes(await call(body, timeout=20))

        try:
            yield pipeline, send
        finally:
            await pipeline.stop()


AsyncPipeline = Iterator[tuple[Pipeline, Callable[[bytes], Awaitable[bytes]]]]


def run(scenario: Callable[[], Awaitable[None]], timeout_s: float = 120) -> None:
    """Run a scenario; it stops by itself."""

    async def bounded() -> None:
        await asyncio.wait_for(scenario(), timeout_s)

    asyncio.run(bounded())


def report_of(config: Config, month: str, now: int) -> dict[str, Any]:
    """The month's report from the ledger, as JSON values."""
    moment = naive.EPOCH + timedelta(microseconds=now // 1000)
    stop_minute = elapsed_stop_minute(moment, timedelta(seconds=config.processor.grace_s))
    with closing(LedgerReader.open(config.ledger.url)) as reader:
        return report_object(load_report(reader, config.agreements, Month.parse(month), stop_minute, moment))


def events_of(config: Config) -> list[Event]:
    """All events of the ledger's outbox, in the order of publishing."""
    with closing(LedgerReader.open(config.ledger.url)) as reader:
        return [stored.event for stored in reader.events_after(0, 1_000_000)]
