"""The servers of a pipeline: started, stopped, and their state published."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from otel_sla.counting.receipt import TracesConsumer
from otel_sla.process import connections_that_fit
from otel_sla.receiver.grpc.server import GrpcServer
from otel_sla.receiver.http.app import HttpApp, Probes
from otel_sla.receiver.http.server import HttpServer
from otel_sla.receiver.limits.memory import InFlight
from otel_sla.receiver.refusals import Refusals
from otel_sla.receiver.responses import Readiness
from otel_sla.receiver.settings import BYTES_PER_MIB, ReceiverSettings
from otel_sla.self_metrics import SelfMetrics

_STATE_S = 0.2  # How often readiness is published.


class Servers:
    """The servers that the settings name, within one limit on bytes in flight.

    Args:
        settings: What the configuration says.
        accountant: Counts the requests.
        metrics: Shows what the servers count.
        readiness: Says whether the pipeline takes requests now.

    Raises:
        OtelSlaError: A certificate or token cannot be read, or too few files may be open.
    """

    def __init__(
        self,
        settings: ReceiverSettings,
        accountant: TracesConsumer,
        metrics: SelfMetrics,
        readiness: Callable[[], Readiness],
    ) -> None:
        settings = _within_open_files(settings)
        self._readiness = readiness
        self._refusals = refusals = Refusals()
        self.in_flight = in_flight = InFlight(settings.memory_limit_mib * BYTES_PER_MIB)
        metrics.register("sla.receiver.overloaded_requests", lambda: in_flight.refused_count)
        metrics.register("sla.receiver.in_flight_size", lambda: in_flight.size_bytes)
        self._grpc = self._http = None
        if settings.grpc is not None:
            self._grpc = GrpcServer(settings.grpc, accountant, in_flight, refusals)
            metrics.register_receiver("grpc", self._grpc.answers)
        if settings.http is not None:
            probes = Probes(readiness, metrics.prometheus_text)
            self._http = HttpServer(HttpApp(settings.http, accountant, in_flight, probes, refusals))
            metrics.register_receiver("http", self._http.app.answers)
            transport = {"transport": "http"}  # gRPC closes its own silently.
            metrics.register("sla.receiver.refused_connections", lambda: refusals.connections, transport)
        self._servers = [server for server in (self._grpc, self._http) if server is not None]
        self._publishing: asyncio.Task[None] | None = None
        self.grpc_port: int | None = None
        self.http_port: int | None = None

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            ListenError: A port cannot be bound.
        """
        if self._grpc is not None:
            self.grpc_port = await self._grpc.start()
        if self._http is not None:
            self.http_port = await self._http.start()
        self._publishing = asyncio.create_task(self._publish_for_ever())

    def publish_state(self) -> None:
        """Have gRPC's health say at once what readiness says; otherwise it does a moment later."""
        if self._grpc is not None:
            self._grpc.set_serving(is_serving=not self._readiness().reason)

    def reload(self) -> None:
        """Read certificates and tokens again now."""
        for server in self._servers:
            server.reload()

    async def stop(self, grace_s: float) -> None:
        """Take nothing new; give what is under way `grace_s` to finish. Safe when not all of it was started."""
        if self._publishing is not None:
            self._publishing.cancel()
        await asyncio.gather(*(server.stop(grace_s) for server in self._servers))
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
