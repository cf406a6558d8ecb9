"""What a record holds, as the protobuf bytes of a request: expanded, converted, or found to be of another signal.

One file may hold several signals: the Collector's exporter writes all that it is given to one file, without saying
what is what.
"""

from typing import Any

import zstandard
from google.protobuf.message import DecodeError as ProtobufError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from otel_sla.errors import DecodeError, RequestTooLarge
from otel_sla.replay.streams import ZSTD_MAGIC, ZSTD_WINDOW_SIZE_BYTES_MAX
from otel_sla.spans.otlp_json import convert_value, load_json

_TRACES_KEYS = frozenset({"resourceSpans", "resource_spans"})
_OTHER_KEYS = frozenset(
    {"resourceMetrics", "resource_metrics", "resourceLogs", "resource_logs", "resourceProfiles", "resource_profiles"}
)


class OtherSignal(Exception):
    """The record holds metrics, logs or profiles."""


def read_line(line: bytes) -> bytes:
    """Give the request of one line of JSON.

    Raises:
        OtherSignal: It holds no traces but something else.
        DecodeError: It is no such request.
    """
    value = load_json(line)
    body = convert_value(value)
    if not body and value and _TRACES_KEYS.isdisjoint(value) and not _OTHER_KEYS.isdisjoint(value):
        raise OtherSignal
    return body


def read_message(message: bytes, size_bytes_max: int) -> bytes:
    """Give the request of one message: protobuf or JSON, plain or a zstd frame.

    Raises:
        OtherSignal: It is JSON that holds no traces but something else.
        DecodeError: It is JSON that is no such request, or a frame that is damaged.
        RequestTooLarge: It expands to more than the bound.
    """
    if message[:4] == ZSTD_MAGIC:
        message = _expand(message, size_bytes_max)
    # A brace would be the tag of a field that no OTLP message has.
    return read_line(message) if message[:1] == b"{" else message


def is_other_signal(body: bytes) -> bool:
    """Whether protobuf that gives no spans is metrics or logs: their messages look alike from outside."""
    metrics = _parsed(ExportMetricsServiceRequest, body)
    if metrics is not None and any(
        metric.name and metric.WhichOneof("data")
        for resource in metrics.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ):
        return True
    logs = _parsed(ExportLogsServiceRequest, body)
    return logs is not None and any(
        record.time_unix_nano or record.observed_time_unix_nano
        for resource in logs.resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    )


def _expand(frame: bytes, size_bytes_max: int) -> bytes:
    expander = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_SIZE_BYTES_MAX)
    try:
        said = zstandard.frame_content_size(frame)
        with expander.stream_reader(frame, read_across_frames=True) as reader:
            expanded = reader.read(size_bytes_max + 1)
    except zstandard.ZstdError as error:
        raise DecodeError(f"the zstd frame is damaged: {error}", 0) from None
    if len(expanded) > size_bytes_max:
        raise RequestTooLarge(f"a record of {len(frame)} bytes expands to more than {size_bytes_max}")
    if said > len(expanded):
        raise DecodeError(f"the zstd frame is cut off: {len(expanded)} bytes instead of {said}", len(expanded))
    return expanded


def _parsed(kind: Any, raw: bytes) -> Any:  # noqa: ANN401 - protobuf's classes have no common type.
    try:
        return kind.FromString(raw)
    except ProtobufError:
        return None
