"""Attributes: a KeyValue to its key's column and a cell."""

import numpy as np

from otel_sla.jit import byte_at, hot_kernel, inner_kernel
from otel_sla.spans.skipping import ARRAY, MAP, skip_child, skip_field
from otel_sla.spans.wire import CUT_OFF, DEPTH_MAX, TOO_DEEP, fail, read_fixed, read_length, read_tag, read_varint

_ABSENT, _STRING, _BOOL, _INT, _DOUBLE = map(np.int64, range(5))  # `columns.ValueType`.


@inner_kernel
def _read_any_value(body, position, end, depth, value_type, bits):
    """Read an AnyValue into (value_type, bits), which hold what an earlier part of the same message said.

    message AnyValue { oneof value { string string_value = 1; bool bool_value = 2; int64 int_value = 3;
        double double_value = 4; ArrayValue array_value = 5; KeyValueList kvlist_value = 6; bytes bytes_value = 7;
        int32 string_value_strindex = 8; } }
    """
    while position < end:
        tag, position = read_tag(body, position, end)
        if position < 0:
            break
        if tag == 0x0A or tag == 0x3A:
            length, position = read_length(body, position, end)
            if position < 0:
                break
            value_type = _STRING if tag == 0x0A else _ABSENT
            bits = np.uint64(position) << np.uint64(32) | np.uint64(length)
            position += length
        elif tag == 0x10 or tag == 0x18 or tag == 0x40:
            bits, position = read_varint(body, position, end)
            if tag == 0x18:
                value_type = _INT
            elif tag == 0x10:
                value_type = _BOOL
                bits = np.uint64(1) if bits != np.uint64(0) else np.uint64(0)
            else:
                value_type = _ABSENT
        elif tag == 0x21:
            if end - position < 8:
                position = fail(CUT_OFF, position)
                break
            value_type = _DOUBLE
            bits = read_fixed(body, position, 8)
            position += 8
        elif tag == 0x2A or tag == 0x32:
            value_type = _ABSENT
            position = skip_child(body, position, end, ARRAY if tag == 0x2A else MAP, depth + 1)
        else:
            position = skip_field(body, position, end, tag, depth)
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
        tag, position = read_tag(body, position, end)
        if position < 0:
            break
        if tag == 0x0A:
            key_size, position = read_length(body, position, end)
            key_start = position
            if position >= 0:
                position += key_size
        elif tag == 0x12:
            length, position = read_length(body, position, end)
            if position >= 0 and depth + 1 > DEPTH_MAX:
                position = fail(TOO_DEEP, position)
            if position >= 0:
                value_type, bits, position = _read_any_value(
                    body, position, position + length, depth + 1, value_type, bits
                )
        else:
            position = skip_field(body, position, end, tag, depth)
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
                    bits, at = read_varint(body, at + 1, end)
                    is_plain = at == end
                    value_type = _INT
                elif kind == 0x10 and size == 2:
                    is_plain = byte_at(body, at + 1) <= 1
                    value_type = _BOOL
                    bits = np.uint64(byte_at(body, at + 1))
                elif kind == 0x21 and size == 9:
                    is_plain = True
                    value_type = _DOUBLE
                    bits = read_fixed(body, at + 1, 8)
    if is_plain:
        position = end
    else:
        key_start, key_size, value_type, bits, position = _read_pair_slowly(body, position, end, depth)
    return key_start, key_size, value_type, bits, position


@hot_kernel
def _read_uint32(table, position):
    return (
        np.int64(byte_at(table, position))
        | np.int64(byte_at(table, position + 1)) << 8
        | np.int64(byte_at(table, position + 2)) << 16
        | np.int64(byte_at(table, position + 3)) << 24
    )


@hot_kernel
def _find_key(body, key_start, key_size, table):
    """Give the column of a watched key, or -1.

    Args:
        body: The request.
        key_start: First byte of the key.
        key_size: Bytes.
        table: Written by `decode.key_table`. uint32 numbers, little endian: the largest size; for each size from 0 on
            the position of its first entry, 0 for none. An entry: column, position of the next entry of that size or
            0, the key's bytes.
    """
    if key_size > _read_uint32(table, 0):
        return -1
    entry = _read_uint32(table, 4 + 4 * key_size)
    while entry > 0:
        # From the end: keys of one size mostly begin alike (`http.`, `rpc.`).
        same = key_size
        while same > 0 and byte_at(body, key_start + same - 1) == byte_at(table, entry + 7 + same):
            same -= 1
        if same == 0:
            return _read_uint32(table, entry)
        entry = _read_uint32(table, entry + 4)
    return -1


@hot_kernel
def read_attribute(body, position, end, depth, table):
    """Read a KeyValue whose tag was read; gives the column of its key or -1, the value and the position."""
    column, value_type, bits = -1, _ABSENT, np.uint64(0)
    length, position = read_length(body, position, end)
    if position >= 0:
        key_start, key_size, value_type, bits, position = _read_pair(body, position, position + length, depth)
        if position >= 0:
            column = _find_key(body, key_start, key_size, table)
    return column, value_type, bits, position
