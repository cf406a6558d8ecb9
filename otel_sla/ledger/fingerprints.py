"""Fingerprints of counted messages: each commit appends its own to a log, which moves to a sorted table in pieces.

The table is ordered by fingerprints, which are random: inserting the 64 of a commit wrote 64 pages and took 0.8 to
1.4 ms of CPU time. Appended to the log they take one page. Sorted, hundreds of neighbours move to the table at once,
and few pages are written twice. The accountant remembers what is in the log; other readers search it.

A record of the log is the newest minute, 8 bytes, and the fingerprint, 16 bytes. Records sort by their bytes as the
table's rows do.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from otel_sla.errors import LedgerError
from otel_sla.ledger.records import LedgerLimits
from otel_sla.ledger.sql import write_rows

_MINUTE_BYTES, _RECORD_BYTES = 8, 24
_LOOKED_UP = 400  # In one statement; SQLite takes 999 parameters at least.
_READ = 16_384  # At once: the reader's work on them takes at most a millisecond.

Fingerprint = tuple[int, bytes]  # (newest minute, 16 bytes).


@dataclass(slots=True)
class _Move:
    """All records that were in the log when it began, in their order."""

    records: bytes
    n_commits: int
    last_log_id: int
    done: int = 0  # Records.


class FingerprintLog:
    """The log, by the connection that writes; every method runs inside the caller's transaction.

    Attributes:
        moved_commits: How many of the commits that appended something since the ledger was opened are in the table.
    """

    def __init__(self, connection: sqlite3.Connection, limits: LedgerLimits) -> None:
        self._connection = connection
        self._limits = limits
        self._known: set[Fingerprint] = set()  # In the log, of this process.
        self._moving: set[Fingerprint] = set()  # Being moved, and not in the table yet.
        self._move: _Move | None = None
        self._moved_at_minute = 0
        self.moved_commits = 0

    @property
    def is_due(self) -> bool:
        """Whether the log is too long, or a part of it has moved."""
        return self._move is not None or len(self._known) >= self._limits.fingerprints_due

    def append(self, fingerprints: Sequence[Fingerprint]) -> None:
        """Append what one commit counts.

        Raises:
            LedgerError: One was counted before: a defect of the caller.
        """
        if not fingerprints:
            return
        records = b"".join(minute.to_bytes(_MINUTE_BYTES, "big") + digest for minute, digest in fingerprints)
        assert len(records) == _RECORD_BYTES * len(fingerprints), "16 bytes each"
        n_known = len(self._known)
        if not self._moving.isdisjoint(fingerprints) or self._is_in_table(fingerprints):
            raise _counted_twice()
        self._known.update(fingerprints)
        if len(self._known) < n_known + len(fingerprints):
            raise _counted_twice()
        self._connection.execute("INSERT INTO fingerprint_log (fingerprints) VALUES (?)", (records,))

    def move_once(self, minute: int) -> bool:
        """Move a piece, unless the whole log has moved in this minute; return whether there was any."""
        if self._move is None:
            if minute <= self._moved_at_minute:
                return False
            self._moved_at_minute = minute
        return self.move_some()

    def move_left(self) -> bool:
        """Move a piece of the log of an earlier process, some of which may be in the table already."""
        has_more = self._move_piece(self._limits.fingerprints_slice)
        self.moved_commits = 0
        return has_more

    def move_some(self, n_new: int = 0) -> bool:
        """Move a piece of the log to the table, and as many more as this commit appends; return whether there was any.

        So the log gets shorter however large the commits are.
        """
        return self._move_piece(self._limits.fingerprints_piece + n_new)

    def _move_piece(self, n_records: int) -> bool:
        move = self._move = self._move or self._begin()
        if move is None:
            return False
        stop = min(move.done + n_records, len(move.records) // _RECORD_BYTES)
        while move.done < stop:
            self._move_slice(move, min(move.done + self._limits.fingerprints_slice, stop))
        if move.done * _RECORD_BYTES == len(move.records):
            self._connection.execute("DELETE FROM fingerprint_log WHERE log_id <= ?", (move.last_log_id,))
            self.moved_commits += move.n_commits
            self._move = None
        return True

    def _move_slice(self, move: _Move, stop: int) -> None:
        piece = move.records[move.done * _RECORD_BYTES : stop * _RECORD_BYTES]
        table = [
            (int.from_bytes(piece[at : at + _MINUTE_BYTES], "big"), piece[at + _MINUTE_BYTES : at + _RECORD_BYTES])
            for at in range(0, len(piece), _RECORD_BYTES)
        ]
        # `append` has refused what is in the table, but for that of an earlier process.
        write_rows(self._connection, "INSERT OR IGNORE INTO fingerprints (newest_minute, fingerprint)", table)
        self._moving.difference_update(table)  # In slices: the whole set would hold the interpreter's lock for 10 ms.
        move.done = stop

    def _begin(self) -> _Move | None:
        rows = self._connection.execute("SELECT log_id, fingerprints FROM fingerprint_log ORDER BY log_id").fetchall()
        if not rows:
            return None
        self._moving, self._known = self._known, set()
        records = np.frombuffer(b"".join(blob for _, blob in rows), dtype=">u8").reshape(-1, 3)
        minute, beginning = np.ascontiguousarray(records[:, :2].T, dtype=np.uint64)
        order = np.lexsort((beginning, minute))  # 7 ms of 65,536; by all 16 bytes as they lie there it was 13.
        return _Move(records[order].tobytes(), len(rows), rows[-1][0])

    def _is_in_table(self, fingerprints: Sequence[Fingerprint]) -> bool:
        for start in range(0, len(fingerprints), _LOOKED_UP):
            values = list(chain.from_iterable(fingerprints[start : start + _LOOKED_UP]))
            marks = ", ".join(["(?, ?)"] * (len(values) // 2))
            sql = (  # SQLite keeps the order of a cross join; for IN it would scan the whole table.
                f"SELECT 1 FROM (VALUES {marks}) AS wanted CROSS JOIN fingerprints"  # noqa: S608
                " ON newest_minute = wanted.column1 AND fingerprint = wanted.column2 LIMIT 1"
            )
            if self._connection.execute(sql, values).fetchone() is not None:
                return True
        return False


def _counted_twice() -> LedgerError:
    return LedgerError(
        "a message was about to be counted twice: its fingerprint is in the ledger already",
        "this is a defect of otel-sla; nothing of that commit was counted, please report it",
    )


def is_counted(connection: sqlite3.Connection, newest_minute: int, fingerprint: bytes, *, in_log: bool) -> bool:
    """Look for a fingerprint in the table, 8 us, and if asked to in the log too, up to a millisecond."""
    if _is_in_table(connection, newest_minute, fingerprint):
        return True
    if not in_log:
        return False
    record = newest_minute.to_bytes(_MINUTE_BYTES, "big") + fingerprint
    sql = f"SELECT 1 FROM fingerprint_log WHERE (instr(fingerprints, ?) - 1) % {_RECORD_BYTES} = 0"  # noqa: S608
    is_in_log = connection.execute(sql, (record,)).fetchone() is not None
    # A move may have taken it from the log to the table between the two queries.
    return is_in_log or _is_in_table(connection, newest_minute, fingerprint)


def _is_in_table(connection: sqlite3.Connection, newest_minute: int, fingerprint: bytes) -> bool:
    sql = "SELECT 1 FROM fingerprints WHERE newest_minute = ? AND fingerprint = ?"
    return connection.execute(sql, (newest_minute, fingerprint)).fetchone() is not None


def fingerprints_of(connection: sqlite3.Connection, start_minute: int, stop_minute: int) -> Iterator[bytes]:
    """Give the table's fingerprints of some minutes, concatenated, thousands of one minute at a time.

    Minutes without any cost nothing.
    """
    some = "SELECT fingerprint FROM fingerprints WHERE newest_minute = ? AND fingerprint > ? ORDER BY 1 LIMIT ?"
    # One text instead of rows: rows would take ten times as long and hold the interpreter's lock.
    sql = f"SELECT max(fingerprint), group_concat(hex(fingerprint), '') FROM ({some})"  # noqa: S608
    next_minute = "SELECT min(newest_minute) FROM fingerprints WHERE newest_minute >= ?"
    minute = start_minute - 1
    while True:
        minute = connection.execute(next_minute, (minute + 1,)).fetchone()[0]
        if minute is None or minute >= stop_minute:
            return
        last = b""
        while True:
            last, text = connection.execute(sql, (minute, last, _READ)).fetchone()
            if text is None:
                break
            yield bytes.fromhex(text)


def has_log(connection: sqlite3.Connection) -> bool:
    """Whether there is anything in the log."""
    return connection.execute("SELECT 1 FROM fingerprint_log LIMIT 1").fetchone() is not None


def first_and_last_minute(connection: sqlite3.Connection) -> tuple[int, int] | None:
    """Give the first and the last newest minute of all fingerprints: the ends of the table, and all of the log."""
    ends = "SELECT (SELECT min(newest_minute) FROM fingerprints), (SELECT max(newest_minute) FROM fingerprints)"
    minutes = [minute for minute in connection.execute(ends).fetchone() if minute is not None]
    blobs = [blob for (blob,) in connection.execute("SELECT fingerprints FROM fingerprint_log")]
    if blobs:
        in_log = np.frombuffer(b"".join(blobs), dtype=">u8").reshape(-1, 3)[:, 0]
        minutes += [int(in_log.min()), int(in_log.max())]
    return (min(minutes), max(minutes)) if minutes else None
