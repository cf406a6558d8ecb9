"""Finds damage in a ledger, and copies it."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from otel_sla.errors import LedgerCorrupt, LedgerUnavailable
from otel_sla.ledger import counts_table
from otel_sla.ledger.day_blob import unpack_day
from otel_sla.ledger.faults import translating
from otel_sla.ledger.schema import prepare
from otel_sla.ledger.write_ahead_log import sync_folder

_BACKUP_PAGES_AT_ONCE = 1024


def find_damage(connection: sqlite3.Connection, readings: Mapping[str, Callable[[], object]]) -> Iterator[str]:
    """Read all of it as its readers do, after SQLite's own check of pages and indexes; one line for what is wrong.

    Args:
        connection: In a transaction.
        readings: By table, what reads all its rows as values.
    """
    yield from (line for (line,) in connection.execute("PRAGMA integrity_check") if line != "ok")
    yield from (f"{table}: a row refers to nothing" for table, *_ in connection.execute("PRAGMA foreign_key_check"))
    for table in ("packing", "packed"):
        yield from _damaged_days(connection, table)
    for table, read in readings.items():
        try:
            read()
        except (LedgerCorrupt, ValueError, KeyError, TypeError) as error:
            yield f"{table}: {error}"


def copy_ledger(connection: sqlite3.Connection, path: Path) -> None:
    """Copy the ledger as of now to a new file, which gets its name once it is complete.

    Args:
        connection: In a transaction. Without a snapshot SQLite would begin the copy anew after each commit of others.
        path: Of the copy.

    Raises:
        LedgerUnavailable: The file exists, or cannot be written.
    """
    connection.execute("SELECT 1 FROM ledger").fetchone()  # A deferred BEGIN has no snapshot until something is read.
    if path.exists():
        raise LedgerUnavailable(f"cannot back up to {path}: it exists", "give the name of a new file")
    partial = path.with_name(f"{path.name}.partial")
    try:
        with translating(path, "write the backup of"):
            partial.unlink(missing_ok=True)
            partial.touch(mode=0o600)
            with closing(sqlite3.connect(partial)) as copy:
                # Python sees signals only between its own steps.
                connection.backup(copy, pages=_BACKUP_PAGES_AT_ONCE, progress=lambda *_: None)
            partial.rename(path)
            sync_folder(path)
    except LedgerUnavailable as error:
        message = str(error).replace("write the backup of the ledger", "write the backup")
        raise LedgerUnavailable(message, "choose a place with room that may be written") from error
    finally:
        # After a signal too: an incomplete copy would keep the disk full.
        for left in (partial, partial.with_name(f"{partial.name}-journal")):
            with suppress(OSError):
                left.unlink()


def migrated_copy(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """Copy a ledger of a former schema to a temporary file, bring that up to date, and open it for reading.

    The file has no name when this returns, so closing the connection deletes it.

    Raises:
        LedgerUnavailable: There is no room for the copy.
    """
    with TemporaryDirectory(prefix="otel-sla-") as folder, translating(path, "copy"):
        copy = sqlite3.connect(Path(folder) / "ledger.db", isolation_level=None)
        try:
            connection.backup(copy)
            # A log of its own would need a name beside the file.
            copy.execute("PRAGMA journal_mode = DELETE")
            prepare(copy, path)
            copy.execute("PRAGMA query_only = ON")
        except BaseException:
            copy.close()
            raise
        return copy


def _damaged_days(connection: sqlite3.Connection, table: str) -> Iterator[str]:
    for key, blob in connection.execute(f"SELECT packed_id, counts FROM {table} ORDER BY packed_id"):  # noqa: S608
        try:
            unpack_day(blob)  # 0.1 ms: 5 s for a year of a hundred series.
        except LedgerCorrupt as error:
            day, series_id = counts_table.day_and_series(key)
            yield f"{table}: {np.datetime64(day, 'D')}, series {series_id}: {error}"
