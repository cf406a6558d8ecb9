"""Distinct values of watched attributes, numbered: all else is looked up by the number.

A value is its column, its type and its exact bits or bytes. A hash only says where to look: two values are one number
iff they are equal to the last byte. Number 0 is the absent value.

What the table holds is a *generation*: when it is full, all is forgotten and numbering begins anew. So its memory is
bounded, and what is found again costs what it cost the first time.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from otel_sla.arrays import Int32Array, Int64Array, UInt8Array, UInt64Array
from otel_sla.counting.classify.value_kernel import SPARSE_MAX, number_values_kernel
from otel_sla.jit import ArrayTable
from otel_sla.spans.columns import SpanColumns, ValueType

# Spans that are looked at together: their ids stay in the processor's cache.
CHUNK_SPANS = 4096
# Digits of pi: for values of trusted senders, and tests.
PUBLIC_HASH_KEY = (0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7345, 0xA409_3822_299F_31D1, 0x082E_FA98_EC4E_6C89)


class ValueArrays(NamedTuple):
    """The table as kernels see it. n_slots is a power of two; values are dense from 1."""

    slots: UInt64Array  # uint64[n_slots]. Upper half: that of the value's hash; lower half: the value, 0 if none.
    cell: Int32Array  # int32[n_values]. column << 3 | ValueType; for columns see conditions.Conditions.
    bits: UInt64Array  # uint64[n_values]. As in SpanColumns, but a string's offset is one of text.
    text: UInt8Array  # uint8[text_bytes_max]. The bytes of all strings.
    size: Int64Array  # int64[2]. Values, and bytes of text, in use.


class ChunkIds(NamedTuple):
    """The value ids of a chunk of spans. Rows of spans that are not of kind SERVER are not written."""

    resource_row: Int32Array  # int32[CHUNK_SPANS]. The span's row of `resource`.
    resource: Int32Array  # int32[CHUNK_SPANS, n_resource_keys]. A value id.
    # int32[CHUNK_SPANS, n_span_keys]. A value id. Written in columns that are numbered, in sparse ones where one is.
    span: Int32Array


class ValueTable:
    """Numbers the values of one classifier's columns."""

    def __init__(  # noqa: PLR0913 - limits; the mask is for tests.
        self,
        n_resource_keys: int,
        n_span_keys: int,
        numbered_span_keys: Int32Array,
        *,
        sparse_span_keys: Sequence[int] = (),
        values_max: int,
        text_bytes_max: int,
        hash_key: Sequence[int] = PUBLIC_HASH_KEY,
        hash_mask: int = 0xFFFF_FFFF_FFFF_FFFF,
    ) -> None:
        """Make an empty table.

        Args:
            n_resource_keys: Resource columns; all are numbered.
            n_span_keys: Span columns.
            numbered_span_keys: int32[n]. Indices of the span columns that are numbered.
            sparse_span_keys: Others, below SPARSE_MAX, that are numbered only where a value is; their rows hold then
                SPARSE_MAX columns at least.
            values_max: Values in one generation; raised to what a single span may need.
            text_bytes_max: Bytes of strings in one generation; exceeded only if one span alone has more.
            hash_key: Four words of 64 bits. Who knows them can make values that all collide, each of which costs then
                as much as all before it.
            hash_mask: Bits of the hash that are used; few of them make collisions.
        """
        self.values_max = max(values_max, n_resource_keys + n_span_keys + SPARSE_MAX)
        self._text_bytes_max = text_bytes_max
        self._hash_mask = np.uint64(hash_mask)
        self._hash_key = np.array(hash_key, dtype=np.uint64)
        self._numbered_span_keys = numbered_span_keys
        assert not sparse_span_keys or n_span_keys >= SPARSE_MAX, f"a row of {n_span_keys} columns is no word"
        self._sparse = np.array([sum(0xFF << 8 * key for key in sparse_span_keys)], dtype=np.uint64)
        self._drained_count = 0
        self._has_room = False  # Whether a span has fitted in this generation.
        n_slots = 1 << (2 * self.values_max - 1).bit_length()
        self.arrays = ValueArrays(
            slots=np.zeros(n_slots, dtype=np.uint64),
            cell=np.zeros(self.values_max + 1, dtype=np.int32),
            bits=np.zeros(self.values_max + 1, dtype=np.uint64),
            text=np.empty(text_bytes_max, dtype=np.uint8),
            size=np.zeros(2, dtype=np.int64),
        )
        self.ids = ChunkIds(
            resource_row=np.zeros(CHUNK_SPANS, dtype=np.int32),
            resource=np.zeros((CHUNK_SPANS, n_resource_keys), dtype=np.int32),
            span=np.zeros((CHUNK_SPANS, n_span_keys), dtype=np.int32),
        )
        self._table = self._make_table()

    def __len__(self) -> int:
        return int(self.arrays.size[0])

    def number(self, columns: SpanColumns, start: int, stop: int) -> int:
        """Number the values of some SERVER spans and their resources into `ids`, the first of them in row 0.

        Gives the span it came to: `stop`, or an earlier one for which the table has no room.
        """
        assert stop - start <= CHUNK_SPANS, f"{stop - start} spans are more than a chunk"
        came_to = number_values_kernel(start, stop, columns.arrays, self._table.argument, self._hash_mask)
        self._has_room = self._has_room or came_to > start
        return came_to

    def drain_new(self) -> Iterator[tuple[int, int, ValueType, bytes]]:
        """Go through the values added since the last call: id, column, type and text."""
        arrays, start = self.arrays, self._drained_count + 1
        self._drained_count = len(self)
        for value_id in range(start, self._drained_count + 1):
            column, number = divmod(int(arrays.cell[value_id]), 8)
            yield value_id, column, ValueType(number), self._text_of(value_id, ValueType(number))

    def clear(self) -> None:
        """Begin a new generation; if not one span fitted in the old one, one with room for longer text."""
        size = self._text_bytes_max if self._has_room else 2 * len(self.arrays.text)
        if size != len(self.arrays.text):
            self.arrays = self.arrays._replace(text=np.empty(size, dtype=np.uint8))
            self._table = self._make_table()
        self.arrays.slots[:] = 0
        self.arrays.size[:] = 0
        self._drained_count = 0
        self._has_room = False

    def _make_table(self) -> ArrayTable:
        return ArrayTable((*self.arrays, *self.ids, self._numbered_span_keys, self._hash_key, self._sparse))

    def _text_of(self, value_id: int, value_type: ValueType) -> bytes:
        bits = self.arrays.bits[value_id]
        if value_type is not ValueType.STRING:
            return scalar_text(value_type, bits).encode()
        offset, size = divmod(int(bits), 1 << 32)
        return self.arrays.text[offset : offset + size].tobytes()


def scalar_text(value_type: ValueType, bits: np.uint64) -> str:
    """Give the text that a value other than a string compares by (clause 3)."""
    if value_type is ValueType.BOOL:
        return "true" if bits else "false"
    return repr(bits.view(np.int64 if value_type is ValueType.INT else np.float64).item())
