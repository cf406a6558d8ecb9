"""Classes of spans: one for each distinct mask of conditions, with the agreements that cover such a span."""

from typing import NamedTuple

import numpy as np

from otel_sla.arrays import Int32Array, UInt64Array
from otel_sla.counting.classify.conditions import Conditions


class ClassArrays(NamedTuple):
    """The table as kernels see it. n_slots is a power of two; classes are dense from 1."""

    slot_class: Int32Array  # int32[n_slots]. The class there, 0 if none.
    words: UInt64Array  # uint64[n_classes, n_words]. Its mask, the lowest word first.
    entry_start: Int32Array  # int32[n_classes]. Its first entry.
    entry_stop: Int32Array  # int32[n_classes]. One past its last.
    entry_agreement: Int32Array  # int32[n_entries]. An agreement that covers the class,
    entry_row: Int32Array  # int32[n_entries]. and its row of the outcome table.


class ClassTable:
    """Gets classes when they are met; when there are `classes_max`, all are forgotten."""

    def __init__(self, conditions: Conditions, classes_max: int) -> None:
        self._conditions = conditions
        self._classes_max = classes_max
        self._count = 0
        self.arrays = ClassArrays(
            slot_class=np.zeros(1 << (2 * classes_max - 1).bit_length(), dtype=np.int32),
            words=np.zeros((classes_max + 1, conditions.n_words), dtype=np.uint64),
            entry_start=np.zeros(classes_max + 1, dtype=np.int32),
            entry_stop=np.zeros(classes_max + 1, dtype=np.int32),
            entry_agreement=np.zeros(16, dtype=np.int32),
            entry_row=np.zeros(16, dtype=np.int32),
        )

    def add(self, words: UInt64Array, slot: int) -> None:
        """Add a class that was not found; a full table is only emptied, and the class is looked for again.

        `words` is its mask, uint64[n_words]; the search for it ended at `slot`.
        """
        if self._count == self._classes_max:
            self._count = 0
            self.arrays.slot_class[:] = 0
            return
        rows = self._conditions.rows_of(int.from_bytes(words.astype("<u8").tobytes(), "little"))
        start = int(self.arrays.entry_stop[self._count]) if self._count else 0
        stop = start + len(rows)
        size = len(self.arrays.entry_agreement)
        if stop > size:
            grown = max(2 * size, stop)
            self.arrays = self.arrays._replace(
                entry_agreement=np.resize(self.arrays.entry_agreement, grown),
                entry_row=np.resize(self.arrays.entry_row, grown),
            )
        self._count += 1
        arrays = self.arrays
        arrays.words[self._count] = words
        arrays.entry_start[self._count] = start
        arrays.entry_stop[self._count] = stop
        if rows:
            arrays.entry_agreement[start:stop], arrays.entry_row[start:stop] = zip(*rows, strict=True)
        arrays.slot_class[slot] = self._count


def words_of_mask(mask: int, n_words: int) -> UInt64Array:
    """Cut a mask into words of 64 bits, the lowest first."""
    return np.frombuffer(mask.to_bytes(8 * n_words, "little"), dtype="<u8")
