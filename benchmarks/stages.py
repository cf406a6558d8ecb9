"""What each stage costs by itself, in CPU time of its thread: ns a span, and GB/s where bytes are what it reads."""

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
import zstandard
from bench_stages import OPEN, WATCHED_KEYS, count_as_people_do, make_agreement
from isal import igzip, isal_zlib
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from traffic import Shape, Traffic

from otel_sla.counting.classify.classifier import Classifier
from otel_sla.counting.minute_ring import MinuteRing
from otel_sla.exporter.otlp_data import make_metrics, make_resource
from otel_sla.judging.series_judge import Terms, judge
from otel_sla.ledger.records import Commit
from otel_sla.ledger.writer import Ledger
from otel_sla.sla.agreement import Agreement, Condition, Scope
from otel_sla.sla.downtime import SeriesCounts
from otel_sla.sla.months import Month, month_range
from otel_sla.sla.series import Series, SeriesTable
from otel_sla.sla.uptime import minute_figures
from otel_sla.spans.request import decode_request

REQUESTS_PER_COMMIT = 8  # That waited while the one before ran; so it is with 16 senders.


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage, measured.

    Attributes:
        name: For tables.
        unit: What is done: `span`, `minute of a series`, `data point`.
        ns: CPU time for each, the median of the rounds.
        spread: The largest over the smallest round.
        gb_per_s: Bytes that go in, where that says something.
    """

    name: str
    unit: str
    ns: float
    spread: float
    gb_per_s: float | None = None

    def figures(self) -> dict[str, Any]:
        """All of it, for JSON."""
        rate = None if self.gb_per_s is None else round(self.gb_per_s, 2)
        return {"stage": self.name, "unit": self.unit, "ns": round(self.ns, 1), "gb_per_s": rate}


def timed(name: str, unit: str, step: Callable[[], int], *, rounds: int, n_bytes: float | None = None) -> Stage:
    """Measure.

    Args:
        name: Of the stage.
        unit: Of what `step` does.
        step: Does some, and gives how many; n_bytes go in for each.
        rounds: How often; one before them warms up.
        n_bytes: Of each unit.
    """
    step()
    costs_ns = []
    for _ in range(rounds):
        started_ns = time.thread_time_ns()
        n_done = step()
        costs_ns.append((time.thread_time_ns() - started_ns) / n_done)
    ns = statistics.median(costs_ns)
    return Stage(name, unit, ns, max(costs_ns) / min(costs_ns), None if n_bytes is None else n_bytes / ns)


def contract() -> Agreement:
    """One agreement on a service in production, a series for each service and route."""
    covered = (
        Condition(Scope.RESOURCE, "service.name", ("chat-*",)),
        Condition(Scope.RESOURCE, "deployment.environment.name", ("production",)),
    )
    return replace(make_agreement("chat", covered, ["feature.stage"]), group_by=("service.name", "http.route"))


def measure_stages(shape: Shape, rounds: int) -> list[Stage]:
    """Measure what happens to each span, stage by stage, on bodies that differ."""
    agreement = contract()
    table = SeriesTable([agreement], series_max=10_000)
    classifier, ring = Classifier([agreement], table), MinuteRing()
    traffic = Traffic(shape, templates=40)
    bodies = [traffic.next() for _ in range(40)]
    columns = [decode_request(body, classifier.watch) for body in bodies]
    fresh = [np.ones(of_body.n_resources, dtype=np.bool_) for of_body in columns]
    requests = [classifier.classify(of_body, OPEN, is_fresh) for of_body, is_fresh in zip(columns, fresh, strict=True)]
    gzipped = [igzip.compress(body, compresslevel=1) for body in bodies]
    zstandards = [zstandard.ZstdCompressor(level=1).compress(body) for body in bodies]
    expander = zstandard.ZstdDecompressor()
    counts: dict[tuple[str, int], list[int]] = {}
    n_spans = shape.spans * len(bodies)

    def each(step: Callable[[int], object]) -> Callable[[], int]:
        def all_bodies() -> int:
            for index in range(len(bodies)):
                step(index)
            return n_spans

        return all_bodies

    def whole_way(index: int) -> None:
        decoded = decode_request(bodies[index], classifier.watch)
        ring.add(classifier.classify(decoded, OPEN, fresh[index]))

    def fingerprint(index: int) -> None:
        of_body = columns[index]
        for at in range(of_body.n_resources):
            xxhash.xxh3_128_digest(bodies[index][of_body.resource_start[at] : of_body.resource_stop[at]], 1)

    size = traffic.size_bytes
    steps: dict[str, tuple[Callable[[int], object], float | None]] = {
        "expand gzip": (lambda index: isal_zlib.decompress(gzipped[index], 31), size),
        "expand zstd": (lambda index: expander.decompress(zstandards[index]), size),
        "decode": (lambda index: decode_request(bodies[index], classifier.watch), size),
        "fingerprint": (fingerprint, size),
        "classify": (lambda index: classifier.classify(columns[index], OPEN, fresh[index]), None),
        "ring": (lambda index: ring.add(requests[index]), None),
        "decode, classify and ring": (whole_way, size),
        "protobuf and a Python loop": (lambda index: count_as_people_do(bodies[index], counts), size),
    }
    return [
        timed(name, "span", each(step), rounds=3 if "loop" in name else rounds, n_bytes=n_bytes)
        for name, (step, n_bytes) in steps.items()
    ]


def measure_counting(rounds: int) -> list[Stage]:
    """Measure bytes to counts where more is asked of a span: more attributes, series, agreements."""
    cases = {
        "20 watched attributes, 1,000 series": (
            [replace(make_agreement("chat", contract().covered_service, WATCHED_KEYS), group_by=contract().group_by)],
            Shape(spans=512, routes=250),
        ),
        "20 agreements": ([replace(contract(), name=f"chat-{number}") for number in range(20)], Shape(spans=512)),
        "1 agreement": ([contract()], Shape(spans=512)),
    }
    return [_measure_case(name, *case, rounds) for name, case in cases.items()]


def _measure_case(name: str, agreements: list[Agreement], shape: Shape, rounds: int) -> Stage:
    classifier, ring = Classifier(agreements, SeriesTable(agreements, series_max=50_000)), MinuteRing()
    traffic = Traffic(shape, templates=40)
    bodies = [traffic.next() for _ in range(40)]

    def count() -> int:
        for body in bodies:
            columns = decode_request(body, classifier.watch)
            ring.add(classifier.classify(columns, OPEN, np.ones(columns.n_resources, dtype=np.bool_)))
        return shape.spans * len(bodies)

    return timed(f"bytes to counts, {name}", "span", count, rounds=rounds, n_bytes=traffic.size_bytes)


def measure_commit(shape: Shape, rounds: int) -> Stage:
    """Measure the durable commit, shared by `REQUESTS_PER_COMMIT` requests."""
    agreement = contract()
    table = SeriesTable([agreement], series_max=10_000)
    classifier, ring = Classifier([agreement], table), MinuteRing()
    traffic = Traffic(shape, templates=8)
    randomness = np.random.default_rng(0)
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder,
        closing(Ledger.open(f"sqlite:///{folder}/ledger.db")) as ledger,
    ):
        costs_ns = []
        for _ in range(rounds * 20):
            fingerprints = []
            for _ in range(REQUESTS_PER_COMMIT):
                columns = decode_request(traffic.next(), classifier.watch)
                ring.add(classifier.classify(columns, OPEN, np.ones(columns.n_resources, dtype=np.bool_)))
                fingerprints += [(int(time.time()) // 60, randomness.bytes(16)) for _ in range(columns.n_resources)]
            commit = Commit(table.drain_new(), ring.drain(), tuple(fingerprints))
            started_ns = time.thread_time_ns()
            ledger.commit(commit)
            costs_ns.append((time.thread_time_ns() - started_ns) / REQUESTS_PER_COMMIT / shape.spans)
    costs_ns.sort()
    name = f"durable commit, of {REQUESTS_PER_COMMIT} requests"
    return Stage(name, "span", statistics.median(costs_ns), costs_ns[-1] / costs_ns[0])


def measure_judging(rounds: int) -> list[Stage]:
    """Measure the judging of a month, and the points of its minutes on their way to a backend."""
    agreement = contract()
    minutes = month_range(Month(2026, 10), "UTC")
    n_minutes = minutes.stop_minute - minutes.start_minute
    counts = np.random.default_rng(0).poisson((300, 0.3, 6), (n_minutes, 3)).astype(np.int64)
    series = Series(0, agreement.name, (("service.name", b"chat-1"), ("http.route", b"/v1")), is_overflow=False)
    of_series = SeriesCounts(minutes.start_minute, counts, None, minutes.start_minute)
    terms = Terms.of(agreement, (), 0)
    judged = judge(series, terms, of_series)
    last_day = minutes._replace(start_minute=minutes.stop_minute - 1440)
    figures = list(minute_figures(series, agreement, judged, last_day))
    resource = make_resource("00000000-0000-0000-0000-000000000000")

    def judge_month() -> int:
        judge(series, terms, of_series)
        return n_minutes

    def encode() -> int:
        data = make_metrics(figures[:100], resource)
        encode_metrics(data).SerializeToString()
        return sum(len(metric.data.data_points) for metric in data.resource_metrics[0].scope_metrics[0].metrics)

    return [
        timed("judge", "minute of a series", judge_month, rounds=rounds),
        timed("encode for the backend", "data point", encode, rounds=rounds),
    ]
