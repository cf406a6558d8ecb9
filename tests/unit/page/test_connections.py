"""Connections that say or read nothing, or are too many: they end, and the others are served."""

import asyncio
import select
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from otel_sla.page import connections
from otel_sla.page.app import PiecewiseResponse

TIMEOUT_S = 30.0  # Never reached unless a test fails.
BODY_SIZE = 8 * 1024 * 1024
ASK = b"GET / HTTP/1.1\r\nhost: page\r\n\r\n"


async def _small(_request: Request) -> Response:
    return Response(b"small")


async def _large(_request: Request) -> Response:
    return PiecewiseResponse(bytes(BODY_SIZE))


@asynccontextmanager
async def serving(connections_max: int = 8, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve for the time of a test; gives the port."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)  # noqa: FBT003 - the standard library's signature.
    port = listening.getsockname()[1]
    app = Starlette(routes=[Route("/", _small), Route("/large", _large)])
    running = asyncio.create_task(connections.serve(app, [listening], connections_max, tls))
    try:
        yield port
    finally:
        running.cancel()
        await asyncio.wait((running,))


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario; it stops by itself."""
    asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_S))  # type: ignore[arg-type]


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """Read until the connection ends, however that is."""
    found = b""
    try:
        while piece := await reader.read(1 << 16):
            found += piece
    except ConnectionError:
        pass
    return found


@pytest.fixture
def short_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exchange may take half a second."""
    monkeypatch.setattr(connections, "_EXCHANGE_S", 0.5)


@pytest.mark.usefixtures("short_exchange")
@pytest.mark.parametrize(
    "opening", [b"", b"GET / HTTP/1.1\r\nx:", b"POST / HTTP/1.1\r\nhost: page\r\ncontent-length: 9\r\n\r\n"]
)
def test_a_connection_that_says_nothing_is_ended(opening: bytes) -> None:
    """Silence before the request, within its headers, after an answer whose request goes on: the connection ends."""

    async def scenario() -> None:
        async with serving() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(opening)
            found = await read_all(reader)
            writer.close()
        assert found.startswith(b"HTTP/1.1 405" if opening.startswith(b"POST") else b"")

    run(scenario)


@pytest.mark.usefixtures("short_exchange")
def test_a_connection_that_drips_is_ended() -> None:
    """A byte of a header now and then does not put off the end."""

    async def scenario() -> None:
        async with serving() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nx: ")
            reading = asyncio.create_task(read_all(reader))
            while not (await asyncio.wait((reading,), timeout=0.1))[0]:
                writer.write(b"y")
            writer.close()
        assert reading.result() == b""

    run(scenario)


@pytest.mark.usefixtures("short_exchange")
@pytest.mark.parametrize("n_asked", [1, 20])
def test_a_client_that_does_not_read_is_ended(n_asked: int) -> None:
    """Megabytes asked for, once or again and again, and not read: a fraction was sent when the connection ended."""

    async def scenario() -> None:
        async with serving() as port:
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.sendall(b"GET /large HTTP/1.1\r\nhost: page\r\n\r\n" * n_asked)
                ended = select.poll()
                ended.register(connection, select.POLLERR)
                assert await asyncio.to_thread(ended.poll, 1000 * TIMEOUT_S)
            assert await _status(port) == 200

    run(scenario)


async def _status(port: int, request: bytes = ASK) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    line = await reader.readline()
    writer.close()
    return int(line.split(b" ")[1]) if line else 0


def test_more_connections_than_allowed_are_answered_503() -> None:
    """Two are open: a third is answered 503, the two are served, and when one ends there is room again."""

    async def scenario() -> None:
        async with serving(connections_max=2) as port:
            opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            refused, writer = await asyncio.open_connection("127.0.0.1", port)
            answer = await read_all(refused)
            writer.close()
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after" in answer
            for reader, writer in opened:
                writer.write(ASK)
                assert (await reader.readline()).split(b" ")[1] == b"200"
            opened[0][1].close()
            await opened[0][1].wait_closed()
            while await _status(port) != 200:
                pass
            opened[1][1].close()

    run(scenario)


def test_handshakes_count_as_connections() -> None:
    """With TLS two that never shake hands take the room of two; a third is closed."""

    async def scenario() -> None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("localhost").configure_cert(tls)
        async with serving(connections_max=2, tls=tls) as port:
            opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            refused, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await read_all(refused) == b""
            for each in (writer, *(writer for _, writer in opened)):
                each.close()

    run(scenario)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nhost: page\r\n" + b"x: y\r\n" * 10_000 + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: page\r\nx: " + b"y" * 30_000 + b"\r\n\r\n", 400),
        (b"GET /" + b"y" * 30_000 + b" HTTP/1.1\r\nhost: page\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: page\r\nx: " + b"y" * 10_000 + b"\r\n\r\n", 200),
        (b"HEAD / HTTP/1.1\r\nhost: page\r\n\r\n", 200),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00" + bytes(64), 400),
    ],
)
def test_headers_are_bounded(request_: bytes, status: int, caplog: pytest.LogCaptureFixture) -> None:
    """Many headers, a long one, a long path, no HTTP at all: 400, and no line in the log."""

    async def scenario() -> None:
        async with serving() as port:
            assert await _status(port, request_) == status

    run(scenario)
    assert caplog.messages == []
