"""Counts in the file: open minutes as rows, older ones packed. What is read is always the sum.

Every function runs inside the caller's transaction, so that nothing is packed between two looks of it.

Dimensions:
    n_rows: (series, minute) pairs found.
    n_minutes: minutes asked for.
"""

import itertools
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from otel_sla.ledger.many_rows import write_rows
from otel_sla.ledger.packing import MINUTES_PER_DAY, N_OUTCOMES, unpack_days
from otel_sla.sla.counts import CountRows
from otel_sla.spans.columns import Int64Array

_MINUTES_PER_HOUR = 60
_SERIES_BITS = 32
_SERIES_MASK = (1 << _SERIES_BITS) - 1

_Blob = tuple[int, bytes]  # `packed_id` and a packed day.

_INSERT = "INSERT INTO counts (epoch_minute, series_id, succeeded, failed, invalid)"
_ADD = """
    ON CONFLICT (epoch_minute, series_id) DO UPDATE SET
        succeeded = succeeded + excluded.succeeded,
        failed = failed + excluded.failed,
        invalid = invalid + excluded.invalid
"""
_ALL_SERIES = """
    SELECT epoch_minute, series_id, succeeded, failed, invalid FROM counts WHERE epoch_minute >= ? AND epoch_minute < ?
"""
_ONE_MINUTE = "SELECT succeeded, failed, invalid FROM counts WHERE epoch_minute = ? AND series_id = ?"
# One look-up for each minute instead of a walk through all series of all minutes.
_ONE_SERIES = """
    WITH RECURSIVE minute (number) AS (
        SELECT ? UNION ALL SELECT number + 1 FROM minute WHERE number + 1 < ?
    )
    SELECT epoch_minute, series_id, succeeded, failed, invalid
    FROM minute CROSS JOIN counts ON epoch_minute = number AND series_id = ?
"""
_PACKED_RANGE = """
    SELECT packed_id, counts FROM packed WHERE packed_id >= ?1 AND packed_id < ?2 UNION ALL
    SELECT packed_id, counts FROM packing WHERE packed_id >= ?1 AND packed_id < ?2
"""
# Packed days looked up in one statement; SQLite takes 999 at least.
_DAYS_AT_ONCE = 500
# Series whose packed days are in memory at once: 64 x 31 blobs of 2 KB are 4 MB.
_SERIES_AT_ONCE = 64
_PACKED_OF_DAY = "SELECT packed_id, counts FROM packed WHERE packed_id >= ? AND packed_id <= ?"


def packed_id(day: int, series_id: int) -> int:
    """Give the key of a packed day: in the order of days, then of series."""
    return day << _SERIES_BITS | series_id


def day_and_series(packed: int) -> tuple[int, int]:
    """Undo `packed_id`."""
    return packed >> _SERIES_BITS, packed & _SERIES_MASK


def sorted_rows(rows: CountRows) -> list[tuple[int, int, int, int, int]]:
    """Give (minute, series, succeeded, failed, invalid) in the order of the table, as numbers that SQLite takes."""
    order = np.lexsort((rows.series_id, rows.epoch_minute))
    table = np.column_stack((rows.epoch_minute, rows.series_id, rows.counts))[order]
    return [tuple(row) for row in table.tolist()]


def add(connection: sqlite3.Connection, rows: Sequence[tuple[int, int, int, int, int]]) -> None:
    """Add to what the minutes hold; `rows` are best in the order of the table."""
    write_rows(connection, _INSERT, rows, _ADD)


def read(
    connection: sqlite3.Connection, start_minute: int, stop_minute: int, series_ids: Sequence[int] | None
) -> CountRows:
    """Give the totals of `[start_minute, stop_minute)`; None: of all series. Ordered by minute, then series."""
    if start_minute >= stop_minute:
        return CountRows.empty()
    sql, arguments = _ALL_SERIES, [start_minute, stop_minute]
    if series_ids is not None:
        sql += " AND series_id IN (SELECT value FROM json_each(?))"
        arguments.append(json.dumps(list(series_ids)))  # type: ignore[arg-type]
    tables = [_fetch_rows(connection.execute(sql, arguments))]
    wanted = None if series_ids is None else set(series_ids)
    first_day, stop_day = _days(start_minute, stop_minute)
    packed = connection.execute(_PACKED_RANGE, (packed_id(first_day, 0), packed_id(stop_day, 0)))
    for key, blob in packed:
        day, series_id = day_and_series(key)
        if wanted is None or series_id in wanted:
            tables.append(_day_rows(day, series_id, blob, start_minute, stop_minute))
    return _summed(np.concatenate(tables))


def read_dense(connection: sqlite3.Connection, series_id: int, start_minute: int, stop_minute: int) -> Int64Array:
    """Give one series' totals, int64[n_minutes, 3], requests; owned by the caller, each outcome contiguous."""
    first_day, stop_day = _days(start_minute, stop_minute)
    dense = _unpacked(connection, series_id, first_day, stop_day)
    offset = start_minute - first_day * MINUTES_PER_DAY
    wanted = dense[:, offset : offset + stop_minute - start_minute]
    for minute, *counts in _open_rows(connection, series_id, start_minute, stop_minute):
        wanted[:, minute - start_minute] += counts
    return wanted.T


def read_dense_each(
    connection: sqlite3.Connection, series_ids: Sequence[int], start_minute: int, stop_minute: int
) -> Iterator[tuple[int, Int64Array]]:
    """Give (series_id, `read_dense`) of many series, with one walk through the open minutes for all of them."""
    rows = _fetch_rows(connection.execute(_ALL_SERIES, (start_minute, stop_minute)))
    rows = rows[np.argsort(rows[:, 1], kind="stable")]
    first_day, stop_day = _days(start_minute, stop_minute)
    offset = start_minute - first_day * MINUTES_PER_DAY
    bounds = np.searchsorted(rows[:, 1], np.asarray(series_ids, dtype=np.int64)[:, None] + np.array([0, 1]))
    filling_day = _first_filling_day(connection, first_day, stop_day)
    for chunk_start in range(0, len(series_ids), _SERIES_AT_ONCE):
        chunk = series_ids[chunk_start : chunk_start + _SERIES_AT_ONCE]
        finished = _blobs_each(connection, chunk, first_day, stop_day)
        for series_id, (first, stop) in zip(chunk, bounds[chunk_start:].tolist(), strict=False):
            filling = _blobs(connection, "packing", series_id, filling_day, stop_day)
            dense = _dense_days(finished[series_id], filling, first_day, stop_day)
            wanted = dense[:, offset : offset + stop_minute - start_minute]
            wanted[:, rows[first:stop, 0] - start_minute] += rows[first:stop, 2:].T
            yield series_id, wanted.T


def read_pairs(
    connection: sqlite3.Connection, pairs: Iterable[tuple[int, int]]
) -> Iterator[tuple[int, int, int, int, int]]:
    """Give (series, minute, succeeded, failed, invalid) for each (series, minute), requests; 0 where there are none."""
    days: dict[int, Int64Array] = {}
    for series_id, minute in pairs:
        day, place = divmod(minute, MINUTES_PER_DAY)
        key = packed_id(day, series_id)
        if key not in days:
            days[key] = _unpacked(connection, series_id, day, day + 1)
        succeeded, failed, invalid = days[key][:, place].tolist()
        open_counts = connection.execute(_ONE_MINUTE, (minute, series_id)).fetchone() or (0, 0, 0)
        yield series_id, minute, succeeded + open_counts[0], failed + open_counts[1], invalid + open_counts[2]


def read_one(connection: sqlite3.Connection, series_id: int, epoch_minute: int) -> tuple[int, int, int]:
    """Give one minute's totals, requests."""
    ((_, _, *counts),) = read_pairs(connection, [(series_id, epoch_minute)])
    succeeded, failed, invalid = counts
    return succeeded, failed, invalid


def read_last(
    connection: sqlite3.Connection, series_id: int, before_minute: int, valid_requests_min: int
) -> tuple[int, tuple[int, int, int]] | None:
    """Give the last minute before `before_minute` with at least so many valid requests, and its counts."""
    found = connection.execute("SELECT first_data_minute FROM series WHERE series_id = ?", (series_id,)).fetchone()
    first_minute = before_minute if found is None or found[0] is None else found[0]
    # The last hour first, then the rest of its day, then day by day: most series had data just now.
    stop, span = before_minute, _MINUTES_PER_HOUR
    while stop > first_minute:
        start = max(stop - span, (stop - 1) // MINUTES_PER_DAY * MINUTES_PER_DAY)
        counts = read_dense(connection, series_id, start, stop)
        (places,) = (counts[:, 0] + counts[:, 1] >= max(valid_requests_min, 1)).nonzero()
        if len(places):
            succeeded, failed, invalid = counts[places[-1]].tolist()
            return start + int(places[-1]), (succeeded, failed, invalid)
        stop, span = start, MINUTES_PER_DAY
    return None


def read_last_any(connection: sqlite3.Connection, series_id: int, from_minute: int) -> int | None:
    """Give the last minute from `from_minute` on that has any request; None: none has."""
    newest = "SELECT (SELECT max(epoch_minute) FROM counts), (SELECT max(packed_id) FROM packing)"
    newest_minute, newest_packed = connection.execute(newest).fetchone()
    stop_day = 0 if newest_packed is None else day_and_series(newest_packed)[0] + 1
    stop_minute = max(stop_day * MINUTES_PER_DAY, 0 if newest_minute is None else newest_minute + 1)
    if stop_minute <= from_minute:
        return None
    places = np.flatnonzero(read_dense(connection, series_id, from_minute, stop_minute).any(axis=1))
    return from_minute + int(places[-1]) if len(places) else None


def _days(start_minute: int, stop_minute: int) -> tuple[int, int]:
    """Give the days `[first, stop)` that hold these minutes."""
    return start_minute // MINUTES_PER_DAY, max(
        (stop_minute - 1) // MINUTES_PER_DAY + 1, start_minute // MINUTES_PER_DAY
    )


def _unpacked(connection: sqlite3.Connection, series_id: int, first_day: int, stop_day: int) -> Int64Array:
    """Give the packed part of whole days, int64[3, n_days * 1440], requests."""
    finished = _blobs(connection, "packed", series_id, first_day, stop_day)
    filling_day = _first_filling_day(connection, first_day, stop_day)
    filling = _blobs(connection, "packing", series_id, filling_day, stop_day)
    return _dense_days(finished, filling, first_day, stop_day)


def _first_filling_day(connection: sqlite3.Connection, first_day: int, stop_day: int) -> int:
    # Only the last days are being filled; looking for all of them would take as long as reading the finished ones.
    (oldest,) = connection.execute("SELECT min(packed_id) FROM packing").fetchone()
    return stop_day if oldest is None else max(first_day, oldest >> _SERIES_BITS)


def _dense_days(finished: list[_Blob], filling: list[_Blob], first_day: int, stop_day: int) -> Int64Array:
    """Unpack and sum: int64[3, n_days * 1440], requests."""
    n_days = stop_day - first_day
    if len(finished) == n_days:
        out = np.empty((N_OUTCOMES, n_days, MINUTES_PER_DAY), dtype=np.int64)
        unpack_days([blob for _, blob in finished], out)
    else:
        out = np.zeros((N_OUTCOMES, n_days, MINUTES_PER_DAY), dtype=np.int64)
        _add_days(out, finished, first_day)
    _add_days(out, filling, first_day)
    return out.reshape(N_OUTCOMES, n_days * MINUTES_PER_DAY)


def _blobs_each(
    connection: sqlite3.Connection, series_ids: Sequence[int], first_day: int, stop_day: int
) -> dict[int, list[_Blob]]:
    """Give `_blobs` of the finished days of several series."""
    first, last = min(series_ids), max(series_ids)
    if last - first >= 2 * len(series_ids):
        return {series_id: _blobs(connection, "packed", series_id, first_day, stop_day) for series_id in series_ids}
    # Neighbours lie side by side in each day: 2 us for a blob where a look-up takes 8.
    found: dict[int, list[_Blob]] = {series_id: [] for series_id in range(first, last + 1)}
    for day in range(first_day, stop_day):
        for key, blob in connection.execute(_PACKED_OF_DAY, (packed_id(day, first), packed_id(day, last))):
            found[key & _SERIES_MASK].append((key, blob))
    return found


def _blobs(connection: sqlite3.Connection, table: str, series_id: int, first_day: int, stop_day: int) -> list[_Blob]:
    found: list[_Blob] = []
    for chunk_start in range(first_day, stop_day, _DAYS_AT_ONCE):
        keys = [packed_id(day, series_id) for day in range(chunk_start, min(chunk_start + _DAYS_AT_ONCE, stop_day))]
        marks = ",".join("?" * len(keys))
        # The list is looked up in the order of its keys.
        sql = f"SELECT packed_id, counts FROM {table} WHERE packed_id IN ({marks}) ORDER BY packed_id"  # noqa: S608
        found += connection.execute(sql, keys).fetchall()
    return found


def _add_days(out: Int64Array, found: list[_Blob], first_day: int) -> None:
    if not found:
        return
    counts = np.empty((N_OUTCOMES, len(found), MINUTES_PER_DAY), dtype=np.int64)
    unpack_days([blob for _, blob in found], counts)
    out[:, [(key >> _SERIES_BITS) - first_day for key, _ in found]] += counts


def _open_rows(
    connection: sqlite3.Connection, series_id: int, start_minute: int, stop_minute: int
) -> list[tuple[int, int, int, int]]:
    oldest, newest = connection.execute(
        "SELECT (SELECT min(epoch_minute) FROM counts), (SELECT max(epoch_minute) FROM counts)"
    ).fetchone()
    if oldest is None:
        return []
    start, stop = max(start_minute, oldest), min(stop_minute, newest + 1)
    if start >= stop:
        return []
    rows = connection.execute(_ONE_SERIES, (start, stop, series_id)).fetchall()
    return [(minute, *counts) for minute, _, *counts in rows]


def _fetch_rows(cursor: sqlite3.Cursor) -> Int64Array:
    """Give int64[n_rows, 5] without a list of a million tuples in between."""
    return np.fromiter(itertools.chain.from_iterable(cursor), dtype=np.int64).reshape(-1, 2 + N_OUTCOMES)


def _day_rows(day: int, series_id: int, blob: bytes, start_minute: int, stop_minute: int) -> Int64Array:
    dense = np.empty((N_OUTCOMES, 1, MINUTES_PER_DAY), dtype=np.int64)
    unpack_days([blob], dense)
    counts = dense[:, 0].T
    minutes = np.arange(MINUTES_PER_DAY) + day * MINUTES_PER_DAY
    is_wanted = counts.any(axis=1) & (minutes >= start_minute) & (minutes < stop_minute)
    n_wanted = int(is_wanted.sum())
    return np.column_stack((minutes[is_wanted], np.full(n_wanted, series_id), counts[is_wanted]))


def _summed(table: Int64Array) -> CountRows:
    """Sum the rows of one series' minute; ordered by minute, then series."""
    table = table[np.lexsort((table[:, 1], table[:, 0]))]
    is_first = np.ones(len(table), dtype=np.bool_)
    is_first[1:] = (table[1:, :2] != table[:-1, :2]).any(axis=1)
    firsts = np.flatnonzero(is_first)
    counts = np.add.reduceat(table[:, 2:], firsts, axis=0) if len(table) else table[:, 2:]
    return CountRows(table[firsts, 1], table[firsts, 0], counts)
