"""Random agreements and the random traffic that is judged by them, for comparing the package with `naive`.

Everything is drawn from one seed and one given present: the same case on every machine and in every run. The draws
lean towards what goes wrong: counts at the very limit, values that are almost status codes, minutes at the edge of a
month, attributes with the right name in the wrong place.
"""

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

from naive import EPOCH, NANOS_PER_MINUTE, unix_nano

from otel_sla.sla.agreement import (
    SERVER_FAULT_GRPC_STATUS,
    Agreement,
    CodeRule,
    Condition,
    Counting,
    DowntimeTerms,
    ExclusionReason,
    ExclusionTerms,
    ExclusionWindow,
    NoData,
    NoStatusCode,
    Scope,
    Selector,
    WhenAbsent,
)

TIME_ZONES = (
    "UTC",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Europe/Berlin",
)
# Ends of months, clock changes among them; a case plays around one of them.
PRESENTS = (
    datetime(2026, 10, 1, 12, 30, tzinfo=UTC),
    datetime(2026, 10, 25, 3, 10, tzinfo=UTC),
    datetime(2026, 11, 1, 7, 15, 30, tzinfo=UTC),
    datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC),
    datetime(2028, 2, 29, 20, 0, tzinfo=UTC),
    datetime(2027, 4, 4, 1, 0, tzinfo=UTC),
)

TEXTS = (
    *("chat-1", "chat-2", "Chat-1", "chat-", "chat", "tools", ""),
    *("443", "true", "0.5", "[a-c]", "a*b", "a\nb", "wörld"),
)
PATTERNS = (
    *TEXTS,
    *("chat-*", "*", "?hat-1", "c*t-?", "*-*", "**", "?", "[a-c]", "a?b", "w?rld", "*1*"),
    *("4?3", "tr?e", "*.5", "chat-??"),
)
RESOURCE_KEYS = ("service.name", "deployment.environment.name", "server.port", "ratio")
SPAN_KEYS = ("http.route", "server.port", "is.beta", "ratio", "service.name", "enduser.tier")
GROUP_KEYS = ("service.name", "http.route", "server.port", "ratio", "is.beta", "never.there")
STATUS_KEYS = ("http.response.status_code", "http.status_code")
RPC_KEYS = (
    *("rpc.grpc.status_code", "rpc.response.status_code", "rpc.status_code", "grpc.status_code"),
    "rpc.connect_rpc.error_code",
)
TRACE_STATES = (
    *(b"ot=th:0", b"ot=th:8", b"ot=th:8", b"ot=th:f", b"ot=th:fd70a3d70a3d71", b"ot=rv:abc;th:c", b"v=1, ot=th:F0"),
    *(
        b"ot=th:ffffffffffffff",
        b"ot=th:ffffffffffffe",
        b"ot=th:",
        b"ot=th:0123456789abcdef",
        b"ot=th:x",
        b"ot=rv:1",
        b"v=1",
    ),
)
CODE_KEYS = ("error.type", "app.code")


class Unset:
    """An AnyValue without a value in it."""


# Key and value: text as str, or as bytes where it need not be UTF-8; a scalar; a list, a dict, RawBytes or Unset.
Attribute = tuple[str, Any]


@dataclass(frozen=True, slots=True)
class RawBytes:
    """A value of OTLP's `bytes` kind, apart from text that is given as bytes."""

    value: bytes


# Writing OTLP by hand: protobuf's own writer makes neither text that is no UTF-8 nor fields in another order


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _fixed64(field: int, number: int) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<Q", number)


def _fixed32(field: int, number: int) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<I", number)


def _any_value(value: Any) -> bytes:  # noqa: ANN401, PLR0911  see Attribute; one return for each kind of value
    if isinstance(value, Unset):
        return b""
    if isinstance(value, str):
        return _bytes(1, value.encode())
    if isinstance(value, bytes):
        return _bytes(1, value)
    if isinstance(value, bool):
        return _number(2, int(value))
    if isinstance(value, int):
        return _number(3, value)
    if isinstance(value, float):
        return _varint(4 << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, list):
        return _bytes(5, b"".join(_bytes(1, _any_value(item)) for item in value))
    if isinstance(value, dict):
        return _bytes(6, b"".join(_bytes(1, _key_value(item)) for item in value.items()))
    return _bytes(7, value.value)


def _key_value(attribute: Attribute) -> bytes:
    key, value = attribute
    return _bytes(1, key.encode()) + _bytes(2, _any_value(value))


def _attributes(field: int, attributes: Sequence[Attribute]) -> list[bytes]:
    return [_bytes(field, _key_value(attribute)) for attribute in attributes]


# Agreements


def random_agreements(rng: random.Random, present: datetime, *, with_exclusions: bool = True) -> tuple[Agreement, ...]:
    """One to three agreements that may cover the same requests; windows of exclusion lie around the present."""
    return tuple(
        random_agreement(rng, f"agreement-{number}", present, with_exclusions=with_exclusions)
        for number in range(rng.choice((1, 1, 2, 3)))
    )


def random_agreement(rng: random.Random, name: str, present: datetime, *, with_exclusions: bool = True) -> Agreement:
    """An agreement with any of the terms that the specification knows."""
    group_by = tuple(rng.sample(GROUP_KEYS, rng.choice((0, 1, 1, 2, 3))))
    exclusions = ExclusionTerms(notice_business_days_min=3, holidays=(), windows=())
    if with_exclusions:
        exclusions = _random_exclusions(rng, group_by, present)
    return Agreement(
        name=name,
        covered_service=_random_selector(rng, rng.choice((0, 0, 0, 1, 2))),
        entry_spans_only=rng.random() < 0.3,
        group_by=group_by,
        invalid=tuple(_random_selector(rng, rng.choice((1, 1, 2))) for _ in range(rng.choice((0, 0, 1, 2)))),
        failed=tuple(_random_selector(rng, 1) for _ in range(rng.choice((0, 0, 0, 1)))),
        covered_any=tuple(_random_selector(rng, 1) for _ in range(rng.choice((0, 0, 0, 0, 2)))),
        counting=rng.choice((Counting.REQUESTS, Counting.REQUESTS, Counting.ADJUSTED)),
        failed_grpc_status=rng.choice(
            (SERVER_FAULT_GRPC_STATUS, SERVER_FAULT_GRPC_STATUS, frozenset(), frozenset({13, 14}))
        ),
        no_status_code=rng.choice(list(NoStatusCode)),
        failed_http_status=rng.choice(
            (frozenset(range(500, 600)), frozenset({500}), frozenset({500, 503}), frozenset({502, 503, 504, 599}))
        ),
        code=_random_code(rng) if rng.random() < 0.3 else None,
        downtime=_random_downtime(rng),
        target=rng.choice((Fraction(999, 1000), Fraction(9995, 10000), Fraction(1), Fraction(99, 100), Fraction(1, 2))),
        time_zone=rng.choice(TIME_ZONES),
        exclusions=exclusions,
    )


def _random_downtime(rng: random.Random) -> DowntimeTerms:
    limits = (*(Fraction(1, 20),) * 4, Fraction(0), Fraction(29, 100), Fraction(1, 3000), Fraction(1, 2), Fraction(1))
    return DowntimeTerms(
        error_rate_above=rng.choice(limits),
        valid_requests_min=rng.choice((1, 1, 1, 2, 5, 20)),
        period_minutes_min=rng.choice((1, 1, 1, 2, 3, 5)),
        no_data=rng.choice(list(NoData)),
    )


def _random_code(rng: random.Random) -> CodeRule:
    attribute = rng.choice(CODE_KEYS)
    values = ("Internal Error",) if attribute == "error.type" else ("1", "true", "Internal Error")
    return CodeRule(attribute, values, rng.choice(list(WhenAbsent)))


def _random_selector(rng: random.Random, conditions: int) -> Selector:
    return tuple(_random_condition(rng) for _ in range(conditions))


def _random_condition(rng: random.Random) -> Condition:
    scope = rng.choice(list(Scope))
    # The pattern that always fits where the key is there keeps the share of covered traffic high enough to be judged.
    patterns = ("*",) if rng.random() < 0.4 else tuple(rng.sample(PATTERNS, rng.choice((1, 2, 3, 8))))
    return Condition(scope, rng.choice(RESOURCE_KEYS if scope is Scope.RESOURCE else SPAN_KEYS), patterns)


def _random_exclusions(rng: random.Random, group_by: tuple[str, ...], present: datetime) -> ExclusionTerms:
    days = [(present + timedelta(days=offset)).date() for offset in range(-10, 3)]
    return ExclusionTerms(
        notice_business_days_min=rng.choice((0, 1, 3, 3, 5)),
        holidays=tuple(sorted(set(rng.sample(days, rng.choice((0, 0, 1, 3)))) | {date(2026, 12, 25)})),
        windows=tuple(_random_window(rng, group_by, present) for _ in range(rng.choice((0, 1, 3, 6)))),
    )


def _random_window(rng: random.Random, group_by: tuple[str, ...], present: datetime) -> ExclusionWindow:
    start = present - timedelta(seconds=rng.choice((0, 30, 60, 599, 3600, 80_000, 400_000)))
    if rng.random() < 0.5:
        start = start.replace(second=0, microsecond=0)
    stop = start + timedelta(seconds=rng.choice((1, 59, 60, 61, 600, 3600, 36_000, 90_000, 3_000_000)))
    group = None
    if group_by and rng.random() < 0.3:
        group = tuple((key, rng.choice(TEXTS)) for key in group_by)
    announced = start - timedelta(hours=rng.randrange(0, 24 * 12))
    return ExclusionWindow(
        reason=rng.choice([ExclusionReason.SCHEDULED_MAINTENANCE, *ExclusionReason]),
        start=start,
        stop=stop,
        group=group,
        announced_at=None if rng.random() < 0.1 else announced,
        note="drawn",
        recorded_by="a test",
        recorded_at=None,
    )


# Traffic


@dataclass(frozen=True, slots=True)
class Case:
    """Agreements, what arrives and when, and the moment at which the figures are asked for."""

    seed: int
    agreements: tuple[Agreement, ...]
    requests: tuple[tuple[bytes, int], ...]  # Body, arrival in ns since the Unix epoch; arrivals never step back.
    late_spans_max: timedelta
    future_spans_max: timedelta
    grace: timedelta
    now: int  # ns since the Unix epoch, not before the last arrival.

    @property
    def months(self) -> tuple[str, ...]:
        """The months worth a report, `YYYY-MM`: before, around and after the present."""
        moment = EPOCH + timedelta(seconds=self.now // 10**9)
        first = moment.replace(day=1)
        before, after = first - timedelta(days=1), first + timedelta(days=32)
        return tuple(f"{day:%Y-%m}" for day in (before, moment, after))


def random_case(seed: int, *, present: datetime | None = None, with_exclusions: bool = True) -> Case:
    """A whole case. With `present` (aware) all arrives at that moment, else over some days around one of PRESENTS."""
    rng = random.Random(seed)
    is_fixed = present is not None
    moment = present if present is not None else rng.choice(PRESENTS)
    agreements = random_agreements(rng, moment, with_exclusions=with_exclusions)
    arrivals = [moment] * rng.choice((1, 4, 12))
    if not is_fixed:
        steps = (0, 1, 59, 60, 600, 7200, 90_000)
        arrivals = [moment := moment + timedelta(seconds=rng.choice(steps)) for _ in arrivals]
    resources = [_random_resource(rng) for _ in range(4)]
    requests: list[tuple[bytes, int]] = []
    for arrival in arrivals:
        body = _random_body(rng, unix_nano(arrival), resources, [body for body, _ in requests])
        requests.append((body, unix_nano(arrival)))
    later = timedelta(seconds=rng.choice((0, 60, 119, 600, 100_000)))
    return Case(
        seed=seed,
        agreements=agreements,
        requests=tuple(requests),
        late_spans_max=timedelta(hours=24),
        future_spans_max=timedelta(minutes=5),
        grace=timedelta(seconds=rng.choice((0, 60, 60, 90))),
        now=requests[-1][1] + (0 if is_fixed else int(later.total_seconds()) * 10**9),
    )


def shuffled(case: Case, seed: int) -> Case:
    """The same requests in another order, all at the time of the first arrival."""
    requests = list(case.requests)
    random.Random(seed).shuffle(requests)
    return replace(case, requests=tuple((body, case.requests[0][1]) for body, _ in requests))


def _random_body(rng: random.Random, arrival: int, resources: list[list[Attribute]], earlier: list[bytes]) -> bytes:
    """One request: ResourceSpans of several minutes each, or the repetition of an earlier request or of a part."""
    if earlier and rng.random() < 0.15:
        return rng.choice(earlier)
    parts: list[bytes] = []
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        minutes = _minutes_before(rng, arrival)
        spans = [span for minute in minutes for span in _minute_of_spans(rng, minute, arrival)]
        rng.shuffle(spans)
        parts.append(_bytes(1, _resource_spans(rng, rng.choice(resources), spans)))
        if rng.random() < 0.1:
            parts.append(rng.choice(parts))
    return b"".join(parts)


def _minutes_before(rng: random.Random, arrival: int) -> range:
    """Some consecutive minutes, the present one or older ones, within what is taken."""
    last = arrival // NANOS_PER_MINUTE - rng.choice((0, 0, 1, 2, 3, 5, 59, 600, 1400))
    return range(last - rng.randrange(8), last + 1)


def _minute_of_spans(rng: random.Random, minute: int, arrival: int) -> list[bytes]:
    """The spans of one minute: a number of plain requests near a limit, and some odd ones."""
    valid, failed = rng.choice(
        ((20, 1), (20, 2), (19, 1), (1, 1), (1, 0), (2, 1), (5, 5), (4, 0), (100, 29), (10, 5), (0, 0), (0, 0))
    )
    route: Attribute = ("http.route", rng.choice(TEXTS))
    spans = [
        _span(
            rng,
            minute * NANOS_PER_MINUTE + rng.randrange(NANOS_PER_MINUTE),
            [route, *_plain(rng, is_failed=n < failed)],
        )
        for n in range(valid)
    ]
    for _ in range(rng.choice((0, 0, 1, 4))):
        end = minute * NANOS_PER_MINUTE + rng.choice((0, 1, NANOS_PER_MINUTE - 1, rng.randrange(NANOS_PER_MINUTE)))
        if rng.random() < 0.1:
            # Never nearer to what is taken than a day: a repetition of it must not be in time at last.
            end = rng.choice((0, 1, arrival - 10 * 86_400 * 10**9, arrival + 30 * 86_400 * 10**9, (1 << 64) - 1))
        spans.append(_odd_span(rng, end))
    return spans


def _plain(rng: random.Random, *, is_failed: bool) -> list[Attribute]:
    if rng.random() < 0.6:
        values = (500, 500, 503, "500", 500.0) if is_failed else (200, 204, 302, "200", 200.0)
        return [(rng.choice(STATUS_KEYS), rng.choice(values))]
    if rng.random() < 0.7:
        values = (2, 13, 14, "14", 13.0, "Internal", "DEADLINE_EXCEEDED") if is_failed else (0, 0, "0", "Ok")
        beside = [(rng.choice(STATUS_KEYS), 200)] if rng.random() < 0.5 else []
        return [*beside, (rng.choice(RPC_KEYS), rng.choice(values))]
    return [("error.type", "Internal Error")] if is_failed else []


def _odd_status(rng: random.Random) -> Any:  # noqa: ANN401  see Attribute
    draws: tuple[Callable[[], Any], ...] = (
        lambda: rng.choice((99, 100, 399, 400, 429, 499, 500, 501, 599, 600, 0, -1, 1 << 40, -(1 << 63))),
        lambda: rng.choice(
            ("200", "0500", "500 ", " 500", "+500", "5_0_0", "\u0665\u0660\u0660", "", "99", "600", "1e2", "5" * 5000)
        ),
        lambda: rng.choice(
            (
                500.0,
                404.0,
                13.0,
                -0.0,
                1e300,
                float("nan"),
                0.5,
                float("inf"),
                True,
                False,
                b"50\xff",
                b"\xff",
                [500],
                {"code": 500},
                Unset(),
            )
        ),
        lambda: rng.choice(
            (
                *(
                    "OK",
                    "ok",
                    "UNAVAILABLE",
                    "CANCELLED",
                    "canceled",
                    "INTERNAL",
                    "Internal",
                    "16",
                    "17",
                    "00",
                    "2",
                    "-1",
                ),
                *(
                    "DeadlineExceeded",
                    "deadline_exceeded",
                    "DATA__LOSS",
                    "_OK",
                    "unimplemented",
                    "\u017funknown",
                    "13.0",
                ),
            )
        ),
        lambda: rng.choice((RawBytes(b"500"), *range(17))),
    )
    return rng.choice(draws)()


def _odd_value(rng: random.Random) -> Any:  # noqa: ANN401  see Attribute
    return rng.choice(
        (
            *TEXTS,
            *(443, -443, 0, True, False, 0.5, 0.1 + 0.2, 1e22, 443.0, float("nan"), -0.0, 5e-324),
            *(
                b"chat-\xff",
                b"\xc3",
                b"\x00",
                ["chat-1"],
                {"chat-1": "chat-1"},
                Unset(),
                RawBytes(b"chat-1"),
                "x" * 300,
            ),
        )
    )


def _odd_span(rng: random.Random, end: int) -> bytes:
    keys = (*STATUS_KEYS, *RPC_KEYS)
    attributes: list[Attribute] = [(rng.choice(keys), _odd_status(rng)) for _ in range(rng.choice((0, 1, 1, 2, 3)))]
    attributes += [(rng.choice(SPAN_KEYS), _odd_value(rng)) for _ in range(rng.choice((0, 1, 3)))]
    if rng.random() < 0.3:
        attributes.append((rng.choice(CODE_KEYS), rng.choice(("Internal Error", "internal error", 1, True, "", [1]))))
    rng.shuffle(attributes)
    return _span(rng, end, attributes, is_odd=True)


def _span(rng: random.Random, end: int, attributes: Sequence[Attribute], *, is_odd: bool = False) -> bytes:
    """A span with decoys around it: what looks like a status stands in its events, links and state too."""
    pieces = _attributes(9, attributes)
    pieces.append(_number(6, rng.choice((0, 1, 2, 2, 3, 4, 5, 7, -1)) if is_odd else 2))
    pieces.append(_fixed64(8, end))
    if end:
        pieces.append(_fixed64(7, max(end - 10**8, 0)))
    if rng.random() < 0.3:
        pieces += [_bytes(1, rng.randbytes(16)), _bytes(2, rng.randbytes(8)), _bytes(5, b"GET /")]
    parent = rng.choice((b"", b"", bytes(8), rng.randbytes(7) + b"\x01"))
    if parent:
        pieces.append(_bytes(4, parent))
    if rng.random() < 0.5:
        pieces.append(_fixed32(16, rng.choice((0, 1, 0x100, 0x200, 0x300, 0x301))))
    if rng.random() < 0.2:
        pieces.append(_bytes(3, rng.choice(TRACE_STATES)))
    if is_odd and rng.random() < 0.6:
        status = rng.choice((b"", _number(3, 0), _number(3, 1), _number(3, 2), _bytes(2, b"500") + _number(3, 2)))
        pieces.append(_bytes(15, status))
    if is_odd and rng.random() < 0.5:
        decoys = _attributes(
            3, [("http.status_code", 500), ("error.type", "Internal Error"), ("service.name", "tools")]
        )
        pieces.append(_bytes(11, _fixed64(1, 12345) + b"".join(decoys)))
        links = _attributes(4, [("http.response.status_code", 500), ("rpc.grpc.status_code", 13)])
        pieces.append(_bytes(13, _bytes(1, bytes(16)) + b"".join(links)))
        pieces.append(_bytes(1000, b"a field of the future"))
    if rng.random() < 0.5:
        rng.shuffle(pieces)
    return b"".join(pieces)


def _random_resource(rng: random.Random) -> list[Attribute]:
    attributes: list[Attribute] = []
    if rng.random() < 0.9:
        attributes.append(("service.name", rng.choice(("chat-1", "chat-1", "chat-2", "tools", b"chat-\xff"))))
    attributes += [(rng.choice(RESOURCE_KEYS), _odd_value(rng)) for _ in range(rng.choice((0, 1, 2)))]
    rng.shuffle(attributes)
    return attributes


def _resource_spans(rng: random.Random, resource: list[Attribute], spans: list[bytes]) -> bytes:
    """Spans under one resource, in one scope or two, the scope with decoys; the resource before, after or in halves."""
    cut = rng.randrange(len(spans) + 1)
    scope = _bytes(
        1, _bytes(1, b"scope") + b"".join(_attributes(3, [("service.name", "chat-1"), ("http.status_code", 500)]))
    )
    scopes = [_bytes(2, scope + b"".join(_bytes(2, span) for span in part)) for part in (spans[:cut], spans[cut:])]
    attributes = _attributes(1, resource)
    halves = [_bytes(1, b"".join(attributes))]
    if rng.random() < 0.2:
        middle = rng.randrange(len(attributes) + 1)
        halves = [_bytes(1, b"".join(attributes[:middle])), _bytes(1, b"".join(attributes[middle:]))]
    if rng.random() < 0.3:
        return b"".join((*scopes, *halves))
    return b"".join((*halves, *scopes))
