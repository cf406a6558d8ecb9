"""Turns errors of SQLite and of the system into the ledger's own, with a hint of what the operator does next."""

import errno
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from otel_sla.errors import LedgerCorrupt, LedgerError, LedgerUnavailable

_log = logging.getLogger(__name__)

_FIX_ACCESS = "let the user that runs otel-sla write the file and its directory, or set ledger.url"
_FREE_SPACE = (
    "free some space on that disk, then start again; nothing that was acknowledged is lost as long as the file and its"
    " -wal stay together"
)
_CHECK_DISK = "check the disk and the kernel's log, then start again; nothing that was acknowledged is lost"
RESTORE = (
    "restore a backup (otel-sla ledger backup makes them), or move the file and its -wal away for a new ledger, with"
    " ledger.create: true for that start"
)

# Primary result code: what to do about it.
_HINTS = {
    sqlite3.SQLITE_BUSY: "another program holds the file; end it, then start again",
    sqlite3.SQLITE_LOCKED: "another program holds the file; end it, then start again",
    sqlite3.SQLITE_CANTOPEN: _FIX_ACCESS,
    sqlite3.SQLITE_PERM: _FIX_ACCESS,
    sqlite3.SQLITE_READONLY: _FIX_ACCESS,
    sqlite3.SQLITE_FULL: _FREE_SPACE,
    sqlite3.SQLITE_IOERR: _CHECK_DISK,
}
# A reader makes a small file beside the ledger (`-shm`), even if no process writes.
_EXTENDED_HINTS = {sqlite3.SQLITE_IOERR_SHMSIZE: _FREE_SPACE, sqlite3.SQLITE_IOERR_SHMOPEN: _FIX_ACCESS}
# SQLite also reports damage for a page that the disk failed to read.
_CHECK_AND_RESTORE = f"check the disk and the kernel's log, then start again; if that says the same, {RESTORE}"
_RAISE_LIMIT = "let the process open more files (systemd: LimitNOFILE, shells: ulimit -n), then start again"
_ERRNO_HINTS = {
    errno.ENOENT: f"create the folder, or put the file back where it was; else {RESTORE}",
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EIO: _CHECK_DISK,
    errno.EMFILE: _RAISE_LIMIT,
    errno.ENFILE: _RAISE_LIMIT,
}
_DEFECT = "this is a defect of otel-sla; nothing of that change was written, please report it"
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY_CODE_MASK = 0xFF


def translated(error: sqlite3.Error | OSError, path: Path, doing: str) -> LedgerError:
    """Give the error of the tree in errors.py for what went wrong while `doing` something with the ledger at `path`."""
    if isinstance(error, OSError):
        return LedgerUnavailable(
            f"cannot {doing} the ledger {path}: {error.strerror or error}",
            _ERRNO_HINTS.get(error.errno or 0, _FIX_ACCESS),
        )
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & _PRIMARY_CODE_MASK
    name = getattr(error, "sqlite_errorname", None)
    what = f"{error} ({name})" if name else f"{error}"
    if primary in _CORRUPT:
        return LedgerCorrupt(f"the ledger {path} is damaged: {what}", _CHECK_AND_RESTORE)
    if primary == sqlite3.SQLITE_CONSTRAINT:
        return LedgerError(f"cannot {doing} the ledger {path}: {what}", _DEFECT)
    hint = _EXTENDED_HINTS.get(code or 0) or _HINTS.get(primary or 0, "")
    return LedgerUnavailable(f"cannot {doing} the ledger {path}: {what}", hint)


def left_in_log(error: sqlite3.Error, path: Path) -> LedgerError:
    """Give the error of closing a ledger whose log could not be moved into its file."""
    cause = translated(error, path, "move the log into")
    together = "keep both files together; " if cause.hint in (_FREE_SPACE, _CHECK_DISK) else ""
    where = f"the newest counts of the ledger {path} are in its log {path}-wal, not in the file: {error}"
    return type(cause)(where, f"{together}{cause.hint}")


def located(error: LedgerError, path: Path) -> LedgerError:
    """Name the file in an error about data that was read from it."""
    if str(path) in str(error) or not isinstance(error, LedgerCorrupt):
        return error
    return LedgerCorrupt(f"the ledger {path} is damaged: {error}", RESTORE)


def unforeseen(error: BaseException | None) -> LedgerError:
    """Give the error that ends the pipeline as a LedgerError; log any other one with its traceback."""
    if isinstance(error, LedgerError):
        return error
    _log.error("the judge failed", exc_info=error, extra={"action": "judge_failed"})
    return LedgerError(f"the judge failed: {error!r}")


@contextmanager
def translating(path: Path, doing: str) -> Iterator[None]:
    """Translate errors that are raised inside."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise translated(error, path, doing) from error
