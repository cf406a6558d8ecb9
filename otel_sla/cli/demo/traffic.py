"""The demo's traffic: which requests come in which minute of the hour. Numbers only, nothing is sent here."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from otel_sla.sla.counts import NANOS_PER_MINUTE

HOUR_MINUTES = 60
START = datetime(2026, 11, 1, tzinfo=UTC)  # A month's first hour: its figures are about nothing else.
START_MINUTE = int(START.timestamp()) // 60

_NANOS_PER_MS = 1_000_000
_NOT_FOUND = 4  # Requests of each minute with traffic that get a 404: the caller's mistake, so no valid requests.


class Phase(NamedTuple):
    """Consecutive minutes of the same traffic to one service."""

    what: str
    minutes: int
    valid: int  # Valid requests in each minute.
    failed: int  # Of these.


class DemoRequest(NamedTuple):
    """One request, of which a server span is made."""

    start_unix_nano: int
    end_unix_nano: int
    http_status: int


_QUIET = 40  # Valid requests a minute.

TRAFFIC: Mapping[str, Sequence[Phase]] = {
    "checkout": (
        Phase("quiet traffic", 6, _QUIET, 0),
        Phase("outage", 15, 50, 30),
        Phase("quiet traffic", 4, _QUIET, 0),
        Phase("partial outage, below 5 %", 5, 50, 2),
        Phase("quiet traffic", 3, _QUIET, 0),
        Phase("partial outage of exactly 5 %", 5, _QUIET, 2),
        Phase("quiet traffic", 3, _QUIET, 0),
        Phase("silence", 5, 0, 0),
        Phase("quiet traffic", 2, _QUIET, 0),
        Phase("partial outage, above 5 %", 9, 50, 3),
        Phase("quiet traffic", 3, _QUIET, 0),
    ),
    "catalog": (Phase("quiet traffic", HOUR_MINUTES, _QUIET, 0),),
}


def timeline(phases: Sequence[Phase]) -> Iterator[tuple[int, Phase]]:
    """Give each phase with the index of its first minute.

    >>> [index for index, _ in timeline(TRAFFIC["checkout"])][:4]
    [0, 6, 21, 25]
    """
    index = 0
    for phase in phases:
        yield index, phase
        index += phase.minutes


def phase_at(phases: Sequence[Phase], minute_index: int) -> Phase:
    """Give the phase that a minute of the hour belongs to."""
    return next(phase for index, phase in timeline(phases) if index <= minute_index < index + phase.minutes)


def requests_of(phase: Phase, epoch_minute: int) -> Iterator[DemoRequest]:
    """Spread requests over the minute in which they end, the failed ones among the others."""
    statuses = [_http_status(phase, index) for index in range(phase.valid)]
    if phase.valid:
        statuses += [404] * _NOT_FOUND
    for index, http_status in enumerate(statuses):
        end = epoch_minute * NANOS_PER_MINUTE + (2 * index + 1) * NANOS_PER_MINUTE // (2 * len(statuses))
        duration = (20 + 37 * index % 180) * _NANOS_PER_MS
        yield DemoRequest(end - duration, end, http_status)


def _http_status(phase: Phase, index: int) -> int:
    failed_before = index * phase.failed // phase.valid
    if (index + 1) * phase.failed // phase.valid == failed_before:
        return 200
    return 503 if failed_before % 2 else 500
