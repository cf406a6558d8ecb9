"""The kernel that gives each cell the number of its value. What the numbers are for stands in `values`."""

import numpy as np

from otel_sla.jit import Arrays, array_reader, inlined_kernel, kernel
from otel_sla.spans.columns import SPAN_KIND_SERVER, UInt8Array, ValueType, read_columns

_STRING = int(ValueType.STRING)

read_table = array_reader(
    *("uint64[]", "int32[]", "uint64[]", "uint8[]", "int64[]"),
    *("int32[]", "int32[,]", "int32[,]"),
    "int32[]",
)


@inlined_kernel
def _word_at(text: UInt8Array, at: np.uint64) -> np.uint64:
    """Read 8 bytes; the compiler makes one load of them."""
    word = np.uint64(text[at])
    word |= np.uint64(text[at + np.uint64(1)]) << np.uint64(8)
    word |= np.uint64(text[at + np.uint64(2)]) << np.uint64(16)
    word |= np.uint64(text[at + np.uint64(3)]) << np.uint64(24)
    word |= np.uint64(text[at + np.uint64(4)]) << np.uint64(32)
    word |= np.uint64(text[at + np.uint64(5)]) << np.uint64(40)
    word |= np.uint64(text[at + np.uint64(6)]) << np.uint64(48)
    word |= np.uint64(text[at + np.uint64(7)]) << np.uint64(56)
    return word


@inlined_kernel
def _short_at(text: UInt8Array, at: np.uint64, size: np.uint64) -> np.uint64:
    """Read less than 8 bytes as a word that ends with zeros."""
    word = np.uint64(0)
    if at + np.uint64(8) <= np.uint64(text.shape[0]):
        word = _word_at(text, at) & ((np.uint64(1) << np.uint64(8) * size) - np.uint64(1))
    else:
        for index in range(size):
            word |= np.uint64(text[at + np.uint64(index)]) << np.uint64(8 * index)
    return word


@kernel
def number_values_kernel(  # noqa: C901, PLR0912, PLR0915 - a kernel
    start: int, stop: int, columns: Arrays, table: Arrays, hash_mask: np.uint64
) -> int:
    """Number the cells of SERVER spans [start, stop); gives the span that did not fit, or stop.

    `columns` are SpanColumns, `table` is what `read_table` reads: values.ValueArrays, values.ChunkIds and
    int32[n], the indices of the span columns that are numbered. A resource's cells are numbered with its first span.

    Strings of up to 32 bytes, which are most, are read as four words that may overlap, without a loop: its end is what
    the processor cannot foresee where sizes vary. The hash multiplies 32 by 32 bits, which cannot overflow, so that
    the kernel also runs as plain Python.
    """
    (
        body,
        _,
        _,
        resource_value_type,
        resource_value_bits,
        resource_index,
        kind,
        _,
        _,
        _,
        _,
        value_type,
        value_bits,
    ) = read_columns(columns)
    (
        slots,
        known_cell,
        known_bits,
        text,
        table_size,
        ids_resource_row,
        ids_resource,
        ids_span,
        numbered_span_keys,
    ) = read_table(table)
    n_resource_keys = ids_resource.shape[1]
    n_numbered = numbered_span_keys.shape[0]
    low = np.uint64(0xFFFF_FFFF)
    u8 = np.uint64(8)
    u16 = np.uint64(16)
    u32 = np.uint64(32)
    factor = np.uint64(0x9E37_79B1)
    one = np.uint64(1)
    slot_mask = np.uint64(slots.shape[0] - 1)
    n_values = table_size[0]
    text_size = np.uint64(table_size[1])
    text_size_max = np.uint64(text.shape[0])
    n_values_max = known_cell.shape[0] - 1
    last_resource = -1
    resource_row = -1
    came_to = stop
    for span in range(start, stop):
        if kind[span] != SPAN_KIND_SERVER:
            continue
        if n_values + n_resource_keys + n_numbered > n_values_max:
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
        while cell < n_resource_keys + n_numbered:
            key = cell
            column = cell
            if cell < n_resource_keys:
                cell_type = resource_value_type[resource, key]
            else:
                key = numbered_span_keys[cell - n_resource_keys]
                column = n_resource_keys + key
                cell_type = value_type[span, key]
            cell += 1
            if cell_type == 0:
                if column >= n_resource_keys:
                    ids_span[row, key] = 0
                continue
            cell_bits = resource_value_bits[resource, key] if column < n_resource_keys else value_bits[span, key]
            column_and_type = column << 3 | np.int64(cell_type)
            offset = cell_bits >> u32
            size = cell_bits & low
            # The first and the last 16 bytes of a string; of one that is shorter, what there is.
            first, last = cell_bits, np.uint64(0)
            second, third = np.uint64(0), np.uint64(0)
            if cell_type == _STRING:
                if size >= u8:
                    first = _word_at(body, offset)
                    last = _word_at(body, offset + size - u8)
                    if size > u16:
                        second = _word_at(body, offset + u8)
                        third = _word_at(body, offset + size - u16)
                else:
                    first = _short_at(body, offset, size)
            hashed = (first & low) * factor ^ (first >> u32) * np.uint64(0x85EB_CA6B)
            hashed ^= (last & low) * np.uint64(0xC2B2_AE35) ^ (last >> u32) * np.uint64(0x27D4_EB2F)
            hashed ^= (second & low) * np.uint64(0x1656_67B1) ^ (second >> u32) * np.uint64(0xD6E8_FEB9)
            hashed ^= (third & low) * np.uint64(0xCC9E_2D51) ^ (third >> u32) * np.uint64(0x1B87_3593)
            hashed ^= np.uint64(column_and_type)
            if cell_type == _STRING:
                hashed ^= size << u32
                at = offset + u16
                while at + u16 < offset + size:
                    hashed = (hashed & low) * factor + (hashed >> u32)
                    hashed ^= _word_at(body, at)
                    at += u8
            hashed = (hashed & low) * factor + (hashed >> u32)
            hashed = (hashed & low) * factor + (hashed >> u32)
            hashed = (hashed ^ (hashed >> u32)) & hash_mask
            slot = hashed & slot_mask
            found = np.int64(0)
            while slots[slot] != 0:
                candidate = np.int64(slots[slot] & low)
                # The upper half of the hash, the column and the type, and then all of the value.
                if (slots[slot] ^ hashed) >> u32 == 0 and known_cell[candidate] == column_and_type:
                    bits = known_bits[candidate]
                    if cell_type != _STRING:
                        if bits == cell_bits:
                            found = candidate
                            break
                    elif bits & low == size:
                        there = bits >> u32
                        if size < u8:
                            difference = _short_at(text, there, size) ^ first
                        else:
                            difference = (_word_at(text, there) ^ first) | (_word_at(text, there + size - u8) ^ last)
                            if size > u16:
                                difference |= _word_at(text, there + u8) ^ second
                                difference |= _word_at(text, there + size - u16) ^ third
                                at = u16
                                while at + u16 < size:
                                    difference |= _word_at(text, there + at) ^ _word_at(body, offset + at)
                                    at += u8
                        if difference == 0:
                            found = candidate
                            break
                slot = (slot + one) & slot_mask
            if found == 0:
                if cell_type == _STRING:
                    if text_size + size > text_size_max:
                        is_full = True
                        break
                    for index in range(size):
                        text[text_size + np.uint64(index)] = body[offset + np.uint64(index)]
                    cell_bits = (text_size << u32) | size
                    text_size += size
                n_values += 1
                found = n_values
                known_cell[found] = column_and_type
                known_bits[found] = cell_bits
                slots[slot] = (hashed >> u32 << u32) | np.uint64(found)
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
