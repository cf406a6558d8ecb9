"""HTTP senders that are slow, many, or ask for too much: who is waited for, and for how long."""

import asyncio
import socket
from contextlib import AsyncExitStack, suppress

import pytest
from http_served import BODY, MIB, request_head, served
from receiver_parts import FakeAccountant, Run, until

from otel_sla.receiver.http.app import JSON, Probes
from otel_sla.receiver.http.connection import RefusedLimits
from otel_sla.receiver.limits.large_requests import LargeRequests
from otel_sla.receiver.limits.memory import InFlight
from otel_sla.receiver.responses import Readiness
from otel_sla.receiver.settings import BearerSettings


def test_an_oversized_body_is_413_as_soon_as_it_is_known(run: Run) -> None:
    """Announced by Content-Length it is refused unread; without one, as soon as it is over the limit."""

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant, max_request_body_size_mib=1) as it:
            async with it.connected() as (reader, writer):
                writer.write(request_head(content_length=str(MIB + 1)))
                assert (await reader.readline()).split()[1] == b"413"
            async with it.connected() as (reader, writer):
                writer.write(request_head(transfer_encoding="chunked"))
                chunk = b"100000\r\n" + bytes(MIB) + b"\r\n"
                writer.write(chunk + chunk)  # And no end.
                assert (await reader.readline()).split()[1] == b"413"
            assert (await it.send(bytes(MIB))).status == 200
            assert it.in_flight.size_bytes == 0

    run(main())


def test_a_body_that_does_not_come_is_504_and_the_connection_ends(run: Run) -> None:
    """A sender that stalls in its body is answered in time, and holds neither bytes nor the connection."""

    async def main() -> None:
        async with served(FakeAccountant(), body_timeout_s=0.05) as it:
            reply = await it.talk(request_head(content_length="10") + b"half")
            assert reply.startswith(b"HTTP/1.1 504 ")
            assert it.in_flight.size_bytes == 0

    run(main())


@pytest.mark.parametrize("text", [b"", b"\r\n", b"POST /v1/traces HTTP/1.1\r\nhost: x\r\n"])
def test_headers_that_do_not_come_end_the_connection(run: Run, text: bytes) -> None:
    """A connection that never gets to the end of its first headers is closed in time."""

    async def main() -> None:
        async with served(FakeAccountant(), header_timeout_s=0.05) as it:
            assert await it.talk(text) == b""

    run(main())


@pytest.mark.parametrize("text", [b"", b"\r\n", b"POST /v1/tr"])
def test_a_connection_left_idle_is_closed(run: Run, text: bytes) -> None:
    """After an answer, silence ends the connection in time, and so does the mere beginning of a request."""

    async def main() -> None:
        server = served(FakeAccountant(), header_timeout_s=0.05, keep_alive_timeout_s=0.05)
        async with server as it, it.connected() as (reader, writer):
            writer.write(request_head(content_length="2") + BODY)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            writer.write(text)
            assert await reader.read() == b""

    run(main())


def test_the_rest_of_a_refused_body_is_not_awaited_for_ever(run: Run) -> None:
    """After a refusal by the headers, a body that keeps the connection busy without end is cut off."""

    async def main() -> None:
        async with served(FakeAccountant(), body_timeout_s=0.05, auth=BearerSettings(tokens=("a",))) as it:
            assert (await it.talk(request_head(content_length="10") + b"half")).startswith(b"HTTP/1.1 401 ")

    run(main())


@pytest.mark.parametrize("path", ["/v1/traces", "/elsewhere"])
def test_little_is_taken_of_a_body_that_nobody_wants(run: Run, path: str) -> None:
    """Who may not send gets an answer at once; a large body is left with its sender, and the connection ends."""

    async def main() -> None:
        accountant = FakeAccountant()
        auth, limits = BearerSettings(tokens=("a",)), RefusedLimits(linger_s=0.05)
        async with served(accountant, limits=limits, auth=auth, body_timeout_s=60) as it:
            async with it.connected() as (reader, writer):
                small = request_head(path=path, content_length=str(MIB // 2)) + bytes(MIB // 2)
                writer.write(small + request_head(path=path, content_length=str(60 * MIB)))
                for _ in range(2):  # The first was small enough for the connection to go on.
                    assert (await reader.readuntil(b"HTTP/1.1 40"))[-11:] == b"HTTP/1.1 40"
                n_sent = 0
                with suppress(ConnectionError):
                    while n_sent < 60 * MIB:
                        writer.write(bytes(MIB // 16))
                        await writer.drain()
                        n_sent += MIB // 16
                assert n_sent < 30 * MIB, "what is not read is kept by both systems' buffers"
            assert accountant.bodies == []

    run(main())


def test_a_large_refused_body_of_an_authenticated_sender_is_awaited(run: Run) -> None:
    """An authenticated sender gets what is wrong with its large body, and goes on with the same connection."""

    async def main() -> None:
        async with served(FakeAccountant()) as it, it.connected() as (reader, writer):
            body = bytes(3 * MIB)
            writer.write(request_head(content_type="text/plain", content_length=str(len(body))) + body)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 415 ")
            writer.write(request_head(content_length="2") + BODY)
            assert b"HTTP/1.1 200 " in await reader.readuntil(b"HTTP/1.1 200 ")

    run(main())


def test_a_refused_sender_that_waits_for_continue_is_disconnected(run: Run) -> None:
    """With `Expect: 100-continue` and a refusal, the next bytes might be a body or a request: there are none."""

    async def main() -> None:
        async with served(FakeAccountant(), auth=BearerSettings(tokens=("a",))) as it:
            reply = await it.talk(request_head(content_length="10", expect="100-continue"))
            assert reply.startswith(b"HTTP/1.1 401 ")

    run(main())


def test_many_slow_senders_do_not_keep_a_good_one_out(run: Run) -> None:
    """While a hundred connections stall in their headers and a hundred in their bodies, others are answered."""

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant) as it, AsyncExitStack() as stalled:
            body_head = request_head(content_length=str(60 * MIB))
            for index in range(200):
                _, writer = await stalled.enter_async_context(it.connected())
                writer.write(body_head + b"x" if index % 2 else b"POST /v1/traces HTTP/1.1\r\nhost: x\r\n")
            await until(lambda: it.in_flight.size_bytes == 100)
            for _ in range(10):
                assert (await it.send()).status == 200
            assert len(accountant.bodies) == 10

    run(main())


def test_a_sender_that_announces_much_and_sends_little_takes_no_turn(run: Run) -> None:
    """Twenty senders stall at the beginning of large bodies; another's large body does not wait for any of them."""

    async def main() -> None:
        accountant = FakeAccountant()
        in_flight = InFlight(512 * MIB, large_requests=LargeRequests(quick_s=1e6, wait_s_max=1e6))
        async with served(accountant, in_flight=in_flight) as it, AsyncExitStack() as stalled:
            for _ in range(20):
                _, writer = await stalled.enter_async_context(it.connected())
                writer.write(request_head(content_length=str(60 * MIB)) + b"x")
            await until(lambda: it.in_flight.size_bytes == 20)
            body = BODY * MIB
            assert (await it.send(body)).status == 200
            assert accountant.bodies == [body]

    run(main())


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
def test_a_client_that_reads_no_answer_is_disconnected(run: Run, connection: str) -> None:
    """An answer that its sender does not read holds the connection for a limited time only."""

    async def main() -> None:
        big = Probes(readiness=Readiness, metrics=lambda: "x" * 32 * MIB)
        async with served(FakeAccountant(), probes=big, body_timeout_s=0.05, keep_alive_timeout_s=0.05) as it:
            with socket.socket() as client:
                client.connect(("127.0.0.1", it.port))
                client.sendall(f"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: {connection}\r\n\r\n".encode())
                await until(lambda: it.server.connections.open)
                await until(lambda: not it.server.connections.open)

    run(main())


def test_endless_headers_are_cut_off(run: Run) -> None:
    """Headers past their limit end the connection, and no other."""

    async def main() -> None:
        async with served(FakeAccountant()) as it:
            async with it.connected() as (_, writer):
                writer.write(b"POST /v1/traces HTTP/1.1\r\n")
                with suppress(ConnectionError):
                    while True:
                        writer.write(b"x: " + b"x" * 1000 + b"\r\n")
                        await writer.drain()
            assert (await it.send()).status == 200

    run(main())


def test_more_connections_than_the_limit_are_answered_503(run: Run) -> None:
    """A connection over the limit is answered 503 with Retry-After, and when one ends there is room again."""

    async def main() -> None:
        async with served(FakeAccountant(), connections_max=1) as it:
            async with it.connected() as (_, _):
                reply = await it.send()
                assert (reply.status, reply.headers["retry-after"]) == (503, "1")
            while (await it.send()).status == 503:
                pass

    run(main())


def test_refused_connections_are_limited_too(run: Run) -> None:
    """While a refused connection is there for its answer, one more is closed without any; both are counted."""

    async def main() -> None:
        async with (
            served(FakeAccountant(), limits=RefusedLimits(linger_s=3600.0, refused_max=1), connections_max=1) as it,
            it.connected(),
            it.connected() as (told, writer),
            it.connected() as (closed, _),
        ):
            writer.write(request_head(content_length="2") + BODY)
            assert (await told.read()).startswith(b"HTTP/1.1 503 ")
            with suppress(ConnectionError):
                assert await closed.read() == b""
            assert it.server.app.refusals.connections == 2

    run(main())


def test_bytes_in_flight_are_bounded(run: Run) -> None:
    """While requests wait for their commit up to the limit, a further one is 503; afterwards it is taken."""

    async def main() -> None:
        accountant = FakeAccountant()
        accountant.gate.clear()
        async with served(accountant, in_flight=InFlight(MIB)) as it:
            waiting = asyncio.ensure_future(it.send(bytes(MIB - 1)))
            await accountant.arrived.wait()
            assert it.in_flight.size_bytes == MIB - 1
            assert (await it.send(BODY)).status == 503
            assert it.in_flight.refused_count == 1
            accountant.gate.set()
            assert (await waiting).status == 200
            assert (await it.send(BODY)).status == 200
            assert it.in_flight.size_bytes == 0
            assert it.in_flight.refused_count == 1

    run(main())


def test_json_that_would_not_fit_in_memory_is_413(run: Run) -> None:
    """JSON is weighed by what it takes as objects, before that is taken."""

    async def main() -> None:
        async with served(FakeAccountant(), in_flight=InFlight(MIB)) as it:
            reply = await it.send(b'{"x":[' + b"[]," * 30_000 + b"[]]}", content_type=JSON)
            assert reply.status == 413
            assert it.in_flight.size_bytes == 0

    run(main())
