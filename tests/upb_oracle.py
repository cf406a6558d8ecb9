"""What upb, the reference parser, makes of a request: the oracle of the compiled decoder.

Text is bytes here, so that upb does not look at UTF-8, which the decoder leaves alone by design.
"""

import struct
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from otel_sla.spans.columns import SPAN_KIND_SERVER, SpanColumns, ValueType, WatchList

DEPTH_MAX = 100  # Of messages, in upb.
Cell = tuple[int, int | bytes]  # ValueType and what it holds: the bytes of a string, else the bits; absent is (0, 0).


@dataclass(frozen=True)
class Decoded:
    """A request as plain values, so that two of them compare and print."""

    resource_bytes: list[bytes]  # Each ResourceSpans as it stands in the request.
    resource_cells: list[list[Cell]]
    # Resource, kind, end time, flags, has parent, status code, threshold.
    spans: list[tuple[int, int, int, int, bool, int, int]]
    cells: list[list[Cell]]


def _load_pool(opaque: frozenset[str] = frozenset()) -> descriptor_pool.DescriptorPool:
    """Load the protocol; the fields of the messages in `opaque` hold bytes that nobody looks at."""
    pool = descriptor_pool.DescriptorPool()
    for module in (common_pb2, resource_pb2, trace_pb2, trace_service_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        waiting = list(file.message_type)
        while waiting:
            kind = waiting.pop()
            waiting.extend(kind.nested_type)
            for field in kind.field:
                if field.type == field.TYPE_STRING or kind.name in opaque:
                    field.type = field.TYPE_BYTES
                    field.ClearField("type_name")
        pool.Add(file)
    raw = descriptor_pb2.FileDescriptorProto(name="raw.proto", package="raw", syntax="proto3")
    kind = raw.message_type.add(name="Request")
    kind.field.add(
        name="resource_spans",
        number=1,
        type=descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
        label=descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED,
    )
    pool.Add(raw)
    return pool


_POOL = _load_pool()
REQUEST_DESCRIPTOR = _POOL.FindMessageTypeByName("opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest")
_Request = message_factory.GetMessageClass(REQUEST_DESCRIPTOR)
_SHALLOW_POOL = _load_pool(frozenset({"ArrayValue", "KeyValueList"}))
SHALLOW_DESCRIPTOR = _SHALLOW_POOL.FindMessageTypeByName(REQUEST_DESCRIPTOR.full_name)
_ShallowRequest = message_factory.GetMessageClass(SHALLOW_DESCRIPTOR)
_RawRequest = message_factory.GetMessageClass(_POOL.FindMessageTypeByName("raw.Request"))


def _cell(value: Any) -> Cell:  # noqa: ANN401  an AnyValue of the private pool
    which = value.WhichOneof("value")
    if which == "string_value":
        return ValueType.STRING, value.string_value
    if which == "bool_value":
        return ValueType.BOOL, int(value.bool_value)
    if which == "int_value":
        return ValueType.INT, value.int_value & 0xFFFF_FFFF_FFFF_FFFF
    if which == "double_value":
        return ValueType.DOUBLE, struct.unpack("<Q", struct.pack("<d", value.double_value))[0]
    return ValueType.OTHER, 0


def _threshold(trace_state: bytes) -> int:
    """The sampling threshold plus 1; 0: there is none; -1: it is unusable."""
    for member in trace_state.split(b","):
        key, _, value = member.strip(b" \t").partition(b"=")
        if key != b"ot" or b"=" not in member:
            continue
        for each in value.split(b";"):
            name, separator, digits = each.partition(b":")
            if name == b"th" and separator:
                is_usable = 1 <= len(digits) <= 14 and not digits.strip(b"0123456789abcdefABCDEF")
                return int(digits.ljust(14, b"0"), 16) + 1 if is_usable else -1
        return 0
    return 0


def _cells(attributes: Any, keys: tuple[bytes, ...]) -> list[Cell]:  # noqa: ANN401  repeated KeyValue
    found = {attribute.key: attribute.value for attribute in attributes}
    return [_cell(found[key]) if key in found else (ValueType.ABSENT, 0) for key in keys]


def decode_with_upb(body: bytes, watch: WatchList, *, is_shallow: bool = False) -> Decoded | None:
    """Decode by upb and loops over its objects; None where upb rejects the bytes.

    `is_shallow`: it does not look at what arrays and maps hold, however deep that is.
    """
    try:
        request: Any = (_ShallowRequest if is_shallow else _Request).FromString(body)
    except message.DecodeError:
        return None
    raw: Any = _RawRequest.FromString(body)
    decoded = Decoded(list(raw.resource_spans), [], [], [])
    for index, resource_spans in enumerate(request.resource_spans):
        decoded.resource_cells.append(_cells(resource_spans.resource.attributes, watch.resource_keys))
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                has_parent = any(span.parent_span_id)
                threshold = _threshold(span.trace_state) if span.kind == SPAN_KIND_SERVER else 0
                decoded.spans.append(
                    (index, span.kind, span.end_time_unix_nano, span.flags, has_parent, span.status.code, threshold)
                )
                decoded.cells.append(_cells(span.attributes, watch.span_keys))
    return decoded


def is_nested_too_deeply(body: bytes) -> bool:
    """Whether a message lies deeper than upb goes, as far as the bytes can be read."""
    waiting = [(REQUEST_DESCRIPTOR, 0, len(body), 0)]
    while waiting:
        descriptor, position, end, depth = waiting.pop()
        while position < end:
            tag, position = _read_varint(body, position)
            field = descriptor.fields_by_number.get(tag >> 3)
            if tag & 7 in {0, 2}:
                size, position = _read_varint(body, position)
                if tag & 7 == 2 and field is not None and field.message_type is not None:
                    if depth == DEPTH_MAX:
                        return True
                    waiting.append((field.message_type, position, min(position + size, end), depth + 1))
                position += size if tag & 7 == 2 else 0
            else:
                position += {1: 8, 5: 4}.get(tag & 7, 0)
    return False


def _read_varint(body: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(body):
        value |= (body[position] & 0x7F) << shift
        shift, position = shift + 7, position + 1
        if body[position - 1] < 0x80:
            break
    return value, position


def _rows(types: Any, bits: Any, body: bytes) -> list[list[Cell]]:  # noqa: ANN401  arrays
    return [
        [_read_cell(kind, value, body) for kind, value in zip(*row, strict=True)]
        for row in zip(types.tolist(), bits.tolist(), strict=True)
    ]


def _read_cell(kind: int, bits: int, body: bytes) -> Cell:
    if kind in (ValueType.ABSENT, ValueType.OTHER):
        return kind, 0
    if kind == ValueType.STRING:
        start, size = bits >> 32, bits & 0xFFFF_FFFF
        assert start + size <= len(body), f"a string of {size} bytes at {start} is outside of {len(body)} bytes"
        return kind, body[start : start + size]
    return kind, bits


def read_columns(columns: SpanColumns) -> Decoded:
    """Write columns as plain values."""
    body = columns.body.tobytes()
    ranges = zip(columns.resource_start.tolist(), columns.resource_stop.tolist(), strict=True)
    return Decoded(
        [body[start:stop] for start, stop in ranges],
        _rows(columns.resource_value_type, columns.resource_value_bits, body),
        list(
            zip(
                columns.resource_index.tolist(),
                columns.kind.tolist(),
                columns.end_time_unix_nano.tolist(),
                columns.flags.tolist(),
                columns.has_parent.tolist(),
                columns.span_status_code.tolist(),
                columns.threshold.tolist(),
                strict=True,
            )
        ),
        _rows(columns.value_type, columns.value_bits, body),
    )
