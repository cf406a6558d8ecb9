"""Packing of finished days, and what is forgotten: a bounded piece of work at a time.

Every function runs inside the caller's transaction and returns whether it found work to do.
"""

import sqlite3

import numpy as np

from otel_sla.ledger.minutes import packed_id
from otel_sla.ledger.packing import MINUTES_PER_DAY, N_OUTCOMES, pack_day, unpack_days


def pack_some(connection: sqlite3.Connection, pack_before: int, rows_max: int) -> bool:
    """Pack the oldest open day of some series, if that day ended before `pack_before`.

    What was packed of that day before is merged. At most about `rows_max` rows are moved.
    """
    oldest = connection.execute("SELECT epoch_minute, series_id FROM counts ORDER BY 1, 2 LIMIT 1").fetchone()
    if oldest is None:
        return False
    first_minute, first_series = oldest
    day = first_minute // MINUTES_PER_DAY
    stop_minute = (day + 1) * MINUTES_PER_DAY
    if stop_minute > pack_before:
        return False
    stop_series = first_series + max(1, rows_max // (stop_minute - first_minute))
    chosen = "epoch_minute >= ? AND epoch_minute < ? AND series_id >= ? AND series_id < ?"
    span = (first_minute, stop_minute, first_series, stop_series)
    by_series: dict[int, list[tuple[int, int, int, int]]] = {}
    for minute, series_id, *counts in connection.execute(f"SELECT * FROM counts WHERE {chosen}", span):  # noqa: S608
        by_series.setdefault(series_id, []).append((minute - day * MINUTES_PER_DAY, *counts))
    for series_id, minutes in sorted(by_series.items()):
        _merge(connection, packed_id(day, series_id), minutes)
    connection.execute(f"DELETE FROM counts WHERE {chosen}", span)  # noqa: S608
    return True


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
    n_dropped = connection.execute(
        "DELETE FROM packed WHERE packed_id IN (SELECT packed_id FROM packed WHERE packed_id < ? ORDER BY 1 LIMIT ?)",
        (packed_id(before_minute // MINUTES_PER_DAY, 0), rows_max),
    ).rowcount
    n_dropped += connection.execute(
        "DELETE FROM counts WHERE (epoch_minute, series_id) IN"
        " (SELECT epoch_minute, series_id FROM counts WHERE epoch_minute < ? ORDER BY 1, 2 LIMIT ?)",
        (before_minute, rows_max),
    ).rowcount
    n_dropped += connection.execute("DELETE FROM reopened WHERE epoch_minute < ?", (before_minute,)).rowcount
    # Events are written in about the order of their time: those behind the first that stays wait for it.
    first_kept = connection.execute(
        "SELECT min(event_id) FROM (SELECT event_id, time_unix_nano FROM events ORDER BY event_id LIMIT ?)"
        " WHERE time_unix_nano >= ?",
        (rows_max, before_minute * 60_000_000_000),
    ).fetchone()[0]
    if first_kept is None:
        first_kept = connection.execute(
            "SELECT coalesce(max(event_id), 0) + 1 FROM (SELECT event_id FROM events ORDER BY event_id LIMIT ?)",
            (rows_max,),
        ).fetchone()[0]
    connection.execute("DELETE FROM set_aside WHERE event_id < ?", (first_kept,))
    n_dropped += connection.execute("DELETE FROM events WHERE event_id < ?", (first_kept,)).rowcount
    return n_dropped > 0


def _merge(connection: sqlite3.Connection, key: int, rows: list[tuple[int, int, int, int]]) -> None:
    dense = np.zeros((N_OUTCOMES, 1, MINUTES_PER_DAY), dtype=np.int64)
    packed = connection.execute("SELECT counts FROM packed WHERE packed_id = ?", (key,)).fetchone()
    if packed is not None:
        unpack_days([packed[0]], dense)
    table = np.array(rows, dtype=np.int64)
    dense[:, 0, table[:, 0]] += table[:, 1:].T
    connection.execute(
        "INSERT OR REPLACE INTO packed (packed_id, counts) VALUES (?, ?)", (key, pack_day(dense[:, 0].T))
    )
