"""Distinct values of watched attributes, numbered: all else is looked up by the number.

A value is its column, its type and its exact bits or bytes. A hash only says where to look: two values are one number
iff they are equal to the last byte. Number 0 is the absent value.

What the table holds is a *generation*: when it is full, all is forgotten and numbering begins anew. So its memory is
bounded, and what is found again costs what it cost the first time.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from otel_sla.jit import kernel
from otel_sla.spans.columns import (
    SPAN_KIND_SERVER,
    Int32Array,
    Int64Array,
    SpanColumns,
    UInt8Array,
    UInt64Array,
    ValueType,
)

# Spans that are looked at together: their ids stay in the processor's cache.
CHUNK_SPANS = 4096

_STRING = int(ValueType.STRING)


class ValueArrays(NamedTuple):
    """The table as kernels see it. n_slots is a power of two; values are dense from 1."""

    slot_id: Int32Array  # int32[n_slots]. The value there, 0 if none.
    slot_hash: UInt64Array  # uint64[n_slots]. Its hash.
    column: Int32Array  # int32[n_values]. See conditions.Conditions.
    value_type: UInt8Array  # uint8[n_values]. A ValueType.
    bits: UInt64Array  # uint64[n_values]. As in SpanColumns, but a string's offset is one of text.
    text: UInt8Array  # uint8[text_bytes_max]. The bytes of all strings.
    size: Int64Array  # int64[2]. Values, and bytes of text, in use.


class ChunkIds(NamedTuple):
    """The value ids of a chunk of spans. Rows of spans that are not of kind SERVER are not written."""

    resource_row: Int32Array  # int32[CHUNK_SPANS]. The span's row of `resource`.
    resource: Int32Array  # int32[CHUNK_SPANS, n_resource_keys]. A value id.
    span: Int32Array  # int32[CHUNK_SPANS, n_span_keys]. A value id; 0 in columns that are not numbered.


class ValueTable:
    """Numbers the values of one classifier's columns."""

    def __init__(
        self,
        n_resource_keys: int,
        n_span_keys: int,
        numbered_span_keys: Int32Array,
        *,
        values_max: int,
        text_bytes_max: int,
        hash_mask: int = 0xFFFF_FFFF_FFFF_FFFF,
    ) -> None:
        """Make an empty table.

        Args:
            n_resource_keys: Resource columns; all are numbered.
            n_span_keys: Span columns.
            numbered_span_keys: int32[n]. Indices of the span columns that are numbered.
            values_max: Values in one generation; raised to what a single span may need.
            text_bytes_max: Bytes of strings in one generation; exceeded only if one span alone has more.
            hash_mask: Bits of the hash that are used; few of them make collisions.
        """
        self.values_max = max(values_max, n_resource_keys + n_span_keys)
        self._text_bytes_max = text_bytes_max
        self._hash_mask = np.uint64(hash_mask)
        self._numbered_span_keys = numbered_span_keys
        self._learnt_count = 0
        self._has_room = False  # Whether a span has fitted in this generation.
        n_slots = 1 << (2 * self.values_max - 1).bit_length()
        self.arrays = ValueArrays(
            slot_id=np.zeros(n_slots, dtype=np.int32),
            slot_hash=np.zeros(n_slots, dtype=np.uint64),
            column=np.zeros(self.values_max + 1, dtype=np.int32),
            value_type=np.zeros(self.values_max + 1, dtype=np.uint8),
            bits=np.zeros(self.values_max + 1, dtype=np.uint64),
            text=np.empty(text_bytes_max, dtype=np.uint8),
            size=np.zeros(2, dtype=np.int64),
        )
        self.ids = ChunkIds(
            resource_row=np.zeros(CHUNK_SPANS, dtype=np.int32),
            resource=np.zeros((CHUNK_SPANS, n_resource_keys), dtype=np.int32),
            span=np.zeros((CHUNK_SPANS, n_span_keys), dtype=np.int32),
        )

    def __len__(self) -> int:
        return int(self.arrays.size[0])

    def number(self, columns: SpanColumns, start: int, stop: int) -> int:
        """Number the values of some SERVER spans and their resources into `ids`, the first of them in row 0.

        Returns:
            The span it came to: `stop`, or an earlier one for which the table has no room.
        """
        assert stop - start <= CHUNK_SPANS, f"{stop - start} spans are more than a chunk"
        came_to = int(
            _number_values_kernel(
                start,
                stop,
                columns.kind,
                columns.resource_index,
                columns.resource_value_type,
                columns.resource_value_bits,
                columns.value_type,
                columns.value_bits,
                columns.body,
                self._numbered_span_keys,
                self.arrays,
                self.ids,
                self._hash_mask,
            )
        )
        self._has_room = self._has_room or came_to > start
        return came_to

    def drain_new(self) -> Iterator[tuple[int, int, ValueType, bytes]]:
        """Go through the values added since the last call: id, column, type and text."""
        arrays, start = self.arrays, self._learnt_count + 1
        self._learnt_count = len(self)
        for value_id in range(start, self._learnt_count + 1):
            value_type = ValueType(arrays.value_type[value_id])
            yield value_id, int(arrays.column[value_id]), value_type, self._text_of(value_id, value_type)

    def clear(self) -> None:
        """Begin a new generation; if not one span fitted in the old one, one with room for longer text."""
        size = self._text_bytes_max if self._has_room else 2 * len(self.arrays.text)
        if size != len(self.arrays.text):
            self.arrays = self.arrays._replace(text=np.empty(size, dtype=np.uint8))
        self.arrays.slot_id[:] = 0
        self.arrays.size[:] = 0
        self._learnt_count = 0
        self._has_room = False

    def _text_of(self, value_id: int, value_type: ValueType) -> bytes:
        """The text that a value compares by (clause 3)."""
        bits = self.arrays.bits[value_id]
        if value_type is ValueType.STRING:
            offset, size = int(bits) >> 32, int(bits) & 0xFFFF_FFFF
            return self.arrays.text[offset : offset + size].tobytes()
        if value_type is ValueType.BOOL:
            return b"true" if bits else b"false"
        if value_type is ValueType.INT:
            return str(int(bits.view(np.int64))).encode()
        return repr(float(bits.view(np.float64))).encode()


@kernel
def _number_values_kernel(  # noqa: C901, PLR0912, PLR0913, PLR0915, PLR0917 - a kernel
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
    values: ValueArrays,
    ids: ChunkIds,
    hash_mask: np.uint64,
) -> int:
    """Number the cells of SERVER spans [start, stop); gives the span that did not fit, or stop.

    A resource's cells are numbered with its first span. The hash takes 8 bytes a step by one 32x32-bit multiplication
    that cannot overflow, so that the kernel also runs as plain Python.
    """
    slot_id, slot_hash = values.slot_id, values.slot_hash
    known_column, known_type, known_bits, text = values.column, values.value_type, values.bits, values.text
    ids_resource_row, ids_resource, ids_span = ids.resource_row, ids.resource, ids.span
    n_resource_keys = ids_resource.shape[1]
    n_numbered = numbered_span_keys.shape[0]
    low = np.uint64(0xFFFF_FFFF)
    u8 = np.uint64(8)
    u32 = np.uint64(32)
    factor = np.uint64(0x9E37_79B1)
    one = np.uint64(1)
    slot_mask = np.uint64(slot_id.shape[0] - 1)
    n_values = values.size[0]
    text_size = np.uint64(values.size[1])
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
                    at = offset
                    end = offset + size
                    while at < end:
                        word = np.uint64(0)
                        if at + u8 <= end:
                            for part in range(8):
                                word |= np.uint64(body[at + np.uint64(part)]) << np.uint64(8 * part)
                            at += u8
                        else:
                            while at < end:
                                word = (word << u8) | np.uint64(body[at])
                                at += one
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
    values.size[0] = n_values
    values.size[1] = text_size
    return came_to
