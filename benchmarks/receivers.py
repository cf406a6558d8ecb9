"""Receivers to compare with: what the transport costs by itself, and what people write with protobuf objects.

    python benchmarks/receivers.py discard    takes requests, expands what is compressed, and forgets them
    python benchmarks/receivers.py loop       parses them with upb and counts in a Python loop; nothing is kept on disk

Each serves gRPC (grpc.aio) and HTTP (uvicorn, httptools) on uvloop, as otel-sla does, and writes its ports.
"""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import grpc
import uvicorn
import uvloop
import zstandard
from bench_stages import count_as_people_do
from isal import igzip

EXPORT_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
SIZE_BYTES_MAX = 64 * 1024 * 1024
Take = Callable[[bytes], None]


def make_take(name: str) -> Take:
    """Give what is done with a request's bytes."""
    if name == "discard":
        return lambda _: None
    counts: dict[tuple[str, int], list[int]] = {}
    return lambda body: count_as_people_do(body, counts)


async def serve_grpc(take: Take) -> tuple[grpc.aio.Server, int]:
    """Serve Export; give the port."""

    async def export(body: bytes, _: grpc.aio.ServicerContext) -> bytes:
        take(body)
        return b""

    server = grpc.aio.server(options=(("grpc.max_receive_message_length", SIZE_BYTES_MAX), ("grpc.so_reuseport", 0)))
    handlers = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(EXPORT_SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


def expand(body: bytes, encoding: bytes) -> bytes:
    """Undo the Content-Encoding, with the libraries that otel-sla uses."""
    if encoding == b"gzip":
        return igzip.decompress(body)
    if encoding == b"zstd":
        return zstandard.ZstdDecompressor().decompress(body, max_output_size=SIZE_BYTES_MAX)
    return body


def make_app(take: Take) -> Callable[..., Awaitable[None]]:
    """Give the ASGI application that answers every request with success."""

    async def app(
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        pieces, more = [], True
        while more:
            message = await receive()
            pieces.append(message.get("body", b""))
            more = message.get("more_body", False)
        take(expand(b"".join(pieces), dict(scope["headers"]).get(b"content-encoding", b"")))
        headers = [(b"content-type", b"application/x-protobuf"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    return app


async def serve(name: str) -> None:
    """Serve until the process is ended."""
    take = make_take(name)
    server, grpc_port = await serve_grpc(take)
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(make_app(take), http="httptools", log_config=None, lifespan="off", access_log=False)
    print(f"action=serving gRPC {grpc_port}, HTTP {listening.getsockname()[1]}", file=sys.stderr, flush=True)
    await uvicorn.Server(config).serve([listening])
    await server.stop(None)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[1]))
