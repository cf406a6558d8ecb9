"""The demo's hour, sent to Prometheus and shown on a page: what tests and pictures of both are made from."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any, Self

import beside
import builders
from backends import BackendProcess
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from pipeline_parts import Clock, make_config, running

from otel_sla.cli.demo.show import AGREEMENT
from otel_sla.cli.demo.traffic import HOUR_MINUTES, START_MINUTE, TRAFFIC, phase_at, requests_of
from otel_sla.config import load_config
from otel_sla.exporter.settings import OtlpSettings, Signal
from otel_sla.page.settings import PageSettings
from otel_sla.sla.agreement import Agreement

SERVER_ERRORS = 500
MINUTES = range(START_MINUTE, START_MINUTE + HOUR_MINUTES)


def tell_demo_hour(prometheus: BackendProcess, folder: Path) -> None:
    """Have the hour counted and judged minute by minute; return when Prometheus has its last minute."""
    agreements = _agreements(folder)
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


class ShownHour:
    """The hour of a pipeline with a page, minute by minute.

    The pipeline runs on a thread of its own, so that it answers the page while a browser is waited for.
    """

    def __init__(self, folder: Path) -> None:
        page = PageSettings(endpoint="127.0.0.1:0", title="The demo's hour")
        self.config = replace(make_config(folder, _agreements(folder)), page=page)
        self.clock = Clock(MINUTES.start * beside.MINUTE_NANOS)
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._running = AsyncExitStack()

    @classmethod
    @contextmanager
    def shown(cls, folder: Path) -> Iterator[Self]:
        """One before its first minute."""
        hour = cls(folder)
        thread = Thread(target=hour._loop.run_forever, name="pipeline")
        thread.start()
        try:
            hour.start()
            yield hour
        finally:
            hour.stop()
            hour._loop.call_soon_threadsafe(hour._loop.stop)
            thread.join()
            hour._loop.close()

    def start(self) -> None:
        """Start the pipeline; again after a stop, it has the ports that it had."""
        self._pipeline, self._send = self._run(self._running.enter_async_context(running(self.config, self.clock)))
        self.url = self._pipeline.page.url
        port = self._pipeline.page.addresses[0].port
        self.config = replace(self.config, page=replace(self.config.page, endpoint=f"127.0.0.1:{port}"))

    def stop(self) -> None:
        """Stop the pipeline."""
        self._run(self._running.aclose())

    def send_minute(self, index: int) -> None:
        """Send the requests of a minute, which is the running one or an earlier one."""
        for service in TRAFFIC:
            self.send(_body(service, index, MINUTES[index]))

    def send(self, body: bytes) -> None:
        """Send a request to the pipeline."""
        self._run(self._send(body))

    def end_minute(self) -> None:
        """Let the running minute end; the one before it is judged, as `processor.grace` is a minute."""
        self.clock.now += beside.MINUTE_NANOS
        self.judge()

    def judge(self) -> None:
        """Let what has changed be judged."""
        self._run(self._pipeline.tick())

    def _run(self, coroutine: Awaitable[Any]) -> Any:  # noqa: ANN401  what the coroutine gives
        async def awaited() -> Any:  # noqa: ANN401
            return await coroutine

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result(beside.WAIT_S)


def _agreements(folder: Path) -> tuple[Agreement, ...]:
    (folder / "agreement.yaml").write_text(AGREEMENT)
    return load_config(folder / "agreement.yaml", {}).agreements


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
