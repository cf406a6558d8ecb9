"""OTLP over HTTP, and the probes: which request gets which answer.

Request bodies are protobuf or OTLP's JSON; errors are `google.rpc.Status` in the request's encoding. Whatever can be
refused by the headers alone is refused before the body is read.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

from otel_sla.counting.receipt import TracesConsumer
from otel_sla.errors import Overloaded
from otel_sla.receiver.decompress import ENCODINGS, expand_body
from otel_sla.receiver.http.body import SenderGone
from otel_sla.receiver.http.cors import Cors, Headers
from otel_sla.receiver.http.request import Request
from otel_sla.receiver.limits.memory import Held, InFlight, account
from otel_sla.receiver.refusals import Refusals, RefusedRequest
from otel_sla.receiver.responses import (
    BodyTimeout,
    ErrorResponse,
    MalformedRequest,
    MethodNotAllowed,
    PathUnknown,
    Readiness,
    UnknownCoding,
    UnknownExpectation,
    UnknownVersion,
    UnsupportedMediaType,
    encode_json,
    encode_protobuf,
    refusal_of,
)
from otel_sla.receiver.security.bearer import BearerAuth
from otel_sla.receiver.settings import BYTES_PER_MIB, HttpServerSettings
from otel_sla.spans.otlp_json import convert_json, estimate_size_bytes

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"
# The server's grace is over. What was taken may still be counted, but too late for the answer.
_STOPPING = "the pipeline is stopping"
_IN_PATHS = "/%:@!$&'()*+,;=~"  # RFC 3986, 3.3: stands in a path as it is.
_METRICS = "text/plain; version=0.0.4; charset=utf-8"  # Prometheus' text format.
_JSON_SIZE_BYTES_ON_LOOP_MAX = 128 * 1024  # About 10 ms to convert; more would delay the others.


@dataclass(frozen=True, slots=True)
class Probes:
    """What probes answer.

    Attributes:
        readiness: Says whether the pipeline takes requests now.
        metrics: Gives the self-metrics as Prometheus' text.
    """

    readiness: Callable[[], Readiness]
    metrics: Callable[[], str] = str


@dataclass(slots=True)
class HttpResponse:
    """An answer, but for what the connection adds."""

    http_status: int
    content_type: str
    body: bytes
    headers: Headers = field(default_factory=list)
    is_last: bool = False  # Where the next request would begin is not known.

    def all_headers(self) -> Headers:
        """With those that describe the body."""
        if self.http_status == 204:
            return [*self.headers]
        return [
            (b"content-type", self.content_type.encode()),
            (b"content-length", str(len(self.body)).encode()),
            *self.headers,
        ]


class HttpApp:
    """Answers requests.

    Args:
        settings: What the configuration says.
        accountant: Counts the requests.
        in_flight: The limit on bytes, shared with the gRPC server.
        probes: Readiness and self-metrics.
        refusals: Publishes which requests were refused for good.
    """

    def __init__(
        self,
        settings: HttpServerSettings,
        accountant: TracesConsumer,
        in_flight: InFlight,
        probes: Probes,
        refusals: Refusals,
    ) -> None:
        self.settings = settings
        self._size_bytes_max = settings.max_request_body_size_mib * BYTES_PER_MIB
        self._in_flight = in_flight
        self._accountant = accountant
        self._traces_path = quote(settings.traces_url_path, safe=_IN_PATHS)
        self._probes = probes
        self.refusals = refusals
        self.auth = None if settings.auth is None else BearerAuth(settings.auth, settings.source)
        self._cors = None if settings.cors is None else Cors(settings.cors)
        self.answers: Counter[int] = Counter()  # To requests on the traces' path, or with a bad head, by HTTP status.

    async def answer(self, request: Request) -> HttpResponse:
        """Answer one request.

        Raises:
            SenderGone: The connection ended before its body did.
        """
        is_traces = request.path == self._traces_path
        try:
            answer = await (self._answer_traces(request) if is_traces else self._answer_probe(request))
        except SenderGone:
            raise
        except asyncio.CancelledError:
            return self.refuse(request, Overloaded(_STOPPING))
        except Exception as error:  # noqa: BLE001 - every error has its answer, none ends the server.
            return self.refuse(request, error)
        return self._finish(request, answer)

    def refuse(self, request: Request, error: Exception) -> HttpResponse:
        """Answer a request by what is wrong with it, or with us."""
        refusal = refusal_of(error)
        if refusal.is_final and request.method in ("POST", ""):  # Others bring no spans; of a bad head it is not known.
            headers = request.headers
            encoding = f"{headers.get('content-type', '')} {headers.get('content-encoding', '')}".strip()
            status, user_agent = str(refusal.http_status), headers.get("user-agent", "")
            self.refusals.add(RefusedRequest("http", status, refusal.message, encoding, user_agent))
        return self._finish(request, _answer_refused(request, error, refusal))

    def _finish(self, request: Request, answer: HttpResponse) -> HttpResponse:
        if request.path == self._traces_path or not request.method:
            self.answers[answer.http_status] += 1
        if request.path == self._traces_path and request.method == "POST" and self._cors is not None:
            answer.headers += self._cors.answer(request.headers)
        return answer

    async def _answer_traces(self, request: Request) -> HttpResponse:
        if request.method == "OPTIONS" and self._cors is not None:
            return HttpResponse(204, _TEXT, b"", self._cors.answer_preflight(request.headers, "POST"))
        if request.method != "POST":
            raise MethodNotAllowed(request.method, "POST" if self._cors is None else "POST, OPTIONS")
        self._authenticate(request)
        request.is_welcome = True
        if request.media_type not in (PROTOBUF, JSON):
            raise UnsupportedMediaType(f"Content-Type {request.media_type!r} is not {PROTOBUF} or {JSON}")
        _check_what_is_asked(request.headers)
        with Held(self._in_flight, owner=request.owner) as held:
            body = await request.body.read(held, self._size_bytes_max, self.settings.body_timeout_s)
            encoding = request.headers.get("content-encoding", "").strip().lower()
            body = await expand_body(body, encoding, held, size_bytes_max=self._size_bytes_max)
            if request.media_type == JSON:
                body = await _convert_json(body, held)
            receipt = await account(self._accountant, body, held)
        encode = encode_json if request.media_type == JSON else encode_protobuf
        return HttpResponse(200, request.media_type, encode(receipt))

    async def _answer_probe(self, request: Request) -> HttpResponse:
        if request.path not in ("/healthz", "/readyz", "/metrics"):
            raise PathUnknown(f"nothing is served at {request.path}")
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(request.method, "GET, HEAD")
        if request.path == "/healthz":
            return HttpResponse(200, _TEXT, b"ok\n")
        if request.path == "/readyz":
            reason, notice = self._probes.readiness()
            ready = f"ready, but {notice}" if notice else "ready"
            return HttpResponse(503 if reason else 200, _TEXT, f"{reason or ready}\n".encode())
        self._authenticate(request)
        return HttpResponse(200, _METRICS, self._probes.metrics().encode())

    def _authenticate(self, request: Request) -> None:
        if self.auth is not None:
            self.auth.check(request.headers.get("authorization", ""))


async def _convert_json(body: bytes, held: Held) -> bytes:
    held.resize(estimate_size_bytes(body))
    if len(body) <= _JSON_SIZE_BYTES_ON_LOOP_MAX:
        converted = convert_json(body)
    else:
        converted = await asyncio.to_thread(convert_json, body)
    held.resize(len(converted))
    return converted


def _check_what_is_asked(headers: dict[str, str]) -> None:
    coding, expected = (headers.get(key, "").strip().lower() for key in ("transfer-encoding", "expect"))
    if coding not in ("", "chunked"):
        raise UnknownCoding(
            f"Transfer-Encoding {coding!r} is not chunked; compressed bodies say so by Content-Encoding"
        )
    if expected not in ("", "100-continue"):
        raise UnknownExpectation(f"Expect {expected!r} is not 100-continue")


def _answer_refused(request: Request, error: Exception, refusal: ErrorResponse) -> HttpResponse:
    if request.media_type == PROTOBUF:
        answer = HttpResponse(refusal.http_status, PROTOBUF, refusal.status().SerializeToString())
    else:
        answer = HttpResponse(refusal.http_status, JSON, refusal.status_json())
    if refusal.retry_after_s is not None:
        answer.headers.append((b"retry-after", str(refusal.retry_after_s).encode()))
    if isinstance(error, MethodNotAllowed):
        answer.headers.append((b"allow", error.allow.encode()))
    if isinstance(error, UnsupportedMediaType):
        answer.headers.append((b"accept-encoding", ", ".join(ENCODINGS).encode()))
    if refusal.http_status == 401:
        answer.headers.append((b"www-authenticate", b"Bearer"))
    answer.is_last = isinstance(error, BodyTimeout | MalformedRequest | UnknownVersion)
    return answer
