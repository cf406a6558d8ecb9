"""The hot window: counts of the newest minutes of all series, with what is not yet in the ledger.

::

    minute             ...  97   98   99  100  101  102  103        minutes_kept = 4, newest = 103
    hot window                            [================]
    slot = minute % 4                      0    1    2    3
    stamp of the slot                     100  101  102  103

A slot belongs to the minute that it is stamped with. A newer minute takes its slot over; what the old one still had
uncommitted goes to the cold rows. Requests of minutes before the hot window (a queue drained late) go there directly.

Invariants:
    1. A minute is hot iff it is one of the `minutes_kept` newest up to the newest minute seen and not before the first
       minute that `load` vouched for.
    2. A slot's stamp never decreases.
    3. Totals of a hot minute hold its uncommitted counts. They are of outcomes; what else is counted of requests
       (`counts.Count`) is only gathered for the ledger.
    4. `dirty` names each cell with uncommitted counts once; so `drain` costs what was touched, not what is kept.
    5. What went in by `add` comes out by `drain` once, whether its minute is hot, cold or both by turns.

Dimensions:
    n_slots: minutes_kept.
    capacity: series that fit; grows by doubling.
"""

import numpy as np

from otel_sla.arrays import BoolArray, Int64Array, UInt8Array
from otel_sla.counting.classify.classifier import Requests
from otel_sla.jit import kernel
from otel_sla.sla.counts import (
    COUNT_MAX,
    N_COUNTS,
    N_OUTCOMES,
    OUTCOME_BITS,
    SAMPLED_BIT,
    SPARED_BIT,
    THRESHOLDED_BIT,
    Count,
    CountRows,
    sum_rows,
)

_NO_MINUTE = -1
_N_BESIDE = N_COUNTS - N_OUTCOMES
# Columns of what is gathered beside outcomes.
_SPARED, _SAMPLED, _THRESHOLDED, _EXCESS = (
    column - N_OUTCOMES for column in (Count.SPARED, Count.SAMPLED, Count.THRESHOLDED, Count.SUCCEEDED_EXCESS)
)
_N_DIRTY, _N_COLD, _HAS_BESIDE = range(3)  # Places in the counters.
_COLD_ROWS_MIN = 1 << 16  # Cold rows in several parts before they are first added up.
_COLUMN_OF_BIT = {SPARED_BIT: Count.SPARED, SAMPLED_BIT: Count.SAMPLED, THRESHOLDED_BIT: Count.THRESHOLDED}


class MinuteRing:
    """Counts per series and minute. Nothing in it is locked: one writer owns it."""

    def __init__(self, *, minutes_kept: int = 16) -> None:
        assert minutes_kept >= 1, f"minutes_kept is {minutes_kept}"
        self._minutes_kept = minutes_kept
        self._newest_minute = _NO_MINUTE
        self._loaded_from_minute = 0
        self._stamp: Int64Array = np.full(minutes_kept, _NO_MINUTE, dtype=np.int64)
        self._totals: Int64Array = np.zeros((minutes_kept, 16, 3), dtype=np.int64)
        self._uncommitted: Int64Array = np.zeros((minutes_kept, 16, 3), dtype=np.int64)
        # Most senders have none of it, and memory that nothing is written to takes none.
        self._beside: Int64Array = np.zeros((minutes_kept, 16, _N_BESIDE), dtype=np.int64)
        self._is_dirty: BoolArray = np.zeros((minutes_kept, 16), dtype=np.bool_)
        self._dirty: Int64Array = np.zeros((minutes_kept * 16, 2), dtype=np.int64)  # (slot, series) of each cell.
        self._cold_index: Int64Array = np.zeros(1024, dtype=np.int64)  # Places in the requests that are cold.
        # How many cells are dirty, how many requests cold, and whether anything was ever written to `_beside`.
        self._counters: Int64Array = np.zeros(3, dtype=np.int64)
        self._cold: list[CountRows] = []  # Each (series, minute) once in each part.
        self._n_cold_rows = 0
        self._cold_rows_max = _COLD_ROWS_MIN

    @property
    def n_gathered(self) -> int:
        """Rows that wait for `drain`; cold ones that are not added up yet are several of one."""
        return int(self._counters[_N_DIRTY]) + self._n_cold_rows

    def add(self, requests: Requests) -> None:
        """Count requests."""
        n_requests = len(requests)
        if n_requests > len(self._cold_index):
            self._cold_index = np.zeros(2 * n_requests, dtype=np.int64)
        at = 0
        while True:
            at = _add_requests_kernel(
                at,
                requests.series_id,
                requests.epoch_minute,
                requests.outcome_bits,
                requests.excess,
                self._first_hot_minute,
                self._stamp,
                self._totals,
                self._uncommitted,
                self._beside,
                self._is_dirty,
                self._dirty,
                self._cold_index,
                self._counters,
            )
            if self._counters[_N_COLD]:
                self._add_cold(requests, self._cold_index[: self._counters[_N_COLD]])
            if at == n_requests:
                return
            self._make_room(int(requests.series_id[at]), int(requests.epoch_minute[at]))

    def drain(self) -> CountRows:
        """Give what is uncommitted, hot and cold, each (series, minute) once; nothing is uncommitted afterwards."""
        self._set_aside(self._dirty[: self._counters[_N_DIRTY]])
        self._counters[_N_DIRTY] = 0
        rows = self._cold[0] if len(self._cold) == 1 else _add_up(self._cold)
        self._cold, self._n_cold_rows = [], 0
        self._cold_rows_max = _COLD_ROWS_MIN
        return rows

    def load(self, rows: CountRows, *, start_minute: int = 0) -> None:
        """Add totals that are in the ledger: all that it has of minutes from `start_minute` on.

        Minutes before that will not be hot, as their totals are not known; rows before the hot window are left out.
        """
        self._loaded_from_minute = max(self._loaded_from_minute, start_minute)
        if len(rows) == 0:
            return
        newest_minute = int(rows.epoch_minute.max())
        for minute in np.unique(rows.epoch_minute).tolist():
            if minute > newest_minute - self._minutes_kept:
                self._make_room(int(rows.series_id.max()), minute)
        slot = rows.epoch_minute % self._minutes_kept
        is_hot = (self._stamp[slot] == rows.epoch_minute) & (rows.epoch_minute >= self._first_hot_minute)
        np.add.at(self._totals, (slot[is_hot], rows.series_id[is_hot]), rows.outcomes[is_hot])

    def totals(self, epoch_minute: int) -> Int64Array | None:
        """Give a minute's totals with what is uncommitted, or None if the minute is not hot.

        Returns:
            int64[n_series, 3], requests; a copy, zero where nothing came. n_series is at least one more than the
            highest id that was added or loaded.
        """
        if not self._first_hot_minute <= epoch_minute <= self._newest_minute:
            return None
        slot = epoch_minute % self._minutes_kept
        totals: Int64Array = self._totals[slot]
        return totals.copy() if self._stamp[slot] == epoch_minute else np.zeros_like(totals)

    @property
    def _first_hot_minute(self) -> int:
        return max(self._newest_minute - self._minutes_kept + 1, self._loaded_from_minute)

    def _make_room(self, series_id: int, epoch_minute: int) -> None:
        """Make a series fit and a minute have its slot, if it is hot."""
        capacity = self._totals.shape[1]
        if series_id >= capacity:
            self._grow(max(2 * capacity, series_id + 1))
        self._newest_minute = max(self._newest_minute, epoch_minute)
        slot = epoch_minute % self._minutes_kept
        if epoch_minute >= self._first_hot_minute and self._stamp[slot] != epoch_minute:
            self._take_over(slot, epoch_minute)

    def _take_over(self, slot: int, epoch_minute: int) -> None:
        dirty = self._dirty[: self._counters[_N_DIRTY]]
        is_of_slot = dirty[:, 0] == slot
        self._set_aside(dirty[is_of_slot])
        kept = dirty[~is_of_slot]
        self._dirty[: len(kept)] = kept
        self._counters[_N_DIRTY] = len(kept)
        self._totals[slot] = 0
        self._stamp[slot] = epoch_minute

    def _set_aside(self, cells: Int64Array) -> None:
        """Move the uncommitted counts of dirty cells to the cold rows."""
        if len(cells) == 0:
            return
        slot, series_id = cells[:, 0], cells[:, 1].copy()
        counts = np.zeros((len(cells), N_COUNTS), dtype=np.int64)
        counts[:, :N_OUTCOMES] = self._uncommitted[slot, series_id]
        if self._counters[_HAS_BESIDE]:
            counts[:, N_OUTCOMES:] = self._beside[slot, series_id]
            self._beside[slot, series_id] = 0
        self._cold.append(CountRows(series_id, self._stamp[slot], counts))
        self._n_cold_rows += len(cells)
        self._uncommitted[slot, series_id] = 0
        self._is_dirty[slot, series_id] = False

    def _add_cold(self, requests: Requests, index: Int64Array) -> None:
        single = np.zeros((len(index), N_COUNTS), dtype=np.int64)
        outcome_bits = requests.outcome_bits[index]
        outcome, each = outcome_bits & OUTCOME_BITS, np.arange(len(index))
        single[each, outcome] = 1
        if outcome_bits.max() > OUTCOME_BITS:
            for bit, column in _COLUMN_OF_BIT.items():
                single[:, column] = (outcome_bits & bit) != 0
            is_sampled = (outcome_bits & SAMPLED_BIT) != 0
            if is_sampled.any():
                single[each, Count.SUCCEEDED_EXCESS + outcome] = np.where(is_sampled, requests.excess[index], 0)
        self._cold.append(_add_up([CountRows(requests.series_id[index], requests.epoch_minute[index], single)]))
        self._n_cold_rows += len(self._cold[-1])
        if self._n_cold_rows > self._cold_rows_max:
            self._cold = [_add_up(self._cold)]
            self._n_cold_rows = len(self._cold[0])
            self._cold_rows_max = 2 * self._n_cold_rows + _COLD_ROWS_MIN

    def _grow(self, capacity: int) -> None:
        more = capacity - self._totals.shape[1]
        self._totals = np.pad(self._totals, ((0, 0), (0, more), (0, 0)))
        self._uncommitted = np.pad(self._uncommitted, ((0, 0), (0, more), (0, 0)))
        beside = np.zeros((self._minutes_kept, capacity, _N_BESIDE), dtype=np.int64)
        if self._counters[_HAS_BESIDE]:
            beside[:, : capacity - more] = self._beside
        self._beside = beside
        self._is_dirty = np.pad(self._is_dirty, ((0, 0), (0, more)))
        self._dirty = np.pad(self._dirty, ((0, self._minutes_kept * more), (0, 0)))


def _add_up(parts: list[CountRows]) -> CountRows:
    """Sum rows of the same series and minute."""
    if not parts:
        return CountRows.empty()
    series_id = np.concatenate([rows.series_id for rows in parts])
    epoch_minute = np.concatenate([rows.epoch_minute for rows in parts])
    counts = np.concatenate([rows.counts for rows in parts])
    # The last minute of a uint64 of ns takes 29 bits, a series id less than 32.
    order = np.argsort(epoch_minute << 32 | series_id)
    series_id, epoch_minute, counts = series_id[order], epoch_minute[order], counts[order]
    is_first = np.ones(len(order), dtype=np.bool_)
    is_first[1:] = (series_id[1:] != series_id[:-1]) | (epoch_minute[1:] != epoch_minute[:-1])
    first = np.flatnonzero(is_first)
    return CountRows(series_id[first], epoch_minute[first], sum_rows(counts, first))


@kernel
def _add_requests_kernel(  # noqa: PLR0913, PLR0917 - a kernel
    start: int,
    series_id: Int64Array,
    epoch_minute: Int64Array,
    outcome_bits: UInt8Array,
    excess: Int64Array,
    first_hot_minute: int,
    stamp: Int64Array,
    totals: Int64Array,
    uncommitted: Int64Array,
    beside: Int64Array,
    is_dirty: BoolArray,
    dirty: Int64Array,
    cold_index: Int64Array,
    counters: Int64Array,
) -> int:
    """Count requests from `start` on; gives the first whose series or minute has no place, or their number."""
    n_slots = stamp.shape[0]
    capacity = totals.shape[1]
    n_dirty = counters[_N_DIRTY]
    n_cold = 0
    last_minute = np.int64(_NO_MINUTE)
    slot = np.int64(0)
    came_to: int = series_id.shape[0]
    for request in range(start, series_id.shape[0]):
        minute = epoch_minute[request]
        if minute < first_hot_minute:
            cold_index[n_cold] = request
            n_cold += 1
            continue
        series = series_id[request]
        # Requests of one body are mostly of one minute: one division for all of them.
        if minute != last_minute:
            slot = minute % n_slots
            last_minute = minute
        if stamp[slot] != minute or series >= capacity:
            came_to = request
            break
        bits = outcome_bits[request]
        column = bits & OUTCOME_BITS
        totals[slot, series, column] += 1
        uncommitted[slot, series, column] += 1
        if bits > OUTCOME_BITS:
            counters[_HAS_BESIDE] = 1
            if bits & SPARED_BIT:
                beside[slot, series, _SPARED] += 1
            if bits & THRESHOLDED_BIT:
                beside[slot, series, _THRESHOLDED] += 1
            if bits & SAMPLED_BIT:
                beside[slot, series, _SAMPLED] += 1
                more = excess[request]
                beside[slot, series, _EXCESS + column] = more + min(
                    beside[slot, series, _EXCESS + column], COUNT_MAX - more
                )
        if not is_dirty[slot, series]:
            is_dirty[slot, series] = True
            dirty[n_dirty, 0] = slot
            dirty[n_dirty, 1] = series
            n_dirty += 1
    counters[_N_DIRTY] = n_dirty
    counters[_N_COLD] = n_cold
    return came_to
