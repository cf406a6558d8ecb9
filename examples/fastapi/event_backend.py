"""Takes what otel-sla publishes as OTLP logs over HTTP, in the place of whatever keeps your logs."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest


class EventBackend:
    """Listens on a free port of the loopback interface while the body of a `with` runs.

    Args:
        print_event: Called with each event's name and what it says. From a thread of its own.
    """

    def __init__(self, print_event: Callable[[str, str], None]) -> None:
        self._names: set[str] = set()
        self._news = threading.Condition()

        def take(body: bytes) -> None:
            for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
                for record in (record for scope in resource.scope_logs for record in scope.log_records):
                    print_event(record.event_name, record.body.string_value)
                    with self._news:
                        self._names.add(record.event_name)
                        self._news.notify_all()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path.endswith("/logs"):
                    take(body)
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing of each request."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def wait_for(self, name: str, timeout_s: float) -> bool:
        """Wait until an event of this name has come; False if none does."""
        with self._news:
            return self._news.wait_for(lambda: name in self._names, timeout_s)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
