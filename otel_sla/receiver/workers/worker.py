"""A process that receives: both servers, and behind them the connection to the process that counts.

It ends when it is told to over the connection, or when that is lost: without its pipeline a worker can promise nothing.
"""

import asyncio
import itertools
import logging
import os
import pickle
import socket
import sys
import time

import orjson

try:
    import uvloop
except ImportError:  # Not on Windows.
    uvloop = None  # type: ignore[assignment]

from otel_sla.counting.receipt import Receipt
from otel_sla.errors import LedgerUnavailable, OtelSlaError
from otel_sla.logs import set_up_logs
from otel_sla.process import freeze_objects
from otel_sla.receiver.http.app import Probes
from otel_sla.receiver.refusals import Refusals, RefusedRequest
from otel_sla.receiver.responses import Readiness
from otel_sla.receiver.servers import Servers
from otel_sla.receiver.workers.messages import PLACE, FramedSocket, FrameKind, WorkerSettings, decode_error
from otel_sla.receiver.workers.shared_memory import SHARED_SIZE_BYTES_MIN, SharedBodies
from otel_sla.self_metrics import memory_rss_bytes

_log = logging.getLogger(__name__)

_TALLY_S = 0.5


class RemoteAccountant:
    """Implements `TracesConsumer` by the process that counts."""

    def __init__(self, connection: FramedSocket) -> None:
        self._connection = connection
        self.shared_bodies: SharedBodies | None = None
        self._waiting: dict[int, asyncio.Future[Receipt]] = {}
        self._numbers = itertools.cycle(range(1 << 32))
        connection.lost.add_done_callback(lambda _: self._give_up())

    async def account(self, body: bytes | memoryview) -> Receipt:
        """Have a request counted, and return when that is durable; errors as the accountant's own."""
        number = next(self._numbers)
        answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        start = None
        if self.shared_bodies is not None and len(body) >= SHARED_SIZE_BYTES_MIN:
            start = self.shared_bodies.put(number, body)
        if start is None:
            self._connection.send(FrameKind.BODY, number, body)
        else:
            self._connection.send(FrameKind.SHARED_BODY, number, PLACE.pack(start, len(body)))
        if self._connection.lost.done():
            self._give_up()
        return await answer

    def take(self, kind: FrameKind, number: int, payload: memoryview) -> None:
        """Take an answer."""
        if kind is FrameKind.COUNTED:
            receipt = Receipt()
            for one in payload.cast("I"):
                self._answer(one).set_result(receipt)
        elif kind is FrameKind.RECEIPT:
            rejected_spans, error_message = orjson.loads(payload)
            self._answer(number).set_result(Receipt(rejected_spans, error_message))
        else:
            self._answer(number).set_exception(decode_error(payload))

    def _answer(self, number: int) -> asyncio.Future[Receipt]:
        answer = self._waiting.pop(number)
        if self.shared_bodies is not None:
            self.shared_bodies.release(number)
        # A result for a cancelled task is dropped.
        return asyncio.get_running_loop().create_future() if answer.done() else answer

    def _give_up(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            if not answer.done():
                answer.set_exception(LedgerUnavailable("the process that counts has ended"))


class Worker:
    """The process."""

    def __init__(self) -> None:
        self._connection = FramedSocket(self._take)
        self._accountant = RemoteAccountant(self._connection)
        self._settings: asyncio.Future[WorkerSettings] = asyncio.get_running_loop().create_future()
        self._stop: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._readiness = Readiness("starting")
        self._asked: list[asyncio.Future[str]] = []  # For the self-metrics.
        self._refusals = Refusals(self._publish_refused, _TALLY_S)
        self._servers: Servers | None = None

    async def run(self, socket_: socket.socket) -> None:
        """Serve until the end."""
        await asyncio.get_running_loop().create_unix_connection(lambda: self._connection, sock=socket_)
        settings = await self._settings
        set_up_logs(settings.logs, sys.stderr)
        if settings.shared_memory is not None:
            self._accountant.shared_bodies = SharedBodies(*settings.shared_memory)
        probes = Probes(lambda: self._readiness, self._metrics)
        try:
            servers = Servers(settings.receiver, self._accountant, probes, self._refusals)
            await servers.start(settings.grpc_addresses, settings.http_addresses)
        except OtelSlaError as error:
            self._connection.send(FrameKind.FAILED, payload=str(error).encode())
            self._connection.close()
            return
        freeze_objects()
        self._servers = servers
        self._connection.send(FrameKind.READY)
        publishing = asyncio.create_task(self._publish_for_ever(servers))
        await asyncio.wait((self._stop, self._connection.lost), return_when=asyncio.FIRST_COMPLETED)
        if not self._stop.done():
            _log.error("the process that counts has ended, and this one with it", extra={"action": "worker_orphaned"})
            os._exit(1)  # At once: a pipeline that is started in its place needs the ports.
        self._readiness = Readiness("stopping")
        await servers.stop(self._stop.result())
        publishing.cancel()
        self._refusals.close()
        self._send_tally(servers)
        self._connection.close()
        await self._connection.lost

    def _take(self, kind: FrameKind, number: int, payload: memoryview) -> None:
        if kind in (FrameKind.COUNTED, FrameKind.RECEIPT, FrameKind.REFUSED):
            self._accountant.take(kind, number, payload)
        elif kind is FrameKind.STATE:
            self._readiness = Readiness(*bytes(payload).decode().split("\n"))
            if self._servers is not None:
                self._servers.publish_state()
        elif kind is FrameKind.METRICS:
            self._asked.pop(0).set_result(bytes(payload).decode())
        elif kind is FrameKind.RELOAD:
            if self._servers is not None:
                self._servers.reload()
        elif kind is FrameKind.STOP:
            self._stop.set_result(float(bytes(payload)))
        elif kind is FrameKind.SETTINGS:
            # From our own parent, over a private socket.
            self._settings.set_result(pickle.loads(payload))  # noqa: S301

    def _publish_refused(self, request: RefusedRequest, count: int) -> None:
        """Have the pipeline log it, which does so once for all workers."""
        self._connection.send(FrameKind.REFUSALS, count, orjson.dumps(request))

    async def _metrics(self) -> str:
        asked = asyncio.get_running_loop().create_future()
        self._asked.append(asked)
        self._connection.send(FrameKind.ASK_METRICS)
        await asyncio.wait((asked, self._connection.lost), return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            raise LedgerUnavailable("the process that counts has ended")
        return str(asked.result())

    async def _publish_for_ever(self, servers: Servers) -> None:
        while True:
            self._refusals.publish_due()
            self._send_tally(servers)
            await asyncio.sleep(_TALLY_S)

    def _send_tally(self, servers: Servers) -> None:
        tally = {
            "grpc": servers.grpc_answers,
            "http": {str(status): count for status, count in servers.http_answers.items()},
            "overloaded": servers.overloaded_count(),
            "in_flight_bytes": servers.in_flight_bytes(),
            "rss_bytes": memory_rss_bytes() or 0,
            "cpu_s": time.process_time(),
        }
        self._connection.send(FrameKind.TALLY, payload=orjson.dumps(tally))


def main() -> None:
    """Serve with the connection's socket as the first argument."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.setblocking(False)  # noqa: FBT003 - the standard library's signature.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uvloop is not None else None) as runner:
        runner.run(_run(connection))


async def _run(connection: socket.socket) -> None:
    await Worker().run(connection)
