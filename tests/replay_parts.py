"""Recordings as the Collector's file exporter writes them, and what tests of their replay build again and again."""

import base64
import gzip
import io
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import zstandard
from builders import START_UNIX_NANO
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_sla.ledger.reader import LedgerReadings
from otel_sla.ledger.writer import Ledger
from otel_sla.replay.counting import ReplayCounter
from otel_sla.replay.replay import Replay, ReplayOptions
from otel_sla.sla.agreement import Agreement
from otel_sla.sla.counts import N_OUTCOMES, AcceptWindow

SEALED_MINUTE = START_UNIX_NANO // 60_000_000_000 + 60  # An hour after the builders' start.
NEVER_UNIX_NANO = (1 << 64) - 1


def to_json(body: bytes) -> bytes:
    """A request as one line of OTLP's JSON: ids in hex, enums as numbers."""
    message = MessageToDict(ExportTraceServiceRequest.FromString(body), use_integers_for_enums=True)
    _use_hex(message)
    return json.dumps(message, separators=(",", ":")).encode()


def _use_hex(value: Any) -> None:  # noqa: ANN401  JSON values
    if isinstance(value, list):
        for item in value:
            _use_hex(item)
    if isinstance(value, dict):
        for key, item in value.items():
            if key in {"traceId", "spanId", "parentSpanId"}:
                value[key] = base64.b64decode(item).hex()
            else:
                _use_hex(item)


def lines(texts: Iterable[bytes]) -> bytes:
    """Records, each behind with a line break."""
    return b"".join(text + b"\n" for text in texts)


def prefixed(messages: Iterable[bytes]) -> bytes:
    """Records, each behind its length."""
    return b"".join(len(message).to_bytes(4, "big") + message for message in messages)


def json_lines(bodies: Iterable[bytes]) -> bytes:
    """What `format: json` writes."""
    return lines(map(to_json, bodies))


def zstd_messages(bodies: Iterable[bytes]) -> bytes:
    """What `format: proto` with `compression: zstd` writes."""
    return prefixed(map(zstandard.compress, bodies))


def zstd_json_messages(bodies: Iterable[bytes]) -> bytes:
    """What `format: json` with `compression: zstd` writes."""
    return prefixed(zstandard.compress(to_json(body)) for body in bodies)


def zstd_frames(content: bytes, n_frames: int = 3) -> bytes:
    """Several frames in a row, cut anywhere."""
    size = len(content) // n_frames + 1
    return b"".join(zstandard.compress(content[start : start + size]) for start in range(0, len(content), size))


def gzip_members(content: bytes) -> bytes:
    """Two members in a row."""
    middle = len(content) // 2
    return gzip.compress(content[:middle]) + gzip.compress(content[middle:])


FORMATS: dict[str, Callable[[Sequence[bytes]], bytes]] = {
    "json": json_lines,
    "proto": prefixed,
    "zstd messages": zstd_messages,
    "zstd JSON messages": zstd_json_messages,
}
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "gzip members": gzip_members,
    "zstd": zstandard.compress,
    "zstd frames": zstd_frames,
}


def make_metrics() -> bytes:
    """A request of metrics: a gauge, a sum and a histogram."""
    request = ExportMetricsServiceRequest()
    resource_metrics = request.resource_metrics.add()
    resource_metrics.resource.attributes.add(key="service.name").value.string_value = "chat-1"
    metrics = resource_metrics.scope_metrics.add().metrics
    metrics.add(name="up", unit="1").gauge.data_points.add(time_unix_nano=START_UNIX_NANO, as_int=1)
    metrics.add(name="requests").sum.data_points.add(time_unix_nano=START_UNIX_NANO, as_double=0.5)
    metrics.add(name="latency").histogram.data_points.add(time_unix_nano=START_UNIX_NANO, bucket_counts=[1, 2])
    return bytes(request.SerializeToString())


def make_logs() -> bytes:
    """A request of log records."""
    request = ExportLogsServiceRequest()
    resource_logs = request.resource_logs.add()
    resource_logs.resource.attributes.add(key="service.name").value.string_value = "chat-1"
    records = resource_logs.scope_logs.add().log_records
    record = records.add(time_unix_nano=START_UNIX_NANO, severity_text="INFO", trace_id=bytes(range(200, 216)))
    record.body.string_value = "hello"
    record.attributes.add(key="http.response.status_code").value.int_value = 500
    return bytes(request.SerializeToString())


def make_counting(
    ledger: Ledger, agreements: Sequence[Agreement], *, sealed_before_minute: int = 0, future: int = NEVER_UNIX_NANO
) -> ReplayCounter:
    """Counting that keeps all fingerprints, and takes what ends at any time."""
    return ReplayCounter(
        ledger,
        agreements,
        series_max=10_000,
        window=lambda: AcceptWindow(sealed_before_minute, future),
        since_minute=0,
    )


def replay_once(
    ledger: Ledger,
    agreements: Sequence[Agreement],
    content: bytes,
    options: ReplayOptions | None = None,
    *,
    name: str = "spans",
    sealed_before_minute: int = 0,
) -> tuple[ReplayCounter, list[str]]:
    """Replay one file as a command of its own does; give what was counted and what was told."""
    told: list[str] = []
    counting = make_counting(ledger, agreements, sealed_before_minute=sealed_before_minute)
    Replay(counting, options or ReplayOptions(), on_left_out=told.append).count(name, io.BytesIO(content))
    return counting, told


Counts = dict[tuple[str, tuple[tuple[str, bytes], ...]], dict[int, list[int]]]


def counts_in(ledger: LedgerReadings) -> Counts:
    """All counts of a ledger as `naive.Counted.series` has them."""
    series = ledger.series()
    found: Counts = {}
    rows = ledger.counts(0, 1 << 40)
    for series_id, minute, counts in zip(
        rows.series_id.tolist(), rows.epoch_minute.tolist(), rows.outcomes.tolist(), strict=True
    ):
        found.setdefault((series[series_id].agreement, series[series_id].group), {})[minute] = counts
    return found


def beside_in(ledger: LedgerReadings) -> Counts:
    """All that a ledger counts beside outcomes as `naive.Counted.beside` has it."""
    series = ledger.series()
    found: Counts = {}
    rows = ledger.counts(0, 1 << 40)
    for series_id, minute, counts in zip(
        rows.series_id.tolist(), rows.epoch_minute.tolist(), rows.counts[:, N_OUTCOMES:].tolist(), strict=True
    ):
        if any(counts):
            found.setdefault((series[series_id].agreement, series[series_id].group), {})[minute] = counts
    return found
