"""The demo's hour, told to Prometheus: what the dashboard's tests and pictures are made from."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import beside
import builders
from backends import BackendProcess
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from pipeline_parts import Clock, make_config, running

from otel_sla.cli.demo.show import AGREEMENT
from otel_sla.cli.demo.traffic import HOUR_MINUTES, START_MINUTE, TRAFFIC, phase_at, requests_of
from otel_sla.config import load_config
from otel_sla.exporter.settings import OtlpSettings, Signal

SERVER_ERRORS = 500
MINUTES = range(START_MINUTE, START_MINUTE + HOUR_MINUTES)


def tell_demo_hour(prometheus: BackendProcess, folder: Path) -> None:
    """Have the hour counted and judged minute by minute; return when Prometheus has its last minute."""
    (folder / "agreement.yaml").write_text(AGREEMENT)
    agreements = load_config(folder / "agreement.yaml", {}).agreements
    metrics = OtlpSettings(
        name="otlp_http",
        is_http=True,
        metrics_endpoint=f"{prometheus.url}/api/v1/otlp/v1/metrics",
        signals=frozenset({Signal.METRICS}),  # Prometheus takes no logs.
        interval_s=0.01,
    )

    async def tell() -> None:
        clock = Clock(MINUTES.start * beside.MINUTE_NANOS)
        async with running(make_config(folder, agreements, (metrics,)), clock) as (pipeline, send):
            for index, minute in enumerate(MINUTES):
                for service in TRAFFIC:
                    await send(_body(service, index, minute))
                clock.now += beside.MINUTE_NANOS
                await pipeline.tick()
            clock.now += beside.MINUTE_NANOS
            await pipeline.tick()
            await beside.until(_has_all(prometheus), "the hour's last minute in Prometheus")

    asyncio.run(asyncio.wait_for(tell(), 2 * beside.WAIT_S))


def _body(service: str, index: int, minute: int) -> bytes:
    spans = [
        builders.make_span(
            {"http.response.status_code": request.http_status},
            end_time_unix_nano=request.end_unix_nano,
            trace_id=request.end_unix_nano.to_bytes(16),
            status_code=Status.STATUS_CODE_ERROR if request.http_status >= SERVER_ERRORS else Status.STATUS_CODE_UNSET,
        )
        for request in requests_of(phase_at(TRAFFIC[service], index), minute)
    ]
    return builders.make_request_of(*spans, resource={"service.name": service})


def _has_all(prometheus: BackendProcess) -> Callable[[], bool]:
    return lambda: len(prometheus.query_range("last_over_time(sla_coverage_ratio[1m])", MINUTES[-1:])) == len(TRAFFIC)
