"""How the cost of a span grows: with series, agreements, attributes, late minutes, and fingerprints in the ledger.

Each case is a server of its own beside one that has the smallest value, measured in turns over gRPC in requests of 512
spans; the ratio of their CPU time for a span is what counts.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import bench_report
from bench_fingerprints import fill as fill_fingerprints
from edge import measure
from sender import Load, Sender
from subjects import agreement, otel_sla
from traffic import Shape

from otel_sla.ledger.writer import Ledger

_BASE = Shape(spans=512, routes=1, resources=1)


@dataclass(frozen=True, slots=True)
class Case:
    """One value of one dimension.

    Attributes:
        dimension: What grows.
        value: How far.
        shape: Of the requests.
        agreements: Of the configuration; None for one.
        settings: More of the configuration.
        fingerprints: In the ledger beforehand, of the day before.
    """

    dimension: str
    value: int
    shape: Shape = _BASE
    agreements: tuple[Mapping[str, Any], ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    fingerprints: int = 0


def cases(*, full: bool) -> Iterator[list[Case]]:
    """Each dimension from its smallest value on."""
    yield [
        Case("series", n, replace(_BASE, resources=min(4, n), routes=max(1, n // 4))) for n in (1, 100, 1_000, 10_000)
    ]
    yield [Case("agreements", n, agreements=tuple(agreement(f"chat-{at}") for at in range(n))) for n in (1, 5, 20)]
    yield [Case("attributes of a span", n, replace(_BASE, attributes=n)) for n in (10, 30, 60)]
    late: dict[str, Any] = {"processor": {"late_spans_max": "32d"}}
    counts = (1, 60, 1_440, 44_640)
    yield [Case("late minutes", n, replace(_BASE, minutes=n), settings=late) for n in counts]
    sizes = (0, 1_000_000, 20_000_000) if full else (0, 1_000_000)
    yield [Case("fingerprints in the ledger", n, fingerprints=n) for n in sizes]


def grow(sender: Sender, dimension: list[Case], *, rounds: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Measure one dimension: for each value the cost of a span, and how many times that of the smallest."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder, ExitStack() as running:
        subjects = []
        for case in dimension:
            own = Path(folder) / str(case.value)
            own.mkdir()
            if case.fingerprints:
                Ledger.open(f"sqlite:///{own}/ledger.db").close()
                fill_fingerprints(own / "ledger.db", case.fingerprints, int(time.time()) // 60 - 1)
            subject = otel_sla(own, name=str(case.value), agreements=case.agreements, settings=case.settings)
            subjects.append(running.enter_context(subject))
        costs_ns: list[list[float]] = [[] for _ in dimension]
        for number in range(rounds + 1):
            for at, case in enumerate(dimension):
                load = Load("grpc", 0, case.shape, seconds, connections=16, in_flight=16)
                found = measure(subjects[at], sender, load)
                if number:  # The first learns the series.
                    costs_ns[at].append(1e9 / found.spans_per_cpu_s)
    for case, of_case in zip(dimension, costs_ns, strict=True):
        ratios = [cost / first for cost, first in zip(of_case, costs_ns[0], strict=True)]
        yield {
            "dimension": case.dimension,
            "value": case.value,
            "ns_per_span": round(statistics.median(of_case)),
            "times_the_smallest": round(statistics.median(ratios), 2),
        }


def report_times(*, full: bool) -> Iterator[dict[str, Any]]:
    """How long the JSON of a month takes over the number of series."""
    for n_series in (1, 10, 100, 1_000, 10_000) if full else (1, 10, 100, 1_000):
        with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
            url = f"sqlite:///{folder}/ledger.db"
            bench_report.fill(url, n_series, 1, per_minute=300)
            write = bench_report.write_report(url, "json")
            write()
            started_s = time.perf_counter()
            write()
            elapsed_s = time.perf_counter() - started_s
            yield {"dimension": "series of a report", "value": n_series, "seconds": round(elapsed_s, 4)}
