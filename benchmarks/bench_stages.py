"""What a request costs on its way from bytes to counts, stage by stage, beside what people write with protobuf.

Every iteration takes another body of a pool, so that nothing is in the cache that would not be there in service. The
best round counts: on a shared machine the others measure the neighbours. Run: python benchmarks/bench_stages.py.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_sla.counting.classify.classifier import Classifier
from otel_sla.counting.minute_ring import MinuteRing
from otel_sla.sla.agreement import Agreement, Condition, DowntimeTerms, ExclusionTerms, NoData, NoStatusCode, Scope
from otel_sla.sla.counts import AcceptWindow
from otel_sla.sla.series import SeriesTable
from otel_sla.spans.request import decode_request

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from builders import realistic_request

OPEN = AcceptWindow(sealed_before_minute=0, future_after_unix_nano=2**64 - 1)
WATCHED_KEYS = (
    *("url.scheme", "url.path", "server.address", "server.port", "network.protocol.version"),
    *("client.address", "user_agent.original", "http.request.method"),
    *("feature.stage", "enduser.id", "synthetic", "probe"),
)


def make_agreement(name: str, covered: tuple[Condition, ...], invalid_keys: Iterable[str] = ()) -> Agreement:
    """An agreement grouped by service, with one invalid rule for each key."""
    return Agreement(
        name=name,
        covered_service=covered,
        entry_spans_only=False,
        group_by=("service.name",),
        invalid=tuple((Condition(Scope.SPAN, key, ("never", "nobody-*")),) for key in invalid_keys),
        no_status_code=NoStatusCode.SPAN_STATUS,
        failed_http_status=frozenset(range(500, 600)),
        code=None,
        downtime=DowntimeTerms(Fraction(1, 20), valid_requests_min=1, period_minutes_min=1, no_data=NoData.UP),
        target=Fraction(999, 1000),
        time_zone="UTC",
        exclusions=ExclusionTerms(notice_business_days_min=3, holidays=(), windows=()),
    )


def configurations() -> dict[str, list[Agreement]]:
    """The contract's agreement, one that watches 20 attributes, and 20 agreements."""
    chat = Condition(Scope.RESOURCE, "service.name", ("chat-*",))
    production = Condition(Scope.RESOURCE, "deployment.environment.name", ("production",))
    route = Condition(Scope.SPAN, "http.route", ("/v1/*", "/*"))
    contract = (chat, production, route)
    return {
        "1 agreement": [make_agreement("chat", contract, ["feature.stage"])],
        "1 agreement, 20 watched attributes": [make_agreement("chat", contract, WATCHED_KEYS)],
        "20 agreements, one of 3 services each": [
            make_agreement(
                str(n), (Condition(Scope.RESOURCE, "service.name", (f"chat-{n % 3 + 1}",)), production, route)
            )
            for n in range(20)
        ],
        "20 agreements, all cover all": [make_agreement(str(n), contract, ["feature.stage"]) for n in range(20)],
    }


def count_as_people_do(body: bytes, counts: dict[tuple[str, int], list[int]]) -> None:
    """Protobuf objects and a loop: the contract's agreement in its simplest reading."""
    for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = {pair.key: pair.value.string_value for pair in resource_spans.resource.attributes}
        if not resource.get("service.name", "").startswith("chat-"):
            continue
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                if span.kind != 2:
                    continue
                attributes = {pair.key: pair.value for pair in span.attributes}
                status = attributes["http.response.status_code"].int_value
                minute = span.end_time_unix_nano // 60_000_000_000
                row = counts.setdefault((resource["service.name"], minute), [0, 0, 0])
                row[2 if 400 <= status < 500 else 1 if status >= 500 else 0] += 1


def spans_per_s(step: Callable[[int], object], n_bodies: int, n_spans: int, rounds: int) -> float:
    """Spans per second of one thread, in the best round over the whole pool."""
    best_s = float("inf")
    for _ in range(rounds):
        started_s = time.perf_counter()
        for index in range(n_bodies):
            step(index)
        best_s = min(best_s, time.perf_counter() - started_s)
    return n_bodies * n_spans / best_s


def measure(agreements: list[Agreement], bodies: list[bytes], n_spans: int, rounds: int) -> dict[str, float]:
    """Spans per second of each stage, and of all together."""
    classifier = Classifier(agreements, SeriesTable(agreements, series_max=10_000))
    ring = MinuteRing()
    columns = [decode_request(body, classifier.watch) for body in bodies]
    fresh = [np.ones(of_body.n_resources, dtype=np.bool_) for of_body in columns]
    requests = [classifier.classify(of_body, OPEN, fresh[index]) for index, of_body in enumerate(columns)]
    for of_body in requests:
        ring.add(of_body)

    def whole_way(index: int) -> None:
        decoded = decode_request(bodies[index], classifier.watch)
        ring.add(classifier.classify(decoded, OPEN, np.ones(decoded.n_resources, dtype=np.bool_)))

    steps: dict[str, Callable[[int], object]] = {
        "decode": lambda index: decode_request(bodies[index], classifier.watch),
        "classify": lambda index: classifier.classify(columns[index], OPEN, fresh[index]),
        "ring": lambda index: ring.add(requests[index]),
        "classify and ring": lambda index: ring.add(classifier.classify(columns[index], OPEN, fresh[index])),
        "whole way": whole_way,
    }
    figures = {name: spans_per_s(step, len(bodies), n_spans, rounds) for name, step in steps.items()}
    # On their own they read each body from memory; behind the decoder it is in the cache, as in service.
    figures["classify and ring, behind decode"] = 1 / (1 / figures["whole way"] - 1 / figures["decode"])
    return figures


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=512, help="spans in each request")
    parser.add_argument("--bodies", type=int, default=60, help="distinct requests")
    parser.add_argument("--rounds", type=int, default=30, help="times through all of them; the best counts")
    options = parser.parse_args()
    bodies = [realistic_request(options.spans, seed) for seed in range(options.bodies)]
    n_bytes = sum(map(len, bodies)) / len(bodies) / options.spans
    print(
        f"{options.bodies} bodies of {options.spans} spans, {n_bytes:.0f} bytes a span; million spans/s, one thread\n"
    )

    counts: dict[tuple[str, int], list[int]] = {}
    people = spans_per_s(
        lambda index: count_as_people_do(bodies[index], counts),
        len(bodies),
        options.spans,
        max(3, options.rounds // 10),
    )
    print(f"{'protobuf (upb) and a Python loop':40} {people / 1e6:8.2f}")
    for name, agreements in configurations().items():
        print(f"\n{name}")
        figures = measure(agreements, bodies, options.spans, options.rounds)
        for stage, figure in figures.items():
            print(f"  {stage:38} {figure / 1e6:8.2f}")
        print(f"  {'whole way, times the loop':38} {figures['whole way'] / people:8.1f}")


if __name__ == "__main__":
    main()
