"""The workers, as the process that counts sees them: it starts them, counts for them, and starts anew who ends."""

import asyncio
import logging
import mmap
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import orjson

from otel_sla.config.settings import LogSettings
from otel_sla.errors import ListenError
from otel_sla.receiver.accounting import Accountant
from otel_sla.receiver.endpoint import addresses_of, close_sockets, reserve_sockets, warn_if_open
from otel_sla.receiver.pace import LARGE_SIZE_BYTES
from otel_sla.receiver.settings import BYTES_PER_MIB, GRPC_SOURCE, HTTP_SOURCE, ReceiverSettings
from otel_sla.workers.arena import make_shared_memory
from otel_sla.workers.errors import encode_error
from otel_sla.workers.link import PLACE, SOCKET_BUFFER_BYTES, Kind, Link
from otel_sla.workers.settings import WorkerSettings
from otel_sla.workers.tally import NOTHING, Totals

_log = logging.getLogger(__name__)

_START_S = 30.0
_AGAIN_S = 1.0  # Before a worker that ended is started anew.
_STATE_S = 0.2  # How often readiness is looked at.
_END_S = 3.0  # Beyond the grace, for a worker to end.


class _Member:
    """One worker."""

    def __init__(self, crew: "Crew", number: int) -> None:
        self._crew = crew
        self.number = number
        self.tally = NOTHING
        self.ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()  # Why not; empty if it serves.
        self.link = Link(self._take)
        self._counted: list[int] = []  # To be told with the next frame.
        self._tasks: set[asyncio.Task[None]] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._bodies: mmap.mmap | None = None  # Shared with the worker.

    async def start(self, settings: WorkerSettings) -> None:
        """Start the process and tell it what to serve."""
        size_bytes = settings.receiver.memory_limit_mib * BYTES_PER_MIB
        shared = make_shared_memory(size_bytes)
        if shared is not None:
            self._bodies = mmap.mmap(shared, size_bytes)
            settings = replace(settings, shared_memory=(shared, size_bytes))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        for end in (ours, theirs):
            end.setblocking(False)  # noqa: FBT003 - the standard library's signature.
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                end.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
        with theirs:
            command = [sys.executable, "-m", "otel_sla.workers.worker", str(theirs.fileno())]
            # Takes 2 ms; asyncio's own would want a watcher of children.
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603 - ourselves.
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),) if shared is None else (theirs.fileno(), shared),
            )
        if shared is not None:
            os.close(shared)
        await asyncio.get_running_loop().create_unix_connection(lambda: self.link, sock=ours)
        self.link.lost.add_done_callback(lambda _: self._set_ready("it ended"))
        self.link.send(Kind.SETTINGS, payload=pickle.dumps(settings))

    async def reap(self, within_s: float) -> int:
        """Wait for the end of a process whose link is gone; one that does not end is killed."""
        process = self._process
        assert process is not None, "started"
        try:
            return await asyncio.to_thread(process.wait, within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return await asyncio.to_thread(process.wait)

    def _take(self, kind: Kind, number: int, payload: memoryview) -> None:
        if kind in (Kind.BODY, Kind.SHARED_BODY):
            if kind is Kind.SHARED_BODY:
                assert self._bodies is not None, "the worker has it from here"
                start, size_bytes = PLACE.unpack(payload)
                payload = memoryview(self._bodies)[start : start + size_bytes]
            task = asyncio.create_task(self._count(number, payload))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif kind is Kind.TALLY:
            before, self.tally = self.tally, orjson.loads(payload)
            self._crew.totals.add(before, self.tally)
        elif kind is Kind.ASK_METRICS:
            self.link.send(Kind.METRICS, payload=self._crew.metrics_text().encode())
        elif kind is Kind.READY:
            self._set_ready("")
        elif kind is Kind.FAILED:
            self._set_ready(bytes(payload).decode())

    def _set_ready(self, reason: str) -> None:
        if not self.ready.done():
            self.ready.set_result(reason)

    async def _count(self, number: int, body: memoryview) -> None:
        try:
            if len(body) < LARGE_SIZE_BYTES:
                receipt = await self._crew.accountant.account(body)
            else:
                async with self._crew.large_turn:
                    receipt = await self._crew.accountant.account(body)
        except Exception as error:  # noqa: BLE001 - whatever it is, the sender gets an answer.
            payload = encode_error(error)
            if payload.startswith(b'[""'):
                _log.exception("counting failed", extra={"action": "counting_failed"})
            self.link.send(Kind.REFUSED, number, payload)
            return
        if receipt.rejected_spans or receipt.error_message:
            self.link.send(Kind.RECEIPT, number, orjson.dumps([receipt.rejected_spans, receipt.error_message]))
            return
        if not self._counted:  # Those of one commit are told together.
            asyncio.get_running_loop().call_soon(self._tell_counted)
        self._counted.append(number)

    def _tell_counted(self) -> None:
        counted, self._counted = self._counted, []
        self.link.send(
            Kind.COUNTED, payload=memoryview(bytearray().join(n.to_bytes(4, sys.byteorder) for n in counted))
        )


class Crew:
    """All workers of a pipeline.

    Args:
        settings: What the configuration says.
        logs: How they write their logs.
        accountant: Counts what they receive.
        why_not_ready: Gives why the pipeline takes no requests now; empty if it does.
        metrics_text: Gives the self-metrics for `GET /metrics`.
    """

    def __init__(
        self,
        settings: ReceiverSettings,
        logs: LogSettings,
        accountant: Accountant,
        why_not_ready: Callable[[], str],
        metrics_text: Callable[[], str],
    ) -> None:
        self._settings = settings
        self._logs = logs
        self.accountant = accountant
        self._why_not_ready = why_not_ready
        self.metrics_text = metrics_text
        self.large_turn = asyncio.Lock()
        self.totals = Totals()
        self._reserved: list[socket.socket] = []
        self._worker_settings: WorkerSettings | None = None
        self._members: dict[int, _Member] = {}
        self._keeping: list[asyncio.Task[None]] = []
        self._cpu_s_of_ended = 0.0
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
        self._keeping.append(asyncio.create_task(self._tell_state()))

    async def stop(self, grace_s: float) -> None:
        """Take nothing new; give what is under way `grace_s` to finish, and end the workers."""
        keeping, self._keeping = self._keeping, []
        for task in keeping:
            task.cancel()
        members, self._members = self._members, {}
        for member in members.values():
            member.link.send(Kind.STOP, payload=str(grace_s).encode())
        links = [member.link.lost for member in members.values()]
        if links:
            await asyncio.wait(links, timeout=grace_s + _END_S)
        await asyncio.gather(*(member.reap(_END_S) for member in members.values()))
        for member in members.values():
            member.link.close()
        close_sockets(self._reserved)
        self._reserved = []

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
        member = self._members[number] = _Member(self, number)
        assert self._worker_settings is not None, "set at the start"
        await member.start(self._worker_settings)
        try:
            reason = await asyncio.wait_for(asyncio.shield(member.ready), _START_S)
        except TimeoutError:
            reason = f"it does not serve after {_START_S:g} s"
        member.link.send(Kind.STATE, payload=self._why_not_ready().encode())
        return reason

    async def _keep(self, number: int) -> None:
        """Start the worker anew whenever it ends."""
        while True:
            member = self._members[number]
            await asyncio.shield(member.link.lost)
            code = await member.reap(_END_S)
            self._cpu_s_of_ended += float(member.tally["cpu_s"])
            member.tally = NOTHING
            _log.warning(
                "worker process %d ended by itself (exit code %d) and is started anew; senders repeat what it has not"
                " answered",
                number,
                code,
                extra={"action": "worker_ended"},
            )
            await asyncio.sleep(_AGAIN_S)
            if reason := await self._start_one(number):
                _log.error("worker process %d: %s", number, reason, extra={"action": "worker_failed"})

    async def _tell_state(self) -> None:
        told = None
        while True:
            if (reason := self._why_not_ready()) != told:
                told = reason
                for member in self._members.values():
                    member.link.send(Kind.STATE, payload=reason.encode())
            await asyncio.sleep(_STATE_S)


def share_mib(settings: ReceiverSettings) -> int:
    """A worker's part of the memory limit; one request of the largest size always has room."""
    largest = max(
        settings.grpc.max_recv_msg_size_mib if settings.grpc else 0,
        settings.http.max_request_body_size_mib if settings.http else 0,
    )
    return max(settings.memory_limit_mib // settings.processes, min(largest, settings.memory_limit_mib))
