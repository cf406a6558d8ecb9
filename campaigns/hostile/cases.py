"""Single hostile requests, each with the answers that are right."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hostile import bodies, grpc_wire, http_wire
from hostile.target import LIMIT_MIB, MIB, Target, good_body

JSON = "application/json"
FULL_SIZE_BYTES = LIMIT_MIB * MIB - 4096


@dataclass(frozen=True)
class Case:
    """One request; `answers` are HTTP status, gRPC code, or how the connection ends."""

    name: str
    answers: frozenset[str]
    attack: Callable[[Target], str]


def every_case() -> Iterator[Case]:
    """All of them."""
    for http_case in (_bombs, _http_lies, _http_wrong, _nesting, _grpc_lies, _full_sizes):
        yield from http_case()


def over_http(name: str, answers: str, body: bytes, **headers: str) -> Case:
    """A whole request over HTTP; `answers` are separated by blanks."""
    return Case(f"{name}, HTTP", frozenset(answers.split()), lambda it: http_wire.post(it.http_port, body, **headers))


def raw_http(name: str, answers: str, *pieces: bytes, ends: bool = False) -> Case:
    """Bytes to the HTTP port."""
    return Case(
        f"{name}, HTTP", frozenset(answers.split()), lambda it: http_wire.exchange(it.http_port, pieces, ends=ends)
    )


def over_grpc(name: str, answers: str, message: bytes, **headers: str) -> Case:
    """A call with this on its stream."""
    return Case(
        f"{name}, gRPC",
        frozenset(answers.split()),
        lambda it: grpc_wire.call(it.grpc_port, [message], **headers),
    )


def _bombs() -> Iterator[Case]:
    gzip_bomb, zstd_bomb = bodies.gzip_bomb(), bodies.zstd_bomb()
    yield over_http("gzip bomb", "413", gzip_bomb, content_encoding="gzip")
    yield over_http("zstd bomb", "413", zstd_bomb, content_encoding="zstd")
    yield over_http("zlib bomb", "413", bodies.zlib_bomb(), content_encoding="zlib")
    yield over_http("lz4 bomb", "413", bodies.lz4_bomb(), content_encoding="lz4")
    yield over_http("snappy bomb", "413", bodies.snappy_bomb(), content_encoding="snappy")
    yield over_http("snappy stream bomb", "413", bodies.snappy_stream_bomb(), content_encoding="x-snappy-framed")
    yield over_http("snappy block of 4 GiB", "413", b"\xff\xff\xff\xff\x0f" + bytes(64), content_encoding="snappy")
    yield over_http("gzip bomb as JSON", "413", gzip_bomb, content_encoding="gzip", content_type=JSON)
    yield over_http("gzip in gzip", "400", bodies.gzip(gzip_bomb), content_encoding="gzip")
    yield over_http("gzip in gzip, told", "415", bodies.gzip(gzip_bomb), content_encoding="gzip, gzip")
    yield over_http("gzip, told deflate", "400", bodies.gzip(b""), content_encoding="deflate")
    yield over_grpc(
        "gzip bomb", "RESOURCE_EXHAUSTED", grpc_wire.message(gzip_bomb, is_compressed=True), grpc_encoding="gzip"
    )
    twice = grpc_wire.message(bodies.gzip(gzip_bomb), is_compressed=True)
    yield over_grpc("gzip in gzip", "INVALID_ARGUMENT", twice, grpc_encoding="gzip")
    # gRPC's own answers: it knows only what it can read itself.
    for name, encoding in (("zstd", "zstd"), ("snappy", "snappy"), ("deflate", "deflate")):
        message = grpc_wire.message(zstd_bomb, is_compressed=True)
        yield over_grpc(name, "INTERNAL UNIMPLEMENTED", message, grpc_encoding=encoding)
    yield over_grpc("compressed, not told how", "INTERNAL", grpc_wire.message(gzip_bomb, is_compressed=True))


def _http_lies() -> Iterator[Case]:
    body = good_body(0)
    gzipped = bodies.gzip(body)
    yield over_http("cut off", "400", body[:-1])
    yield over_http("gzip cut off", "400", gzipped[:-1], content_encoding="gzip")
    yield raw_http("more than Content-Length", "400", http_wire.head(len(body) - 1), body)
    yield raw_http("less than Content-Length", "closed", http_wire.head(len(body) + 1), body, ends=True)
    yield raw_http("Content-Length of 2 GiB", "413", http_wire.head(1 << 31), body)
    yield raw_http("Content-Length of 2^64", "400 413", http_wire.head(1 << 64), body)
    yield raw_http("negative Content-Length", "400", http_wire.head(-1), body)
    yield raw_http("Content-Length that is none", "400", http_wire.head(content_length="many"), body)
    yield raw_http("two Content-Lengths", "400", http_wire.head(1)[:-2] + b"content-length: 2\r\n\r\n", body)
    chunked = http_wire.head(transfer_encoding="chunked")
    yield raw_http("Content-Length and chunks", "400", http_wire.head(5, transfer_encoding="chunked"), b"0\r\n\r\n")
    yield raw_http("chunk that is none", "400 closed", chunked, b"many\r\n" + body)
    yield raw_http("chunk of 2^64", "400 closed", chunked, b"1" + b"0" * 16 + b"\r\n" + body)
    yield raw_http("chunk cut off", "closed", chunked, b"ff\r\n" + body[:200], ends=True)
    yield raw_http("chunk longer than told", "400 closed", chunked, b"1\r\n" + body, ends=True)
    yield raw_http("chunk of 2^64 - 1, not sent", "413", chunked, b"f" * 16 + b"\r\n")
    yield raw_http("endless extension", "400 closed", chunked, b"1;", *[b"a" * MIB] * LIMIT_MIB)
    extension = b"1;" + b"a" * 4096 + b"\r\nx\r\n"
    yield raw_http("endless extensions", "400 closed", chunked, *[extension * 256] * LIMIT_MIB)
    yield raw_http("endless trailers", "400 closed", chunked, b"0\r\n", *[b"a: b\r\n" * 100_000] * LIMIT_MIB)
    endless = (b"100000\r\n" + bytes(MIB) + b"\r\n" for _ in range(4 * LIMIT_MIB))
    yield raw_http("endless chunks", "413", chunked, *endless)


def _http_wrong() -> Iterator[Case]:
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT"):
        yield raw_http(f"method {method}", "405 400", http_wire.head(0, method=method))
    yield raw_http("no method", "400", b"BREW /v1/traces HTTP/1.1\r\n\r\n")
    yield raw_http("wrong path", "404", http_wire.head(0, path="/v1/logs"))
    for media_type in ("text/plain", "application/grpc", "application/x-www-form-urlencoded", ""):
        yield over_http(f"media type {media_type!r}", "415", b"", content_type=media_type)
    yield raw_http("HTTP/2", "505", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(64))
    yield raw_http("TLS", "400", bytes.fromhex("16030100050100000100") + bytes(64))
    yield raw_http("endless headers", "400 closed", b"POST / HTTP/1.1\r\n", *[b"x: y\r\n" * 1000] * 100)
    yield raw_http("many headers", "400", b"POST / HTTP/1.1\r\n", b"0:\r\n" * 16_000)
    yield raw_http("one endless header", "400 closed", b"POST / HTTP/1.1\r\nx: ", *[b"y" * 65536] * 100)
    for name, text in (("not JSON", b"{"), ("wrong JSON", b"[1]"), ("numbers", b'{"resourceSpans":1e999}')):
        yield over_http(name, "400", text, content_type=JSON)


def _nesting() -> Iterator[Case]:
    for levels in (100, 10_000):
        body, text = bodies.nested_value(levels), bodies.nested_value_json(levels)
        yield over_http(f"{levels} levels", "200", body)
        yield over_grpc(f"{levels} levels", "OK", grpc_wire.message(body))
        yield over_http(f"{levels} levels of JSON", "200", text, content_type=JSON)
    yield over_http("a million levels of JSON", "200 413", bodies.nested_value_json(10**6), content_type=JSON)
    for size in (1 << 31, (1 << 31) - 1, (1 << 63) - 1, (1 << 64) - 1):
        for number in (1, 9, 11):
            body = bodies.claimed(number, size)
            yield over_http(f"field {number} of {size} bytes", "400", body)
            yield over_grpc(f"field {number} of {size} bytes", "INVALID_ARGUMENT", grpc_wire.message(body))


def _grpc_lies() -> Iterator[Case]:
    body = good_body(0)
    message = grpc_wire.message(body)
    yield over_grpc("cut off", "INVALID_ARGUMENT", grpc_wire.message(body[:-1]))
    yield over_grpc("shorter than told", "INTERNAL INVALID_ARGUMENT", grpc_wire.message(body, size_bytes=len(body) + 1))
    yield over_grpc("half a prefix", "INTERNAL INVALID_ARGUMENT", message[:3])
    yield over_grpc("nothing", "INVALID_ARGUMENT", b"")
    yield over_grpc("1 GiB told", "RESOURCE_EXHAUSTED", grpc_wire.message(body, size_bytes=1 << 30))
    yield over_grpc("4 GiB told", "RESOURCE_EXHAUSTED", grpc_wire.message(body, size_bytes=(1 << 32) - 1))
    yield over_grpc("two messages", "INVALID_ARGUMENT", message + message)
    # gRPC takes a prefix with unknown flags for an empty message, which is answered as one.
    yield over_grpc("junk instead of a prefix", "OK INTERNAL INVALID_ARGUMENT RESOURCE_EXHAUSTED", b"\xff" * 64)
    yield over_grpc("no such method", "UNIMPLEMENTED", message, path="/opentelemetry.Nothing/Export")
    yield over_grpc("wrong media type", "OK 415", message, content_type="text/plain")  # gRPC does not look at it.
    for name, text in (("HTTP/1.1", http_wire.head(0)), ("TLS", bytes.fromhex("160301000501000001") + bytes(64))):
        yield Case(
            f"{name} on gRPC's port",
            frozenset({"closed", "400"}),
            lambda it, text=text: http_wire.exchange(it.grpc_port, [text], ends=True),  # type: ignore[misc]
        )


def _full_sizes() -> Iterator[Case]:
    span = b"\x30\x02\x41" + time.time_ns().to_bytes(8, "little")
    in_resource = bodies.sized(1, bodies.sized(2, bodies.sized(2, span)))
    for name, unit, levels in (
        ("ResourceSpans of nothing", b"\x0a\x00", ()),
        ("ScopeSpans of nothing", b"\x12\x00", (1,)),
        ("spans of nothing", b"\x12\x00", (1, 2)),
        ("spans", bodies.sized(2, span), (1, 2)),
        ("spans, each by itself", in_resource, ()),
        ("attributes of nothing", b"\x4a\x00", (1, 2, 2)),
        ("unknown fields", b"\x98\x06\x01", (1, 2, 2)),
        ("groups", b"\x9b\x06\x9c\x06", (1, 2, 2)),
        ("zeros", b"\x00", ()),
    ):
        for size_bytes in (2 * MIB, FULL_SIZE_BYTES):
            body = bodies.filled(unit, levels, size_bytes)
            told = f"{size_bytes // MIB} MiB of {name}"
            yield over_http(told, "200 413 400", body)
            yield over_grpc(told, "OK RESOURCE_EXHAUSTED INVALID_ARGUMENT", grpc_wire.message(body))
    for unit in (b"[],", b'{"a":1},', b'"",', b"1,"):
        text = b'{"resourceSpans":[' + unit * (16 * MIB // len(unit)) + b"{}]}"
        yield over_http(f"16 MiB of {unit.decode()} as JSON", "400 413", text, content_type=JSON)
