"""The workers, as the process that counts sees them: it starts them, counts for them, and starts anew who ends."""

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import replace

from otel_sla.errors import ListenError
from otel_sla.logs import LogSettings
from otel_sla.receiver.readiness import Readiness
from otel_sla.receiver.settings import GRPC_SOURCE, HTTP_SOURCE, ReceiverSettings
from otel_sla.receiver.sockets import addresses_of, close_sockets, reserve_sockets, warn_if_open
from otel_sla.receiver.workers.frames import FrameKind
from otel_sla.receiver.workers.handle import Shared, WorkerHandle
from otel_sla.receiver.workers.messages import NOTHING, WorkerSettings

_log = logging.getLogger(__name__)

_START_S = 30.0
_AGAIN_S = 1.0  # Before a worker that ended is started anew.
STATE_S = 0.2  # How often readiness is looked at, and told to the workers.
_END_S = 5.0  # Beyond the grace, for a worker to end: HTTP and what is still accounted for take up to 3 s of it.


class WorkerPool:
    """All workers of a pipeline.

    Args:
        settings: What the configuration says.
        logs: How they write their logs.
        readiness: Says whether the pipeline takes requests now.
        shared: What they use, and where they tell of themselves.
    """

    def __init__(
        self, settings: ReceiverSettings, logs: LogSettings, readiness: Callable[[], Readiness], shared: Shared
    ) -> None:
        self._settings = settings
        self._logs = logs
        self._readiness = readiness
        self._shared = shared
        self.totals = shared.totals
        self._reserved: list[socket.socket] = []
        self._worker_settings: WorkerSettings | None = None
        self._members: dict[int, WorkerHandle] = {}
        self._keeping: list[asyncio.Task[None]] = []
        self._cpu_s_of_ended = 0.0
        self._told: Readiness | None = None
        self.grpc_port: int | None = None
        self.http_port: int | None = None

    async def start(self) -> None:
        """Reserve the ports and start all workers; serving when this returns.

        Raises:
            ListenError: A port cannot be bound, or a worker cannot serve.
        """
        settings, addresses = self._settings, {}
        for source, protocol, of_protocol in (
            (GRPC_SOURCE, "gRPC", settings.grpc),
            (HTTP_SOURCE, "HTTP", settings.http),
        ):
            if of_protocol is not None:
                sockets = await reserve_sockets(of_protocol.endpoint, protocol)
                self._reserved += sockets
                addresses[source] = addresses_of(sockets)
                warn_if_open(addresses[source], source, is_guarded=bool(of_protocol.tls or of_protocol.auth))
        self.grpc_port = addresses[GRPC_SOURCE][0].port if settings.grpc else None
        self.http_port = addresses[HTTP_SOURCE][0].port if settings.http else None
        self._worker_settings = WorkerSettings(
            receiver=replace(settings, memory_limit_mib=share_mib(settings)),
            grpc_addresses=addresses.get(GRPC_SOURCE, ()),
            http_addresses=addresses.get(HTTP_SOURCE, ()),
            logs=self._logs,
            shared_memory=None,
        )
        reasons = await asyncio.gather(*(self._start_one(number) for number in range(settings.processes)))
        for number, reason in enumerate(reasons):
            if reason:
                raise ListenError(f"worker process {number}: {reason}")
        self._keeping = [asyncio.create_task(self._keep(number)) for number in self._members]

    async def stop(self, grace_s: float) -> None:
        """Take nothing new; give what is under way `grace_s` to finish, and end the workers."""
        keeping, self._keeping = self._keeping, []
        for task in keeping:
            task.cancel()
        members, self._members = self._members, {}
        for member in members.values():
            member.link.send(FrameKind.STOP, payload=str(grace_s).encode())
        links = [member.link.lost for member in members.values()]
        if links:
            await asyncio.wait(links, timeout=grace_s + _END_S)
        await asyncio.gather(*(member.reap(_END_S) for member in members.values()))
        for member in members.values():
            await member.close()
        close_sockets(self._reserved)
        self._reserved = []

    def tell_state(self, readiness: Readiness) -> None:
        """Tell all workers whether requests are taken now, if that changed."""
        if readiness != self._told:
            self._told = readiness
            for member in self._members.values():
                member.link.send(FrameKind.STATE, payload="\n".join(readiness).encode())

    def reload(self) -> None:
        """Have all workers read certificates and tokens again now."""
        for member in self._members.values():
            member.link.send(FrameKind.RELOAD)

    def in_flight_bytes(self) -> int:
        """Bytes that requests hold in all workers."""
        return sum(int(member.tally["in_flight_bytes"]) for member in self._members.values())

    def rss_bytes(self) -> int:
        """Physical memory of all workers."""
        return sum(int(member.tally["rss_bytes"]) for member in self._members.values())

    def cpu_s(self) -> float:
        """CPU time of all workers, those that have ended too."""
        return self._cpu_s_of_ended + sum(float(member.tally["cpu_s"]) for member in self._members.values())

    async def _start_one(self, number: int) -> str:
        """Start a worker; gives why it does not serve, or nothing."""
        member = self._members[number] = WorkerHandle(self._shared)
        assert self._worker_settings is not None, "set at the start"
        await member.start(self._worker_settings)
        try:
            reason = await asyncio.wait_for(asyncio.shield(member.ready), _START_S)
        except TimeoutError:
            reason = f"it does not serve after {_START_S:g} s"
        member.link.send(FrameKind.STATE, payload="\n".join(self._readiness()).encode())
        return reason

    async def _keep(self, number: int) -> None:
        """Start the worker anew whenever it ends, until one serves."""
        while True:
            member = self._members[number]
            await asyncio.shield(member.link.lost)
            _log.warning(
                "worker process %d ended by itself (exit code %d) and is started anew; senders repeat what it has not"
                " answered",
                number,
                await self._end(member),
                extra={"action": "worker_ended"},
            )
            await asyncio.sleep(_AGAIN_S)
            while reason := await self._start_again(number):
                _log.error(
                    "worker process %d: %s; it is tried again, and until then the others serve alone",
                    number,
                    reason,
                    extra={"action": "worker_failed"},
                )
                await asyncio.sleep(_AGAIN_S)

    async def _start_again(self, number: int) -> str:
        """Start a worker in the place of one that ended; gives why it does not serve, or nothing. Then it is gone."""
        try:
            reason = await self._start_one(number)
        except OSError as error:
            reason = f"it cannot be started: {error}"
        if reason:
            self._members[number].link.close()
            await self._end(self._members[number])
        return reason

    async def _end(self, member: WorkerHandle) -> int:
        """Wait for a worker's end and keep what it told; gives its exit code."""
        code = await member.reap(_END_S)
        await member.close()
        self._cpu_s_of_ended += float(member.tally["cpu_s"])
        member.tally = NOTHING
        return code


def share_mib(settings: ReceiverSettings) -> int:
    """A worker's part of the memory limit; one request of the largest size always has room."""
    largest = max(
        settings.grpc.max_recv_msg_size_mib if settings.grpc else 0,
        settings.http.max_request_body_size_mib if settings.http else 0,
    )
    return max(settings.memory_limit_mib // settings.processes, min(largest, settings.memory_limit_mib))
