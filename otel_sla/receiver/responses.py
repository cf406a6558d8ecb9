"""What senders and operators are answered: success bodies, errors as gRPC and HTTP status, readiness.

OTLP (docs/specification.md, "Failures") lets a sender repeat a request on UNAVAILABLE and DEADLINE_EXCEEDED, on 503
and 504, and makes it drop the request on the others. So no error that a repeat may not meet again has one of the
others: that would lose the sender's spans. RESOURCE_EXHAUSTED without RetryInfo means "never".
"""

import logging
import math
from dataclasses import dataclass
from typing import NamedTuple

import grpc
import orjson
from google.protobuf.json_format import MessageToDict
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_sla.counting.receipt import Receipt
from otel_sla.errors import DecodeError, LedgerError, OtelSlaError, Overloaded, RequestTooLarge

_log = logging.getLogger(__name__)


class Readiness(NamedTuple):
    """What `/readyz` answers: whether requests are taken. Each text is one line."""

    reason: str = ""  # Why none are; empty if they are.
    notice: str = ""  # What is wrong all the same.


def encode_protobuf(receipt: Receipt) -> bytes:
    """Encode `ExportTraceServiceResponse`; `partial_success` stays unset if there is nothing to say.

    >>> encode_protobuf(Receipt())
    b''
    """
    if not receipt.rejected_spans and not receipt.error_message:
        return b""
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = receipt.rejected_spans
    response.partial_success.error_message = receipt.error_message
    encoded: bytes = response.SerializeToString()
    return encoded


def encode_json(receipt: Receipt) -> bytes:
    """Encode the same as OTLP's JSON: 64-bit integers are text there.

    >>> encode_json(Receipt(3, "too late"))
    b'{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too late"}}'
    """
    if not receipt.rejected_spans and not receipt.error_message:
        return b"{}"
    partial = {"rejectedSpans": str(receipt.rejected_spans), "errorMessage": receipt.error_message}
    return orjson.dumps({"partialSuccess": partial})


class Unauthenticated(OtelSlaError):
    """No token, or none that is valid."""


class BodyTimeout(OtelSlaError):
    """The body did not arrive in time."""

    is_retryable = True


class MalformedRequest(OtelSlaError):
    """The bytes are no request of HTTP/1.1."""


class UnknownVersion(OtelSlaError):
    """A request of another protocol, or another version of it (HTTP)."""


class PathUnknown(OtelSlaError):
    """Nothing is served there (HTTP)."""


class MethodNotAllowed(OtelSlaError):
    """The path has no such method (HTTP); `allow` are those that it has."""

    def __init__(self, method: str, allow: str) -> None:
        self.allow = allow
        super().__init__(f"method {method} is not allowed, only {allow}")


class UnsupportedMediaType(OtelSlaError):
    """A Content-Type or Content-Encoding that is not read (HTTP)."""


class UnknownCoding(OtelSlaError):
    """A Transfer-Encoding that is not read (HTTP)."""


class UnknownExpectation(OtelSlaError):
    """An Expect that is not met (HTTP)."""


@dataclass(frozen=True, slots=True)
class _Rule:
    code: grpc.StatusCode
    http_status: int
    retry_delay_s: float | None = None  # At most 2: senders such as the Python SDK give up after 10 s in all.
    message: str | None = None  # For the sender; the error's own text is for our operator only.


_RULES: dict[type[BaseException], _Rule] = {
    DecodeError: _Rule(grpc.StatusCode.INVALID_ARGUMENT, 400),
    RequestTooLarge: _Rule(grpc.StatusCode.RESOURCE_EXHAUSTED, 413),
    Overloaded: _Rule(grpc.StatusCode.UNAVAILABLE, 503, retry_delay_s=1.0),
    # Also those that need an operator: the sender keeps its spans until there is a sound ledger again.
    LedgerError: _Rule(grpc.StatusCode.UNAVAILABLE, 503, 2.0, "the ledger is not available"),
    BodyTimeout: _Rule(grpc.StatusCode.DEADLINE_EXCEEDED, 504),
    Unauthenticated: _Rule(grpc.StatusCode.UNAUTHENTICATED, 401),
    MalformedRequest: _Rule(grpc.StatusCode.INVALID_ARGUMENT, 400),
    UnknownVersion: _Rule(grpc.StatusCode.UNIMPLEMENTED, 505),
    PathUnknown: _Rule(grpc.StatusCode.NOT_FOUND, 404),
    MethodNotAllowed: _Rule(grpc.StatusCode.UNIMPLEMENTED, 405),
    UnsupportedMediaType: _Rule(grpc.StatusCode.INVALID_ARGUMENT, 415),
    UnknownCoding: _Rule(grpc.StatusCode.UNIMPLEMENTED, 501),
    UnknownExpectation: _Rule(grpc.StatusCode.INVALID_ARGUMENT, 417),
    # A bug of ours: the same request would meet it again.
    Exception: _Rule(grpc.StatusCode.INTERNAL, 500, message="internal error"),
}
_logged: set[type[BaseException]] = set()


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """The answer to a request that was not counted."""

    code: grpc.StatusCode
    http_status: int
    message: str
    retry_delay_s: float | None  # When to try again; None: the sender decides, by the code.
    is_final: bool  # Senders that keep to OTLP drop the request.

    @property
    def retry_after_s(self) -> int | None:
        """HTTP's Retry-After: whole seconds."""
        return None if self.retry_delay_s is None else math.ceil(self.retry_delay_s)

    def status(self) -> Status:
        """Build the `google.rpc.Status`, the body of an HTTP error, with RetryInfo where there is a delay."""
        number: int = self.code.value[0]
        status = Status(code=number, message=self.message)
        if self.retry_delay_s is not None:
            status.details.add().Pack(_retry_info(self.retry_delay_s))
        return status

    def status_json(self) -> bytes:
        """Encode the same `google.rpc.Status` as JSON."""
        return orjson.dumps(MessageToDict(self.status()))

    def trailers(self) -> tuple[tuple[str, bytes], ...]:
        """Build the gRPC trailers: most senders read the first, the Python SDK only the second."""
        if self.retry_delay_s is None:
            return ()
        return (
            ("grpc-status-details-bin", self.status().SerializeToString()),
            ("google.rpc.retryinfo-bin", _retry_info(self.retry_delay_s).SerializeToString()),
        )


def refusal_of(error: Exception) -> ErrorResponse:
    """The answer to a request that failed with `error`; each unforeseen type is logged once, with its traceback."""
    rule = next(rule for base in type(error).__mro__ if (rule := _RULES.get(base)) is not None)
    if rule.code is grpc.StatusCode.INTERNAL and type(error) not in _logged:
        _logged.add(type(error))
        _log.error("a request failed in a way that nobody foresaw", exc_info=error, extra={"action": "request_failed"})
    is_final = rule.code not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    return ErrorResponse(rule.code, rule.http_status, rule.message or str(error), rule.retry_delay_s, is_final)


def _retry_info(delay_s: float) -> RetryInfo:
    info = RetryInfo()
    info.retry_delay.FromMilliseconds(round(delay_s * 1000))
    return info
