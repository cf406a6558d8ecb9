"""Verdicts as log lines."""

import logging
from dataclasses import replace

import pytest
from exporter_parts import make_events, make_figures

from otel_sla.exporter.debug import DebugSender
from otel_sla.sla.events import Severity

UP, DOWN, SILENT = (20, 0, 0), (8, 12, 0), (0, 0, 0)


@pytest.fixture(autouse=True)
def info(caplog: pytest.LogCaptureFixture) -> None:
    """Log lines from INFO on."""
    caplog.set_level(logging.INFO)


def test_a_line_for_each_event(caplog: pytest.LogCaptureFixture) -> None:
    """An event is its own sentence at its own level, with a key and its attributes as fields."""
    started, ended = make_events(2)
    ended = replace(ended, name="sla.downtime.ended", severity=Severity.INFO)
    DebugSender("debug").send_events([started, ended])
    assert [(record.levelname, record.action, record.n, record.getMessage()) for record in caplog.records] == [
        ("ERROR", "downtime_started", 0, "chat 0"),
        ("INFO", "downtime_ended", 1, "chat 1"),
    ]


def test_a_group_by_any_key_can_be_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Attributes that are called as parts of a log record are left out of its fields."""
    (event,) = make_events(1)
    DebugSender("debug").send_events([replace(event, attributes={"name": "x", "message": "y", "zone": "z"})])
    (record,) = caplog.records
    assert record.getMessage() == "chat 0"
    assert record.zone == "z"


def test_only_changes_of_state_are_written(caplog: pytest.LogCaptureFixture) -> None:
    """Of nine minutes, the first that is up is silent, and each change has one line that says what and when."""
    sender = DebugSender("debug")
    for minute in make_figures([UP, UP, DOWN, DOWN, DOWN, UP, SILENT, SILENT, UP]):
        sender.send_figures([minute])
    assert caplog.messages == [
        "chat (service.name=chat-1): down after up in the minute of 2026-06-01T00:02:00Z, 12 of 20 requests failed",
        "chat (service.name=chat-1): up after down in the minute of 2026-06-01T00:05:00Z, 0 of 20 requests failed",
        "chat (service.name=chat-1): no_data after up in the minute of 2026-06-01T00:06:00Z, 0 of 0 requests failed",
        "chat (service.name=chat-1): up after no_data in the minute of 2026-06-01T00:08:00Z, 0 of 20 requests failed",
    ]


def test_revised_minutes_are_silent(caplog: pytest.LogCaptureFixture) -> None:
    """A revised minute has an event; its figures, which come again, log no change of state."""
    sender = DebugSender("debug")
    sender.send_figures(make_figures([UP, UP, UP]))
    sender.send_figures(make_figures([UP, DOWN]))
    assert caplog.messages == []
    sender.close()
