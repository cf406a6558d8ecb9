"""`otel-sla demo`: a real pipeline and a backend in one process, an hour in simulated time.

Minute by minute the spans are sent, the clock is moved and the pipeline closes what has become old enough, as it would
have done in that hour. Nothing waits for time: the next minute begins when the backend has the last one's points.
"""

import asyncio
import textwrap
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from otel_sla.cli.commands import Commands
from otel_sla.cli.demo import rendering
from otel_sla.cli.demo.backend import Capture, serve_backend
from otel_sla.cli.demo.rendering import GROUP_KEY, MINUTE_STATUS
from otel_sla.cli.demo.sender import ServiceSender
from otel_sla.cli.demo.traffic import HOUR_MINUTES, START, START_MINUTE, TRAFFIC, phase_at, requests_of
from otel_sla.config import Config, load_config
from otel_sla.errors import OtelSlaError
from otel_sla.exporter.otlp_data import GAUGES
from otel_sla.exporter.settings import ClientTlsSettings, OtlpSettings
from otel_sla.jit import is_cache_warm
from otel_sla.judging.month_report import elapsed_stop_minute, load_report
from otel_sla.ledger.reader import LedgerReader
from otel_sla.page.settings import PageSettings
from otel_sla.receiver.settings import GrpcServerSettings, ReceiverSettings
from otel_sla.report.table import render_table
from otel_sla.serving.pipeline import Pipeline
from otel_sla.sla.counts import NANOS_PER_MINUTE
from otel_sla.sla.months import Month

commands = Commands("demo")

AGREEMENT = """\
agreements:
  - name: shop
    group_by: [service.name]
    error_rate: {failed_http_status: [5xx]}
    downtime: {error_rate_above: 5%, no_data: up}
    monthly_uptime: {target: 99.95%, time_zone: UTC}
"""

_EVENTFUL = "checkout"
_NEVER_S = 3600.0  # The pipeline's own tick would judge by a clock that stands still.
_POINT_TIMEOUT_S = 20.0


@commands.command()
def demo(
    *,
    stay: Annotated[bool, typer.Option("--stay", help="Serve the status page meanwhile, and afterwards.")] = False,
) -> None:
    """Show it all in half a minute: spans of an eventful hour in, events and the month's figure out."""
    with TemporaryDirectory(prefix="otel-sla-demo-") as folder, suppress(KeyboardInterrupt):
        asyncio.run(_show(Path(folder), PageSettings(title="The demo's hour") if stay else None))


async def _show(folder: Path, page: PageSettings | None) -> None:
    started_s = time.monotonic()
    typer.echo("An eventful hour of two services, in simulated time, judged by this agreement:\n")
    typer.echo(textwrap.indent(AGREEMENT, "  "))
    (folder / "agreement.yaml").write_text(AGREEMENT, encoding="utf-8")
    with serve_backend() as (backend, endpoint):
        config = replace(_make_config(folder, endpoint), page=page)
        hour = _Hour(config, backend)
        async with hour.running() as pipeline:
            await hour.play(pipeline)
            _print_outcome(config, backend)
            took_s = time.monotonic() - started_s
            typer.echo(f"\n{hour.n_spans} spans sent by the OpenTelemetry SDK, all acknowledged; {took_s:.1f} s.")
            if pipeline.page is not None and pipeline.page.url is not None:
                typer.echo(f"\nThe hour stays at {pipeline.page.url} until Ctrl-C.")
                await asyncio.Event().wait()


def _make_config(folder: Path, backend_endpoint: str) -> Config:
    """The agreement on free ports and a ledger of its own; nothing of the environment."""
    config = load_config(folder / "agreement.yaml", {})
    exporter = OtlpSettings(
        name="otlp", is_http=False, endpoint=backend_endpoint, tls=ClientTlsSettings(insecure=True), interval_s=0.0
    )
    return replace(
        config,
        receiver=ReceiverSettings(grpc=GrpcServerSettings(endpoint="127.0.0.1:0"), http=None),
        ledger=replace(config.ledger, url=f"sqlite:///{folder / 'ledger.db'}"),
        exporters=(exporter,),
    )


class _Hour:
    """The hour while it is sent to a pipeline, judged, and exported to a backend."""

    def __init__(self, config: Config, backend: Capture) -> None:
        self.n_spans = 0
        self._config = config
        self._backend = backend
        self._n_events_printed = 0
        self._now = START_MINUTE * NANOS_PER_MINUTE

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Pipeline]:
        pipeline = Pipeline(self._config, clock=lambda: self._now, tick_s=_NEVER_S)
        if not is_cache_warm():
            typer.echo("Compiling kernels, once on this machine: some seconds.\n")
        await pipeline.start()
        try:
            if pipeline.page is not None and pipeline.page.url is not None:
                typer.echo(f"Watch it at {pipeline.page.url}\n")
            yield pipeline
        finally:
            await pipeline.stop()

    async def play(self, pipeline: Pipeline) -> None:
        async with AsyncExitStack() as stack:
            senders = {service: ServiceSender(service, f"127.0.0.1:{pipeline.grpc_port}") for service in TRAFFIC}
            for sender in senders.values():
                stack.push_async_callback(asyncio.to_thread, sender.close)
            typer.echo("Events, as the backend receives them:\n")
            # One minute more than the hour has: a minute is judged once it has been over for `grace`, which is as long.
            for index in range(HOUR_MINUTES + 1):
                await self._play_minute(index, pipeline, senders)
        self._print_events()

    async def _play_minute(self, index: int, pipeline: Pipeline, senders: dict[str, ServiceSender]) -> None:
        """Send a minute's requests, let it end, and wait until the backend has the points of the minute before it."""
        minute = START_MINUTE + index
        if index < HOUR_MINUTES:
            for service, sender in senders.items():
                requests = requests_of(phase_at(TRAFFIC[service], index), minute)
                self.n_spans += await asyncio.to_thread(sender.send, requests)
            # The SDK only logs it when spans are lost; the figures would be others then.
            if pipeline.metrics.accepted_spans != self.n_spans:
                sent = f"{self.n_spans} spans were made, {pipeline.metrics.accepted_spans} acknowledged"
                raise OtelSlaError(f"{sent}; does the environment (OTEL_*) change how the SDK sends?")
        self._now = (minute + 1) * NANOS_PER_MINUTE
        await pipeline.tick()
        if index > 0:
            await asyncio.to_thread(self._wait_for_points, minute * NANOS_PER_MINUTE)
            self._print_events()

    def _wait_for_points(self, time_unix_nano: int) -> None:
        def is_there(backend: Capture) -> bool:
            points = backend.points(MINUTE_STATUS)
            services = {point.attributes[GROUP_KEY] for point in points if point.time_unix_nano == time_unix_nano}
            return services == set(TRAFFIC)

        if not self._backend.wait_for(is_there, _POINT_TIMEOUT_S):
            raise OtelSlaError(f"the backend did not receive a minute's points within {_POINT_TIMEOUT_S:g} s")

    def _print_events(self) -> None:
        events = self._backend.events()[self._n_events_printed :]
        self._n_events_printed += len(events)
        for event in events:
            _print(rendering.render_event(event))


def _print(text: Text) -> None:
    """Print with colours, where the terminal shows them and its user wants them."""
    Console(highlight=False, soft_wrap=True).print(text)


def _print_outcome(config: Config, backend: Capture) -> None:
    states = rendering.states_of(backend.points(MINUTE_STATUS), START_MINUTE, HOUR_MINUTES)
    typer.echo("\nThe hour, minute by minute, from the points that the backend received:\n")
    _print(rendering.render_cells(states, START_MINUTE))
    typer.echo(f"\nWhat was sent to {_EVENTFUL}, a minute, and how it was judged:\n")
    _print(rendering.render_phases(TRAFFIC[_EVENTFUL], states[_EVENTFUL], START_MINUTE))
    typer.echo("\nThe newest gauges that the backend received:\n")
    _print(rendering.render_gauges({gauge.name: backend.points(gauge.name) for gauge in GAUGES}))
    typer.echo("\nThe month so far, from the ledger (otel-sla report):\n")
    now = START + timedelta(minutes=HOUR_MINUTES + 1)
    elapsed_stop = elapsed_stop_minute(now, timedelta(seconds=config.processor.grace_s))
    with closing(LedgerReader.open(config.ledger.url)) as reader:
        report = load_report(reader, config.agreements, Month(START.year, START.month), elapsed_stop, now)
    typer.echo(render_table(report), nl=False)
