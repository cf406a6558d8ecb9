"""Fuzz the decoder: `python campaigns/fuzz/fuzz_decode.py --count 10000000 --seed 1`.

By default with numba's bounds checks, whose binaries have a cache directory of their own (otel_sla/jit.py). `--guard`
runs the binary that serves instead, on requests that lie between pages that cannot be read: a read outside ends the
process.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("campaigns", "tests", "tests/acceptance")]


CHUNK = 20_000


def _start_worker(*, is_guarded: bool) -> None:
    """Compile, and make sure that what shall be checked is."""
    import differential

    from otel_sla import jit

    assert jit.IS_CHECKED is not is_guarded, "the bounds checks are not what this run needs"
    if not is_guarded:
        assert_bounds_are_checked()
    differential.check(b"")


def assert_bounds_are_checked() -> None:
    """Fail where a read outside of an array goes unseen."""
    import numpy as np

    from otel_sla.jit import kernel

    @kernel
    def _probe_kernel(array, index):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        return array[index]

    try:
        _probe_kernel(np.zeros(2, dtype=np.uint8), 7)
    except IndexError:
        return
    raise AssertionError("a read outside of an array was not noticed: this run would check nothing")


def _run_chunk(seed: int, count: int, *, is_guarded: bool) -> Counter[bool]:
    import differential
    from guard_pages import run_guarded

    try:
        return run_guarded(seed, count) if is_guarded else differential.run(seed, count)
    except differential.Disagreement as error:
        raise differential.Disagreement(f"seed {seed}: {error}") from None


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fuzz the decoder against upb.")
    parser.add_argument("--count", type=int, default=10_000_000, help="requests in all")
    parser.add_argument("--seed", type=int, default=1, help="the first of the seeds, one for 20,000 requests")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--guard", action="store_true", help="between guard pages instead of with bounds checks")
    return parser.parse_args()


def main() -> int:
    """Run, and print what was tried."""
    arguments = _read_arguments()
    print(f"seed {arguments.seed}, {arguments.count:,} requests, {arguments.processes} processes", flush=True)  # noqa: T201
    start = time.monotonic()
    outcomes: Counter[bool] = Counter()
    os.environ["NUMBA_BOUNDSCHECK"] = "0" if arguments.guard else "1"
    with concurrent.futures.ProcessPoolExecutor(arguments.processes, multiprocessing.get_context("spawn")) as pool:
        # One process compiles, the others find its binaries.
        pool.submit(_start_worker, is_guarded=arguments.guard).result()
        chunks = [
            pool.submit(
                _run_chunk, arguments.seed + index, min(CHUNK, arguments.count - done), is_guarded=arguments.guard
            )
            for index, done in enumerate(range(0, arguments.count, CHUNK))
        ]
        for chunk in concurrent.futures.as_completed(chunks):
            if error := chunk.exception():
                pool.shutdown(wait=False, cancel_futures=True)
                print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
                return 1
            outcomes += chunk.result()
            if outcomes.total() % (50 * CHUNK) == 0:
                print(f"{outcomes.total():,} in {time.monotonic() - start:.0f} s", flush=True)  # noqa: T201
    rate = outcomes.total() / (time.monotonic() - start)
    print(  # noqa: T201
        f"{outcomes.total():,} requests, {outcomes[True]:,} accepted, no disagreement, {rate:,.0f}/s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
