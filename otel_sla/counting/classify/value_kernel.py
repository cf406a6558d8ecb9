"""The kernel that gives each cell the number of its value. What the numbers are for stands in `value_table`."""

import numpy as np

from otel_sla.jit import (
    Arrays,
    Buffer,
    Integer,
    array_reader,
    buffer_in,
    byte_at,
    hot_kernel,
    kernel,
    multiply_folded,
    word_at,
)
from otel_sla.spans.columns import SPAN_KIND_SERVER, ValueType, read_columns

_STRING, _OTHER = int(ValueType.STRING), int(ValueType.OTHER)

_ZERO, _ONE, _BYTE_BITS, _HALF_BITS = map(np.uint64, (0, 1, 8, 32))
_LOW_BYTE, _LOW_HALF = np.uint64(0xFF), np.uint64(0xFFFF_FFFF)

SPARSE_MAX = 8  # Columns whose types are one word.

read_table = array_reader(
    *("uint64[]", "int32[]", "uint64[]", "uint8[]", "int64[]"),
    *("int32[]", "int32[,]", "int32[,]"),
    *("int32[]", "uint64[]", "uint64[]"),
)


@hot_kernel
def _short_at(buffer: Buffer, buffer_size: int, at: Integer, size: Integer) -> np.uint64:
    """Read less than 8 bytes as a word that ends with zeros."""
    word = np.uint64(0)
    if at + 8 <= buffer_size:
        word = word_at(buffer, at) & ((np.uint64(1) << np.uint64(8 * size)) - np.uint64(1))
    else:
        for index in range(size):
            word |= np.uint64(byte_at(buffer, at + index)) << np.uint64(8 * index)
    return word


@kernel
def number_values_kernel(  # noqa: C901, PLR0912, PLR0915 - a kernel
    start: int, stop: int, columns: Arrays, table: Arrays, hash_mask: np.uint64
) -> int:
    """Number the cells of SERVER spans [start, stop); gives the span that did not fit, or stop.

    `columns` are SpanColumns, `table` is what `read_table` reads: ValueArrays, ChunkIds and
    int32[n], the indices of the span columns that are numbered;
    uint64[4], the key of the hash; and uint64[1], a byte of ones for each of the first 8 span columns that is numbered
    only where a value is there: of absent ones the id is not written. A resource's cells are numbered with its first
    span.

    Strings of up to 32 bytes, which are most, are read as four words that may overlap, without a loop: its end is what
    the processor cannot foresee where sizes vary.
    """
    body, _, _, resource_value_type, resource_value_bits, resource_index, kind = read_columns(columns)[:7]
    value_type, value_bits = read_columns(columns)[-2:]
    slots, known_cell, known_bits, text, table_size = read_table(table)[:5]
    ids_resource_row, ids_resource, ids_span, numbered_span_keys, hash_key, sparse_columns = read_table(table)[5:]
    salt_0, salt_1, salt_2, salt_3 = hash_key[0], hash_key[1], hash_key[2], hash_key[3]
    n_resource_keys = ids_resource.shape[1]
    n_numbered = numbered_span_keys.shape[0]
    n_dense = n_resource_keys + n_numbered
    n_span_keys = value_type.shape[1]
    types = buffer_in(value_type.ravel())
    sparse = sparse_columns[0]
    body_bytes = buffer_in(body)
    body_size = body.shape[0]
    text_bytes = buffer_in(text)
    slot_mask = np.uint64(slots.shape[0] - 1)
    n_values = table_size[0]
    text_size = table_size[1]
    text_size_max = text.shape[0]
    n_values_max = known_cell.shape[0] - 1
    last_resource = -1
    resource_row = -1
    came_to = stop
    for span in range(start, stop):
        if kind[span] != SPAN_KIND_SERVER:
            continue
        if n_values + n_dense + SPARSE_MAX > n_values_max:
            came_to = span
            break
        row = span - start
        resource = resource_index[span]
        cell = n_resource_keys
        if resource != last_resource:
            last_resource = resource
            resource_row += 1
            cell = 0
            for key in range(n_resource_keys):
                ids_resource[resource_row, key] = 0
        ids_resource_row[row] = resource_row
        is_full = False
        sparse_types = _ZERO
        if sparse != _ZERO:
            sparse_types = word_at(types, span * n_span_keys) & sparse
        sparse_key = -1
        while cell < n_dense or sparse_types != _ZERO:
            key = cell
            column = cell
            if cell < n_resource_keys:
                cell_type = resource_value_type[resource, key]
            elif cell < n_dense:
                key = numbered_span_keys[cell - n_resource_keys]
                column = n_resource_keys + key
                cell_type = value_type[span, key]
            else:
                cell_type = np.uint8(sparse_types & _LOW_BYTE)
                sparse_types >>= _BYTE_BITS
                sparse_key += 1
                if cell_type == 0:
                    continue
                key = sparse_key
                column = n_resource_keys + key
            cell += 1
            if cell_type in (0, _OTHER):
                if column >= n_resource_keys:
                    ids_span[row, key] = 0
                continue
            cell_bits = resource_value_bits[resource, key] if column < n_resource_keys else value_bits[span, key]
            column_and_type = column << 3 | np.int64(cell_type)
            offset = np.int64(cell_bits >> _HALF_BITS)
            size = np.int64(cell_bits & _LOW_HALF)
            # The first and the last 16 bytes of a string; of one that is shorter, what there is.
            first, last, second, third = cell_bits, _ZERO, _ZERO, _ZERO
            if cell_type == _STRING:
                if size >= 8:
                    first = word_at(body_bytes, offset)
                    last = word_at(body_bytes, offset + size - 8)
                    if size > 16:
                        second = word_at(body_bytes, offset + 8)
                        third = word_at(body_bytes, offset + size - 16)
                else:
                    first = _short_at(body_bytes, body_size, offset, size)
            hashed = multiply_folded(first ^ salt_0, last ^ salt_1 ^ np.uint64(column_and_type))
            if cell_type == _STRING:
                if size > 16:
                    hashed ^= multiply_folded(second ^ salt_2, third ^ salt_3)
                    for at in range(offset + 16, offset + size - 16, 8):
                        hashed = multiply_folded(hashed ^ word_at(body_bytes, at), salt_2)
                hashed ^= np.uint64(size) << _HALF_BITS
            hashed = multiply_folded(hashed ^ salt_1, salt_0) & hash_mask
            slot = hashed & slot_mask
            found = np.int64(0)
            while slots[slot] != _ZERO:
                candidate = np.int64(slots[slot] & _LOW_HALF)
                # The upper half of the hash, the column and the type, and then all of the value.
                if (slots[slot] ^ hashed) >> _HALF_BITS == _ZERO and known_cell[candidate] == column_and_type:
                    bits = known_bits[candidate]
                    if cell_type != _STRING:
                        if bits == cell_bits:
                            found = candidate
                            break
                    elif np.int64(bits & _LOW_HALF) == size:
                        there = np.int64(bits >> _HALF_BITS)
                        if size < 8:
                            difference = _short_at(text_bytes, text_size_max, there, size) ^ first
                        else:
                            difference = word_at(text_bytes, there) ^ first
                            difference |= word_at(text_bytes, there + size - 8) ^ last
                            if size > 16:
                                difference |= word_at(text_bytes, there + 8) ^ second
                                difference |= word_at(text_bytes, there + size - 16) ^ third
                                for at in range(16, size - 16, 8):
                                    difference |= word_at(text_bytes, there + at) ^ word_at(body_bytes, offset + at)
                        if difference == _ZERO:
                            found = candidate
                            break
                slot = (slot + _ONE) & slot_mask
            if found == 0:
                if cell_type == _STRING:
                    if text_size + size > text_size_max:
                        is_full = True
                        break
                    for index in range(size):
                        text[text_size + index] = byte_at(body_bytes, offset + index)
                    cell_bits = np.uint64(text_size) << _HALF_BITS | np.uint64(size)
                    text_size += size
                n_values += 1
                found = n_values
                known_cell[found] = column_and_type
                known_bits[found] = cell_bits
                slots[slot] = (hashed >> _HALF_BITS << _HALF_BITS) | np.uint64(found)
            if column < n_resource_keys:
                ids_resource[resource_row, key] = found
            else:
                ids_span[row, key] = found
        if is_full:
            came_to = span
            break
    table_size[0] = n_values
    table_size[1] = text_size
    return came_to
