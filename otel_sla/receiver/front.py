"""Where spans come in: servers in this process, or workers that share the ports."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from otel_sla.counting.receipt import TracesConsumer
from otel_sla.logs import LogSettings
from otel_sla.process import connections_that_fit
from otel_sla.receiver.http.app import Probes
from otel_sla.receiver.refusals import Refusals
from otel_sla.receiver.responses import Readiness
from otel_sla.receiver.servers import Servers
from otel_sla.receiver.settings import ReceiverSettings
from otel_sla.receiver.workers.pool import WorkerPool
from otel_sla.self_metrics import SelfMetrics

_STATE_S = 0.2  # How often readiness is published.


class Front:
    """The receiver of a pipeline.

    Args:
        settings: What the configuration says.
        logs: How workers write their logs.
        accountant: Counts the requests.
        metrics: Shows what the servers count.
        readiness: Says whether the pipeline takes requests now.
    """

    def __init__(
        self,
        settings: ReceiverSettings,
        logs: LogSettings,
        accountant: TracesConsumer,
        metrics: SelfMetrics,
        readiness: Callable[[], Readiness],
    ) -> None:
        self._settings = settings
        self._logs = logs
        self._accountant = accountant
        self._metrics = metrics
        self._probes = Probes(readiness, metrics.prometheus_text)
        self._refusals = Refusals()
        self._publishing: asyncio.Task[None] | None = None
        self.servers: Servers | WorkerPool | None = None
        self.grpc_port: int | None = None
        self.http_port: int | None = None

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            OtelSlaError: A port cannot be bound, or a certificate or token cannot be read.
        """
        settings, metrics = _within_open_files(self._settings), self._metrics
        servers: Servers | WorkerPool
        if settings.processes == 1:
            servers = Servers(settings, self._accountant, self._probes, self._refusals)
        else:
            servers = WorkerPool(settings, self._logs, self._accountant, self._probes, self._refusals)
            metrics.workers_rss_bytes, metrics.workers_cpu_s = servers.rss_bytes, servers.cpu_s
        self.servers = servers  # To be stopped, also when not all of it starts.
        await servers.start()
        self.grpc_port, self.http_port = servers.grpc_port, servers.http_port
        metrics.register("sla.receiver.overloaded_requests", servers.overloaded_count)
        metrics.register("sla.receiver.in_flight_size", servers.in_flight_bytes)
        if settings.grpc is not None:
            metrics.register_receiver("grpc", servers.grpc_answers)
        if settings.http is not None:
            metrics.register_receiver("http", servers.http_answers)
            transport = {"transport": "http"}  # gRPC closes its own silently.
            metrics.register("sla.receiver.refused_connections", lambda: self._refusals.connections, transport)
        self._publishing = asyncio.create_task(self._publish_for_ever())

    def publish_state(self) -> None:
        """Have health and readiness say at once what is so now; otherwise they say it a moment later."""
        if self.servers is not None:
            self.servers.publish_state()

    def reload(self) -> None:
        """Read certificates and tokens again now."""
        if self.servers is not None:
            self.servers.reload()

    async def stop(self, grace_s: float) -> None:
        """Take nothing new; give what is under way `grace_s` to finish. Safe when not all of it was started."""
        if self._publishing is not None:
            self._publishing.cancel()
        if self.servers is not None:
            await self.servers.stop(grace_s)
        self._refusals.close()

    async def _publish_for_ever(self) -> None:
        while True:
            self.publish_state()
            self._refusals.publish_due()
            await asyncio.sleep(_STATE_S)


def _within_open_files(settings: ReceiverSettings) -> ReceiverSettings:
    """The settings with no more connections than the limit of open files has room for."""
    grpc, http = settings.grpc, settings.http
    wanted = (grpc.connections_max if grpc else 0) + (http.connections_max if http else 0)
    allowed = connections_that_fit(wanted)
    return replace(
        settings,
        grpc=grpc and replace(grpc, connections_max=max(1, grpc.connections_max * allowed // wanted)),
        http=http and replace(http, connections_max=max(1, http.connections_max * allowed // wanted)),
    )
