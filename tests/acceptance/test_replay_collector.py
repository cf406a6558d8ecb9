"""Files that a real Collector's file exporter wrote, replayed."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import builders
import grpc
import naive
import parts
import pytest
from pipeline_parts import EXPORT
from replay_parts import counts_in, make_logs, make_metrics, prefixed, replay_once

from otel_sla.config import load_config
from otel_sla.ledger.writer import Ledger

AGREEMENTS = load_config(None, {}).agreements
BODIES = [builders.realistic_request(60, seed, duration_nano=5 * builders.MINUTE_NANOS) for seed in range(5)]
FORMATS = ("json", "proto", "json-zstd", "proto-zstd")
ALL_FILES = ", ".join(f"file/{name}" for name in FORMATS)
SIGNALS = {
    "metrics": ("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", make_metrics()),
    "logs": ("/opentelemetry.proto.collector.logs.v1.LogsService/Export", make_logs()),
}
CONFIG = """
receivers: {otlp: {protocols: {grpc: {endpoint: "${env:OTLP_ENDPOINT}"}}}}
exporters:
  otlp_grpc: {endpoint: "${env:BACKEND}", tls: {insecure: true}, sending_queue: {enabled: false}}
  file/json: {path: "${env:FOLDER}/json", format: json}
  file/proto: {path: "${env:FOLDER}/proto", format: proto}
  file/json-zstd: {path: "${env:FOLDER}/json-zstd", format: json, compression: zstd}
  file/proto-zstd: {path: "${env:FOLDER}/proto-zstd", format: proto, compression: zstd}
service:
  pipelines:
    traces: {receivers: [otlp], exporters: [TRACES]}
    metrics: {receivers: [otlp], exporters: [ALL]}
    logs: {receivers: [otlp], exporters: [ALL]}
  telemetry: {metrics: {level: none}}
"""


def record(
    collector_binary: Path, folder: Path, options: Sequence[str] = (), *, traces: str = ALL_FILES, backend: str = ""
) -> None:
    """Have a Collector record traces, metrics and logs into one file of each format."""
    config = folder / "collector.yaml"
    config.write_text(CONFIG.replace("TRACES", traces).replace("ALL", ALL_FILES))
    variables = {"FOLDER": str(folder), "BACKEND": backend or "127.0.0.1:1"}
    collector = parts.CollectorProcess(collector_binary, config, ("OTLP_ENDPOINT",), variables)
    collector.command += options
    with collector, grpc.insecure_channel(collector.endpoints["OTLP_ENDPOINT"]) as channel:
        for body in BODIES:
            channel.unary_unary(EXPORT)(body, timeout=20)
            for method, other in SIGNALS.values():
                channel.unary_unary(method)(other, timeout=20)
        assert collector.stop() == 0


@contextmanager
def capturing() -> Iterator[tuple[str, list[bytes]]]:
    """A backend's endpoint, and the requests of traces that it received."""
    received: list[bytes] = []

    def export(body: bytes, _: grpc.ServicerContext) -> bytes:
        received.append(body)
        return b""

    service, method = EXPORT.strip("/").split("/")
    server = grpc.server(ThreadPoolExecutor(1))
    handler = grpc.unary_unary_rpc_method_handler(export)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}", received
    finally:
        server.stop(None)


@pytest.mark.collector
@pytest.mark.parametrize("options", [(), ("--feature-gates=exporter.file.nativeCompression",)], ids=["", "native"])
def test_recorded_files_count_as_sent(collector_binary: Path, tmp_path: Path, options: Sequence[str]) -> None:
    """What a real Collector recorded, in each of its formats, counts as what was sent to it; metrics and logs in the
    same file are passed over.
    """
    record(collector_binary, tmp_path, options)
    arrivals = [(body, builders.START_UNIX_NANO + 10**15) for body in BODIES]
    span = naive.timedelta(days=1000)
    expected = naive.count(arrivals, AGREEMENTS, late_spans_max=span, future_spans_max=span)
    for name in FORMATS:
        with closing(Ledger.open(f"sqlite:///{tmp_path}/{name}.db")) as ledger:
            counting, told = replay_once(ledger, AGREEMENTS, (tmp_path / name).read_bytes(), name=name)
            assert counts_in(ledger) == expected.series, name
        assert told == []
        assert (counting.totals.spans, counting.totals.other_signal_records) == (300, 10), name


@pytest.mark.collector
def test_recording_beside_a_live_path_counts_once(collector_binary: Path, tmp_path: Path) -> None:
    """What a Collector sends on and what it records as protobuf are the same bytes, so that the fingerprints of what
    came in live hold for a recording.
    """
    with capturing() as (endpoint, received):
        record(collector_binary, tmp_path, traces="otlp_grpc, file/proto", backend=endpoint)
    with closing(Ledger.open(f"sqlite:///{tmp_path}/ledger.db")) as ledger:
        live, _ = replay_once(ledger, AGREEMENTS, prefixed([b"", *received]))
        recorded, _ = replay_once(ledger, AGREEMENTS, (tmp_path / "proto").read_bytes(), name="recorded")
    assert (live.totals.spans, live.totals.duplicate_spans) == (300, 0)
    assert (recorded.totals.spans, recorded.totals.duplicate_spans) == (300, 300)
