"""The files of a ledger: one process at a time holds them, and they stay the same ones."""

import fcntl
import os
from pathlib import Path

from otel_sla.errors import LedgerInUse, LedgerUnavailable
from otel_sla.ledger.faults import translating
from otel_sla.ledger.write_ahead_log import has_log, log_path


class LedgerLock:
    """Lets one process at a time write the ledger, by a lock on a file beside it, from construction until `close`.

    The kernel releases it when the process ends, however it ends.

    Raises:
        LedgerInUse: Another process, or another ledger of this process, holds it.
        LedgerUnavailable: The lock file cannot be written, or the ledger has a second name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}-lock")
        self._descriptor: int | None = None
        self._file = ""  # The inode that the last holder had.
        with translating(path, f"take {self.path} of"):
            if path.is_file() and path.stat().st_nlink > 1:
                raise LedgerUnavailable(
                    f"the ledger {path} has another name, a hard link, that a second pipeline could use",
                    "remove the other name, or copy the ledger with otel-sla ledger backup",
                )
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                if os.geteuid() == 0:  # The pipeline's own user must be able to lock it after root.
                    owner = (path if path.exists() else path.parent).stat()
                    os.fchown(descriptor, owner.st_uid, owner.st_gid)
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _, self._file = _read(descriptor)
                # The file stays when the lock is released: removing it could take it away from a third process.
                self._write(descriptor)
            except BlockingIOError:
                holder, _ = _read(descriptor)
                os.close(descriptor)
                raise LedgerInUse(
                    f"the ledger {path} is in use by process {holder or 'of unknown number'}",
                    "stop that process, or give this one another ledger.url",
                ) from None
            except OSError:
                os.close(descriptor)
                raise
        self._descriptor = descriptor

    def keep_file(self, path: Path) -> None:
        """Record the ledger's inode in the lock file, once the ledger exists.

        Raises:
            LedgerUnavailable: The last holder had another file, whose log SQLite would take for this one's.
        """
        assert self._descriptor is not None, "it is held"
        with translating(path, "read"):
            # Without the device's number, which a reboot may change.
            file, log = str(path.stat().st_ino), log_path(path)
            if self._file not in {"", file} and has_log(path):
                raise LedgerUnavailable(
                    f"the file {path} was replaced, and a log of the former one, {log}, lies beside it",
                    f"move {log} away, or remove {self.path} if you moved both the file and its log there",
                )
            self._file = file
            self._write(self._descriptor)

    def _write(self, descriptor: int) -> None:
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {self._file}\n".encode("ascii"), 0)

    def close(self) -> None:
        """Release the lock; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _read(descriptor: int) -> tuple[str, str]:
    """Read the process and the inode from a lock file; empty: unknown."""
    holder, _, file = os.pread(descriptor, 60, 0).decode("ascii", errors="replace").strip().partition(" ")
    return holder, file
