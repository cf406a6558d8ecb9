"""What the ledger takes of its disk, asked whenever our own metrics are."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from otel_sla.self_metrics import SelfMetrics


def register_ledger_files(metrics: SelfMetrics, path: Path) -> None:
    """Show how large the ledger's file and its log are, and what the disk has left.

    Args:
        metrics: Shows it.
        path: Of the ledger.
    """
    log = path.with_name(f"{path.name}-wal")
    metrics.register("sla.ledger.size", partial(_found, lambda: path.stat().st_size))
    metrics.register("sla.ledger.log_size", partial(_found, lambda: log.stat().st_size))
    if hasattr(os, "statvfs"):  # Not on Windows.
        metrics.register("sla.ledger.disk_free", partial(_found, lambda: _disk_bytes(path, "f_bavail")))
        metrics.register("sla.ledger.disk_size", partial(_found, lambda: _disk_bytes(path, "f_blocks")))


def _disk_bytes(path: Path, blocks: str) -> int:
    disk = os.statvfs(path)
    return int(getattr(disk, blocks)) * disk.f_frsize


def _found(read: Callable[[], int]) -> int | None:
    """None: it is gone, which the next write tells."""
    try:
        return read()
    except OSError:
        return None
