"""What a backend's answer means for what was sent: one table for gRPC, one for HTTP.

OTLP knows answers that may be retried and answers that may not. That is too coarse for events that a contract is
settled by: of the answers that may not be retried, some blame what was sent, some only the sender. An event must not be
lost because a token expired or a backend was upgraded, so what is not the item's fault is kept and tried again, ever
more rarely. The retryable codes are those of the OTLP specification (OTLP/gRPC response, OTLP/HTTP failures).
"""

from dataclasses import dataclass
from enum import Enum

import grpc

from otel_sla.errors import ExportError

_TEXT_SIZE_MAX = 300  # Characters.


class Blame(Enum):
    """Who is to blame for a refusal."""

    BACKEND = "backend"  # It cannot take anything now.
    US = "sender"  # It takes nothing from us as we are configured; the label is public.
    ITEM = "item"  # It will never take what was sent.
    UNCLEAR = "unclear"  # Either it fails over what was sent, or it fails.


class Refused(ExportError):
    """The backend did not take a request; `retry_after_s` is how long it asks to be left alone, None if it does not."""

    def __init__(self, message: str, blame: Blame, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.is_retryable = blame is not Blame.ITEM
        self.blame = blame
        self.retry_after_s = retry_after_s

    @property
    def may_be_item(self) -> bool:
        """Whether a smaller part of the request may be taken."""
        return self.blame in (Blame.ITEM, Blame.UNCLEAR)


@dataclass(frozen=True, slots=True)
class Answer:
    """The backend took a request, perhaps without some of it (OTLP's partial success, which must not be retried)."""

    rejected_count: int = 0  # Log records or points.
    message: str = ""
    is_sent: bool = True  # Else the exporter does not send this signal.


_GRPC_BLAMES = {
    Blame.BACKEND: ("CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"),
    Blame.US: ("UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED", "NOT_FOUND"),
    Blame.ITEM: ("INVALID_ARGUMENT",),
}
_GRPC_BLAME = {grpc.StatusCode[name]: blame for blame, names in _GRPC_BLAMES.items() for name in names}
_HTTP_BLAMES = {
    Blame.BACKEND: (408, 429, 502, 503, 504),
    Blame.US: (401, 403, 404, 405, 407, 415, 501),
    Blame.ITEM: (400, 413, 422),
}
_HTTP_BLAME = {status: blame for blame, statuses in _HTTP_BLAMES.items() for status in statuses}


def grpc_blame(code: grpc.StatusCode, retry_after_s: float | None) -> Blame:
    """Judge a gRPC status.

    A backend that asks for a pause is busy: RESOURCE_EXHAUSTED with a RetryInfo; without one, the message may be too
    large.

    >>> grpc_blame(grpc.StatusCode.RESOURCE_EXHAUSTED, None)
    <Blame.UNCLEAR: 'unclear'>
    """
    return _unless_asked_back(_GRPC_BLAME.get(code, Blame.UNCLEAR), retry_after_s)


def http_blame(status: int, retry_after_s: float | None = None, *, is_page: bool = False) -> Blame:
    """Judge an HTTP status that is not 2xx.

    A redirect means that our endpoint is wrong. So does a bad request with an HTML page (`is_page`): a proxy answers
    so to plain text on its TLS port.

    >>> [http_blame(status).value for status in (302, 400, 401, 500, 503)]
    ['sender', 'item', 'sender', 'unclear', 'backend']
    >>> http_blame(400, is_page=True).value, http_blame(500, 2.0).value
    ('sender', 'backend')
    """
    if 300 <= status < 400 or (status == 400 and is_page):
        return Blame.US
    return _unless_asked_back(_HTTP_BLAME.get(status, Blame.UNCLEAR), retry_after_s)


def _unless_asked_back(blame: Blame, retry_after_s: float | None) -> Blame:
    return Blame.BACKEND if blame is Blame.UNCLEAR and retry_after_s is not None else blame


def one_line(text: str) -> str:
    r"""Shorten a backend's message to one log line.

    >>> one_line("no such\n  tenant")
    'no such tenant'
    """
    words = " ".join(text.split())
    return words if len(words) <= _TEXT_SIZE_MAX else words[: _TEXT_SIZE_MAX - 1] + "\N{HORIZONTAL ELLIPSIS}"
