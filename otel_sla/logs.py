"""Log formats: lines for people, or one JSON object per line.

`extra={"action": "downtime_started", …}` becomes fields beside the message.
"""

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TextIO


class LogLevel(Enum):
    """The lowest severity that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class LogFormat(Enum):
    """Lines for people, or JSON."""

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
    """Send all records of this process to `stream`, and to no handler that was set up before."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonFormatter() if settings.format is LogFormat.JSON else _TextFormatter())
    logging.basicConfig(level=settings.level.value.upper(), handlers=[handler], force=True)


class _TextFormatter(logging.Formatter):
    """Time, severity, message, then fields as `key=value`; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {key}={_field_text(value)}" for key, value in _fields(record).items())
        line = f"{_time_text(record)} {_level_name(record):5} {_one_line(record.getMessage())}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _JsonFormatter(logging.Formatter):
    """One JSON object per record, on one line."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "timestamp": _time_text(record),
            "severity": _level_name(record),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _OWN_FIELDS}


def _field_text(value: object) -> str:
    text = str(value)
    if text and text.isprintable() and not any(c in ' "=' for c in text):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _one_line(text: str) -> str:
    # Senders choose the values of a group: they must neither begin a new line nor move a terminal's cursor.
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _time_text(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _level_name(record: logging.LogRecord) -> str:
    return _LEVEL_NAMES.get(record.levelname, record.levelname)
