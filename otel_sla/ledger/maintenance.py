"""Packing of older minutes, and what is forgotten: a bounded piece of work at a time.

Every function runs inside the caller's transaction and returns whether it found work to do.
"""

import sqlite3

import numpy as np

from otel_sla.arrays import Int64Array
from otel_sla.ledger.counts_table import COLUMNS, EACH_MINUTE, packed_id
from otel_sla.ledger.day_blob import pack_day, unpack_day
from otel_sla.sla.counts import MINUTES_PER_DAY, N_COUNTS, NANOS_PER_MINUTE, add_capped

_MINUTES_PER_HOUR = 60
# Finishing a day's blob takes about as long as moving this many rows.
_ROWS_PER_DAY_BLOB = 64

_BLOCK = (
    f"{EACH_MINUTE} SELECT epoch_minute, series_id, {COLUMNS[N_COUNTS]}"  # noqa: S608 - ours
    " FROM minute CROSS JOIN counts ON epoch_minute = number AND series_id >= ? AND series_id < ?"
)


def pack_some(connection: sqlite3.Connection, pack_before: int, rows_max: int) -> bool:
    """Move the oldest open hour of some series to `packing`, if that hour ended before `pack_before`."""
    oldest = connection.execute("SELECT epoch_minute, series_id FROM counts ORDER BY 1, 2 LIMIT 1").fetchone()
    if oldest is None:
        return False
    first_minute, first_series = oldest
    stop_minute = (first_minute // _MINUTES_PER_HOUR + 1) * _MINUTES_PER_HOUR
    if stop_minute > pack_before:
        return False
    stop_series = first_series + max(1, rows_max // _MINUTES_PER_HOUR)
    # A block of an hour by some series: by whole days, each piece of work would touch all pages of the day.
    day, day_counts = first_minute // MINUTES_PER_DAY, dict[int, Int64Array]()
    block = connection.execute(_BLOCK, (first_minute, stop_minute, first_series, stop_series))
    for minute, series_id, *counts in block.fetchall():
        if series_id not in day_counts:
            day_counts[series_id] = np.zeros((N_COUNTS, MINUTES_PER_DAY), dtype=np.int64)
        day_counts[series_id][:, minute % MINUTES_PER_DAY] = counts
    for series_id, counts_of_day in sorted(day_counts.items()):
        merge_day(connection, "packing", packed_id(day, series_id), counts_of_day)
    connection.executemany(
        "DELETE FROM counts WHERE epoch_minute = ? AND series_id >= ? AND series_id < ?",
        [(minute, first_series, stop_series) for minute in range(first_minute, stop_minute)],
    )
    return True


def finish_some_days(connection: sqlite3.Connection, sealed_before: int, rows_max: int) -> bool:
    """Move days that are whole from `packing` to `packed`."""
    n_blobs = max(1, rows_max // _ROWS_PER_DAY_BLOB)
    found = connection.execute(
        "SELECT packed_id, counts FROM packing WHERE packed_id < ? ORDER BY packed_id LIMIT ?",
        (packed_id(sealed_before // MINUTES_PER_DAY, 0), n_blobs),
    ).fetchall()
    for key, blob in found:
        merge_day(connection, "packed", key, unpack_day(blob))
    if found:
        connection.execute("DELETE FROM packing WHERE packed_id <= ?", (found[-1][0],))
    return bool(found)


def forget_some_fingerprints(connection: sqlite3.Connection, sealed_before: int, rows_max: int) -> bool:
    """Drop the oldest fingerprints whose messages would be refused as late anyway (clause 16)."""
    # The row behind the last one to go; a range is dropped faster than rows one by one.
    bound = connection.execute(
        "SELECT newest_minute, fingerprint FROM fingerprints WHERE newest_minute < ? ORDER BY 1, 2 LIMIT 1 OFFSET ?",
        (sealed_before, rows_max),
    ).fetchone()
    if bound is None:
        return connection.execute("DELETE FROM fingerprints WHERE newest_minute < ?", (sealed_before,)).rowcount > 0
    connection.execute("DELETE FROM fingerprints WHERE (newest_minute, fingerprint) < (?, ?)", bound)
    return True


def expire_some(connection: sqlite3.Connection, before_minute: int, rows_max: int) -> bool:
    """Drop the oldest packed days, open minutes and events from before `before_minute`."""
    connection.execute("UPDATE ledger SET expired_before = max(expired_before, ?)", (before_minute,))
    day_id = packed_id(before_minute // MINUTES_PER_DAY, 0)
    # Events are written in about the order of their time: those behind the first that stays wait for it.
    (first_kept,) = connection.execute(
        "SELECT coalesce(min(CASE WHEN time_unix_nano >= ? THEN event_id END), max(event_id) + 1, 0)"
        " FROM (SELECT event_id, time_unix_nano FROM events ORDER BY event_id LIMIT ?)",
        (before_minute * NANOS_PER_MINUTE, rows_max),
    ).fetchone()
    packed = "DELETE FROM {0} WHERE packed_id IN (SELECT packed_id FROM {0} WHERE packed_id < ? ORDER BY 1 LIMIT ?)"
    counts = (
        "DELETE FROM counts WHERE (epoch_minute, series_id) IN"
        " (SELECT epoch_minute, series_id FROM counts WHERE epoch_minute < ? ORDER BY 1, 2 LIMIT ?)"
    )
    drops: list[tuple[str, tuple[int, ...]]] = [
        (packed.format("packed"), (day_id, rows_max)),
        (packed.format("packing"), (day_id, rows_max)),
        (counts, (before_minute, rows_max)),
        ("DELETE FROM reopened WHERE epoch_minute < ?", (before_minute,)),
        ("DELETE FROM retold WHERE stop_minute < ?", (before_minute,)),
        ("DELETE FROM set_aside WHERE event_id < ?", (first_kept,)),
        ("DELETE FROM events WHERE event_id < ?", (first_kept,)),
    ]
    return sum(connection.execute(sql, arguments).rowcount for sql, arguments in drops) > 0


def merge_day(connection: sqlite3.Connection, table: str, key: int, counts: Int64Array) -> None:
    """Add a day's counts, int64[N_COUNTS, 1440], to what `table` (`packing` or `packed`) holds of it."""
    packed = connection.execute(f"SELECT counts FROM {table} WHERE packed_id = ?", (key,)).fetchone()  # noqa: S608
    if packed is not None:
        counts = add_capped(counts, unpack_day(packed[0]))
    blob = pack_day(counts)
    connection.execute(f"INSERT OR REPLACE INTO {table} (packed_id, counts) VALUES (?, ?)", (key, blob))  # noqa: S608
