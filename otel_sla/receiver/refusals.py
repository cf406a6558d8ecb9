"""Warns of requests that are refused for good: their senders drop the spans, and often nobody looks at their logs.

A retryable refusal (503, UNAVAILABLE) loses nothing, and is only counted. Connections over `connections_max` are warned
of: those that hold the places keep others out for as long.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

_log = logging.getLogger(__name__)

_INTERVAL_S = 60.0  # Between two warnings for one reason.
_TEXT_SIZE_MAX = 200  # Characters of what a sender chooses.


@dataclass(frozen=True, slots=True)
class RefusedRequest:
    """One request that was refused."""

    protocol: str  # `grpc` or `http`.
    status: str  # HTTP's number, or gRPC's name.
    message: str  # What the sender was answered.
    encoding: str  # Content type and compression, as far as they are known.
    user_agent: str


REFUSED_CONNECTION = RefusedRequest("http", "connections_max", "", "", "")  # Stands for one over that limit.


def log_refused(request: RefusedRequest, count: int) -> None:
    """Write the warning."""
    if request == REFUSED_CONNECTION:
        _log.warning(
            "HTTP refused %s since the last warning: connections_max is reached; raise it, or end what holds them open",
            "1 connection" if count == 1 else f"{count} connections",
            extra={"action": "connections_refused", "protocol": request.protocol, "connections": count},
        )
        return
    _log.warning(
        "%s %s to %s since the last warning; %s the spans: %s",
        {"grpc": "gRPC", "http": "HTTP"}[request.protocol],
        request.status,
        "1 request" if count == 1 else f"{count} requests",
        "its sender drops" if count == 1 else "their senders drop",
        request.message[:_TEXT_SIZE_MAX],
        extra={
            "action": "requests_refused",
            "protocol": request.protocol,
            "reason": request.status,
            "encoding": request.encoding[:_TEXT_SIZE_MAX],
            "user_agent": request.user_agent[:_TEXT_SIZE_MAX],
            "requests": count,
        },
    )


class Refusals:
    """Publishes the first refusal for a reason at once, then at most once a minute how many there were.

    Args:
        publish: Gets the last request and how many of its kind there were since the one before, itself included.
        clock_s: Monotonic seconds.
    """

    def __init__(
        self,
        publish: Callable[[RefusedRequest, int], None] = log_refused,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publish = publish
        self._clock_s = clock_s
        # By protocol and status, of which there are some twenty.
        self._pending: dict[tuple[str, str], tuple[RefusedRequest, int]] = {}
        self._published_s: dict[tuple[str, str], float] = {}
        self.connections = 0  # That were refused.

    def add(self, request: RefusedRequest) -> None:
        """Take a request."""
        if request == REFUSED_CONNECTION:
            self.connections += 1
        reason = request.protocol, request.status
        _, count = self._pending.get(reason, (request, 0))
        self._pending[reason] = request, count + 1
        self.publish_due()

    def publish_due(self) -> None:
        """Publish what is pending and whose interval is over; to be called from time to time."""
        if not self._pending:
            return
        due_s = self._clock_s() - _INTERVAL_S
        for reason in [reason for reason in self._pending if self._published_s.get(reason, due_s) <= due_s]:
            self._published_s[reason] = due_s + _INTERVAL_S
            self._publish(*self._pending.pop(reason))

    def close(self) -> None:
        """Publish all that is pending."""
        self._published_s.clear()
        self.publish_due()
