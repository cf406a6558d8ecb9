"""The names of a ledger's files, which have to stay those of the files that are open."""

import os
from pathlib import Path

from otel_sla.errors import LedgerUnavailable
from otel_sla.ledger.faults import with_hint


class FileNames:
    """File, log and shared memory of one ledger that is open.

    Raises:
        OSError: One of them is not there.
    """

    def __init__(self, path: Path) -> None:
        # Whoever comes when the third is gone makes another one, and writes where this process does not look.
        names = (path.with_name(f"{path.name}{suffix}") for suffix in ("", "-wal", "-shm"))
        self._identities = {name: _identity(name) for name in names}

    def check(self) -> None:
        """What is written to a file that has lost its name is lost with the process.

        Raises:
            LedgerUnavailable: One is another file now.
            OSError: One is gone.
        """
        for name, identity in self._identities.items():
            if _identity(name) != identity:
                raise with_hint(
                    LedgerUnavailable(f"the ledger's file {name} was replaced while in use"),
                    "put the file back or restore a backup, then start again",
                )


def _identity(path: Path) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116 - half the time of Path.stat.
    return status.st_dev, status.st_ino
