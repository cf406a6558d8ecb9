"""Certificates and tokens are rotated without a restart: what was read from files is read again when they change."""

import logging
import ssl
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

_log = logging.getLogger(__name__)

_Value = TypeVar("_Value")
_Stamp = tuple[int, ...] | None


class WatchedFiles(Generic[_Value]):
    """What was read from files; read again when they change, and kept as it was where that fails.

    Secrets mounted by Kubernetes are links that are pointed elsewhere: the stamp is that of the file at their end.

    Args:
        paths: The files.
        interval_s: Between two looks at their stamps, so that a request costs no system call.
        clock_s: Monotonic seconds.
        read: Reads them; raises OSError.
        names: The part of the configuration, what is read, and the `action=` of its log lines.
        summarize: Says more of what was read again, for the log.

    Raises:
        OSError: They cannot be read the first time.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        interval_s: float,
        clock_s: Callable[[], float],
        read: Callable[[], _Value],
        names: tuple[str, str, str],
        summarize: Callable[[_Value], str] = lambda _: "",
    ) -> None:
        self._paths = tuple(paths)
        self._interval_s = interval_s
        self._clock_s = clock_s
        self._read = read
        self._names = names
        self._summarize = summarize
        self._lock = threading.Lock()  # gRPC asks on threads of its own.
        self._looked_at_s = clock_s()
        self._stamps: tuple[_Stamp, ...] | None = self._look()
        self._value = read()

    def current(self) -> _Value:
        """What the files say, as of the last look."""
        with self._lock:
            now_s = self._clock_s()
            if now_s - self._looked_at_s >= self._interval_s:
                self._looked_at_s = now_s
                if self._look() != self._stamps:
                    self._read_again()
            return self._value

    def reload(self) -> None:
        """Read the files again now; without any there is nothing to read."""
        if self._paths:
            with self._lock:
                self._looked_at_s = self._clock_s()
                self._read_again()

    def _read_again(self) -> None:
        source, noun, action = self._names
        self._stamps = self._look()
        try:
            self._value = self._read()
        except OSError as error:
            # Most likely in the midst of a rotation. The next look reads again whatever the stamps are: a file may
            # become readable, or its partner arrive, without a trace in its own stamp.
            self._stamps = None
            _log.warning(
                "%s: %s; keeping the previous %s",
                source,
                describe(error),
                noun,
                extra={"action": f"{action}_not_reloaded"},
            )
        else:
            more = self._summarize(self._value)
            _log.info("%s: %s read again%s", source, noun, more, extra={"action": f"{action}_reloaded"})

    def _look(self) -> tuple[_Stamp, ...]:
        return tuple(_stamp(path) for path in self._paths)


def describe(error: OSError) -> str:
    """Say what is wrong with which file, in one line."""
    if isinstance(error, ssl.SSLError):
        return f"certificate and key cannot be used: {error.reason or error}"
    return f"cannot read {error.filename}: {error.strerror}" if error.filename else str(error)


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
