"""What millions of fingerprints in the ledger cost: counting, restarting, forgetting.

Two pipelines take the same requests in turns, one on a ledger without fingerprints, the other on one with a day of
them; each takes the accountant's whole way (decode, look-up, classify, group commit). Then the clock goes on by a day,
and all of them are forgotten while requests come in. Run: python benchmarks/bench_fingerprints.py
[--fingerprints 20000000].
"""

import argparse
import asyncio
import logging
import random
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_sla.config import Config, load_config
from otel_sla.ledger.writer import Ledger
from otel_sla.serving.pipeline import Pipeline

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from builders import MINUTE_NANOS, START_UNIX_NANO, realistic_request

START_MINUTE = START_UNIX_NANO // MINUTE_NANOS
MINUTES_PER_DAY = 1_440
SENDERS = 64


@dataclass(frozen=True)
class Load:
    """One kind of traffic; every request of it is new."""

    name: str
    n_spans: int
    services: tuple[str, ...]
    minutes_back: int  # The spans' minutes are spread over so many.
    n_requests: int  # Per round.


LOADS = (
    Load("512 spans of 3 resources", 512, ("chat-1", "chat-2", "chat-3"), 1, 2_000),
    Load("1 span", 1, ("chat-1",), 1, 8_000),
    Load("1 span of the last 12 hours", 1, ("chat-1",), 720, 8_000),
)


class Templates:
    """Requests that are made new by another span id in each ResourceSpans."""

    def __init__(self, load: Load, last_minute: int) -> None:
        self._templates = []
        self._random = random.Random(load.name + str(last_minute))
        for seed in range(60):
            minute = last_minute - seed * load.minutes_back // 60
            body = realistic_request(load.n_spans, seed, start_unix_nano=minute * MINUTE_NANOS, services=load.services)
            ids = [
                resource_spans.scope_spans[0].spans[0].span_id
                for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans
            ]
            self._templates.append((bytearray(body), [body.index(span_id) for span_id in ids]))

    def each(self, n_requests: int) -> Iterator[bytes]:
        """Give so many new requests."""
        for number in range(n_requests):
            body, places = self._templates[number % len(self._templates)]
            for place in places:
                body[place : place + 8] = self._random.randbytes(8)
            yield bytes(body)


class Clock:
    """The time that the pipelines see, ns since the Unix epoch."""

    now = (START_MINUTE + 1) * MINUTE_NANOS

    def __call__(self) -> int:
        """Tell the time."""
        return self.now


def make_config(url: str) -> Config:
    """The defaults, without ports."""
    config = load_config(None, {})
    return replace(
        config,
        receiver=replace(config.receiver, grpc=None, http=None),
        ledger=replace(config.ledger, url=url),
    )


def fill(path: Path, n_fingerprints: int, last_minute: int = START_MINUTE) -> None:
    """Put fingerprints into the ledger, spread over the day before a minute; faster than by commits."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for back in range(MINUTES_PER_DAY - 2, 0, -1):
            n_of_minute = n_fingerprints * (back + 1) // (MINUTES_PER_DAY - 1) - n_fingerprints * back // (
                MINUTES_PER_DAY - 1
            )
            connection.execute(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
                " INSERT INTO fingerprints (newest_minute, fingerprint)"
                " SELECT ?, f FROM (SELECT randomblob(16) AS f FROM n ORDER BY f)",
                (n_of_minute, last_minute - back),
            )
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def send(pipeline: Pipeline, bodies: list[bytes]) -> tuple[float, list[float]]:
    """Requests per second of 64 senders, and how long each waited, seconds."""
    waits_s: list[float] = []
    following = iter(bodies)

    async def one_sender() -> None:
        for body in following:
            started_s = time.perf_counter()
            await pipeline.accountant.account(body)
            waits_s.append(time.perf_counter() - started_s)

    started_s = time.perf_counter()
    await asyncio.gather(*(one_sender() for _ in range(SENDERS)))
    return len(bodies) / (time.perf_counter() - started_s), waits_s


def memory_mib() -> float:
    """What this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


async def compare_memory(empty: Pipeline, full: Pipeline) -> None:
    """Print how much each takes for the same requests; the empty one goes first, and pays for what both share."""
    taken_mib = []
    templates = Templates(LOADS[2], START_MINUTE)
    for pipeline in (empty, full):
        before_mib = memory_mib()
        for _ in range(50):
            await send(pipeline, [*templates.each(1_000)])
        taken_mib.append(memory_mib() - before_mib)
    print(f"50,000 requests of the last 12 hours: memory without {taken_mib[0]:.0f} MiB more, with {taken_mib[1]:.0f}")


async def compare(empty: Pipeline, full: Pipeline, rounds: int) -> None:
    """Print for each load how fast both are, in turns."""
    for load in LOADS:
        rates: tuple[list[float], list[float]] = ([], [])
        cpu_s: tuple[list[float], list[float]] = ([], [])
        waits: tuple[list[float], list[float]] = ([], [])
        templates = Templates(load, START_MINUTE)
        for number in range(rounds + 1):
            bodies = [*templates.each(load.n_requests)]
            for which in (0, 1) if number % 2 else (1, 0):
                started_cpu_s = time.process_time()
                rate, waits_s = await send((empty, full)[which], bodies)
                taken_cpu_s = time.process_time() - started_cpu_s
                if number:  # The first round warms up.
                    rates[which].append(rate)
                    cpu_s[which].append(taken_cpu_s)
                    waits[which].extend(waits_s)
        ratio = statistics.median(b / a for a, b in zip(*rates, strict=True))
        cpu_ratio = statistics.median(a / b for a, b in zip(*cpu_s, strict=True))
        print(
            f"{load.name:30} without {statistics.median(rates[0]):8.0f} requests/s   with"
            f" {statistics.median(rates[1]):8.0f}   ratio {ratio:.3f}, by CPU time {cpu_ratio:.3f}"
            f"   longest answer"
            f" {max(waits[0]) * 1e3:.0f} and {max(waits[1]) * 1e3:.0f} ms"
        )


async def forget(pipeline: Pipeline, path: Path, clock: Clock) -> None:
    """Let a day pass and send meanwhile; print how fast they go, and how long an answer waits."""
    clock.now += (MINUTES_PER_DAY + 1) * MINUTE_NANOS
    load = LOADS[1]
    templates = Templates(load, clock.now // MINUTE_NANOS)
    count: Callable[[], int]
    with closing(sqlite3.connect(path)) as reader:

        def count() -> int:
            return reader.execute("SELECT count(*) FROM fingerprints").fetchone()[0]

        before = count()
        waits: list[float] = []
        started_s, n_sent = time.perf_counter(), 0
        while time.perf_counter() - started_s < 20:
            _, waits_s = await send(pipeline, [*templates.each(2_000)])
            waits += waits_s
            n_sent += 2_000
        took_s = time.perf_counter() - started_s
        dropped = before + n_sent - count()
        waits.sort()
        print(
            f"forgetting: {dropped} in {took_s:.0f} s ({dropped / took_s:.0f}/s) while {n_sent / took_s:.0f} requests/s"
            f" came in; an answer waits {waits[len(waits) // 2] * 1e3:.1f} ms, p99"
            f" {waits[len(waits) * 99 // 100] * 1e3:.1f}, longest {waits[-1] * 1e3:.0f}"
        )


async def run(folder: Path, n_fingerprints: int, rounds: int) -> None:
    """Fill, compare, forget."""
    clock = Clock()
    paths = [folder / "empty.db", folder / "full.db"]
    for path in paths:
        Ledger.open(f"sqlite:///{path}").close()
    started_s = time.perf_counter()
    fill(paths[1], n_fingerprints)
    size = paths[1].stat().st_size
    print(
        f"{n_fingerprints} fingerprints, filled in {time.perf_counter() - started_s:.0f} s;"
        f" {size / n_fingerprints:.1f} bytes each on disk"
    )
    started_s = time.perf_counter()
    Ledger.open(f"sqlite:///{paths[1]}").close()
    print(f"opening the ledger {time.perf_counter() - started_s:.3f} s")
    pipelines = [Pipeline(make_config(f"sqlite:///{path}"), clock=clock) for path in paths]
    for pipeline in pipelines:
        started_s = time.perf_counter()
        await pipeline.start()
        print(f"start of a pipeline {time.perf_counter() - started_s:.3f} s")
    await compare_memory(*pipelines)
    await compare(*pipelines, rounds)
    await forget(pipelines[1], paths[1], clock)
    for pipeline in pipelines:
        await pipeline.stop()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fingerprints", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    logging.disable()  # The story of made-up outages.
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        asyncio.run(run(Path(folder), options.fingerprints, options.rounds))


if __name__ == "__main__":
    main()
