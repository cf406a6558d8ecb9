"""Attacks by number: each on a pipeline of its own, with others who want to be served meanwhile."""

import asyncio
import multiprocessing
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import builders
import grpc
import h2.connection
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pipeline_parts import EXPORT

from hostile import http_wire
from hostile.target import LIMIT_MIB, MIB, Target, good_body

RATIO_MIN = 0.8  # Of what a good sender gets through when there is no attack.
ROUNDS = 3
GOOD_SENDERS = 4
# Of the idle memory, with 10,000 series more than idle has: they stay, and so do the objects among which Python keeps
# the free ones of 20,000 events. `malloc_trim` finds 1 MB to give back.
STAYS_MAX = 1.75

Found = tuple[list[str], str]  # What was wrong, and a line of figures.
Send = Callable[[bytes], Awaitable[object]]


@dataclass(frozen=True)
class Flood:
    """One attack; `seconds` is what each measurement takes."""

    name: str
    attack: Callable[[Target, float], Found]
    settings: Mapping[str, Any] = field(default_factory=dict)


def every_flood(size: int = 1000) -> Iterator[Flood]:
    """All of them; `size` scales those that have one."""
    for protocol in ("http", "grpc"):
        for part in ("headers", "body"):
            yield Flood(f"{size} slow {part}, {protocol}", slow_senders(protocol, part, size))
    yield Flood("a greedy connection", greedy, {"processor": {"memory_limit_mib": 8 * LIMIT_MIB}})
    yield Flood(f"{size * 1000} values", distinct_values(size * 1000), {"processor": {"series_max": size}})
    yield Flood(f"{20 * size} groups in one request", judged_groups(20 * size))
    for name in _FRAMES:
        yield Flood(f"flood of {name}", frame_flood(name, 20 * size))
    yield Flood(f"{3 * size} connections", connections(3 * size))


@asynccontextmanager
async def grpc_sender(target: Target) -> Any:  # noqa: ANN401  an async iterator of Send
    """What sends on one gRPC connection."""
    address = f"127.0.0.1:{target.grpc_port}"
    credentials = None if target.guard is None else target.guard.channel_credentials()
    secured = None if credentials is None else grpc.aio.secure_channel(address, credentials)
    async with secured or grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(EXPORT)

        async def send(body: bytes) -> object:
            return await call(body, timeout=20, metadata=target.metadata)

        yield send


async def throughput(send: Send, seconds: float) -> tuple[float, float]:
    """Requests per second of a few good senders, and their p99 in ms."""
    taken_ms: list[float] = []
    stop_s = time.monotonic() + seconds

    async def send_some() -> None:
        while (start_s := time.monotonic()) < stop_s:
            await send(good_body(time.monotonic_ns()))
            taken_ms.append((time.monotonic() - start_s) * 1000)

    await asyncio.gather(*(send_some() for _ in range(GOOD_SENDERS)))
    return len(taken_ms) / seconds, sorted(taken_ms)[int(len(taken_ms) * 0.99)]


async def side_by_side(target: Target, seconds: float, attack: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    """Good senders with and without the attack, in turn: the median of the ratios, and the worst p99 beside it, ms."""
    ratios, worst_ms = [], 0.0
    async with grpc_sender(target) as send:
        await throughput(send, seconds / 4)
        for _ in range(ROUNDS):
            alone, _ = await throughput(send, seconds)
            attacking = asyncio.ensure_future(attack())
            await asyncio.wait((attacking,), timeout=seconds)  # Until it is in full swing.
            beside, p99_ms = await throughput(send, seconds)
            attacking.cancel()
            with suppress(asyncio.CancelledError):
                await attacking
            ratios.append(beside / alone)
            worst_ms = max(worst_ms, p99_ms)
    return median(ratios), worst_ms


def slow_senders(protocol: str, part: str, count: int) -> Callable[[Target, float], Found]:
    """Connections that drip a byte a second, and come again when they are closed."""
    opening = _slow_opening(protocol, part)

    async def drip(port: int) -> None:
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    writer.write(opening)
                    while not writer.transport.is_closing():
                        await pause(1.0)
                        writer.write(_one_more(protocol, part))
                        await writer.drain()
                finally:
                    writer.transport.abort()
            await pause(0.1)

    def attack(target: Target, seconds: float) -> Found:
        port = target.http_port if protocol == "http" else target.grpc_port

        async def attack_all() -> None:
            await asyncio.gather(*(drip(port) for _ in range(count)))

        ratio, p99_ms = asyncio.run(side_by_side(target, seconds, attack_all))
        told = f"a good sender keeps {ratio:.2f}, p99 {p99_ms:.0f} ms"
        return ([told] if ratio < RATIO_MIN else []), told

    return attack


def _slow_opening(protocol: str, part: str) -> bytes:
    if protocol == "http":
        return b"POST /v1/traces HTTP/1.1\r\nx: " if part == "headers" else http_wire.head(MIB) + b"\x0a"
    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    if part == "body":
        names = {":method": "POST", ":scheme": "http", ":path": EXPORT, ":authority": "x", "te": "trailers"}
        connection.send_headers(1, [*names.items(), ("content-type", "application/grpc")])
        connection.send_data(1, struct.pack(">BI", 0, MIB))
        return connection.data_to_send()
    return connection.data_to_send() + _frame(1, 0, 1, b"")  # Headers that do not end.


def _one_more(protocol: str, part: str) -> bytes:
    if protocol == "http":
        return b"x"
    return _frame(0, 0, 1, b"x") if part == "body" else _frame(9, 0, 1, b"")


def greedy(target: Target, seconds: float) -> Found:
    """One connection with thirty-two requests of 8 MiB under way at any time."""

    async def attack() -> None:
        # A process of its own: within this one it would hold up the small sender's side as well.
        process = multiprocessing.get_context("spawn").Process(target=_send_large, args=(target.grpc_port,))
        process.start()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            process.terminate()
            process.join()

    ratio, p99_ms = asyncio.run(side_by_side(target, seconds, attack))
    told = f"a small sender keeps {ratio:.2f}, p99 {p99_ms:.0f} ms, none refused"
    return ([told] if p99_ms > 1000 else []), told


def _send_large(port: int) -> None:
    template = builders.realistic_request(18_000, 1, start_unix_nano=time.time_ns(), duration_nano=1)

    async def send_all() -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary(EXPORT)

            async def send_some(number: int) -> None:
                for index in range(1_000_000):
                    with suppress(grpc.aio.AioRpcError):
                        await call(template + b"\x0a\x0a\x1a\x08" + struct.pack(">II", number, index))

            await asyncio.gather(*(send_some(number) for number in range(32)))

    asyncio.run(send_all())


def distinct_values(count: int) -> Callable[[Target, float], Found]:
    """Every span is of a service that nobody has heard of."""

    def attack(target: Target, _: float) -> Found:
        series_max = count // 1000
        before = target.counted()

        async def send_all() -> None:
            async with grpc_sender(target) as send:
                for start in range(0, count, 1000):
                    await send(_services(start, min(count, start + 1000)))

        started_s = time.monotonic()
        asyncio.run(send_all())
        rate = count / (time.monotonic() - started_s)
        warnings = sum("action=series_overflow" in line for line in target.log)
        series = target.metric("sla_ledger_series")
        counted = target.counted() - before
        told = f"{series:.0f} series, {warnings} warning, {counted} counted, {rate:,.0f} values/s"
        is_right = series == series_max + 1 and warnings == 1 and counted == count
        return ([] if is_right else [told]), told

    return attack


def judged_groups(count: int) -> Callable[[Target, float], Found]:
    """One request names so many groups, each of which failed some minutes ago: all of them are judged at once."""

    def attack(target: Target, _: float) -> Found:
        body, before = _services(0, count, time.time_ns() - 3 * 60 * 10**9, is_failed=True), target.counted()
        started_s = time.monotonic()
        with target.channel() as channel:
            while target.counted() < before + count:  # A sender tries again until it has an answer.
                with suppress(grpc.RpcError):
                    channel.unary_unary(EXPORT)(body, timeout=60, metadata=target.metadata)
        counted_s = time.monotonic() - started_s
        waits: list[float] = []
        while target.is_unjudged() and time.monotonic() < started_s + 120:
            sent_s = time.monotonic()
            target.send_good()
            waits.append(time.monotonic() - sent_s)
        judged_s = time.monotonic() - started_s
        while time.monotonic() < started_s + judged_s + 3:  # The figures and events go out.
            target.send_good()
        peak, now = target.peak_bytes() / target.idle_bytes, target.rss_bytes() / target.idle_bytes
        told = (
            f"{len(body) / MIB:.1f} MiB counted in {counted_s:.1f} s, judged after {judged_s:.1f} s, a good request"
            f" meanwhile took {max(waits, default=0):.2f} s at most; {peak:.2f} x idle, then {now:.2f}"
        )
        is_right = peak <= 2 and now <= STAYS_MAX and not target.is_unjudged()
        return ([] if is_right else [told]), told

    return attack


def _services(start: int, stop: int, end_unix_nano: int | None = None, *, is_failed: bool = False) -> bytes:
    request = ExportTraceServiceRequest()
    now = end_unix_nano or time.time_ns()
    for number in range(start, stop):
        resource_spans = request.resource_spans.add()
        resource_spans.resource.attributes.add(key="service.name").value.string_value = f"service-{number}"
        span = resource_spans.scope_spans.add().spans.add(kind=2, end_time_unix_nano=now)
        if is_failed:
            span.attributes.add(key="http.response.status_code").value.int_value = 500
    return bytes(request.SerializeToString())


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """An HTTP/2 frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _calls_reset(index: int) -> bytes:
    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    connection.data_to_send()
    names = {":method": "POST", ":scheme": "http", ":path": EXPORT, ":authority": "x", "te": "trailers"}
    stream = 2 * index + 1
    connection.send_headers(stream, [*names.items(), ("content-type", "application/grpc")])
    return connection.data_to_send() + _frame(3, 0, stream, struct.pack(">I", 8))


_FRAMES: dict[str, Callable[[int], bytes]] = {
    "pings": lambda _: _frame(6, 0, 0, bytes(8)),
    "settings": lambda _: _frame(4, 0, 0, b""),
    "calls reset at once": _calls_reset,
    "endless headers": lambda index: _frame(9 if index else 1, 0, 1, b"\x00\x01x\x7f\x00" + b"y" * 127),
    "window updates": lambda _: _frame(8, 0, 0, struct.pack(">I", 1)),
}


def frame_flood(name: str, count: int) -> Callable[[Target, float], Found]:
    """One connection that sends frames of one kind until it is closed, or there are no more."""
    make_frame = _FRAMES[name]

    def attack(target: Target, _: float) -> Found:
        preface = h2.connection.H2Connection()
        preface.initiate_connection()
        sent = 0
        started_s, cpu_s = time.monotonic(), target.cpu_s()
        with socket.create_connection(("127.0.0.1", target.grpc_port), timeout=20) as connection:
            connection.sendall(preface.data_to_send())
            with suppress(ConnectionError):
                while sent < count:
                    frames = b"".join(make_frame(index) for index in range(sent, min(count, sent + 100)))
                    connection.settimeout(20)
                    connection.sendall(frames)
                    sent += 100
                    connection.settimeout(0)
                    with suppress(BlockingIOError):
                        if not connection.recv(1 << 20):
                            break
        target.send_good()
        taken_s, taken_cpu_s = time.monotonic() - started_s, target.cpu_s() - cpu_s
        end = "not closed" if sent >= count else "closed"
        return [], f"{end} after {sent} frames, {taken_s:.1f} s, {taken_cpu_s:.1f} s of CPU"

    return attack


def connections(count: int) -> Callable[[Target, float], Found]:
    """Connections to either port that say nothing, more than are allowed."""

    def attack(target: Target, seconds: float) -> Found:
        async def attack_all() -> None:
            writers = []
            try:
                for index in range(count):
                    with suppress(OSError):
                        port = target.http_port if index % 2 else target.grpc_port
                        writers.append((await asyncio.open_connection("127.0.0.1", port))[1])
                await asyncio.get_running_loop().create_future()
            finally:
                for writer in writers:
                    writer.transport.abort()

        ratio, p99_ms = asyncio.run(side_by_side(target, seconds, attack_all))
        told = f"a sender that was there before keeps {ratio:.2f}, p99 {p99_ms:.0f} ms"
        return ([told] if ratio < RATIO_MIN else []), told

    return attack


async def pause(seconds: float) -> None:
    """Wait, as an attacker does."""
    waiting = asyncio.get_running_loop().create_future()
    timer = asyncio.get_running_loop().call_later(seconds, waiting.set_result, None)
    try:
        await waiting
    finally:
        timer.cancel()
