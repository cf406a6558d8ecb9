"""Realistic traffic with a fixed seed: batches of server spans as several languages' SDKs write them.

Attribute names are those of the semantic conventions 1.30 and newer, each SDK in its own order. A template is made once
with protobuf; every request after that is the template with new times and new span ids written into it, which costs a
tenth of a millisecond. So no request is a repeat of another, as in service, and the sender is not what is measured.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

Value = str | int | float
Attributes = dict[str, Value]

_RENEW_S = 0.5  # Times within a request are younger than this.
_BATCH_NANOS = 10**9  # A sender's batch holds what ended within a second.
_END_TAG, _START_TAG, _SPAN_ID_TAG = b"\x41", b"\x39", b"\x12\x08"
_METHODS = ("GET", "GET", "GET", "POST", "POST", "PUT", "DELETE")
_STATUSES = (200,) * 180 + (201,) * 8 + (204,) * 4 + (400, 404, 404, 404, 429, 429, 500, 503)
_AGENTS = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.1",
    "okhttp/5.1.0",
    "Go-http-client/2.0",
    "python-requests/2.33.0",
)
_FRAMES = ("handlers/messages.py", "services/delivery.py", "clients/storage.py", "lib/retrying.py", "lib/pool.py")


@dataclass(frozen=True, slots=True)
class Shape:
    """What the traffic is like.

    Attributes:
        spans: In each request.
        resources: ResourceSpans in each request, one for each process that sends.
        routes: Different values of `http.route`; with `resources` the number of groups that agreements may count.
        attributes: Of each span; above what the SDK records it is filled up with request headers.
        minutes: Over which the spans' ends are spread; 1 for a sender that is up to date.
        seed: The same shape gives the same templates.
    """

    spans: int = 512
    resources: int = 4
    routes: int = 25
    attributes: int = 0
    minutes: int = 1
    seed: int = 20_261_123


# The SDKs


def _python_asgi(request: "_Request") -> Attributes:
    return {
        "url.scheme": "https",
        "server.address": "chat.example.com",
        "network.protocol.version": "1.1",
        "url.path": request.path,
        "http.request.method": request.method,
        "server.port": 443,
        "client.address": request.client,
        "user_agent.original": request.agent,
        "http.route": request.route,
        "http.response.status_code": request.status,
    }


def _java_agent(request: "_Request") -> Attributes:
    return {
        "thread.id": request.randomness.randrange(20, 220),
        "thread.name": f"http-nio-8080-exec-{request.randomness.randrange(1, 200)}",
        "http.request.method": request.method,
        "http.response.status_code": request.status,
        "http.route": request.route,
        "url.path": request.path,
        "url.scheme": "https",
        "server.address": "chat.example.com",
        "client.address": request.client,
        "network.peer.address": "10.12.0.7",
        "network.peer.port": request.randomness.randrange(32_768, 60_999),
        "network.protocol.version": "1.1",
        "user_agent.original": request.agent,
    }


def _go_otelhttp(request: "_Request") -> Attributes:
    return {
        "server.address": "chat.example.com",
        "http.request.method": request.method,
        "url.scheme": "http",
        "network.peer.address": "10.12.0.7",
        "network.peer.port": request.randomness.randrange(32_768, 60_999),
        "user_agent.original": request.agent,
        "client.address": request.client,
        "url.path": request.path,
        "network.protocol.version": "2",
        "http.route": request.route,
        "http.response.body.size": request.randomness.randrange(100_000),
        "http.response.status_code": request.status,
    }


def _node_http(request: "_Request") -> Attributes:
    return {
        "http.request.method": request.method,
        "url.scheme": "https",
        "server.address": "chat.example.com",
        "server.port": 443,
        "network.peer.address": "10.12.0.7",
        "url.path": request.path,
        "user_agent.original": request.agent,
        "http.response.status_code": request.status,
        "http.route": request.route,
    }


_SDKS: Mapping[str, tuple[str, str, Callable[["_Request"], Attributes]]] = {
    "python": ("opentelemetry.instrumentation.asgi", "0.66b0", _python_asgi),
    "java": ("io.opentelemetry.tomcat-10.0", "2.24.0-alpha", _java_agent),
    "go": ("go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp", "0.71.0", _go_otelhttp),
    "nodejs": ("@opentelemetry/instrumentation-http", "0.211.0", _node_http),
}


class _Request:
    """One request that a span tells of."""

    def __init__(self, randomness: random.Random, n_routes: int) -> None:
        self.randomness = randomness
        number = min(int(randomness.expovariate(4 / n_routes)), n_routes - 1)  # Few routes have most of the traffic.
        self.route = f"/v1/tenants/{{tenant}}/resource-{number}"
        self.path = f"/v1/tenants/{randomness.randrange(10_000)}/resource-{number}"
        self.method = randomness.choice(_METHODS)
        self.status = randomness.choice(_STATUSES)
        self.client = f"203.0.113.{randomness.randrange(256)}"
        self.agent = randomness.choice(_AGENTS)


# Templates


class Template:
    """A request that can be had again and again, each time with other times and span ids."""

    def __init__(self, body: bytes, ends: Sequence[bytes], starts: Sequence[bytes], ids: Sequence[bytes]) -> None:
        self._body = np.frombuffer(body, dtype=np.uint8).copy()
        self._end_at = _places(body, _END_TAG, ends)
        self._start_at = _places(body, _START_TAG, starts)
        self._id_at = _places(body, _SPAN_ID_TAG, ids)
        end, start = (np.frombuffer(b"".join(times), dtype="<u8").astype(np.int64) for times in (ends, starts))
        self._age, self._duration = end.max() - end, end - start
        self._renewed_s = -_RENEW_S

    def __len__(self) -> int:
        return len(self._body)

    def renewed(self, number: int) -> bytes:
        """Give the request with spans that end now, each ResourceSpans message one that never was before.

        Args:
            number: Another one each time, below 2**63.
        """
        if time.monotonic() - self._renewed_s > _RENEW_S:
            self._renewed_s = time.monotonic()
            end = time.time_ns() - self._age
            self._write(self._end_at, end)
            self._write(self._start_at, end - self._duration)
        self._write(self._id_at, np.full(len(self._id_at), number))
        return self._body.tobytes()

    def _write(self, places: NDArray[np.int64], numbers: NDArray[np.int64]) -> None:
        self._body[places] = numbers.astype("<i8").view(np.uint8).reshape(-1, 8)


def _places(body: bytes, tag: bytes, values: Sequence[bytes]) -> NDArray[np.int64]:
    """Find where the values stand, in their order; int64[n, 8], indices of bytes."""
    starts, at = [], 0
    for value in values:
        at = body.index(tag + value, at) + len(tag)
        starts.append(at)
    return np.asarray(starts, dtype=np.int64)[:, None] + np.arange(8)


class Traffic:
    """Requests of one shape that never repeat.

    Args:
        shape: What they are like.
        templates: How many different ones there are to begin with.
        sender: A number of its own for each process that sends to the same server.
    """

    def __init__(self, shape: Shape, templates: int, sender: int = 0) -> None:
        self.shape = shape
        self._templates = [make_template(shape, number) for number in range(templates)]
        # Other than in any run before on the same ledger.
        self._number = (sender << 52) ^ (time.time_ns() // 1000)

    @property
    def size_bytes(self) -> float:
        """Of a span, on the wire, not compressed."""
        return sum(map(len, self._templates)) / len(self._templates) / self.shape.spans

    def next(self) -> bytes:
        """The next request."""
        self._number += 1
        return self._templates[self._number % len(self._templates)].renewed(self._number)


def make_template(shape: Shape, number: int = 0) -> Template:
    """Make one of the templates of a shape; the same arguments give the same bytes."""
    randomness = random.Random(f"{shape.seed}/{number}")
    n_resources = min(shape.resources, shape.spans)
    per_resource = [shape.spans // n_resources + (at < shape.spans % n_resources) for at in range(n_resources)]
    request = ExportTraceServiceRequest()
    now = 1_790_000_000 * 10**9
    for at, n_spans in enumerate(per_resource):
        language = tuple(_SDKS)[at % len(_SDKS)]
        request.resource_spans.append(_resource_spans(randomness, language, at, n_spans, shape, now))
    spans = [of_scope.spans for of_resource in request.resource_spans for of_scope in of_resource.scope_spans]
    return Template(
        request.SerializeToString(),
        [span.end_time_unix_nano.to_bytes(8, "little") for group in spans for span in group],
        [span.start_time_unix_nano.to_bytes(8, "little") for group in spans for span in group],
        [group[0].span_id for group in spans],
    )


def _resource_spans(
    randomness: random.Random, language: str, number: int, n_spans: int, shape: Shape, now: int
) -> ResourceSpans:
    scope, version, attributes_of = _SDKS[language]
    spans = [_span(randomness, _Request(randomness, shape.routes), attributes_of, shape, now) for _ in range(n_spans)]
    resource: Attributes = {
        "service.name": f"chat-{number}",
        "service.namespace": "conversation",
        "service.version": "2026.46.1",
        "service.instance.id": f"{randomness.getrandbits(128):032x}",
        "deployment.environment.name": "production",
        "telemetry.sdk.language": language,
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.version": "1.45.0",
        "host.name": f"node-{number % 7}",
        "k8s.pod.name": f"chat-{number}-{randomness.getrandbits(40):010x}",
        "k8s.namespace.name": "conversation",
    }
    of_scope = ScopeSpans(scope=InstrumentationScope(name=scope, version=version), spans=spans)
    return ResourceSpans(resource=Resource(attributes=_key_values(resource)), scope_spans=[of_scope])


def _span(
    randomness: random.Random,
    request: _Request,
    attributes_of: Callable[[_Request], Attributes],
    shape: Shape,
    now: int,
) -> Span:
    attributes = attributes_of(request)
    has_failed = request.status >= 500
    if has_failed:
        attributes["error.type"] = str(request.status)
    for number in range(shape.attributes - len(attributes)):
        attributes[f"http.request.header.x-request-detail-{number}"] = f"value-{randomness.randrange(50)}"
    end = now - randomness.randrange(_BATCH_NANOS) - randomness.randrange(shape.minutes) * 60 * 10**9
    span = Span(
        trace_id=randomness.randbytes(16),
        span_id=randomness.randbytes(8),
        parent_span_id=randomness.randbytes(8) if randomness.random() < 0.7 else b"",
        flags=0x101 if randomness.random() < 0.5 else 0x301,
        name=f"{request.method} {request.route}",
        kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=end - min(int(randomness.lognormvariate(17, 1.2)), 30 * 10**9),
        end_time_unix_nano=end,
        attributes=_key_values(attributes),
        status=Status(code=Status.STATUS_CODE_ERROR if has_failed else Status.STATUS_CODE_UNSET),
    )
    if has_failed:
        span.events.append(_exception(randomness, end))
    elif randomness.random() < 0.02:
        span.links.append(Span.Link(trace_id=randomness.randbytes(16), span_id=randomness.randbytes(8)))
    return span


def _exception(randomness: random.Random, end: int) -> Span.Event:
    """A stack trace of 10 to 60 frames: 1 to 6 KB."""
    frames = "".join(
        f'  File "/srv/chat/{randomness.choice(_FRAMES)}", line {randomness.randrange(900)}, in call_{number}\n'
        f"    return await self._next(request, timeout={number})\n"
        for number in range(randomness.randrange(10, 60))
    )
    attributes: Attributes = {
        "exception.type": "asyncpg.exceptions.TooManyConnectionsError",
        "exception.message": "sorry, too many clients already",
        "exception.stacktrace": f"Traceback (most recent call last):\n{frames}",
    }
    return Span.Event(time_unix_nano=end, name="exception", attributes=_key_values(attributes))


def _key_values(attributes: Attributes) -> list[KeyValue]:
    pairs = []
    for key, value in attributes.items():
        pair = KeyValue(key=key)
        if isinstance(value, str):
            pair.value.string_value = value
        elif isinstance(value, int):
            pair.value.int_value = value
        else:
            pair.value.double_value = value
        pairs.append(pair)
    return pairs
