"""What a serving process asks of its system and its interpreter: memory given back, file descriptors, a quiet log."""

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
    """Ask for it; where the system does not know of something, nothing happens."""
    # gRPC writes a line for each call that it cannot read; anybody could fill a disk with them.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    _set_up_malloc()
    _raise_open_files_max()


def freeze_objects() -> None:
    """Leave all objects that are there out of every later collection of garbage; to be called once it serves.

    Some 160,000 stay for as long as the process lives, modules of the compiler most of them. At 70,000 spans/s each
    collection of all generations, one in 10 to 30 s, held up everything for 60 to 190 ms; without these for 4 to 10.
    """
    gc.collect()
    gc.freeze()


def _set_up_malloc() -> None:
    """Let all threads allocate from one arena, and keep the memory of a body for the next one.

    By default glibc keeps eight arenas for each core, and each keeps what large requests left in it: after forty of 64
    MiB the process stayed at 2.1 times its idle memory, so it is at 1.5 times (`make hostile`). And it gives the pages
    of each body of megabytes back, and takes new ones for the next, which the kernel clears: 2,500 to 4,400 page faults
    for a request of 8,192 spans, half of what receiving it cost. What is larger than 8 MiB goes back at once as before.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return  # An operator's own settings hold.
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        _log.debug("this system's malloc cannot be set up", extra={"action": "no_mallopt"})
        return
    for parameter, value in (
        (_M_ARENA_MAX, 1),
        (_M_MMAP_THRESHOLD, _MMAP_BYTES),
        (_M_TRIM_THRESHOLD, _TRIM_BYTES),
    ):
        mallopt(parameter, value)


def connections_that_fit(connections_max: int) -> int:
    """Give how many connections can be open besides the files that the process needs; logged if they are fewer.

    Without a descriptor of its own the ledger could not be written, and the system would refuse connections silently.

    Args:
        connections_max: What the configuration allows.

    Raises:
        OtelSlaError: There is no room for any.
    """
    if resource is None:
        return connections_max
    files_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files_max == resource.RLIM_INFINITY or files_max >= connections_max + _OTHER_FILES:
        return connections_max
    allowed = files_max - _OTHER_FILES
    if allowed < 2:
        refused = OtelSlaError(f"the process may open {files_max} files, and needs {_OTHER_FILES + 2} at least")
        refused.hint = "raise that limit (systemd: LimitNOFILE, shells: ulimit -n)"
        raise refused
    _log.warning(
        "%d connections are allowed, not %d as connections_max says: the process may open %d files; raise that limit"
        " (systemd: LimitNOFILE, shells: ulimit -n)",
        allowed,
        connections_max,
        files_max,
        extra={"action": "open_files_max"},
    )
    return allowed


def _raise_open_files_max() -> None:
    """Take as many file descriptors as we may: connections are limited by the configuration.

    The usual limit of 1,024 is lower than what the two servers allow by default, and the ledger needs some too.
    """
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    with suppress(OSError, ValueError):  # `connections_that_fit` logs it if there are too few.
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
