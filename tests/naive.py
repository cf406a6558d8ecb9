"""The slow, obvious twin of everything fast: the agreement's arithmetic written down a second time.

Taken from the specification of the arithmetic clause by clause, not from the package: of `otel_sla` it uses the
agreement's values, which are its input, and nothing else. Loops, dicts, ints, Fractions and datetimes; a protobuf
object for each span; a step for each minute. Where the package and this file differ, one of them is wrong.

Time spans are `timedelta`, points in time are ns since the Unix epoch, minutes are whole ones since the epoch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from otel_sla.sla.agreement import (
    Agreement,
    CodeRule,
    Condition,
    Counting,
    ExclusionReason,
    ExclusionTerms,
    ExclusionWindow,
    NoData,
    NoStatusCode,
    Outcome,
    Scope,
    Selector,
    WhenAbsent,
)

NANOS_PER_MINUTE = 60 * 10**9
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SERVER = 2
STATUS_ERROR = 2
HAS_IS_REMOTE = 1 << 8
IS_REMOTE = 1 << 9

HTTP_STATUS_KEYS = ("http.response.status_code", "http.status_code")
GRPC_STATUS_KEYS = (
    "rpc.grpc.status_code",
    "rpc.response.status_code",
    "rpc.status_code",
    "grpc.status_code",
    "rpc.connect_rpc.error_code",
)
GRPC_NAMES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
GRPC_SERVER_FAULTS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}

PARTS_PER_REQUEST = 2**20  # Adjusted counts are whole numbers of these (clause 19).
PARTS_MAX = 2**62  # What is kept of one minute beyond its requests.

UP = "up"
DOWN = "down"
NO_DATA = "no_data"
LOW_TRAFFIC = "low_traffic"
EXCLUDED = "excluded"

Group = tuple[tuple[str, bytes], ...]
SeriesKey = tuple[str, Group]  # Agreement's name and the series' group, in the order of group_by.
MinuteCounts = dict[int, list[int]]  # Epoch minute -> [succeeded, failed, invalid], and behind them what is beside:
# Epoch minute -> [spared, sampled, thresholded] requests, and by how many parts the adjusted counts of [succeeded,
# failed, invalid] ones are more than their number.
MinuteBeside = dict[int, list[int]]
BasisCounts = dict[int, list[Fraction]]  # Epoch minute -> [succeeded, failed, invalid] requests that are judged.
States = dict[int, str]  # Epoch minute -> state.
Attributes = dict[bytes, Any]  # Key -> AnyValue.


# The wire, with bytes where OTLP has strings


def _message_classes() -> tuple[Any, Any]:
    """OTLP's request and ResourceSpans, built anew from their descriptors with two changes.

    Text is bytes, because a value that is no UTF-8 is still a value; and the request's ResourceSpans are bytes too,
    because a repetition is one of bytes.
    """
    pool = descriptor_pool.DescriptorPool()
    for module in (common_pb2, resource_pb2, trace_pb2, trace_service_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        waiting = list(file.message_type)
        while waiting:
            message = waiting.pop()
            waiting.extend(message.nested_type)
            for entry in message.field:
                if entry.type == entry.TYPE_STRING:
                    entry.type = entry.TYPE_BYTES
                if message.name == "ExportTraceServiceRequest" and entry.name == "resource_spans":
                    entry.type = entry.TYPE_BYTES
                    entry.ClearField("type_name")
        pool.Add(file)
    names = ("collector.trace.v1.ExportTraceServiceRequest", "trace.v1.ResourceSpans")
    request, resource_spans = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"opentelemetry.proto.{name}")) for name in names
    )
    return request, resource_spans


_Request, _ResourceSpans = _message_classes()


def parse_request(body: bytes) -> list[tuple[bytes, Any]]:
    """Each ResourceSpans of a request, as its bytes and as an object whose texts are bytes; DecodeError as protobuf."""
    request = _Request.FromString(body)
    return [(raw, _ResourceSpans.FromString(raw)) for raw in request.resource_spans]


# Clauses 1 to 4: from span to request


def attributes_of(key_values: Any) -> Attributes:  # noqa: ANN401  a repeated KeyValue
    """The attributes by key; of two with one key the last counts (clause 3)."""
    found: Attributes = {}
    for key_value in key_values:
        found[key_value.key] = key_value.value
    return found


def attribute_text(value: Any) -> bytes | None:  # noqa: ANN401  an AnyValue
    """The text that a value compares by, None if it counts as absent (clause 3)."""
    which = None if value is None else value.WhichOneof("value")
    if which == "string_value":
        return bytes(value.string_value)
    if which == "bool_value":
        return b"true" if value.bool_value else b"false"
    if which == "int_value":
        return str(value.int_value).encode()
    if which == "double_value":
        return repr(value.double_value).encode()
    return None


def matches(pattern: str, text: bytes) -> bool:
    """Whether the glob covers the whole value: `*` any run of characters, `?` one character, all else itself."""
    return _glob(pattern, text.decode("utf-8", errors="surrogateescape"))


def _glob(pattern: str, text: str) -> bool:
    reached = {0}  # Positions in text that the pattern so far can have come to.
    for sign in pattern:
        if sign == "*":
            reached = set(range(min(reached), len(text) + 1)) if reached else set()
        else:
            reached = {at + 1 for at in reached if at < len(text) and sign in ("?", text[at])}
    return len(text) in reached


def condition_holds(condition: Condition, span: Attributes, resource: Attributes) -> bool:
    """Whether the attribute is there and any of the patterns matches it."""
    attributes = resource if condition.scope is Scope.RESOURCE else span
    text = attribute_text(attributes.get(condition.key.encode()))
    return text is not None and any(matches(pattern, text) for pattern in condition.patterns)


def selector_holds(selector: Selector, span: Attributes, resource: Attributes) -> bool:
    """Whether every condition holds."""
    return all(condition_holds(condition, span, resource) for condition in selector)


def _digits(text: bytes) -> int | None:
    """The number that a string of ASCII digits writes, None for any other text."""
    if not text or any(byte not in b"0123456789" for byte in text):
        return None
    number = 0
    for byte in text[-30:]:
        number = number * 10 + byte - ord("0")
    return number if not text[:-30].strip(b"0") else 10**30


def _whole_number(value: Any) -> int | None:  # noqa: ANN401  an AnyValue
    """The number of an int, of a double without a fraction or of a string of ASCII digits."""
    which = None if value is None else value.WhichOneof("value")
    if which == "int_value":
        return int(value.int_value)
    if which == "double_value" and math.isfinite(value.double_value) and value.double_value == int(value.double_value):
        return int(value.double_value)
    if which == "string_value":
        return _digits(value.string_value)
    return None


def http_status(value: Any) -> int | None:  # noqa: ANN401  an AnyValue
    """The HTTP status that a value is, None if it is unusable (clause 4)."""
    number = _whole_number(value)
    return number if number is not None and 100 <= number <= 599 else None


def grpc_status(value: Any) -> str | None:  # noqa: ANN401  an AnyValue
    """The name of the gRPC code that a value is, None if it is unusable (clause 4)."""
    number = _whole_number(value)
    if number is not None:
        return GRPC_NAMES[number] if 0 <= number <= 16 else None
    if value is not None and value.WhichOneof("value") == "string_value":
        text = value.string_value.decode("latin-1")  # No letter beyond ASCII is an ASCII one in another case.
        for name in (*GRPC_NAMES, "CANCELED"):
            if text.lower() in (name.lower(), name.replace("_", "").lower()):
                return "CANCELLED" if name == "CANCELED" else name
    return None


def http_status_of(span: Attributes) -> int | None:
    """The first usable HTTP status of the span (clause 4)."""
    found = [http_status(span.get(key.encode())) for key in HTTP_STATUS_KEYS]
    return next((status for status in found if status is not None), None)


def grpc_status_of(span: Attributes) -> str | None:
    """The name of the first usable gRPC status of the span (clause 4)."""
    found = [grpc_status(span.get(key.encode())) for key in GRPC_STATUS_KEYS]
    return next((status for status in found if status is not None), None)


def unusable_statuses(span: Attributes) -> list[str]:
    """The status keys that are there with a value that is none (clause 4)."""
    found = [key for key in HTTP_STATUS_KEYS if key.encode() in span and http_status(span[key.encode()]) is None]
    return found + [key for key in GRPC_STATUS_KEYS if key.encode() in span and grpc_status(span[key.encode()]) is None]


def threshold_of(span: Any) -> int | bool | None:  # noqa: ANN401  Span
    """T of the span's tracestate; None: there is none; False: it is unusable (clause 19)."""
    for member in span.trace_state.split(b","):
        member = member.strip(b" \t")  # noqa: PLW2901  what is left of it
        if not member.startswith(b"ot="):
            continue
        for field_ in member[len(b"ot=") :].split(b";"):
            if field_.startswith(b"th:"):
                digits = field_[len(b"th:") :]
                if not 1 <= len(digits) <= 14 or any(byte not in b"0123456789abcdefABCDEF" for byte in digits):
                    return False
                return int(digits + b"0" * (14 - len(digits)), 16)
        return None
    return None


def excess_parts(threshold: int) -> int:
    """By how much the span stands for more than itself, in parts of a request, rounded half up (clause 19)."""
    adjusted = Fraction(2**56, 2**56 - threshold) * PARTS_PER_REQUEST
    return min(math.floor(adjusted + Fraction(1, 2)) - PARTS_PER_REQUEST, PARTS_MAX)


def _has_failing_code(code: CodeRule | None, span: Attributes) -> bool:
    if code is None:
        return True
    text = attribute_text(span.get(code.attribute.encode()))
    if text is None:
        return code.when_absent is WhenAbsent.FAILED
    return any(text == value.encode() for value in code.values)


def outcome_of(span: Any, resource: Any, agreement: Agreement) -> Outcome | None:  # noqa: ANN401  Span, Resource
    """What became of the request that the span shows, None if it is none that the agreement covers (1, 3, 4)."""
    of_span = attributes_of(span.attributes)
    of_resource = attributes_of(resource.attributes)
    if span.kind != SERVER:
        return None
    is_parent_local = bool(span.flags & HAS_IS_REMOTE) and not span.flags & IS_REMOTE
    if agreement.entry_spans_only and any(span.parent_span_id) and is_parent_local:
        return None
    if not selector_holds(agreement.covered_service, of_span, of_resource):
        return None
    ways = agreement.covered_any or ((),)
    if not any(selector_holds(selector, of_span, of_resource) for selector in ways):
        return None
    return _covered_outcome(span, of_span, of_resource, agreement)


def is_spared(span: Any, resource: Any, agreement: Agreement) -> bool:  # noqa: ANN401  Span, Resource
    """Whether a covered request has a failing HTTP status that only its code spares (clause 4)."""
    of_span = attributes_of(span.attributes)
    of_resource = attributes_of(resource.attributes)
    if any(selector_holds(selector, of_span, of_resource) for selector in (*agreement.invalid, *agreement.failed)):
        return False
    http = http_status_of(of_span)
    return http in agreement.failed_http_status and not _has_failing_code(agreement.code, of_span)


def _covered_outcome(  # noqa: C901, PLR0911  one return for each rule reads best
    span: Any,  # noqa: ANN401  Span
    of_span: Attributes,
    of_resource: Attributes,
    agreement: Agreement,
) -> Outcome:
    if any(selector_holds(selector, of_span, of_resource) for selector in agreement.invalid):
        return Outcome.INVALID  # Rule 1.
    if any(selector_holds(selector, of_span, of_resource) for selector in agreement.failed):
        return Outcome.FAILED  # Rule 2.
    http = http_status_of(of_span)
    if http is not None and 400 <= http <= 499:
        return Outcome.INVALID  # Rule 3.
    if http is not None and http >= 500:
        if http in agreement.failed_http_status and _has_failing_code(agreement.code, of_span):
            return Outcome.FAILED  # Rule 4.
        return Outcome.SUCCEEDED  # Rule 5.
    grpc = grpc_status_of(of_span)
    if grpc == "OK":
        return Outcome.SUCCEEDED  # Rule 6.
    if grpc in {GRPC_NAMES[code] for code in agreement.failed_grpc_status}:
        return Outcome.FAILED  # Rule 7.
    if grpc in GRPC_SERVER_FAULTS:
        return Outcome.SUCCEEDED  # Rule 8.
    if grpc is not None:
        return Outcome.INVALID  # Rule 9.
    if http is not None:
        return Outcome.SUCCEEDED  # Rule 10.
    return _without_status(span, of_span, agreement)  # Rule 11.


def _without_status(span: Any, of_span: Attributes, agreement: Agreement) -> Outcome:  # noqa: ANN401  Span
    if agreement.no_status_code is NoStatusCode.INVALID:
        return Outcome.INVALID
    has_error = span.status.code == STATUS_ERROR or attribute_text(of_span.get(b"error.type")) is not None
    if agreement.no_status_code is NoStatusCode.SPAN_STATUS and has_error:
        return Outcome.FAILED
    return Outcome.SUCCEEDED


def group_of(span: Any, resource: Any, agreement: Agreement) -> Group:  # noqa: ANN401  Span, Resource
    """The series of the request: of each key the resource's value, else the span's, else the empty one."""
    of_span = attributes_of(span.attributes)
    of_resource = attributes_of(resource.attributes)
    group = []
    for key in agreement.group_by:
        text = attribute_text(of_resource.get(key.encode()))
        if text is None:
            text = attribute_text(of_span.get(key.encode()))
        group.append((key, b"" if text is None else text))
    return tuple(group)


# Clauses 2, 16 and 18: counting


@dataclass
class Counted:
    """All that was counted, and what each request's sender is told."""

    series: dict[SeriesKey, MinuteCounts] = field(default_factory=dict)
    beside: dict[SeriesKey, MinuteBeside] = field(default_factory=dict)  # Where anything of it is not 0.
    unusable_status: dict[str, int] = field(default_factory=dict)  # By key, spans.
    unusable_threshold: int = 0  # Spans.
    unknown_parent: int = 0  # Spans of agreements with entry_spans_only.
    sampled: int = 0  # Spans.
    late: int = 0
    future: int = 0
    malformed: int = 0
    rejected: list[int | None] = field(default_factory=list)  # Spans per request; None: it could not be decoded.

    @property
    def whole(self) -> dict[SeriesKey, MinuteCounts]:
        """The counts with what is beside them, as `report` takes them."""
        return {
            key: {minute: [*row, *self.beside.get(key, {}).get(minute, [0] * 6)] for minute, row in minutes.items()}
            for key, minutes in self.series.items()
        }

    @property
    def rejected_total(self) -> int:
        """Rejected spans of all requests."""
        return self.late + self.future + self.malformed


def nanos(span: timedelta) -> int:
    """A time span in whole ns, exactly."""
    return (span // timedelta(microseconds=1)) * 1000


def unix_nano(moment: datetime) -> int:
    """An aware point in time in ns since the Unix epoch, exactly."""
    return nanos(moment - EPOCH)


def count(
    requests: Sequence[tuple[bytes, int]],
    agreements: Sequence[Agreement],
    *,
    late_spans_max: timedelta,
    future_spans_max: timedelta,
) -> Counted:
    """Counts requests, each its bytes and its arrival in ns since the Unix epoch, in the order of arrival.

    A request that protobuf does not read counts nothing. A ResourceSpans whose bytes were there before counts nothing
    either, but its spans that are out of time are still told to the sender.
    """
    counted = Counted()
    seen: set[bytes] = set()
    for body, now in requests:
        try:
            parsed = parse_request(body)
        except DecodeError:
            counted.rejected.append(None)
            continue
        before = counted.rejected_total
        for raw, resource_spans in parsed:
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    covering = _covering(span, resource_spans.resource, agreements)
                    if not covering or _is_rejected(span, now, late_spans_max, future_spans_max, counted):
                        continue
                    if raw not in seen:
                        _add(counted, covering, span)
                        _note(counted, span, [a for a in agreements if a.name in {key[0] for key, _, _ in covering}])
            seen.add(raw)
        counted.rejected.append(counted.rejected_total - before)
    return counted


def _covering(
    span: Any,  # noqa: ANN401  Span
    resource: Any,  # noqa: ANN401  Resource
    agreements: Sequence[Agreement],
) -> list[tuple[SeriesKey, Outcome, bool]]:
    found = []
    for agreement in agreements:
        outcome = outcome_of(span, resource, agreement)
        if outcome is not None:
            key = agreement.name, group_of(span, resource, agreement)
            found.append((key, outcome, is_spared(span, resource, agreement)))
    return found


def _is_rejected(
    span: Any,  # noqa: ANN401  Span
    now: int,
    late_spans_max: timedelta,
    future_spans_max: timedelta,
    counted: Counted,
) -> bool:
    end = span.end_time_unix_nano
    minute_stop = (end // NANOS_PER_MINUTE + 1) * NANOS_PER_MINUTE
    if end == 0:
        counted.malformed += 1
    elif now >= minute_stop + nanos(late_spans_max):
        counted.late += 1
    elif end > now + nanos(future_spans_max):
        counted.future += 1
    else:
        return False
    return True


def _add(counted: Counted, covering: list[tuple[SeriesKey, Outcome, bool]], span: Any) -> None:  # noqa: ANN401  Span
    minute = span.end_time_unix_nano // NANOS_PER_MINUTE
    threshold = threshold_of(span)
    for key, outcome, spared in covering:
        counted.series.setdefault(key, {}).setdefault(minute, [0, 0, 0])[outcome] += 1
        more = [int(spared), 0, 0, 0, 0, 0]
        if threshold is not None and threshold is not False:
            more[1], more[2], more[3 + outcome] = int(threshold > 0), 1, excess_parts(threshold)
        if any(more):
            held = counted.beside.setdefault(key, {}).setdefault(minute, [0] * 6)
            held[:] = [min(a + b, PARTS_MAX) for a, b in zip(held, more, strict=True)]


def _note(counted: Counted, span: Any, agreements: Sequence[Agreement]) -> None:  # noqa: ANN401  Span
    for key in unusable_statuses(attributes_of(span.attributes)):
        counted.unusable_status[key] = counted.unusable_status.get(key, 0) + 1
    threshold = threshold_of(span)
    counted.unusable_threshold += threshold is False
    counted.sampled += threshold is not None and threshold is not False and threshold > 0
    is_unknown = any(span.parent_span_id) and not span.flags & HAS_IS_REMOTE
    counted.unknown_parent += is_unknown and any(agreement.entry_spans_only for agreement in agreements)


# Clauses 5 to 7: states and downtime periods


def basis_of(counts: MinuteCounts, agreement: Agreement) -> BasisCounts:
    """What the agreement is judged on (clause 19): each span as one request, or as those that it stands for."""
    is_adjusted = agreement.counting is Counting.ADJUSTED
    return {
        minute: [
            requests + Fraction(excess if is_adjusted else 0, 2**20)
            for requests, excess in zip(row[:3], row[6:9] or (0, 0, 0), strict=True)
        ]
        for minute, row in counts.items()
    }


def _valid(counts: MinuteCounts | BasisCounts, minute: int) -> Fraction | int:
    row = counts.get(minute)
    return row[0] + row[1] if row else 0


def first_data_minute(counts: MinuteCounts | BasisCounts) -> int | None:
    """The first minute with a valid request."""
    return min((minute for minute in counts if _valid(counts, minute)), default=None)


def unfiltered_states(
    counts: MinuteCounts | BasisCounts,
    agreement: Agreement,
    start: int,
    stop: int,
    *,
    excluded: frozenset[int] = frozenset(),
    retired: int | None = None,
) -> States:
    """Each minute's state before clause 7; looks back before `start` as `carry` needs it.

    An excluded minute judges nothing that could be carried. Silence from `retired` on is nobody's any more.
    """
    terms = agreement.downtime
    states = {minute: EXCLUDED if minute in excluded else NO_DATA for minute in range(start, stop)}
    first = first_data_minute(counts)
    if first is None:
        return states
    is_silence_up = terms.no_data is NoData.UP  # Then there is nothing to be seen in silent minutes.
    last_judged = UP
    for minute in sorted(counts) if is_silence_up else range(first, stop):
        valid = _valid(counts, minute)
        if minute in excluded or minute >= stop:
            continue
        if valid == 0:
            state = NO_DATA
            if retired is None or minute < retired:
                is_carried_down = terms.no_data is NoData.CARRY and last_judged == DOWN
                if terms.no_data is NoData.DOWN or is_carried_down:
                    state = DOWN
        elif valid < terms.valid_requests_min:
            state = LOW_TRAFFIC
        else:
            is_above = Fraction(counts[minute][1]) / valid > terms.error_rate_above
            last_judged = state = DOWN if is_above else UP
        if minute >= start:
            states[minute] = state
    return states


def without_short_runs(states: States, period_minutes_min: int) -> States:
    """Clause 7: the minutes of a run of `down` shorter than the minimum count as `up`."""
    filtered = dict(states)
    for start, stop in _runs(states) if period_minutes_min > 1 else ():
        if stop - start < period_minutes_min:
            for minute in range(start, stop):
                filtered[minute] = UP
    return filtered


def _runs(states: States) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for minute in sorted(minute for minute, state in states.items() if state == DOWN):
        if runs and runs[-1][1] == minute:
            runs[-1] = (runs[-1][0], minute + 1)
        else:
            runs.append((minute, minute + 1))
    return runs


def periods(states: States) -> list[tuple[int, int]]:
    """The downtime periods, [start, stop) in minutes, of states that clause 7 was applied to."""
    return _runs(states)


# Clauses 12 to 15: exclusions


def is_accepted(window: ExclusionWindow, terms: ExclusionTerms, time_zone: str) -> bool:
    """Whether the window excludes at all: scheduled maintenance needs its notice (clause 14)."""
    if window.reason is not ExclusionReason.SCHEDULED_MAINTENANCE:
        return True
    if window.announced_at is None:
        return False
    zone = ZoneInfo(time_zone)
    latest = window.start.astimezone(zone).date()
    while not _is_business_day(latest, terms):
        latest -= timedelta(days=1)
    for _ in range(terms.notice_business_days_min):
        latest -= timedelta(days=1)
        while not _is_business_day(latest, terms):
            latest -= timedelta(days=1)
    return window.announced_at.astimezone(zone).date() <= latest


def _is_business_day(day: date, terms: ExclusionTerms) -> bool:
    return day.weekday() < 5 and day not in terms.holidays


def is_in_scope(window: ExclusionWindow, group: Group) -> bool:
    """Whether the window is meant for the series: for all of the agreement, or for just this group."""
    return window.group is None or dict(window.group) == group_text(group)


def group_text(group: Group) -> dict[str, str]:
    """The group for people."""
    return {key: value.decode("utf-8", errors="backslashreplace") for key, value in group}


def covered(window: ExclusionWindow) -> range:
    """The minutes that the window covers whole (clause 13): from the first that starts in it to the last that ends."""
    start, stop = unix_nano(window.start), unix_nano(window.stop)
    first = start // NANOS_PER_MINUTE
    while first * NANOS_PER_MINUTE < start:
        first += 1
    return range(first, stop // NANOS_PER_MINUTE)


def windows_of(agreement: Agreement, group: Group, recorded: tuple[ExclusionWindow, ...] = ()) -> list[ExclusionWindow]:
    """The windows meant for a series, of the configuration and recorded ones, accepted or not."""
    return [window for window in (*agreement.exclusions.windows, *recorded) if is_in_scope(window, group)]


def states(
    counts: MinuteCounts | BasisCounts,
    agreement: Agreement,
    windows: list[ExclusionWindow],
    start: int,
    stop: int,
    retired: int | None = None,
) -> tuple[States, States]:
    """The states of a series minute by minute, raw and after exclusions, clause 7 applied to each by itself.

    A run is only known in full where `start` and `stop` do not cut it: the caller chooses them wide enough.
    """
    raw = unfiltered_states(counts, agreement, start, stop, retired=retired)
    accepted = [window for window in windows if is_accepted(window, agreement.exclusions, agreement.time_zone)]
    excluded = frozenset[int]().union(*(covered(window) for window in accepted))
    adjusted = raw
    if excluded and agreement.outcome_rules == 1:  # Clause 6 before it was amended: it was carried as what it is raw.
        adjusted = {minute: EXCLUDED if minute in excluded else state for minute, state in raw.items()}
    elif excluded:
        adjusted = unfiltered_states(counts, agreement, start, stop, excluded=excluded, retired=retired)
        for minute, state in adjusted.items():
            if state == DOWN and raw[minute] != DOWN:
                adjusted[minute] = NO_DATA  # An exclusion makes nothing down.
    period_minutes_min = agreement.downtime.period_minutes_min
    return without_short_runs(raw, period_minutes_min), without_short_runs(adjusted, period_minutes_min)


# Clauses 8 to 11: the month


@cache
def month_minutes(month: str, time_zone: str) -> range:
    """The minutes of the calendar month `YYYY-MM` in the time zone: from its first local minute to the next month's."""
    year, number = (int(part) for part in month.split("-"))
    following = (year + number // 12, number % 12 + 1)
    return range(_first_minute((year, number), time_zone), _first_minute(following, time_zone))


def _first_minute(month: tuple[int, int], time_zone: str) -> int:
    """Steps through real minutes until the local date is in the month; no zone is a day away from UTC."""
    zone = ZoneInfo(time_zone)
    moment = datetime(*month, 1, tzinfo=UTC) - timedelta(days=1)
    while (moment.astimezone(zone).year, moment.astimezone(zone).month) != month:
        moment += timedelta(minutes=1)
    return unix_nano(moment) // NANOS_PER_MINUTE


def elapsed_stop(now: int, grace: timedelta) -> int:
    """The first minute that has not elapsed (clause 17), for `now` in ns since the Unix epoch."""
    return (now - nanos(grace)) // NANOS_PER_MINUTE


def is_breached(down: int, total: int, target: Fraction) -> bool:
    """Whether so many minutes of downtime break the promise (clause 9)."""
    return Fraction(total - down, total) < target


@cache
def minutes_allowed(total: int, target: Fraction) -> int:
    """The most minutes of downtime that a month of `total` minutes bears."""
    down = 0
    while not is_breached(down + 1, total, target) and down < total:
        down += 1
    return down


def truncated(ratio: Fraction) -> str:
    """A ratio as a decimal of 8 places, never rounded up (clause 11)."""
    hundred_millionths = ratio.numerator * 10**8 // ratio.denominator
    return f"{hundred_millionths // 10**8}.{hundred_millionths % 10**8:08d}"


def exact_decimal(ratio: Fraction) -> str:
    """A ratio that the agreement states, as it is: all its places and no more."""
    places = 0
    while (ratio * 10**places).denominator != 1:
        places += 1
        if places > 30:
            return truncated(ratio)
    digits = str(int(ratio * 10**places)).rjust(places + 1, "0")
    return f"{digits[:-places]}.{digits[-places:]}" if places else digits


def iso(minute: int) -> str:
    """The start of a minute as ISO 8601 in UTC."""
    return iso_moment(EPOCH + timedelta(minutes=minute))


def iso_moment(moment: datetime) -> str:
    """A point in time as ISO 8601 in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def report(
    month: str,
    agreements: Sequence[Agreement],
    series: dict[SeriesKey, MinuteCounts],
    *,
    now: int,
    grace: timedelta,
    recorded: dict[str, tuple[ExclusionWindow, ...]] | None = None,
    removed: Sequence[Agreement] = (),
    retired: dict[SeriesKey, int] | None = None,
) -> dict[str, Any]:
    """The month's report, `otel-sla.report/v1`, as it is at `now` (ns since the Unix epoch).

    `recorded` holds windows beyond those of the configuration, by the agreement's name. `removed` are agreements that
    are no longer configured, by their last terms. `retired` says of series that nothing is counted for from when on.
    """
    sections = [
        {
            "configured": agreement not in removed,
            **_agreement_report(
                month,
                agreement,
                {key: counts for key, counts in series.items() if key[0] == agreement.name},
                elapsed_stop(now, grace),
                (recorded or {}).get(agreement.name, ()),
                retired or {},
            ),
        }
        for agreement in (*agreements, *removed)
    ]
    return {
        "schema": "otel-sla.report/v1",
        "month": month,
        "generated_at": iso_moment(EPOCH + timedelta(seconds=now // 10**9)),
        "agreements": [section for section in sections if section["configured"] or section["series"]],
    }


def _agreement_report(
    month: str,
    agreement: Agreement,
    series: dict[SeriesKey, MinuteCounts],
    elapsed: int,
    recorded: tuple[ExclusionWindow, ...],
    retired: dict[SeriesKey, int],
) -> dict[str, Any]:
    minutes = month_minutes(month, agreement.time_zone)
    listed = []
    for (name, group), counts in sorted(series.items(), key=lambda item: item[0][1]):
        until = retired.get((name, group))
        if is_in_month(counts, agreement, minutes, elapsed, until):
            windows = windows_of(agreement, group, recorded)
            found = series_report(counts, agreement, group, minutes, elapsed, windows, retired=until)
            listed.append({"former": tuple(key for key, _ in group) != agreement.group_by, **found})
    return {
        "name": agreement.name,
        "breached": any(entry["breached"] for entry in listed),
        "time_zone": agreement.time_zone,
        "target": exact_decimal(agreement.target),
        "error_rate_above": exact_decimal(agreement.downtime.error_rate_above),
        "counting": "adjusted" if agreement.counting is Counting.ADJUSTED else "requests",
        "start": iso(minutes.start),
        "stop": iso(minutes.stop),
        "series": listed,
    }


def is_in_month(
    counts: MinuteCounts, agreement: Agreement, minutes: range, elapsed: int, retired: int | None = None
) -> bool:
    """Whether a month's report names the series: it has counts in it, or its silence is judged."""
    stop = max(minutes.start, min(minutes.stop, elapsed))  # The end of the month's elapsed part, be that empty.
    if any(minutes.start <= minute < stop for minute in counts):
        return True
    first = first_data_minute(counts)
    is_counted_for = retired is None or retired > minutes.start
    return agreement.downtime.no_data is not NoData.UP and first is not None and first < stop and is_counted_for


def series_report(
    counts: MinuteCounts,
    agreement: Agreement,
    group: Group,
    minutes: range,
    elapsed: int,
    windows: list[ExclusionWindow],
    *,
    retired: int | None = None,
) -> dict[str, Any]:
    """One series of the report. States are taken from the first count to the last elapsed minute: no run is cut."""
    begin = min([minutes.start, *counts])
    judged = basis_of(counts, agreement)
    raw, adjusted = states(judged, agreement, windows, begin, max(elapsed, begin), retired)
    in_month = range(minutes.start, max(minutes.start, min(minutes.stop, elapsed)))
    seen = [adjusted[minute] for minute in in_month]
    total, down = len(minutes), seen.count(DOWN)
    down_raw = [raw[minute] for minute in in_month].count(DOWN)
    counted = [minute for minute in counts if minute in in_month]
    with_data = sum(_valid(counts, minute) > 0 for minute in counted)
    return {
        "group": group_text(group),
        "minutes": {
            "total": total,
            "elapsed": len(in_month),
            **{state: seen.count(state) for state in (UP, DOWN, EXCLUDED, LOW_TRAFFIC, NO_DATA)},
        },
        **_requests_report([judged[minute] for minute in counted], [counts[minute] for minute in counted], agreement),
        "monthly_uptime": truncated(Fraction(total - down, total)),
        "monthly_uptime_raw": truncated(Fraction(total - down_raw, total)),
        "elapsed_uptime": truncated(Fraction(len(in_month) - down, len(in_month))) if in_month else None,
        "coverage": truncated(Fraction(with_data, len(in_month))) if in_month else None,
        "downtime_minutes_allowed": minutes_allowed(total, agreement.target),
        "breached": is_breached(down, total, agreement.target),
        "downtime_periods": [
            _period_report(start, stop, judged, adjusted, minutes)
            for start, stop in periods(raw)
            if start < minutes.stop and stop > minutes.start
        ],
        "exclusions": _exclusion_reports(windows, agreement, raw, adjusted, minutes, in_month),
    }


def _requests_report(judged: list[list[Fraction]], rows: list[list[int]], agreement: Agreement) -> dict[str, Any]:
    """What was counted in the month, cut off to whole requests, and what of it clauses 4 and 19 want to be told."""
    valid = sum((row[0] + row[1] for row in judged), Fraction(0))
    failed, invalid = (sum((row[at] for row in judged), Fraction(0)) for at in (1, 2))
    beside = [row[3:6] or [0, 0, 0] for row in rows]
    spans = sum(sum(row[:3]) for row in rows)
    spared, sampled, thresholded = (sum(row[at] for row in beside) for at in range(3))
    exact = {"valid": exact_decimal(valid), "failed": exact_decimal(failed), "invalid": exact_decimal(invalid)}
    return {
        "requests": {
            "valid": int(valid),
            "failed": int(failed),
            "invalid": int(invalid),
            "spared": spared,
            "sampled": sampled,
            "unthresholded": spans - thresholded,
            "spans": spans,
        },
        **({"requests_adjusted": exact} if agreement.counting is Counting.ADJUSTED else {}),
        "sampled_share": truncated(Fraction(sampled, spans)) if spans else None,
    }


def _period_report(start: int, stop: int, counts: BasisCounts, adjusted: States, minutes: range) -> dict[str, Any]:
    return {
        "start": iso(start),
        "stop": iso(stop),
        "minutes": stop - start,
        "minutes_in_month": sum(minute in minutes for minute in range(start, stop)),
        "excluded_minutes": sum(adjusted[minute] == EXCLUDED for minute in range(start, stop)),
        "valid": int(sum(_valid(counts, minute) for minute in range(start, stop))),
        "failed": int(sum(counts[minute][1] for minute in range(start, stop) if minute in counts)),
    }


def _exclusion_reports(
    windows: list[ExclusionWindow],
    agreement: Agreement,
    raw: States,
    adjusted: States,
    minutes: range,
    in_month: range,
) -> list[dict[str, Any]]:
    """The windows that touch the month, in time order; a minute that several saved counts for the first of them."""
    found = []
    left = {minute for minute in in_month if raw[minute] == DOWN and adjusted[minute] == EXCLUDED}
    for window in sorted(
        windows, key=lambda window: (unix_nano(window.start), unix_nano(window.stop), window.reason.value)
    ):
        if (
            unix_nano(window.start) >= minutes.stop * NANOS_PER_MINUTE
            or unix_nano(window.stop) <= minutes.start * NANOS_PER_MINUTE
        ):
            continue
        accepted = is_accepted(window, agreement.exclusions, agreement.time_zone)
        saved = {minute for minute in covered(window) if minute in left} if accepted else set()
        left -= saved
        found.append(
            {
                "reason": window.reason.value,
                "start": iso_moment(window.start),
                "stop": iso_moment(window.stop),
                "accepted": accepted,
                "minutes_saved": len(saved),
            }
        )
    return found


# Clause 22: who counted what


def counts_alike(one: Agreement, other: Agreement) -> bool:
    """Whether two versions of an agreement's terms make the same of every span, however that is judged."""
    names = (
        *("covered_service", "covered_any", "entry_spans_only", "group_by", "invalid", "failed", "no_status_code"),
        *("failed_http_status", "failed_grpc_status", "code", "outcome_rules"),
    )
    return all(getattr(one, name) == getattr(other, name) for name in names)


def counted_by(versions: Sequence[tuple[Agreement, set[int]]], minutes: range) -> list[dict[str, Any]]:
    """Which versions counted what of a month; each, from the first on, with the minutes that it counted anything of.

    It is kept from when to when of each day in UTC; that is cut to the month. Neighbours that count alike are the last.
    """
    told: list[tuple[int, int, int]] = []  # First minute, version, last minute.
    for version, (_, counted) in enumerate(versions, start=1):
        days: dict[int, list[int]] = {}
        for minute in counted:
            days.setdefault(minute // 1440, []).append(minute)
        cut = [minute for day in days.values() for minute in range(min(day), max(day) + 1) if minute in minutes]
        if cut:
            told.append((min(cut), version, max(cut)))
    found: list[list[int]] = []
    for first, version, last in sorted(told):
        if found and counts_alike(versions[found[-1][1] - 1][0], versions[version - 1][0]):
            found[-1][1:] = [max(found[-1][1], version), max(found[-1][2], last)]
        else:
            found.append([first, version, last])
    return [{"version": version, "start": iso(first), "stop": iso(last + 1)} for first, version, last in found]


# Comparing


def differences(expected: Any, actual: Any, where: str = "report") -> list[str]:  # noqa: ANN401  JSON values
    """Every place where the package's report is not the twin's; keys that the twin does not know are passed over."""
    if where.endswith(".group"):
        return [] if expected == actual else [f"{where}: expected {expected!r}, not {actual!r}"]
    if isinstance(expected, dict) and isinstance(actual, dict):
        return [
            difference
            for key, value in expected.items()
            for difference in differences(value, actual.get(key, "<missing>"), f"{where}.{key}")
        ]
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        return [
            difference
            for index, (left, right) in enumerate(zip(expected, actual, strict=True))
            for difference in differences(left, right, f"{where}[{index}]")
        ]
    is_same = expected == actual and type(expected) is type(actual)
    return [] if is_same else [f"{where}: expected {expected!r}, not {actual!r}"]
