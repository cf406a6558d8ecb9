"""The servers of one worker, and what they tell of their work."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from otel_sla.counting.receipt import TracesConsumer
from otel_sla.receiver.grpc.server import GrpcServer
from otel_sla.receiver.http.app import Probes
from otel_sla.receiver.http.server import HttpServer
from otel_sla.receiver.limits.memory import InFlight
from otel_sla.receiver.readiness import Readiness
from otel_sla.receiver.refusals import Refusals
from otel_sla.receiver.settings import BYTES_PER_MIB, ReceiverSettings
from otel_sla.receiver.sockets import Address
from otel_sla.self_metrics import memory_rss_bytes


class Servers:
    """Those that the settings name.

    Args:
        settings: What the configuration says; `memory_limit_mib` is this worker's share.
        accountant: Counts the requests.
        readiness: As `Probes` has it.
        metrics: Gives the self-metrics of the pipeline.
        refusals: Told of requests that are refused for good.
    """

    def __init__(
        self,
        settings: ReceiverSettings,
        accountant: TracesConsumer,
        readiness: Callable[[], Readiness],
        metrics: Callable[[], Awaitable[str]],
        refusals: Refusals,
    ) -> None:
        self._in_flight = InFlight(settings.memory_limit_mib * BYTES_PER_MIB)
        self._readiness = readiness
        probes = Probes(readiness, metrics)
        in_flight = self._in_flight
        self._grpc = None if settings.grpc is None else GrpcServer(settings.grpc, accountant, in_flight, refusals)
        self._http = (
            None if settings.http is None else HttpServer(settings.http, accountant, in_flight, probes, refusals)
        )

    async def start(self, grpc_addresses: Sequence[Address], http_addresses: Sequence[Address]) -> None:
        """Listen at addresses that are shared with other workers.

        Raises:
            OtelSlaError: One of them cannot be bound, or a certificate or token cannot be read.
        """
        if self._grpc is not None:
            await self._grpc.start(grpc_addresses)
        if self._http is not None:
            await self._http.start(http_addresses)
        self.tell_state()

    def tell_state(self) -> None:
        """Have the health say what readiness says; to be called whenever that changes."""
        if self._grpc is not None:
            self._grpc.set_serving(is_serving=not self._readiness().reason)

    def reload(self) -> None:
        """Read certificates and tokens again now."""
        for server in (self._grpc, self._http):
            if server is not None:
                server.reload()

    async def stop(self, grace_s: float) -> None:
        """Take nothing new; give what is under way `grace_s` to finish."""
        servers = (server for server in (self._grpc, self._http) if server is not None)
        await asyncio.gather(*(server.stop(grace_s) for server in servers))

    def tally(self) -> dict[str, Any]:
        """What they have answered, refused and hold, and what this process takes."""
        return {
            "grpc": dict(self._grpc.answers) if self._grpc else {},
            "http": {str(status): count for status, count in self._http.app.answers.items()} if self._http else {},
            "overloaded": self._in_flight.refused_count,
            "in_flight_bytes": self._in_flight.size_bytes,
            "rss_bytes": memory_rss_bytes() or 0,
            "cpu_s": time.process_time(),
        }
