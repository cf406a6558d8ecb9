"""Holds the branches that the tests take against a bound, folder by folder; what `make coverage` ends with."""

import json
import sys
from pathlib import Path

FOLDERS = ("otel_sla/spans", "otel_sla/sla", "otel_sla/ledger")
PERCENT_MIN = 95


def main(report: Path) -> int:
    """Print each folder's share; 1 if one is below the bound.

    Args:
        report: What `coverage json` wrote.
    """
    files = json.loads(report.read_text(encoding="utf-8"))["files"]
    status = 0
    for folder in FOLDERS:
        summaries = [each["summary"] for name, each in files.items() if name.startswith(f"{folder}/")]
        n_branches = sum(summary["num_branches"] for summary in summaries)
        n_covered = sum(summary["covered_branches"] for summary in summaries)
        sys.stdout.write(f"{folder}: {n_covered} of {n_branches} branches, {100 * n_covered / n_branches:.1f} %\n")
        if 100 * n_covered < PERCENT_MIN * n_branches:
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
