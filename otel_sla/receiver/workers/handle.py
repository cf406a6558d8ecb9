"""One worker, as the process that counts sees it."""

import asyncio
import logging
import mmap
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

import orjson

from otel_sla.counting.receipt import TracesConsumer
from otel_sla.receiver.refusals import Refusals, RefusedRequest
from otel_sla.receiver.settings import BYTES_PER_MIB
from otel_sla.receiver.workers.frames import PLACE, SOCKET_BUFFER_BYTES, FramedSocket, FrameKind
from otel_sla.receiver.workers.messages import NOTHING, WorkerSettings, WorkerTotals, encode_error
from otel_sla.receiver.workers.shared_memory import make_shared_memory

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shared:
    """What all workers of a pipeline use.

    Attributes:
        accountant: Counts what they receive.
        metrics_text: Gives the self-metrics for `GET /metrics`.
        totals: What they tell of themselves, those that have ended too.
        refusals: Told of requests that they refused for good.
    """

    accountant: TracesConsumer
    metrics_text: Callable[[], str]
    totals: WorkerTotals
    refusals: Refusals


class WorkerHandle:
    """One worker."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self.tally = NOTHING
        self.ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()  # Why not; empty if it serves.
        self.link = FramedSocket(self._take)
        self._counted: list[int] = []  # To be told with the next frame.
        self._tasks: set[asyncio.Task[None]] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._bodies: mmap.mmap | None = None  # Shared with the worker.

    async def start(self, settings: WorkerSettings) -> None:
        """Start the process and tell it what to serve.

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
            given_up = passed_on.enter_context(ExitStack())
            given_up.enter_context(ours)
            given_up.callback(self.link.connection_lost, None)  # Nobody shall wait for the end of what never began.
            for end in (ours, theirs):
                end.setblocking(False)  # noqa: FBT003 - the standard library's signature.
                for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                    end.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
            # Takes 2 ms; asyncio's own would want a watcher of children.
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603 - ourselves.
                [sys.executable, "-m", "otel_sla.receiver.workers.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),) if memory is None else (theirs.fileno(), memory),
            )
            await asyncio.get_running_loop().create_unix_connection(lambda: self.link, sock=ours)
            given_up.pop_all()
        self.link.lost.add_done_callback(lambda _: self._set_ready("it ended"))
        self.link.send(FrameKind.SETTINGS, payload=pickle.dumps(settings))

    async def reap(self, within_s: float) -> int:
        """Wait for the end of a process whose link is gone; one that does not end is killed. Gives its exit code."""
        process = self._process
        if process is None:
            return 0
        try:
            return await asyncio.to_thread(process.wait, within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return await asyncio.to_thread(process.wait)

    async def close(self) -> None:
        """End the link, and what is still counted for it: nobody is told of it any more."""
        self.link.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

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
            self._shared.totals.add(before, self.tally)
        elif kind is FrameKind.REFUSALS:
            self._shared.refusals.add(RefusedRequest(**orjson.loads(payload)), number)
        elif kind is FrameKind.ASK_METRICS:
            self.link.send(FrameKind.METRICS, payload=self._shared.metrics_text().encode())
        elif kind is FrameKind.READY:
            self._set_ready("")
        elif kind is FrameKind.FAILED:
            self._set_ready(bytes(payload).decode())

    def _set_ready(self, reason: str) -> None:
        if not self.ready.done():
            self.ready.set_result(reason)

    async def _count(self, number: int, body: memoryview) -> None:
        try:
            receipt = await self._shared.accountant.account(body)
        except Exception as error:  # noqa: BLE001 - whatever it is, the sender gets an answer.
            payload = encode_error(error)
            if payload.startswith(b'[""'):
                _log.exception("counting failed", extra={"action": "counting_failed"})
            self.link.send(FrameKind.REFUSED, number, payload)
            return
        if receipt.rejected_spans or receipt.error_message:
            self.link.send(FrameKind.RECEIPT, number, orjson.dumps([receipt.rejected_spans, receipt.error_message]))
            return
        if not self._counted:  # Those of one commit are told together.
            asyncio.get_running_loop().call_soon(self._tell_counted)
        self._counted.append(number)

    def _tell_counted(self) -> None:
        counted, self._counted = self._counted, []
        self.link.send(
            FrameKind.COUNTED, payload=memoryview(bytearray().join(n.to_bytes(4, sys.byteorder) for n in counted))
        )
