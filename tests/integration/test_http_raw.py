"""Requests byte by byte, over plain TCP and TLS: framing, versions, Host, targets, what follows a request."""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trustme
from google.rpc.status_pb2 import Status
from receiver_parts import FakeAccountant, Run, until

from otel_sla.counting.receipt import Receipt
from otel_sla.errors import DecodeError
from otel_sla.receiver.http.app import JSON, PROTOBUF, HttpApp, Probes
from otel_sla.receiver.http.body import Body
from otel_sla.receiver.http.request import HeadParser, Request
from otel_sla.receiver.http.server import HttpServer
from otel_sla.receiver.limits.memory import InFlight
from otel_sla.receiver.refusals import Refusals
from otel_sla.receiver.responses import MalformedRequest, Readiness
from otel_sla.receiver.settings import BearerSettings, HttpServerSettings, TlsSettings

BODY = b"\x0a\x00"  # One empty ResourceSpans; the fake accountant does not mind.
MIB = 1 << 20


def post(*fields: str, line: str = "POST /v1/traces HTTP/1.1", host: str = "host: x", body: bytes = BODY) -> bytes:
    """Write one request; the fields are lines of its head."""
    lines = [line, *([host] if host else []), f"content-type: {PROTOBUF}", *fields]
    if not any(field.startswith(("content-length", "transfer-encoding")) for field in fields):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def get(path: str = "/healthz") -> bytes:
    """Write a question."""
    return f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()


CHUNKED = "transfer-encoding: chunked"
GOOD = post()
# Name: what is sent, the answers' status, how many bodies are counted. The connection ends behind the last answer.
RAW: dict[str, tuple[bytes, str, int]] = {
    # What is right.
    "one request": (GOOD, "200", 1),
    "three in a row": (GOOD * 3, "200 200 200", 3),
    "a question between": (GOOD + get() + GOOD, "200 200 200", 2),
    "empty lines before a request": (b"\r\n\r\n" + GOOD + b"\r\n" + GOOD, "200 200", 2),
    "HTTP/1.0": (post(line="POST /v1/traces HTTP/1.0"), "200", 1),
    "HTTP/1.0 without Host": (post(line="POST /v1/traces HTTP/1.0", host=""), "200", 1),
    "HTTP/1.0, then another": (post(line="POST /v1/traces HTTP/1.0") + GOOD, "200", 1),
    "the last, then another": (post("connection: close") + GOOD, "200", 1),
    "the last among other options": (post("connection: x, Close") + GOOD, "200", 1),
    "an absolute target": (post(line="POST http://x/v1/traces HTTP/1.1"), "200", 1),
    "an absolute target with TLS": (post(line="POST HTTPS://x/v1/traces HTTP/1.1"), "200", 1),
    "a query": (post(line="POST /v1/traces?a=b%20c HTTP/1.1"), "200", 1),
    "HEAD": (b"HEAD /healthz HTTP/1.1\r\nhost: x\r\n\r\n" + GOOD, "200 200", 1),
    "a question with a body": (get().replace(b"host", b"content-length: 2\r\nhost") + BODY + GOOD, "200 200", 1),
    # Framing.
    "chunks": (post(CHUNKED, body=b"1\r\n\n\r\n1\r\n\0\r\n0\r\n\r\n") + GOOD, "200 200", 2),
    "chunks full of empty lines": (post(CHUNKED, body=b"8\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n") + GOOD, "200 200", 2),
    "chunks with extensions and trailers": (
        post(CHUNKED, body=b"2;a=b\r\nxy\r\n0\r\na: b\r\n\r\n") + GOOD,
        "200 200",
        2,
    ),
    "a chunk that is none": (post(CHUNKED, body=b"many\r\nxy\r\n0\r\n\r\n") + GOOD, "400", 0),
    "a chunk longer than announced": (post(CHUNKED, body=b"1\r\nxy\r\n0\r\n\r\n") + GOOD, "400", 0),
    "a chunk of 2^64 bytes": (post(CHUNKED, body=b"10000000000000000\r\nxy\r\n") + GOOD, "400", 0),
    "a chunk of 2^64 - 1 bytes that do not come": (post(CHUNKED, body=b"ffffffffffffffff\r\n") + GOOD, "413", 0),
    "a chunk larger than a body": (post(CHUNKED, body=b"1\r\nx\r\n4000000\r\n"), "413", 0),
    "many small chunks": (post(CHUNKED, body=b"1;a\r\nx\r\n" * 9000 + b"0\r\n\r\n") + GOOD, "200 200", 2),
    "an extension without an end": (post(CHUNKED, body=b"1;" + b"a" * 17_000), "400", 0),
    "extensions larger than content": (post(CHUNKED, body=(b"1;" + b"a" * 100 + b"\r\nx\r\n") * 300), "400", 0),
    "endless trailers": (post(CHUNKED, body=b"0\r\n" + b"a: b\r\n" * 3000), "400", 0),
    "a trailer that is none": (post(CHUNKED, body=b"0\r\na\r\n\r\n") + GOOD, "400", 0),
    "a folded trailer": (post(CHUNKED, body=b"0\r\na: b\r\n c\r\n\r\n") + GOOD, "400", 0),
    "bare line feeds between chunks": (post(CHUNKED, body=b"1\nx\n0\n\n") + GOOD, "400", 0),
    "a bare line feed behind a chunk": (post(CHUNKED, body=b"1\r\nx\n0\r\n\r\n") + GOOD, "400", 0),
    "a bare CR in an extension": (post(CHUNKED, body=b"1;a\rb\r\nx\r\n0\r\n\r\n") + GOOD, "400", 0),
    "a chunk's size in 0x": (post(CHUNKED, body=b"0x1\r\nx\r\n0\r\n\r\n") + GOOD, "400", 0),
    "a chunk's size with a sign": (post(CHUNKED, body=b"+1\r\nx\r\n0\r\n\r\n") + GOOD, "400", 0),
    "no chunk's size": (post(CHUNKED, body=b"\r\nx\r\n0\r\n\r\n") + GOOD, "400", 0),
    "two Content-Lengths": (post("content-length: 2", "content-length: 2") + GOOD, "400", 0),
    "two sizes": (post("content-length: 2, 3") + GOOD, "400", 0),
    "a negative size": (post("content-length: -2") + GOOD, "400", 0),
    "a size with a sign": (post("content-length: +2") + GOOD, "400", 0),
    "no size": (post("content-length:") + GOOD, "400", 0),
    "Content-Length and chunks": (post("content-length: 5", CHUNKED, body=b"0\r\n\r\n") + GOOD, "400", 0),
    "chunks and Content-Length": (post(CHUNKED, "content-length: 5", body=b"0\r\n\r\n") + GOOD, "400", 0),
    "another transfer coding": (post("transfer-encoding: gzip") + GOOD, "400", 0),
    "another coding behind chunks": (post("transfer-encoding: chunked, gzip") + GOOD, "400", 0),
    "almost chunked": (post("transfer-encoding: xchunked") + GOOD, "400", 0),
    "almost chunked, offered": (post("transfer-encoding: xchunked", "upgrade: x", "connection: upgrade"), "400", 0),
    "a coding before chunks": (
        post("transfer-encoding: gzip, chunked", body=b"0\r\n\r\n") + GOOD,
        "501 200",
        1,
    ),
    # Heads.
    "bare line feeds": (GOOD.replace(b"\r\n", b"\n") + GOOD, "400", 0),
    "one bare line feed": (GOOD.replace(b"x\r\n", b"x\n") + GOOD, "400", 0),
    "a folded header": (post("a: b\r\n c") + GOOD, "400", 0),
    "a blank before the colon": (post("a : b") + GOOD, "400", 0),
    "a header without a colon": (post("abc") + GOOD, "400", 0),
    "NUL in a header": (post("a: b\0c") + GOOD, "400", 0),
    "a lone CR in a header": (post("a: b\rc") + GOOD, "400", 0),
    "an unknown method": (post(line="BREW /v1/traces HTTP/1.1") + GOOD, "400", 0),
    "bytes beyond ASCII in the target": (post(line="POST /v1/tr\xe4ces HTTP/1.1") + GOOD, "400", 0),
    "TLS's first bytes": (bytes.fromhex("16030100050100000100"), "400", 0),
    "125 headers besides": (post(*(f"a{number}: b" for number in range(125))) + GOOD, "200 200", 2),
    "126 headers besides": (post(*(f"a{number}: b" for number in range(126))) + GOOD, "400", 0),
    "126 headers besides, of one name": (post(*["a:"] * 126) + GOOD, "400", 0),
    # Versions.
    "HTTP/0.9": (b"POST /v1/traces\r\n\r\n" + GOOD, "505", 0),
    "HTTP/0.9, its line alone": (b"GET /healthz\r\n", "505", 0),
    "HTTP/0.9 with headers": (post(line="POST /v1/traces") + GOOD, "505", 0),
    "HTTP/1.2": (post(line="POST /v1/traces HTTP/1.2") + GOOD, "400", 0),
    "HTTP/2.0": (post(line="POST /v1/traces HTTP/2.0") + GOOD, "505", 0),
    "HTTP/2's preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505", 0),
    "RTSP/1.0": (post(line="POST /v1/traces RTSP/1.0") + GOOD, "505", 0),
    "ICE/1.0": (b"SOURCE /v1/traces ICE/1.0\r\n\r\n" + GOOD, "505", 0),
    # Host.
    "no Host": (post(host="") + GOOD, "400", 0),
    "two Hosts": (post("host: x") + GOOD, "400", 0),
    "two Hosts, HTTP/1.0": (post("host: y", line="POST /v1/traces HTTP/1.0") + GOOD, "400", 0),
    "an empty Host": (post(host="host:"), "200", 1),
    "Host with a port": (post(host="Host: a.example.com:4318 "), "200", 1),
    "Host in IPv6": (post(host="host: [::1]:4318"), "200", 1),
    **{
        f"Host {host!r}": (post(host=f"host: {host}") + GOOD, "400", 0)
        for host in ("a b", "a, b", "a/b", "a@b", "a:b", "http://a", "[::1", "::1", "\xe4", "a?b", "a#b", '"a"')
    },
    # Targets.
    "an encoded slash": (post(line="POST /v1%2Ftraces HTTP/1.1") + GOOD, "404 200", 1),
    "an encoded letter": (post(line="POST /v1/trace%73 HTTP/1.1") + GOOD, "404 200", 1),
    "a fragment": (post(line="POST /v1/traces#f HTTP/1.1") + GOOD, "404 200", 1),
    "a slash at the end": (post(line="POST /v1/traces/ HTTP/1.1") + GOOD, "404 200", 1),
    "two slashes": (post(line="POST //v1/traces HTTP/1.1") + GOOD, "404 200", 1),
    "another scheme": (post(line="POST ftp://x/v1/traces HTTP/1.1") + GOOD, "404 200", 1),
    "all of the server": (post(line="OPTIONS * HTTP/1.1") + GOOD, "404 200", 1),
    # What follows a request.
    "garbage behind a good request": (GOOD + b"\x00garbage\r\n\r\n" + GOOD, "200 400", 1),
    "more than Content-Length": (post("content-length: 1") + GOOD, "200 400", 1),
    "half a request behind a good one": (GOOD + GOOD[:30], "200", 1),
    "CONNECT": (post(line="CONNECT / HTTP/1.1") + GOOD, "404", 0),
    "CONNECT with a request as its body": (post(line="CONNECT / HTTP/1.1", body=GOOD), "404", 0),
    "CONNECT to a host": (b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n" + GOOD, "404", 0),
    "CONNECT to the traces": (post(line="CONNECT /v1/traces HTTP/1.1") + GOOD, "405", 0),
    # Expect.
    "Expect with its body": (post("expect: 100-continue"), "200", 1),
    "Expect, HTTP/1.0": (post("expect: 100-continue", line="POST /v1/traces HTTP/1.0"), "200", 1),
    "Expect, HTTP/1.0, no body yet": (
        post("expect: 100-continue", "content-length: 2", line="POST /v1/traces HTTP/1.0", body=b""),
        "504",
        0,
    ),
    "Expect, no body yet": (post("expect: 100-continue", "content-length: 2", body=b""), "100 504", 0),
    "Expect, a question": (get().replace(b"host", b"expect: 100-continue\r\ncontent-length: 2\r\nhost"), "200", 0),
}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[TlsSettings, ssl.SSLContext]:
    """A server's files, and what a client trusts."""
    folder: Path = tmp_path_factory.mktemp("tls")
    ca = trustme.CA()
    issued = ca.issue_cert("localhost")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    trust = ssl.create_default_context()
    ca.configure_trust(trust)
    return TlsSettings(cert_file=folder / "cert.pem", key_file=folder / "key.pem"), trust


class Served:
    """A running server."""

    def __init__(self, server: HttpServer, port: int, trust: ssl.SSLContext | None) -> None:
        self.server = server
        self._port = port
        self._trust = trust

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Open a connection, and close it at the end."""
        name = None if self._trust is None else "localhost"
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._trust, server_hostname=name)
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    async def talk(self, *pieces: bytes) -> bytes:
        """Write, and read until the server ends the connection."""
        async with self.connected() as (reader, writer):
            reading = asyncio.create_task(_read_all(reader))
            with suppress(ConnectionError):  # It may have ended it by what came first.
                for piece in pieces:
                    if not writer.is_closing():
                        writer.write(piece)
                    await writer.drain()
                    await asyncio.to_thread(lambda: None)  # The server reads what has come before more comes.
            return await reading


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    read = b""
    with suppress(ConnectionError):
        while piece := await reader.read(65536):
            read += piece
    return read


@asynccontextmanager
async def served(
    accountant: FakeAccountant, certificate: tuple[TlsSettings, ssl.SSLContext] | None = None, **settings: object
) -> AsyncIterator[Served]:
    """Serve for the time of a test; what does not come is not awaited for long."""
    tls, trust = certificate or (None, None)
    short = {"keep_alive_timeout_s": 3.0, "body_timeout_s": 3.0, "header_timeout_s": 3.0, "endpoint": "127.0.0.1:0"}
    wanted = HttpServerSettings(**{**short, "tls": tls, **settings})  # type: ignore[arg-type]
    server = HttpServer(HttpApp(wanted, accountant, InFlight(64 * MIB), Probes(readiness=Readiness), Refusals()))
    port = await server.start()
    try:
        yield Served(server, port, trust)
    finally:
        await server.stop(0)


def statuses(answers: bytes) -> str:
    """The status of each answer, in order."""
    return " ".join(status.decode() for status in re.findall(rb"HTTP/1\.1 (\d+) ", answers))


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "TLS"])
def test_raw_requests_are_answered_rightly(
    run: Run, certificate: tuple[TlsSettings, ssl.SSLContext], *, is_tls: bool
) -> None:
    """Each list of bytes has its answers, and what is right in it is counted, wherever its segments end."""

    async def wrong_of(name: str, pieces: tuple[bytes, ...]) -> str:
        _, wanted, counted = RAW[name]
        accountant = FakeAccountant()
        async with served(accountant, certificate if is_tls else None) as it:
            found = statuses(await it.talk(*pieces))
        is_right = found == wanted and len(accountant.bodies) == counted
        return "" if is_right else f"{name}, {len(pieces)} pieces: {found}, {len(accountant.bodies)} counted"

    async def main() -> None:
        tried = []
        for name, (text, _, _) in RAW.items():
            half = len(text) // 2
            tried += [wrong_of(name, (text,)), wrong_of(name, (text[:half], text[half:-1], text[-1:]))]
        found = [wrong for wrong in await asyncio.gather(*tried) if wrong]
        assert not found, "\n".join(found)

    run(main())


def test_errors_of_the_parser_are_answered_as_otlp_asks(run: Run) -> None:
    """A malformed head is answered with a Status that names the mistake, in the media type as far as that is known."""

    async def main() -> None:
        async with served(FakeAccountant()) as it:
            for text, wanted in (
                (post("content-length: x"), "Content-Length"),
                (post(host=""), "Host"),
                (post(line="POST /v1/traces HTTP/2.0"), "HTTP/2 is for gRPC"),
                (bytes.fromhex("16030100050100000100"), "TLS"),
            ):
                head, _, body = (await it.talk(text)).partition(b"\r\n\r\n")
                assert b"connection: close" in head
                if b"application/x-protobuf" in head:
                    assert wanted in Status.FromString(body).message
                else:
                    assert wanted in json.loads(body)["message"]
            answer = await it.talk(post("content-length: x").replace(PROTOBUF.encode(), JSON.encode()))
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == 3
            assert it.server.app.answers == {400: 4, 505: 1}

    run(main())


def test_a_head_that_cannot_be_parsed_is_warned_of_and_counted(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody's spans are lost without a trace: gRPC or TLS at the wrong port, a proxy's bad Host, are in the log."""

    async def main() -> None:
        async with served(FakeAccountant()) as it:
            await it.talk(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            await it.talk(bytes.fromhex("16030100050100000100"))
            await it.talk(post("user-agent: A", host="host: a b"))
            await it.talk(get().replace(b"host: x", b"host: a b"))
            assert it.server.app.answers == {505: 1, 400: 2}

    caplog.clear()
    run(main())
    warnings = [record for record in caplog.records if vars(record).get("action") == "requests_refused"]
    assert [vars(record)["reason"] for record in warnings] == ["505", "400"]
    assert "HTTP/2 is for gRPC" in warnings[0].getMessage()
    assert "TLS" in warnings[1].getMessage()


def test_a_head_of_many_headers_is_refused_before_its_end(run: Run) -> None:
    """Of 16,000 headers, each as short as can be, 128 are kept, and the connection ends without the rest."""

    async def main() -> None:
        async with served(FakeAccountant()) as it:
            for fields in (b"0:\r\n" * 16_000, b"".join(b"%d:\r\n" % number for number in range(8000))):
                head, _, body = (await it.talk(b"POST /v1/traces HTTP/1.1\r\n" + fields)).partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 400 ")
                assert json.loads(body)["message"] == "the request has more than 128 headers"
        request = Request(None, Body(None))  # type: ignore[arg-type] - of which nothing is read.
        with pytest.raises(MalformedRequest):
            HeadParser(request).feed(bytearray(b"POST /v1/traces HTTP/1.1\r\n" + fields))
        assert len(request.headers) == 128

    run(main())


def test_over_the_limit_of_connections_the_answer_is_a_status(run: Run) -> None:
    """A connection over `connections_max` is answered 503 in the media type of its request, with when to come again."""

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant, connections_max=1, keep_alive_timeout_s=60) as it, it.connected() as (_, _):
            head, _, body = (await it.talk(GOOD)).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1" in head
            assert (Status.FromString(body).code, Status.FromString(body).message) == (14, "connections_max is reached")
            _, _, body = (await it.talk(GOOD.replace(PROTOBUF.encode(), JSON.encode()))).partition(b"\r\n\r\n")
            assert json.loads(body)["code"] == 14
            assert accountant.bodies == []
            assert it.server.app.answers == {503: 2}

    run(main())


def test_a_sender_that_ends_its_side_is_answered(run: Run) -> None:
    """Half of a connection ends behind whole requests, which are counted and answered; behind none it ends wholly."""

    async def main() -> None:
        accountant = FakeAccountant(Receipt(), DecodeError("x", 0))
        accountant.gate.clear()
        async with served(accountant, body_timeout_s=60, keep_alive_timeout_s=60) as it:
            async with it.connected() as (reader, writer):
                writer.write(GOOD * 2 + GOOD[:-1])
                writer.write_eof()
                await accountant.arrived.wait()
                accountant.gate.set()
                assert statuses(await reader.read()) == "200 400"
            async with it.connected() as (reader, writer):
                writer.write_eof()
                assert await reader.read() == b""

    run(main())


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("request_text", [get(), post(body=bytes(4096))], ids=["questions", "bodies"])
def test_queued_requests_are_left_with_their_sender(
    run: Run, certificate: tuple[TlsSettings, ssl.SSLContext], request_text: bytes, *, is_tls: bool
) -> None:
    """While a request is answered what follows it is neither parsed nor read, but for 128 KiB; then all is answered."""

    async def main() -> None:
        accountant = FakeAccountant()
        accountant.gate.clear()
        is_long = len(request_text) > 1000
        count = 16 * MIB // len(request_text) if is_long else 200  # More than any system's buffers, or all in them.
        async with served(accountant, certificate if is_tls else None) as it, it.connected() as (reader, writer):
            writer.write(GOOD + request_text * count)
            await accountant.arrived.wait()
            (connection,) = it.server.connections.open
            await until(lambda: len(connection.data) >= min(MIB // 20, len(request_text) * count))
            for _ in range(100):
                await asyncio.sleep(0)
            assert len(connection.data) <= MIB // 8
            assert len(accountant.bodies) == 1
            accountant.gate.set()
            answers = b""
            while answers.count(b"HTTP/1.1 200 ") < (100 if is_long else count):
                answers += await reader.read(65536)
            writer.transport.abort()

    run(main())


def test_without_credentials_a_queue_is_refused_one_by_one(run: Run) -> None:
    """Queued bodies of a stranger are answered 401 one after another, and never counted or held."""

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant, auth=BearerSettings(tokens=("a",))) as it:
            answers = await it.talk(post(body=bytes(4096)) * 100)
            assert statuses(answers).split() == ["401"] * 100
            assert accountant.bodies == []

    run(main())
