"""Returns a ledger's free pages to the disk, while no pipeline runs. A running ledger reuses them by itself."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from otel_sla.errors import LedgerInUse, LedgerUnavailable
from otel_sla.ledger.connection import BUSY_TIMEOUT_MS, check_magic, connect_writer, ledger_path, use_wal
from otel_sla.ledger.faults import translating
from otel_sla.ledger.file_guard import LedgerLock
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.schema import checked_version


class Compacted(NamedTuple):
    """Sizes of the file before and after."""

    path: Path
    size_before_bytes: int
    size_after_bytes: int


def compact_ledger(url: str, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> Compacted:
    """Write the whole file anew without its free pages, in one transaction: whatever ends it, the ledger is as it was.

    Args:
        url: `ledger.url`. A ledger of a former schema stays one.
        busy_timeout_ms: How long it waits for readers.

    Raises:
        LedgerInUse: A pipeline has it, whose requests would wait for minutes.
        LedgerUnavailable: There is no room for it, or a reader keeps the file from getting shorter.
        LedgerError: It cannot be read or written.
    """
    LedgerReader.open(url, as_it_is=True).close()  # Reports what is wrong with it before it is opened for writing.
    path = ledger_path(url)
    try:
        lock = LedgerLock(path)
    except LedgerInUse as error:
        error.hint = "stop that process while it is compacted; without that, what retention frees is used again"
        raise
    with closing(lock):
        lock.keep_file(path)
        check_magic(path)
        with (
            closing(connect_writer(path, busy_timeout_ms)) as connection,
            translating(path, "compact"),
        ):
            return _compact(connection, path)


def _compact(connection: sqlite3.Connection, path: Path) -> Compacted:
    checked_version(connection, path)
    use_wal(connection, path)
    _move_log(connection, path)
    (n_pages,), (n_free,), (page_bytes,) = (
        connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count", "page_size")
    )
    size_before_bytes = path.stat().st_size
    if n_free:
        _check_room(path, (n_pages - n_free) * page_bytes)
        # SQLite's temporary file goes beside the ledger, where room was checked, not to a /tmp in memory.
        os.environ["SQLITE_TMPDIR"] = str(path.parent)
        connection.execute("VACUUM")
        _move_log(connection, path)
    return Compacted(path, size_before_bytes, path.stat().st_size)


def _check_room(path: Path, used_bytes: int) -> None:
    """See that there is room for the pages twice: SQLite writes them to a temporary file and then to the log."""
    needed, free = 2 * used_bytes, shutil.disk_usage(path.parent).free
    if free < needed:
        raise LedgerUnavailable(
            f"cannot compact the ledger {path}: that takes {-(-needed >> 20)} MiB in {path.parent} for a while, and"
            f" {free >> 20} MiB are free",
            "free some space, or move the ledger to a larger disk (docs/operations.md)",
        )


def _move_log(connection: sqlite3.Connection, path: Path) -> None:
    is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if is_busy:
        raise LedgerUnavailable(
            f"the ledger {path} is not shorter: a reader keeps an old state of it open",
            "end whatever has the file open (fuser, lsof) and compact it again; nothing is lost",
        )
