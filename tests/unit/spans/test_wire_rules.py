"""Protobuf's awkward rules, each by the bytes that show it. What is expected is upb's answer, asked in the test."""

import pytest
from upb_oracle import decode_with_upb, read_columns

from otel_sla.errors import DecodeError
from otel_sla.spans.columns import ValueType, WatchList
from otel_sla.spans.request import decode_request

WATCH = WatchList(span_keys=(b"a", b"b"), resource_keys=(b"a",))
SERVER = b"\x30\x02"
ABSENT, OTHER = (ValueType.ABSENT, 0), (ValueType.OTHER, 0)


def field(number: int, content: bytes) -> bytes:
    """A field of bytes, or a message."""
    size, length = len(content), bytearray()
    while size >= 0x80:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes((number << 3 | 2,)) + bytes(length) + content


def in_span(content: bytes) -> bytes:
    """A request of one span with this content."""
    return field(1, field(2, field(2, content)))


def attribute(key: bytes, value: bytes) -> bytes:
    """A KeyValue of a span, its AnyValue given as bytes."""
    return field(9, field(1, key) + field(2, value))


TEXT, OTHER_TEXT = field(1, b"x"), field(1, b"y")
INT, BOOL, DOUBLE = b"\x18\x07", b"\x10\x01", b"\x21" + bytes(7) + b"\x40"
ARRAY, MAP, RAW, STRINDEX = field(5, field(1, TEXT)), field(6, b""), field(7, b"z"), b"\x40\x01"
GROUP = b"\xf3\x3e\x08\x01\xf4\x3e"

VALUES = {
    "string": (TEXT, (ValueType.STRING, b"x")),
    "empty string": (field(1, b""), (ValueType.STRING, b"")),
    "not UTF-8": (field(1, b"\xff"), (ValueType.STRING, b"\xff")),
    "bool": (BOOL, (ValueType.BOOL, 1)),
    "bool of a large varint": (b"\x10\x80\x80\x80\x80\x10", (ValueType.BOOL, 1)),
    "int": (INT, (ValueType.INT, 7)),
    "negative int": (b"\x18" + b"\xff" * 9 + b"\x01", (ValueType.INT, 2**64 - 1)),
    "padded int": (b"\x18\x87\x80\x00", (ValueType.INT, 7)),
    "bits past 64": (b"\x18" + b"\xff" * 9 + b"\x7f", (ValueType.INT, 2**64 - 1)),
    "double": (DOUBLE, (ValueType.DOUBLE, 0x40 << 56)),
    "unset": (b"", OTHER),
    "array": (ARRAY, OTHER),
    "map": (MAP, OTHER),
    "bytes": (RAW, OTHER),
    "index of a string": (STRINDEX, OTHER),
    "last of the oneof": (TEXT + INT, (ValueType.INT, 7)),
    "last of the oneof is an array": (TEXT + ARRAY, OTHER),
    "last of the oneof is an index": (TEXT + STRINDEX, OTHER),
    "string after an array": (ARRAY + TEXT, (ValueType.STRING, b"x")),
    "string in another wire type": (TEXT + b"\x08\x01", (ValueType.STRING, b"x")),
    "int in another wire type": (TEXT + b"\x1d\x01\x02\x03\x04", (ValueType.STRING, b"x")),
    "group between": (TEXT + GROUP, (ValueType.STRING, b"x")),
    "padded tag": (b"\x98\x80\x80\x80\x00\x07", (ValueType.INT, 7)),
    "padded length": (b"\x0a\x81\x80\x80\x80\x00x", (ValueType.STRING, b"x")),
}


@pytest.mark.parametrize("name", VALUES)
def test_value_is_what_upb_reads(name: str) -> None:
    """Every form of a value is read as upb reads it, of a span and of a resource."""
    value, expected = VALUES[name]
    body = in_span(attribute(b"a", value)) + field(1, field(1, field(1, field(1, b"a") + field(2, value))))
    found = read_columns(decode_request(body, WATCH))
    assert found == decode_with_upb(body, WATCH)
    assert found.cells == [[expected, ABSENT]]
    assert found.resource_cells == [[ABSENT], [expected]]


ATTRIBUTES = {
    "value before key": (field(9, field(2, TEXT) + field(1, b"a")), (ValueType.STRING, b"x")),
    "last of two keys in one attribute": (field(9, field(1, b"b") + field(1, b"a") + field(2, TEXT)), (1, b"x")),
    "value in two parts": (field(9, field(1, b"a") + field(2, TEXT) + field(2, b"")), (ValueType.STRING, b"x")),
    "value in two parts of the oneof": (field(9, field(1, b"a") + field(2, TEXT) + field(2, INT)), (3, 7)),
    "last of two attributes": (attribute(b"a", TEXT) + attribute(b"a", OTHER_TEXT), (ValueType.STRING, b"y")),
    "last of two is an array": (attribute(b"a", TEXT) + attribute(b"a", ARRAY), OTHER),
    "last of two has no value": (attribute(b"a", TEXT) + field(9, field(1, b"a")), OTHER),
    "longer key": (attribute(b"aa", TEXT), ABSENT),
    "no key": (field(9, field(2, TEXT)), ABSENT),
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attribute_is_what_upb_reads(name: str) -> None:
    """Every order and repetition inside an attribute, and of attributes, ends as upb has it."""
    content, expected = ATTRIBUTES[name]
    body = in_span(content)
    found = read_columns(decode_request(body, WATCH))
    assert found == decode_with_upb(body, WATCH)
    assert found.cells == [[expected, ABSENT]]


# Span's fields: resource, kind, end time, flags, has parent, status code.
SPANS = {
    "nothing": (b"", (0, 0, 0, 0, False, 0, 0)),
    "kind": (b"\x30\x02", (0, 2, 0, 0, False, 0, 0)),
    "last kind": (b"\x30\x02\x30\x03", (0, 3, 0, 0, False, 0, 0)),
    "unknown kind": (b"\x30\x63", (0, 99, 0, 0, False, 0, 0)),
    "kind cut to 32 bits": (b"\x30\x82\x80\x80\x80\x10", (0, 2, 0, 0, False, 0, 0)),
    "negative kind": (b"\x30" + b"\xff" * 9 + b"\x01", (0, -1, 0, 0, False, 0, 0)),
    "end time": (b"\x41" + b"\xff" * 8, (0, 0, 2**64 - 1, 0, False, 0, 0)),
    "end time as a varint": (b"\x40\x01", (0, 0, 0, 0, False, 0, 0)),
    "flags": (b"\x85\x01\x01\x03\x00\x80", (0, 0, 0, 0x80000301, False, 0, 0)),
    "parent": (field(4, b"12345678"), (0, 0, 0, 0, True, 0, 0)),
    "parent of zeros": (field(4, bytes(8)), (0, 0, 0, 0, False, 0, 0)),
    "parent of nine bytes": (field(4, bytes(8) + b"\x01"), (0, 0, 0, 0, True, 0, 0)),
    "last parent": (field(4, b"12345678") + field(4, b""), (0, 0, 0, 0, False, 0, 0)),
    "status": (field(15, b"\x18\x02"), (0, 0, 0, 0, False, 2, 0)),
    "status in two parts": (field(15, b"\x18\x02") + field(15, field(2, b"m")), (0, 0, 0, 0, False, 2, 0)),
    "last status": (field(15, b"\x18\x02") + field(15, b"\x18\x00"), (0, 0, 0, 0, False, 0, 0)),
    "threshold": (SERVER + field(3, b"ot=th:8"), (0, 2, 0, 0, False, 0, 1 + (8 << 52))),
    "threshold before the kind": (field(3, b"ot=th:fd70a3d70a3d71") + SERVER, (0, 2, 0, 0, False, 0, 0xFD70A3D70A3D72)),
    "threshold of 0": (SERVER + field(3, b"a=b, ot=rv:1;th:0"), (0, 2, 0, 0, False, 0, 1)),
    "threshold of 15 digits": (SERVER + field(3, b"ot=th:000000000000000"), (0, 2, 0, 0, False, 0, -1)),
    "threshold without digits": (SERVER + field(3, b"ot=th:"), (0, 2, 0, 0, False, 0, -1)),
    "no threshold": (SERVER + field(3, b"ot=rv:1"), (0, 2, 0, 0, False, 0, 0)),
    "last state": (SERVER + field(3, b"ot=th:8") + field(3, b""), (0, 2, 0, 0, False, 0, 0)),
    "threshold of a client": (field(3, b"ot=th:8") + b"\x30\x03", (0, 3, 0, 0, False, 0, 0)),
    "zero in a group's field number": (b"\xf3\x3e\x00\x01\x03\x04\xf4\x3e", (0, 0, 0, 0, False, 0, 0)),
}


@pytest.mark.parametrize("name", SPANS)
def test_span_is_what_upb_reads(name: str) -> None:
    """Every field of a span that becomes a column is read as upb reads it."""
    content, expected = SPANS[name]
    body = in_span(content)
    found = read_columns(decode_request(body, WATCH))
    assert found == decode_with_upb(body, WATCH)
    assert found.spans == [expected]


REJECTED = {
    "tag cut off": b"\x80",
    "field number 0": b"\x02\x00",
    "field number 0 in a span": in_span(b"\x00\x01"),
    "field number 0 in an event": in_span(field(11, b"\x00\x01")),
    "tag of six bytes": b"\x88\x80\x80\x80\x80\x00\x01",
    "tag past 32 bits": b"\x88\x80\x80\x80\x10\x01",
    "varint of eleven bytes": in_span(b"\x30" + b"\x80" * 10 + b"\x00"),
    "length past its message": in_span(b"\x4a\x7f"),
    "length past 31 bits": b"\x0a\xff\xff\xff\xff\x0f",
    "length of 64 bits": b"\x0a" + b"\xff" * 9 + b"\x01",
    "wire type 6": b"\x0e",
    "wire type 7": b"\x0f\x00",
    "group without an end": in_span(b"\xf3\x3e"),
    "end without a group": in_span(b"\xf4\x3e"),
    "end of another group": in_span(b"\xf3\x3e\xfc\x3e"),
    "group that ends outside": field(1, b"\xf3\x3e") + b"\xf4\x3e",
    "fixed64 cut off": in_span(b"\x41\x00\x00"),
    "fixed32 cut off": in_span(b"\x85\x01\x00"),
    "broken event": in_span(field(11, field(3, b"\x0a\x05"))),
    "broken link": in_span(field(13, field(4, b"\xff"))),
    "broken status": in_span(field(15, b"\x12\x01")),
    "broken value in an array": in_span(attribute(b"c", field(5, field(1, b"\x0a\x01")))),
    "broken entity": field(1, field(1, field(3, b"\x0a\x01"))),
    "broken scope": field(1, field(2, field(1, b"\x1a\x01\xff"))),
}


@pytest.mark.parametrize("name", REJECTED)
def test_broken_bytes_are_rejected_as_by_upb(name: str) -> None:
    """What upb calls broken is a DecodeError, however deep it lies and whether anybody asks for it or not."""
    body = REJECTED[name]
    assert decode_with_upb(body, WATCH) is None
    with pytest.raises(DecodeError) as raised:
        decode_request(body, WATCH)
    assert 0 <= raised.value.offset <= len(body)


def test_long_key_is_no_watched_one() -> None:
    """A key longer than every watched key is skipped."""
    body = in_span(attribute(b"a" * 300, TEXT))
    found = read_columns(decode_request(body, WATCH))
    assert found == decode_with_upb(body, WATCH)
    assert found.cells == [[ABSENT, ABSENT]]


@pytest.mark.parametrize("levels", [45, 46, 47, 48, 10_000])
def test_nesting_costs_no_batch(levels: int) -> None:
    """Values within values, however deep, are accepted as in the Collector; upb stops at 100 messages."""
    value = b""
    for _ in range(levels):
        value = field(5, field(1, value))
    body = in_span(attribute(b"a", value))
    assert (decode_with_upb(body, WATCH) is not None) == (levels <= 47)
    assert read_columns(decode_request(body, WATCH)) == decode_with_upb(body, WATCH, is_shallow=True)


@pytest.mark.parametrize("levels", [99, 100, 101, 100_000])
def test_groups_end_where_they_do_in_upb(levels: int) -> None:
    """Groups count as levels too."""
    body = b"\xf3\x3e" * levels + b"\xf4\x3e" * levels
    assert (decode_with_upb(body, WATCH) is not None) == (levels <= 100)
    if levels <= 100:
        assert decode_request(body, WATCH).n_spans == 0
    else:
        with pytest.raises(DecodeError, match="nesting"):
            decode_request(body, WATCH)


MERGED = {
    "resource in two parts": (
        field(
            1, field(1, field(1, field(1, b"c") + field(2, INT))) + field(1, field(1, field(1, b"a") + field(2, TEXT)))
        ),
        [[(ValueType.STRING, b"x")]],
    ),
    "last attribute of two parts": (
        field(
            1,
            field(1, field(1, field(1, b"a") + field(2, INT)))
            + field(2, b"")
            + field(1, field(1, field(1, b"a") + field(2, TEXT))),
        ),
        [[(ValueType.STRING, b"x")]],
    ),
    "resource behind its spans": (
        field(1, field(2, field(2, b"")) + field(1, field(1, field(1, b"a") + field(2, TEXT)))),
        [[(ValueType.STRING, b"x")]],
    ),
    "two processes": (
        field(1, field(1, field(1, field(1, b"a") + field(2, INT)))) + field(1, b""),
        [[(ValueType.INT, 7)], [ABSENT]],
    ),
}


@pytest.mark.parametrize("name", MERGED)
def test_resource_is_what_upb_reads(name: str) -> None:
    """A resource in parts, or behind the spans that it is of, is one resource."""
    body, expected = MERGED[name]
    found = read_columns(decode_request(body, WATCH))
    assert found == decode_with_upb(body, WATCH)
    assert found.resource_cells == expected


@pytest.mark.parametrize("border", [127, 128, 16_383, 16_384])
@pytest.mark.parametrize("key_size", [1, 127, 128])
def test_sizes_of_every_width_are_read(border: int, key_size: int) -> None:
    """Text, value and attribute whose sizes take one byte more than the next smaller one are read whole."""
    key = b"k" * key_size
    watch = WatchList((b"a", key), ())
    for size in range(max(0, border - key_size - 14), border + 2):
        text = b"y" * size
        body = in_span(attribute(key, field(1, text)) + b"\x30\x02")
        found = read_columns(decode_request(body, watch))
        assert found.cells == [[ABSENT, (ValueType.STRING, text)]], size
        assert found.spans == [(0, 2, 0, 0, False, 0, 0)], size


@pytest.mark.parametrize(
    "value", [TEXT, field(1, b"y" * 130), INT, b"\x18" + b"\xff" * 9 + b"\x01", BOOL, DOUBLE, ARRAY]
)
def test_every_length_that_is_wrong_is_judged_as_by_upb(value: bytes) -> None:
    """An attribute whose lengths are larger or smaller than what is there is read or rejected as by upb."""
    body = in_span(attribute(b"a", value) + attribute(b"b", INT))
    for position in range(len(body)):
        for byte in (*range(12), 0x7F, 0x80, 0xFF, body[position] - 1 & 0xFF, body[position] + 1 & 0xFF):
            broken = body[:position] + bytes((byte,)) + body[position + 1 :]
            expected = decode_with_upb(broken, WATCH)
            if expected is None:
                with pytest.raises(DecodeError):
                    decode_request(broken, WATCH)
            else:
                assert read_columns(decode_request(broken, WATCH)) == expected, broken.hex()
