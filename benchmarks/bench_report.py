"""What a month's report costs: time, memory and disk, of a thousand series. Run: python benchmarks/bench_report.py.

The ledger is filled through its own code: commits for the series and their first minutes, the packing of sealed days
for the rest. Each format is then written in a process of its own, warm: once to fill the caches, then five times.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from ledger_parts import rows_of_outcomes

from otel_sla.arrays import Int64Array
from otel_sla.config import load_config
from otel_sla.ledger.counts_table import packed_id
from otel_sla.ledger.maintenance import merge_day
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Closing, Commit
from otel_sla.ledger.writer import Ledger
from otel_sla.sla.counts import MINUTES_PER_DAY, N_COUNTS, N_OUTCOMES
from otel_sla.sla.months import Month, month_range
from otel_sla.sla.series import Series

AGREEMENT = "default"
MONTH = Month(2026, 10)  # 44,640 minutes.
DAYS_AFTER = 1  # Of the month after: what a running pipeline has not sealed yet.


def counts_of_day(rng: np.random.Generator, per_minute: float) -> Int64Array:
    """One series' day, int64[N_COUNTS, 1440]: the rate follows the hours, 0.1 % fail, 2 % are invalid.

    Some days have outages. With few requests a minute a single failure is downtime, and minutes have no data.
    """
    hours = per_minute * (1 + 0.6 * np.sin(2 * np.pi * np.arange(MINUTES_PER_DAY) / MINUTES_PER_DAY))
    counts = np.stack([rng.poisson(hours * share) for share in (1, 0.001, 0.02)]).astype(np.int64)
    if rng.random() < 0.02:
        start, length = int(rng.integers(0, 1400)), int(rng.integers(1, 40))
        outage = slice(start, start + length)
        counts[1, outage] += counts[0, outage] // 2
        counts[0, outage] //= 2
    return np.pad(counts, ((0, N_COUNTS - N_OUTCOMES), (0, 0)))


def fill(url: str, n_series: int, months: int, per_minute: float) -> None:
    """Make a ledger of so many months up to MONTH, and a day behind it."""
    rng = np.random.default_rng(0)
    first = MONTH
    for _ in range(months - 1):
        first = first.previous
    start, stop = month_range(first, "UTC").start_minute, month_range(MONTH, "UTC").stop_minute
    series = tuple(
        Series(n, AGREEMENT, (("service.name", b"service-%04d" % n),), is_overflow=False) for n in range(n_series)
    )
    with closing(Ledger.open(url)) as ledger:
        ids = np.arange(n_series)
        ones = np.tile(np.array([1, 0, 0]), (n_series, 1))
        ledger.commit(Commit(series, rows_of_outcomes(ids, np.full(n_series, start), ones), ()))
        while ledger.seal(stop):
            pass
        for day in range(start // MINUTES_PER_DAY, stop // MINUTES_PER_DAY):
            with ledger._writing("fill") as connection:  # noqa: SLF001 - packs what sealing would pack, minute by minute.
                for series_id in range(n_series):
                    counts = counts_of_day(rng, per_minute)
                    merge_day(connection, "packed", packed_id(day, series_id), counts)
        for minute in range(stop, stop + DAYS_AFTER * MINUTES_PER_DAY, 60):
            minutes = np.repeat(np.arange(minute, minute + 60), n_series)
            rows = np.stack([rng.poisson(per_minute * share, 60 * n_series) for share in (1, 0.001, 0.02)], axis=1)
            while ledger.seal(stop, pack_before=minute):  # The last hour stays open, as in a running pipeline.
                pass
            ledger.commit(Commit((), rows_of_outcomes(np.tile(ids, 60), minutes, rows.astype(np.int64)), ()))
        ledger.close_minutes(Closing(judged_before=stop + DAYS_AFTER * MINUTES_PER_DAY, sealed_before=stop))


def write_report(url: str, what: str) -> Callable[[], int]:
    """Give a call that writes one report and tells its size, bytes."""
    from otel_sla.judging import month_report
    from otel_sla.report.csv import each_minute_line, render_csv
    from otel_sla.report.html.page import SECTIONS_MAX, render_html
    from otel_sla.report.json import render_json
    from otel_sla.report.table import render_table

    agreements = load_config(None, {}).agreements
    name, _, running = what.partition(" ")
    month = MONTH.next if running else MONTH
    now = datetime.fromtimestamp(60 * month_range(MONTH, "UTC").stop_minute, tz=UTC) + timedelta(days=DAYS_AFTER)
    elapsed_stop = month_report.elapsed_stop_minute(now, timedelta(0))
    render = {"json": render_json, "table": render_table, "csv": render_csv, "html": render_html}

    def write() -> int:
        with closing(LedgerReader.open(url)) as reader:
            if name == "minutes":
                each = month_report.each_series_minutes(reader, agreements, month, elapsed_stop)
                return sum(map(len, each_minute_line(agreements, each)))
            drawn_max = SECTIONS_MAX if name == "html" else 0
            report = month_report.load_report(reader, agreements, month, elapsed_stop, now, drawn_max=drawn_max)
            return len(render[name](report).encode())

    return write


def measure(url: str, what: str) -> None:
    """Write one kind of report; prints its figures as JSON. The process is its own, so that its memory is too."""
    write = write_report(url, what)
    n_times = 1 if what == "minutes" else 5
    size = write() if n_times > 1 else 0
    times_s = []
    for _ in range(n_times):
        started_s = time.perf_counter()
        size = write()
        times_s.append(time.perf_counter() - started_s)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"median_s": statistics.median(times_s), "peak_mib": peak_mib, "size_mib": size / 2**20}))


def main() -> None:
    """Fill a ledger and measure, or measure in one that is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--months", type=int, default=1)
    parser.add_argument("--requests-per-minute", type=float, default=300)
    parser.add_argument("--ledger", help="a file to fill, or to measure if it is there; a temporary one by default")
    parser.add_argument("--all", action="store_true", help="the single minutes as CSV too, which takes minutes")
    parser.add_argument("--measure", metavar="WHAT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        path = Path(options.ledger or f"{folder}/ledger.db").resolve()
        url = f"sqlite:///{path}"
        if options.measure:
            measure(url, options.measure)
            return
        if not path.exists():
            started_s = time.perf_counter()
            fill(url, options.series, options.months, options.requests_per_minute)
            print(f"filled in {time.perf_counter() - started_s:.0f} s")
        gib = path.stat().st_size / 2**30
        print(f"{options.series} series, {options.months} months and a day: {gib:.2f} GiB on disk")
        kinds = ["json", "table", "csv", "html", "json of the running month", *(["minutes"] if options.all else [])]
        for what in kinds:
            command = [sys.executable, __file__, "--ledger", str(path), "--measure", what]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ).stdout)
            print(
                f"{what:28} {found['median_s']:7.2f} s   {found['peak_mib']:6.0f} MiB peak"
                f"   {found['size_mib']:8.2f} MiB written"
            )


if __name__ == "__main__":
    main()
