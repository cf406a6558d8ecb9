"""A process that receives: both servers, and behind them the link to the one that counts.

It ends when it is told to over the link, or when the link does: a worker without its pipeline can promise nothing.
"""

import asyncio
import itertools
import logging
import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

import orjson

from otel_sla.counting.receipt import Receipt
from otel_sla.errors import LedgerUnavailable, OtelSlaError
from otel_sla.logs import set_up_logs
from otel_sla.process import freeze_objects, prepare_process
from otel_sla.receiver.readiness import Readiness
from otel_sla.receiver.refusals import Refusals, RefusedRequest
from otel_sla.receiver.workers.frames import PLACE, FramedSocket, FrameKind
from otel_sla.receiver.workers.messages import WorkerSettings, decode_error
from otel_sla.receiver.workers.shared_memory import SHARED_SIZE_BYTES_MIN, SharedBodies

_log = logging.getLogger(__name__)

TALLY_S = 0.5


class RemoteAccountant:
    """Implements `receiver.accounting.Accountant` by the link."""

    def __init__(self, link: FramedSocket) -> None:
        self._link = link
        self.arena: SharedBodies | None = None
        self._waiting: dict[int, asyncio.Future[Receipt]] = {}
        self._places: dict[int, int] = {}  # In the arena, by the request's number.
        self._numbers = itertools.cycle(range(1 << 32))
        link.lost.add_done_callback(lambda _: self._give_up())

    async def account(self, body: bytes | memoryview) -> Receipt:
        """Have a request counted, and return when that is durable; errors as the accountant's own."""
        number = next(self._numbers)
        answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        place = None
        if self.arena is not None and len(body) >= SHARED_SIZE_BYTES_MIN:
            place = self.arena.put(body)
        if place is None:
            self._link.send(FrameKind.BODY, number, body)
        else:
            self._places[number] = place
            self._link.send(FrameKind.SHARED_BODY, number, PLACE.pack(place, len(body)))
        if self._link.lost.done():
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
        if self.arena is not None and (place := self._places.pop(number, None)) is not None:
            self.arena.release(place)
        # Of a task that nobody waits for any more.
        return asyncio.get_running_loop().create_future() if answer.done() else answer

    def _give_up(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            if not answer.done():
                answer.set_exception(LedgerUnavailable("the process that counts has ended"))


class Worker:
    """The process."""

    def __init__(self) -> None:
        self._link = FramedSocket(self._take)
        self._accountant = RemoteAccountant(self._link)
        self._settings: asyncio.Future[WorkerSettings] = asyncio.get_running_loop().create_future()
        self._stop: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._readiness = Readiness("starting")
        self._asked: list[asyncio.Future[str]] = []
        self._tell_state: Callable[[], None] = lambda: None  # From when there are servers, as the next.
        self._reload: Callable[[], None] = lambda: None

    async def run(self, connection: socket.socket) -> None:
        """Serve until the end."""
        await asyncio.get_running_loop().create_unix_connection(lambda: self._link, sock=connection)
        settings = await self._settings
        set_up_logs(settings.logs, sys.stderr)
        if settings.shared_memory is not None:
            self._accountant.arena = SharedBodies(*settings.shared_memory)
        # gRPC takes its time to load; settings that came late would come after it anyway.
        from otel_sla.receiver.servers import Servers  # noqa: PLC0415

        refusals = Refusals(self._tell_refused, TALLY_S)
        servers = Servers(settings.receiver, self._accountant, lambda: self._readiness, self._metrics, refusals)
        try:
            await servers.start(settings.grpc_addresses, settings.http_addresses)
        except OtelSlaError as error:
            self._link.send(FrameKind.FAILED, payload=str(error).encode())
            self._link.close()
            return
        freeze_objects()
        self._tell_state, self._reload = servers.tell_state, servers.reload
        self._link.send(FrameKind.READY)
        telling = asyncio.create_task(self._tell(servers, refusals))
        await asyncio.wait((self._stop, self._link.lost), return_when=asyncio.FIRST_COMPLETED)
        if not self._stop.done():
            _log.error("the process that counts has ended, and this one with it", extra={"action": "worker_orphaned"})
            os._exit(1)  # At once: who starts a pipeline in its place wants the ports.
        self._readiness = Readiness("stopping")
        await servers.stop(self._stop.result())
        telling.cancel()
        refusals.close()
        self._link.send(FrameKind.TALLY, payload=orjson.dumps(servers.tally()))
        self._link.close()
        await self._link.lost

    def _take(self, kind: FrameKind, number: int, payload: memoryview) -> None:
        if kind in (FrameKind.COUNTED, FrameKind.RECEIPT, FrameKind.REFUSED):
            self._accountant.take(kind, number, payload)
        elif kind is FrameKind.STATE:
            self._readiness = Readiness(*bytes(payload).decode().split("\n"))
            self._tell_state()
        elif kind is FrameKind.METRICS:
            self._asked.pop(0).set_result(bytes(payload).decode())
        elif kind is FrameKind.RELOAD:
            self._reload()
        elif kind is FrameKind.STOP:
            self._stop.set_result(float(bytes(payload)))
        elif kind is FrameKind.SETTINGS:
            # From our own parent, over a socket that nobody else has.
            self._settings.set_result(pickle.loads(payload))  # noqa: S301

    def _tell_refused(self, request: RefusedRequest, count: int) -> None:
        """Have the pipeline log it, which does so once for all workers."""
        self._link.send(FrameKind.REFUSALS, count, orjson.dumps(request))

    async def _metrics(self) -> str:
        asked = asyncio.get_running_loop().create_future()
        self._asked.append(asked)
        self._link.send(FrameKind.ASK_METRICS)
        await asyncio.wait((asked, self._link.lost), return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            raise LedgerUnavailable("the process that counts has ended")
        return str(asked.result())

    async def _tell(self, servers: "Servers", refusals: Refusals) -> None:  # type: ignore[name-defined]  # noqa: F821
        while True:
            refusals.tell_due()
            self._link.send(FrameKind.TALLY, payload=orjson.dumps(servers.tally()))
            await asyncio.sleep(TALLY_S)


def main() -> None:
    """Serve with the link's socket as the first argument."""
    # Ctrl-C and a service manager reach all processes at once; this one has to answer what the pipeline still counts.
    # It hears of a hangup from the pipeline.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    prepare_process()
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.setblocking(False)  # noqa: FBT003 - the standard library's signature.
    with suppress(ImportError):
        import uvloop  # noqa: PLC0415

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(connection))
        return
    asyncio.run(_run(connection))


async def _run(connection: socket.socket) -> None:
    await Worker().run(connection)


if __name__ == "__main__":
    main()
