"""OTLP over HTTP: one request for each attempt of the library's exporter, and what its answer says.

The exporter retries by itself and reports only that it failed. A session is a public argument of it; this one keeps the
answer and makes each that is no success, and each failure to get one, an error that no version of the library retries.
"""

import logging
import time
from collections.abc import Mapping
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import requests
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

from otel_sla.exporter.refusal import Blame, Refused, http_blame, one_line
from otel_sla.exporter.settings import OtlpSettings

_PROTOBUF = "application/x-protobuf"
TIMEOUT_S = 10.0  # Where the library gives none.
ANSWER_SIZE_BYTES_MAX = 1 << 20
_PIECE_SIZE_BYTES = 4096


# While it is set, the library logs nothing: `schedule` logs when a backend begins to refuse, and when it takes again.
_is_ours: ContextVar[bool] = ContextVar("is_ours", default=False)
for _module in (OTLPLogExporter.__module__, OTLPMetricExporter.__module__):
    logging.getLogger(_module).addFilter(lambda _: not _is_ours.get())


class HttpExporter:
    """One signal over HTTP, by one of the library's exporters with these options."""

    def __init__(self, exporter_type: type[OTLPLogExporter | OTLPMetricExporter], **options: Any) -> None:  # noqa: ANN401
        self._session = _AnswerSession()
        self._exporter = exporter_type(session=self._session, **options)

    def send(self, data: Any) -> bytes:  # noqa: ANN401  Log records or metrics.
        """Send once, and give the response's bytes.

        Raises:
            Refused: It was not taken.
        """
        self._session.outcome = None
        token = _is_ours.set(True)
        try:
            self._exporter.export(data)
        except Exception as error:
            raise Refused(f"cannot be encoded: {one_line(str(error))}", Blame.ITEM) from error
        finally:
            _is_ours.reset(token)
        outcome = self._session.outcome
        if isinstance(outcome, bytes):
            return outcome
        raise outcome or Refused("cannot be encoded, or is larger than the library sends", Blame.ITEM)

    def shutdown(self) -> None:
        """Close the connections."""
        self._exporter.shutdown()


class _NotTaken(requests.RequestException):
    """Ends an attempt that was no success. No ConnectionError, as the library would try those again."""


class _AnswerSession(requests.Session):
    """Keeps what came of the last request in `outcome`: the body of a success, or the refusal."""

    def __init__(self) -> None:
        super().__init__()
        self.outcome: bytes | Refused | None = None

    def request(self, method: Any, url: Any, **options: Any) -> requests.Response:  # type: ignore[override]  # noqa: ANN401
        """Send one request, keep what came of it, and raise `_NotTaken` unless it is a success."""
        options["allow_redirects"] = False
        options["stream"] = True  # Else all of the answer is read, however large it is and however long it takes.
        # Else a REQUESTS_CA_BUNDLE of the environment comes before the configured authority.
        options.setdefault("verify", self.verify)
        stop_s = time.monotonic() + float(options.get("timeout") or TIMEOUT_S)
        try:
            try:
                response = super().request(method, url, **options)
            except requests.Timeout:
                raise
            except requests.ConnectionError:
                # Most often a kept connection that the backend closed meanwhile.
                response = super().request(method, url, **options)
        except requests.RequestException as error:
            is_network = isinstance(error, requests.ConnectionError | requests.Timeout)
            blame = Blame.BACKEND if is_network else Blame.US
            self.outcome = Refused(f"{url} cannot be reached: {one_line(str(error))}", blame)
            raise _NotTaken from error
        with response:
            body = _read_body(response, stop_s)
        if not 200 <= response.status_code < 300:
            self.outcome = _refused(url, response, body)
            raise _NotTaken
        self.outcome = body if _is_protobuf(response) else b""
        taken = requests.Response()  # The body of the other one has been read, or broken off.
        taken.status_code, taken.raw = 200, BytesIO()
        return taken


def _read_body(response: requests.Response, stop_s: float) -> bytes:
    """Read an answer's body, or a part of it within the limits of size and time: the status is known already."""
    body = bytearray()
    try:
        for piece in response.iter_content(_PIECE_SIZE_BYTES):
            body += piece
            if len(body) >= ANSWER_SIZE_BYTES_MAX or time.monotonic() >= stop_s:
                break
    except requests.RequestException:
        pass  # Broken off, or not compressed as it says.
    return bytes(body[:ANSWER_SIZE_BYTES_MAX])


def make_http_exporters(settings: OtlpSettings) -> tuple[HttpExporter, HttpExporter]:
    """Build the exporters of logs and of metrics; what is None in `settings` they take from the environment."""
    tls = settings.tls
    options: dict[str, Any] = {
        "certificate_file": _text(tls.ca_file) if tls else None,
        "client_certificate_file": _text(tls.cert_file) if tls else None,
        "client_key_file": _text(tls.key_file) if tls else None,
        "headers": dict(settings.headers) or None,
        "timeout": settings.timeout_s,
        "compression": Compression(settings.compression) if settings.compression else None,
    }
    base = None if settings.endpoint is None else f"{settings.endpoint.rstrip('/')}/v1/"
    logs_endpoint = settings.logs_endpoint or (base and f"{base}logs")
    metrics_endpoint = settings.metrics_endpoint or (base and f"{base}metrics")
    return (
        HttpExporter(OTLPLogExporter, endpoint=logs_endpoint, **options),
        HttpExporter(OTLPMetricExporter, endpoint=metrics_endpoint, **options),
    )


def retry_after_s(headers: Mapping[str, str], now_s: float) -> float | None:
    """Read `Retry-After`, seconds or a date; None if it is not there or cannot be read.

    >>> retry_after_s({"Retry-After": "2"}, 0.0)
    2.0
    >>> retry_after_s({"Retry-After": "Thu, 01 Jan 1970 00:01:00 GMT"}, 50.0)
    10.0
    """
    text = headers.get("Retry-After", "").strip()
    try:
        return max(0.0, float(text) if text.isdigit() else parsedate_to_datetime(text).timestamp() - now_s)
    except (TypeError, ValueError, OverflowError):
        return None


def _refused(url: str, response: requests.Response, body: bytes) -> Refused:
    said = body.decode("utf-8", "replace")
    if _is_protobuf(response):
        try:
            said = Status.FromString(body).message
        except DecodeError:
            said = ""
    status = response.status_code
    message = f"{url} answers {status} {response.reason}: {one_line(said)}"
    asked_s = retry_after_s(response.headers, time.time())
    is_page = response.headers.get("Content-Type", "").startswith("text/html")
    return Refused(message, http_blame(status, asked_s, is_page=is_page), asked_s)


def _is_protobuf(response: requests.Response) -> bool:
    return response.headers.get("Content-Type", "").startswith(_PROTOBUF)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
