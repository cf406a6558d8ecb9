"""`otel-sla run` on a disk of which one call fails: python campaigns/disk/faulty_run.py CONFIG KIND LASTS CALL."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("campaigns", "tests", "tests/acceptance")]


from disk.calls import watching
from disk.faults import Fault, FaultyDisk
from otel_sla.cli import main


def run() -> None:
    """Serve until stopped or failed; the folder of the configuration is the disk."""
    config, kind, lasts, call = sys.argv[1:]
    folder = Path(config).resolve().parent
    sys.argv[1:] = ["run", "--config", config]
    disk = FaultyDisk({path.name: b"" for path in folder.iterdir()}, Fault(kind, lasts == "lasts"), int(call))
    with watching(folder, disk):
        main()


if __name__ == "__main__":
    run()
