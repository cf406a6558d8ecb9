"""One pipeline per ledger: a lock on a file beside it, which the kernel gives back when the process ends, however it
ends.
"""

import fcntl
import os
from pathlib import Path

from otel_sla.errors import LedgerInUse, LedgerUnavailable
from otel_sla.ledger.faults import translating, with_hint


class LedgerLock:
    """Held from construction until `release`.

    Raises:
        LedgerInUse: Another process, or another ledger of this process, holds it.
        LedgerUnavailable: The lock file cannot be written, or the ledger has a second name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}-lock")
        self._descriptor: int | None = None
        with translating(path, "lock"):
            if path.is_file() and path.stat().st_nlink > 1:
                raise with_hint(
                    LedgerUnavailable(
                        f"the ledger {path} has another name, a hard link, that a second pipeline could use"
                    ),
                    "remove the other name, or copy the ledger with otel-sla ledger backup",
                )
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The file stays when the lock is released: who removed it could take it from under a third process.
                os.truncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
            except BlockingIOError:
                holder = os.pread(descriptor, 20, 0).decode("ascii", errors="replace").strip()
                os.close(descriptor)
                raise with_hint(
                    LedgerInUse(f"the ledger {path} is in use by process {holder or 'of unknown number'}"),
                    "stop that process, or give this one another ledger.url",
                ) from None
            except OSError:
                os.close(descriptor)
                raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Let the next pipeline have the ledger; again is fine."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
