"""Warnings of requests that are refused for good."""

import logging

import pytest

from otel_sla.receiver.refusals import REFUSED_CONNECTION, Refusals, RefusedRequest


def refused(status: str = "400", protocol: str = "http", user_agent: str = "exporter/1") -> RefusedRequest:
    """A request."""
    return RefusedRequest(protocol, status, "not an OTLP trace request", "application/json gzip", user_agent)


def test_each_reason_is_published_once_a_minute_with_its_count() -> None:
    """The first of a reason at once, the others of its minute as a number behind it."""
    now_s = 0.0
    published: list[tuple[float, str, str, int]] = []
    refusals = Refusals(
        lambda request, count: published.append((now_s, request.protocol, request.status, count)), clock_s=lambda: now_s
    )
    for now_s in range(0, 200, 10):
        refusals.add(refused())
        if now_s >= 20:
            for _ in range(3):
                refusals.add(refused("INVALID_ARGUMENT", "grpc"))
    assert [each for each in published if each[1] == "http"] == [
        (0, "http", "400", 1),
        (60, "http", "400", 6),
        (120, "http", "400", 6),
        (180, "http", "400", 6),
    ]
    assert [each for each in published if each[1] == "grpc"] == [
        (20, "grpc", "INVALID_ARGUMENT", 1),
        (80, "grpc", "INVALID_ARGUMENT", 17),
        (140, "grpc", "INVALID_ARGUMENT", 18),
    ]


def test_a_warning_says_who_sent_what(caplog: pytest.LogCaptureFixture) -> None:
    """Protocol, reason, encoding, user agent and number are fields; what a sender chose is cut short."""
    refusals = Refusals(clock_s=lambda: 0.0)
    refusals.add(refused(user_agent="x" * 10_000))
    for _ in range(3):
        refusals.add(refused("UNAUTHENTICATED", "grpc"))
    refusals.close()
    first, _, second = caplog.records
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
        "HTTP 400 to 1 request since the last warning; its sender drops the spans: not an OTLP trace request"
    )
    assert second.getMessage() == (
        "gRPC UNAUTHENTICATED to 2 requests since the last warning; their senders drop the spans:"
        " not an OTLP trace request"
    )


def test_refused_connections_are_logged_as_such_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """A connection over the limit: a warning of its own that blames no sender, and a number of all that were."""
    refusals = Refusals(clock_s=lambda: 0.0)
    refusals.add(refused())
    for _ in range(4):
        refusals.add(REFUSED_CONNECTION)
    assert refusals.connections == 4
    _, warning = caplog.records
    fields = {key: vars(warning)[key] for key in ("action", "protocol", "connections")}
    assert fields == {"action": "connections_refused", "protocol": "http", "connections": 1}
    assert warning.getMessage() == (
        "HTTP refused 1 connection since the last warning: connections_max is reached; raise it, or end what holds them"
        " open"
    )
    refusals.close()
    assert caplog.messages[-1].startswith("HTTP refused 3 connections since")


def test_the_last_count_is_published_after_its_minute_or_at_the_end() -> None:
    """A sender that stops leaves no count unpublished: it goes out after the minute, or at the close."""
    now_s = 0.0
    published: list[tuple[float, str, int]] = []
    refusals = Refusals(
        lambda request, count: published.append((now_s, request.user_agent, count)), clock_s=lambda: now_s
    )
    for now_s in (0.0, 10.0, 20.0):
        refusals.add(refused(user_agent=f"at {now_s:g}"))
    for now_s in (30.0, 59.9, 60.0, 61.0):  # noqa: B007 - the clock reads it.
        refusals.publish_due()
    for _ in range(5):
        refusals.add(refused(user_agent="late"))
    now_s = 70.0
    refusals.close()
    refusals.close()
    assert published == [(0.0, "at 0", 1), (60.0, "at 20", 2), (70.0, "late", 5)]
