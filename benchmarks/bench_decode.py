"""Decoding: the compiled scan beside upb's parser alone, and beside upb with a loop over its objects.

The three take turns on every body of a pool, so that a busy neighbour slows each alike and nothing is in the cache that
would not be there in service. CPU time counts, not the clock. Usage: python benchmarks/bench_decode.py [--rounds 9]
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_sla.spans.columns import WatchList
from otel_sla.spans.request import decode_request

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from builders import make_request, make_resource_spans, make_span, realistic_request

FloatArray = NDArray[np.float64]
# What an agreement by HTTP and gRPC status reads, and the conditions of a large configuration on top.
FEW_KEYS = (
    b"http.response.status_code",
    b"http.status_code",
    b"rpc.grpc.status_code",
    b"rpc.response.status_code",
    b"rpc.status_code",
    b"error.type",
    b"http.route",
    b"feature.stage",
    b"user_agent.synthetic.type",
    b"url.path",
)
MANY_KEYS = (*FEW_KEYS, *(b"http.request.header.x%02d" % number for number in range(30)))
RESOURCE_KEYS = (b"service.name", b"deployment.environment.name")


def decode_with_upb(body: bytes, watch: WatchList) -> list[tuple[object, ...]]:
    """The same fields by protobuf objects and a Python loop."""
    span_keys = {key.decode(): column for column, key in enumerate(watch.span_keys)}
    resource_keys = {key.decode() for key in watch.resource_keys}
    rows: list[tuple[object, ...]] = []
    for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = {
            attribute.key: attribute.value.string_value
            for attribute in resource_spans.resource.attributes
            if attribute.key in resource_keys
        }
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                cells = {}
                for attribute in span.attributes:
                    if attribute.key in span_keys:
                        value = attribute.value
                        which = value.WhichOneof("value")
                        cells[attribute.key] = getattr(value, which) if which else None
                rows.append(
                    (
                        resource,
                        span.kind,
                        span.end_time_unix_nano,
                        span.flags,
                        span.parent_span_id,
                        span.status.code,
                        cells,
                    )
                )
    return rows


def cost_s(decode: Callable[[bytes], object], bodies: Sequence[bytes]) -> float:
    """Give the CPU time of decoding every body once, in s."""
    start = time.process_time()
    for body in bodies:
        decode(body)
    return time.process_time() - start


def measure(bodies: Sequence[bytes], watch: WatchList, rounds: int) -> FloatArray:
    """Give float64[rounds, 3], s. CPU time of the pool by upb, by upb with a loop, and by the scan."""
    ways: tuple[Callable[[bytes], object], ...] = (
        ExportTraceServiceRequest.FromString,
        lambda body: decode_with_upb(body, watch),
        lambda body: decode_request(body, watch),
    )
    for way in ways:
        way(bodies[0])
    return np.array([[cost_s(way, bodies) for way in ways] for _ in range(rounds)])


def show_ratio(ratios: FloatArray) -> str:
    """Write the median of the rounds and how far they spread."""
    return f"{np.median(ratios):5.1f}x ({ratios.min():.1f}..{ratios.max():.1f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure the decoder.")
    parser.add_argument("--spans", type=int, default=512, help="of one request")
    parser.add_argument("--bodies", type=int, default=60, help="in the pool")
    parser.add_argument("--rounds", type=int, default=9, help="through the pool")
    arguments = parser.parse_args()
    n_spans = arguments.spans
    realistic = [realistic_request(n_spans, seed) for seed in range(arguments.bodies)]
    empty = [
        make_request(
            make_resource_spans([make_span(name="", trace_id=b"", span_id=b"", end_time_unix_nano=seed)] * n_spans)
        )
        for seed in range(arguments.bodies)
    ]
    few, many = WatchList(FEW_KEYS, RESOURCE_KEYS), WatchList(MANY_KEYS, RESOURCE_KEYS)
    print(f"{arguments.bodies} bodies of {n_spans} spans, {arguments.rounds} rounds, CPU time; median (spread)\n")
    print(f"{'':<20} {'bytes/span':>10} {'million spans/s':>16} {'than upb alone':>22} {'than upb + loop':>22}")
    for name, bodies, watch in (
        (f"realistic, {len(few.span_keys)} keys", realistic, few),
        (f"realistic, {len(many.span_keys)} keys", realistic, many),
        ("no attributes", empty, few),
    ):
        assert decode_request(bodies[0], watch).n_spans == len(decode_with_upb(bodies[0], watch)) == n_spans
        parse, loop, scan = measure(bodies, watch, arguments.rounds).T
        size = sum(map(len, bodies)) / len(bodies) / n_spans
        speed = n_spans * len(bodies) / float(np.median(scan)) / 1e6
        print(
            f"{name:<20} {size:>10.0f} {speed:>16.1f} {show_ratio(parse / scan):>22} {show_ratio(loop / scan):>22}",
            flush=True,
        )


if __name__ == "__main__":
    main()
