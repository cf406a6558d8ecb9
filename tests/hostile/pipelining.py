"""One connection that sends request behind request and reads no answer, without credentials."""

import asyncio
import multiprocessing
import os
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from hostile import http_wire
from hostile.floods import RATIO_MIN, Flood, Found, side_by_side
from hostile.guard import Guard
from hostile.target import Target

BLOCK_SIZE_BYTES = 256 * 1024  # What a server's event loop reads at once.
_STUCK_S = 1.0  # A sender whom nobody reads from any more comes again.
REQUESTS = {
    "questions for health": http_wire.head(method="GET", path="/healthz", content_type=""),
    "bodies of 4 KB": http_wire.head(4096) + bytes(4096),
}


def every_pipelining() -> Iterator[Flood]:
    """Each kind of request, then the first of them over TLS and to two processes."""
    for name in REQUESTS:
        yield Flood(f"pipelined {name}", pipelined(name), {"guard": Guard()})
    folder = Path(tempfile.mkdtemp())
    name = next(iter(REQUESTS))
    yield Flood(f"pipelined {name}, TLS", pipelined(name), {"guard": Guard(folder, asks_for_certificate=False)})
    settings = {"guard": Guard(), "processor": {"processes": 2, "memory_limit_mib": 128}}
    yield Flood(f"pipelined {name}, 2 processes", pipelined(name), settings)


def pipelined(name: str) -> Callable[[Target, float], Found]:
    """Give the attack with requests of this kind."""

    def run(target: Target, seconds: float) -> Found:
        async def attack() -> None:
            certificate = None if target.guard is None else target.guard.server_certificate()
            arguments = (target.http_port, REQUESTS[name], certificate)
            process = multiprocessing.get_context("spawn").Process(target=_send_on, args=arguments)
            process.start()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                process.terminate()
                process.join()

        ratio, p99_ms = asyncio.run(side_by_side(target, seconds, attack))
        told = f"a good sender keeps {ratio:.2f}, p99 {p99_ms:.0f} ms"
        return ([told] if ratio < RATIO_MIN else []), told

    return run


def _send_on(port: int, request: bytes, certificate: str | None) -> None:
    os.nice(19)  # It would be on a machine of its own.
    tls = None if certificate is None else ssl.create_default_context(cadata=certificate)
    while True:
        send_unread(port, request, tls)


def send_unread(port: int, request: bytes, tls: ssl.SSLContext | None = None) -> int:
    """Send the request again and again on one connection until nobody reads any more; gives the bytes sent."""
    block = request * (BLOCK_SIZE_BYTES // len(request))
    sent = 0
    with closing(http_wire.connect(port, _STUCK_S, tls)) as connection, suppress(OSError):
        while True:
            connection.sendall(block)
            sent += len(block)
    return sent
