"""Attacks on the status page: it is answered wrongly never, stays small, and acknowledgements go on."""

import asyncio
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pipeline_parts import EXPORT

from hostile import http_wire
from hostile.cases import Case
from hostile.floods import RATIO_MIN, Flood, Found, pause, side_by_side
from hostile.target import MIB, Target

PAGE = {"endpoint": "127.0.0.1:0"}
PEAK_RATIO_MAX = 2.0  # Of the page's idle memory.
SERIES_VALUES = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "'; DROP TABLE series; --",
    "{{ 7 * 7 }}{% raw %}",
    "\u202egnp.exe",
    "\u2066a\u2069\u200b\ufeff",
    "\x00\x1b[31m\r\nset-cookie: a=b",
    "&lt;b&gt;&amp;",
)
_MARKUP = ("<script>alert", "<img src=x", "\u202e", "\u2066", "\x00", "\x1b")
Client = Callable[..., Coroutine[object, object, None]]
_GET = b"GET / HTTP/1.1\r\nhost: page\r\n"


def every_page_case() -> Iterator[Case]:
    """Single requests."""
    for path in (
        "/../../etc/passwd",
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static/%2e%2e%2f%2e%2e%2fconfig%2fpage.py",
        "/static/..\\app.py",
        "/static/page.css%00",
        "/static/%00",
        "/static/",
        "/static//page.css",
        "/static/" + "a" * 4000,
        "//static/page.css",
        "//example.com/..",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/%ff%fe",
        "/agreements/../pipeline",
        "/pipeline/",
        "/.",
        "/" + "%2e%2e/" * 1000,
    ):
        yield _get(f"path {path[:40]!r}", "404", path)
    yield _get("a long query", "414", "/?" + "a=b&" * 1000)
    yield _get("a query of anything", "200 400", "/?%00=%ff&q=<script>&page=-1&page=9999999999999999999999")
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
        yield raw(f"method {method}", "405", f"{method} / HTTP/1.1\r\nhost: page\r\n\r\n".encode())
    yield raw("method CONNECT", "400 404 405", b"CONNECT page:80 HTTP/1.1\r\nhost: page\r\n\r\n")
    yield raw("HEAD", "200", b"HEAD / HTTP/1.1\r\nhost: page\r\n\r\n")
    yield raw("no host", "400", b"GET / HTTP/1.1\r\n\r\n")
    yield raw("a path that is none", "400 404", b"GET http://page/ HTTP/1.1\r\nhost: page\r\n\r\n")
    yield raw("an upgrade", "200", _GET + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n")
    yield raw("HTTP/2", "400 404", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(64))
    yield raw("TLS", "400", bytes.fromhex("16030100050100000100") + bytes(64))
    yield raw("many headers", "400 closed", _GET, b"0:\r\n" * 16_000)
    yield raw("endless headers", "400 closed", _GET, *[b"x: y\r\n" * 1000] * 1000)
    yield raw("one endless header", "400 closed", _GET + b"x: ", *[b"y" * 65536] * 100)
    yield raw("an endless path", "400 closed", b"GET /", *[b"y" * 65536] * 100)
    large = b"POST / HTTP/1.1\r\nhost: page\r\ncontent-length: 16777216\r\n\r\n"
    yield raw("a body of 16 MiB", "405 closed", large, bytes(16 * MIB))
    yield raw("10,000 at once", "200", (_GET + b"\r\n") * 10_000)
    long = b"authorization: Bearer " + b"a" * 8000 + b"\r\nif-none-match: " + b'"a",' * 1000 + b"\r\n\r\n"
    yield raw("long header values", "200", _GET + long)


def _get(name: str, answers: str, path: str) -> Case:
    return raw(name, answers, f"GET {path} HTTP/1.1\r\nhost: page\r\n\r\n".encode())


def raw(name: str, answers: str, *pieces: bytes) -> Case:
    """Bytes to the page's port."""
    return Case(f"{name}, page", frozenset(answers.split()), lambda it: http_wire.exchange(it.page_port, pieces))


def every_page_flood(size: int = 10_000) -> Iterator[Flood]:
    """Many at once, and names that mean harm; `size` is how many connections there are at most."""
    settings = {"page": PAGE}
    openings = {"silent connections": b"", "slow headers": _GET + b"x: ", "slow readers": (_GET + b"\r\n") * 100}
    for name, opening in openings.items():
        yield Flood(f"{size} {name}, page", beside(hold, opening, size), settings)
    yield Flood("questions without end, page", beside(ask, 50), settings)
    yield Flood("hostile names, page", hostile_names(200), {**settings, "processor": {"grace": "0s"}})


def beside(client: Client, *arguments: object) -> Callable[[Target, float], Found]:
    """Good senders beside clients of the page, which have a process of their own, and what memory the page has then."""

    def run(target: Target, seconds: float) -> Found:
        async def attack() -> None:
            with run_client(client, target.page_port, *arguments):
                await asyncio.get_running_loop().create_future()

        idle_bytes = target.page_bytes("VmRSS")
        ratio, p99_ms = asyncio.run(side_by_side(target, seconds, attack))
        peak = target.page_bytes("VmHWM") / idle_bytes
        told = f"a good sender keeps {ratio:.2f}, p99 {p99_ms:.0f} ms; the page {peak:.2f} x idle"
        target.wait_for_page()
        return ([told] if ratio < RATIO_MIN or peak > PEAK_RATIO_MAX else []), told

    return run


@contextmanager
def run_client(client: Client, *arguments: object) -> Iterator[None]:
    """Run a client in a process of its own."""
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(client, arguments))
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def _run(client: Client, arguments: tuple[object, ...]) -> None:
    os.nice(19)  # It would be on a machine of its own.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(client(*arguments))


async def hold(port: int, opening: bytes, count: int) -> None:
    """As many connections as files may be open; each says this, reads nothing, and comes again when it is closed."""

    async def hold_one() -> None:
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
                try:
                    writer.write(opening)
                    while not writer.transport.is_closing():
                        await pause(1)
                        writer.write(b"y" if opening.endswith(b" ") else b"")
                finally:
                    writer.transport.abort()
            await pause(1)

    files_max, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    await asyncio.gather(*(hold_one() for _ in range(min(count, files_max - 100))))


async def ask(port: int, n_connections: int) -> None:
    """Different pages, each of which has to be made anew, as fast as they are answered."""

    async def ask_all(number: int) -> None:
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    for index in range(1000):
                        writer.write(_GET.replace(b"/", b"/?q=%d-%d" % (number, index), 1) + b"\r\n")
                        head = await reader.readuntil(b"\r\n\r\n")
                        size = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                        await reader.readexactly(int(size))
                finally:
                    writer.transport.abort()
            await pause(0.1)

    await asyncio.gather(*(ask_all(number) for number in range(n_connections)))


async def compute() -> None:
    """No page at all, but as busy."""
    while True:
        sum(range(1000))


def hostile_names(count: int) -> Callable[[Target, float], Found]:
    """Services whose names are markup, control and bidirectional characters, and a kilobyte long: shown as text."""

    def attack(target: Target, _: float) -> Found:
        idle_bytes = target.page_bytes("VmRSS")
        with target.channel() as channel:
            channel.unary_unary(EXPORT)(_named_request(count), timeout=60, metadata=target.metadata)
        text, deadline = "", time.monotonic() + 60
        while "alert(1)" not in text and time.monotonic() < deadline:
            text = target.page_text("/")
        found = [f"{mark!r} is in the page" for mark in _MARKUP if mark in text]
        if "alert(1)" not in text:
            found.append("the names are not shown")
        peak = target.page_bytes("VmHWM") / idle_bytes
        told = f"{count} names, {len(text) / 1024:.0f} KiB; the page {peak:.2f} x idle"
        if peak > PEAK_RATIO_MAX:
            found.append(told)
        return found, told

    return attack


def _named_request(count: int) -> bytes:
    request = ExportTraceServiceRequest()
    then = time.time_ns() - 3 * 60 * 10**9
    for number in range(count):
        name = f"{SERIES_VALUES[number % len(SERIES_VALUES)]}{number}"
        if number >= len(SERIES_VALUES):
            name = (name + "x" * 1024)[: 1024 - len(name.encode()) + len(name)]
        resource_spans = request.resource_spans.add()
        resource_spans.resource.attributes.add(key="service.name").value.string_value = name
        span = resource_spans.scope_spans.add().spans.add(kind=2, end_time_unix_nano=then)
        span.attributes.add(key="http.response.status_code").value.int_value = 500
    return bytes(request.SerializeToString())
