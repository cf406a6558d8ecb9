"""How log records are written: lines for people, or one JSON object per line.

What a record says besides its message (`extra={"action": "downtime_started", …}`) becomes fields of their own.
"""

import json
import logging
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TextIO


class LogLevel(Enum):
    """What is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class LogFormat(Enum):
    """How it is logged."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """`telemetry.logs`."""

    level: LogLevel
    format: LogFormat


_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LEVEL_NAMES = {"WARNING": "WARN", "CRITICAL": "FATAL"}  # As OpenTelemetry's severity texts have it.


def set_up_logs(settings: LogSettings, stream: TextIO) -> None:
    """Send all records of this process to `stream`; what was set up before is replaced."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if settings.format is LogFormat.JSON else TextFormatter())
    logging.basicConfig(level=settings.level.value.upper(), handlers=[handler], force=True)


class TextFormatter(logging.Formatter):
    """Time, severity, message, then fields as `key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record; a traceback follows on lines of its own."""
        fields = "".join(f" {key}={_field_text(value)}" for key, value in _fields(record).items())
        line = f"{_time_text(record)} {_level_name(record):5} {_one_line(record.getMessage())}{fields}"
        return f"{line}\n{_exception_text(record)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object per record."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record on one line."""
        entry: dict[str, Any] = {
            "timestamp": _time_text(record),
            "severity": _level_name(record),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            entry["exception"] = _exception_text(record)
        return json.dumps(entry, ensure_ascii=False, default=str)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _OWN_FIELDS}


def _field_text(value: object) -> str:
    text = str(value)
    is_plain = text.isprintable()
    return (
        json.dumps(text, ensure_ascii=not is_plain)
        if not is_plain or not text or any(c in ' "=' for c in text)
        else text
    )


def _one_line(text: str) -> str:
    # Senders choose the values of a group: they must neither begin a line of their own nor move a terminal's cursor.
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _time_text(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _level_name(record: logging.LogRecord) -> str:
    return _LEVEL_NAMES.get(record.levelname, record.levelname)


def _exception_text(record: logging.LogRecord) -> str:
    assert record.exc_info, "asked only for records with an exception"
    return "".join(traceback.format_exception(*record.exc_info)).rstrip()
