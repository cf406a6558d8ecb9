"""Broken requests through both servers of a running pipeline: `python campaigns/fuzz/fuzz_servers.py --seconds 600`.

Protobuf over gRPC and HTTP, JSON over HTTP, and broken HTTP itself. Every answer is one that the design allows for
bytes that may be no request, the pipeline lives, and a good request afterwards is counted.
"""

import argparse
import http.client
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("campaigns", "tests", "tests/acceptance")]


import grpc
import orjson
from fuzz.differential import generate
from fuzz.wire_forms import mutate
from google.protobuf import json_format, message
from hostile import http_wire
from hostile.target import Target
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pipeline_parts import EXPORT

ALLOWED = {
    "grpc": {"OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"},
    "http": {"200", "400", "413"},
    "json": {"200", "400", "413"},
    # What a broken head asks for may be anything that the design has an answer to, or a body that never comes.
    "raw": {"200", "204", "400", "404", "405", "413", "415", "431", "501", "503", "closed", "silence"},
}
_CHUNK = 1000


class WrongAnswer(AssertionError):
    """A server answered what it must not."""


def json_of(request: ExportTraceServiceRequest) -> bytes:
    """The request in OTLP's JSON, by protobuf's own writer: ids in hex, enums as integers."""
    written = json_format.MessageToDict(request, use_integers_for_enums=True)
    for index, of_resource in enumerate(request.resource_spans):
        for scope_index, of_scope in enumerate(of_resource.scope_spans):
            for span_index, span in enumerate(of_scope.spans):
                of_span = written["resourceSpans"][index]["scopeSpans"][scope_index]["spans"][span_index]
                _write_ids(of_span, span)
                for link, of_link in zip(span.links, of_span.get("links", []), strict=True):
                    _write_ids(of_link, link)
    return orjson.dumps(written)


def _write_ids(written: dict[str, object], read: message.Message) -> None:
    for key, name in (("traceId", "trace_id"), ("spanId", "span_id"), ("parentSpanId", "parent_span_id")):
        if key in written:
            written[key] = getattr(read, name).hex()


def parsed(bodies: Iterator[bytes]) -> Iterator[ExportTraceServiceRequest]:
    """Those that are requests with valid text."""
    for body in bodies:
        try:
            yield ExportTraceServiceRequest.FromString(body)
        except message.DecodeError:
            continue


class Fuzzer:
    """Sends broken requests on connections that stay open, as senders have them."""

    def __init__(self, target: Target, seed: int) -> None:
        self._target = target
        self._random = random.Random(f"servers {seed}")
        self._channel = grpc.insecure_channel(f"127.0.0.1:{target.grpc_port}")
        self._call = self._channel.unary_unary(EXPORT)
        self._http = http.client.HTTPConnection("127.0.0.1", target.http_port, timeout=20)
        self.answers: Counter[tuple[str, str]] = Counter()

    def close(self) -> None:
        """Close the connections."""
        self._channel.close()
        self._http.close()

    def run(self, seed: int, n_requests: int) -> None:
        """Send so many, a third of them by each protocol, and some as broken HTTP."""
        bodies = list(generate(seed, n_requests))
        texts = [json_of(request) for request in parsed(iter(bodies[::10]))]
        for index, body in enumerate(bodies):
            match index % 3:
                case 0:
                    self._check("grpc", body, self._send_grpc(body))
                case 1:
                    self._check("http", body, self._send_http(body, "application/x-protobuf"))
                case 2:
                    text = mutate(self._random.choice(texts), self._random.choice(texts), self._random)
                    self._check("json", text, self._send_http(text, "application/json"))
            if index % 50 == 0:
                whole = http_wire.head(len(body)) + body
                raw = mutate(whole, whole, self._random)
                answer = http_wire.exchange(self._target.http_port, [raw], timeout_s=2, ends=True)
                self._check("raw", raw, answer)

    def _send_grpc(self, body: bytes) -> str:
        try:
            self._call(body, timeout=20)
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"

    def _send_http(self, body: bytes, media_type: str) -> str:
        self._http.request("POST", "/v1/traces", body, {"content-type": media_type})
        answer = self._http.getresponse()
        answer.read()
        return str(answer.status)

    def _check(self, kind: str, body: bytes, answer: str) -> None:
        self.answers[kind, answer] += 1
        if answer not in ALLOWED[kind]:
            raise WrongAnswer(f"{kind}: {answer} to {body.hex()}")


def fuzz(target: Target, seed: int, n_requests: int) -> Counter[tuple[str, str]]:
    """Send so many broken requests; gives how often each was answered what."""
    fuzzer = Fuzzer(target, seed)
    try:
        fuzzer.run(seed, n_requests)
    finally:
        fuzzer.close()
    target.send_good()
    return fuzzer.answers


def main() -> int:
    """Go on until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    answers: Counter[tuple[str, str]] = Counter()
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Target(Path(folder)) as target:
        for seed in count(arguments.seed):
            answers += fuzz(target, seed, _CHUNK)
            if time.monotonic() - started_s > arguments.seconds:
                break
        rss, idle = target.rss_bytes(), target.idle_bytes
        log = target.complaints
    for (kind, answer), times in sorted(answers.items()):
        print(f"{kind:5} {answer:20} {times:,}")  # noqa: T201
    rate = answers.total() / (time.monotonic() - started_s)
    print(f"{answers.total():,} requests, {rate:,.0f}/s, memory {rss / idle:.2f} x idle", *log, sep="\n")  # noqa: T201
    return 1 if log else 0


if __name__ == "__main__":
    sys.exit(main())
