"""Errors of SQLite and the system become one clear line."""

import errno
import sqlite3
from pathlib import Path

import pytest

from otel_sla.errors import LedgerCorrupt, LedgerError, LedgerUnavailable
from otel_sla.ledger.faults import left_in_log, translated

PATH = Path("/var/lib/ledger.db")


def sqlite_error(code: int) -> sqlite3.Error:
    """An error as SQLite raises it."""
    error = sqlite3.OperationalError("it failed")
    error.sqlite_errorcode, error.sqlite_errorname = code, "SQLITE_SOMETHING"
    return error


@pytest.mark.parametrize(
    ("error", "kind", "hint"),
    [
        (sqlite_error(sqlite3.SQLITE_FULL), LedgerUnavailable, "free some space"),
        (sqlite_error(sqlite3.SQLITE_IOERR_FSYNC), LedgerUnavailable, "check the disk"),
        (sqlite_error(sqlite3.SQLITE_READONLY_DBMOVED), LedgerUnavailable, "let the user"),
        (sqlite_error(sqlite3.SQLITE_BUSY), LedgerUnavailable, "another program"),
        (sqlite_error(sqlite3.SQLITE_CORRUPT_VTAB), LedgerCorrupt, "if that says the same, restore a backup"),
        (sqlite_error(sqlite3.SQLITE_NOTADB), LedgerCorrupt, "if that says the same, restore a backup"),
        (sqlite_error(sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY), LedgerError, "please report it"),
        (sqlite3.ProgrammingError("closed"), LedgerUnavailable, ""),
        (OSError(errno.ENOSPC, "No space left"), LedgerUnavailable, "free some space"),
        (OSError(errno.EMFILE, "Too many open files"), LedgerUnavailable, "open more files"),
        (PermissionError(errno.EACCES, "Permission denied"), LedgerUnavailable, "let the user"),
    ],
)
def test_translation(error: sqlite3.Error | OSError, kind: type[LedgerError], hint: str) -> None:
    """Each has the kind that the caller acts on, one line with the file, and what the operator does next."""
    told = translated(error, PATH, "write to")
    assert type(told) is kind
    assert "/var/lib/ledger.db" in str(told)
    assert "\n" not in str(told)
    assert hint in told.hint


@pytest.mark.parametrize(
    ("code", "kind", "hint"),
    [
        (sqlite3.SQLITE_FULL, LedgerUnavailable, "keep both files together; free some space"),
        (sqlite3.SQLITE_IOERR_FSYNC, LedgerUnavailable, "keep both files together; check the disk"),
        (sqlite3.SQLITE_BUSY, LedgerUnavailable, "another program"),
        (sqlite3.SQLITE_CORRUPT, LedgerCorrupt, "check the disk"),
    ],
)
def test_what_is_left_in_the_log(code: int, kind: type[LedgerError], hint: str) -> None:
    """Who closes a ledger reads what belongs together, and what to do about just that error."""
    told = left_in_log(sqlite_error(code), PATH)
    assert type(told) is kind
    assert f"{PATH}-wal" in str(told)
    assert told.hint.startswith(hint)
