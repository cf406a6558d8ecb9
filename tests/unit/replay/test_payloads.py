"""What records hold."""

import pytest
import zstandard
from builders import make_request_of, make_span, realistic_request
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from replay_parts import make_logs, make_metrics, to_json

from otel_sla.errors import DecodeError, RequestTooLarge
from otel_sla.replay.payloads import OtherSignal, is_other_signal, read_line, read_message

BODY = realistic_request(20, seed=1)


def test_json_becomes_the_same_request() -> None:
    """A line of OTLP's JSON gives the bytes that protobuf gives."""
    assert ExportTraceServiceRequest.FromString(read_line(to_json(BODY))) == ExportTraceServiceRequest.FromString(BODY)


@pytest.mark.parametrize("message", [BODY, to_json(BODY), zstandard.compress(BODY), zstandard.compress(to_json(BODY))])
def test_messages_are_read_whatever_they_are(message: bytes) -> None:
    """Protobuf and JSON, plain and in a zstd frame, give the same request."""
    found = bytes(read_message(memoryview(message), 1 << 20))
    assert ExportTraceServiceRequest.FromString(found) == ExportTraceServiceRequest.FromString(BODY)


@pytest.mark.parametrize("key", ["resourceMetrics", "resourceLogs", "resourceProfiles"])
def test_json_of_another_signal_is_seen(key: str) -> None:
    """A line of metrics, logs or profiles is no broken line."""
    with pytest.raises(OtherSignal):
        read_line(b'{"%s":[{}]}' % key.encode())


@pytest.mark.parametrize("line", [b"{}", b'{"resourceSpans":[]}', b'{"resourceSpans":[],"resourceMetrics":[{}]}'])
def test_json_without_spans_is_an_empty_request(line: bytes) -> None:
    """A request without spans is one all the same."""
    assert read_line(line) == b""


@pytest.mark.parametrize("line", [b"{", b"[]", b"hello", b'{"resourceSpans":[1]}', b'{"resourceSpans":"x"}'])
def test_json_that_is_no_request_is_told(line: bytes) -> None:
    """What is no JSON, or no request, is a DecodeError."""
    with pytest.raises(DecodeError, match="not an OTLP trace request in JSON"):
        read_line(line)


def test_frames_are_bounded() -> None:
    """A small frame of many zeros is not expanded beyond the bound."""
    frame = zstandard.compress(bytes(10_000_000))
    assert len(frame) < 1000
    with pytest.raises(RequestTooLarge, match="expands to more than 1000000"):
        read_message(frame, 1_000_000)


@pytest.mark.parametrize("cut", [5, 20, 100])
def test_frames_that_are_cut_off_are_told(cut: int) -> None:
    """A frame without its end is broken, not a shorter request."""
    with pytest.raises(DecodeError, match="zstd frame"):
        read_message(zstandard.compress(BODY)[:-cut], 1 << 20)


def test_frames_that_are_damaged_are_told() -> None:
    """A frame with other bytes in it is broken."""
    frame = bytearray(zstandard.compress(BODY))
    frame[4:12] = b"\xff" * 8
    with pytest.raises(DecodeError, match="zstd frame is damaged"):
        read_message(frame, 1 << 20)


def test_metrics_and_logs_are_told_from_traces() -> None:
    """Metrics and logs in protobuf are recognised; traces and rubbish are not taken for them."""
    assert is_other_signal(make_metrics())
    assert is_other_signal(make_logs())
    for body in (BODY, BODY[:-3], b"", b"\x0a\x05hello", make_request_of(make_span(kind=0, end_time_unix_nano=0))):
        assert not is_other_signal(body)
