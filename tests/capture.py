"""Backends that keep what they take and answer as they are told, over gRPC and over HTTP.

What `otel_sla.cli.demo.backend` is for the demo, with every answer that a backend can give.
"""

import gzip
import socket
import ssl
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import trustme
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, NumberDataPoint

from otel_sla.cli.demo.backend import LOGS_SERVICE, METRICS_SERVICE
from otel_sla.exporter.settings import ClientTlsSettings, OtlpSettings

ExportRequest = ExportLogsServiceRequest | ExportMetricsServiceRequest

PROTOCOLS = ("grpc", "http")
WAIT_S = 20.0  # For what another thread does; never reached unless a test fails.


@dataclass(frozen=True)
class Reply:
    """One answer. Without a status it is a success."""

    grpc_status: grpc.StatusCode | None = None
    http_status: int = 200
    message: str = "said so"
    retry_after_s: float | None = None
    rejected: int = 0
    until: threading.Event | None = None  # It waits for it.
    body: bytes | None = None  # Over HTTP, in place of what it should be.
    content_type: str = "application/x-protobuf"  # Over HTTP.


OK = Reply()
BUSY = Reply(grpc.StatusCode.UNAVAILABLE, 503)
BAD_ITEM = Reply(grpc.StatusCode.INVALID_ARGUMENT, 400)
UNCLEAR = Reply(grpc.StatusCode.INTERNAL, 500)
NOT_YOU = Reply(grpc.StatusCode.UNAUTHENTICATED, 401)


class Script:
    """Answers with the replies in turn, then with success; `rule` decides first, where it gives a reply."""

    def __init__(self, *replies: Reply, rule: Callable[[ExportRequest], Reply | None] | None = None) -> None:
        self.replies = list(replies)
        self.rule = rule
        self.asked = 0
        self.headers: list[dict[str, str]] = []

    def __call__(self, request: ExportRequest) -> Reply:
        """Give the reply to a request."""
        self.asked += 1
        ruled = self.rule(request) if self.rule else None
        return ruled or (self.replies.pop(0) if self.replies else OK)


class Captured:
    """What a backend has taken, in the order of arrival."""

    def __init__(self) -> None:
        self.requests: list[ExportRequest] = []

    def log_records(self) -> list[LogRecord]:
        """All log records so far."""
        return [
            record
            for request in list(self.requests)
            if isinstance(request, ExportLogsServiceRequest)
            for of_resource in request.resource_logs
            for of_scope in of_resource.scope_logs
            for record in of_scope.log_records
        ]

    def metrics(self) -> Iterator[Metric]:
        """All metrics so far; a name comes again with each request."""
        for request in list(self.requests):
            if isinstance(request, ExportMetricsServiceRequest):
                for of_resource in request.resource_metrics:
                    for of_scope in of_resource.scope_metrics:
                        yield from of_scope.metrics

    def points(self, name: str) -> list[NumberDataPoint]:
        """All points so far of a gauge or a sum."""
        found = [metric for metric in self.metrics() if metric.name == name]
        return [point for metric in found for point in (*metric.gauge.data_points, *metric.sum.data_points)]


class Backend:
    """What a test sees of either backend."""

    def __init__(self, protocol: str, script: Script, captured: Captured, address: str) -> None:
        self.protocol = protocol
        self.script = script
        self.captured = captured
        self.address = address

    def settings(self, **settings: Any) -> OtlpSettings:  # noqa: ANN401
        """How an exporter finds it."""
        is_http = self.protocol == "http"
        given = {
            "endpoint": f"http://{self.address}" if is_http else self.address,
            "tls": None if is_http else ClientTlsSettings(insecure=True),
            "timeout_s": WAIT_S,
            **settings,
        }
        return OtlpSettings(name=f"otlp_{self.protocol}", is_http=is_http, **given)

    def uids(self) -> list[str]:
        """`log.record.uid` of each event that was taken, in the order of arrival."""
        return uids_of(self.captured.log_records())


@contextmanager
def backend(
    protocol: str, script: Script | None = None, *, port: int = 0, authority: trustme.CA | None = None
) -> Iterator[Backend]:
    """A backend that serves until the block ends.

    Args:
        protocol: One of PROTOCOLS.
        script: Its answers.
        port: To come back after it was away.
        authority: Of mutual TLS; it signs the backend's certificate and every client's.
    """
    script = script or Script()
    captured = Captured()
    if protocol == "grpc":
        server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers(_grpc_handlers(script, captured))
        address = f"127.0.0.1:{port}"
        bound = (
            server.add_secure_port(address, _grpc_credentials(authority))
            if authority
            else server.add_insecure_port(address)
        )
        server.start()
        try:
            yield Backend(protocol, script, captured, f"127.0.0.1:{bound}")
        finally:
            server.stop(grace=None).wait()
        return
    with _HttpServer(("127.0.0.1", port), _handler(script, captured)) as http:
        if authority:
            http.socket = _tls_context(authority).wrap_socket(http.socket, server_side=True)
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield Backend(protocol, script, captured, f"127.0.0.1:{http.server_port}")
        finally:
            http.shutdown()
            thread.join(WAIT_S)


def uids_of(records: Iterable[LogRecord]) -> list[str]:
    """`log.record.uid` of each."""
    return [pair.value.string_value for record in records for pair in record.attributes if pair.key == "log.record.uid"]


def uids_in(request: ExportRequest) -> list[str]:
    """`log.record.uid` of each event of one request; none in a request of metrics."""
    captured = Captured()
    captured.requests.append(request)
    return uids_of(captured.log_records())


def _response(request: ExportRequest, reply: Reply) -> Any:  # noqa: ANN401
    if isinstance(request, ExportLogsServiceRequest):
        logs = ExportLogsServiceResponse()
        if reply.rejected:
            logs.partial_success.rejected_log_records = reply.rejected
            logs.partial_success.error_message = reply.message
        return logs
    metrics = ExportMetricsServiceResponse()
    if reply.rejected:
        metrics.partial_success.rejected_data_points = reply.rejected
        metrics.partial_success.error_message = reply.message
    return metrics


def _grpc_handlers(script: Script, captured: Captured) -> list[grpc.GenericRpcHandler]:
    def answer(request: ExportRequest, context: grpc.ServicerContext) -> Any:  # noqa: ANN401
        script.headers.append({key: str(value) for key, value in context.invocation_metadata()})
        reply = script(request)
        if reply.until is not None:
            reply.until.wait(WAIT_S)
        if reply.grpc_status is not None:
            context.abort_with_status(_GrpcStatus(reply))
        captured.requests.append(request)
        return _response(request, reply)

    return [
        grpc.method_handlers_generic_handler(
            service,
            {
                "Export": grpc.unary_unary_rpc_method_handler(
                    answer, kind.FromString, lambda out: out.SerializeToString()
                )
            },
        )
        for service, kind in ((LOGS_SERVICE, ExportLogsServiceRequest), (METRICS_SERVICE, ExportMetricsServiceRequest))
    ]


class _GrpcStatus(grpc.Status):
    """A status with its RetryInfo as a detail, as Go's servers send it."""

    def __init__(self, reply: Reply) -> None:
        self.code = reply.grpc_status
        self.details = reply.message
        status = Status(code=reply.grpc_status.value[0], message=reply.message)
        if reply.retry_after_s is not None:
            status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=int(reply.retry_after_s))))
        self.trailing_metadata = (("grpc-status-details-bin", status.SerializeToString()),)


def _grpc_credentials(authority: trustme.CA) -> grpc.ServerCredentials:
    own = authority.issue_cert("localhost")
    return grpc.ssl_server_credentials(
        [(own.private_key_pem.bytes(), own.cert_chain_pems[0].bytes())],
        root_certificates=authority.cert_pem.bytes(),
        require_client_auth=True,
    )


def _tls_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    return context


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, *args: Any) -> None:  # noqa: ANN401
        super().__init__(*args)
        self._connections: list[socket.socket] = []

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Serve a connection, and remember it."""
        self._connections.append(request)
        super().process_request(request, client_address)

    def server_close(self) -> None:
        """Stop listening and break the connections that are kept alive."""
        super().server_close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        """A client that breaks off is no matter of the test's output."""


def _handler(script: Script, captured: Captured) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            expand = {"gzip": gzip.decompress, "deflate": zlib.decompress}.get(self.headers.get("Content-Encoding", ""))
            is_logs = self.path.endswith("logs")
            request = (ExportLogsServiceRequest if is_logs else ExportMetricsServiceRequest).FromString(
                expand(body) if expand else body
            )
            script.headers.append({**{key.lower(): value for key, value in self.headers.items()}, "path": self.path})
            reply = script(request)
            if reply.until is not None:
                reply.until.wait(WAIT_S)
            is_taken = 200 <= reply.http_status < 300
            if is_taken:
                captured.requests.append(request)
            message = _response(request, reply) if is_taken else Status(message=reply.message)
            content = message.SerializeToString() if reply.body is None else reply.body
            self.send_response(reply.http_status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(content)))
            if reply.retry_after_s is not None:
                self.send_header("Retry-After", str(int(reply.retry_after_s)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
