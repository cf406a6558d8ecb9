"""The same spans in any order: what there is to send of a case, what the twin counts, and what events add up to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import agreements
import naive

from otel_sla.sla.agreement import Agreement
from otel_sla.sla.events import Event

DAY = 24 * 60 * naive.NANOS_PER_MINUTE
# What a case adds to a minute that lies out of time lies 10 days back or more; such a span must stay out of time.
_NEVER_IN_TIME = 3 * DAY


@dataclass(frozen=True, slots=True, order=True)
class OneSpan:
    """A span and the resource that it is of, as bytes."""

    end: int  # ns since the Unix epoch.
    resource: bytes
    span: bytes

    @property
    def minute(self) -> int:
        """Whole minutes since the Unix epoch."""
        return self.end // naive.NANOS_PER_MINUTE


def spans_of(case: agreements.Case) -> tuple[list[OneSpan], list[OneSpan]]:
    """All different spans of a case: those that are in time at some time of it, by their end, and those that never are.

    Equal ones are one here, as whether they count once or twice is a question of how they are cut into messages.
    """
    found: set[OneSpan] = set()
    for body, _ in case.requests:
        for _, message in naive.parse_request(body):
            resource = message.resource.SerializeToString()
            for scope_spans in message.scope_spans:
                for span in scope_spans.spans:
                    found.add(OneSpan(span.end_time_unix_nano, resource, span.SerializeToString()))
    first, last = case.requests[0][1] - DAY, case.requests[-1][1] + DAY
    in_time = sorted(one for one in found if first <= one.end <= last)
    never = sorted(one for one in found if not first - _NEVER_IN_TIME <= one.end <= last)
    return in_time, never


def message_of(spans: Sequence[OneSpan]) -> bytes:
    """A ResourceSpans of spans of one resource."""
    assert len({one.resource for one in spans}) == 1, "a message has one resource"
    scope_spans = b"".join(agreements._bytes(2, one.span) for one in spans)
    return agreements._bytes(1, spans[0].resource) + agreements._bytes(2, scope_spans)


def messages_of(spans: Iterable[OneSpan]) -> list[bytes]:
    """A ResourceSpans for each resource."""
    ordered = sorted(spans, key=lambda one: one.resource)
    return [message_of(list(same)) for _, same in groupby(ordered, key=lambda one: one.resource)]


def request_of(messages: Iterable[bytes]) -> bytes:
    """The request that holds the messages in this order."""
    return b"".join(agreements._bytes(1, message) for message in messages)


class TwinCounts:
    """What the twin counts of each span by itself, by the terms when it came, added up for those that were sent."""

    def __init__(self) -> None:
        self.counted = naive.Counted()

    def add(self, spans: Iterable[OneSpan], terms: Sequence[Agreement]) -> None:
        """Spans were sent for the first time."""
        for one in spans:
            ((_, message),) = naive.parse_request(request_of([message_of([one])]))
            ((span,),) = (scope_spans.spans for scope_spans in message.scope_spans)
            naive._add(self.counted, naive._covering(span, message.resource, terms), span)


def counts_any(spans: Iterable[OneSpan], terms: Sequence[Agreement]) -> bool:
    """Whether any of the spans is a request of an agreement."""
    alone = TwinCounts()
    alone.add(spans, terms)
    return bool(alone.counted.series)


def fold(events: Iterable[Event]) -> dict[tuple[object, ...], dict[str, object]]:
    """What stands after all events (docs/events.md): periods by id, each month's last breach and last closing.

    How often the story had to be revised on the way is another one for another order, and left out.
    """
    standing: dict[tuple[object, ...], dict[str, object]] = {}
    for event in events:
        kind, _, what = event.name.rpartition(".")
        attributes = {key: value for key, value in event.attributes.items() if not key.startswith("sla.revision.")}
        of_series = frozenset((key, value) for key, value in attributes.items() if not key.startswith("sla."))
        month = (attributes["sla.agreement.name"], of_series, attributes.get("sla.month.name"))
        if kind in ("sla.downtime", "sla.excluded_downtime"):
            key: tuple[object, ...] = (attributes["sla.downtime.id"],)
        elif what in ("breached", "breach_withdrawn"):
            key = ("breach", *month)
        elif event.name == "sla.month.closed":
            key = ("closed", *month)
        else:
            continue
        if what in ("withdrawn", "breach_withdrawn"):
            standing.pop(key, None)
        else:
            standing[key] = {"name": kind, "time": event.time_unix_nano, **attributes}
    return standing
