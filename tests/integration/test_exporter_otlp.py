"""The sender against real backends on loopback, over gRPC and over HTTP."""

import logging
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import requests
import trustme
from capture import BAD_ITEM, BUSY, NOT_YOU, PROTOCOLS, UNCLEAR, Reply, Script, backend
from exporter_parts import make_events, make_figures
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult

from otel_sla.cli.demo.backend import LOGS_SERVICE
from otel_sla.errors import ConfigError
from otel_sla.exporter.otlp import OtlpSender
from otel_sla.exporter.otlp_grpc import retry_delay_s
from otel_sla.exporter.otlp_http import ANSWER_SIZE_BYTES_MAX, HttpExporter
from otel_sla.exporter.refusal import Answer, Blame, Refused
from otel_sla.exporter.settings import ClientTlsSettings, OtlpSettings

NOW = 1_782_000_000_000_000_000
ENVIRONMENT = "OTEL_EXPORTER_OTLP_"

both = pytest.mark.parametrize("protocol", PROTOCOLS)


def make_sender(settings: OtlpSettings) -> OtlpSender:
    """A sender at a time that stands still."""
    return OtlpSender(settings, "ledger-1", clock=lambda: NOW)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine is seen, and no proxy."""
    for name in ("ENDPOINT", "HEADERS", "COMPRESSION", "TIMEOUT", "INSECURE", "CERTIFICATE"):
        for signal in ("", "METRICS_", "LOGS_"):
            monkeypatch.delenv(f"{ENVIRONMENT}{signal}{name}", raising=False)
    for name in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


@both
def test_figures_arrive_with_their_own_past_times(protocol: str) -> None:
    """Points of minutes long gone arrive with those minutes' ends, values and attributes, and our resource."""
    figures = make_figures([(20, 0, 0), (8, 12, 3)])
    with backend(protocol) as there:
        sender = make_sender(there.settings())
        assert sender.send_figures(figures) == Answer()
        sender.close()
    points = there.captured.points("sla.error_rate")
    assert [(point.as_double, point.time_unix_nano) for point in points] == [
        (0.0, (figures[0].epoch_minute + 1) * 60_000_000_000),
        (0.6, (figures[1].epoch_minute + 1) * 60_000_000_000),
    ]
    requests = there.captured.points("sla.requests")
    assert [point.as_int for point in requests] == [20, 0, 0, 28, 12, 3]
    assert {point.start_time_unix_nano for point in requests} == {figures[0].month.start_minute * 60_000_000_000}
    assert {pair.key: pair.value.string_value for pair in points[0].attributes} == {
        "service.name": "chat-1",
        "sla.agreement.name": "chat",
    }
    (request,) = there.captured.requests
    resource = {pair.key: pair.value.string_value for pair in request.resource_metrics[0].resource.attributes}
    assert resource["service.name"] == "otel-sla"
    assert resource["service.instance.id"] == "ledger-1"


@both
def test_events_arrive_in_order_as_they_are(protocol: str) -> None:
    """Events arrive in one request, in order, with their names, their own times and their uids."""
    events = make_events(3)
    with backend(protocol) as there:
        sender = make_sender(there.settings())
        assert sender.send_events(events) == Answer()
        sender.close()
    assert there.uids() == ["e0", "e1", "e2"]
    records = there.captured.log_records()
    assert [record.time_unix_nano for record in records] == [event.time_unix_nano for event in events]
    assert {(record.event_name, record.observed_time_unix_nano) for record in records} == {
        ("sla.downtime.started", NOW)
    }


@both
@pytest.mark.parametrize(
    ("reply", "blame"),
    [(BUSY, Blame.BACKEND), (BAD_ITEM, Blame.ITEM), (UNCLEAR, Blame.UNCLEAR), (NOT_YOU, Blame.US)],
)
def test_each_refusal_has_its_blame(protocol: str, reply: Reply, blame: Blame) -> None:
    """What the backend says of a request decides where the reason lies; the request is sent once, not retried here."""
    with backend(protocol, Script(reply, reply)) as there:
        sender = make_sender(there.settings())
        with pytest.raises(Refused, match="said so") as of_events:
            sender.send_events(make_events(1))
        with pytest.raises(Refused, match="said so") as of_figures:
            sender.send_figures(make_figures([(1, 0, 0)]))
        sender.close()
    assert of_events.value.blame is of_figures.value.blame is blame
    assert there.script.asked == 2


@both
def test_partial_success_is_seen(protocol: str) -> None:
    """A request that was taken in part is no failure; the answer has what was rejected, with the backend's reason."""
    with backend(protocol, Script(Reply(rejected=2), Reply(rejected=5))) as there:
        sender = make_sender(there.settings())
        assert sender.send_events(make_events(3)) == Answer(2, "said so")
        assert sender.send_figures(make_figures([(1, 0, 0)])) == Answer(5, "said so")
        sender.close()


@both
def test_the_backend_says_when_to_come_back(protocol: str) -> None:
    """RetryInfo in the status' details and Retry-After are read."""
    busy = Reply(grpc.StatusCode.RESOURCE_EXHAUSTED, 429, retry_after_s=7)
    with backend(protocol, Script(busy)) as there:
        sender = make_sender(there.settings())
        with pytest.raises(Refused) as caught:
            sender.send_events(make_events(1))
        sender.close()
    assert caught.value.retry_after_s == 7.0
    assert caught.value.blame is Blame.BACKEND


def test_broken_retry_info_asks_for_nothing() -> None:
    """Trailers that cannot be read, and those without a delay, are no delay."""
    assert retry_delay_s([("google.rpc.retryinfo-bin", b"\xff\xff")]) is None
    assert retry_delay_s([("grpc-status-details-bin", b"\x08\x0e")]) is None
    assert retry_delay_s([("other", "text")]) is None
    assert retry_delay_s([("google.rpc.retryinfo-bin", bytes.fromhex("0a021005"))]) == 5e-9


@both
def test_nobody_listens(protocol: str, caplog: pytest.LogCaptureFixture) -> None:
    """A backend that is not there is one retryable refusal, and the library writes nothing of its own."""
    caplog.set_level(logging.DEBUG, logger="opentelemetry")
    with backend(protocol) as there:
        settings = there.settings(timeout_s=5)
    sender = make_sender(settings)
    with pytest.raises(Refused) as caught:
        sender.send_events(make_events(1))
    sender.close()
    assert caught.value.blame is Blame.BACKEND
    assert caplog.records == []


@both
def test_an_answer_that_does_not_come_is_given_up(protocol: str) -> None:
    """A backend that takes a request and says nothing is given up after the time limit, and may be tried again."""
    never = threading.Event()
    with backend(protocol, Script(Reply(until=never))) as there:
        sender = make_sender(there.settings(timeout_s=0.2))
        with pytest.raises(Refused) as caught:
            sender.send_events(make_events(1))
        never.set()
        sender.close()
    assert caught.value.blame is Blame.BACKEND


@both
def test_what_cannot_be_encoded_is_the_items_fault(protocol: str, caplog: pytest.LogCaptureFixture) -> None:
    """A value that OTLP has no form for blames the item and reaches nobody."""
    (minute,) = make_figures([(1, 0, 0)])
    endless = replace(minute, so_far=replace(minute.so_far, counts=(2**70, 0, 0)))
    with backend(protocol) as there:
        sender = make_sender(there.settings())
        with pytest.raises(Refused, match="encoded") as caught:
            sender.send_figures([endless])
        sender.close()
    assert caught.value.blame is Blame.ITEM
    assert there.script.asked == 0
    assert caplog.records == []


def test_the_library_sees_a_success() -> None:
    """Over HTTP, what the backend took is no failure to the library, whatever kinds of those it tries again."""
    results = []

    class Watched(OTLPLogExporter):
        def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
            result = super().export(batch)
            results.append(result)
            return result

    with backend("http") as there:
        exporter = HttpExporter(Watched, endpoint=f"http://{there.address}/v1/logs")
        assert exporter.send([]) == b""
        exporter.shutdown()
    assert results == [LogRecordExportResult.SUCCESS]


def test_the_librarys_log_is_quiet_for_our_calls_only(caplog: pytest.LogCaptureFixture) -> None:
    """Over HTTP, what an application's own exporter logs beside ours, after a refusal, is seen."""
    with backend("http", Script(NOT_YOU)) as there:
        sender = make_sender(there.settings())
        with pytest.raises(Refused):
            sender.send_events(make_events(1))
        sender.close()
    assert caplog.records == []
    logging.getLogger(OTLPLogExporter.__module__).warning("of an application")
    assert caplog.messages == ["of an application"]


def test_a_connection_that_was_closed_is_opened_again() -> None:
    """Over HTTP, a backend that was restarted between two requests gets the second one without a refusal."""
    with backend("http") as there:
        sender = make_sender(there.settings())
        sender.send_events(make_events(1))
    with backend("http", port=int(there.address.rpartition(":")[2])) as back:
        assert sender.send_events(make_events(2)) == Answer()
        sender.close()
    assert back.uids() == ["e0", "e1"]


def test_bodies_that_cannot_be_read() -> None:
    """Over HTTP a success is one whatever its body is, and a refusal without a readable reason is a refusal."""
    garbage = b"\xff\xff\xff"
    with backend("http", Script(Reply(body=garbage), Reply(http_status=503, body=garbage))) as there:
        sender = make_sender(there.settings())
        assert sender.send_events(make_events(1)) == Answer()
        with pytest.raises(Refused, match="503 Service Unavailable") as caught:
            sender.send_events(make_events(1))
        sender.close()
    assert caught.value.blame is Blame.BACKEND


def test_an_answer_of_grpc_that_is_not_protobuf() -> None:
    """Over gRPC too, a success whose body cannot be read is one: the events were taken."""
    handler = grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"\xff\xff\xff")
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(LOGS_SERVICE, {"Export": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sender = make_sender(
        OtlpSettings(name="otlp", is_http=False, endpoint=f"127.0.0.1:{port}", tls=ClientTlsSettings(insecure=True))
    )
    assert sender.send_events(make_events(1)) == Answer()
    sender.close()
    server.stop(grace=None).wait()


def test_a_page_of_a_proxy_is_no_answer_to_an_event() -> None:
    """Over HTTP, a bad request with an HTML page does not blame the events."""
    page = Reply(http_status=400, body=b"<html>", content_type="text/html")
    with backend("http", Script(page)) as there:
        sender = make_sender(there.settings())
        with pytest.raises(Refused) as caught:
            sender.send_events(make_events(1))
        sender.close()
    assert caught.value.blame is Blame.US


@pytest.mark.parametrize(
    ("answer", "is_taken"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", True),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnone", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b"x" * 0x10000, True),
        (b"HTTP/1.1 503 Away\r\nContent-Length: 100\r\n\r\nhalf", False),
        (b"HTTP/1.1 2", False),
        (b"", False),
        (b"SSH-2.0-OpenSSH\r\n", False),
    ],
)
def test_answers_that_break_off(answer: bytes, is_taken: bool) -> None:  # noqa: FBT001
    """Over HTTP, what the status said before the connection broke holds; without one the backend was not there."""
    with raw_backend(answer) as address:
        sender = make_sender(OtlpSettings(name="otlp", is_http=True, endpoint=f"http://{address}", timeout_s=5))
        if is_taken:
            assert sender.send_events(make_events(1)) == Answer()
        else:
            with pytest.raises(Refused) as caught:
                sender.send_events(make_events(1))
            assert caught.value.blame is Blame.BACKEND
        sender.close()


def test_an_answer_without_an_end_is_not_read_to_its_end() -> None:
    """Over HTTP, of a body that goes on for ever a bounded part is read."""
    sent = []
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\r\n"
    with raw_backend(head, for_ever=lambda: sent.append(0) or b"\xff" * 65536) as address:
        sender = make_sender(OtlpSettings(name="otlp", is_http=True, endpoint=f"http://{address}", timeout_s=5))
        assert sender.send_events(make_events(1)) == Answer()
        sender.close()
    assert len(sent) * 65536 < 16 * ANSWER_SIZE_BYTES_MAX


@contextmanager
def raw_backend(answer: bytes, for_ever: Callable[[], bytes] | None = None) -> Iterator[str]:
    """A listener that answers each connection's first bytes with `answer` and breaks off."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        connection.recv(1 << 20)
                        connection.sendall(answer)
                        while for_ever:
                            connection.sendall(for_ever())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        host, port = listener.getsockname()
        yield f"{host}:{port}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_an_endpoint_that_is_no_url_is_our_fault() -> None:
    """Where no request can be made the configuration is to blame, not the events."""
    sender = make_sender(OtlpSettings(name="otlp", is_http=True, endpoint="http://[no-url"))
    with pytest.raises(Refused, match="cannot be reached") as caught:
        sender.send_events(make_events(1))
    sender.close()
    assert caught.value.blame is Blame.US


@both
def test_headers_are_sent(protocol: str) -> None:
    """Configured headers reach the backend with every request."""
    with backend(protocol) as there:
        sender = make_sender(there.settings(headers={"Authorization": "Bearer t"}))
        sender.send_events(make_events(1))
        sender.send_figures(make_figures([(1, 0, 0)]))
        sender.close()
    assert [headers["authorization"] for headers in there.script.headers] == ["Bearer t"] * 2


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_http_requests_are_compressed(compression: str) -> None:
    """A compressed request over HTTP says so and is read."""
    with backend("http") as there:
        sender = make_sender(there.settings(compression=compression))
        sender.send_events(make_events(2))
        sender.close()
    assert there.script.headers[0]["content-encoding"] == compression
    assert there.uids() == ["e0", "e1"]


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_grpc_requests_are_compressed(compression: str) -> None:
    """A compressed request over gRPC is read."""
    with backend("grpc") as there:
        sender = make_sender(there.settings(compression=compression))
        sender.send_events(make_events(2))
        sender.close()
    assert there.uids() == ["e0", "e1"]


def test_http_paths() -> None:
    """Over HTTP each signal has its path behind the endpoint, or the whole URL that is given for it."""
    with backend("http") as there:
        plain = make_sender(there.settings(endpoint=f"http://{there.address}/base/"))
        other = make_sender(
            there.settings(
                metrics_endpoint=f"http://{there.address}/api/v1/otlp/v1/metrics",
                logs_endpoint=f"http://{there.address}/insert/logs",
            )
        )
        for sender in (plain, other):
            sender.send_events(make_events(1))
            sender.send_figures(make_figures([(1, 0, 0)]))
            sender.close()
    assert [headers["path"] for headers in there.script.headers] == [
        "/base/v1/logs",
        "/base/v1/metrics",
        "/insert/logs",
        "/api/v1/otlp/v1/metrics",
    ]


@both
def test_environment_holds_where_settings_are_silent(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoint, headers and resource come from the standard variables when the settings leave them out."""
    with backend(protocol) as there:
        monkeypatch.setenv(f"{ENVIRONMENT}ENDPOINT", f"http://{there.address}")
        monkeypatch.setenv(f"{ENVIRONMENT}HEADERS", "x-tenant=one")
        monkeypatch.setenv(f"{ENVIRONMENT}COMPRESSION", "gzip")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "uptime")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=production")
        sender = make_sender(OtlpSettings(name="otlp", is_http=protocol == "http"))
        sender.send_events(make_events(1))
        sender.send_figures(make_figures([(1, 0, 0)]))
        sender.close()
    assert [headers["x-tenant"] for headers in there.script.headers] == ["one"] * 2
    of_events, of_figures = there.captured.requests
    for of_resource in (of_events.resource_logs[0], of_figures.resource_metrics[0]):
        resource = {pair.key: pair.value.string_value for pair in of_resource.resource.attributes}
        assert resource["service.name"] == "uptime"
        assert resource["deployment.environment.name"] == "production"
        assert resource["service.instance.id"] == "ledger-1"


@both
def test_environment_of_one_signal(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics and logs may each have an endpoint of their own in the environment."""
    with backend(protocol) as of_metrics, backend(protocol) as of_logs:
        for signal, there in (("METRICS", of_metrics), ("LOGS", of_logs)):
            path = f"/v1/{signal.lower()}" if protocol == "http" else ""
            monkeypatch.setenv(f"{ENVIRONMENT}{signal}_ENDPOINT", f"http://{there.address}{path}")
        sender = make_sender(OtlpSettings(name="otlp", is_http=protocol == "http"))
        sender.send_events(make_events(1))
        sender.send_figures(make_figures([(1, 0, 0)]))
        sender.close()
    assert of_logs.uids() == ["e0"]
    assert len(of_metrics.captured.points("sla.error_rate")) == 1
    assert (of_logs.script.asked, of_metrics.script.asked) == (1, 1)


@both
def test_settings_come_before_the_environment(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the configuration names is not overridden by a variable."""
    monkeypatch.setenv(f"{ENVIRONMENT}ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv(f"{ENVIRONMENT}TIMEOUT", "1")
    monkeypatch.setenv(f"{ENVIRONMENT}HEADERS", "authorization=other")
    with backend(protocol) as there:
        sender = make_sender(there.settings(headers={"authorization": "ours"}))
        sender.send_events(make_events(1))
        sender.close()
    assert there.script.headers[0]["authorization"] == "ours"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, ClientTlsSettings]:
    """An authority, and the files of a client that it knows."""
    folder: Path = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    client = authority.issue_cert("otel-sla@example.com")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    client.private_key_pem.write_to_path(str(folder / "key.pem"))
    client.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    files = ClientTlsSettings(ca_file=folder / "ca.pem", cert_file=folder / "cert.pem", key_file=folder / "key.pem")
    return authority, files


@both
def test_mutual_tls(
    protocol: str, certificates: tuple[trustme.CA, ClientTlsSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With CA, certificate and key the backend is known and knows us; without them neither takes the other."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", requests.certs.where())  # Of the machine; the configured one comes first.
    authority, tls = certificates
    with backend(protocol, authority=authority) as there:
        scheme = "https://" if protocol == "http" else ""
        endpoint = f"{scheme}localhost:{there.address.rpartition(':')[2]}"
        sender = make_sender(there.settings(endpoint=endpoint, tls=tls))
        assert sender.send_events(make_events(1)) == Answer()
        assert sender.send_figures(make_figures([(1, 0, 0)])) == Answer()
        sender.close()
        for less in (ClientTlsSettings(ca_file=tls.ca_file), ClientTlsSettings()):
            stranger = make_sender(there.settings(endpoint=endpoint, tls=less, timeout_s=5))
            with pytest.raises(Refused) as caught:
                stranger.send_events(make_events(1))
            assert caught.value.blame is Blame.BACKEND
            stranger.close()
    assert there.uids() == ["e0"]


@pytest.mark.parametrize(
    ("settings", "variables"),
    [
        ({"tls": ClientTlsSettings(ca_file=Path("no-such-file.pem"))}, {}),
        ({}, {"OTEL_EXPORTER_OTLP_COMPRESSION": "zip"}),
        ({}, {"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}),
    ],
)
def test_settings_that_cannot_be_used(
    settings: dict[str, ClientTlsSettings], variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is not there, or a variable with a value of its own, is an error of the configuration."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"exporters\.otlp: "):
        make_sender(OtlpSettings(name="otlp", is_http=False, endpoint="localhost:4317", **settings))
