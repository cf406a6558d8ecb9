"""An HTTP server for the time of a test, on a free port, and clients of it."""

import asyncio
import http.client
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from receiver_parts import FakeAccountant

from otel_sla.receiver.http.app import PROTOBUF, HttpApp, Probes
from otel_sla.receiver.http.connection import RefusedLimits
from otel_sla.receiver.http.server import HttpServer
from otel_sla.receiver.limits.memory import InFlight
from otel_sla.receiver.refusals import Refusals
from otel_sla.receiver.responses import Readiness
from otel_sla.receiver.settings import HttpServerSettings

MIB = 1024 * 1024
BODY = b"\x0a\x00"  # One empty ResourceSpans; the fake accountant does not mind.


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


def request_head(**headers: str) -> bytes:
    """Write the head of a request for traces in protobuf."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in {"content_type": PROTOBUF, **headers}.items()]
    return ("\r\n".join(["POST /v1/traces HTTP/1.1", "host: x", *lines]) + "\r\n\r\n").encode()
