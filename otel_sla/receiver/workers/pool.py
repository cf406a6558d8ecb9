"""The workers, as the process that counts sees them: it starts them, counts for them, and restarts those that end."""

import asyncio
import logging
import mmap
import os
import pickle
import socket
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import orjson

from otel_sla.counting.receipt import TracesConsumer
from otel_sla.errors import ListenError
from otel_sla.logs import LogSettings
from otel_sla.receiver.http.app import Probes
from otel_sla.receiver.refusals import Refusals, RefusedRequest
from otel_sla.receiver.responses import Readiness
from otel_sla.receiver.settings import BYTES_PER_MIB, GrpcServerSettings, HttpServerSettings, ReceiverSettings
from otel_sla.receiver.sockets import Address, addresses_of, close_sockets, reserve_sockets, warn_if_open
from otel_sla.receiver.workers.messages import (
    NO_TALLY,
    PLACE,
    SOCKET_BUFFER_BYTES,
    FramedSocket,
    FrameKind,
    WorkerSettings,
    encode_error,
)
from otel_sla.receiver.workers.shared_memory import make_shared_memory

_log = logging.getLogger(__name__)

_END_S = 5.0  # Beyond the grace, for a worker to end: HTTP and what is still accounted for take up to 3 s of it.


class WorkerHandle:
    """One worker, seen from the pool."""

    def __init__(self, pool: "WorkerPool") -> None:
        self._pool = pool
        self.tally = NO_TALLY
        self.ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()  # Why not; empty if it serves.
        self.connection = FramedSocket(self._take)
        self.process: subprocess.Popen[bytes] | None = None
        self._counted: list[int] = []  # Goes out with the next frame.
        self._tasks: set[asyncio.Task[None]] = set()
        self._bodies: mmap.mmap | None = None  # Shared with the worker.

    async def start(self, settings: WorkerSettings) -> None:
        """Start the process and send it its settings.

        Raises:
            OSError: The machine has no room for it: processes, file descriptors, memory.
        """
        with ExitStack() as passed_on:
            size_bytes = settings.receiver.memory_limit_mib * BYTES_PER_MIB
            memory = make_shared_memory(size_bytes)
            if memory is not None:
                passed_on.callback(os.close, memory)
                self._bodies = mmap.mmap(memory, size_bytes)
                settings = replace(settings, shared_memory=(memory, size_bytes))
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            passed_on.enter_context(theirs)
            on_failure = passed_on.enter_context(ExitStack())
            on_failure.enter_context(ours)
            on_failure.callback(self.connection.connection_lost, None)  # Ends the wait for what never began.
            for end in (ours, theirs):
                end.setblocking(False)  # noqa: FBT003 - the standard library's signature.
                for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                    end.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
            # Takes 2 ms; asyncio's own would want a watcher of children.
            self.process = subprocess.Popen(  # noqa: ASYNC220, S603 - ourselves.
                [sys.executable, "-m", "otel_sla.receiver.workers", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),) if memory is None else (theirs.fileno(), memory),
            )
            await asyncio.get_running_loop().create_unix_connection(lambda: self.connection, sock=ours)
            on_failure.pop_all()
        self.connection.lost.add_done_callback(lambda _: self._set_ready("it ended"))
        self.connection.send(FrameKind.SETTINGS, payload=pickle.dumps(settings))

    async def end(self) -> int:
        """End the worker, and what is still counted for it, whose senders get no answer; returns its exit code.

        A process that does not end by itself once its connection is lost is killed.
        """
        code = 0
        if self.process is not None:
            try:
                code = await asyncio.to_thread(self.process.wait, _END_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                code = await asyncio.to_thread(self.process.wait)
        self.connection.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self.tally = NO_TALLY
        return code

    def send_state(self, readiness: Readiness) -> None:
        """Publish readiness to the worker."""
        self.connection.send(FrameKind.STATE, payload="\n".join(readiness).encode())

    def _take(self, kind: FrameKind, number: int, payload: memoryview) -> None:
        if kind in (FrameKind.BODY, FrameKind.SHARED_BODY):
            if kind is FrameKind.SHARED_BODY:
                assert self._bodies is not None, "the worker has it from here"
                start, size_bytes = PLACE.unpack(payload)
                payload = memoryview(self._bodies)[start : start + size_bytes]
            task = asyncio.create_task(self._count(number, payload))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif kind is FrameKind.TALLY:
            before, self.tally = self.tally, orjson.loads(payload)
            self._pool.add_tally(before, self.tally)
        elif kind is FrameKind.REFUSALS:
            self._pool.refusals.add(RefusedRequest(**orjson.loads(payload)), number)
        elif kind is FrameKind.ASK_METRICS:
            self.connection.send(FrameKind.METRICS, payload=self._pool.metrics_text().encode())
        elif kind is FrameKind.READY:
            self._set_ready("")
        elif kind is FrameKind.FAILED:
            self._set_ready(bytes(payload).decode())

    def _set_ready(self, reason: str) -> None:
        if not self.ready.done():
            self.ready.set_result(reason)

    async def _count(self, number: int, body: memoryview) -> None:
        try:
            receipt = await self._pool.accountant.account(body)
        except Exception as error:  # noqa: BLE001 - whatever it is, the sender gets an answer.
            payload = encode_error(error)
            if payload.startswith(b'[""'):
                _log.exception("counting failed", extra={"action": "counting_failed"})
            self.connection.send(FrameKind.REFUSED, number, payload)
            return
        if receipt.rejected_spans or receipt.error_message:
            payload = orjson.dumps([receipt.rejected_spans, receipt.error_message])
            self.connection.send(FrameKind.RECEIPT, number, payload)
            return
        if not self._counted:  # One frame for all of a commit.
            asyncio.get_running_loop().call_soon(self._send_counted)
        self._counted.append(number)

    def _send_counted(self) -> None:
        counted, self._counted = self._counted, []
        payload = memoryview(bytearray().join(number.to_bytes(4, sys.byteorder) for number in counted))
        self.connection.send(FrameKind.COUNTED, payload=payload)


class WorkerPool:
    """All workers of a pipeline.

    Args:
        settings: What the configuration says.
        logs: How they write their logs.
        accountant: Counts what they receive.
        probes: Readiness and self-metrics.
        refusals: Publishes which requests they refused for good.

    Attributes:
        start_s_max: For a worker to serve.
        restart_delay_s: Before a worker that ended is restarted.
    """

    def __init__(
        self,
        settings: ReceiverSettings,
        logs: LogSettings,
        accountant: TracesConsumer,
        probes: Probes,
        refusals: Refusals,
    ) -> None:
        self._settings = settings
        self._logs = logs
        self._probes = probes
        self.accountant = accountant
        self.refusals = refusals
        self.start_s_max = 30.0
        self.restart_delay_s = 1.0
        self._reserved: list[socket.socket] = []
        self._worker_settings: WorkerSettings | None = None
        self.workers: dict[int, WorkerHandle] = {}
        self._keeping: list[asyncio.Task[None]] = []
        self._published: Readiness | None = None
        self.grpc_port: int | None = None
        self.http_port: int | None = None
        # Of all workers, also of ended ones; they never go down.
        self.grpc_answers: Counter[str] = Counter()
        self.http_answers: Counter[int] = Counter()
        self._overloaded_count = 0
        self._cpu_s = 0.0

    async def start(self) -> None:
        """Reserve the ports and start all workers; serving when this returns.

        Raises:
            ListenError: A port cannot be bound, or a worker cannot serve.
        """
        settings = self._settings
        grpc_addresses, http_addresses = [await self._reserve(each) for each in (settings.grpc, settings.http)]
        self.grpc_port = grpc_addresses[0].port if grpc_addresses else None
        self.http_port = http_addresses[0].port if http_addresses else None
        receiver = replace(settings, memory_limit_mib=share_mib(settings))
        self._worker_settings = WorkerSettings(receiver, grpc_addresses, http_addresses, self._logs, None)
        reasons = await asyncio.gather(*(self._start_one(number) for number in range(settings.processes)))
        for number, reason in enumerate(reasons):
            if reason:
                raise ListenError(f"worker process {number}: {reason}")
        self._keeping = [asyncio.create_task(self._keep(number)) for number in self.workers]

    async def stop(self, grace_s: float) -> None:
        """Take nothing new; give what is under way `grace_s` to finish, and end the workers."""
        keeping, self._keeping = self._keeping, []
        for task in keeping:
            task.cancel()
        workers, self.workers = self.workers, {}
        for worker in workers.values():
            worker.connection.send(FrameKind.STOP, payload=str(grace_s).encode())
        if workers:
            await asyncio.wait([worker.connection.lost for worker in workers.values()], timeout=grace_s + _END_S)
        await asyncio.gather(*(worker.end() for worker in workers.values()))
        close_sockets(self._reserved)
        self._reserved = []

    def publish_state(self) -> None:
        """Send readiness to all workers, if it changed."""
        readiness = self._probes.readiness()
        if readiness != self._published:
            self._published = readiness
            for worker in self.workers.values():
                worker.send_state(readiness)

    def reload(self) -> None:
        """Have all workers read certificates and tokens again now."""
        for worker in self.workers.values():
            worker.connection.send(FrameKind.RELOAD)

    def metrics_text(self) -> str:
        """The pipeline's self-metrics, for `GET /metrics` of a worker."""
        return str(self._probes.metrics())

    def add_tally(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        """Add what one worker has done between two tallies."""
        self.grpc_answers.update(Counter(now["grpc"]) - Counter(before["grpc"]))
        http = Counter(now["http"]) - Counter(before["http"])
        self.http_answers.update({int(status): count for status, count in http.items()})
        self._overloaded_count += now["overloaded"] - before["overloaded"]
        self._cpu_s += now["cpu_s"] - before["cpu_s"]

    def overloaded_count(self) -> int:
        """Requests that all workers refused for lack of memory."""
        return self._overloaded_count

    def in_flight_bytes(self) -> int:
        """Bytes that requests hold in all workers."""
        return sum(int(worker.tally["in_flight_bytes"]) for worker in self.workers.values())

    def rss_bytes(self) -> int:
        """Physical memory of all workers."""
        return sum(int(worker.tally["rss_bytes"]) for worker in self.workers.values())

    def cpu_s(self) -> float:
        """CPU time of all workers."""
        return self._cpu_s

    async def _reserve(self, settings: GrpcServerSettings | HttpServerSettings | None) -> list[Address]:
        if settings is None:
            return []
        sockets = await reserve_sockets(settings.endpoint, settings.protocol)
        self._reserved += sockets
        addresses = addresses_of(sockets)
        warn_if_open(addresses, settings)
        return addresses

    async def _start_one(self, number: int) -> str:
        """Start a worker; returns why it does not serve, or nothing."""
        worker = self.workers[number] = WorkerHandle(self)
        assert self._worker_settings is not None, "set at the start"
        try:
            await worker.start(self._worker_settings)
        except OSError as error:
            return f"it cannot be started: {error}"
        try:
            reason = await asyncio.wait_for(asyncio.shield(worker.ready), self.start_s_max)
        except TimeoutError:
            reason = f"it does not serve after {self.start_s_max:g} s"
        worker.send_state(self._probes.readiness())
        return reason

    async def _keep(self, number: int) -> None:
        """Restart the worker whenever it ends, until one serves."""
        while True:
            worker = self.workers[number]
            await asyncio.shield(worker.connection.lost)
            _log.warning(
                "worker process %d ended by itself (exit code %d) and is restarted; senders repeat the requests that it"
                " has not answered",
                number,
                await worker.end(),
                extra={"action": "worker_ended"},
            )
            await asyncio.sleep(self.restart_delay_s)
            while reason := await self._start_one(number):
                self.workers[number].connection.close()
                await self.workers[number].end()
                _log.error(
                    "worker process %d: %s; it is tried again, and until then the others serve alone",
                    number,
                    reason,
                    extra={"action": "worker_failed"},
                )
                await asyncio.sleep(self.restart_delay_s)


def share_mib(settings: ReceiverSettings) -> int:
    """A worker's part of the memory limit; one request of the largest size always has room."""
    largest = max(
        settings.grpc.max_recv_msg_size_mib if settings.grpc else 0,
        settings.http.max_request_body_size_mib if settings.http else 0,
    )
    return max(settings.memory_limit_mib // settings.processes, min(largest, settings.memory_limit_mib))
