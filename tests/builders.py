"""The only place where tests build OTLP."""

import random
from collections.abc import Iterable, Mapping, Sequence

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

START_UNIX_NANO = 1_782_086_400_000_000_000  # 2026-06-22T00:00:00Z, a Monday.
MINUTE_NANOS = 60 * 10**9

Value = str | bool | int | float | bytes | None | Sequence["Value"] | Mapping[str, "Value"]
Attributes = Mapping[str, Value] | Sequence[tuple[str, Value]]


def make_value(value: Value) -> AnyValue:  # noqa: PLR0911  one return for each type reads best
    """An AnyValue as SDKs write it; None is one that is not set."""
    if value is None:
        return AnyValue()
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, bytes):
        return AnyValue(bytes_value=value)
    if isinstance(value, Mapping):
        return AnyValue(kvlist_value=KeyValueList(values=make_attributes(value)))
    return AnyValue(array_value=ArrayValue(values=[make_value(item) for item in value]))


def make_attributes(attributes: Attributes) -> list[KeyValue]:
    """KeyValues in the order given; pairs instead of a mapping where a key stands twice."""
    pairs = attributes.items() if isinstance(attributes, Mapping) else attributes
    return [KeyValue(key=key, value=make_value(value)) for key, value in pairs]


def make_span(
    attributes: Attributes = (),
    *,
    name: str = "GET /v1/messages",
    kind: int = Span.SPAN_KIND_SERVER,
    end_time_unix_nano: int = START_UNIX_NANO,
    duration_nano: int = 20_000_000,
    status_code: int = Status.STATUS_CODE_UNSET,
    status_message: str = "",
    flags: int = 0x101,
    trace_id: bytes = bytes(range(1, 17)),
    span_id: bytes = bytes(range(1, 9)),
    parent_span_id: bytes = b"",
    trace_state: str = "",
    events: Iterable[Span.Event] = (),
    links: Iterable[Span.Link] = (),
) -> Span:
    """One span, by default of a request that was answered without an error."""
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        trace_state=trace_state,
        parent_span_id=parent_span_id,
        flags=flags,
        name=name,
        kind=Span.SpanKind.ValueType(kind),
        start_time_unix_nano=max(0, end_time_unix_nano - duration_nano),
        end_time_unix_nano=end_time_unix_nano,
        attributes=make_attributes(attributes),
        events=events,
        links=links,
        status=Status(code=Status.StatusCode.ValueType(status_code), message=status_message),
    )


def make_exception_event(time_unix_nano: int = START_UNIX_NANO, message: str = "connection reset") -> Span.Event:
    """What an SDK records of an exception."""
    return Span.Event(
        time_unix_nano=time_unix_nano,
        name="exception",
        attributes=make_attributes(
            {
                "exception.type": "ConnectionResetError",
                "exception.message": message,
                "exception.stacktrace": 'Traceback (most recent call last):\n  File "app.py", line 41, in answer\n' * 4,
            }
        ),
    )


def make_scope_spans(
    spans: Iterable[Span], *, name: str = "opentelemetry.instrumentation.asgi", version: str = "0.66b0"
) -> ScopeSpans:
    """The spans of one instrumentation library."""
    return ScopeSpans(scope=InstrumentationScope(name=name, version=version), spans=spans)


def make_resource_spans(
    spans: Iterable[Span] = (), resource: Attributes = (("service.name", "chat-1"),)
) -> ResourceSpans:
    """The spans of one process, in one scope."""
    return ResourceSpans(resource=Resource(attributes=make_attributes(resource)), scope_spans=[make_scope_spans(spans)])


def make_request(*resource_spans: ResourceSpans) -> bytes:
    """The bytes that a sender puts on the wire."""
    body: bytes = ExportTraceServiceRequest(resource_spans=resource_spans).SerializeToString()
    return body


def make_request_of(*spans: Span, resource: Attributes = (("service.name", "chat-1"),)) -> bytes:
    """A request of one process."""
    return make_request(make_resource_spans(spans, resource))


_ROUTES = ("/v1/messages", "/v1/messages/{id}", "/v1/bots/{bot_id}/conversations", "/v1/sessions", "/healthz")
_METHODS = ("GET", "GET", "GET", "POST", "POST", "DELETE")
_STATUSES = (200,) * 90 + (201,) * 4 + (404,) * 3 + (429, 500, 503)
_AGENTS = ("chat-sdk/4.11 (iPhone; iOS 19.1)", "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101", "okhttp/5.1.0")


def realistic_resource(service_name: str, instance: int = 0) -> dict[str, Value]:
    """A resource as the semantic conventions have it."""
    return {
        "service.name": service_name,
        "service.namespace": "conversation",
        "service.version": "2026.46.1",
        "service.instance.id": f"{instance:032x}",
        "deployment.environment.name": "production",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.version": "1.45.2",
        "host.name": f"node-{instance % 7}",
    }


def realistic_span(randomness: random.Random, end_time_unix_nano: int) -> Span:
    """A server span of about 435 bytes with 10 attributes, more if it failed."""
    route = randomness.choice(_ROUTES)
    method = randomness.choice(_METHODS)
    status = randomness.choice(_STATUSES)
    attributes: dict[str, Value] = {
        "http.request.method": method,
        "url.scheme": "https",
        "url.path": route.replace("{id}", "7f3a").replace("{bot_id}", "42"),
        "http.route": route,
        "http.response.status_code": status,
        "server.address": "chat.example.com",
        "server.port": 443,
        "network.protocol.version": randomness.choice(("1.1", "2")),
        "client.address": f"203.0.113.{randomness.randrange(256)}",
        "user_agent.original": randomness.choice(_AGENTS),
    }
    has_failed = status >= 500
    if has_failed:
        attributes["error.type"] = str(status)
    return make_span(
        attributes,
        name=f"{method} {route}",
        end_time_unix_nano=end_time_unix_nano,
        duration_nano=randomness.randrange(10**6, 10**9),
        status_code=Status.STATUS_CODE_ERROR if has_failed else Status.STATUS_CODE_UNSET,
        trace_id=randomness.randbytes(16),
        span_id=randomness.randbytes(8),
        parent_span_id=randomness.randbytes(8) if randomness.random() < 0.7 else b"",
        flags=randomness.choice((0x101, 0x301)),
        events=[make_exception_event(end_time_unix_nano)] if has_failed and randomness.random() < 0.5 else (),
    )


def realistic_request(
    n_spans: int,
    seed: int,
    *,
    start_unix_nano: int = START_UNIX_NANO,
    duration_nano: int = MINUTE_NANOS,
    services: Sequence[str] = ("chat-1", "chat-2", "chat-3"),
) -> bytes:
    """A batch as a Collector sends it: HTTP server spans of several services that end within `duration_nano`.

    The same arguments give the same bytes.
    """
    randomness = random.Random(seed)
    spans: dict[str, list[Span]] = {name: [] for name in services}
    for _ in range(n_spans):
        end = start_unix_nano + randomness.randrange(duration_nano)
        spans[randomness.choice(services)].append(realistic_span(randomness, end))
    return make_request(
        *(
            make_resource_spans(of_service, realistic_resource(name, instance))
            for instance, (name, of_service) in enumerate(spans.items())
            if of_service
        )
    )
