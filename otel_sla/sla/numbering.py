"""The kernel that gives each cell the number of its value. What the numbers are for stands in `values`."""

import numpy as np

from otel_sla.jit import inlined_kernel, kernel
from otel_sla.spans.columns import SPAN_KIND_SERVER, Int32Array, Int64Array, UInt8Array, UInt64Array, ValueType

_STRING = int(ValueType.STRING)


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


@kernel
def number_values_kernel(  # noqa: C901, PLR0912, PLR0913, PLR0915, PLR0917 - a kernel
    start: int,
    stop: int,
    kind: Int32Array,
    resource_index: Int32Array,
    resource_value_type: UInt8Array,
    resource_value_bits: UInt64Array,
    value_type: UInt8Array,
    value_bits: UInt64Array,
    body: UInt8Array,
    numbered_span_keys: Int32Array,
    hash_mask: np.uint64,
    slot_id: Int32Array,
    slot_hash: UInt64Array,
    known_column: Int32Array,
    known_type: UInt8Array,
    known_bits: UInt64Array,
    text: UInt8Array,
    table_size: Int64Array,
    ids_resource_row: Int32Array,
    ids_resource: Int32Array,
    ids_span: Int32Array,
) -> int:
    """Number the cells of SERVER spans [start, stop); gives the span that did not fit, or stop.

    A resource's cells are numbered with its first span. The hash takes 8 bytes a step by one 32x32-bit multiplication
    that cannot overflow, so that the kernel also runs as plain Python.
    """
    n_resource_keys = ids_resource.shape[1]
    n_numbered = numbered_span_keys.shape[0]
    low = np.uint64(0xFFFF_FFFF)
    u8 = np.uint64(8)
    u32 = np.uint64(32)
    factor = np.uint64(0x9E37_79B1)
    one = np.uint64(1)
    slot_mask = np.uint64(slot_id.shape[0] - 1)
    n_values = table_size[0]
    text_size = np.uint64(table_size[1])
    text_size_max = np.uint64(text.shape[0])
    n_values_max = known_column.shape[0] - 1
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
        ids_resource_row[row] = resource_row
        is_full = False
        while cell < n_resource_keys + n_numbered:
            if cell < n_resource_keys:
                column = cell
                cell_type = resource_value_type[resource, cell]
                cell_bits = resource_value_bits[resource, cell]
            else:
                key = numbered_span_keys[cell - n_resource_keys]
                column = n_resource_keys + key
                cell_type = value_type[span, key]
                cell_bits = value_bits[span, key]
            found = 0
            if cell_type != 0:
                hashed = np.uint64(column * 8 + cell_type) * factor
                offset = cell_bits >> u32
                size = cell_bits & low
                if cell_type == _STRING:
                    hashed ^= size
                    if size >= u8:
                        # Whole words, the last one overlapping: a loop over its bytes costs as much as all the rest.
                        last = offset + size - u8
                        at = offset
                        while at < last:
                            hashed ^= _word_at(body, at)
                            hashed = (hashed & low) * factor + (hashed >> u32)
                            at += u8
                        word = _word_at(body, last)
                    else:
                        word = np.uint64(0)
                        for at in range(offset, offset + size):
                            word = (word << u8) | np.uint64(body[at])
                    hashed ^= word
                    hashed = (hashed & low) * factor + (hashed >> u32)
                else:
                    hashed ^= cell_bits
                    hashed = (hashed & low) * factor + (hashed >> u32)
                hashed = (hashed & low) * factor + (hashed >> u32)
                hashed = (hashed ^ (hashed >> u32)) & hash_mask
                slot = hashed & slot_mask
                while slot_id[slot] != 0:
                    if slot_hash[slot] == hashed:
                        candidate = slot_id[slot]
                        if known_type[candidate] == cell_type and known_column[candidate] == column:
                            if cell_type != _STRING:
                                if known_bits[candidate] == cell_bits:
                                    found = candidate
                                    break
                            elif known_bits[candidate] & low == size:
                                there = known_bits[candidate] >> u32
                                at = np.uint64(0)
                                while at + u8 <= size and _word_at(text, there + at) == _word_at(body, offset + at):
                                    at += u8
                                if size >= u8 and at + u8 > size:
                                    last = size - u8
                                    if _word_at(text, there + last) == _word_at(body, offset + last):
                                        at = size
                                elif size < u8:
                                    while at < size and text[there + at] == body[offset + at]:
                                        at += one
                                if at == size:
                                    found = candidate
                                    break
                    slot = (slot + one) & slot_mask
                if found == 0:
                    if cell_type == _STRING:
                        if text_size + size > text_size_max:
                            is_full = True
                            break
                        for at in range(size):
                            text[text_size + np.uint64(at)] = body[offset + np.uint64(at)]
                        cell_bits = (text_size << u32) | size
                        text_size += size
                    n_values += 1
                    found = n_values
                    known_column[found] = column
                    known_type[found] = cell_type
                    known_bits[found] = cell_bits
                    slot_hash[slot] = hashed
                    slot_id[slot] = found
            if cell < n_resource_keys:
                ids_resource[resource_row, cell] = found
            else:
                ids_span[row, numbered_span_keys[cell - n_resource_keys]] = found
            cell += 1
        if is_full:
            came_to = span
            break
    table_size[0] = n_values
    table_size[1] = text_size
    return came_to
