"""Sends traffic from a process of its own and tells what came of it; driven by `Sender`, one line of JSON an order.

Closed loop: as many requests as are taken, `in_flight` at a time. Open loop: a request is due at its moment whatever
became of those before, and its latency counts from then on, so a server that stops for a while pays for all that
waited (no coordinated omission).
"""

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import grpc
import httptools
import numpy as np
import uvloop
import zstandard
from isal import igzip
from traffic import Shape, Traffic

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_TEMPLATES_BYTES = 24 * 2**20
_ANSWER_WITHIN_S = 30.0
QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


@dataclass(frozen=True, slots=True)
class Load:
    """One order.

    Attributes:
        protocol: `grpc` or `http`.
        port: Of the server, on the loopback interface.
        shape: Of the requests.
        seconds: How long.
        encoding: `identity`, `gzip`, or with HTTP `zstd`.
        connections: How many.
        in_flight: Requests at a time, over all connections; of a closed loop.
        rate: Requests a second of an open loop; 0 for a closed one.
        repeat: Send one body again and again, which a counter of spans recognises.
        requests: End after so many; 0 for no limit.
    """

    protocol: str
    port: int
    shape: Shape = field(default_factory=Shape)
    seconds: float = 2.0
    encoding: str = "identity"
    connections: int = 4
    in_flight: int = 16
    rate: float = 0.0
    repeat: bool = False
    requests: int = 0


Send = Callable[[bytes, int], Awaitable[None]]


# Transports


class GrpcConnections:
    """Channels with a connection of their own each."""

    def __init__(self, load: Load) -> None:
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
        compression = grpc.Compression.Gzip if load.encoding == "gzip" else grpc.Compression.NoCompression
        self._channels = [
            grpc.aio.insecure_channel(f"127.0.0.1:{load.port}", options=options, compression=compression)
            for _ in range(load.connections)
        ]
        self._calls = [channel.unary_unary(EXPORT) for channel in self._channels]

    async def open(self) -> None:
        """Connect."""
        await asyncio.gather(*(channel.channel_ready() for channel in self._channels))

    async def send(self, body: bytes, number: int) -> None:
        """Send on connection `number`."""
        await self._calls[number % len(self._calls)](body, timeout=_ANSWER_WITHIN_S)

    async def close(self) -> None:
        """Disconnect."""
        await asyncio.gather(*(channel.close() for channel in self._channels))


class _HttpConnection(asyncio.Protocol):
    """One HTTP/1.1 connection, one request at a time."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[int] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.WriteTransport | None = None
        self.is_free = asyncio.Lock()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError())

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Called by the parser: the answer is there."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(self._parser.get_status_code())
        self._parser = httptools.HttpResponseParser(self)

    async def send(self, head: bytes, body: bytes) -> int:
        async with self.is_free:
            assert self._transport is not None, "connected"
            self._answer = asyncio.get_running_loop().create_future()
            self._transport.writelines((head, body))
            return await self._answer

    def close(self) -> None:
        assert self._transport is not None, "connected"
        self._transport.close()


class HttpConnections:
    """Keep-alive connections; a request waits until its own is free."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._connections: list[_HttpConnection] = []
        coding = "" if load.encoding == "identity" else f"Content-Encoding: {load.encoding}\r\n"
        self._head = (
            f"POST /v1/traces HTTP/1.1\r\nHost: 127.0.0.1:{load.port}\r\n"
            f"Content-Type: application/x-protobuf\r\n{coding}"
        )

    async def open(self) -> None:
        """Connect."""
        loop = asyncio.get_running_loop()
        for _ in range(self._load.connections):
            _, connection = await loop.create_connection(_HttpConnection, "127.0.0.1", self._load.port)
            self._connections.append(connection)

    async def send(self, body: bytes, number: int) -> None:
        """Send on connection `number`."""
        if self._load.encoding == "gzip":
            body = igzip.compress(body, compresslevel=1)
        elif self._load.encoding == "zstd":
            body = zstandard.ZstdCompressor(level=1).compress(body)
        head = f"{self._head}Content-Length: {len(body)}\r\n\r\n".encode()
        status = await self._connections[number % len(self._connections)].send(head, body)
        if status != 200:
            raise ConnectionError(f"answered {status}")

    async def close(self) -> None:
        """Disconnect."""
        for connection in self._connections:
            connection.close()


# Loops


class _Run:
    def __init__(self, load: Load, send: Send, traffic: Traffic) -> None:
        self._load = load
        self._send = send
        self._traffic = traffic
        self._repeated = traffic.next() if load.repeat else None
        self._left = itertools.count(load.requests, -1) if load.requests else itertools.repeat(1)
        self.latencies_s: list[float] = []
        self.refused = 0

    async def closed(self) -> None:
        stop_s = time.perf_counter() + self._load.seconds

        async def send_some(number: int) -> None:
            while (now_s := time.perf_counter()) < stop_s and next(self._left) > 0:
                await self._one(number, now_s)

        await asyncio.gather(*(send_some(number) for number in range(self._load.in_flight)))

    async def open(self) -> None:
        start_s, n_requests = time.perf_counter(), int(self._load.seconds * self._load.rate)
        under_way: set[asyncio.Task[None]] = set()
        for number in range(n_requests):
            due_s = start_s + number / self._load.rate
            if (wait_s := due_s - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            task = asyncio.create_task(self._one(number, due_s))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)

    async def _one(self, number: int, from_s: float) -> None:
        try:
            await self._send(self._repeated or self._traffic.next(), number)
        except (grpc.aio.AioRpcError, OSError):
            self.refused += 1
            return
        self.latencies_s.append(time.perf_counter() - from_s)


async def send_load(load: Load, traffic: Traffic) -> dict[str, Any]:
    """Send as ordered; give what came of it."""
    connections = GrpcConnections(load) if load.protocol == "grpc" else HttpConnections(load)
    await connections.open()
    run = _Run(load, connections.send, traffic)
    started_s = time.perf_counter()
    await (run.open() if load.rate else run.closed())
    elapsed_s = time.perf_counter() - started_s
    await connections.close()
    latencies_ms = np.asarray(run.latencies_s or [np.nan]) * 1e3
    return {
        "seconds": elapsed_s,
        "requests": len(run.latencies_s),
        "spans": len(run.latencies_s) * load.shape.spans,
        "refused": run.refused,
        "span_size_bytes": traffic.size_bytes,
        "ack_ms": {name: float(np.quantile(latencies_ms, ratio)) for name, ratio in QUANTILES.items()},
    }


# The process


class Sender:
    """The process, as its parent sees it."""

    def __init__(self, number: int = 0) -> None:
        command = [sys.executable, str(Path(__file__)), str(number)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def send(self, load: Load) -> dict[str, Any]:
        """Send, and wait for the end."""
        self.begin(load)
        return self.end()

    def begin(self, load: Load) -> None:
        """Give the order."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(load)) + "\n")
        self._process.stdin.flush()

    def end(self) -> dict[str, Any]:
        """Wait for what came of it."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the sender ended with {self._process.wait()}")
        return dict(json.loads(line))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    """Carry out orders until there are no more."""
    traffics: dict[Shape, Traffic] = {}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for line in sys.stdin:
            fields = json.loads(line)
            shape = Shape(**fields.pop("shape"))
            if shape not in traffics:
                templates = max(2, min(32, _TEMPLATES_BYTES // (shape.spans * 600)))
                traffics[shape] = Traffic(shape, templates, sender=int(sys.argv[1]))
            answer = runner.run(send_load(Load(shape=shape, **fields), traffics[shape]))
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
