"""Senders without the right token or certificate: single requests, and floods of bodies that nobody reads."""

import asyncio
import multiprocessing
import os
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, closing, suppress
from multiprocessing.connection import Connection

import grpc

from hostile import bodies, grpc_wire, http_wire
from hostile.cases import FULL_SIZE_BYTES, JSON, Case, over_grpc, over_http, raw_http
from hostile.floods import RATIO_MIN, Flood, Found, side_by_side
from hostile.guard import TOKEN, Guard
from hostile.target import LIMIT_MIB, MIB, Target, good_body

HEALTH = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
N_STRANGERS = 16
N_WATCHING = 4000
WATCHING_MAX = 100  # As docs/guarantees.md has it.


def every_tokenless_case() -> Iterator[Case]:
    """No token, or another: nothing is counted, whatever comes with it."""
    body = good_body(0)
    tokens = {
        "no token": "",
        "wrong token": "Bearer wrong",
        "empty token": "Bearer",
        "half a token": f"Bearer {TOKEN[:-1]}",
        "token and more": f"Bearer {TOKEN}, Bearer wrong",
        "token as a password": "Basic cmlnaHQ=",
        "token of 8 KB": f"Bearer {'x' * 8000}",
    }
    for name, authorization in tokens.items():
        yield over_http(name, "401", body, authorization=authorization)
        yield over_grpc(name, "UNAUTHENTICATED", grpc_wire.message(body), authorization=authorization)
    yield raw_http("no token, metrics", "401", http_wire.head(method="GET", path="/metrics"))
    yield raw_http("no token, health", "200", http_wire.head(method="GET", path="/healthz"))
    yield over_grpc("no token, health", "OK", grpc_wire.message(b""), path=HEALTH)
    yield over_grpc("no token, another method", "UNIMPLEMENTED", grpc_wire.message(body), path="/a.B/C")
    for authorization in ("", "Bearer wrong"):
        yield from _large(authorization)


def _large(authorization: str) -> Iterator[Case]:
    name = "wrong token" if authorization else "no token"
    large, bomb = bytes(FULL_SIZE_BYTES), bodies.gzip_bomb()
    yield raw_http(f"{name}, 63 MiB to come", "401", http_wire.head(FULL_SIZE_BYTES, authorization=authorization))
    yield over_http(f"{name}, 63 MiB", "401", large, authorization=authorization)
    yield over_http(f"{name}, 63 MiB of JSON", "401", large, authorization=authorization, content_type=JSON)
    yield over_http(f"{name}, 63 MiB, another path", "404", large, authorization=authorization, path="/v1/logs")
    yield over_http(f"{name}, gzip bomb", "401", bomb, authorization=authorization, content_encoding="gzip")
    chunked = http_wire.head(transfer_encoding="chunked", authorization=authorization)
    endless = [b"100000\r\n" + bytes(MIB) + b"\r\n"] * (4 * LIMIT_MIB)
    yield raw_http(f"{name}, endless chunks", "401", chunked, *endless)
    for told, message, headers in (
        ("63 MiB", grpc_wire.message(large), {}),
        ("gzip bomb", grpc_wire.message(bomb, is_compressed=True), {"grpc_encoding": "gzip"}),
        ("1 GiB told", grpc_wire.message(b"", size_bytes=1 << 30), {}),
        ("nothing", b"", {}),
    ):
        yield over_grpc(f"{name}, {told}", "UNAUTHENTICATED", message, authorization=authorization, **headers)
    yield over_grpc(f"{name}, 63 MiB for health", "OK", grpc_wire.message(large), path=HEALTH)
    yield over_grpc(f"{name}, 63 MiB to watch health", "DEADLINE_EXCEEDED", grpc_wire.message(large), path=WATCH)


def every_certificate_case() -> Iterator[Case]:
    """Without a certificate of the right CA there is no request at all; with it a token is asked for."""
    body = good_body(0)
    for body_name, content in (("", body), (", 63 MiB", bytes(FULL_SIZE_BYTES))):
        for certificate in ("none", "another CA's", "expired"):
            yield from _with_certificate(f"certificate: {certificate}{body_name}", "alert closed", certificate, content)
        yield from _with_certificate(f"certificate, no token{body_name}", "401 UNAUTHENTICATED", "right", content)
    yield from _with_certificate("certificate, token", "200 OK", "right", body, authorization=f"Bearer {TOKEN}")
    yield raw_http("no TLS", "closed", http_wire.head(len(body)), body)
    yield over_grpc("no TLS", "closed", grpc_wire.message(body), authorization=f"Bearer {TOKEN}")


def _with_certificate(name: str, answers: str, certificate: str, body: bytes, **headers: str) -> Iterator[Case]:
    def tls(target: Target) -> ssl.SSLContext:
        assert target.guard is not None
        return target.guard.client_tls(certificate)

    right = frozenset(answers.split())
    yield Case(f"{name}, HTTP", right, lambda it: http_wire.post(it.http_port, body, tls=tls(it), **headers))
    message = grpc_wire.message(body)
    yield Case(f"{name}, gRPC", right, lambda it: grpc_wire.call(it.grpc_port, [message], tls=tls(it), **headers))


def every_stranger_flood() -> Iterator[Flood]:
    """Many at once who send all that they can."""
    for name, attack in (
        ("bodies, http", _http_body),
        ("bodies, grpc", _grpc_body),
        ("questions for health, grpc", _grpc_question),
    ):
        yield Flood(f"{N_STRANGERS} strangers' {name}", strangers(attack), {"guard": Guard()})
    yield Flood(f"{N_STRANGERS} who watch the health, 63 MiB each", watch_with_large_questions, {"guard": Guard()})
    yield Flood(f"{N_WATCHING} who watch the health", watch_idly(N_WATCHING), {"guard": Guard()})


def watch_with_large_questions(target: Target, _: float) -> Found:
    """Calls to watch that begin a question as large as may be one after another, and then send all of it."""
    claim = grpc_wire.message(b"", size_bytes=FULL_SIZE_BYTES)

    def ask(call: grpc_wire.Call) -> tuple[str, int]:
        call.send([bytes(FULL_SIZE_BYTES)])
        return call.answer(), call.n_sent

    calls = []
    for _number in range(N_STRANGERS):
        calls.append(grpc_wire.Call(target.grpc_port, path=WATCH))
        calls[-1].send([claim], ends=False)
        target.send_good()  # Takes about the time for which a question is waited for.
    with ThreadPoolExecutor(N_STRANGERS) as pool:
        seen = list(pool.map(ask, calls))
    answers = Counter(answer for answer, _ in seen)
    most = max(n_taken for _, n_taken in seen)
    told = f"{dict(answers)}, at most {most / MIB:.2f} of {FULL_SIZE_BYTES // MIB} MiB taken"
    return ([told] if set(answers) - {"DEADLINE_EXCEEDED", "reset", "closed"} else []), told


def watch_idly(count: int) -> Callable[[Target, float], Found]:
    """Calls to watch that stay, a hundred of each connection."""

    async def watch_all(port: int) -> Counter[str]:
        async with AsyncExitStack() as stack:
            calls = []
            for _ in range(count // 100):
                options = [("grpc.use_local_subchannel_pool", 1)]
                channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}", options))
                calls += [channel.unary_stream(WATCH)(b"") for _ in range(100)]
            firsts = await asyncio.gather(*(call.read() for call in calls), return_exceptions=True)
            return Counter("told" if isinstance(first, bytes) else "refused" for first in firsts)

    def run(target: Target, _: float) -> Found:
        answers = asyncio.run(watch_all(target.grpc_port))
        told = str(dict(answers))
        return ([told] if answers["told"] > WATCHING_MAX else []), told

    return run


Attack = Callable[[int, int], tuple[str, int]]  # (HTTP port, gRPC port) -> answer, bytes of the body that were taken.


def _http_body(http_port: int, _: int) -> tuple[str, int]:
    n_sent, piece = 0, bytes(64 * 1024)
    with closing(http_wire.connect(http_port, 30)) as connection:
        with suppress(ConnectionError):
            connection.sendall(http_wire.head(FULL_SIZE_BYTES))
            while n_sent < FULL_SIZE_BYTES:
                n_sent += connection.send(piece)
        return http_wire.read_status(connection), n_sent


def _grpc_body(_: int, grpc_port: int) -> tuple[str, int]:
    return _grpc_call(grpc_wire.Call(grpc_port))


def _grpc_question(_: int, grpc_port: int) -> tuple[str, int]:
    return _grpc_call(grpc_wire.Call(grpc_port, path=HEALTH))


def _grpc_call(call: grpc_wire.Call) -> tuple[str, int]:
    call.send([grpc_wire.message(bytes(FULL_SIZE_BYTES))])
    return call.answer(), call.n_sent


def strangers(attack: Attack) -> Callable[[Target, float], Found]:
    """Connections that come again as soon as they were answered."""

    def run(target: Target, seconds: float) -> Found:
        seen: list[tuple[str, int]] = []

        async def attack_all() -> None:
            receiving, sending = multiprocessing.Pipe(duplex=False)
            arguments = (attack, target.http_port, target.grpc_port, sending)
            process = multiprocessing.get_context("spawn").Process(target=_attack_again, args=arguments)
            loop = asyncio.get_running_loop()
            loop.add_reader(receiving.fileno(), lambda: seen.append(receiving.recv()))
            process.start()
            try:
                await loop.create_future()
            finally:
                loop.remove_reader(receiving.fileno())
                process.terminate()
                process.join()

        ratio, p99_ms = asyncio.run(side_by_side(target, seconds, attack_all))
        answers = Counter(answer for answer, _ in seen)
        most = max((n_taken for _, n_taken in seen), default=0)
        told = (
            f"a good sender keeps {ratio:.2f}, p99 {p99_ms:.0f} ms; {dict(answers)}, at most {most / MIB:.2f} of"
            f" {FULL_SIZE_BYTES // MIB} MiB taken"
        )
        return ([told] if ratio < RATIO_MIN or not seen else []), told

    return run


def _attack_again(attack: Attack, http_port: int, grpc_port: int, told: Connection) -> None:
    os.nice(19)  # They would be on machines of their own.
    telling = threading.Lock()

    def attack_on() -> None:
        while True:
            seen = attack(http_port, grpc_port)
            with telling:
                told.send(seen)

    threads = [threading.Thread(target=attack_on) for _ in range(N_STRANGERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
