"""A year in an hour: `make year`; `--days 90` is a shorter form."""

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("campaigns", "tests", "tests/acceptance")]


from progress import say

from year.campaign import Campaign, Plan
from year.clock import PACKAGE, library


def main() -> int:
    """Live through the days; 1 if anything was not as it has to be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=368, help="how many, from 2026-11-04 on")
    parser.add_argument("--spots", type=int, default=3, help="times of a day at which somebody asks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--events-only", action="store_true", help="send no figures of each minute: a quarter of the time"
    )
    arguments = parser.parse_args()
    if library() is None:
        sys.stderr.write(f"no faked clock without libfaketime: apt-get install {PACKAGE}\n")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(
            days=arguments.days, spots=arguments.spots, seed=arguments.seed, has_figures=not arguments.events_only
        )
        campaign = Campaign(Path(folder), plan, say=say)
        problems = campaign.run()
    say("\n".join(problems) or "a year without a surprise")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
