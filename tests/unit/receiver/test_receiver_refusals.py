"""Warnings of requests that are refused for good."""

import logging

import pytest

from otel_sla.receiver.refusals import Refusals, RefusedRequest


def refused(status: str = "400", protocol: str = "http", user_agent: str = "exporter/1") -> RefusedRequest:
    """A request."""
    return RefusedRequest(protocol, status, "not an OTLP trace request", "application/json gzip", user_agent)


def test_each_reason_is_told_once_a_minute_with_how_many_there_were() -> None:
    """The first of a reason at once, the others of its minute as a number with the first one after it."""
    now_s = 0.0
    told: list[tuple[float, str, str, int]] = []
    refusals = Refusals(
        lambda request, count: told.append((now_s, request.protocol, request.status, count)), lambda: now_s
    )
    for now_s in range(0, 200, 10):
        refusals.add(refused())
        if now_s >= 20:
            refusals.add(refused("INVALID_ARGUMENT", "grpc"), 3)
    assert [each for each in told if each[1] == "http"] == [
        (0, "http", "400", 1),
        (60, "http", "400", 6),
        (120, "http", "400", 6),
        (180, "http", "400", 6),
    ]
    assert [each for each in told if each[1] == "grpc"] == [
        (20, "grpc", "INVALID_ARGUMENT", 3),
        (80, "grpc", "INVALID_ARGUMENT", 18),
        (140, "grpc", "INVALID_ARGUMENT", 18),
    ]


def test_a_warning_says_who_sent_what(caplog: pytest.LogCaptureFixture) -> None:
    """Protocol, reason, encoding, user agent and number are fields; what a sender chose is cut short."""
    refusals = Refusals(clock_s=lambda: 0.0)
    refusals.add(refused(user_agent="x" * 10_000))
    refusals.add(refused("UNAUTHENTICATED", "grpc"), 2)
    first, second = caplog.records
    assert first.levelno == second.levelno == logging.WARNING
    fields = {key: vars(first)[key] for key in ("action", "protocol", "reason", "encoding", "user_agent", "requests")}
    assert fields == {
        "action": "requests_refused",
        "protocol": "http",
        "reason": "400",
        "encoding": "application/json gzip",
        "user_agent": "x" * 200,
        "requests": 1,
    }
    assert first.getMessage() == (
        "1 request was refused over HTTP, and not sent again by those who keep to OTLP, the last with 400:"
        " not an OTLP trace request"
    )
    assert second.getMessage().startswith("2 requests were refused over gRPC")
