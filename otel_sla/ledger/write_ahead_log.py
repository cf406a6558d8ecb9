"""The files of an open ledger: makes the names durable, sees that they stay, and moves a long write-ahead log.

SQLite does most of it by itself, but does not report when the disk refuses.
"""

import logging
import os
import sqlite3
from pathlib import Path

from otel_sla.errors import LedgerUnavailable
from otel_sla.ledger.faults import translating
from otel_sla.ledger.records import LedgerLimits

_log = logging.getLogger(__name__)

# sqlite.org/fileformat2.html, "The Write-Ahead Log": a reset changes the salts, so older frames do not match.
_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_SALTS_BYTES = 8
_SALTS_OFFSET = 16
_FRAME_SALTS_OFFSET = 8


def log_path(path: Path) -> Path:
    """Give where SQLite keeps the write-ahead log of the file `path`."""
    return path.with_name(f"{path.name}-wal")


def has_log(path: Path) -> bool:
    """Whether a log that is not empty lies beside the file `path`, which may be gone."""
    log = log_path(path)
    return log.exists() and log.stat().st_size > 0


def sync_folder(path: Path) -> None:
    """Make the names of the files beside `path` durable.

    Raises:
        OSError: They are not.
    """
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class LedgerFiles:
    """The files of a ledger, by the connection that writes: sees that they stay the same ones, and moves the log.

    SQLite's automatic checkpoint runs inside a commit, which succeeds even if the checkpoint fails. No commit may
    follow on a disk that has failed to sync, so this checkpoint is a statement of its own, whose failure is raised.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, limits: LedgerLimits) -> None:
        self.pages_max = limits.log_pages_max
        self._held_pages_min = self._logged_pages = limits.held_pages_min
        self._path = log_path(path)
        self._sqlite = connection
        (self._page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        with translating(path, "open"):
            # SQLite has synced the folder, but ignores a failure.
            sync_folder(path)
            # Without the shared memory's name, another process makes a new one and does not see this one's locks.
            names = (path.with_name(f"{path.name}{suffix}") for suffix in ("", "-wal", "-shm"))
            self._identities = {name: _identity(name) for name in names}
            self._descriptor: int | None = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def check(self) -> None:
        """See that every name leads to the same file, as what is written to a nameless one is lost with the process;
        and move what no reader holds back, if the log has `log_pages_max` pages. Takes 10 us.

        Raises:
            LedgerUnavailable: A name leads to another file.
            OSError: A name is gone, or the log cannot be read.
            sqlite3.Error: The disk has refused; what was committed is in the log as before.
        """
        assert self._descriptor is not None, "the ledger is open"
        for name, identity in self._identities.items():
            if _identity(name) != identity:
                raise LedgerUnavailable(
                    f"the ledger's file {name} was replaced while in use",
                    "put the file back or restore a backup, then start again",
                )
        last_frame = _HEADER_BYTES + (self.pages_max - 1) * (_FRAME_HEADER_BYTES + self._page_bytes)
        salts = os.pread(self._descriptor, _SALTS_BYTES, last_frame + _FRAME_SALTS_OFFSET)
        if len(salts) == _SALTS_BYTES and salts == os.pread(self._descriptor, _SALTS_BYTES, _SALTS_OFFSET):
            self.move_all()

    def move_all(self) -> int:
        """Move what no reader holds back, unless closed; return how many pages are held back.

        Raises:
            sqlite3.Error: The disk has refused; what was committed is in the log as before.
        """
        if self._descriptor is None:
            return 0
        _, n_pages, n_moved = self._sqlite.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        held_back = n_pages - n_moved
        if held_back >= self._logged_pages:
            self._logged_pages = 2 * held_back
            _log.warning(
                "the ledger's log %s has grown by %d MiB: a reader keeps an old state of the ledger open and holds it"
                " back; end whatever has the file open (fuser, lsof) before the disk is full",
                self._path,
                held_back * self._page_bytes >> 20,
                extra={"action": "log_grows"},
            )
        elif n_pages < self.pages_max:
            self._logged_pages = self._held_pages_min
        return int(held_back)

    def close(self) -> None:
        """Close the log's descriptor, on which SQLite holds no lock; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _identity(path: Path) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116 - half the time of Path.stat.
    return status.st_dev, status.st_ino
