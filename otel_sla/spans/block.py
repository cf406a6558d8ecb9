"""The memory of a request's columns: one block, laid out for rows that are counted only while they are written.

::

    table | columns of 8 bytes | of 4 bytes | flags and value types, which begin as zeros

What kernels are handed is the table's address. A block takes 6 us; 12 arrays and a `jit.ArrayTable` of them 27 us.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from otel_sla.arrays import Int64Array, UInt8Array
from otel_sla.jit import IS_CHECKED, Arrays, address_of
from otel_sla.spans.layout import BYTES, COLUMNS, RESOURCES

_WORD_SIZE = 8
_ROW_WORDS = 3  # Of the table: `jit.ArrayTable`.
_TABLE_WORDS = _ROW_WORDS * len(COLUMNS)


class _Layout(NamedTuple):
    table: Int64Array  # int64[_TABLE_WORDS]. With addresses relative to the block, and without the body.
    n_words: int
    zeros_start: int  # First word of what begins as zeros.
    places: dict[str, tuple[int, tuple[int, ...]]]  # Offset in bytes, and shape.


class Block:
    """Columns with room for some ResourceSpans and spans. Value types are 0; all else is what was in the memory."""

    def __init__(self, body: UInt8Array, n_resources: int, n_spans_max: int, n_keys: tuple[int, int]) -> None:
        """Take the memory.

        Args:
            body: The request.
            n_resources: ResourceSpans.
            n_spans_max: Spans that there is room for.
            n_keys: Watched keys of resources, and of spans.
        """
        self.body = body
        self.n_resources = n_resources
        self.n_spans_max = _round_up(n_spans_max)
        self.n_span_keys = n_keys[1]
        self._layout = _lay_out(_round_up(n_resources), self.n_spans_max, n_keys)
        self._words: Int64Array = np.empty(self._layout.n_words, dtype=np.int64)
        self._words[self._layout.zeros_start :] = 0
        self.arrays: Arrays = self._write_table()
        if IS_CHECKED:
            self.arrays = body, *(self.column(name) for name in COLUMNS if name != "body")

    def column(self, name: str) -> NDArray[Any]:
        """Make an array of all rows of a column."""
        offset, shape = self._layout.places[name]
        return np.ndarray(shape, COLUMNS[name].dtype, buffer=self._words, offset=offset)

    def _write_table(self) -> int:
        address = address_of(self._words)
        table = self._words[:_TABLE_WORDS]
        table[:] = self._layout.table
        table[::_ROW_WORDS] += address
        table[0], table[1] = address_of(self.body), len(self.body)
        return address


@lru_cache(maxsize=1024)
def _lay_out(n_resources: int, n_spans: int, n_keys: tuple[int, int]) -> _Layout:
    table = np.zeros((len(COLUMNS), _ROW_WORDS), dtype=np.int64)
    places: dict[str, tuple[int, tuple[int, ...]]] = {}
    n_words = _TABLE_WORDS
    zeros_start = n_words
    for size in (8, 4, 1):
        zeros_start = n_words
        for index, (name, column) in enumerate(COLUMNS.items()):
            if np.dtype(column.dtype).itemsize != size or column.rows == BYTES:
                continue
            shape: tuple[int, ...] = (n_resources if column.rows == RESOURCES else n_spans,)
            if column.keys:
                shape = *shape, n_keys[column.keys != RESOURCES]
            places[name] = _WORD_SIZE * n_words, shape
            table[index] = _WORD_SIZE * n_words, *(*shape, 0)[: _ROW_WORDS - 1]
            n_words += -(-size * int(np.prod(shape)) // _WORD_SIZE)
    return _Layout(table.ravel(), n_words, zeros_start, places)


def _round_up(count: int) -> int:
    """To one of few numbers, at most a quarter more, so that few layouts are enough."""
    step = 1 << max(0, count.bit_length() - 3)
    return -(-count // step) * step
