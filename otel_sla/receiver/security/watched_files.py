"""Notices that files were replaced or rewritten: certificates and tokens are rotated without a restart."""

from collections.abc import Callable, Sequence
from pathlib import Path

_Stamp = tuple[int, ...] | None


class WatchedFiles:
    """Looks at the files' stamps, at most every `interval_s`.

    Secrets mounted by Kubernetes are links that are pointed elsewhere: the stamp is that of the file at their end.

    Args:
        paths: What is watched.
        interval_s: Between two looks, so that a request costs no system call.
        clock_s: Monotonic seconds.
    """

    def __init__(self, paths: Sequence[Path], interval_s: float, clock_s: Callable[[], float]) -> None:
        self._paths = tuple(paths)
        self._interval_s = interval_s
        self._clock_s = clock_s
        self._looked_at_s = clock_s()
        self._stamps: tuple[_Stamp, ...] | None = self._look()

    def have_changed(self) -> bool:
        """Tell whether any of them is another than at the last look; true once for each change."""
        now_s = self._clock_s()
        if now_s - self._looked_at_s < self._interval_s:
            return False
        self._looked_at_s = now_s
        stamps = self._look()
        if stamps == self._stamps:
            return False
        self._stamps = stamps
        return True

    def look_now(self) -> None:
        """Take the files for known as they are now, whenever the last look was: the caller reads them."""
        self._looked_at_s = self._clock_s()
        self._stamps = self._look()

    def look_again(self) -> None:
        """Take the files for changed at the next look: what they are now could not be used.

        A file may become readable, or its partner arrive, without a trace in its own stamp.
        """
        self._stamps = None

    def _look(self) -> tuple[_Stamp, ...]:
        return tuple(_stamp(path) for path in self._paths)


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
