"""Decoding: the compiled scan beside upb with a loop over its objects, in one process and one run.

Usage: python benchmarks/bench_decode.py [--spans 512] [--seconds 2]
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_sla.spans.columns import WatchList
from otel_sla.spans.decode import decode_request

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from builders import make_request, make_resource_spans, make_span, realistic_request

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


def measure(call: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Give the median and the smallest duration of one call, in s."""
    call()
    durations = []
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop or len(durations) < 5:
        start = time.perf_counter()
        call()
        durations.append(time.perf_counter() - start)
    return float(np.median(durations)), min(durations)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure the decoder.")
    parser.add_argument("--spans", type=int, default=512, help="of one request")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each line")
    arguments = parser.parse_args()
    n_spans = arguments.spans
    realistic = realistic_request(n_spans, seed=1)
    empty = make_request(make_resource_spans([make_span(name="", trace_id=b"", span_id=b"")] * n_spans))
    few, many = WatchList(FEW_KEYS, RESOURCE_KEYS), WatchList(MANY_KEYS, RESOURCE_KEYS)
    print(f"{n_spans} spans a request, one core; spans/s by the median call (the fastest call)\n")
    print(f"{'request':<28} {'bytes/span':>10} {'upb + loop':>22} {'compiled scan':>24} {'ratio':>7}")
    for name, body, watch in (
        (f"realistic, {len(few.span_keys)} keys", realistic, few),
        (f"realistic, {len(many.span_keys)} keys", realistic, many),
        ("no attributes", empty, few),
    ):
        assert decode_request(body, watch).n_spans == len(decode_with_upb(body, watch)) == n_spans
        slow = measure(lambda body=body, watch=watch: decode_with_upb(body, watch), arguments.seconds)
        fast = measure(lambda body=body, watch=watch: decode_request(body, watch), arguments.seconds)
        print(
            f"{name:<28} {len(body) / n_spans:>10.0f} {n_spans / slow[0]:>10,.0f} ({n_spans / slow[1]:>9,.0f})"
            f" {n_spans / fast[0]:>11,.0f} ({n_spans / fast[1]:>10,.0f}) {slow[0] / fast[0]:>6.1f}x"
        )


if __name__ == "__main__":
    main()
