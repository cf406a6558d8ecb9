"""Seeded random requests in every form that protobuf allows, and what is made of them by a broken wire.

Driven by the descriptors of the installed protocol, so that a field added there is written here too. Nothing is
written as a serializer would: fields come in any order and number, numbers are padded, unknown fields and groups stand
between, singular messages come in parts.
"""

import random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from upb_oracle import REQUEST_DESCRIPTOR

from otel_sla.spans.columns import WatchList

WATCH = WatchList(
    span_keys=(b"", b"k", b"http.status_code", b"http.route", b"http.method", b"a.b", b"a.c", b"x" * 130),
    resource_keys=(b"service.name", b"k", b"a.c"),
)
KEYS = (*WATCH.span_keys[:7], *WATCH.span_keys[:7], *WATCH.resource_keys, b"x" * 130, b"http.router", b"a.d", b"K")

TRACE_STATES = (
    *(
        b"",
        b"ot=th:8",
        b"ot=th:0",
        b"ot=rv:1;th:fd70a3d70a3d71",
        b"a=1 ,\tot=th:ABC \t, ot=th:1",
        b"ot=th",
        b"ot=",
        b"ot",
    ),
    *(b"ot=th:", b"ot=th:123456789abcdef", b"ot=th:0x1", b"ot=th:1 ;rv:2", b"xot=th:1", b"ot=xth:1;th:2", b"," * 200),
    *(
        b"ot=th:c,",
        b"ot =th:1",
        b"OT=th:1",
        b"ot=TH:1",
        b"ot=a;ot=th:1",
        b"ot=a,ot=th:1",
        b"ot=th:\xff",
        b"a" * 127 + b",ot=th:f",
    ),
)

_TYPES = FieldDescriptor
_VARINT_TYPES = {_TYPES.TYPE_BOOL, _TYPES.TYPE_ENUM, _TYPES.TYPE_INT32, _TYPES.TYPE_INT64, _TYPES.TYPE_UINT32}
_NUMBERS = (0, 1, 2, 3, 127, 128, 300, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
_BYTES = (0x00, 0x01, 0x02, 0x0A, 0x0B, 0x0C, 0x12, 0x22, 0x2A, 0x32, 0x4A, 0x7A, 0x7F, 0x80, 0x82, 0x85, 0xFF)


def write_varint(value: int, padding: int = 0) -> bytes:
    """Write a varint with `padding` bytes more than it needs."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    if padding:
        out.append(value | 0x80)
        out += b"\x80" * (padding - 1)
        value = 0
    out.append(value)
    return bytes(out)


class Writer:
    """Writes random messages; the same seed gives the same bytes."""

    def __init__(self, seed: int | str) -> None:
        self.random = random.Random(seed)

    def request(self) -> bytes:
        """Write a request, mostly of fewer than 300 bytes; accepted by upb unless it is nested too deeply."""
        if self.random.random() < 0.05:
            return self._nested_request()
        return self._message(REQUEST_DESCRIPTOR, 0)

    def _varint(self, value: int, size_max: int = 10) -> bytes:
        plain = write_varint(value)
        if self.random.random() < 0.9 or len(plain) == size_max:
            return plain
        return write_varint(value, self.random.randint(1, size_max - len(plain)))

    def _tag(self, number: int, wire_type: int) -> bytes:
        return self._varint(number << 3 | wire_type, 5)

    def _sized(self, number: int, content: bytes) -> bytes:
        return self._tag(number, 2) + self._varint(len(content), 5) + content

    def _number(self) -> int:
        return self.random.choice(_NUMBERS) if self.random.random() < 0.7 else self.random.getrandbits(64)

    def _text(self, field: FieldDescriptor) -> bytes:
        if field.name == "key":
            return self.random.choice(KEYS)
        if field.name == "parent_span_id":
            return self.random.choice((b"", bytes(8), bytes(7) + b"\x01", b"12345678", b"1", bytes(9)))
        if field.name == "trace_state":
            return self.random.choice(TRACE_STATES)
        return self.random.choice((b"", b"a", b"500", b"\xff\xfe", b"y" * 130, self.random.randbytes(5)))

    def _message(self, descriptor: Any, depth: int) -> bytes:  # noqa: ANN401  upb's own type
        fields = descriptor.fields
        count = self.random.randint(0, 6 if descriptor.name in {"Span", "KeyValue"} else 3)
        parts = []
        for _ in range(count):
            if self.random.random() < 0.12:
                parts.append(self._unknown(descriptor, 0))
            else:
                parts.append(self._field(self.random.choice(_weighted(fields)), depth))
        return b"".join(parts)

    def _field(self, field: FieldDescriptor, depth: int) -> bytes:
        kind = field.type
        if kind == _TYPES.TYPE_MESSAGE:
            return self._sized(field.number, self._message(field.message_type, depth + 1) if depth < 9 else b"")
        if kind in _VARINT_TYPES:
            return self._tag(field.number, 0) + self._varint(self._number())
        if kind in {_TYPES.TYPE_FIXED64, _TYPES.TYPE_DOUBLE}:
            return self._tag(field.number, 1) + self._number().to_bytes(8, "little")
        if kind == _TYPES.TYPE_FIXED32:
            return self._tag(field.number, 5) + (self._number() & 0xFFFF_FFFF).to_bytes(4, "little")
        assert kind == _TYPES.TYPE_BYTES, f"{field.full_name} has a type that is not written here"
        return self._sized(field.number, self._text(field))

    def _unknown(self, descriptor: Any, depth: int) -> bytes:  # noqa: ANN401  upb's own type
        """Write a field that the message does not have, or one that it has in another wire type."""
        wire_type = self.random.choice((0, 1, 2, 3, 5))
        number = self.random.choice((19, 1000, 2**29 - 1))
        if self.random.random() < 0.5:
            field = self.random.choice(descriptor.fields)
            number = field.number
            if wire_type == _wire_type_of(field):
                wire_type = (wire_type + 1) % 4
        content = b""
        if wire_type == 0:
            content = self._varint(self._number())
        elif wire_type in {1, 5}:
            content = self.random.randbytes(8 if wire_type == 1 else 4)
        elif wire_type == 2:
            content = self._varint(3, 5) + self.random.randbytes(3)
        elif depth < 4:
            content = b"".join(self._unknown(descriptor, depth + 1) for _ in range(self.random.randint(0, 2)))
        return self._tag(number, wire_type) + content + (self._tag(number, 4) if wire_type == 3 else b"")

    def _nested_request(self) -> bytes:
        """Write a value or groups nested about as deeply as upb allows, somewhere in a span or a resource."""
        body = self._message(REQUEST_DESCRIPTOR.fields_by_name["resource_spans"].message_type, 8)
        levels = self.random.choice((0, 1, 10, 44, 45, 46, 47, 48, 49, 60))
        groups = self.random.choice((0, 1, 3, 4, 5, 6, 7, 94, 95, 96, 97, 98, 99, 100, 101))
        number = self.random.choice((1, 2, 1000))
        content = write_varint(number << 3 | 3) * groups + write_varint(number << 3 | 4) * groups
        for _ in range(levels):
            if self.random.random() < 0.5:
                content = self._sized(5, self._sized(1, content))
            else:
                content = self._sized(6, self._sized(1, content))
                content = content if self.random.random() < 0.5 else self._sized(2, content)
        way = self.random.choice(((9, 2), (9,), (11, 3, 2), (13, 4, 2), (15,), (), (11,)))
        for step in reversed((1, 2, 2, *way) if self.random.random() < 0.8 else (1, 1, 1, 2)):
            content = self._sized(step, content)
        return content + self._sized(1, body)


def _weighted(fields: Any) -> list[FieldDescriptor]:  # noqa: ANN401  upb's own type
    """Give messages and the fields that become columns more often."""
    weighted = list(fields)
    for field in fields:
        if field.type == _TYPES.TYPE_MESSAGE or field.name in {
            "key",
            "kind",
            "flags",
            "code",
            "end_time_unix_nano",
            "trace_state",
        }:
            weighted += [field] * 2
        if field.name in {"attributes", "spans", "scope_spans", "resource_spans"}:
            weighted += [field] * 4
    return weighted


def _wire_type_of(field: FieldDescriptor) -> int:
    if field.type in _VARINT_TYPES:
        return 0
    if field.type in {_TYPES.TYPE_FIXED64, _TYPES.TYPE_DOUBLE}:
        return 1
    return 5 if field.type == _TYPES.TYPE_FIXED32 else 2


def mutate(body: bytes, other: bytes, randomness: random.Random) -> bytes:
    """Break a request in one to three places; `other` gives bytes to splice in."""
    broken = bytearray(body)
    for _ in range(randomness.randint(1, 3)):
        position = randomness.randrange(len(broken) + 1)
        size = randomness.choice((1, 1, 1, 2, 4, 9))
        match randomness.randrange(8):
            case 0:
                del broken[position : position + size]
            case 1:
                del broken[position:]
            case 2:
                start = randomness.randrange(len(other) + 1)
                broken[position:position] = other[start : start + 3 * size]
            case 3:
                broken[position:position] = broken[position : position + 2 * size]
            case 4 | 5:
                broken[position : position + 1] = bytes((randomness.choice(_BYTES),))
            case 6 if position < len(broken):
                broken[position] ^= 1 << randomness.randrange(8)
            case 7 if position < len(broken):
                broken[position] = (broken[position] + randomness.choice((-1, 1))) & 0xFF
    return bytes(broken)
