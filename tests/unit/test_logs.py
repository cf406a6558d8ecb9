"""Log records as lines for people and as JSON."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from otel_sla.logs import LogFormat, LogLevel, LogSettings, set_up_logs


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def logged(log_format: LogFormat, level: LogLevel = LogLevel.INFO) -> io.StringIO:
    """Set logs up to go to a text."""
    stream = io.StringIO()
    set_up_logs(LogSettings(level=level, format=log_format), stream)
    return stream


def test_a_line_has_time_severity_message_and_fields() -> None:
    """A warning with fields: one line, fields at its end, texts with spaces quoted."""
    stream = logged(LogFormat.TEXT)
    logging.getLogger("otel_sla.test").warning(
        "%s is down", "chat", extra={"action": "downtime_started", "minutes": 3, "note": 'a "b"', "empty": ""}
    )
    time_text, severity, rest = stream.getvalue().split(" ", 2)
    assert time_text.endswith("Z")
    assert len(time_text) == len("2026-11-23T05:45:12.123Z")
    assert severity == "WARN"
    assert rest == ' chat is down action=downtime_started minutes=3 note="a \\"b\\"" empty=""\n'


def test_what_senders_chose_stays_on_its_line() -> None:
    """A group's value with a line's end and a terminal's escape: neither a forged line nor a moved cursor."""
    stream = logged(LogFormat.TEXT)
    forged = "chat\n2026-11-23T00:00:00.000Z INFO  all is well\x1b[2J"
    logging.getLogger("otel_sla.test").warning("%s is down", forged, extra={"group": forged})
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()
    assert r"chat\n2026-11-23T00:00:00.000Z INFO  all is well\x1b[2J is down" in stream.getvalue()


def test_a_record_is_one_json_object_on_one_line() -> None:
    """An error with a traceback and fields that JSON does not know: one line, every field under its name."""
    stream = logged(LogFormat.JSON)
    try:
        {}["gone"]
    except KeyError:
        logging.getLogger("otel_sla.test").exception("failed", extra={"action": "export_failed", "kind": {1}})
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert {key: entry[key] for key in ("severity", "logger", "message", "action", "kind")} == {
        "severity": "ERROR",
        "logger": "otel_sla.test",
        "message": "failed",
        "action": "export_failed",
        "kind": "{1}",
    }
    assert entry["exception"].endswith("KeyError: 'gone'")


def test_a_traceback_follows_its_line() -> None:
    """An error with a traceback as text: below its line."""
    stream = logged(LogFormat.TEXT)
    try:
        {}["gone"]
    except KeyError:
        logging.getLogger("otel_sla.test").exception("failed")
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("ERROR failed")
    assert rest[0].startswith("Traceback")


@pytest.mark.parametrize("level", list(LogLevel))
def test_only_what_is_severe_enough_is_logged(level: LogLevel) -> None:
    """Each level: it and what is above it."""
    stream = logged(LogFormat.JSON, level)
    for severity in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logging.getLogger("otel_sla.test").log(severity, "x")
    assert len(stream.getvalue().splitlines()) == 4 - list(LogLevel).index(level)


def test_setting_up_again_replaces_what_was() -> None:
    """Logs set up twice: only the second place gets records."""
    first, second = logged(LogFormat.TEXT), logged(LogFormat.TEXT)
    logging.getLogger("otel_sla.test").info("x")
    assert first.getvalue() == ""
    assert second.getvalue().endswith("INFO  x\n")
