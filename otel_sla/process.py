"""What a serving process asks of its system before it starts: memory given back, file descriptors, a quiet log."""

import ctypes
import logging
import os
import sys

try:
    import resource
except ImportError:  # Not on Windows.
    resource = None  # type: ignore[assignment]

_log = logging.getLogger(__name__)

_M_ARENA_MAX = -8  # <malloc.h>


def prepare_process() -> None:
    """Ask for it; where the system does not know of something, nothing happens."""
    # gRPC writes a line for each call that it cannot read; anybody could fill a disk with them.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    _share_one_arena()
    _raise_open_files_max()


def _share_one_arena() -> None:
    """Let all threads allocate from one arena.

    By default glibc keeps eight for each core, and each keeps what large requests left in it: after forty of 64 MiB the
    process stayed at 2.1 times its idle memory, so it is at 1.5 times (`make hostile`).
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    except (OSError, AttributeError):
        _log.debug("this system's malloc has no arenas", extra={"action": "no_malloc_arenas"})


def _raise_open_files_max() -> None:
    """Take as many file descriptors as we may: connections are limited by the configuration.

    The usual limit of 1,024 is lower than what the two servers allow by default, and the ledger needs some too.
    """
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        _log.warning(
            "only %d files and connections can be open at once: %s", soft, error, extra={"action": "open_files_max"}
        )
