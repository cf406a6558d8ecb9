"""Events: what happened to an agreement, as it is told to the backend."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum


class Severity(IntEnum):
    """OTLP's SeverityNumber for the events of this package."""

    INFO = 9
    WARN = 13
    ERROR = 17


@dataclass(frozen=True, slots=True)
class Event:
    """One event. The same fact has the same `uid` however often it is computed, so a repeat can be recognised."""

    uid: str  # `log.record.uid`, a UUID.
    name: str  # `event_name`, such as `sla.downtime.started`.
    time_unix_nano: int  # When it happened: a minute's boundary, never the time of its detection.
    severity: Severity
    body: str  # One line for people.
    attributes: Mapping[str, str | int | float | bool]
