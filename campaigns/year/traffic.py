"""What three services are asked in a year, drawn day by day from a seed: quiet minutes, outages, repeats."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import builders

MINUTE_S = 60
DAY_S = 86400
SERVICES = ("chat-1", "chat-2", "shop-1")
_LATE_RATIO, _REPEATED_RATIO, _OUTAGE_RATIO = 0.1, 0.1, 0.2
_SPANS = range(4, 9)  # Of one service in one minute.


@dataclass(frozen=True)
class Sending:
    """One request of one service."""

    at_s: float  # When it is sent, seconds since the Unix epoch.
    body: bytes  # One ResourceSpans message.


@dataclass
class Day:
    """One UTC day's requests in the order of sending, and its outages as [start, stop) in seconds."""

    sendings: list[Sending] = field(default_factory=list)
    outages: list[tuple[int, int]] = field(default_factory=list)


def draw_day(randomness: random.Random, start_s: int, spots: int, silent: str = "") -> Day:
    """The requests of a day: some minutes in which all are asked, and the minutes of an outage now and then.

    Args:
        randomness: It decides.
        start_s: The day's first second.
        spots: How many times of the day somebody asks.
        silent: A service that nobody asks.
    """
    day = Day()
    for minute in sorted(randomness.sample(range(5, 1335, 15), spots)):
        first_s = start_s + minute * MINUTE_S
        down = randomness.choice(SERVICES) if randomness.random() < _OUTAGE_RATIO else ""
        n_minutes = randomness.randrange(2, 8) if down else 1
        if down:
            day.outages.append((first_s, first_s + n_minutes * MINUTE_S))
        for minute_s in range(first_s, first_s + n_minutes * MINUTE_S, MINUTE_S):
            for service in SERVICES:
                if service != silent:
                    day.sendings.extend(_sendings(randomness, minute_s, service, is_down=service == down))
    day.sendings.sort(key=lambda sending: sending.at_s)
    return day


def _sendings(randomness: random.Random, minute_s: int, service: str, *, is_down: bool) -> Iterator[Sending]:
    """One request, on time or hours late, and now and then once more."""
    spans = [
        _span(randomness, minute_s + randomness.randrange(30), is_down=is_down)
        for _ in range(randomness.choice(_SPANS))
    ]
    body = builders.make_request_of(*spans, resource=builders.realistic_resource(service))
    at_s = minute_s + 40.0
    if randomness.random() < _LATE_RATIO:
        at_s += randomness.randrange(1, 20) * 3600
    yield Sending(at_s, body)
    if randomness.random() < _REPEATED_RATIO:
        yield Sending(at_s + randomness.randrange(0, 3) * MINUTE_S, body)


def _span(randomness: random.Random, end_s: int, *, is_down: bool) -> builders.Span:
    drawn = randomness.random()
    status = 503 if drawn < (0.6 if is_down else 0.002) else 404 if drawn > 0.95 else 200
    end = end_s * 10**9 + randomness.randrange(10**9)
    return builders.make_span(
        {"http.response.status_code": status}, end_time_unix_nano=end, span_id=randomness.randbytes(8)
    )
