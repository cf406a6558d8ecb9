"""TLS, mTLS and bearer tokens with real clients: what gets in, what does not, and certificates that are rotated."""

import asyncio
import datetime as dt
import http.client
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from receiver_parts import FakeAccountant, Run

from otel_sla.errors import ConfigError
from otel_sla.receiver.grpc.server import TRACE_SERVICE, GrpcServer
from otel_sla.receiver.http.app import PROTOBUF, HttpApp, Probes
from otel_sla.receiver.http.server import HttpServer
from otel_sla.receiver.limits.memory import InFlight
from otel_sla.receiver.refusals import Refusals
from otel_sla.receiver.responses import Readiness
from otel_sla.receiver.security.tls import ServerTls
from otel_sla.receiver.settings import BearerSettings, GrpcServerSettings, HttpServerSettings, TlsSettings

EXPORT = f"/{TRACE_SERVICE}/Export"
BODY = b"\x0a\x00"
PROBES = Probes(readiness=Readiness)
IN_FLIGHT_BYTES_MAX = 1 << 28
NEVER_S = 3600.0  # Never reached.
TIMEOUT_S = 30.0  # Never reached unless a test fails.

Serve = Callable[..., AbstractAsyncContextManager[int]]
Kind = tuple[Serve, Callable[..., Coroutine[Any, Any, bool]]]


@pytest.fixture(scope="module")
def authorities() -> list[trustme.CA]:
    """Two certificate authorities that know nothing of each other."""
    return [trustme.CA(), trustme.CA()]


class Files:
    """A server's PEM files, written by a CA."""

    def __init__(self, folder: Path, ca: trustme.CA, client_ca: trustme.CA | None = None) -> None:
        self.settings = TlsSettings(
            cert_file=folder / "cert.pem",
            key_file=folder / "key.pem",
            client_ca_file=None if client_ca is None else folder / "client-ca.pem",
            reload_interval_s=0,
        )
        self.write(ca, client_ca)

    def write(self, ca: trustme.CA, client_ca: trustme.CA | None = None) -> None:
        """Put another certificate in place."""
        issued = ca.issue_cert("localhost", "127.0.0.1")
        self.settings.cert_file.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        self.settings.key_file.write_bytes(issued.private_key_pem.bytes())
        if client_ca is not None:
            assert self.settings.client_ca_file is not None
            self.settings.client_ca_file.write_bytes(client_ca.cert_pem.bytes())


@asynccontextmanager
async def serve_grpc(accountant: FakeAccountant, **settings: object) -> AsyncIterator[int]:
    """Serve gRPC for the time of a test."""
    wanted = GrpcServerSettings(**{"endpoint": "127.0.0.1:0", **settings})
    server = GrpcServer(wanted, accountant, InFlight(IN_FLIGHT_BYTES_MAX), Refusals())
    port = await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


@asynccontextmanager
async def serve_http(accountant: FakeAccountant, **settings: object) -> AsyncIterator[int]:
    """Serve HTTP for the time of a test."""
    wanted = HttpServerSettings(**{"endpoint": "127.0.0.1:0", **settings})
    server = HttpServer(HttpApp(wanted, accountant, InFlight(IN_FLIGHT_BYTES_MAX), PROBES, Refusals()))
    port = await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


@asynccontextmanager
async def silent(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect and say nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def send_grpc(port: int, server_ca: trustme.CA, client: trustme.LeafCert | None = None) -> bool:
    """Send one request on a new connection; whether it was answered."""
    key = None if client is None else client.private_key_pem.bytes()
    chain = None if client is None else b"".join(blob.bytes() for blob in client.cert_chain_pems)
    credentials = grpc.ssl_channel_credentials(server_ca.cert_pem.bytes(), key, chain)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        try:
            return await channel.unary_unary(EXPORT)(BODY) == b""
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False


async def send_http(port: int, server_ca: trustme.CA, client: trustme.LeafCert | None = None) -> bool:
    """Send one request on a new connection; whether it was answered."""
    context = ssl.create_default_context()
    server_ca.configure_trust(context)
    if client is not None:
        client.configure_cert(context)

    def send() -> bool:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
        try:
            connection.request("POST", "/v1/traces", BODY, {"content-type": PROTOBUF})
            return connection.getresponse().status == 200
        except (ssl.SSLError, ConnectionError):
            return False
        finally:
            connection.close()

    return await asyncio.to_thread(send)


KINDS = [pytest.param((serve_grpc, send_grpc), id="gRPC"), pytest.param((serve_http, send_http), id="HTTP")]


@pytest.mark.parametrize("kind", KINDS)
def test_tls_serves_senders_that_trust_it(run: Run, kind: Kind, tmp_path: Path, authorities: list[trustme.CA]) -> None:
    """A sender that trusts the server's CA is counted; one that trusts another is not; nor is one without TLS."""
    serve, send = kind
    ca, other_ca = authorities

    async def main() -> None:
        accountant = FakeAccountant()
        async with serve(accountant, tls=Files(tmp_path, ca).settings) as port:
            assert await send(port, ca)
            assert not await send(port, other_ca)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST /v1/traces HTTP/1.1\r\n\r\n")
            assert b"HTTP/1.1" not in await reader.read()
            writer.close()
            await writer.wait_closed()
            assert accountant.bodies == [BODY]

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_a_rotated_certificate_is_served_without_a_restart(
    run: Run,
    kind: Kind,
    tmp_path: Path,
    authorities: list[trustme.CA],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """New connections get the new certificate; a half-written one, or none, leaves the former in use."""
    serve, send = kind
    ca, other_ca = authorities
    caplog.set_level(logging.INFO, "otel_sla")

    async def main() -> None:
        files = Files(tmp_path, ca)
        async with serve(FakeAccountant(), tls=files.settings) as port:
            assert await send(port, ca)
            files.write(other_ca)
            assert await send(port, other_ca)
            assert not await send(port, ca)
            new_key = ca.issue_cert("localhost").private_key_pem.bytes()
            files.settings.key_file.write_bytes(new_key)
            assert await send(port, other_ca)
            files.settings.cert_file.unlink()
            assert await send(port, other_ca)

    run(main())
    actions = [record.action for record in caplog.records]
    assert actions == ["tls_reloaded", "tls_not_reloaded", "tls_not_reloaded"]


@pytest.mark.parametrize("kind", KINDS)
def test_mtls_takes_those_whose_ca_is_current(
    run: Run,
    kind: Kind,
    tmp_path: Path,
    authorities: list[trustme.CA],
) -> None:
    """With a client CA one of its certificates is needed; once it is rotated, those of the former are not taken."""
    serve, send = kind
    ca, other_ca = authorities
    client, other_client = ca.issue_cert("sender"), other_ca.issue_cert("sender")

    async def main() -> None:
        accountant = FakeAccountant()
        files = Files(tmp_path, ca, client_ca=ca)
        async with serve(accountant, tls=files.settings) as port:
            assert await send(port, ca, client)
            assert not await send(port, ca)
            assert not await send(port, ca, other_client)
            files.write(ca, client_ca=other_ca)
            assert await send(port, ca, other_client)
            assert not await send(port, ca, client)
            assert len(accountant.bodies) == 2

    run(main())


def test_grpc_senders_need_a_token_before_their_body_is_read(run: Run) -> None:
    """No or a wrong token is UNAUTHENTICATED while the body is still to come; each valid one is taken."""

    async def main() -> None:
        accountant = FakeAccountant()
        async with serve_grpc(accountant, auth=BearerSettings(tokens=("old", "new"))) as port:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                for metadata in ((), (("authorization", "Bearer other"),)):
                    call = channel.stream_unary(EXPORT)(metadata=metadata)  # Nothing is ever written.
                    assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
                for token in ("old", "new"):
                    metadata = (("authorization", f"Bearer {token}"),)
                    assert await channel.unary_unary(EXPORT)(BODY, metadata=metadata) == b""
            assert accountant.bodies == [BODY, BODY]

    run(main())


def test_the_sdk_sends_over_mtls_with_a_token(run: Run, tmp_path: Path, authorities: list[trustme.CA]) -> None:
    """The Python SDK's exporter with certificate and token, all at once."""
    ca, client_ca = authorities
    client = client_ca.issue_cert("sender")

    async def main() -> None:
        accountant = FakeAccountant()
        files = Files(tmp_path, ca, client_ca)
        async with serve_grpc(accountant, tls=files.settings, auth=BearerSettings(tokens=("t",))) as port:

            def send() -> None:
                chain = b"".join(blob.bytes() for blob in client.cert_chain_pems)
                exporter = OTLPSpanExporter(
                    endpoint=f"https://127.0.0.1:{port}",
                    credentials=grpc.ssl_channel_credentials(
                        ca.cert_pem.bytes(), client.private_key_pem.bytes(), chain
                    ),
                    headers={"authorization": "Bearer t"},
                )
                provider = TracerProvider(shutdown_on_exit=False)
                provider.add_span_processor(SimpleSpanProcessor(exporter))
                with provider.get_tracer("t").start_as_current_span("GET /"):
                    pass
                provider.shutdown()

            await asyncio.to_thread(send)
            assert len(accountant.bodies) == 1

    run(main())


def test_a_silent_connection_is_closed(run: Run, tmp_path: Path, authorities: list[trustme.CA]) -> None:
    """A connection that never gets to its TLS handshake is closed in time, by both servers."""
    tls = Files(tmp_path, authorities[0]).settings

    async def main() -> None:
        async with (
            serve_grpc(FakeAccountant(), tls=tls, handshake_timeout_s=0.1) as grpc_port,
            serve_http(FakeAccountant(), tls=tls, header_timeout_s=0.1) as http_port,
        ):
            for port in (grpc_port, http_port):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                assert await reader.read() == b""
                writer.close()
                await writer.wait_closed()

    run(main())


def test_connections_in_their_handshake_are_in_the_limit(
    run: Run, tmp_path: Path, authorities: list[trustme.CA], caplog: pytest.LogCaptureFixture
) -> None:
    """Silent connections fill the HTTP limit before any handshake: more are closed, and when one ends there is room.

    The log says so once.
    """
    ca = authorities[0]

    async def main() -> None:
        tls = Files(tmp_path, ca).settings
        async with (
            serve_http(FakeAccountant(), tls=tls, connections_max=2, header_timeout_s=NEVER_S) as port,
            silent(port),
        ):
            async with silent(port), silent(port) as (reader, _):
                with suppress(ConnectionError):
                    assert await asyncio.wait_for(reader.read(), TIMEOUT_S) == b""
                assert not await send_http(port, ca)
            while not await send_http(port, ca):
                pass

    run(main())
    logged = [vars(record) for record in caplog.records if vars(record).get("action") == "connections_refused"]
    assert [each["connections"] for each in logged] == [1]


def test_a_stop_closes_connections_in_their_handshake(run: Run, tmp_path: Path, authorities: list[trustme.CA]) -> None:
    """A connection that never gets to its handshake does not outlive the HTTP server."""
    ca = authorities[0]

    async def main() -> None:
        async with AsyncExitStack() as server:
            tls = Files(tmp_path, ca).settings
            port = await server.enter_async_context(serve_http(FakeAccountant(), tls=tls, header_timeout_s=NEVER_S))
            async with silent(port) as (reader, _):
                assert await send_http(port, ca)  # The silent one came before it, so it has been accepted.
                await server.aclose()
                with suppress(ConnectionError):
                    assert await asyncio.wait_for(reader.read(), TIMEOUT_S) == b""

    run(main())


def test_one_connection_serves_many_requests_over_tls(run: Run, tmp_path: Path, authorities: list[trustme.CA]) -> None:
    """Keep-alive over TLS: each request of a connection is answered, whatever comes with the end of the handshake."""
    ca = authorities[0]
    context = ssl.create_default_context()
    ca.configure_trust(context)

    async def main() -> None:
        accountant = FakeAccountant()
        async with serve_http(accountant, tls=Files(tmp_path, ca).settings) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
            head = f"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: {PROTOBUF}\r\ncontent-length: 2\r\n\r\n"
            for _ in range(3):
                writer.write(head.encode() + BODY)
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            writer.close()
            await writer.wait_closed()
            assert accountant.bodies == [BODY] * 3

    run(main())


def test_unusable_files_are_a_config_error(tmp_path: Path, authorities: list[trustme.CA]) -> None:
    """A missing file, or a key that is not the certificate's, is an error at the start, in one line that names it."""
    settings = Files(tmp_path, authorities[0]).settings
    settings.key_file.write_bytes(authorities[0].issue_cert("x").private_key_pem.bytes())
    with pytest.raises(ConfigError, match="here: tls: certificate and key cannot be used: KEY_VALUES_MISMATCH"):
        ServerTls(settings, "here")
    settings.cert_file.unlink()
    with pytest.raises(ConfigError, match=r"here: tls: cannot read .*cert.pem: No such file or directory"):
        ServerTls(settings, "here")


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ((dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2021, 1, 1, tzinfo=dt.UTC)), "certificate has expired"),
        ((dt.datetime(2999, 1, 1, tzinfo=dt.UTC), dt.datetime(3000, 1, 1, tzinfo=dt.UTC)), "certificate is not yet"),
        ((None, None), ""),
    ],
    ids=["expired", "not yet", "now"],
)
def test_a_certificate_whose_time_is_not_now_is_logged(
    tmp_path: Path,
    authorities: list[trustme.CA],
    caplog: pytest.LogCaptureFixture,
    times: tuple[dt.datetime | None, dt.datetime | None],
    reason: str,
) -> None:
    """An expired server certificate is one warning at the start that names the file; a valid one is none."""
    ca = authorities[0]
    settings = Files(tmp_path, ca, client_ca=ca).settings
    issued = ca.issue_cert("localhost", not_before=times[0], not_after=times[1])
    settings.cert_file.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    settings.key_file.write_bytes(issued.private_key_pem.bytes())
    ServerTls(settings, "here")
    assert [record.action for record in caplog.records] == ["tls_not_valid"] * bool(reason)
    if reason:
        assert f"no sender that checks {settings.cert_file} will accept it: {reason}" in caplog.text


@pytest.mark.parametrize("serve", [serve_grpc, serve_http])
@pytest.mark.parametrize(
    ("settings", "is_warned"),
    [
        ({"endpoint": "0.0.0.0:0"}, True),
        ({"endpoint": "0.0.0.0:0", "auth": BearerSettings(tokens=("t",))}, False),
        ({}, False),
    ],
)
def test_an_open_endpoint_is_logged_once(
    run: Run,
    serve: Serve,
    settings: dict[str, object],
    caplog: pytest.LogCaptureFixture,
    *,
    is_warned: bool,
) -> None:
    """Listening beyond this machine with neither TLS nor token is one warning at the start."""

    async def main() -> None:
        async with serve(FakeAccountant(), **settings):
            pass

    run(main())
    assert [record.action for record in caplog.records] == ["endpoint_open"] * is_warned
