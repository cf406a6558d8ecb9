"""The servers of a pipeline: in its own process, or in workers that share the ports."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from otel_sla.counting.receipt import TracesConsumer
from otel_sla.logs import LogSettings
from otel_sla.process import connections_that_fit
from otel_sla.receiver.grpc.server import GrpcServer
from otel_sla.receiver.http.app import Probes
from otel_sla.receiver.http.server import HttpServer
from otel_sla.receiver.limits.memory import InFlight
from otel_sla.receiver.readiness import Readiness
from otel_sla.receiver.refusals import Refusals
from otel_sla.receiver.settings import BYTES_PER_MIB, ReceiverSettings
from otel_sla.receiver.workers.handle import Shared
from otel_sla.receiver.workers.messages import WorkerTotals
from otel_sla.receiver.workers.pool import STATE_S, WorkerPool
from otel_sla.self_metrics import SelfMetrics

_OVERLOADED, _IN_FLIGHT = "sla.receiver.overloaded_requests", "sla.receiver.in_flight_size"


class Front:
    """Where spans come in.

    Args:
        settings: What the configuration says.
        logs: How workers write their logs.
        accountant: Counts the requests.
        metrics: Shows what the servers tell of themselves.
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
        self._receiver = settings
        self._logs = logs
        self._accountant = accountant
        self._metrics = metrics
        self._readiness = readiness
        self._refusals = Refusals()
        self._servers: list[GrpcServer | HttpServer | WorkerPool] = []
        self._telling: asyncio.Task[None] | None = None
        self.grpc_port: int | None = None
        self.http_port: int | None = None

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            OtelSlaError: A port cannot be bound, or a certificate or token cannot be read.
        """
        self._receiver = _with_room(self._receiver)
        if self._receiver.http is not None:
            transport = {"transport": "http"}  # gRPC closes its own, and tells nobody.
            self._metrics.register("sla.receiver.refused_connections", lambda: self._refusals.connections, transport)
        await (self._start_here() if self._receiver.processes == 1 else self._start_workers())
        self._telling = asyncio.create_task(self._tell_state_for_ever())

    def tell_state(self) -> None:
        """Have health and readiness say at once what is so now; otherwise they say it a moment later."""
        readiness = self._readiness()
        for server in self._servers:
            if isinstance(server, GrpcServer):
                server.set_serving(is_serving=not readiness.reason)
            elif isinstance(server, WorkerPool):
                server.tell_state(readiness)

    def reload(self) -> None:
        """Read certificates and tokens again now."""
        for server in self._servers:
            server.reload()

    async def stop(self, grace_s: float) -> None:
        """Take nothing new; give what is under way `grace_s` to finish. Safe when not all of it was started."""
        if self._telling is not None:
            self._telling.cancel()
        servers, self._servers = self._servers, []
        await asyncio.gather(*(server.stop(grace_s) for server in servers))
        self._refusals.close()

    async def _tell_state_for_ever(self) -> None:
        while True:
            self.tell_state()
            self._refusals.tell_due()
            await asyncio.sleep(STATE_S)

    async def _start_here(self) -> None:
        receiver, metrics = self._receiver, self._metrics
        in_flight, refusals = InFlight(receiver.memory_limit_mib * BYTES_PER_MIB), self._refusals
        metrics.register(_OVERLOADED, lambda: in_flight.refused_count)
        metrics.register(_IN_FLIGHT, lambda: in_flight.size_bytes)
        if receiver.grpc is not None:
            grpc_server = GrpcServer(receiver.grpc, self._accountant, in_flight, refusals)
            self.grpc_port = await grpc_server.start()
            metrics.register_receiver("grpc", grpc_server.answers)
            self._servers.append(grpc_server)
        if receiver.http is not None:
            probes = Probes(self._readiness, metrics.prometheus_text)
            http_server = HttpServer(receiver.http, self._accountant, in_flight, probes, refusals)
            self.http_port = await http_server.start()
            metrics.register_receiver("http", http_server.app.answers)
            self._servers.append(http_server)

    async def _start_workers(self) -> None:
        metrics = self._metrics
        shared = Shared(self._accountant, metrics.prometheus_text, WorkerTotals(), self._refusals)
        crew = WorkerPool(self._receiver, self._logs, self._readiness, shared)
        self._servers.append(crew)  # What has been started has to be stopped.
        await crew.start()
        self.grpc_port, self.http_port = crew.grpc_port, crew.http_port
        metrics.register(_OVERLOADED, lambda: crew.totals.overloaded)
        metrics.register(_IN_FLIGHT, crew.in_flight_bytes)
        metrics.workers_rss_bytes, metrics.workers_cpu_s = crew.rss_bytes, crew.cpu_s
        if self.grpc_port is not None:
            metrics.register_receiver("grpc", crew.totals.grpc)
        if self.http_port is not None:
            metrics.register_receiver("http", crew.totals.http)


def _with_room(receiver: ReceiverSettings) -> ReceiverSettings:
    """Give the settings with no more connections than the limit of open files has room for."""
    grpc, http = receiver.grpc, receiver.http
    wanted = (grpc.connections_max if grpc else 0) + (http.connections_max if http else 0)
    allowed = connections_that_fit(wanted)
    return replace(
        receiver,
        grpc=grpc and replace(grpc, connections_max=max(1, grpc.connections_max * allowed // wanted)),
        http=http and replace(http, connections_max=max(1, http.connections_max * allowed // wanted)),
    )
