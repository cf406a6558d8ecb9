"""The time that processes under libfaketime see: the machine's, and as much ahead of it as a file says.

All clocks go with it, also those that nobody sets (`CLOCK_BOOTTIME`): a step is to a process what a sleep of the
machine is. Between steps a second is a second.
"""

import os
import time
from pathlib import Path

PACKAGE = "libfaketime"


def library() -> Path | None:
    """Where Debian's package has laid the variant for processes with threads; None: it is not installed."""
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


class FakedClock:
    """A clock that goes forward only.

    Args:
        path: Its file, which is made.
        start_s: Seconds since the Unix epoch.
    """

    def __init__(self, path: Path, start_s: float) -> None:
        self._path = path
        self._ahead_s = start_s - time.time()
        self.move_to(start_s)

    def move_to(self, unix_s: float) -> None:
        """Set it, if it is not there already."""
        self._ahead_s = max(self._ahead_s, unix_s - time.time())
        made = self._path.with_suffix(".new")
        made.write_text(f"{self._ahead_s:+.6f}\n")
        made.replace(self._path)  # A process that reads it meanwhile reads the former or the new one.

    def now_s(self) -> float:
        """Seconds since the Unix epoch, as those processes see them."""
        return time.time() + self._ahead_s

    def environment(self) -> dict[str, str]:
        """What a process needs to see it."""
        return {
            **os.environ,
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_NO_CACHE": "1",
            "NO_FAKE_STAT": "1",
        }
