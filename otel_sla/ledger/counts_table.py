"""Counts in the file: open minutes as rows, older ones packed. Every reading function gives the sum of both.

Every function runs inside the caller's transaction, so that nothing is packed between two of its queries.

Dimensions:
    n_rows: (series, minute) pairs found.
    n_minutes: minutes asked for.
    n_columns: columns of counts asked for, the first ones of `counts.Count`: N_OUTCOMES or N_COUNTS.
"""

import itertools
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from otel_sla.arrays import Int64Array
from otel_sla.ledger.day_blob import FORMAT_OF_ALL, unpack_day, unpack_days
from otel_sla.ledger.sql import write_rows
from otel_sla.sla.counts import (
    COUNT_MAX,
    MINUTES_PER_DAY,
    N_COUNTS,
    N_OUTCOMES,
    Count,
    CountRows,
    CountsBeside,
    add_capped,
    has_enough,
    sum_rows,
)

_MINUTES_PER_HOUR = 60
_MINUTE_MAX = 1 << 29  # The last minute of a uint64 of ns takes 29 bits.
_SERIES_BITS = 32
_SERIES_MASK = (1 << _SERIES_BITS) - 1

_Blob = tuple[int, bytes]  # `packed_id` and a packed day.

# Number of count columns -> their SQL names.
COLUMNS = {n: ", ".join(count.name.lower() for count in list(Count)[:n]) for n in (N_OUTCOMES, N_COUNTS)}
_INSERT = {n: f"INSERT INTO counts (epoch_minute, series_id, {columns})" for n, columns in COLUMNS.items()}
# No outcome comes near COUNT_MAX. SQLite turns an overflow into a float: two counts of COUNT_MAX are one.
_SUM = {N_OUTCOMES: "{0} = {0} + excluded.{0}", N_COUNTS: f"{{0}} = min({{0}} + excluded.{{0}}, {COUNT_MAX})"}
_ADD = {
    n: f"ON CONFLICT (epoch_minute, series_id) DO UPDATE SET {', '.join(map(_SUM[n].format, columns.split(', ')))}"
    for n, columns in COLUMNS.items()
}
_ALL_SERIES = {
    n: f"SELECT epoch_minute, series_id, {columns} FROM counts WHERE epoch_minute >= ? AND epoch_minute < ?"  # noqa: S608 - ours
    for n, columns in COLUMNS.items()
}
_ONE_MINUTE = f"SELECT {COLUMNS[N_COUNTS]} FROM counts WHERE epoch_minute = ? AND series_id = ?"  # noqa: S608 - ours
# One look-up for each minute instead of a walk through all series of all minutes.
EACH_MINUTE = (
    "WITH RECURSIVE minute (number) AS (SELECT ? UNION ALL SELECT number + 1 FROM minute WHERE number + 1 < ?)"
)
_ONE_SERIES = {
    n: f"{EACH_MINUTE} SELECT epoch_minute, {columns}"  # noqa: S608 - ours
    " FROM minute CROSS JOIN counts ON epoch_minute = number AND series_id = ?"
    for n, columns in COLUMNS.items()
}
# Sums in halves: SQLite's own fail past 2^63.
_BESIDE = list(CountsBeside._fields)
_SUMS_BESIDE = f"""
    SELECT series_id, {", ".join(f"sum({name} >> 32), sum({name} & 4294967295)" for name in _BESIDE)}
    FROM counts WHERE epoch_minute >= ? AND epoch_minute < ? AND ({" OR ".join(f"{name} > 0" for name in _BESIDE)})
    GROUP BY series_id
"""  # noqa: S608 - ours
_PACKED_RANGE, _PACKED_BESIDE = (
    " UNION ALL ".join(
        f"SELECT packed_id, counts FROM {table} WHERE packed_id >= ?1 AND packed_id < ?2{condition}"  # noqa: S608 - ours
        for table in ("packed", "packing")
    )
    for condition in ("", f" AND substr(counts, 1, 1) = x'{FORMAT_OF_ALL:02x}'")
)
_LISTED = "SELECT value FROM json_each(?)"  # Looked up one by one, in their order.
_PACKED_OF_DAY = "SELECT packed_id, counts FROM packed WHERE packed_id >= ? AND packed_id <= ?"
# Series whose packed days are in memory at once: 64 x 31 blobs of 2 KB are 4 MB.
_SERIES_AT_ONCE = 64


def packed_id(day: int, series_id: int) -> int:
    """Give the key of a packed day: in the order of days, then of series."""
    return day << _SERIES_BITS | series_id


def day_and_series(packed: int) -> tuple[int, int]:
    """Undo `packed_id`."""
    return packed >> _SERIES_BITS, packed & _SERIES_MASK


def sorted_rows(rows: CountRows) -> list[tuple[int, ...]]:
    """Give (minute, series, *counts) in the order of the table, as numbers that SQLite takes; the counts are
    N_OUTCOMES where nothing else is counted in any of the rows, else N_COUNTS.
    """
    order = np.lexsort((rows.series_id, rows.epoch_minute))
    counts = rows.counts if rows.counts[:, N_OUTCOMES:].any() else rows.outcomes
    table = np.column_stack((rows.epoch_minute, rows.series_id, counts))[order]
    return [tuple(row) for row in table.tolist()]


def add(connection: sqlite3.Connection, rows: Sequence[tuple[int, ...]]) -> None:
    """Add to what the minutes hold; `rows` are those of `sorted_rows`."""
    if rows:
        n_columns = len(rows[0]) - 2
        write_rows(connection, _INSERT[n_columns], rows, _ADD[n_columns])


def read(
    connection: sqlite3.Connection, start_minute: int, stop_minute: int, series_ids: Sequence[int] | None
) -> CountRows:
    """Give the totals of `[start_minute, stop_minute)`; None: of all series. Ordered by minute, then series."""
    if start_minute >= stop_minute:
        return CountRows.empty()
    sql, arguments = _ALL_SERIES[N_COUNTS], [start_minute, stop_minute]
    if series_ids is not None:
        sql += f" AND series_id IN ({_LISTED})"
        arguments.append(json.dumps(list(series_ids)))  # type: ignore[arg-type]
    tables = [_fetch_rows(connection.execute(sql, arguments), N_COUNTS)]
    wanted = None if series_ids is None else set(series_ids)
    first_day, stop_day = _days(start_minute, stop_minute)
    packed = connection.execute(_PACKED_RANGE, (packed_id(first_day, 0), packed_id(stop_day, 0)))
    for key, blob in packed:
        day, series_id = day_and_series(key)
        if wanted is None or series_id in wanted:
            tables.append(_day_rows(day, series_id, blob, start_minute, stop_minute))
    return _summed(np.concatenate(tables))


def read_dense(
    connection: sqlite3.Connection, series_id: int, start_minute: int, stop_minute: int, n_columns: int = N_OUTCOMES
) -> Int64Array:
    """Give one series' totals, int64[n_minutes, n_columns]; owned by the caller, each column contiguous."""
    first_day, stop_day = _days(start_minute, stop_minute)
    dense = _unpacked(connection, series_id, first_day, stop_day, n_columns)
    offset = start_minute - first_day * MINUTES_PER_DAY
    wanted = dense[:, offset : offset + stop_minute - start_minute]
    rows = _open_rows(connection, series_id, start_minute, stop_minute, n_columns)
    _add_minutes(wanted, rows[:, 0] - start_minute, rows[:, 1:].T)
    return wanted.T


def read_dense_each(
    connection: sqlite3.Connection,
    series_ids: Sequence[int],
    start_minute: int,
    stop_minute: int,
    n_columns: int = N_OUTCOMES,
) -> Iterator[tuple[int, Int64Array]]:
    """Give (series_id, `read_dense`) of many series, with one walk through the open minutes for all of them."""
    rows = _fetch_rows(connection.execute(_ALL_SERIES[n_columns], (start_minute, stop_minute)), n_columns)
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
            dense = _dense_days(finished[series_id], filling, first_day, stop_day, n_columns)
            wanted = dense[:, offset : offset + stop_minute - start_minute]
            _add_minutes(wanted, rows[first:stop, 0] - start_minute, rows[first:stop, 2:].T)
            yield series_id, wanted.T


def read_beside(connection: sqlite3.Connection, start_minute: int, stop_minute: int) -> dict[int, CountsBeside]:
    """Give series_id -> sums of what is counted beside outcomes, for the series that have any in these minutes."""
    if start_minute >= stop_minute:
        return {}
    sums: dict[int, list[int]] = {}

    def add_halves(series_id: int, high: Sequence[int], low: Sequence[int]) -> None:
        held = sums.setdefault(series_id, [0] * len(_BESIDE))
        sums[series_id] = [each + (more << 32) + rest for each, more, rest in zip(held, high, low, strict=True)]

    for series_id, *halves in connection.execute(_SUMS_BESIDE, (start_minute, stop_minute)):
        add_halves(series_id, halves[::2], halves[1::2])
    first_day, stop_day = _days(start_minute, stop_minute)
    for key, blob in connection.execute(_PACKED_BESIDE, (packed_id(first_day, 0), packed_id(stop_day, 0))):
        day, series_id = day_and_series(key)
        midnight = day * MINUTES_PER_DAY
        part = unpack_day(blob)[N_OUTCOMES:, max(start_minute - midnight, 0) : stop_minute - midnight]
        add_halves(series_id, (part >> 32).sum(axis=1).tolist(), (part & 0xFFFF_FFFF).sum(axis=1).tolist())
    return {series_id: CountsBeside(*held) for series_id, held in sums.items() if any(held)}


def read_pairs(connection: sqlite3.Connection, pairs: Iterable[tuple[int, int]]) -> Iterator[tuple[int, ...]]:
    """Give (series, minute, *counts) for each (series, minute), N_COUNTS of them; 0 where there are none.

    Ordered by day and series, so that one day of one series is in memory at a time: a day of ten thousand series would
    take a gigabyte.
    """
    keyed = ((*divmod(minute, MINUTES_PER_DAY), series_id) for series_id, minute in pairs)
    for day, of_day in itertools.groupby(sorted(keyed, key=lambda one: (one[0], one[2], one[1])), lambda one: one[0]):
        # Most late spans are of a day of which nothing is packed yet.
        is_packed = connection.execute(
            _PACKED_RANGE + " LIMIT 1", (packed_id(day, 0), packed_id(day + 1, 0))
        ).fetchone()
        for series_id, places in itertools.groupby(of_day, lambda one: one[2]):
            dense = None if is_packed is None else _unpacked(connection, series_id, day, day + 1, N_COUNTS)
            for _, place, _ in places:
                minute = day * MINUTES_PER_DAY + place
                counts = [0] * N_COUNTS if dense is None else dense[:, place].tolist()
                found = connection.execute(_ONE_MINUTE, (minute, series_id)).fetchone()
                if found is not None:
                    counts = [min(packed + more, COUNT_MAX) for packed, more in zip(counts, found, strict=True)]
                yield series_id, minute, *counts


def fill_first_minutes(connection: sqlite3.Connection) -> None:
    """Find the first minute with a request of series of which only the first with a valid one is known."""
    unknown = dict(
        connection.execute("SELECT series_id, first_data_minute FROM series WHERE first_minute IS NULL").fetchall()
    )
    # A series that has data has its first request in that minute or before.
    firsts = {series_id: _MINUTE_MAX if minute is None else minute for series_id, minute in unknown.items()}
    for series_id, minute in connection.execute("SELECT series_id, min(epoch_minute) FROM counts GROUP BY series_id"):
        if series_id in unknown:
            firsts[series_id] = min(firsts[series_id], minute)
    bounds = packed_id(0, 0), packed_id(max(firsts.values(), default=0) // MINUTES_PER_DAY + 1, 0)
    for key, blob in connection.execute(f"{_PACKED_RANGE} ORDER BY 1", bounds):
        day, series_id = day_and_series(key)
        if series_id in unknown and day * MINUTES_PER_DAY < firsts[series_id]:
            found = _day_rows(day, series_id, blob, 0, firsts[series_id])[:1, 0]
            firsts[series_id] = min([firsts[series_id], *found.tolist()])
    connection.executemany(
        "UPDATE series SET first_minute = ?2 WHERE series_id = ?1 AND first_minute IS NULL",
        [(series_id, firsts[series_id]) for series_id in unknown if firsts[series_id] < _MINUTE_MAX],
    )


def read_last(
    connection: sqlite3.Connection, series_id: int, before_minute: int, valid_requests_min: int, *, is_adjusted: bool
) -> tuple[int, tuple[int, ...]] | None:
    """Give the last minute before `before_minute` with at least so many valid requests, adjusted ones if
    `is_adjusted`, and its counts: N_OUTCOMES, or N_COUNTS if `is_adjusted`.
    """
    found = connection.execute("SELECT first_data_minute FROM series WHERE series_id = ?", (series_id,)).fetchone()
    first_minute = before_minute if found is None or found[0] is None else found[0]
    # The last hour first, then the rest of its day, then day by day: most series have recent data.
    stop, span = before_minute, _MINUTES_PER_HOUR
    while stop > first_minute:
        start = max(stop - span, (stop - 1) // MINUTES_PER_DAY * MINUTES_PER_DAY)
        counts = read_dense(connection, series_id, start, stop, N_COUNTS if is_adjusted else N_OUTCOMES)
        (places,) = has_enough(counts, valid_requests_min).nonzero()
        if len(places):
            return start + int(places[-1]), tuple(counts[places[-1]].tolist())
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
    first_day = start_minute // MINUTES_PER_DAY
    return first_day, max(first_day, -(-stop_minute // MINUTES_PER_DAY))


def _unpacked(
    connection: sqlite3.Connection, series_id: int, first_day: int, stop_day: int, n_columns: int
) -> Int64Array:
    """Give the packed part of whole days, int64[n_columns, n_days * 1440]."""
    finished = _blobs(connection, "packed", series_id, first_day, stop_day)
    filling_day = _first_filling_day(connection, first_day, stop_day)
    filling = _blobs(connection, "packing", series_id, filling_day, stop_day)
    return _dense_days(finished, filling, first_day, stop_day, n_columns)


def _first_filling_day(connection: sqlite3.Connection, first_day: int, stop_day: int) -> int:
    # Only the last days are being filled; looking for all of them would take as long as reading the finished ones.
    (oldest,) = connection.execute("SELECT min(packed_id) FROM packing").fetchone()
    return stop_day if oldest is None else max(first_day, oldest >> _SERIES_BITS)


def _dense_days(
    finished: list[_Blob], filling: list[_Blob], first_day: int, stop_day: int, n_columns: int
) -> Int64Array:
    """Unpack and sum: int64[n_columns, n_days * 1440]."""
    out = np.zeros((n_columns, stop_day - first_day, MINUTES_PER_DAY), dtype=np.int64)
    days = [(key >> _SERIES_BITS) - first_day for key, _ in finished]
    if days and days[-1] - days[0] == len(days) - 1:
        unpack_days([blob for _, blob in finished], out[:, days[0] : days[-1] + 1])  # In place, as none is missing.
    else:
        _add_days(out, finished, first_day)
    _add_days(out, filling, first_day)
    return out.reshape(n_columns, -1)


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
    keys = json.dumps([packed_id(day, series_id) for day in range(first_day, stop_day)])
    sql = f"SELECT packed_id, counts FROM {table} WHERE packed_id IN ({_LISTED}) ORDER BY packed_id"  # noqa: S608
    return connection.execute(sql, (keys,)).fetchall()


def _add_days(out: Int64Array, found: list[_Blob], first_day: int) -> None:
    if not found:
        return
    counts = np.empty((len(out), len(found), MINUTES_PER_DAY), dtype=np.int64)
    unpack_days([blob for _, blob in found], counts)
    days = [(key >> _SERIES_BITS) - first_day for key, _ in found]
    out[:, days] = add_capped(out[:, days], counts)


def _add_minutes(dense: Int64Array, places: Int64Array, counts: Int64Array) -> None:
    """Add counts of minutes, int64[n_columns, n_rows], each place once."""
    if len(places):
        dense[:, places] = add_capped(dense[:, places], counts)


def _open_rows(
    connection: sqlite3.Connection, series_id: int, start_minute: int, stop_minute: int, n_columns: int
) -> Int64Array:
    """Give (minute, *counts) of one series, int64[n_rows, 1 + n_columns]."""
    oldest, newest = connection.execute(
        "SELECT (SELECT min(epoch_minute) FROM counts), (SELECT max(epoch_minute) FROM counts)"
    ).fetchone()
    rows: list[tuple[int, ...]] = []
    if oldest is not None and max(start_minute, oldest) < min(stop_minute, newest + 1):
        bounds = max(start_minute, oldest), min(stop_minute, newest + 1)
        rows = connection.execute(_ONE_SERIES[n_columns], (*bounds, series_id)).fetchall()
    return np.array(rows, dtype=np.int64).reshape(-1, 1 + n_columns)


def _fetch_rows(cursor: sqlite3.Cursor, n_columns: int) -> Int64Array:
    """Give int64[n_rows, 2 + n_columns] without a list of a million tuples in between."""
    return np.fromiter(itertools.chain.from_iterable(cursor), dtype=np.int64).reshape(-1, 2 + n_columns)


def _day_rows(day: int, series_id: int, blob: bytes, start_minute: int, stop_minute: int) -> Int64Array:
    counts = unpack_day(blob).T
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
    return CountRows(table[firsts, 1], table[firsts, 0], sum_rows(table[:, 2:], firsts))
