"""The columns that a request is decoded into, in one block of memory.

::

    table | columns of 8 bytes | of 4 bytes | of 1 byte, which begin as zeros

Kernels are handed the table's address. A block takes 6 us; 12 arrays and a `jit.ArrayTable` of them 27 us.

Dimensions:
    n_bytes: bytes of the request.
    n_resources: ResourceSpans messages of the request, in the order of the wire.
    n_spans: spans of the request, of every kind, in the order of the wire.
    n_span_keys, n_resource_keys: watched attribute keys.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from otel_sla.arrays import BoolArray, Int32Array, Int64Array, UInt8Array, UInt32Array, UInt64Array
from otel_sla.jit import IS_CHECKED, Arrays, address_of, array_reader

SPAN_KIND_SERVER = 2
SPAN_STATUS_ERROR = 2


class ValueType(IntEnum):
    """What an attribute cell holds; the bits beside it are read accordingly."""

    ABSENT = 0  # No such attribute.
    STRING = 1  # bits = offset << 32 | size: the value's bytes in `SpanColumns.body`, not checked as UTF-8.
    BOOL = 2  # bits = 0 or 1.
    INT = 3  # bits = the two's complement of the int64.
    DOUBLE = 4  # bits = the IEEE 754 binary64.
    OTHER = 5  # An array, a map, bytes or unset: counts as absent (docs/clauses.md, clause 3). bits say nothing.


@dataclass(frozen=True, slots=True)
class WatchList:
    """The attribute keys that are read from spans and from resources; all others are only skipped.

    Keys are distinct within each tuple. A key may stand in both.
    """

    span_keys: tuple[bytes, ...]
    resource_keys: tuple[bytes, ...]


class _StoredColumn(NamedTuple):
    dtype: str
    rows: str  # What has a row: a byte, a ResourceSpans or a span.
    keys: str = ""  # Whose watched keys have a cell in each row.


_BYTES, _RESOURCES, _SPANS = "bytes", "resources", "spans"
# In the order in which kernels take them.
COLUMNS = {
    "body": _StoredColumn("uint8", _BYTES),
    "resource_start": _StoredColumn("int64", _RESOURCES),
    "resource_stop": _StoredColumn("int64", _RESOURCES),
    "resource_value_type": _StoredColumn("uint8", _RESOURCES, _RESOURCES),
    "resource_value_bits": _StoredColumn("uint64", _RESOURCES, _RESOURCES),
    "resource_index": _StoredColumn("int32", _SPANS),
    "kind": _StoredColumn("int32", _SPANS),
    "end_time_unix_nano": _StoredColumn("uint64", _SPANS),
    "flags": _StoredColumn("uint32", _SPANS),
    "has_parent": _StoredColumn("bool", _SPANS),
    "span_status_code": _StoredColumn("int32", _SPANS),
    "threshold": _StoredColumn("int64", _SPANS),
    "value_type": _StoredColumn("uint8", _SPANS, _SPANS),
    "value_bits": _StoredColumn("uint64", _SPANS, _SPANS),
}
read_columns = array_reader(*(column.dtype + ("[,]" if column.keys else "[]") for column in COLUMNS.values()))

_WORD_SIZE = 8
_ROW_WORDS = 3  # Of the table: `jit.ArrayTable`.
_TABLE_WORDS = _ROW_WORDS * len(COLUMNS)


class SpanColumns:
    """One decoded request. Owned by the caller; string cells point into `body`, which is not copied.

    A column is made an array when it is first asked for. Kernels take all of them as `arrays`, by `read_columns`.
    """

    body: UInt8Array  # uint8[n_bytes]. Read-only view of the request.

    resource_start: Int64Array  # int64[n_resources], bytes. First byte of the ResourceSpans message in body.
    resource_stop: Int64Array  # int64[n_resources], bytes. One past its last byte.
    resource_value_type: UInt8Array  # uint8[n_resources, n_resource_keys]. A ValueType.
    resource_value_bits: UInt64Array  # uint64[n_resources, n_resource_keys]. See ValueType.

    resource_index: Int32Array  # int32[n_spans]. The ResourceSpans that holds the span; ascending.
    kind: Int32Array  # int32[n_spans]. Span.SpanKind as sent; unknown numbers are kept.
    end_time_unix_nano: UInt64Array  # uint64[n_spans], ns since the Unix epoch; 0 if unset.
    flags: UInt32Array  # uint32[n_spans]. Bits 8 and 9: has-is-remote, is-remote.
    has_parent: BoolArray  # bool[n_spans]. parent_span_id holds a byte that is not 0.
    span_status_code: Int32Array  # int32[n_spans]. Status.StatusCode as sent; 2 is ERROR.
    # int64[n_spans]. Of a span of kind SERVER, the sampling threshold plus 1, in [1, 2^56]; 0 if its trace_state bears
    # none, and of other spans; -1 if that is unusable (clause 19).
    threshold: Int64Array
    value_type: UInt8Array  # uint8[n_spans, n_span_keys]. A ValueType.
    value_bits: UInt64Array  # uint64[n_spans, n_span_keys]. See ValueType.

    n_resources: int  # ResourceSpans messages of the request.
    n_spans: int  # Spans of the request, of every kind; until they are counted, what there is room for.
    n_span_keys: int
    arrays: Arrays

    def __init__(self, body: UInt8Array, n_resources: int, n_spans_max: int, n_keys: tuple[int, int]) -> None:
        """Take the memory. Value types and `has_parent` are zeros; all else is what was in the memory.

        `n_keys` are the watched keys of resources, and of spans.
        """
        self.body, self.n_resources, self.n_span_keys = body, n_resources, n_keys[1]
        self.n_spans = _round_up(n_spans_max)
        self._layout = _lay_out(_round_up(n_resources), self.n_spans, n_keys)
        self._words: Int64Array = np.empty(self._layout.n_words, dtype=np.int64)
        self._words[self._layout.zeros_start :] = 0
        self.arrays = self._write_table()
        if IS_CHECKED:
            self.arrays = body, *(self._column(name) for name in self._layout.places)

    def __getattr__(self, name: str) -> NDArray[Any]:
        """Make the array of a column."""
        if name not in COLUMNS:
            raise AttributeError(name)
        column = self._column(name)[: self.n_resources if COLUMNS[name].rows == _RESOURCES else self.n_spans]
        self.__dict__[name] = column
        return column

    def _column(self, name: str) -> NDArray[Any]:
        offset, shape = self._layout.places[name]
        return np.ndarray(shape, COLUMNS[name].dtype, buffer=self._words, offset=offset)

    def _write_table(self) -> int:
        address = address_of(self._words)
        table = self._words[:_TABLE_WORDS]
        table[:] = self._layout.table
        table[::_ROW_WORDS] += address
        table[0], table[1] = address_of(self.body), len(self.body)
        return address


class _Layout(NamedTuple):
    table: Int64Array  # int64[_TABLE_WORDS]. With addresses relative to the block, and without the body.
    n_words: int
    zeros_start: int  # First word of what begins as zeros.
    places: dict[str, tuple[int, tuple[int, ...]]]  # Offset in bytes, and shape; in the order of COLUMNS.


@lru_cache(maxsize=1024)
def _lay_out(n_resources: int, n_spans: int, n_keys: tuple[int, int]) -> _Layout:
    table = np.zeros((len(COLUMNS), _ROW_WORDS), dtype=np.int64)
    places: dict[str, tuple[int, tuple[int, ...]]] = {}
    n_words = _TABLE_WORDS
    zeros_start = n_words
    for size in (8, 4, 1):
        zeros_start = n_words
        for index, (name, column) in enumerate(COLUMNS.items()):
            if np.dtype(column.dtype).itemsize != size or column.rows == _BYTES:
                continue
            shape: tuple[int, ...] = (n_resources if column.rows == _RESOURCES else n_spans,)
            if column.keys:
                shape = *shape, n_keys[column.keys != _RESOURCES]
            places[name] = _WORD_SIZE * n_words, shape
            table[index] = _WORD_SIZE * n_words, *(*shape, 0)[: _ROW_WORDS - 1]
            n_words += -(-size * int(np.prod(shape)) // _WORD_SIZE)
    return _Layout(table.ravel(), n_words, zeros_start, {name: places[name] for name in COLUMNS if name in places})


def _round_up(count: int) -> int:
    """To one of few numbers, at most a quarter more, so that few layouts are enough."""
    step = 1 << max(0, count.bit_length() - 3)
    return -(-count // step) * step
