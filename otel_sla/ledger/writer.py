"""The one writer of a ledger."""

import json
import logging
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Self

from otel_sla.errors import LedgerError, LedgerUnavailable
from otel_sla.ledger import counts_table, maintenance
from otel_sla.ledger.connection import (
    check_magic,
    check_pages,
    connect_writer,
    create_file,
    ledger_path,
    use_wal,
)
from otel_sla.ledger.faults import left_in_log, located, translated, translating
from otel_sla.ledger.file_guard import LedgerLock
from otel_sla.ledger.fingerprints import FingerprintLog
from otel_sla.ledger.reader import LedgerReadings
from otel_sla.ledger.records import (
    REOPENED_COLUMNS,
    AgreementVersion,
    ClosedMonth,
    Closing,
    Commit,
    Json,
    LedgerLimits,
    Position,
    RefusedPoints,
    Reopened,
    SetAside,
)
from otel_sla.ledger.schema import SCHEMA_VERSION, checked_version, prepare
from otel_sla.ledger.sql import columns_of, insert_into, to_json
from otel_sla.ledger.write_ahead_log import LedgerFiles, log_path
from otel_sla.sla.counts import MINUTES_PER_DAY, N_OUTCOMES
from otel_sla.sla.events import Event

_log = logging.getLogger(__name__)

# 5 to 10 ms of work, for which a commit may have to wait.
PIECE_ROWS_MAX = 1_024
_COUNTED_MAX = 65_536
_WIDEN_COUNTED_DAY = (
    insert_into("counted_days", "agreement, version, day, first_minute, last_minute")
    + " ON CONFLICT (agreement, version, day) DO UPDATE SET first_minute = min(first_minute, excluded.first_minute),"
    " last_minute = max(last_minute, excluded.last_minute)"
)
_LIMITS = LedgerLimits()


class Ledger(LedgerReadings):
    """The pipeline's ledger. All methods are called on the thread that opened it.

    What a method wrote is durable when it returns. When one fails, what it wrote may be durable or not: every further
    call raises the same error, and the pipeline ends.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        lock: LedgerLock | None,
        *,
        is_new: bool = True,
        limits: LedgerLimits = _LIMITS,
    ) -> None:
        super().__init__(path, connection)
        self.is_new = is_new  # Whether `open` made the file.
        self._lock = lock  # None: it is in memory, and there are no files.
        self._firsts = {"first_minute": self.first_minutes(), "first_data_minute": self.first_data_minutes()}
        self._judged_before = self.watermarks().judged_before
        self._agreement_of = {series.series_id: series.agreement for series in self.series()}
        self._counted: set[tuple[str, int, int]] = set()  # Agreement, version and minute of written `counted_days`.
        if lock is not None:
            self._files = LedgerFiles(path, connection, limits)
        self._fingerprint_log = FingerprintLog(connection, limits)
        more = True
        while more:
            with self._writing("write to"):
                more = self._fingerprint_log.move_left()

    @classmethod
    def open(cls, url: str, *, may_create: bool = True, limits: LedgerLimits = _LIMITS) -> "Ledger":
        """Open a ledger for writing, or make a new one.

        Raises:
            LedgerUnavailable: The file cannot be made, read or written; or there is none, and none is to be made.
            LedgerInUse: Another pipeline has it.
            LedgerCorrupt: The file is no sound ledger.
            LedgerSchemaNewer: A newer otel-sla wrote it.
        """
        path = ledger_path(url)
        with ExitStack() as opened:
            lock = opened.enter_context(closing(LedgerLock(path)))
            is_new = create_file(path, may_create=may_create)
            lock.keep_file(path)
            check_magic(path)
            connection = opened.enter_context(closing(connect_writer(path)))
            with translating(path, "open"):
                _bring_up_to_date(connection, path)
                use_wal(connection, path)
                # SQLite opens what it may not write for reading, and says so only when it is to write.
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("UPDATE ledger SET only = only")
                connection.execute("ROLLBACK")
                check_pages(connection, path)
            ledger = cls(path, connection, lock, is_new=is_new, limits=limits)
            opened.pop_all()
            return ledger

    @classmethod
    def in_memory(cls) -> Self:
        """Make a new ledger in memory, which is gone when it is closed."""
        path = Path(":memory:")
        connection = sqlite3.connect(path, isolation_level=None)
        prepare(connection, path)
        return cls(path, connection, None)

    def commit(self, commit: Commit) -> int:
        """Add to the counts, durable when this returns.

        A minute that was judged before is kept in `reopened` with what it held.

        Returns:
            How many of the commits with fingerprints since this ledger was opened have them in the table, where
            `is_counted` finds them with `in_log=False`. They are the first ones; this commit may be among them.

        Raises:
            LedgerUnavailable: Not durable.
            LedgerError: A fingerprint was counted before, or a position is not where the caller believed.
        """
        table = counts_table.sorted_rows(commit.rows)
        with_data = [row for row in table if row[2] + row[3] > 0]
        earlier = {
            column: _earlier(rows, self._firsts[column])
            for column, rows in (("first_minute", table), ("first_data_minute", with_data))
        }
        with self._writing("write to") as connection:
            for series in commit.new_series:
                connection.execute(
                    insert_into("series", "series_id, agreement, is_overflow"),
                    (series.series_id, series.agreement, series.is_overflow),
                )
                connection.executemany(
                    insert_into("series_group", "series_id, place, key, value"),
                    [(series.series_id, place, *pair) for place, pair in enumerate(series.group)],
                )
            self._keep_reopened(connection, table)
            counts_table.add(connection, table)
            for column, found in earlier.items():
                connection.executemany(
                    f"UPDATE series SET {column} = ? WHERE series_id = ?",  # noqa: S608 - ours
                    [(minute, series_id) for series_id, minute in found.items()],
                )
            self._fingerprint_log.append(commit.fingerprints)
            if self._fingerprint_log.is_due:
                self._fingerprint_log.move_some(len(commit.fingerprints))
            for position in commit.positions:
                _move_position(connection, position)
            connection.executemany(_WIDEN_COUNTED_DAY, self._counted_days(commit, table))
        for column, found in earlier.items():
            self._firsts[column].update(found)
        return self._fingerprint_log.moved_commits

    def close_minutes(self, closing: Closing) -> None:
        """Write what the judge decided. Watermarks never step back; an event with a known `uid` is written once.

        Raises:
            LedgerUnavailable: Not durable.
            LedgerError: A month's revision was closed before.
        """
        with self._writing("write to") as connection:
            connection.execute(
                "UPDATE ledger SET"
                " judged_before = max(coalesce(judged_before, ?1), coalesce(?1, judged_before)),"
                " sealed_before = max(coalesce(sealed_before, ?2), coalesce(?2, sealed_before)),"
                " exclusion_change = max(exclusion_change, ?3),"
                " told_before = max(coalesce(told_before, ?4), coalesce(?4, told_before))",
                (closing.judged_before, closing.sealed_before, closing.exclusion_change or 0, closing.published_before),
            )
            _settle(connection, closing.settled)
            connection.executemany(
                "UPDATE series SET revision = max(revision, ?2) WHERE series_id = ?1", closing.revisions
            )
            connection.executemany(
                insert_into("retold", "series_id, start_minute, stop_minute"),
                [(each.series_id, each.start_minute, each.stop_minute) for each in closing.replacements],
            )
            connection.executemany(
                "UPDATE told_terms SET version = ?2 WHERE agreement = ?1", closing.published_versions
            )
            connection.executemany("UPDATE series SET retired_minute = ?2 WHERE series_id = ?1", closing.retired)
            connection.executemany(
                insert_into("events", columns_of(Event)) + " ON CONFLICT (uid) DO NOTHING",
                [  # The order of attributes is the writer's.
                    (e.uid, e.name, e.time_unix_nano, int(e.severity), e.body, json.dumps(dict(e.attributes)))
                    for e in closing.events
                ],
            )
            connection.executemany(
                insert_into("closed_months", columns_of(ClosedMonth)),
                [
                    (m.agreement, m.series_id, m.month, m.revision, m.version, to_json(m.figures), m.closed_unix_nano)
                    for m in closing.closed_months
                ],
            )
            (judged_before,) = connection.execute("SELECT judged_before FROM ledger").fetchone()
        self._judged_before = judged_before

    def advance_cursor(
        self,
        exporter: str,
        *,
        event_id: int | None = None,
        exported_before: int | None = None,
        replacement_id: int | None = None,
        set_aside: tuple[SetAside, ...] = (),
        refused: RefusedPoints | None = None,
    ) -> None:
        """Write how far an exporter has come, and what its backend will never take; a cursor never steps back."""
        with self._writing("write to") as connection:
            connection.execute(
                insert_into("cursors", "exporter, event_id, exported_before, retold_id")
                + " ON CONFLICT (exporter) DO UPDATE SET event_id = max(event_id, excluded.event_id),"
                " retold_id = max(retold_id, excluded.retold_id), exported_before ="
                " max(coalesce(exported_before, excluded.exported_before),"
                " coalesce(excluded.exported_before, exported_before))",
                (exporter, event_id or 0, exported_before, replacement_id or 0),
            )
            connection.execute("DELETE FROM retold WHERE retold_id <= (SELECT min(retold_id) FROM cursors)")
            connection.executemany(
                insert_into("set_aside", f"exporter, {columns_of(SetAside)}") + " ON CONFLICT DO NOTHING",
                [(exporter, *astuple(item)) for item in set_aside],
            )
            if refused is not None:
                connection.execute(
                    insert_into("refused_points", f"exporter, {columns_of(RefusedPoints)}")
                    + " ON CONFLICT (exporter) DO UPDATE SET count = count + excluded.count,"
                    " first_minute = min(first_minute, excluded.first_minute),"
                    " last_minute = max(last_minute, excluded.last_minute),"
                    " reason = excluded.reason, at_unix_nano = excluded.at_unix_nano",
                    (exporter, *astuple(refused)),
                )

    def record_agreement(self, agreement: str, terms: Json, since_minute: int) -> int:
        """Give the version of these terms, a new one from `since_minute` on if they differ from the last recorded ones.

        An agreement is published by its first terms until a `Closing` names a later version.
        """
        text = to_json(terms)
        with self._writing("write to") as connection:
            version, known = connection.execute(
                "SELECT version, terms FROM agreement_versions WHERE agreement = ? ORDER BY version DESC LIMIT 1",
                (agreement,),
            ).fetchone() or (0, None)
            if known != text:
                version += 1
                connection.execute(
                    insert_into("agreement_versions", columns_of(AgreementVersion)),
                    (agreement, version, text, since_minute),
                )
            connection.execute(
                insert_into("told_terms", "agreement, version") + " ON CONFLICT DO NOTHING",
                (agreement, version),
            )
        return int(version)

    def seal(self, sealed_before: int, *, pack_before: int | None = None, rows_max: int = PIECE_ROWS_MAX) -> bool:
        """Pack older minutes and drop fingerprints whose messages would be refused as late.

        Does a bounded piece and returns whether more is left. Once a minute is often enough.

        Args:
            sealed_before: Epoch minute. Fingerprints whose newest minute is before it are dropped.
            pack_before: Epoch minute. Whole hours before it are packed; later counts for them are added by later calls.
                None: sealed_before. The fewer open rows, the faster a running month is read.
            rows_max: Bound of each piece.
        """
        with self._writing("write to") as connection:
            if self._fingerprint_log.move_once(max(sealed_before, pack_before or 0)):
                return True
            if maintenance.pack_some(connection, sealed_before if pack_before is None else pack_before, rows_max):
                return True
            if maintenance.finish_some_days(connection, sealed_before, rows_max):
                return True
            return maintenance.forget_some_fingerprints(connection, sealed_before, rows_max)

    def expire(self, before_minute: int, *, rows_max: int = PIECE_ROWS_MAX) -> bool:
        """Drop counts and events from before `before_minute`: a bounded piece; returns whether more is left."""
        with self._writing("write to") as connection:
            return maintenance.expire_some(connection, before_minute, rows_max // 8)

    def close(self) -> None:
        """Move the log into the file and release the lock. All that was committed is durable already.

        What an open reader keeps from being moved stays in the log, with a warning.

        Raises:
            LedgerUnavailable: The disk is full or broken; the newest counts stay in the log beside the file.
        """
        if self._lock is None:
            self._sqlite.close()
            return
        n_pages_left = 0
        try:
            # SQLite does it too when the last connection is closed, but does not report a failure.
            if self._failure is None:
                n_pages_left = self._files.move_all()
        except sqlite3.Error as error:
            raise left_in_log(error, self.path) from error
        finally:
            self._sqlite.close()
            self._files.close()
            self._lock.close()
        log = log_path(self.path)
        if n_pages_left and log.exists():
            _log.warning(
                "the newest counts of the ledger %s are in its log %s, not in the file, as a reader has it open; keep"
                " both files together; the next start, or otel-sla ledger compact, takes up what the log holds",
                self.path,
                log,
                extra={"action": "left_in_log"},
            )

    def remove(self) -> None:
        """Delete a new ledger that nothing was counted into; the lock's file stays."""
        assert self._lock is not None, "it has a file"
        assert self.is_new, "only a new ledger is deleted: others hold counts"
        self._sqlite.close()
        self._files.close()
        for ending in ("", "-wal", "-shm"):
            self.path.with_name(f"{self.path.name}{ending}").unlink(missing_ok=True)
        self._failure = LedgerUnavailable(f"the ledger {self.path} is removed")
        self._lock.close()  # Last: until then no other process can count into it.

    def leave_to_parent(self) -> None:
        """Release a forked child's copy of the lock; the child may call nothing else."""
        if self._lock is not None:
            self._lock.close()

    def _keep_reopened(self, connection: sqlite3.Connection, table: list[tuple[int, ...]]) -> None:
        if self._judged_before is None:
            return
        late = [(series_id, minute) for minute, series_id, *_ in table if minute < self._judged_before]
        connection.executemany(
            insert_into("reopened", REOPENED_COLUMNS) + " ON CONFLICT DO NOTHING",
            counts_table.read_pairs(connection, late),
        )

    def _counted_days(self, commit: Commit, table: list[tuple[int, ...]]) -> Iterator[tuple[str, int, int, int, int]]:
        """Give (agreement, version, day, first minute, last minute) that no earlier commit has written (clause 22)."""
        self._agreement_of.update((series.series_id, series.agreement) for series in commit.new_series)
        if len(self._counted) > _COUNTED_MAX:
            self._counted.clear()
        for minute, series_id, *_ in table if commit.versions else ():
            agreement = self._agreement_of[series_id]
            version = commit.versions.get(agreement)
            if version is not None and (agreement, version, minute) not in self._counted:
                self._counted.add((agreement, version, minute))
                yield agreement, version, minute // MINUTES_PER_DAY, minute, minute

    @contextmanager
    def _writing(self, doing: str) -> Iterator[sqlite3.Connection]:
        """Run one durable transaction; any failure ends the use of this ledger."""
        if self._failure is not None:
            raise self._failure
        try:
            self._sqlite.execute("BEGIN IMMEDIATE")
            yield self._sqlite
            self._sqlite.execute("COMMIT")
            if self._lock is not None:
                # After the commit: the data was written to files that still had their names.
                self._files.check()
        except BaseException as error:
            if isinstance(error, LedgerError):
                self._failure = located(error, self.path)
            elif isinstance(error, sqlite3.Error | OSError):
                self._failure = translated(error, self.path, doing)
            else:  # A defect of ours: without a failure the next call would commit what this one began.
                self._failure = LedgerError(f"the ledger {self.path} was left by an error: {error!r}")
            if self._sqlite.in_transaction:
                try:
                    self._sqlite.execute("ROLLBACK")
                except sqlite3.Error:
                    self._sqlite.close()
            if isinstance(error, LedgerError | sqlite3.Error | OSError):
                raise self._failure from error
            raise


def _bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    version, started_s = checked_version(connection, path), time.monotonic()
    is_former = 0 < version < SCHEMA_VERSION
    if is_former:
        message = "the ledger %s is brought from schema %d to %d, in one transaction"
        _log.info(message, path, version, SCHEMA_VERSION, extra={"action": "ledger_migrating"})
    prepare(connection, path)
    if is_former:
        message = "the ledger %s has schema %d now, after %.1f s; an older otel-sla cannot read it any more"
        _log.info(message, path, SCHEMA_VERSION, time.monotonic() - started_s, extra={"action": "ledger_migrated"})


def _settle(connection: sqlite3.Connection, published: Sequence[Reopened]) -> None:
    """End the re-opening of minutes that were published with these counts, unless they hold others by now."""
    keys = [(minute.series_id, minute.epoch_minute) for minute in published]
    # Whatever else is counted of it, a request is one of the outcomes.
    now = {
        (series_id, minute): tuple(counts[:N_OUTCOMES])
        for series_id, minute, *counts in counts_table.read_pairs(connection, keys)
    }
    _, _, *before = REOPENED_COLUMNS.split(", ")
    connection.executemany(
        f"UPDATE reopened SET {', '.join(f'{name} = ?' for name in before)} WHERE series_id = ? AND epoch_minute = ?",  # noqa: S608
        [(*minute.counts_before, *minute.beside_before, *key) for minute, key in zip(published, keys, strict=True)],
    )
    connection.executemany(
        "DELETE FROM reopened WHERE series_id = ? AND epoch_minute = ?",
        [key for minute, key in zip(published, keys, strict=True) if now[key] == minute.counts_before],
    )


def _move_position(connection: sqlite3.Connection, position: Position) -> None:
    """Move a source's place on, if it is where the caller believes."""
    if position.before is None:
        sql = insert_into("positions", "position, source") + " ON CONFLICT DO NOTHING"
        moved = connection.execute(sql, (position.after, position.source))
    else:
        moved = connection.execute(
            "UPDATE positions SET position = ? WHERE source = ? AND position = ?",
            (position.after, position.source, position.before),
        )
    if moved.rowcount != 1:
        raise LedgerError(
            f"{position.source} is not at {position.before} in the ledger: somebody else counted it",
            "let one process at a time count it",
        )


def _earlier(table: list[tuple[int, ...]], known: Mapping[int, int]) -> dict[int, int]:
    """Give series_id -> first minute of rows that are ordered by minute, where it is earlier than the known one."""
    earlier: dict[int, int] = {}
    for row in table:  # A star would make a list of each row's counts: 15 us for 80 rows.
        minute, series_id = row[0], row[1]
        if series_id not in earlier and minute < known.get(series_id, minute + 1):
            earlier[series_id] = minute
    return earlier
