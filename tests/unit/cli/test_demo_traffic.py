"""The demo's traffic as numbers."""

import doctest
from collections import Counter

import pytest

from otel_sla.cli.demo import traffic
from otel_sla.cli.demo.traffic import HOUR_MINUTES, START_MINUTE, TRAFFIC, Phase, phase_at, requests_of

NANOS_PER_MINUTE = 60_000_000_000


@pytest.mark.parametrize("service", TRAFFIC)
def test_the_story_fills_the_hour(service: str) -> None:
    """Each service's phases: sixty minutes together, and every minute belongs to one of them."""
    assert sum(phase.minutes for phase in TRAFFIC[service]) == HOUR_MINUTES
    minutes = Counter(id(phase_at(TRAFFIC[service], index)) for index in range(HOUR_MINUTES))
    assert sorted(minutes.values()) == sorted(phase.minutes for phase in TRAFFIC[service])


def test_the_story_has_what_the_show_promises() -> None:
    """Checkout's hour: quiet, a whole outage, partial ones below, at and above 5 %, and silence."""
    phases = TRAFFIC["checkout"]
    shares = {100 * phase.failed // phase.valid for phase in phases if phase.valid}
    assert shares == {0, 4, 5, 6, 60}
    assert [phase.what for phase in phases if not phase.valid] == ["silence"]


def test_requests_are_what_the_phase_says() -> None:
    """A minute of 50 valid requests, 30 failed: so many 5xx, the rest 200, and besides them 404s that are not valid."""
    statuses = Counter(request.http_status for request in requests_of(Phase("", 1, 50, 30), START_MINUTE))
    assert statuses == {500: 15, 503: 15, 200: 20, 404: 4}


def test_failures_are_spread() -> None:
    """Two failures among forty requests: one in each half of the minute."""
    requests = list(requests_of(Phase("", 1, 40, 2), 0))
    failed = [request.end_unix_nano for request in requests if request.http_status >= 500]
    assert len([end for end in failed if end < NANOS_PER_MINUTE // 2]) == 1
    assert len(failed) == 2


def test_requests_end_within_their_minute() -> None:
    """All requests of a minute: each takes time and ends within the minute, one after the other."""
    requests = list(requests_of(Phase("", 1, 40, 2), START_MINUTE))
    ends = [request.end_unix_nano for request in requests]
    assert {end // NANOS_PER_MINUTE for end in ends} == {START_MINUTE}
    assert ends == sorted(set(ends))
    assert all(request.start_unix_nano < request.end_unix_nano for request in requests)


def test_silence_has_no_requests() -> None:
    """A silent minute: nothing at all, not even what is not valid."""
    assert not list(requests_of(Phase("silence", 1, 0, 0), START_MINUTE))


def test_the_examples_in_the_docstrings_hold() -> None:
    """The module's doctests give what they show."""
    failed, attempted = doctest.testmod(traffic)
    assert attempted
    assert not failed
