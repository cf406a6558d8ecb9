"""The HTTP server with real clients, on a free port: what is answered."""

import asyncio
import json
import re

import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from http_served import BODY, MIB, request_head, served
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from receiver_parts import FakeAccountant, Run, until

from otel_sla.counting.receipt import Receipt
from otel_sla.errors import (
    DecodeError,
    LedgerCorrupt,
    LedgerUnavailable,
    Overloaded,
    RequestTooLarge,
)
from otel_sla.receiver.http.app import JSON, PROTOBUF, Probes
from otel_sla.receiver.responses import Readiness
from otel_sla.receiver.settings import BearerSettings, CorsSettings


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


def test_an_empty_body_is_no_json(run: Run) -> None:
    """In protobuf nothing is an empty request; as JSON it is refused in words that name it."""

    async def main() -> None:
        async with served(FakeAccountant()) as it:
            reply = await it.send(b"", content_type="application/json")
            assert reply.status == 400
            assert json.loads(reply.body)["message"] == "not an OTLP trace request in JSON: the body is empty"

    run(main())


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
