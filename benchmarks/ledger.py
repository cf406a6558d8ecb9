"""What the ledger costs: commits, look-ups, packing, reading a month, disk. Run: python benchmarks/ledger.py."""

import argparse
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from ledger_parts import rows_of_outcomes

from otel_sla.arrays import Int64Array
from otel_sla.ledger.day_blob import pack_day, unpack_days
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Commit
from otel_sla.ledger.writer import Ledger
from otel_sla.sla.counts import MINUTES_PER_DAY, CountRows
from otel_sla.sla.series import Series


def timed_ms(call: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    started_s = time.perf_counter()
    call()
    return (time.perf_counter() - started_s) * 1e3


def show(name: str, times_ms: list[float]) -> None:
    """One line: median and 99th percentile."""
    p99 = sorted(times_ms)[int(len(times_ms) * 0.99)]
    print(f"{name:48} p50 {statistics.median(times_ms):8.3f} ms   p99 {p99:8.3f} ms")


def realistic_hour(rng: np.random.Generator, hour: int, n_series: int, requests_per_minute: float) -> CountRows:
    """An hour of all series: the rate follows the day, 0.1 % fail, 2 % are invalid."""
    rate = requests_per_minute * (1 + 0.6 * np.sin(2 * np.pi * hour / 24))
    n_rows = 60 * n_series
    counts = np.stack([rng.poisson(rate * share, n_rows) for share in (1, 0.001, 0.02)], axis=1).astype(np.int64)
    minutes = np.repeat(np.arange(hour * 60, hour * 60 + 60), n_series)
    return rows_of_outcomes(np.tile(np.arange(n_series), 60), minutes, counts)


def measure_commits(ledger: Ledger, rng: np.random.Generator, n_series: int) -> None:
    """Commits of 50 rows and 20 fingerprints, then look-ups."""
    times_ms = []
    for number in range(2_000):
        chosen = rng.choice(n_series, min(50, n_series), replace=False)
        rows = rows_of_outcomes(
            chosen, np.full(len(chosen), 10**7 + number // 100), rng.integers(0, 99, (len(chosen), 3))
        )
        commit = Commit((), rows, tuple((10**7, rng.bytes(16)) for _ in range(20)))
        times_ms.append(timed_ms(lambda commit=commit: ledger.commit(commit)))  # type: ignore[misc]
    show("commit of 50 rows, 20 fingerprints", times_ms)
    wanted = [rng.bytes(16) for _ in range(2_000)]
    show("is_counted", [timed_ms(lambda f=f: ledger.is_counted(10**7, f)) for f in wanted])  # type: ignore[misc]


def measure_deflating(counts: Int64Array) -> None:
    """What general compression of the packed days would save, and cost."""
    days = [np.ascontiguousarray(counts[:, day]) for day in range(counts.shape[1])]
    blobs = [pack_day(day) for day in days]
    out = np.empty_like(counts)
    show("unpack a month of one series", [timed_ms(lambda: unpack_days(blobs, out)) for _ in range(50)])
    deflated = [
        zlib.compress(day.astype("<u2").view(np.uint8).reshape(3, -1, 2).transpose(0, 2, 1).tobytes()) for day in days
    ]
    show(
        "the same, deflated columns, inflating alone",
        [timed_ms(lambda: [*map(zlib.decompress, deflated)]) for _ in range(50)],
    )
    for name, packed in (("packed", blobs), ("deflated", deflated)):
        print(f"{name:48} {sum(map(len, packed)) / len(packed) / MINUTES_PER_DAY:.2f} bytes for a series' minute")


def main() -> None:
    """Fill a ledger through its own code and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--days", type=int, default=31)
    parser.add_argument("--requests-per-minute", type=float, default=300)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        url = f"sqlite:///{folder}/ledger.db"
        ledger = Ledger.open(url)
        new_series = tuple(
            Series(n, "chat", (("service.name", b"%d" % n),), is_overflow=False) for n in range(options.series)
        )
        ledger.commit(Commit(new_series, CountRows.empty(), ()))
        pieces_ms: list[float] = []
        for hour in range(24 * options.days):
            ledger.commit(Commit((), realistic_hour(rng, hour, options.series, options.requests_per_minute), ()))
            more = True
            while more:
                started_s = time.perf_counter()
                more = ledger.seal(60 * (hour + 1))
                pieces_ms.append((time.perf_counter() - started_s) * 1e3)
        show("a piece of sealing", pieces_ms)
        n_minutes = options.series * options.days * MINUTES_PER_DAY
        print(f"{'ledger on disk':48} {ledger.path.stat().st_size / n_minutes:.2f} bytes for a series' minute")
        measure_commits(ledger, rng, options.series)
        reader = LedgerReader.open(url)
        stop = options.days * MINUTES_PER_DAY
        month = reader.month_counts(0, 0, stop).T.reshape(3, options.days, MINUTES_PER_DAY)
        for _ in range(3):
            total_ms = timed_ms(lambda: [None for _ in reader.each_month_counts(range(options.series), 0, stop)])
            print(f"{'a month of each series':48} {total_ms / options.series:.3f} ms for each")
        measure_deflating(month)
        reader.close()
        ledger.close()


if __name__ == "__main__":
    main()
