"""From a URL to a sound SQLite connection."""

import errno
import logging
import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from otel_sla.errors import LedgerCorrupt, LedgerError, LedgerUnavailable
from otel_sla.ledger.faults import RESTORE, translated, translating
from otel_sla.ledger.write_ahead_log import has_log, log_path, sync_folder

_log = logging.getLogger(__name__)

_SCHEME = "sqlite:///"
_MAGIC = b"SQLite format 3\x00"
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
BUSY_TIMEOUT_MS = 30_000
# Reading every page of 64 MiB takes about 0.2 s. A start does not wait longer; `otel-sla ledger check` reads all.
QUICK_CHECK_SIZE_BYTES_MAX = 64 << 20
# A long read makes the write-ahead log grow; SQLite then truncates it to this size.
_LOG_SIZE_BYTES_MAX = 64 << 20
# A reader of one month visits 31 places of the file for each series; this caches their pages.
# With 20 million fingerprints counting late single spans keeps 0.90 of its speed; 0.86 with SQLite's own 2 MiB.
_WRITER_CACHE_KIB = 16_384
_READER_CACHE_KIB = 8_192


def ledger_path(url: str) -> Path:
    """Give the file of `sqlite:///relative.db` or `sqlite:////absolute.db`, links resolved.

    Raises:
        LedgerUnavailable: Any other URL, or no such directory.
    """
    name = url.removeprefix(_SCHEME)
    if not url.startswith(_SCHEME) or not name or "\x00" in name or name == ":memory:":
        raise LedgerUnavailable(
            f"cannot open the ledger {url!r}: not the URL of a file",
            "write sqlite:///otel-sla.db for a relative path, sqlite:////var/lib/otel-sla.db for an absolute one",
        )
    path = Path(os.path.realpath(name))
    if not path.parent.is_dir():
        raise LedgerUnavailable(
            f"cannot open the ledger {path}: there is no directory {path.parent}",
            "make the directory, or set ledger.url",
        )
    return path


def create_file(path: Path, *, may_create: bool) -> bool:
    """Make an empty file, readable by its owner only (it will hold the fingerprints' secret), if there is no ledger.

    An empty file is no ledger: SQLite would begin a new one in it, and delete a log that lies beside it.

    Returns:
        Whether there was no ledger.

    Raises:
        LedgerUnavailable: There is none, and its log exists, or `may_create` is False.
    """
    is_empty = path.exists()
    if is_empty and path.stat().st_size:
        return False
    if has_log(path):
        raise LedgerUnavailable(
            f"the ledger {path} is {'empty' if is_empty else 'gone'}, and its log {log_path(path)} is there, with"
            " counts that were acknowledged",
            "put the file back beside its log; before a backup takes its place, move the log away",
        )
    if not may_create:
        raise LedgerUnavailable(
            f"there is no ledger {path}{' but an empty file' if is_empty else ''}, and ledger.create is false",
            "put the file back, set ledger.url, or start once with ledger.create: true",
        )
    with translating(path, "create"):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        sync_folder(path)
    _log.info("a new ledger was made: %s", path, extra={"action": "ledger_made"})
    return True


def check_magic(path: Path) -> None:
    """Refuse a file that is not SQLite's before SQLite writes to it.

    Call it only while this process has no connection to the file: closing any handle on it drops every lock that the
    process holds on it. The next process to close a connection would then believe itself the last, and delete the log.

    Raises:
        LedgerCorrupt: Not empty, and not an SQLite file.
        LedgerUnavailable: Not readable.
    """
    with translating(path, "read"):
        start = _start_of(path, len(_MAGIC))
        if not start or start == _MAGIC:
            return
        # After a power cut in the first start, pages may be missing; SQLite rolls them back from the journal.
        journal = path.with_name(f"{path.name}-journal")
        if journal.exists() and _start_of(journal, len(_JOURNAL_MAGIC)) == _JOURNAL_MAGIC:
            return
    raise _no_ledger(path)


def _start_of(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def connect_writer(path: Path, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> sqlite3.Connection:
    """Open for writing, durable at each COMMIT. It never moves the write-ahead log into the file by itself.

    Args:
        path: The file, which exists.
        busy_timeout_ms: How long a statement waits for another connection that holds the file.
    """
    with translating(path, "open"):
        connection = _connect(path, "rw", busy_timeout_ms)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_SIZE_BYTES_MAX}")
        return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open for reading, also while a pipeline writes, in this process or another."""
    with translating(path, "read"):
        _check_readable(path)
    with translating(path, "open"):
        try:
            connection = _connect_checked(path, "ro")
        except sqlite3.OperationalError:
            # No process writes, and SQLite can create neither log nor shared memory: read-only, or a full disk.
            if has_log(path):
                raise
            connection = _connect_checked(path, "ro&immutable=1")
        connection.execute("PRAGMA query_only = ON")
        connection.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
        return connection


def use_wal(connection: sqlite3.Connection, path: Path) -> None:
    """Switch to a write-ahead log, so that others can read while the pipeline writes.

    Raises:
        LedgerUnavailable: The file system cannot share memory between processes, as most network file systems.
    """
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise LedgerUnavailable(
            f"cannot open the ledger {path}: its file system allows no write-ahead log ({mode})",
            "put the ledger on a local disk",
        )


def check_pages(connection: sqlite3.Connection, path: Path, size_bytes_max: int = QUICK_CHECK_SIZE_BYTES_MAX) -> None:
    """Look for damage in bounded time: a file up to `size_bytes_max` in every page, a larger one at its tables' ends.

    Raises:
        LedgerCorrupt: Damage was found.
    """
    try:
        if path.stat().st_size <= size_bytes_max:
            found = [line for (line,) in connection.execute("PRAGMA quick_check(1)")]
        else:
            found = ["ok"]
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                # The first and last row are found by key, through every level of the table's tree.
                for order in ("ASC", "DESC"):
                    connection.execute(f'SELECT * FROM "{name}" ORDER BY 1 {order} LIMIT 1').fetchone()  # noqa: S608
    except sqlite3.Error as error:
        raise translated(error, path, "read") from error
    if found != ["ok"]:
        raise LedgerCorrupt(f"the ledger {path} is damaged: {found[0].splitlines()[-1]}", RESTORE)


def _check_readable(path: Path) -> None:
    """Raise the system's own error where SQLite only reports an I/O error; does not open the file (`check_magic`)."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _connect_checked(path: Path, mode: str) -> sqlite3.Connection:
    """Connect, and let SQLite read the header; `check_magic` must not, as other connections may be open."""
    connection = _connect(path, mode)
    try:
        connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            raise _no_ledger(path) from error
        raise
    return connection


def _no_ledger(path: Path) -> LedgerError:
    return LedgerCorrupt(
        f"{path} is not a ledger: it does not start as an SQLite file",
        "set ledger.url to another file, or move this one away to start a new ledger",
    )


def _connect(path: Path, mode: str, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}",
        uri=True,
        isolation_level=None,  # BEGIN and COMMIT are written out where they happen.
        timeout=busy_timeout_ms / 1000,
    )


# Older ones may damage a file that several connections write and checkpoint at once (sqlite.org/wal.html, "WAL-reset").
SQLITE_VERSION_SOUND = (3, 51, 3)


def sqlite_warning() -> str | None:
    """Give a warning for the log if this Python's SQLite has that defect."""
    if sqlite3.sqlite_version_info >= SQLITE_VERSION_SOUND:
        return None
    sound = ".".join(map(str, SQLITE_VERSION_SOUND))
    return (
        f"SQLite {sqlite3.sqlite_version} can damage a database that two processes write and checkpoint at once"
        f" (mended in {sound}): let nothing but otel-sla write the ledger"
    )
