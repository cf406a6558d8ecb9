"""Warns of requests that are refused for good: their senders drop the spans, and often nobody looks at their logs.

Who is told to come back (503, UNAVAILABLE) is not meant: nothing is lost by that, and it is counted.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

_log = logging.getLogger(__name__)

_INTERVAL_S = 60.0
_TEXT_SIZE_MAX = 200  # Characters of what a sender chooses.


@dataclass(frozen=True, slots=True)
class RefusedRequest:
    """One that was refused."""

    protocol: str  # `grpc` or `http`.
    status: str  # HTTP's number, or gRPC's name.
    message: str  # What the sender was told.
    encoding: str  # Content type and compression, as far as they are known.
    user_agent: str


class Refusals:
    """Tells of the first request that is refused for a reason, then at most once a minute how many there were.

    Args:
        tell: Gets a request and how many of its kind there were since the one before, itself included.
        clock_s: Monotonic seconds.
    """

    def __init__(
        self,
        tell: Callable[[RefusedRequest, int], None] | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell or log_refused
        self._clock_s = clock_s
        self._untold: dict[tuple[str, str], int] = {}  # Of a protocol and status; there are some twenty.
        self._told_s: dict[tuple[str, str], float] = {}

    def add(self, request: RefusedRequest, count: int = 1) -> None:
        """Take a request, for `count` of its kind."""
        reason = request.protocol, request.status
        count += self._untold.pop(reason, 0)
        now_s = self._clock_s()
        if now_s - self._told_s.get(reason, -_INTERVAL_S) < _INTERVAL_S:
            self._untold[reason] = count
            return
        self._told_s[reason] = now_s
        self._tell(request, count)


def log_refused(request: RefusedRequest, count: int) -> None:
    """Write the warning."""
    _log.warning(
        "%s refused over %s, and not sent again by those who keep to OTLP, the last with %s: %s",
        "1 request was" if count == 1 else f"{count} requests were",
        {"grpc": "gRPC", "http": "HTTP"}[request.protocol],
        request.status,
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
