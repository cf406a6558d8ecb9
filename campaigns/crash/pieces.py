"""What is sent: ResourceSpans messages, each with what the ledger has to hold of it."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import builders
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from replay_parts import to_json

from otel_sla.sla.agreement import Outcome
from otel_sla.sla.counts import NANOS_PER_MINUTE
from otel_sla.spans.otlp_json import convert_json

SERVICES = ("chat", "search", "login")
SPANS_MAX = 8
AGE_S_MAX = 180  # Some spans are of minutes that are judged already.

_JSON_START, _JSON_STOP = b'{"resourceSpans":[', b"]}"

Cell = tuple[str, int, Outcome]  # (service.name, whole minutes since the Unix epoch, outcome).


class Encoding(Enum):
    """How requests are written."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


@dataclass(slots=True, eq=False)
class Piece:
    """One ResourceSpans message, which senders move from request to request but never cut."""

    wire: bytes  # In a request of its encoding.
    message: bytes  # In protobuf, what the pipeline takes the fingerprint of.
    newest_minute: int
    requests: Counter[Cell]
    is_acknowledged: bool = False


def make_piece(rng: random.Random, encoding: Encoding, now_unix_nano: int) -> Piece:
    """A message of one service, with server spans of the last minutes and a client span now and then."""
    service = rng.choice(SERVICES)
    requests: Counter[Cell] = Counter()
    spans = []
    for _ in range(rng.randint(1, SPANS_MAX)):
        end = now_unix_nano - rng.randrange(AGE_S_MAX * 10**9)
        has_failed = rng.random() < 0.1
        requests[service, end // NANOS_PER_MINUTE, Outcome.FAILED if has_failed else Outcome.SUCCEEDED] += 1
        spans.append(_make_span(rng, end, kind=2, status=500 if has_failed else 200))
    if rng.random() < 0.2:
        spans.append(_make_span(rng, now_unix_nano, kind=3, status=500))
    newest_minute = max(minute for _, minute, _ in requests)
    wire = builders.make_request_of(*spans, resource={"service.name": service, "host.name": "node-1"})
    if encoding is Encoding.PROTOBUF:
        return Piece(wire, _only_field(wire), newest_minute, requests)
    text = to_json(wire)
    wire_json = text.removeprefix(_JSON_START).removesuffix(_JSON_STOP)
    return Piece(wire_json, _only_field(convert_json(text)), newest_minute, requests)


def encode_request(wires: Sequence[bytes], encoding: Encoding) -> bytes:
    """One request of these messages."""
    if encoding is Encoding.PROTOBUF:
        return b"".join(wires)  # Each is a whole request of one message: repeated fields may be joined.
    return _JSON_START + b",".join(wires) + _JSON_STOP


def _make_span(rng: random.Random, end_unix_nano: int, *, kind: int, status: int) -> Span:
    return builders.make_span(
        {"http.response.status_code": status},
        kind=kind,
        end_time_unix_nano=end_unix_nano,
        trace_id=rng.randbytes(16),
        span_id=rng.randbytes(8),
    )


def _only_field(request: bytes) -> bytes:
    """The message in a request that holds nothing else: what follows tag and length."""
    start = 1
    while request[start] & 0x80:
        start += 1
    return request[start + 1 :]
