"""`make crash`."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("campaigns", "tests", "tests/acceptance")]


from crash.campaign import run_campaign


def main() -> None:
    """Run campaigns until there were enough kills; each has a ledger and a seed of its own."""
    parser = argparse.ArgumentParser(prog="make crash", description="Kill a loaded pipeline again and again.")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--kills-per-ledger", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1, help="of the first ledger's campaign; the next have the next")
    parser.add_argument("--verbose", action="store_true", help="a line for each kill")
    arguments = parser.parse_args()
    started_s = time.monotonic()
    done, seed = 0, arguments.seed
    while done < arguments.kills:
        with tempfile.TemporaryDirectory() as folder:
            n_kills = min(arguments.kills_per_ledger, arguments.kills - done)
            tell = print if arguments.verbose else lambda _: None
            result = run_campaign(n_kills, seed, Path(folder), tell)
        done += n_kills
        print(f"seed {seed}: {result}\n{done} kills in {time.monotonic() - started_s:.0f} s", flush=True)  # noqa: T201
        seed += 1


if __name__ == "__main__":
    main()
