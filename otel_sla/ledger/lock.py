"""One pipeline per ledger: a lock on a file beside it, which the kernel gives back when the process ends, however it
ends.
"""

import fcntl
import os
from pathlib import Path

from otel_sla.errors import LedgerInUse
from otel_sla.ledger.faults import translating, with_hint


class LedgerLock:
    """Held from construction until `release`.

    Raises:
        LedgerInUse: Another process, or another ledger of this process, holds it.
        LedgerUnavailable: The lock file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}-lock")
        with translating(path, "lock"):
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(self._descriptor, 20).decode("ascii", errors="replace").strip()
                os.close(self._descriptor)
                raise with_hint(
                    LedgerInUse(f"the ledger {path} is in use by process {holder or 'of unknown number'}"),
                    "stop that process, or give this one another ledger.url",
                ) from None
            # The file stays when the lock is released: who removed it could take it from under a third process.
            os.truncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode("ascii"), 0)

    def release(self) -> None:
        """Let the next pipeline have the ledger."""
        os.close(self._descriptor)
