"""Events: what happened to an agreement, as it is published."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID, uuid5

from otel_sla.sla.agreement import Agreement
from otel_sla.sla.counts import NANOS_PER_MINUTE
from otel_sla.sla.series import Series

AttributeValue = str | int | float | bool


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
    attributes: Mapping[str, AttributeValue]


_NAMESPACE = UUID("5c9c5b3e-2f0e-5f0c-9a43-6d1d6b7f3a10")


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom events are of."""

    series: Series
    agreement: Agreement  # The series' own.


def make_id(subject: Subject, *parts: AttributeValue) -> str:
    """Give the UUID of something of this subject. Group values count as bytes: those that look alike stay apart."""
    group = [[key, value.decode("latin-1")] for key, value in subject.series.group]
    return str(uuid5(_NAMESPACE, json.dumps([subject.agreement.name, group, *parts])))


def make_event(
    subject: Subject,
    name: str,
    epoch_minute: int,
    severity: Severity,
    body: str,
    attributes: Mapping[str, AttributeValue],
) -> Event:
    """Make one event at the start of a minute; other content gives another `uid`, the same content the same."""
    content = [part for key in sorted(attributes) for part in (key, attributes[key])]
    return Event(
        uid=make_id(subject, name, epoch_minute, *content),
        name=name,
        time_unix_nano=epoch_minute * NANOS_PER_MINUTE,
        severity=severity,
        body=f"{subject.series.phrase}: {body}",
        # Ours last: a group's key that is also one of ours must not hide what the event says.
        attributes={**subject.series.group_text, "sla.agreement.name": subject.agreement.name, **attributes},
    )
