"""Senders that mean harm: what they are answered, what they take of memory, and that others are served meanwhile."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from hostile import grpc_wire, http_wire
from receiver_parts import run_on

from otel_sla.errors import DecodeError, Overloaded, RequestTooLarge
from otel_sla.receiver.accounting import Accountant, Receipt
from otel_sla.receiver.grpc_server import GrpcServer
from otel_sla.receiver.http_app import Probes
from otel_sla.receiver.http_server import HttpServer
from otel_sla.receiver.in_flight import Held, InFlight
from otel_sla.receiver.settings import GrpcServerSettings, HttpServerSettings

MIB = 1 << 20


class RefusingAccountant:
    """Counts nothing."""

    def __init__(self, make_error: Callable[[], Exception]) -> None:
        self._make_error = make_error

    async def account(self, body: bytes) -> Receipt:
        """Implement `otel_sla.receiver.accounting.Accountant`."""
        assert body
        raise self._make_error()


@asynccontextmanager
async def both_servers(accountant: Accountant, in_flight: InFlight) -> AsyncIterator[dict[str, Callable[..., str]]]:
    """Serve both protocols for the time of a test; gives what sends one request by each."""
    http_server = HttpServer(
        HttpServerSettings(endpoint="127.0.0.1:0"), accountant, in_flight, Probes(not_ready_reason=lambda: "")
    )
    grpc_server = GrpcServer(GrpcServerSettings(endpoint="127.0.0.1:0"), accountant, in_flight)
    http_port, grpc_port = await http_server.start(), await grpc_server.start()
    try:
        yield {
            "http": lambda body: http_wire.post(http_port, body),
            "grpc": lambda body: grpc_wire.call(grpc_port, [grpc_wire.message(body)]),
        }
    finally:
        await http_server.stop(0)
        await grpc_server.stop(0)


@contextmanager
def garbage_kept() -> Iterator[None]:
    """What only the garbage collector would find is left in `gc.garbage`."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield
        gc.collect()
    finally:
        gc.set_debug(0)
        gc.enable()


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("make_error", [lambda: DecodeError("x", 0), RequestTooLarge, Overloaded])
def test_a_refused_body_is_freed_at_once(protocol: str, make_error: Callable[[], Exception]) -> None:
    """No cycle of references keeps what a refused request held until the garbage collector runs."""

    async def main() -> None:
        async with both_servers(RefusingAccountant(make_error), InFlight(64 * MIB)) as send:
            await asyncio.to_thread(send[protocol], b"warm")
            with garbage_kept():
                answers = [await asyncio.to_thread(send[protocol], b"refused") for _ in range(2)]
        kept = [found for found in gc.garbage if isinstance(found, Held)]
        gc.garbage.clear()
        assert not {"200", "OK"}.intersection(answers)
        assert kept == []

    run_on("asyncio", main())
