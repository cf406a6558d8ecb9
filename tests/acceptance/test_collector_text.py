"""OTLP's JSON to the real Collector's receiver and to ours: what the one takes the other takes, and reads the same."""

import http.client
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import parts
import pytest
from google.protobuf import message_factory
from test_replay_collector import capturing
from upb_oracle import REQUEST_DESCRIPTOR, SHALLOW_DESCRIPTOR

from otel_sla.errors import DecodeError
from otel_sla.spans.otlp_json import convert_json

CONFIG = """
receivers: {otlp: {protocols: {http: {endpoint: "${env:OTLP_ENDPOINT}"}}}}
exporters: {otlp_grpc: {endpoint: "${env:BACKEND}", tls: {insecure: true}, sending_queue: {enabled: false}}}
service:
  pipelines: {traces: {receivers: [otlp], exporters: [otlp_grpc]}}
  telemetry: {metrics: {level: none}}
"""


def request_of(span: bytes) -> bytes:
    """A request of one span."""
    return b'{"resourceSpans":[{"scopeSpans":[{"spans":[%s]}]}]}' % span


def nested(levels: int) -> bytes:
    """A request of one span with arrays within each other."""
    value = b'{"arrayValue":{"values":[' * levels + b"{}" + b"]}}" * levels
    return request_of(
        b'{"name":"n","attributes":[{"key":"a","value":%s},{"key":"b","value":{"intValue":"1"}}]}' % value
    )


SCOPES = b'{"scopeSpans":[{"spans":[{"name":"%s"}]}]}'
ALIKE = {
    "first half of a pair": request_of(rb'{"name":"cut \ud83d","attributes":[{"key":"\ud83d","value":{}}]}'),
    "second half of a pair": request_of(rb'{"name":"\ude00cut","status":{"message":"\udc80"}}'),
    "halves beside a pair": request_of(rb'{"name":"\ud83dx\ud83d\ude00\ude00"}'),
    "bytes that are no UTF-8": request_of(
        b'{"name":"\xe9t\xe9","attributes":[{"key":"\xff","value":{"stringValue":"\xed\xa0\xbd"}}]}'
    ),
    "enums by name": request_of(b'{"kind":"SPAN_KIND_SERVER","status":{"code":"STATUS_CODE_ERROR"}}'),
    "enum by another name": request_of(b'{"kind":"SERVER"}'),
    "enum's number as text": request_of(b'{"kind":"2"}'),
    "null for a span": request_of(b"null"),
    "null in lists": request_of(b'{"attributes":[null],"events":[null],"links":[null]}'),
    "null for values": request_of(
        b'{"attributes":[{"key":"k","value":null},{"key":"k","value":{"arrayValue":{"values":[null,{"intValue":1}]}}}]}'
    ),
    "null for fields": request_of(b'{"name":null,"attributes":null,"status":null,"events":null}'),
    "null": b"null",
    "number": b"1",
    "list": b"[]",
    "snake case": b'{"resource_spans":[{"schema_url":"u","scope_spans":[{"spans":[{"trace_id":'
    b'"5b8efff798038103d269b633813fc60c","span_id":"eee19b7ec3c1b174","end_time_unix_nano":"5","attributes":'
    b'[{"key":"a","value":{"string_value":"x"}},{"key":"b","value":{"array_value":{"values":[{"int_value":"1"}]}}}]}]}]}]}',
    "resourceSpans twice": b'{"resourceSpans":[%s],"resourceSpans":[%s]}' % (SCOPES % b"a", SCOPES % b"b"),
    "resourceSpans beside resource_spans": b'{"resourceSpans":[%s],"resource_spans":[%s]}'
    % (SCOPES % b"a", SCOPES % b"b"),
    "resource_spans beside resourceSpans": b'{"resource_spans":[%s],"resourceSpans":[%s]}'
    % (SCOPES % b"a", SCOPES % b"b"),
    "scopeSpans beside scope_spans": b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a"}]}],'
    b'"scope_spans":[{"spans":[{"name":"b"}]}]}]}',
    "resourceSpans, then null": b'{"resourceSpans":[%s],"resourceSpans":null}' % (SCOPES % b"a"),
    "control character": request_of(b'{"name":"a\x01b"}'),
    "broken escape": request_of(rb'{"name":"\ud8"}'),
    **{f"{levels} arrays": nested(levels) for levels in (47, 48, 100, 400, 5000)},
}


@pytest.fixture(scope="module")
def collector(collector_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[bytes]]]:
    """Where a Collector takes OTLP/HTTP, and what it has passed on."""
    config = tmp_path_factory.mktemp("collector") / "collector.yaml"
    config.write_text(CONFIG)
    with ExitStack() as stack:
        backend, received = stack.enter_context(capturing())
        process = parts.CollectorProcess(collector_binary, config, ("OTLP_ENDPOINT",), {"BACKEND": backend})
        stack.enter_context(process)
        yield process.endpoints["OTLP_ENDPOINT"], received


@pytest.mark.collector
@pytest.mark.parametrize("name", ALIKE)
def test_json_is_taken_as_the_collector_takes_it(collector: tuple[str, list[bytes]], name: str) -> None:
    """The same answer, and where that is 200 the same spans: text, enums, null, names of fields, values' depth."""
    endpoint, received = collector
    received.clear()
    connection = http.client.HTTPConnection(endpoint, timeout=30)
    connection.request("POST", "/v1/traces", ALIKE[name], {"content-type": "application/json"})
    status = connection.getresponse().status
    connection.close()
    try:
        ours = spans_in(convert_json(ALIKE[name]), is_shallow="arrays" in name)
    except DecodeError:
        assert status == 400
    else:
        assert status == 200
        assert ours == [span for body in received for span in spans_in(body, is_shallow="arrays" in name)]


def spans_in(body: bytes, *, is_shallow: bool) -> list[tuple[Any, ...]]:
    """What the spans of a request say; `is_shallow`: not what is in arrays, of which we keep 47 within each other."""
    request: Any = message_factory.GetMessageClass(SHALLOW_DESCRIPTOR if is_shallow else REQUEST_DESCRIPTOR)()
    request.ParseFromString(body)
    return [
        (
            *(span.trace_id, span.span_id, span.name, span.kind, span.end_time_unix_nano),
            *(span.status.code, span.status.message, len(span.events), len(span.links)),
            [(each.key, each.value.WhichOneof("value"), is_shallow or str(each.value)) for each in span.attributes],
        )
        for resource_spans in request.resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
    ]
