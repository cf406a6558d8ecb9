"""How long a start takes until it serves, and what memory full load takes: python benchmarks/bench_start.py.

The first start on a machine compiles the kernels, later ones load them. Load: requests of 8,192 spans, 1,000 series.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import edge
import subjects
from sender import Load, Sender
from traffic import Shape

_ROUTES = 250  # Of each of four services.


@contextmanager
def started(what: str) -> Iterator[subjects.Subject]:
    """Start a pipeline on a new ledger and tell how long that took."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        begun_s = time.monotonic()
        with subjects.otel_sla(Path(folder)) as subject:
            print(f"{what}: {time.monotonic() - begun_s:.1f} s, {subject.rss_mib():.0f} MiB")
            yield subject


def main() -> None:
    """Start with an empty cache, and again; load the last one."""
    with tempfile.TemporaryDirectory(prefix="otel-sla-cache-") as cache:
        os.environ["XDG_CACHE_HOME"] = cache  # What is started inherits it.
        with started("first start"):
            pass
        with started("second start") as subject, Sender() as sender:
            for protocol in ("grpc", "http"):
                load = Load(protocol, 0, Shape(spans=8192, routes=_ROUTES), seconds=8, connections=4, in_flight=8)
                measured = edge.measure(subject, sender, load)
                print(f"{protocol}: {measured.spans_per_s / 1e6:.2f} M spans/s, {measured.rss_mib:.0f} MiB")


if __name__ == "__main__":
    main()
