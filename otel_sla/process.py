"""Settings of a serving process: malloc, file descriptors, garbage collection, gRPC's own log."""

import ctypes
import gc
import logging
import os
import sys
from contextlib import suppress

try:
    import resource
except ImportError:  # Not on Windows.
    resource = None  # type: ignore[assignment]

from otel_sla.errors import OtelSlaError

_log = logging.getLogger(__name__)

# <malloc.h>; setting one of the thresholds switches off glibc's own adjusting of both.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_OTHER_FILES = 128  # The ledger's, the exporters', the interpreter's.
_TRIM_BYTES, _MMAP_BYTES = 16 * 1024 * 1024, 8 * 1024 * 1024


def prepare_process() -> None:
    """Set up malloc, file descriptors and gRPC's log; what the system does not support is left out."""
    # gRPC writes a line for each call that it cannot read: any client could fill a disk with them.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    _set_up_malloc()
    _raise_open_files_max()


def freeze_objects() -> None:
    """Exclude all existing objects from garbage collection; to be called once the process serves.

    Some 160,000 live as long as the process, modules of the compiler most of them. At 70,000 spans/s each collection
    of all generations, one in 10 to 30 s, stopped the process for 60 to 190 ms; without these objects for 4 to 10.
    """
    gc.collect()
    gc.freeze()


def _set_up_malloc() -> None:
    """Let all threads allocate from one malloc arena, and keep the memory of a body for the next one.

    By default glibc keeps eight arenas for each core, and each keeps what large requests left in it: after forty of 64
    MiB the process stayed at 2.1 times its idle memory, with one arena at 1.5 times (`make hostile`). It also returns
    the pages of each body of megabytes and takes new ones for the next, which the kernel clears: 2,500 to 4,400 page
    faults for a request of 8,192 spans, half the cost of receiving it. Blocks above 8 MiB are still returned at once.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return  # The operator's own settings hold.
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        _log.debug("this system's malloc cannot be set up", extra={"action": "no_mallopt"})
        return
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)


def connections_that_fit(connections_max: int) -> int:
    """Give how many of `connections_max` connections the limit of open files allows, and log if they are fewer.

    The process needs other files, too: out of descriptors, it could not write the ledger, and the system would refuse
    connections silently.

    Raises:
        OtelSlaError: It allows none.
    """
    if resource is None:
        return connections_max
    files_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files_max == resource.RLIM_INFINITY or files_max >= connections_max + _OTHER_FILES:
        return connections_max
    allowed = files_max - _OTHER_FILES
    hint = "raise that limit (systemd: LimitNOFILE, shells: ulimit -n)"
    if allowed < 2:
        raise OtelSlaError(f"the process may open {files_max} files, and needs {_OTHER_FILES + 2} at least", hint)
    _log.warning(
        "%d connections are allowed, not %d as connections_max says: the process may open %d files; %s",
        allowed,
        connections_max,
        files_max,
        hint,
        extra={"action": "open_files_max"},
    )
    return allowed


def _raise_open_files_max() -> None:
    """Raise the soft limit to the hard one: the usual 1,024 is lower than the connections allowed by default."""
    if resource is None:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # `connections_that_fit` logs it if there are too few.
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
