"""What a backend's answer means for what was sent: one table for gRPC, one for HTTP.

OTLP knows answers that may be retried and answers that may not. That is too coarse for events that a contract is
settled by: of those that may not be retried, some speak of what was sent, some only of who sent it. An event must not
be lost because a token expired or because a backend was upgraded, so what is not the item's fault is kept and tried
again, ever more rarely. The retryable codes are those of the OTLP specification (OTLP/gRPC response, OTLP/HTTP
failures).
"""

from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus

import grpc

from otel_sla.errors import ExportError

_TEXT_SIZE_MAX = 300  # Characters.


class Blame(Enum):
    """Where the reason for a refusal lies."""

    BACKEND = "backend"  # It cannot take anything now.
    SENDER = "sender"  # It takes nothing from us as we are configured.
    ITEM = "item"  # It will never take what was sent.
    UNCLEAR = "unclear"  # Either it fails over what was sent, or it fails.


class Refused(ExportError):
    """The backend did not take a request.

    Args:
        message: One line for the operator.
        blame: Decides what becomes of the request.
        retry_after_s: How long the backend asks to be left alone; None if it does not say.
    """

    def __init__(self, message: str, blame: Blame, retry_after_s: float | None = None) -> None:
        super().__init__(message, is_retryable=blame is not Blame.ITEM)
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
    is_sent: bool = True  # Else this backend is not to have them, and was not asked.


_GRPC_BLAME: dict[grpc.StatusCode, Blame] = {
    grpc.StatusCode.CANCELLED: Blame.BACKEND,
    grpc.StatusCode.DEADLINE_EXCEEDED: Blame.BACKEND,
    grpc.StatusCode.ABORTED: Blame.BACKEND,
    grpc.StatusCode.OUT_OF_RANGE: Blame.BACKEND,
    grpc.StatusCode.UNAVAILABLE: Blame.BACKEND,
    grpc.StatusCode.DATA_LOSS: Blame.BACKEND,
    grpc.StatusCode.UNAUTHENTICATED: Blame.SENDER,
    grpc.StatusCode.PERMISSION_DENIED: Blame.SENDER,
    grpc.StatusCode.UNIMPLEMENTED: Blame.SENDER,
    grpc.StatusCode.NOT_FOUND: Blame.SENDER,
    grpc.StatusCode.INVALID_ARGUMENT: Blame.ITEM,
}

_HTTP_BLAME: dict[int, Blame] = {
    HTTPStatus.REQUEST_TIMEOUT: Blame.BACKEND,
    HTTPStatus.TOO_MANY_REQUESTS: Blame.BACKEND,
    HTTPStatus.BAD_GATEWAY: Blame.BACKEND,
    HTTPStatus.SERVICE_UNAVAILABLE: Blame.BACKEND,
    HTTPStatus.GATEWAY_TIMEOUT: Blame.BACKEND,
    HTTPStatus.UNAUTHORIZED: Blame.SENDER,
    HTTPStatus.FORBIDDEN: Blame.SENDER,
    HTTPStatus.NOT_FOUND: Blame.SENDER,
    HTTPStatus.METHOD_NOT_ALLOWED: Blame.SENDER,
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: Blame.SENDER,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: Blame.SENDER,
    HTTPStatus.NOT_IMPLEMENTED: Blame.SENDER,
    HTTPStatus.BAD_REQUEST: Blame.ITEM,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Blame.ITEM,
    HTTPStatus.UNPROCESSABLE_ENTITY: Blame.ITEM,
}


def grpc_blame(code: grpc.StatusCode, retry_after_s: float | None) -> Blame:
    """Judge a gRPC status.

    Who says when to come back speaks of itself: RESOURCE_EXHAUSTED with a RetryInfo is a busy backend, without one
    the message may be too large.

    >>> grpc_blame(grpc.StatusCode.RESOURCE_EXHAUSTED, None)
    <Blame.UNCLEAR: 'unclear'>
    """
    return _unless_asked_back(_GRPC_BLAME.get(code, Blame.UNCLEAR), retry_after_s)


def http_blame(status: int, retry_after_s: float | None = None, *, is_page: bool = False) -> Blame:
    """Judge an HTTP status that is not 2xx.

    A redirect is none of the backend's answers, so it is our endpoint; nor is a bad request's that comes as a page for
    people (`is_page`): so a proxy answers who does not speak TLS to it.

    >>> [http_blame(status).value for status in (302, 400, 401, 500, 503)]
    ['sender', 'item', 'sender', 'unclear', 'backend']
    >>> http_blame(400, is_page=True).value, http_blame(500, 2.0).value
    ('sender', 'backend')
    """
    if 300 <= status < 400 or (status == HTTPStatus.BAD_REQUEST and is_page):
        return Blame.SENDER
    return _unless_asked_back(_HTTP_BLAME.get(status, Blame.UNCLEAR), retry_after_s)


def _unless_asked_back(blame: Blame, retry_after_s: float | None) -> Blame:
    return Blame.BACKEND if blame is Blame.UNCLEAR and retry_after_s is not None else blame


def one_line(text: str) -> str:
    r"""Give the beginning of what a backend says, fit for a log line.

    >>> one_line("no such\n  tenant")
    'no such tenant'
    """
    words = " ".join(text.split())
    return words if len(words) <= _TEXT_SIZE_MAX else words[: _TEXT_SIZE_MAX - 1] + "\N{HORIZONTAL ELLIPSIS}"
