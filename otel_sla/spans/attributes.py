"""Attributes: a KeyValue to its key's column and a cell."""

import numpy as np

from otel_sla.jit import hot_kernel, inner_kernel, multiply_folded, word_at
from otel_sla.spans.skipping import ARRAY, MAP, skip_child, skip_field
from otel_sla.spans.wire import CUT_OFF, DEPTH_MAX, TOO_DEEP, fail, read_fixed, read_length, read_tag, read_varint

_ABSENT, _STRING, _BOOL, _INT, _DOUBLE, _OTHER = map(np.int64, range(6))  # `columns.ValueType`.
_FACTOR = np.uint64(0x9E37_79B9_7F4A_7C15)


def slot_of(key: bytes, n_slots: int) -> int:
    """Where the search for a key begins (`_find_key`)."""
    return int(multiply_folded(np.uint64(tail_of(key) ^ len(key)), _FACTOR)) & (n_slots - 1)


def tail_of(key: bytes) -> int:
    """The last eight bytes of a key as a word; the word of a shorter key ends with zeros."""
    return int.from_bytes(key[-8:], "little")


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
            value_type = _STRING if tag == 0x0A else _OTHER
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
                value_type = _OTHER
        elif tag == 0x21:
            if end - position < 8:
                position = fail(CUT_OFF, position)
                break
            value_type = _DOUBLE
            bits = read_fixed(body, position, 8)
            position += 8
        elif tag == 0x2A or tag == 0x32:
            value_type = _OTHER
            position = skip_child(body, position, end, ARRAY if tag == 0x2A else MAP, depth + 1)
        else:
            position = skip_field(body, position, end, tag, depth)
        if position < 0:
            break
    return value_type, bits, position


@inner_kernel
def _read_pair(body, position, end, depth):
    """Read a KeyValue in any form; gives the key's range, the value and the position.

    message KeyValue { string key = 1; AnyValue value = 2; int32 key_strindex = 3; }
    """
    key_start, key_size = np.int64(0), np.int64(0)
    value_type, bits = _OTHER, np.uint64(0)
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
def _find_key(body, key_start, key_size, table):
    """Give the column of a watched key, or -1.

    Keys are told apart by their size and their last eight bytes, which are one word; the others are compared only if
    these are a watched key's. Reading the word is safe for shorter keys too: before each key stand the tags and sizes
    of the messages around it, at least eight bytes.

    Args:
        body: The request.
        key_start: First byte of the key.
        key_size: Bytes.
        table: Written by `request.key_table`. uint64 numbers, little endian: the number of slots, which is a power of
            two, minus one; then for each slot the last eight bytes of its key (`tail_of`), size << 32 | column + 1
            or 0 for an empty slot, and the position of the key in the table.
    """
    tail = np.uint64(0)
    if key_size > 0:
        tail = word_at(body, key_start + key_size - 8)
        if key_size < 8:
            tail >>= np.uint64(8 * (8 - key_size))
    hashed = multiply_folded(tail ^ np.uint64(key_size), _FACTOR)
    slot_mask = word_at(table, 0)
    while True:
        slot = 8 + 24 * np.int64(hashed & slot_mask)
        meta = np.int64(word_at(table, slot + 8))
        if meta == 0:
            return -1
        if word_at(table, slot) == tail and meta >> 32 == key_size:
            there = np.int64(word_at(table, slot + 16))
            at = np.int64(0)
            while at < key_size - 8 and word_at(body, key_start + at) == word_at(table, there + at):
                at += 8
            if at >= key_size - 8:
                return (meta & 0xFFFFFFFF) - 1
        hashed += np.uint64(1)


@hot_kernel
def read_attribute(body, size, position, end, depth, table):
    """Read a KeyValue whose tag was read; gives the column of its key or -1, the value and the position.

    Read here is what most attributes are, any other in a function of its own:
    <size> 0A <size> key 12 <size> (0A <size> text | 18 varint), sizes of one byte, a varint of at most two.
    """
    is_plain = False
    key_start, key_size = np.int64(0), np.int64(0)
    value_type, bits = _ABSENT, np.uint64(0)
    # Words may end past the message, but not past the request. 108 instead of 123 ns a span to decode, where tags and
    # sizes are read byte by byte (benchmarks/bench_stages.py).
    if size - position >= 8:
        head = np.int64(word_at(body, position) & np.uint64(0xFFFFFF))
        stop = position + 1 + (head & 0x7F)
        key_start = position + 3
        key_size = head >> 16
        at = key_start + key_size
        if head & 0x80FF80 == 0x000A00 and stop <= end and at + 4 <= stop and size - at >= 8:
            head = np.int64(word_at(body, at) & np.uint64(0xFFFFFFFFFF))
            value_size = head >> 8 & 0x7F
            if head & 0x80FF80FF == 0x000A0012:
                text_size = head >> 24 & 0x7F
                is_plain = at + 4 + text_size == stop and text_size + 2 == value_size
                value_type = _STRING
                bits = np.uint64(at + 4) << np.uint64(32) | np.uint64(text_size)
            elif head & 0xFF80FF == 0x180012 and at + 2 + value_size == stop:
                number = head >> 24
                if value_size == 2:
                    is_plain = number & 0x80 == 0
                    bits = np.uint64(number & 0x7F)
                elif value_size == 3:
                    is_plain = number & 0x8080 == 0x0080
                    bits = np.uint64((number & 0x7F) | (number >> 1 & 0x3F80))
                value_type = _INT
    if is_plain:
        position = stop
    else:
        length, position = read_length(body, position, end)
        if position >= 0:
            key_start, key_size, value_type, bits, position = _read_pair(body, position, position + length, depth)
    column = np.int64(-1)
    if position >= 0:
        column = _find_key(body, key_start, key_size, table)
    return column, value_type, bits, position
