"""The servers of one process: the pipeline's own, or a worker's."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from otel_sla.counting.receipt import TracesConsumer
from otel_sla.receiver.grpc.server import GrpcServer
from otel_sla.receiver.http.app import HttpApp, Probes
from otel_sla.receiver.http.server import HttpServer
from otel_sla.receiver.limits.memory import InFlight
from otel_sla.receiver.refusals import Refusals
from otel_sla.receiver.settings import BYTES_PER_MIB, ReceiverSettings
from otel_sla.receiver.sockets import Address


class Servers:
    """The servers that the settings name, within one limit on bytes in flight.

    Args:
        settings: What the configuration says; `memory_limit_mib` is this process's share.
        accountant: Counts the requests.
        probes: Readiness and self-metrics.
        refusals: Publishes which requests were refused for good.
    """

    def __init__(
        self, settings: ReceiverSettings, accountant: TracesConsumer, probes: Probes, refusals: Refusals
    ) -> None:
        self._probes = probes
        self.in_flight = in_flight = InFlight(settings.memory_limit_mib * BYTES_PER_MIB)
        grpc, http = settings.grpc, settings.http
        self._grpc = None if grpc is None else GrpcServer(grpc, accountant, in_flight, refusals)
        self._http = None if http is None else HttpServer(HttpApp(http, accountant, in_flight, probes, refusals))
        self._servers = [server for server in (self._grpc, self._http) if server is not None]
        self.grpc_port: int | None = None
        self.http_port: int | None = None
        self.grpc_answers = self._grpc.answers if self._grpc else Counter[str]()
        self.http_answers = self._http.app.answers if self._http else Counter[int]()

    async def start(self, grpc_addresses: Sequence[Address] = (), http_addresses: Sequence[Address] = ()) -> None:
        """Listen and serve, at these addresses if they are shared with other workers, else at the endpoints.

        Raises:
            OtelSlaError: A port cannot be bound, or a certificate or token cannot be read.
        """
        if self._grpc is not None:
            self.grpc_port = await self._grpc.start(grpc_addresses)
        if self._http is not None:
            self.http_port = await self._http.start(http_addresses)
        self.publish_state()

    def publish_state(self) -> None:
        """Have gRPC's health say what readiness says; to be called whenever that changes."""
        if self._grpc is not None:
            self._grpc.set_serving(is_serving=not self._probes.readiness().reason)

    def reload(self) -> None:
        """Read certificates and tokens again now."""
        for server in self._servers:
            server.reload()

    async def stop(self, grace_s: float) -> None:
        """Take nothing new; give what is under way `grace_s` to finish. Safe when not all of it was started."""
        await asyncio.gather(*(server.stop(grace_s) for server in self._servers))

    def overloaded_count(self) -> int:
        """Requests refused for lack of memory."""
        return self.in_flight.refused_count

    def in_flight_bytes(self) -> int:
        """Bytes that requests hold."""
        return self.in_flight.size_bytes
