"""Replay: spans per second of one core from a recorded file into a ledger.

The file is written once and used again. Some hundred thousand spans are drawn; each further round of them has other
resources, so that no two ResourceSpans are the same and every one is fingerprinted, looked up, counted and committed.
CPU time of the process counts; the clock is shown beside it.

Usage: python benchmarks/bench_replay.py [--spans 10000000] [--batch 512] [--write proto|json] [--compression zstd|none]
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import zstandard

from otel_sla.config import load_config
from otel_sla.replay.replay import Replay, ReplayOptions
from otel_sla.replay.session import private_ledger, start_counting

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from builders import MINUTE_NANOS, START_UNIX_NANO, realistic_request
from replay_parts import to_json

DISTINCT_SPANS = 200_000


def each_body(n_spans: int, batch: int) -> Iterator[bytes]:
    """Give batches as a Collector sends them, none with a ResourceSpans of another; minutes go on with each."""
    n_distinct = max(1, min(n_spans, DISTINCT_SPANS) // batch)
    pool = [
        realistic_request(batch, seed, start_unix_nano=START_UNIX_NANO + seed * MINUTE_NANOS // 10)
        for seed in range(n_distinct)
    ]
    for number in range(-(-n_spans // batch)):
        round_number, index = divmod(number, n_distinct)
        # The instance's id is 32 hex digits, mostly zeros: some of them become the number of the round.
        yield pool[index].replace(b"0" * 12, b"%012d" % round_number)


def write_file(path: Path, n_spans: int, batch: int, kind: str, compression: str) -> None:
    """Write a recording; appears whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as plain:
        compressor = zstandard.ZstdCompressor(level=3).stream_writer(plain, closefd=False)
        file = compressor if compression == "zstd" else plain
        for body in each_body(n_spans, batch):
            if kind == "json":
                file.write(to_json(body) + b"\n")
            else:
                file.write(len(body).to_bytes(4, "big") + body)
        if compression == "zstd":
            compressor.close()
    partial.rename(path)


def measure(path: Path) -> tuple[int, int, float, float]:
    """Replay into a new ledger; gives spans, requests, CPU time and time by the clock, s."""
    config = load_config(None, {})
    with private_ledger() as ledger, path.open("rb") as file:
        counting = start_counting(ledger, config, time.time_ns)
        started_cpu_s, started_s = time.process_time(), time.perf_counter()
        Replay(counting, ReplayOptions()).count(path.name, file)
        cpu_s, clock_s = time.process_time() - started_cpu_s, time.perf_counter() - started_s
    totals = counting.totals
    assert totals.duplicate_spans == 0, f"{totals.duplicate_spans} spans were taken for repeated ones"
    return totals.spans, totals.requests.total(), cpu_s, clock_s


def main() -> None:
    """Write the file if it is not there, replay it, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=10_000_000)
    parser.add_argument("--batch", type=int, default=512, help="spans in each record")
    parser.add_argument("--write", choices=("proto", "json"), default="proto")
    parser.add_argument("--compression", choices=("zstd", "none"), default="zstd")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "otel-sla-bench")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    name = f"{options.spans}-by-{options.batch}.{options.write}.{options.compression}"
    path = options.folder / name
    if not path.exists():
        print(f"writing {path}")
        write_file(path, options.spans, options.batch, options.write, options.compression)
    with tempfile.TemporaryDirectory() as folder:  # Kernels are compiled before it counts.
        small = Path(folder) / "small"
        write_file(small, 1024, 512, "proto", "none")
        measure(small)
    print(f"{path.name}: {path.stat().st_size / 1e6:.0f} MB")
    for _ in range(options.rounds):
        spans, requests, cpu_s, clock_s = measure(path)
        print(
            f"{spans} spans, {requests} requests: {cpu_s:.2f} s of CPU, {spans / cpu_s / 1e6:.2f} M spans/s;"
            f" {clock_s:.2f} s by the clock, {spans / clock_s / 1e6:.2f} M spans/s;"
            f" at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB"
        )


if __name__ == "__main__":
    main()
