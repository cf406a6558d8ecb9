"""OTLP over gRPC: `opentelemetry.proto.collector.trace.v1.TraceService/Export`, and `grpc.health.v1`.

The request's bytes are not parsed here. Export is registered as stream_unary although it is unary: the wire is the
same, and credentials can be checked before the body is read, and the reading of a slow body ended.
"""

import logging
from collections import Counter
from collections.abc import Sequence

import grpc

from otel_sla.counting.receipt import Receipt, TracesConsumer
from otel_sla.errors import DecodeError, ListenError
from otel_sla.receiver.decompress import expand_body
from otel_sla.receiver.grpc.connections import READ_SIZE_BYTES_MIN, GrpcConnections
from otel_sla.receiver.grpc.health import Health
from otel_sla.receiver.limits.memory import InFlight, Intake
from otel_sla.receiver.limits.slow_bodies import BodyDeadline
from otel_sla.receiver.refusals import Refusals, RefusedRequest
from otel_sla.receiver.responses import encode_protobuf, refusal_of
from otel_sla.receiver.security.bearer import BearerAuth
from otel_sla.receiver.security.tls import ServerTls
from otel_sla.receiver.settings import BYTES_PER_MIB, GrpcServerSettings
from otel_sla.receiver.sockets import Address, addresses_of, close_sockets, open_sockets, warn_if_open

# gRPC logs a traceback where a sender is gone before its answer; anybody could fill a disk with them.
logging.getLogger("grpc").setLevel(logging.CRITICAL + 1)

TRACE_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
# No protobuf message begins with these: 0x1f would be a field of wire type 7, which there is not.
_GZIP_MAGIC = b"\x1f\x8b"
_IDENTITY_AND_GZIP = 0b101


class GrpcServer:
    """Serves one endpoint.

    Args:
        settings: What the configuration says.
        accountant: Counts the requests.
        in_flight: The limit on bytes, shared with the HTTP server.
        refusals: Publishes which requests were refused for good.
        health: Answers `grpc.health.v1`.

    Raises:
        ConfigError: The tokens or the certificates cannot be read.
    """

    def __init__(
        self,
        settings: GrpcServerSettings,
        accountant: TracesConsumer,
        in_flight: InFlight,
        refusals: Refusals,
        health: Health | None = None,
    ) -> None:
        self._settings = settings
        self._intake = Intake(accountant)
        self._refusals = refusals
        self._size_bytes_max = settings.max_recv_msg_size_mib * BYTES_PER_MIB
        self._connections = GrpcConnections(
            in_flight, self._size_bytes_max, settings.connections_max, settings.body_timeout_s
        )
        # A message's size is known once it has arrived: a slow one has to hold the largest size.
        self._slow_size_bytes = min(self._size_bytes_max, in_flight.slow.size_bytes_max)
        self._auth = None if settings.auth is None else BearerAuth(settings.auth, settings.source)
        self._tls = None if settings.tls is None else ServerTls(settings.tls, settings.source)
        self._health = health or Health(TRACE_SERVICE)
        self._server: grpc.aio.Server | None = None
        self.answers: Counter[str] = Counter()  # By the name of the gRPC status code.

    async def start(self) -> int:
        """Listen and serve, health says NOT_SERVING until `set_serving`; returns the port.

        Raises:
            ListenError: The endpoint cannot be bound.
        """
        # Else a second pipeline would silently share the port.
        options = (*_options(self._settings), ("grpc.so_reuseport", 0))
        server = grpc.aio.server(options=options)
        method = grpc.stream_unary_rpc_method_handler(self._export)
        traces = grpc.method_handlers_generic_handler(TRACE_SERVICE, {"Export": method})
        server.add_generic_rpc_handlers((traces, self._health.handler()))
        addresses = await self._own_addresses()
        self._bind(server, addresses)
        await server.start()
        self._server = server
        return addresses[0].port

    def set_serving(self, *, is_serving: bool) -> None:
        """Say through `grpc.health.v1` whether requests are welcome."""
        self._health.set_serving(is_serving=is_serving)

    def reload(self) -> None:
        """Read certificates and tokens again now."""
        for guard in (self._tls, self._auth):
            if guard is not None:
                guard.reload()

    async def stop(self, grace_s: float) -> None:
        """Take nothing new; give what is under way `grace_s` to finish."""
        if self._server is None:
            return
        server, self._server = self._server, None
        self._health.end()
        await server.stop(grace_s)
        await self._intake.close()

    async def _own_addresses(self) -> Sequence[Address]:
        # gRPC is content with any one of a name's addresses, and writes why it failed to its own log only: so we bind
        # each address first, then gRPC does.
        sockets = await open_sockets(self._settings.endpoint, "gRPC")
        addresses = addresses_of(sockets)
        close_sockets(sockets)
        warn_if_open(addresses, self._settings)
        return addresses

    def _bind(self, server: grpc.aio.Server, addresses: Sequence[Address]) -> None:
        try:
            for address in addresses:
                if self._tls is None:
                    server.add_insecure_port(str(address))
                else:
                    server.add_secure_port(str(address), self._tls.grpc_credentials())
        except RuntimeError as error:
            raise ListenError(f"cannot listen on {self._settings.endpoint} (gRPC): {error}") from error

    async def _export(self, _requests: object, context: grpc.aio.ServicerContext) -> bytes:
        try:
            receipt = await self._receive(context)
        except Exception as error:  # noqa: BLE001 - every error has its answer, none ends the server.
            refusal = refusal_of(error)
        else:
            self.answers["OK"] += 1
            return encode_protobuf(receipt)
        self.answers[refusal.code.name] += 1
        if refusal.is_final:
            metadata = dict(context.invocation_metadata() or ())
            encoding, user_agent = (str(metadata.get(key, "")) for key in ("grpc-encoding", "user-agent"))
            self._refusals.add(RefusedRequest("grpc", refusal.code.name, refusal.message, encoding, user_agent))
        # Out here, as `context` keeps what `abort` raises: within the `except` that would keep `error`, its traceback
        # and with it the body, until the garbage collector happens to run.
        await context.abort(refusal.code, refusal.message, refusal.trailers())
        raise AssertionError("abort raises")

    async def _receive(self, context: grpc.aio.ServicerContext) -> Receipt:
        if self._auth is not None:
            self._auth.check(str(dict(context.invocation_metadata() or ()).get("authorization", "")))
        with await self._connections.of(context.peer()).begin() as reading:
            held = reading.held
            timeout_s = self._settings.body_timeout_s
            async with BodyDeadline(held, timeout_s, self._slow_size_bytes, reading.be_late) as deadline:
                deadline.start_patience()
                body = await _read(context)
            reading.end(len(body))
            if body.startswith(_GZIP_MAGIC):
                body = await expand_body(body, "gzip", held, size_bytes_max=self._size_bytes_max)
            return await self._intake.take(body, held.move())


async def _read(context: grpc.aio.ServicerContext) -> bytes:
    """Read the one message of a call."""
    body = await context.read()
    if body is grpc.aio.EOF:
        raise DecodeError("no message", 0)
    if await context.read() is not grpc.aio.EOF:
        raise DecodeError("a second message, where one is all that Export takes", 0)
    assert isinstance(body, bytes)
    return body


def _options(settings: GrpcServerSettings) -> Sequence[tuple[str, int]]:
    seconds = {
        "grpc.server_handshake_timeout_ms": settings.handshake_timeout_s,
        "grpc.keepalive_time_ms": settings.keepalive_time_s,
        "grpc.keepalive_timeout_ms": settings.keepalive_timeout_s,
        "grpc.http2.min_ping_interval_without_data_ms": settings.keepalive_min_time_s,
    }
    if settings.max_connection_age_s is not None:
        seconds["grpc.max_connection_age_ms"] = settings.max_connection_age_s
        seconds["grpc.max_connection_age_grace_ms"] = settings.max_connection_age_grace_s
    return (
        ("grpc.max_receive_message_length", settings.max_recv_msg_size_mib * BYTES_PER_MIB),
        # Expanded by us, one after another and within the limit of bytes in flight. gRPC would expand the messages of
        # all calls at once before it shows any of them: 16 calls of 60 KB took 0.8 GiB.
        ("grpc.per_message_decompression", 0),
        ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_AND_GZIP),
        # Else HTTP/2 windows grow to megabytes each as the connection is quick, and so what comes unasked.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", READ_SIZE_BYTES_MIN),
        ("grpc.max_concurrent_streams", settings.max_concurrent_streams),
        ("grpc.max_allowed_incoming_connections", settings.connections_max),
        ("grpc.keepalive_permit_without_calls", 1),
        *((name, round(value * 1000)) for name, value in seconds.items()),
    )
