"""The HTTP server with real clients, on a free port."""

import asyncio
import gzip
import http.client
import json
import random
import re
import socket
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import cramjam
import pytest
import zstandard
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from receiver_parts import LOOPS, FakeAccountant, run_on, until

from otel_sla.counting.receipt import Receipt
from otel_sla.errors import (
    DecodeError,
    LedgerCorrupt,
    LedgerUnavailable,
    ListenError,
    Overloaded,
    RequestTooLarge,
)
from otel_sla.receiver.http.app import JSON, PROTOBUF, HttpApp, Probes
from otel_sla.receiver.http.connection import RefusedLimits
from otel_sla.receiver.http.server import HttpServer
from otel_sla.receiver.limits.large_requests import LargeRequests
from otel_sla.receiver.limits.memory import InFlight
from otel_sla.receiver.refusals import Refusals
from otel_sla.receiver.responses import Readiness
from otel_sla.receiver.settings import BearerSettings, CorsSettings, HttpServerSettings

MIB = 1024 * 1024
BODY = b"\x0a\x00"  # One empty ResourceSpans; the fake accountant does not mind.
Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=list(LOOPS))
def run(request: pytest.FixtureRequest) -> Run:
    """Run a test's coroutine on each kind of event loop."""
    return lambda main: run_on(request.param, main)


class Reply:
    """A whole response."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()


class Served:
    """A running server and its parts."""

    def __init__(self, server: HttpServer, port: int, in_flight: InFlight) -> None:
        self.server = server
        self.port = port
        self.in_flight = in_flight

    async def send(
        self, body: bytes | None = BODY, *, method: str = "POST", path: str = "/v1/traces", **headers: str
    ) -> Reply:
        """Send one request; the keywords are headers, protobuf is the default media type."""

        def send() -> Reply:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                wanted = {"content-type": PROTOBUF} if body is not None else {}
                wanted.update({name.replace("_", "-"): value for name, value in headers.items()})
                connection.request(method, path, body, wanted)
                return Reply(connection.getresponse())
            finally:
                connection.close()

        return await asyncio.to_thread(send)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Open a connection, and close it at the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def talk(self, text: bytes) -> bytes:
        """Write these bytes and read until the server closes the connection."""
        async with self.connected() as (reader, writer):
            writer.write(text)
            return await reader.read()


@asynccontextmanager
async def served(
    accountant: FakeAccountant,
    *,
    in_flight: InFlight | None = None,
    probes: Probes | None = None,
    limits: RefusedLimits | None = None,
    **settings: object,
) -> AsyncIterator[Served]:
    """Serve for the time of a test."""
    in_flight = in_flight or InFlight(512 * MIB)
    wanted = HttpServerSettings(**{"endpoint": "127.0.0.1:0", **settings})
    app = HttpApp(wanted, accountant, in_flight, probes or Probes(readiness=Readiness), Refusals())
    server = HttpServer(app, limits or RefusedLimits())
    port = await server.start()
    try:
        yield Served(server, port, in_flight)
    finally:
        await server.stop(0)


def test_full_success_is_an_empty_response(run: Run) -> None:
    """A counted request is answered 200 with no partial_success, in the encoding that it came in."""

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant) as it:
            reply = await it.send()
            assert (reply.status, reply.headers["content-type"], reply.body) == (200, PROTOBUF, b"")
            assert "date" in reply.headers
            reply = await it.send(b"")
            assert (reply.status, reply.body) == (200, b"")
            reply = await it.send(b'{"resourceSpans":[{}]}', content_type="application/json; charset=utf-8")
            assert (reply.status, reply.headers["content-type"], reply.body) == (200, JSON, b"{}")
            assert accountant.bodies == [BODY, b"", BODY]
            assert it.server.app.answers == {200: 3}
            assert it.in_flight.size_bytes == 0

    run(main())


def test_partial_success_says_how_many_and_why(run: Run) -> None:
    """Rejected spans are in partial_success under 200, in both encodings."""

    async def main() -> None:
        receipt = Receipt(3, "3 ended too long ago")
        async with served(FakeAccountant(receipt, receipt)) as it:
            response = ExportTraceServiceResponse.FromString((await it.send()).body)
            assert response.partial_success.rejected_spans == 3
            assert response.partial_success.error_message == "3 ended too long ago"
            reply = await it.send(b"{}", content_type=JSON)
            assert json.loads(reply.body) == {
                "partialSuccess": {"rejectedSpans": "3", "errorMessage": "3 ended too long ago"}
            }

    run(main())


@pytest.mark.parametrize(
    ("error", "http_status", "code"),
    [
        (DecodeError("a length past its parent", 7), 400, 3),
        (RequestTooLarge("the columns would take 1 GiB"), 413, 8),
        (ZeroDivisionError("a mistake of ours"), 500, 13),
    ],
)
def test_what_must_not_be_repeated_says_so(run: Run, error: Exception, http_status: int, code: int) -> None:
    """Errors that a repeat would meet again have a status that no sender repeats, and a Status as their body."""

    async def main() -> None:
        async with served(FakeAccountant(error, error)) as it:
            reply = await it.send()
            assert (reply.status, reply.headers["content-type"]) == (http_status, PROTOBUF)
            assert "retry-after" not in reply.headers
            status = Status.FromString(reply.body)
            assert status.code == code
            assert not status.details
            reply = await it.send(b"{}", content_type=JSON)
            assert (reply.status, reply.headers["content-type"]) == (http_status, JSON)
            assert json.loads(reply.body) == {"code": code, "message": status.message}
            assert (await it.send()).status == 200

    run(main())


@pytest.mark.parametrize(
    "error", [Overloaded("full"), LedgerUnavailable("/secret/path is full"), LedgerCorrupt("/secret/path is corrupt")]
)
def test_what_may_pass_is_503_with_retry_after(run: Run, error: Exception) -> None:
    """Overload and ledger faults are 503 with a Retry-After of at most 2 s, and the same in the body."""

    async def main() -> None:
        async with served(FakeAccountant(error, error)) as it:
            reply = await it.send()
            assert reply.status == 503
            assert reply.headers["retry-after"] in {"1", "2"}
            status = Status.FromString(reply.body)
            assert status.code == 14
            assert "secret" not in status.message
            detail = RetryInfo()
            assert status.details[0].Unpack(detail)
            assert str(detail.retry_delay.ToSeconds()) == reply.headers["retry-after"]
            reply = await it.send(b"{}", content_type=JSON)
            assert reply.status == 503
            assert json.loads(reply.body)["details"] == [
                {
                    "@type": "type.googleapis.com/google.rpc.RetryInfo",
                    "retryDelay": f"{reply.headers['retry-after']}s",
                }
            ]

    run(main())


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "zlib": zlib.compress,
    "deflate": zlib.compress,
    "snappy": lambda body: bytes(cramjam.snappy.compress_raw(body)),
    "x-snappy-framed": lambda body: bytes(cramjam.snappy.compress(body)),
    "lz4": lambda body: bytes(cramjam.lz4.compress(body)),
}


@pytest.mark.parametrize("encoding", COMPRESS)
def test_compressed_bodies_are_expanded_within_the_limit(run: Run, encoding: str) -> None:
    """Up to the limit is counted; a byte more is 413; a bomb is 413 before it is expanded whole."""
    compress = COMPRESS[encoding]

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant, max_request_body_size_mib=2) as it:
            assert (await it.send(compress(bytes(2 * MIB)), content_encoding=encoding)).status == 200
            assert [len(body) for body in accountant.bodies] == [2 * MIB]
            for size_bytes in (2 * MIB + 1, 100 * MIB):
                reply = await it.send(compress(bytes(size_bytes)), content_encoding=encoding)
                assert reply.status == 413
            assert len(accountant.bodies) == 1
            assert it.in_flight.size_bytes == 0

    run(main())


@pytest.mark.parametrize("encoding", COMPRESS)
@pytest.mark.parametrize("damage", ["cut", "junk after", "not at all", "empty"])
def test_bad_compression_is_400(run: Run, encoding: str, damage: str) -> None:
    """What is not what its encoding says is 400 and reaches no accountant, also where only its end is missing."""
    whole = COMPRESS[encoding](bytes(range(256)) * 100)
    body = {"cut": whole[:-1], "junk after": whole + b"junk", "not at all": BODY, "empty": b""}[damage]

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant) as it:
            is_empty_stream = (encoding, damage) == ("x-snappy-framed", "empty")  # Go's writer ends so, too.
            assert (await it.send(body, content_encoding=encoding)).status == (200 if is_empty_stream else 400)
            assert accountant.bodies == [b""] * is_empty_stream

    run(main())


@pytest.mark.parametrize("encoding", COMPRESS)
@pytest.mark.parametrize("size_bytes", [0, 1, 30_000, MIB])
def test_compressed_bodies_are_expanded_whole(run: Run, encoding: str, size_bytes: int) -> None:
    """Empty, small and large bodies, of text and of what cannot be compressed, come out as they went in."""
    bodies = [random.Random(1).randbytes(size_bytes), (b"http.route /v1/chat " * size_bytes)[:size_bytes]]

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant) as it:
            for body in bodies:
                assert (await it.send(COMPRESS[encoding](body), content_encoding=encoding.upper())).status == 200
            assert accountant.bodies == bodies
            assert it.in_flight.size_bytes == 0

    run(main())


def test_refused_requests_are_logged(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever's spans are refused for good is in the log: one warning for each reason, none for a retryable answer."""

    async def main() -> None:
        accountant = FakeAccountant(DecodeError("a tag that is none", 0), Overloaded("full"))
        async with served(accountant, auth=BearerSettings(tokens=("secret",)), max_request_body_size_mib=1) as it:
            known = {"authorization": "Bearer secret", "user_agent": "OTel/1.2"}
            for _ in range(2):
                await it.send(**known)  # The accountant's refusals: for good, and for a moment.
            await it.send(b"{", content_type=JSON, **known)
            await it.send(content_encoding="br", **known)
            await it.send(bytes(2 * MIB), **known)
            await it.send(path="/v1/trace", **known)
            await it.send(user_agent="Stranger")
            await it.send(None, method="GET", path="/favicon.ico")

    caplog.clear()
    run(main())
    warnings = [record for record in caplog.records if vars(record).get("action") == "requests_refused"]
    assert [(vars(each)["reason"], vars(each)["encoding"], vars(each)["user_agent"]) for each in warnings] == [
        ("400", PROTOBUF, "OTel/1.2"),
        ("415", f"{PROTOBUF} br", "OTel/1.2"),
        ("413", PROTOBUF, "OTel/1.2"),
        ("404", PROTOBUF, "OTel/1.2"),
        ("401", PROTOBUF, "Stranger"),
    ]
    assert "Content-Encoding 'br' is none of gzip, zstd" in warnings[1].getMessage()


def test_a_snappy_stream_may_be_called_snappy(run: Run) -> None:
    """Collectors before 0.123 said `snappy` of what is `x-snappy-framed` now; a block is never called a stream."""

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant) as it:
            body = COMPRESS["x-snappy-framed"](BODY)
            assert (await it.send(body, content_encoding="snappy")).status == 200
            assert accountant.bodies == [BODY]
            assert (await it.send(COMPRESS["snappy"](BODY), content_encoding="x-snappy-framed")).status == 400

    run(main())


@pytest.mark.parametrize("encoding", COMPRESS)
def test_what_expands_beyond_the_room_in_flight_is_refused_before(run: Run, encoding: str) -> None:
    """A body that fits by its own limit but not by the memory's is answered 503, and holds nothing afterwards."""
    body = COMPRESS[encoding](bytes(8 * MIB))

    async def main() -> None:
        async with served(FakeAccountant(), in_flight=InFlight(9 * MIB)) as it:
            with it.in_flight.hold(6 * MIB):
                assert (await it.send(body, content_encoding=encoding)).status == 503
            assert (await it.send(body, content_encoding=encoding)).status == 200
            assert it.in_flight.size_bytes == 0

    run(main())


@pytest.mark.parametrize("encoding", COMPRESS)
def test_a_compressed_body_holds_what_it_expands_to(run: Run, encoding: str) -> None:
    """450 KB are counted where 64 MiB may be in flight, and ten of them at once where 512 may, whatever the format."""
    expanded = random.Random(2).randbytes(440_000) + bytes(MIB)
    body = COMPRESS[encoding](expanded)
    assert 440_000 < len(body) < 520_000

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant, in_flight=InFlight(64 * MIB)) as it:
            assert (await it.send(body, content_encoding=encoding)).status == 200
        async with served(accountant) as it:
            text = request_head(content_encoding=encoding, content_length=str(len(body)), connection="close") + body
            # Not by `send`, whose threads are those that bodies are expanded on.
            answers = await asyncio.gather(*(it.talk(text) for _ in range(10)))
            assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200"] * 10
            assert it.in_flight.size_bytes == 0
        assert accountant.bodies == [expanded] * 11

    run(main())


@pytest.mark.parametrize("encoding", COMPRESS)
def test_a_compressed_body_may_take_all_of_the_memory(run: Run, encoding: str) -> None:
    """What fits with its compressed form is counted, though the next larger room does not; a MiB more is 413."""
    bodies = [COMPRESS[encoding](bytes(size_mib * MIB)) for size_mib in (15, 16)]

    async def main() -> None:
        async with served(FakeAccountant(), in_flight=InFlight(16 * MIB)) as it:
            statuses = [(await it.send(body, content_encoding=encoding)).status for body in bodies]
            assert statuses == [200, 413]
            assert it.in_flight.size_bytes == 0

    run(main())


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_several_members_in_a_row_are_one_body(run: Run, encoding: str) -> None:
    """Gzip members and zstd frames that follow each other are expanded to one body, but not millions of them."""
    compress = COMPRESS[encoding]

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant) as it:
            await it.send(compress(b"ab") + compress(b"") + compress(b"c"), content_encoding=encoding)
            assert accountant.bodies == [b"abc"]
            assert (await it.send(compress(b"") * 5000, content_encoding=encoding)).status == 400

    run(main())


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


def request_head(**headers: str) -> bytes:
    """Write the head of a request for traces in protobuf."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in {"content_type": PROTOBUF, **headers}.items()]
    return ("\r\n".join(["POST /v1/traces HTTP/1.1", "host: x", *lines]) + "\r\n\r\n").encode()


@pytest.mark.parametrize(
    ("method", "path", "headers", "http_status"),
    [
        ("POST", "/v1/traces", {"content_type": "text/plain"}, 415),
        ("POST", "/v1/traces", {"content_type": ""}, 415),
        ("POST", "/v1/traces", {"content_encoding": "br"}, 415),
        ("POST", "/v1/traces", {"expect": "a miracle"}, 417),
        ("POST", "/v1/traces", {"content_type": JSON}, 400),
        ("GET", "/v1/traces", {}, 405),
        ("OPTIONS", "/v1/traces", {}, 405),
        ("POST", "/v1/metrics", {}, 404),
        ("POST", "/healthz", {}, 405),
        ("GET", "/", {}, 404),
    ],
)
def test_what_is_not_served_is_refused(
    run: Run, method: str, path: str, headers: dict[str, str], http_status: int
) -> None:
    """Wrong media types, encodings, methods and paths have their own status; 405 names what is allowed."""

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant) as it:
            reply = await it.send(method=method, path=path, **headers)
            assert reply.status == http_status
            assert ("allow" in reply.headers) == (http_status == 405)
            assert ("accept-encoding" in reply.headers) == (http_status == 415)
            assert accountant.bodies == []

    run(main())


def test_an_unknown_transfer_coding_is_refused(run: Run) -> None:
    """A body in chunks is read; one that is compressed for the transfer, or twice, is not taken for what it is not."""

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant) as it:
            for coding, status in (
                ("chunked", b"200"),
                ("gzip, chunked", b"501"),
                ("chunked\r\ncontent-encoding: gzip\r\ncontent-encoding: gzip", b"415"),
            ):
                reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
                writer.write(request_head(transfer_encoding=coding, connection="close") + b"2\r\nab\r\n0\r\n\r\n")
                assert (await reader.read()).split()[1] == status
                writer.close()
        assert accountant.bodies == [b"ab"]

    run(main())


def test_the_probes_answer(run: Run) -> None:
    """Liveness is always ok; readiness says why not; the self-metrics are what the callable gives."""

    async def main() -> None:
        reasons = ["the ledger failed"]
        probes = Probes(readiness=lambda: Readiness("".join(reasons), "the clock is wrong"), metrics=lambda: "up 1\n")
        async with served(FakeAccountant(), probes=probes) as it:
            assert (await it.send(None, method="GET", path="/healthz")).body == b"ok\n"
            reply = await it.send(None, method="GET", path="/readyz")
            assert (reply.status, reply.body) == (503, b"the ledger failed\n")
            reasons.clear()
            reply = await it.send(None, method="GET", path="/readyz")
            assert (reply.status, reply.body) == (200, b"ready, but the clock is wrong\n")
            head = await it.send(None, method="HEAD", path="/readyz")
            assert (head.status, head.body) == (200, b"")
            assert (await it.send(None, method="GET", path="/metrics")).body == b"up 1\n"
            assert it.server.app.answers == {}

    run(main())


def test_without_a_valid_token_nothing_is_read(run: Run) -> None:
    """No or a wrong token is 401 before the body is read; each of the valid ones is taken; probes need none."""

    async def main() -> None:
        accountant = FakeAccountant()
        probes = Probes(readiness=Readiness, metrics=lambda: "")
        async with served(accountant, probes=probes, auth=BearerSettings(tokens=("old", "new"))) as it:
            for headers in ({}, {"authorization": "Bearer other"}, {"authorization": "Basic bmV3"}):
                reply = await it.send(**headers)
                assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
                assert Status.FromString(reply.body).code == 16
            async with it.connected() as (reader, writer):
                writer.write(request_head(content_length="1000000"))  # And no body.
                assert (await reader.readline()).split()[1] == b"401"
            assert accountant.bodies == []
            for token in ("old", "new"):
                assert (await it.send(authorization=f"Bearer {token}")).status == 200
            assert (await it.send(None, method="GET", path="/readyz")).status == 200
            assert (await it.send(None, method="GET", path="/metrics")).status == 401

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


def test_requests_on_one_connection_are_answered_in_order(run: Run) -> None:
    """Keep-alive and pipelining: each request has its own answer, in order."""

    async def main() -> None:
        accountant = FakeAccountant(Receipt(), DecodeError("x", 0), Receipt())
        async with served(accountant, keep_alive_timeout_s=0.05) as it:
            reply = await it.talk((request_head(content_length="2") + BODY) * 3)
            assert re.findall(rb"HTTP/1.1 (\d+) ", reply) == [b"200", b"400", b"200"]

    run(main())


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize(
    "outcome",
    [Receipt(), Receipt(2, "too late"), DecodeError("no message", 7), Overloaded("full"), RuntimeError("unforeseen")],
    ids=["all", "some", "malformed", "overloaded", "unforeseen"],
)
def test_a_request_that_comes_at_once_is_answered_as_one_in_pieces(
    run: Run, outcome: Receipt | Exception, version: str
) -> None:
    """The short way of requests that are whole on arrival is not seen from outside: same bytes, same counter."""
    head = f"POST /v1/traces HTTP/{version}\r\nhost: a\r\ncontent-type: {PROTOBUF}\r\ncontent-length: 2\r\n\r\n"

    async def main() -> None:
        async with served(FakeAccountant(outcome, outcome)) as it:
            async with it.connected() as (reader, writer):
                writer.write(head.encode() + BODY)
                at_once = await _read_answer(reader)
            async with it.connected() as (reader, writer):
                writer.write(head.encode() + BODY[:1])
                await until(lambda: it.in_flight.size_bytes > 0)
                writer.write(BODY[1:])
                in_pieces = await _read_answer(reader)
            assert at_once == in_pieces
            assert (b"connection: close" in at_once) == (version == "1.0")
            assert list(it.server.app.answers.values()) == [2]
            assert it.in_flight.size_bytes == 0

    run(main())


async def _read_answer(reader: asyncio.StreamReader) -> bytes:
    """One answer, without its date."""
    head = re.sub(rb"date: [^\r]*\r\n", b"", await reader.readuntil(b"\r\n\r\n"))
    found = re.search(rb"content-length: (\d+)", head)
    assert found is not None, head
    return head + await reader.readexactly(int(found[1]))


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


def test_an_empty_body_is_no_json(run: Run) -> None:
    """In protobuf nothing is an empty request; as JSON it is refused in words that name it."""

    async def main() -> None:
        async with served(FakeAccountant()) as it:
            reply = await it.send(b"", content_type="application/json")
            assert reply.status == 400
            assert json.loads(reply.body)["message"] == "not an OTLP trace request in JSON: the body is empty"

    run(main())


def test_json_that_would_not_fit_in_memory_is_413(run: Run) -> None:
    """JSON is weighed by what it takes as objects, before that is taken."""

    async def main() -> None:
        async with served(FakeAccountant(), in_flight=InFlight(MIB)) as it:
            reply = await it.send(b'{"x":[' + b"[]," * 30_000 + b"[]]}", content_type=JSON)
            assert reply.status == 413
            assert it.in_flight.size_bytes == 0

    run(main())


def test_a_client_that_gives_up_does_not_stop_the_accounting(run: Run) -> None:
    """Disconnected while the commit runs: the accounting goes to its end, its bytes are held until then."""

    async def main() -> None:
        accountant = FakeAccountant()
        accountant.gate.clear()
        async with served(accountant) as it:
            async with it.connected() as (_, writer):
                writer.write(request_head(content_length="2") + BODY)
                await accountant.arrived.wait()
            assert it.in_flight.size_bytes == 2
            accountant.gate.set()
            await until(lambda: it.in_flight.size_bytes == 0)
            assert accountant.finished == 1

    run(main())


def test_a_client_that_leaves_in_its_body_is_not_counted(run: Run) -> None:
    """A connection that ends within the body reaches no accountant and gives its bytes back."""

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant) as it:
            async with it.connected() as (_, writer):
                writer.write(request_head(content_length="1000000") + bytes(1000))
                await until(lambda: it.in_flight.size_bytes == 1000)
            await until(lambda: it.in_flight.size_bytes == 0)
            assert accountant.bodies == []
            assert it.server.app.answers == {}

    run(main())


def test_stop_lets_what_is_under_way_finish(run: Run) -> None:
    """A stop with grace takes no new connection and still answers the request that waits for its commit."""

    async def main() -> None:
        accountant = FakeAccountant()
        accountant.gate.clear()
        async with served(accountant) as it:
            waiting = asyncio.ensure_future(it.send())
            await accountant.arrived.wait()
            stopping = asyncio.ensure_future(it.server.stop(30))
            await until(lambda: not can_connect(it.port))
            assert not stopping.done()
            accountant.gate.set()
            assert (await waiting).status == 200
            await stopping

    run(main())


def test_when_the_grace_is_over_the_answer_is_retryable(run: Run) -> None:
    """A request that the end of the grace cuts off is answered 503, not with silence."""

    async def main() -> None:
        accountant = FakeAccountant()
        accountant.gate.clear()
        async with served(accountant) as it:
            waiting = asyncio.ensure_future(it.send())
            await accountant.arrived.wait()
            await it.server.stop(0)
            assert (await waiting).status == 503

    run(main())


def can_connect(port: int) -> bool:
    """Tell whether anybody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_port_in_use_is_one_clear_error(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    """A second server on the same port is a ListenError with endpoint, reason and what to set; nothing is printed."""

    async def main() -> None:
        async with served(FakeAccountant()) as it:
            endpoint = f"127.0.0.1:{it.port}"
            with pytest.raises(ListenError) as caught:
                async with served(FakeAccountant(), endpoint=endpoint):
                    pass
            assert str(caught.value) == f"cannot listen on {endpoint} (HTTP): Address already in use"
            assert "an OpenTelemetry Collector listens there already" in caught.value.hint
            assert "receivers.otlp.protocols.http.endpoint" in caught.value.hint
            assert "localhost:14418" in caught.value.hint  # Beside 14417, which is gRPC's.

    run(main())
    assert capfd.readouterr().err == ""


def test_browsers_may_send_from_allowed_origins_only(run: Run) -> None:
    """Preflight and request name an allowed origin and what it may send; another origin gets no permission."""

    async def main() -> None:
        cors = CorsSettings(allowed_origins=("https://*.example.com",), allowed_headers=("X-Team",), max_age_s=60)
        async with served(FakeAccountant(), cors=cors) as it:
            wanted = {
                "origin": "https://shop.example.com",
                "access_control_request_method": "POST",
                "access_control_request_headers": "content-type, x-team",
            }
            reply = await it.send(None, method="OPTIONS", **wanted)
            assert reply.status == 204
            assert reply.headers["access-control-allow-origin"] == "https://shop.example.com"
            assert reply.headers["access-control-allow-methods"] == "POST"
            assert reply.headers["access-control-allow-headers"] == "content-type, x-team"
            assert reply.headers["access-control-max-age"] == "60"
            assert reply.headers["vary"] == "origin"
            for other in (
                {"origin": "https://shop.example.com.evil.org"},
                {"access_control_request_method": "DELETE"},
                {"access_control_request_headers": "x-other"},
            ):
                reply = await it.send(None, method="OPTIONS", **{**wanted, **other})
                assert "access-control-allow-origin" not in reply.headers
            reply = await it.send(origin="https://shop.example.com")
            assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, "https://shop.example.com")
            reply = await it.send(b"{", origin="https://shop.example.com", content_type=JSON)
            assert (reply.status, reply.headers["access-control-allow-origin"]) == (400, "https://shop.example.com")
            assert "access-control-allow-origin" not in (await it.send(origin="https://evil.org")).headers
            assert (await it.send(None, method="GET")).headers["allow"] == "POST, OPTIONS"

    run(main())


def test_malformed_requests_are_400_and_fill_no_log(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """What is no HTTP is answered 400; anybody can send it, so one warning a minute is all that is logged."""

    async def main() -> None:
        async with served(FakeAccountant(), keep_alive_timeout_s=0.05) as it:
            for text in (b"\x16\x03\x01\x02\x00", b"GET http://[ HTTP/1.1\r\n\r\n"):
                assert (await it.talk(text + b"\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
            upgrade = b"GET /healthz HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\nhost: x\r\n\r\n"
            assert (await it.talk(upgrade)).startswith(b"HTTP/1.1 200 ")

    run(main())
    assert [vars(record)["action"] for record in caplog.records if record.name != "asyncio"] == ["requests_refused"]


OFFER = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
@pytest.mark.parametrize("cut", [0, 20, 120, -30, -1])
@pytest.mark.parametrize("framing", ["content-length", "chunked"])
def test_an_offered_upgrade_is_ignored(run: Run, content_type: str, cut: int, framing: str) -> None:
    """As Java's HTTP client sends it: the body is counted wherever the segments end, and the connection goes on."""
    body = BODY if content_type == PROTOBUF else b'{"resourceSpans":[]}'
    sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if framing == "chunked" else body
    length = b"transfer-encoding: chunked" if framing == "chunked" else b"content-length: %d" % len(body)
    start = b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: %b\r\n%b\r\n" % (content_type.encode(), length)
    text = start + OFFER + b"\r\n" + sent

    async def main() -> None:
        accountant = FakeAccountant()
        async with served(accountant) as it, it.connected() as (reader, writer):
            for part in (text[:cut], text[cut:], text * 3):
                writer.write(part)
                await writer.drain()
                await asyncio.to_thread(lambda: None)  # The server reads what has come before more comes.
            for _ in range(4):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
                if content_type == JSON:
                    assert await reader.readexactly(2) == b"{}"
            assert len(accountant.bodies) == 4
            assert len(set(accountant.bodies)) == 1
            if content_type == PROTOBUF:
                assert accountant.bodies[0] == body

    run(main())


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_the_sdk_sends_unchanged_and_repeats_on_503(run: Run, compression: Compression) -> None:
    """The Python SDK's exporter, in each compression that we read: after 503 it sends the same bytes again."""

    async def main() -> None:
        accountant = FakeAccountant(Overloaded("full"))
        async with served(accountant) as it:

            def send() -> bool:
                exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{it.port}/v1/traces", compression=compression)
                provider = TracerProvider(shutdown_on_exit=False)
                provider.add_span_processor(BatchSpanProcessor(exporter))
                with provider.get_tracer("t").start_as_current_span("GET /"):
                    pass
                is_sent = provider.force_flush()
                provider.shutdown()
                return is_sent

            assert await asyncio.to_thread(send)
            first, second = accountant.bodies
            assert first == second
            assert ExportTraceServiceRequest.FromString(first).resource_spans[0].scope_spans[0].spans[0].name == "GET /"
            assert it.server.app.answers == {503: 1, 200: 1}

    run(main())


def test_nothing_is_accounted_behind_a_stop_over_http(run: Run) -> None:
    """What is not accounted for at the end of the grace is ended: no ledger is closed under it."""

    async def main() -> None:
        accountant = FakeAccountant()
        accountant.gate.clear()
        async with served(accountant) as it:
            sending = asyncio.ensure_future(it.send())
            await accountant.arrived.wait()
            await it.server.stop(0)
            assert it.in_flight.size_bytes == 0
            assert (await sending).status == 503
            assert accountant.finished == 0

    run(main())
