"""The compiled scan of OTLP's protobuf wire format.

The kernels accept what upb, the reference parser, accepts, except that they do not look at UTF-8: the Collector passes
such text on unseen, and a whole request lost for one span's name would be worse. Where protobuf is awkward the rules
are upb's: unknown fields and fields of another wire type are skipped, a repeated singular message merges, the last
member of a oneof wins, a group is skipped up to its own end tag, nesting ends at 100 messages and groups.

A function that reads gives the position behind what it read, or a negative number that says what is wrong and where
(`_fail`). Every read is bounded by the end of the message that it is in, so none leaves the buffer.

Dimensions:
    n_bytes: bytes of the request.
"""

import numpy as np

from otel_sla.jit import byte_at, hot_kernel, inner_kernel, kernel

DEPTH_MAX = 100  # Messages and groups below the request, as in upb.
REASONS = (
    "a value is cut off",
    "a varint of more than 64 bits",
    "a tag that is none",
    "a length past the end of its message",
    "an end of a group that did not start",
    "nesting deeper than 100",
)
_CUT_OFF, _LONG_VARINT, _BAD_TAG, _LONG_LENGTH, _BAD_GROUP, _TOO_DEEP = map(np.int64, range(6))
# Depths of the messages on the way to a span. Typed, as are the numbers above and below that are handed to functions:
# numba compiles a function anew for each literal that it is called with.
_REQUEST, _RESOURCE_SPANS, _SCOPE_SPANS, _SPAN, _IN_SPAN = map(np.int64, range(5))
_RESOURCE, _IN_RESOURCE = _SCOPE_SPANS, _SPAN

_VARINT, _FIXED64, _BYTES, _GROUP, _GROUP_END, _FIXED32 = range(6)

_ABSENT, _STRING, _BOOL, _INT, _DOUBLE = map(np.int64, range(5))

# Messages that are only checked. opentelemetry/proto/{common/v1/common,resource/v1/resource,trace/v1/trace}.proto:
#   AnyValue { ArrayValue array_value = 5; KeyValueList kvlist_value = 6; }
#   ArrayValue { repeated AnyValue values = 1; }
#   KeyValueList { repeated KeyValue values = 1; }
#   KeyValue { AnyValue value = 2; }
#   InstrumentationScope { repeated KeyValue attributes = 3; }
#   Event { repeated KeyValue attributes = 3; }
#   Link { repeated KeyValue attributes = 4; }
_ANY, _ARRAY, _MAP, _PAIR, _SCOPE, _EVENT, _LINK, _LEAF = map(np.int64, range(8))
_CHILDREN_FIELDS_MAX = 8
_CHILDREN = np.full((8, _CHILDREN_FIELDS_MAX), -1, dtype=np.int8)
_CHILDREN[_ANY, 5], _CHILDREN[_ANY, 6] = _ARRAY, _MAP
_CHILDREN[_ARRAY, 1] = _ANY
_CHILDREN[_MAP, 1] = _PAIR
_CHILDREN[_PAIR, 2] = _ANY
_CHILDREN[_SCOPE, 3] = _CHILDREN[_EVENT, 3] = _CHILDREN[_LINK, 4] = _PAIR


@hot_kernel
def _fail(reason, position):
    return -(position * 8 + reason) - 1


@inner_kernel
def _read_varint(body, position, end):
    value = np.uint64(0)
    shift = np.uint64(0)
    start = position
    while True:
        if position >= end:
            position = _fail(_CUT_OFF, start)
            break
        byte = np.uint64(byte_at(body, position))
        position += 1
        value |= (byte & np.uint64(0x7F)) << shift
        if byte < np.uint64(0x80):
            break
        shift += np.uint64(7)
        if shift > np.uint64(63):
            position = _fail(_LONG_VARINT, start)
            break
    return value, position


@inner_kernel
def _read_long_tag(body, position, end):
    start = position
    tag = np.int64(0)
    shift = 0
    while True:
        if position >= end:
            position = _fail(_CUT_OFF, start)
            break
        byte = np.int64(byte_at(body, position))
        position += 1
        tag |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 28:
            position = _fail(_BAD_TAG, start)
            break
    if position >= 0 and tag > 0xFFFFFFFF:
        position = _fail(_BAD_TAG, start)
    return tag, position


@hot_kernel
def _read_tag(body, position, end):
    """Read a tag; `position` is before `end`. Field number 0 is left to who skips the field."""
    tag = np.int64(byte_at(body, position))
    if tag < 0x80:
        position += 1
    else:
        tag, position = _read_long_tag(body, position, end)
    return tag, position


@inner_kernel
def _read_long_length(body, position, end):
    start = position
    length = np.int64(0)
    shift = 0
    while True:
        if position >= end:
            position = _fail(_CUT_OFF, start)
            break
        byte = np.int64(byte_at(body, position))
        position += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 28:
            position = _fail(_LONG_LENGTH, start)
            break
    return length, position


@hot_kernel
def _read_length(body, position, end):
    """Read a length; the position is where its bytes begin, all of them before `end`."""
    start = position
    length = np.int64(0x80)
    if position < end:
        length = np.int64(byte_at(body, position))
    if length < 0x80:
        position += 1
    else:
        length, position = _read_long_length(body, position, end)
    if position >= 0 and length > end - position:
        position = _fail(_LONG_LENGTH, start)
    return length, position


@inner_kernel
def _skip_message(body, position, end, message, depth):
    """Check a message whose fields nobody asks for, or the inside of a group, where upb takes field number 0 too.

    `message` is which one, or -1 minus the field number of a group that has just been opened; `depth` counts the
    messages and groups around the content, itself included.
    """
    if depth > DEPTH_MAX:
        return _fail(_TOO_DEEP, position)
    ends = np.empty(DEPTH_MAX + 1, dtype=np.int64)
    messages = np.empty(DEPTH_MAX + 1, dtype=np.int64)
    outermost = depth
    ends[depth] = end
    messages[depth] = message
    while True:
        end = ends[depth]
        message = messages[depth]
        if position == end:
            if message < 0:
                return _fail(_CUT_OFF, position)
            if depth == outermost:
                return position
            depth -= 1
            continue
        start = position
        tag, position = _read_tag(body, position, end)
        if position < 0:
            return position
        wire_type = tag & 7
        field = tag >> 3
        if field == 0 and message >= 0:
            return _fail(_BAD_TAG, start)
        if wire_type == _VARINT:
            _, position = _read_varint(body, position, end)
        elif wire_type == _BYTES:
            length, position = _read_length(body, position, end)
            if position >= 0:
                child = -1
                if message >= 0 and field < _CHILDREN_FIELDS_MAX:
                    child = _CHILDREN[message, field]
                if child < 0:
                    position += length
                elif depth == DEPTH_MAX:
                    return _fail(_TOO_DEEP, start)
                else:
                    depth += 1
                    ends[depth] = position + length
                    messages[depth] = child
        elif wire_type == _FIXED64:
            position = position + 8 if end - position >= 8 else _fail(_CUT_OFF, start)
        elif wire_type == _FIXED32:
            position = position + 4 if end - position >= 4 else _fail(_CUT_OFF, start)
        elif wire_type == _GROUP:
            if depth == DEPTH_MAX:
                return _fail(_TOO_DEEP, start)
            depth += 1
            ends[depth] = end
            messages[depth] = -field - 1
        elif wire_type == _GROUP_END:
            if message != -field - 1:
                return _fail(_BAD_GROUP, start)
            if depth == outermost:
                return position
            depth -= 1
        else:
            return _fail(_BAD_TAG, start)
        if position < 0:
            return position


@inner_kernel
def _skip_field(body, position, end, tag, depth):
    """Skip a field whose tag was read; `depth` is that of the message that it is in."""
    wire_type = tag & 7
    if tag < 8:
        position = _fail(_BAD_TAG, position)
    elif wire_type == _VARINT:
        _, position = _read_varint(body, position, end)
    elif wire_type == _BYTES:
        length, position = _read_length(body, position, end)
        if position >= 0:
            position += length
    elif wire_type == _FIXED64:
        position = position + 8 if end - position >= 8 else _fail(_CUT_OFF, position)
    elif wire_type == _FIXED32:
        position = position + 4 if end - position >= 4 else _fail(_CUT_OFF, position)
    elif wire_type == _GROUP:
        position = _skip_message(body, position, end, -(tag >> 3) - 1, depth + 1)
    elif wire_type == _GROUP_END:
        position = _fail(_BAD_GROUP, position)
    else:
        position = _fail(_BAD_TAG, position)
    return position


@inner_kernel
def _skip_child(body, position, end, message, depth):
    """Check a message field whose tag was read; `depth` is the child's own."""
    length, position = _read_length(body, position, end)
    if position >= 0:
        position = _skip_message(body, position, position + length, message, depth)
    return position


@inner_kernel
def _read_fixed(body, position, n_bytes):
    value = np.uint64(0)
    for index in range(n_bytes):
        value |= np.uint64(byte_at(body, position + index)) << np.uint64(8 * index)
    return value


@inner_kernel
def _read_any_value(body, position, end, depth, value_type, bits):
    """Read an AnyValue into (value_type, bits), which hold what an earlier part of the same message said.

    message AnyValue { oneof value { string string_value = 1; bool bool_value = 2; int64 int_value = 3;
        double double_value = 4; ArrayValue array_value = 5; KeyValueList kvlist_value = 6; bytes bytes_value = 7;
        int32 string_value_strindex = 8; } }
    """
    while position < end:
        tag, position = _read_tag(body, position, end)
        if position < 0:
            break
        if tag == 0x0A or tag == 0x3A:
            length, position = _read_length(body, position, end)
            if position < 0:
                break
            value_type = _STRING if tag == 0x0A else _ABSENT
            bits = np.uint64(position) << np.uint64(32) | np.uint64(length)
            position += length
        elif tag == 0x10 or tag == 0x18 or tag == 0x40:
            bits, position = _read_varint(body, position, end)
            if tag == 0x18:
                value_type = _INT
            elif tag == 0x10:
                value_type = _BOOL
                bits = np.uint64(1) if bits != np.uint64(0) else np.uint64(0)
            else:
                value_type = _ABSENT
        elif tag == 0x21:
            if end - position < 8:
                position = _fail(_CUT_OFF, position)
                break
            value_type = _DOUBLE
            bits = _read_fixed(body, position, 8)
            position += 8
        elif tag == 0x2A or tag == 0x32:
            value_type = _ABSENT
            position = _skip_child(body, position, end, _ARRAY if tag == 0x2A else _MAP, depth + 1)
        else:
            position = _skip_field(body, position, end, tag, depth)
        if position < 0:
            break
    return value_type, bits, position


@inner_kernel
def _read_pair_slowly(body, position, end, depth):
    """Read a KeyValue in any form; gives the key's range, the value and the position.

    message KeyValue { string key = 1; AnyValue value = 2; int32 key_strindex = 3; }
    """
    key_start, key_size = np.int64(0), np.int64(0)
    value_type, bits = _ABSENT, np.uint64(0)
    while position < end:
        tag, position = _read_tag(body, position, end)
        if position < 0:
            break
        if tag == 0x0A:
            key_size, position = _read_length(body, position, end)
            key_start = position
            if position >= 0:
                position += key_size
        elif tag == 0x12:
            length, position = _read_length(body, position, end)
            if position >= 0 and depth + 1 > DEPTH_MAX:
                position = _fail(_TOO_DEEP, position)
            if position >= 0:
                value_type, bits, position = _read_any_value(
                    body, position, position + length, depth + 1, value_type, bits
                )
        else:
            position = _skip_field(body, position, end, tag, depth)
        if position < 0:
            break
    return key_start, key_size, value_type, bits, position


@hot_kernel
def _read_pair(body, position, end, depth):
    """Read a KeyValue: the form that every SDK writes is read here, any other slowly."""
    is_plain = False
    key_start, key_size = np.int64(0), np.int64(0)
    value_type, bits = _ABSENT, np.uint64(0)
    # 0A <size> key 12 <size> (0A <size> text | 18 varint | 10 bool | 21 double), sizes of at most two bytes.
    if end - position >= 6 and byte_at(body, position) == 0x0A and byte_at(body, position + 1) < 0x80:
        key_size = np.int64(byte_at(body, position + 1))
        key_start = position + 2
        at = key_start + key_size
        if end - at >= 4 and byte_at(body, at) == 0x12:
            size = np.int64(byte_at(body, at + 1))
            at += 2
            if size >= 0x80:
                size = (size & 0x7F) | (np.int64(byte_at(body, at)) << 7) if byte_at(body, at) < 0x80 else np.int64(-1)
                at += 1
            if size == end - at and size >= 2:
                kind = byte_at(body, at)
                if kind == 0x0A:
                    size = np.int64(byte_at(body, at + 1))
                    at += 2
                    if size >= 0x80 and at < end:
                        size = (
                            (size & 0x7F) | (np.int64(byte_at(body, at)) << 7)
                            if byte_at(body, at) < 0x80
                            else np.int64(-1)
                        )
                        at += 1
                    is_plain = size == end - at
                    value_type = _STRING
                    bits = np.uint64(at) << np.uint64(32) | np.uint64(size)
                elif kind == 0x18:
                    bits, at = _read_varint(body, at + 1, end)
                    is_plain = at == end
                    value_type = _INT
                elif kind == 0x10 and size == 2:
                    is_plain = byte_at(body, at + 1) <= 1
                    value_type = _BOOL
                    bits = np.uint64(byte_at(body, at + 1))
                elif kind == 0x21 and size == 9:
                    is_plain = True
                    value_type = _DOUBLE
                    bits = _read_fixed(body, at + 1, 8)
    if is_plain:
        position = end
    else:
        key_start, key_size, value_type, bits, position = _read_pair_slowly(body, position, end, depth)
    return key_start, key_size, value_type, bits, position


@hot_kernel
def _read_uint16(table, position):
    return np.int64(byte_at(table, position)) | np.int64(byte_at(table, position + 1)) << 8


@hot_kernel
def _find_key(body, key_start, key_size, table):
    """Give the column of a watched key, or -1.

    Args:
        body: The request.
        key_start: First byte of the key.
        key_size: Bytes.
        table: Written by `decode.key_table`. uint16 numbers, little endian: the largest size; for each size from 0 on
            the position of its first entry, 0 for none. An entry: column, position of the next entry of that size or
            0, the key's bytes.
    """
    if key_size > _read_uint16(table, 0):
        return -1
    entry = _read_uint16(table, 2 + 2 * key_size)
    while entry > 0:
        # From the end: keys of one size mostly begin alike (`http.`, `rpc.`).
        same = key_size
        while same > 0 and byte_at(body, key_start + same - 1) == byte_at(table, entry + 3 + same):
            same -= 1
        if same == 0:
            return _read_uint16(table, entry)
        entry = _read_uint16(table, entry + 2)
    return -1


@hot_kernel
def _read_attribute(body, position, end, depth, table):
    """Read a KeyValue whose tag was read; gives the column of its key or -1, the value and the position."""
    column, value_type, bits = -1, _ABSENT, np.uint64(0)
    length, position = _read_length(body, position, end)
    if position >= 0:
        key_start, key_size, value_type, bits, position = _read_pair(body, position, position + length, depth)
        if position >= 0:
            column = _find_key(body, key_start, key_size, table)
    return column, value_type, bits, position


@inner_kernel
def _read_status_code(body, position, end, code):
    """message Status { string message = 2; StatusCode code = 3; }"""
    while position < end:
        tag, position = _read_tag(body, position, end)
        if position < 0:
            break
        if tag == 0x18:
            value, position = _read_varint(body, position, end)
            code = _to_int32(value)
        else:
            position = _skip_field(body, position, end, tag, _IN_SPAN)
        if position < 0:
            break
    return code, position


@inner_kernel
def _to_int32(value):
    """An enum is cut to 32 bits."""
    return np.int32(np.int64(value & np.uint64(0xFFFFFFFF)))


@inner_kernel
def _has_other_than_zero(body, position, size):
    for index in range(position, position + size):
        if byte_at(body, index) != 0:
            return True
    return False


@kernel
def count_kernel(body, end, counts):
    """Count what the columns need room for; stops where the scan will find the error.

    message ExportTraceServiceRequest { repeated ResourceSpans resource_spans = 1; }
    message ResourceSpans { Resource resource = 1; repeated ScopeSpans scope_spans = 2; }
    message ScopeSpans { InstrumentationScope scope = 1; repeated Span spans = 2; }

    Args:
        body: The request (`jit.buffer_of`).
        end: n_bytes.
        counts: int64[2], written. ResourceSpans, spans.
    """
    counts[0] = 0
    counts[1] = 0
    position = 0
    while 0 <= position < end:
        tag, position = _read_tag(body, position, end)
        if position < 0:
            break
        if tag != 0x0A:
            position = _skip_field(body, position, end, tag, _REQUEST)
            continue
        length, position = _read_length(body, position, end)
        if position < 0:
            break
        counts[0] += 1
        resource_end = position + length
        while 0 <= position < resource_end:
            tag, position = _read_tag(body, position, resource_end)
            if position < 0:
                break
            if tag != 0x12:
                position = _skip_field(body, position, resource_end, tag, _RESOURCE_SPANS)
                continue
            length, position = _read_length(body, position, resource_end)
            if position < 0:
                break
            scope_end = position + length
            while 0 <= position < scope_end:
                tag, position = _read_tag(body, position, scope_end)
                if position < 0:
                    break
                if tag == 0x12:
                    counts[1] += 1
                position = _skip_field(body, position, scope_end, tag, _SCOPE_SPANS)


@kernel
def _scan_resource(body, position, end, table, types, bits, row):
    """message Resource { repeated KeyValue attributes = 1; repeated EntityRef entity_refs = 3; }"""
    while position < end:
        tag, position = _read_tag(body, position, end)
        if position < 0:
            break
        if tag == 0x0A:
            column, value_type, value_bits, position = _read_attribute(body, position, end, _IN_RESOURCE, table)
            if column >= 0:
                types[row, column] = value_type
                bits[row, column] = value_bits
        elif tag == 0x1A:
            position = _skip_child(body, position, end, _LEAF, _IN_RESOURCE)
        else:
            position = _skip_field(body, position, end, tag, _RESOURCE)
        if position < 0:
            break
    return position


@kernel
def scan_kernel(
    body, end, resource_table, span_table,
    resource_start, resource_stop, resource_types, resource_bits,
    resource_index, kind, end_time_unix_nano, flags, has_parent, span_status_code, types, bits,
):  # fmt: skip
    """Fill the columns (see `columns.SpanColumns`), which have room for what `count_kernel` counted and are zero.

    message Span { bytes parent_span_id = 4; SpanKind kind = 6; fixed64 end_time_unix_nano = 8;
        repeated KeyValue attributes = 9; repeated Event events = 11; repeated Link links = 13; Status status = 15;
        fixed32 flags = 16; }

    One function of nested loops: handing the columns to another one would count their references for each span.

    Args:
        body: The request (`jit.buffer_of`).
        end: n_bytes.
        resource_table: Keys of `resource_types` (`_find_key`).
        span_table: Keys of `types`.
        resource_start: This and all behind it: the columns, written.

    Returns:
        n_bytes, or a negative number that `decode` reads.
    """
    position = 0
    resource, row = -1, -1
    while position < end:
        tag, position = _read_tag(body, position, end)
        if position < 0:
            return position
        if tag != 0x0A:
            position = _skip_field(body, position, end, tag, _REQUEST)
            if position < 0:
                return position
            continue
        length, position = _read_length(body, position, end)
        if position < 0:
            return position
        resource += 1
        resource_end = position + length
        resource_start[resource] = position
        resource_stop[resource] = resource_end
        while position < resource_end:
            tag, position = _read_tag(body, position, resource_end)
            if position < 0:
                return position
            if tag == 0x0A:
                length, position = _read_length(body, position, resource_end)
                if position >= 0:
                    position = _scan_resource(
                        body, position, position + length, resource_table, resource_types, resource_bits, resource
                    )
                if position < 0:
                    return position
                continue
            if tag != 0x12:
                position = _skip_field(body, position, resource_end, tag, _RESOURCE_SPANS)
                if position < 0:
                    return position
                continue
            length, position = _read_length(body, position, resource_end)
            if position < 0:
                return position
            scope_end = position + length
            while position < scope_end:
                tag, position = _read_tag(body, position, scope_end)
                if position < 0:
                    return position
                if tag != 0x12:
                    if tag == 0x0A:
                        position = _skip_child(body, position, scope_end, _SCOPE, _SPAN)
                    else:
                        position = _skip_field(body, position, scope_end, tag, _SCOPE_SPANS)
                    if position < 0:
                        return position
                    continue
                length, position = _read_length(body, position, scope_end)
                if position < 0:
                    return position
                span_end = position + length
                row += 1
                resource_index[row] = resource
                while position < span_end:
                    tag, position = _read_tag(body, position, span_end)
                    if position < 0:
                        return position
                    if tag == 0x4A:
                        column, value_type, value_bits, position = _read_attribute(
                            body, position, span_end, _IN_SPAN, span_table
                        )
                        if column >= 0:
                            types[row, column] = value_type
                            bits[row, column] = value_bits
                    elif tag == 0x22:
                        length, position = _read_length(body, position, span_end)
                        if position >= 0:
                            has_parent[row] = _has_other_than_zero(body, position, length)
                            position += length
                    elif tag == 0x30:
                        value, position = _read_varint(body, position, span_end)
                        kind[row] = _to_int32(value)
                    elif tag == 0x41 and span_end - position >= 8:
                        end_time_unix_nano[row] = _read_fixed(body, position, 8)
                        position += 8
                    elif tag == 0x85 and span_end - position >= 4:
                        flags[row] = np.uint32(_read_fixed(body, position, 4))
                        position += 4
                    elif tag == 0x7A:
                        length, position = _read_length(body, position, span_end)
                        if position >= 0:
                            code, position = _read_status_code(body, position, position + length, span_status_code[row])
                            span_status_code[row] = code
                    elif tag == 0x5A:
                        position = _skip_child(body, position, span_end, _EVENT, _IN_SPAN)
                    elif tag == 0x6A:
                        position = _skip_child(body, position, span_end, _LINK, _IN_SPAN)
                    else:
                        position = _skip_field(body, position, span_end, tag, _SPAN)
                    if position < 0:
                        return position
    return position
