import json
import math
import re
import tracemalloc
from typing import Any

import orjson
import pytest
from builders import realistic_request
from fuzz import fuzz_servers
from fuzz.fuzz_servers import generate
from google.protobuf import json_format, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from upb_oracle import REQUEST_DESCRIPTOR

from otel_sla.errors import DecodeError
from otel_sla.spans.otlp_json import convert_json, estimate_size_bytes

# The example of OTLP's repository (examples/trace.json), shortened, with what its text says may be written otherwise.
SPAN = {
    "traceId": "5b8efff798038103d269b633813fc60c",
    "spanId": "EEE19B7EC3C1B174",
    "parentSpanId": "EEE19B7EC3C1B173",
    "name": "I'm a server span",
    "startTimeUnixNano": "1544712660000000000",
    "endTimeUnixNano": 1544712661000000000,
    "kind": 2,
    "flags": 257,
    "status": {"code": 2, "message": "bad"},
    "attributes": [{"key": "http.response.status_code", "value": {"intValue": "503"}}],
}


def request_of(span: object) -> bytes:
    """One span as a request in JSON."""
    return orjson.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})


def read_span(span: object) -> ExportTraceServiceRequest:
    """Convert and read back."""
    return (
        ExportTraceServiceRequest.FromString(convert_json(request_of(span))).resource_spans[0].scope_spans[0].spans[0]
    )


def test_the_mapping_of_otlp_is_read() -> None:
    """Hex ids in either case, 64-bit integers as text or number, enums as integers."""
    span = read_span(SPAN)
    assert span.trace_id.hex() == "5b8efff798038103d269b633813fc60c"
    assert span.span_id.hex() == "eee19b7ec3c1b174"
    assert span.parent_span_id.hex() == "eee19b7ec3c1b173"
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (1544712660000000000, 1544712661000000000)
    assert (span.kind, span.flags, span.status.code, span.status.message) == (2, 257, 2, "bad")
    assert span.attributes[0].value.int_value == 503


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"stringValue": "ä"}, AnyValue(string_value="ä")),
        ({"stringValue": ""}, AnyValue(string_value="")),
        ({"boolValue": False}, AnyValue(bool_value=False)),
        ({"intValue": "-9223372036854775808"}, AnyValue(int_value=-(2**63))),
        ({"intValue": "5e2"}, AnyValue(int_value=500)),
        ({"intValue": 500.0}, AnyValue(int_value=500)),
        ({"doubleValue": 1}, AnyValue(double_value=1.0)),
        ({"doubleValue": "0.5"}, AnyValue(double_value=0.5)),
        ({"doubleValue": "-Infinity"}, AnyValue(double_value=-math.inf)),
        ({"bytesValue": "-_8"}, AnyValue(bytes_value=b"\xfb\xff")),
        ({"bytesValue": "+/8="}, AnyValue(bytes_value=b"\xfb\xff")),
        ({"arrayValue": {"values": [{"intValue": 1}, {}]}}, {"array_value": {"values": [{"int_value": 1}, {}]}}),
        (
            {"kvlistValue": {"values": [{"key": "k", "value": {"boolValue": True}}]}},
            {"kvlist_value": {"values": [{"key": "k", "value": {"bool_value": True}}]}},
        ),
        ({"stringValue": None}, AnyValue()),
        ({"noSuchValue": 1}, AnyValue()),
        ({"string_value": "x"}, AnyValue(string_value="x")),
        ({"array_value": {"values": [None, {"int_value": 1}]}}, {"array_value": {"values": [{}, {"int_value": 1}]}}),
    ],
)
def test_every_kind_of_value_is_read(value: dict[str, object], expected: object) -> None:
    """Each AnyValue as proto3's JSON writes it; null and unknown keys are not there."""
    attribute = read_span({"attributes": [{"key": "k", "value": value}]}).attributes[0]
    wanted = expected if isinstance(expected, AnyValue) else AnyValue(**expected)
    assert attribute == KeyValue(key="k", value=wanted)


def test_unknown_keys_and_null_are_ignored() -> None:
    """A newer sender's fields, at any depth, do not disturb; null is an absent field, also a repeated one."""
    assert convert_json(b'{"new":{"deep":[1]},"resourceSpans":null}') == b""
    assert convert_json(b"null") == b""
    assert read_span({"name": "n", "events": None, "x": [[]], "status": None}).name == "n"


@pytest.mark.parametrize(
    ("span", "reason"),
    [
        ({"traceId": "xyz"}, "traceId cannot be a string 'xyz'"),
        ({"traceId": 5}, "traceId cannot be a number 5"),
        ({"kind": "SERVER"}, "kind cannot be a string 'SERVER'"),
        ({"status": {"code": "2"}}, "code cannot be a string '2'"),
        ({"kind": True}, "kind cannot be a boolean"),
        ({"kind": 2**40}, ""),
        ({"endTimeUnixNano": "-1"}, ""),
        ({"endTimeUnixNano": "1_0"}, "endTimeUnixNano cannot be a string '1_0'"),
        ({"endTimeUnixNano": " 1"}, "endTimeUnixNano cannot be"),
        ({"endTimeUnixNano": 1.5}, "endTimeUnixNano cannot be"),
        ({"endTimeUnixNano": "1e400"}, "endTimeUnixNano cannot be"),
        ({"endTimeUnixNano": str(2**64)}, ""),
        ({"name": 1}, "name cannot be a number"),
        ({"attributes": {}}, "attributes is an object, not an array"),
        ({"attributes": ["x"]}, "KeyValue is a string, not an object"),
        ({"status": []}, "Status is an array, not an object"),
        ({"attributes": [{"value": {"boolValue": "true"}}]}, "boolValue cannot be a string"),
        ({"attributes": [{"value": {"doubleValue": "nan"}}]}, "doubleValue cannot be a string"),
        ({"attributes": [{"value": {"doubleValue": True}}]}, "doubleValue cannot be a boolean"),
        ({"attributes": [{"value": {"bytesValue": "?"}}]}, "bytesValue cannot be a string"),
    ],
)
def test_what_has_the_wrong_kind_is_a_decode_error(span: dict[str, object], reason: str) -> None:
    """A known key with a value of another kind, or out of range, refuses the request and names the key."""
    with pytest.raises(DecodeError) as caught:
        convert_json(request_of(span))
    assert str(caught.value).startswith(f"not an OTLP trace request in JSON: {reason}")


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"{",
            b"[]",
            b"1",
            b'"x"',
            b"\xff",
            b'{"resourceSpans":[{}',
            b'{"a":"\\ud80"}',
            b'{"a":"\xff}',
            b"[" * 10**5,
        ),
        *(b'{"a":"\x01"}', b'{"a":"\xff","b":NaN}', b'{"a":"\xff","b":-Infinity}', b"\xef\xbb\xbf{}", b'{"a":"\xff"}x'),
        *(b'{"a":' + b"[" * 5000 + b"}" * 5000 + b"}", b'"' + b'\\"' * 10**5),
    ],
)
def test_what_is_no_json_object_is_a_decode_error(body: bytes) -> None:
    """Broken text, also beside bytes that are no UTF-8, endless nesting and other values than an object."""
    with pytest.raises(DecodeError):
        convert_json(body)


def test_a_wrong_container_is_named_and_not_written_out() -> None:
    """An array where text belongs, too deep for Python to write, is a decode error as any other."""
    body = b'{"resourceSpans":[{"schemaUrl":' + b"[" * 1000 + b"]" * 1000 + b"}]}"
    with pytest.raises(DecodeError, match=r"schemaUrl cannot be an array$"):
        convert_json(body)


@pytest.mark.parametrize("levels", [48, 100, 400, 5_000, 50_000])
def test_nesting_costs_no_batch(levels: int) -> None:
    """Values within values, however deep, are read as far down as any parser looks; what lies beside them is whole."""
    nested = b'{"arrayValue":{"values":[' * levels + b'{"intValue":1}' + b"]}}" * levels
    attributes = b'[{"key":"a","value":%s},{"key":"b","value":{"stringValue":"]}\\""}}]' % nested
    body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":%s,"name":"n"}]}]}]}' % attributes
    request = ExportTraceServiceRequest.FromString(convert_json(body))
    (span,) = request.resource_spans[0].scope_spans[0].spans
    assert (span.name, span.attributes[1].value.string_value) == ("n", ']}"')
    value, depth = span.attributes[0].value, 0
    while value.array_value.values:
        (value,), depth = value.array_value.values, depth + 1
    assert depth == 47


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (rb"\ud83d", "\ufffd".encode()),
        (rb"x\ude00y", "x\ufffdy".encode()),
        (rb"\udc80\\\udC8f", "\ufffd\\\ufffd".encode()),
        (rb"\ud83d\ud83d\ude00", "\ufffd😀".encode()),
        (rb"\\ud83d", rb"\ud83d"),
        (b"\xff", b"\xff"),
        (b"\xe9t\xe9 \xf0\x9f\x98\x80", b"\xe9t\xe9 \xf0\x9f\x98\x80"),
        (b"\xed\xa0\xbd", b"\xed\xa0\xbd"),
        (rb"\ud83d" + b"\xf0\x9f", "\ufffd".encode() + b"\xf0\x9f"),
    ],
)
def test_any_text_is_read(written: bytes, read: bytes) -> None:
    """Half of an emoji is a replacement character, bytes that are no UTF-8 stay as they are, as over protobuf; in keys,
    values, names and where nobody looks.
    """
    body = orjson.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [SPAN | {"name": "TEXT"}]}], "no": ["TEXT"]}]})
    body = body.replace(orjson.dumps(SPAN["attributes"]), b'[{"key":"TEXT","value":{"stringValue":"TEXT"}}]')
    request: Any = message_factory.GetMessageClass(REQUEST_DESCRIPTOR)()
    request.ParseFromString(convert_json(body.replace(b"TEXT", written)))
    (span,) = request.resource_spans[0].scope_spans[0].spans
    (attribute,) = span.attributes
    assert [span.name, attribute.key, attribute.value.string_value] == [read] * 3
    assert span.status.message == b"bad"


def test_names_of_fields_and_enums_are_read() -> None:
    """Keys as in the .proto files and enums by name, at every level, give the bytes that the usual spelling gives."""
    request = {"resourceSpans": [{"schemaUrl": "u", "scopeSpans": [{"spans": [SPAN]}]}]}
    usual = convert_json(orjson.dumps(request))
    snake = orjson.dumps(request)
    for camel in set(re.findall(rb'"([a-z]+[A-Z]\w*)":', snake)):
        snake = snake.replace(camel, re.sub(rb"[A-Z]", lambda found: b"_" + found[0].lower(), camel))
    assert b"resource_spans" in snake
    assert convert_json(snake) == usual
    by_name = SPAN | {"kind": "SPAN_KIND_SERVER", "status": {"code": "STATUS_CODE_ERROR", "message": "bad"}}
    assert convert_json(orjson.dumps(request).replace(orjson.dumps(SPAN), orjson.dumps(by_name))) == usual


def test_null_in_a_list_is_an_empty_element() -> None:
    """As in the Collector: a span that says nothing, an attribute without a key, a value without a kind."""
    body = b'{"resourceSpans":[null,{"scopeSpans":[null,{"spans":[null,{"attributes":[null],"links":[null]}]}]}]}'
    request = ExportTraceServiceRequest.FromString(convert_json(body))
    assert len(request.resource_spans) == 2
    spans = request.resource_spans[1].scope_spans[1].spans
    assert [(len(span.attributes), len(span.links)) for span in spans] == [(0, 0), (1, 1)]


_any_value = st.recursive(
    st.one_of(
        st.builds(lambda v: AnyValue(string_value=v), st.text(st.characters(codec="utf-8"), max_size=8)),
        st.builds(lambda v: AnyValue(bool_value=v), st.booleans()),
        st.builds(lambda v: AnyValue(int_value=v), st.integers(-(2**63), 2**63 - 1)),
        st.builds(lambda v: AnyValue(double_value=v), st.floats(allow_nan=False)),
        st.builds(lambda v: AnyValue(bytes_value=v), st.binary(max_size=8)),
        st.just(AnyValue()),
    ),
    lambda inner: st.builds(lambda values: AnyValue(array_value={"values": values}), st.lists(inner, max_size=3)),
    max_leaves=5,
)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(
    values=st.lists(_any_value, max_size=4),
    end_time=st.integers(0, 2**64 - 1),
    span_id=st.binary(max_size=9),
    kind=st.integers(0, 5),
)
def test_what_json_format_writes_is_read_the_same(
    values: list[AnyValue], end_time: int, span_id: bytes, kind: int
) -> None:
    """For any request: protobuf's own JSON, with ids in hex and enums as integers, converts to an equal request."""
    request = ExportTraceServiceRequest()
    span = (
        request.resource_spans.add()
        .scope_spans.add()
        .spans.add(span_id=span_id, kind=kind, end_time_unix_nano=end_time)
    )
    for value in values:
        span.attributes.add(key="k", value=value)
    written = json.loads(json_format.MessageToJson(request, use_integers_for_enums=True))
    for written_span in written["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        if "spanId" in written_span:
            written_span["spanId"] = span_id.hex()
    assert ExportTraceServiceRequest.FromString(convert_json(orjson.dumps(written))) == request


def test_any_request_is_read_as_json_format_writes_it() -> None:
    """Random requests with every field of the protocol: their JSON converts to the same request."""
    n_requests = 0
    for request in fuzz_servers.parsed(generate(5, 3000)):
        n_requests += 1
        read = ExportTraceServiceRequest.FromString(convert_json(fuzz_servers.json_of(request)))
        request.DiscardUnknownFields()  # JSON has none.
        assert str(read) == str(request)  # As text: no message that holds NaN is equal to another.
    assert n_requests > 100


def test_a_real_request_becomes_its_own_bytes() -> None:
    """What protobuf's serializer wrote, told in JSON, is the same bytes again: also the second time."""
    body = realistic_request(200, 1)
    text = fuzz_servers.json_of(ExportTraceServiceRequest.FromString(body))
    assert convert_json(text) == body
    assert convert_json(text) == body


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"intValue": "1"}, {"intValue": True}),
        ({"boolValue": True}, {"boolValue": 1}),
        ({"doubleValue": "1"}, {"doubleValue": True}),
        ({"stringValue": "1"}, {"stringValue": 1}),
    ],
)
def test_what_was_right_before_makes_nothing_wrong_right(first: object, second: object) -> None:
    """Attributes are remembered by what they are: an equal value of another kind is refused all the same."""
    read_span({"attributes": [{"key": "k", "value": first}] * 2})
    with pytest.raises(DecodeError):
        read_span({"attributes": [{"key": "k", "value": second}]})


def test_remembered_attributes_are_told_apart() -> None:
    """Key, kind and value of an attribute all count, and so does its place; the memory is forgotten when it is full."""
    values = [{"stringValue": "1"}, {"intValue": "1"}, {"stringValue": "1", "intValue": "1"}, {"x": "1"}]
    attributes = [{"key": key, "value": value} for key in ("a", "b") for value in values]
    many = [{"key": "k", "value": {"stringValue": str(number)}} for number in range(5000)]
    for _ in range(2):
        span = read_span({"attributes": [*attributes, *many]})
        kinds = [attribute.value.WhichOneof("value") for attribute in span.attributes[:4]]
        assert kinds == ["string_value", "int_value", "int_value", None]
        assert [attribute.key for attribute in span.attributes[:8]] == ["a"] * 4 + ["b"] * 4
        assert span.attributes[-1].value.string_value == "4999"


def test_what_others_sent_changes_no_bytes() -> None:
    """An attribute with a further member, which is a field of newer protocols: not taken for the plain one later."""

    def convert(attribute: object) -> bytes:
        return convert_json(orjson.dumps({"resourceSpans": [{"resource": {"attributes": [attribute]}}]}))

    alone = convert({"key": "alone", "value": {"stringValue": "1"}})
    convert({"key": "other", "value": {"stringValue": "1"}, "keyStrindex": 7})
    assert convert({"key": "other", "value": {"stringValue": "1"}}) == alone.replace(b"alone", b"other")


def test_long_names_of_kinds_are_not_remembered() -> None:
    """Members of a value that nobody knows, each of 64 KiB and in requests of their own: none of them stays."""
    tracemalloc.start()
    try:
        for number in range(64):
            read_span({"attributes": [{"key": "k", "value": {f"{number:065536}": "1"}}]})
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1024 * 1024


@pytest.mark.parametrize(
    "item",
    [
        *(b"[]", b"{}", b"1.5", b'"a"', b"1", b'{"a":1}', b'"\\u00e4"', b"1234567890123", orjson.dumps(SPAN)),
        *(
            b'"\\ud83d"',
            b'{"name":"%s"}' % (b"\xff" * 150_000),
            b'{"name":"%s"}' % (b"\\ud83d" * 30_000),
            b'"\xff"',
            b'"\xf0\x9f\x98\x80\\ud83d"',
            b'"%s\xff"' % ("😀" * 1000).encode(),
            b"[" * 3000 + b"]" * 3000,
        ),
        *(b'"%s\\ud83d\xf0\x9f\x98\x80"' % (b"x" * 1000), orjson.dumps(SPAN).replace(b"bad", b"\xff \xf0\x9f\x98\x80")),
    ],
    ids=lambda item: ascii(item[:24])[2:-1],
)
@pytest.mark.parametrize("around", [b'{"x":[%s]}', b'{"resourceSpans":[{"scopeSpans":[{"spans":[%s]}]}]}'])
def test_memory_is_not_underestimated(item: bytes, around: bytes) -> None:
    """What reading takes stays below what was estimated before, also for bodies made to take much."""
    body = around % b",".join([item] * (200_000 // len(item)))
    tracemalloc.start()
    try:
        convert_json(body)
    except DecodeError:
        pass  # A number is no span; it was read all the same.
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < estimate_size_bytes(body)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "the body is empty"),
        (b'{"a":"\\ud83d","b":}', "Expecting value at character 18"),
        (b'{"a":"\xff","b":1 2}', "Expecting ',' delimiter at character 15"),
        (b'{"a":NaN}', "NaN is no JSON"),
        (b"[" * 100_000, "Expecting value at character 500"),
        (b'{"a":"\\ud83d","b":' + b"1" * 5000 + b"}", "Exceeds the limit"),
    ],
)
def test_the_error_is_told_that_the_text_has(text: bytes, reason: str) -> None:
    """Half of a pair, bytes that are no UTF-8 and depth are no errors, so they are not what is told beside one."""
    with pytest.raises(DecodeError) as caught:
        convert_json(text)
    assert str(caught.value).startswith(f"not an OTLP trace request in JSON: {reason}")


@pytest.mark.parametrize("keys", [("resourceSpans", "resource_spans"), ("resourceSpans", "resourceSpans")])
def test_spans_under_a_key_that_stands_twice_all_count(keys: tuple[str, str]) -> None:
    """As the Collector takes them: the lists become one, in their order, also where another list is null."""
    text = ",".join(f'"{key}":[{{"schemaUrl":"{number}"}}]' for number, key in enumerate(keys))
    request = ExportTraceServiceRequest.FromString(convert_json(f'{{{text},"{keys[0]}":null}}'.encode()))
    assert [resource_spans.schema_url for resource_spans in request.resource_spans] == ["0", "1"]


def test_spans_under_both_names_of_a_field_all_count() -> None:
    """In every message the lists under the two names of one field become one."""
    text = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a"}]}],"scope_spans":[{"spans":[{"name":"b"}]}]}]}'
    request = ExportTraceServiceRequest.FromString(convert_json(text))
    assert [scope.spans[0].name for scope in request.resource_spans[0].scope_spans] == ["a", "b"]
