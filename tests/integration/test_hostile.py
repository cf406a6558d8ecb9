"""Senders that mean harm: what they are answered, what they take of memory, and that others are served meanwhile."""

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import grpc
import pytest
from fuzz import fuzz_servers
from hostile import bodies, grpc_wire, http_wire
from hostile.__main__ import try_case
from hostile.cases import every_case
from hostile.floods import distinct_values, frame_flood
from hostile.guard import Guard
from hostile.page import PAGE, every_page_case, hostile_names
from hostile.pipelining import REQUESTS
from hostile.strangers import every_certificate_case
from hostile.target import Target
from hostile.unread import BLOCK_SIZE_BYTES, send_unread
from pipeline_parts import EXPORT
from receiver_parts import FakeAccountant, run_on, until

from otel_sla.counting.receipt import Receipt, TracesConsumer
from otel_sla.errors import DecodeError, Overloaded, RequestTooLarge
from otel_sla.receiver.grpc.server import GrpcServer
from otel_sla.receiver.http.app import HttpApp, Probes
from otel_sla.receiver.http.server import HttpServer
from otel_sla.receiver.limits.memory import Held, InFlight
from otel_sla.receiver.refusals import Refusals
from otel_sla.receiver.responses import Readiness
from otel_sla.receiver.settings import GrpcServerSettings, HttpServerSettings

MIB = 1 << 20
SERIES_MAX = 20
# Left to `make hostile`: megabytes each, or gRPC is slow to answer them.
LONG_CASES = ("63 MiB", "16 MiB", "endless chunks", "a million", "snappy", "1 GiB", "4 GiB", "endless headers")


class RefusingAccountant:
    """Counts nothing."""

    def __init__(self, make_error: Callable[[], Exception]) -> None:
        self._make_error = make_error

    async def account(self, body: bytes) -> Receipt:
        """Implement `otel_sla.counting.receipt.TracesConsumer`."""
        assert body
        raise self._make_error()


@asynccontextmanager
async def both_servers(accountant: TracesConsumer, in_flight: InFlight) -> AsyncIterator[dict[str, Callable[..., str]]]:
    """Serve both protocols for the time of a test; gives what sends one request by each."""
    settings, probes = HttpServerSettings(endpoint="127.0.0.1:0"), Probes(readiness=Readiness)
    http_server = HttpServer(HttpApp(settings, accountant, in_flight, probes, Refusals()))
    grpc_server = GrpcServer(GrpcServerSettings(endpoint="127.0.0.1:0"), accountant, in_flight, Refusals())
    http_port, grpc_port = await http_server.start(), await grpc_server.start()
    try:
        yield {
            "http": lambda body: http_wire.post(http_port, body),
            "grpc": lambda body: grpc_wire.call(grpc_port, [grpc_wire.message(body)]),
            "grpc raw": lambda message, **headers: grpc_wire.call(grpc_port, [message], **headers),
            "http port": lambda: str(http_port),
            "grpc port": lambda: str(grpc_port),
        }
    finally:
        await http_server.stop(0)
        await grpc_server.stop(0)


@asynccontextmanager
async def stalling(send: dict[str, Callable[..., str]], count: int, size_bytes: int) -> AsyncIterator[list[str]]:
    """Open connections that send most of a body of `size_bytes` over HTTP and then nothing; gives their answers."""
    answers: list[str] = []

    async def stall() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(send["http port"]()))
        try:
            writer.write(http_wire.head(size_bytes) + bytes(size_bytes - 1))
            line = await reader.readline()
            answers.append(line.split(b" ")[1].decode() if line else "closed")
        finally:
            writer.close()

    tasks = [asyncio.create_task(stall()) for _ in range(count)]
    try:
        yield answers
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@contextmanager
def garbage_kept() -> Iterator[None]:
    """What only the garbage collector would find is left in `gc.garbage`."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield
        gc.collect()
    finally:
        gc.set_debug(0)
        gc.enable()


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("make_error", [lambda: DecodeError("x", 0), RequestTooLarge, Overloaded])
def test_a_refused_body_is_freed_at_once(protocol: str, make_error: Callable[[], Exception]) -> None:
    """No cycle of references keeps what a refused request held until the garbage collector runs."""

    async def main() -> None:
        async with both_servers(RefusingAccountant(make_error), InFlight(64 * MIB)) as send:
            await asyncio.to_thread(send[protocol], b"warm")
            with garbage_kept():
                answers = [await asyncio.to_thread(send[protocol], b"refused") for _ in range(2)]
        kept = [found for found in gc.garbage if isinstance(found, Held)]
        gc.garbage.clear()
        assert not {"200", "OK"}.intersection(answers)
        assert kept == []

    run_on("asyncio", main())


def test_slow_bodies_leave_room_for_quick_ones() -> None:
    """Stalling bodies hold no more than half of the limit; the others are served meanwhile, by either protocol."""

    async def main() -> None:
        in_flight = InFlight(8 * MIB, slow_after_s=0.05)
        accountant = FakeAccountant()
        async with both_servers(accountant, in_flight) as send, stalling(send, 6, MIB) as answers:
            await until(lambda: in_flight.slow.size_bytes >= 3 * MIB and len(answers) >= 2)
            assert in_flight.slow.size_bytes <= 4 * MIB
            assert await asyncio.to_thread(send["http"], bytes(2 * MIB)) == "200"
            assert await asyncio.to_thread(send["grpc"], bytes(2 * MIB)) == "OK"
        assert set(answers) <= {"503", "closed"}

    run_on("asyncio", main())


def test_compressed_calls_are_expanded_within_the_limit() -> None:
    """Many calls that expand to megabytes each, at once: no more than fit are expanded, the others come again."""
    n_calls = 12

    async def main() -> None:
        in_flight = InFlight(2 * MIB, room_wait_s=0.05)
        accountant = FakeAccountant()
        accountant.gate.clear()
        body = grpc_wire.message(bodies.gzip(bytes(MIB // 2)), is_compressed=True)
        async with both_servers(accountant, in_flight) as send:
            calls = [
                asyncio.create_task(asyncio.to_thread(send["grpc raw"], body, grpc_encoding="gzip"))
                for _ in range(n_calls)
            ]
            await until(lambda: in_flight.refused_count == n_calls - len(accountant.bodies) > 0)
            held_bytes = in_flight.size_bytes
            accountant.gate.set()
            answers = Counter(await asyncio.gather(*calls))
        assert held_bytes == len(accountant.bodies) * MIB // 2 <= 2 * MIB
        assert answers == {"OK": len(accountant.bodies), "UNAVAILABLE": n_calls - len(accountant.bodies)}

    run_on("asyncio", main())


def test_one_connection_leaves_room_for_others() -> None:
    """One connection with many requests under way holds half of the limit; another is served meanwhile."""

    async def main() -> None:
        in_flight = InFlight(4 * MIB, room_wait_s=0.05)
        accountant = FakeAccountant()
        accountant.gate.clear()
        async with (
            both_servers(accountant, in_flight) as send,
            grpc.aio.insecure_channel(f"127.0.0.1:{send['grpc port']()}") as greedy,
        ):
            calls = [greedy.unary_unary(EXPORT)(bytes(MIB // 2)) for _ in range(8)]
            await until(lambda: in_flight.refused_count == 8 - len(accountant.bodies) > 0)
            assert in_flight.size_bytes == len(accountant.bodies) * MIB // 2 <= 2 * MIB
            n_greedy = len(accountant.bodies)
            small = asyncio.create_task(asyncio.to_thread(send["grpc"], b"small"))
            await until(lambda: len(accountant.bodies) == n_greedy + 1)
            accountant.gate.set()
            assert await small == "OK"
            codes = Counter([(await call.code()).name for call in calls])
        assert codes == {"OK": n_greedy, "UNAVAILABLE": 8 - n_greedy}

    run_on("asyncio", main())


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A real pipeline in a process of its own, with the smallest limits that OTLP recommends."""
    with Target(tmp_path_factory.mktemp("hostile"), processor={"series_max": SERIES_MAX}) as started:
        yield started


def test_hostile_requests_are_answered_rightly(target: Target) -> None:
    """Bombs, lies, wrong protocols and endless nesting: the right answer, bounded memory, warnings only."""
    n_lines = len(target.log)
    problems = []
    for case in every_case():
        if not any(word in case.name for word in LONG_CASES):
            problems += try_case(case, target)
    assert not problems
    assert _are_refusals(target.log[n_lines:])
    target.send_good()


def _are_refusals(lines: list[str]) -> bool:
    """Whether the log warns of refused requests, which it does once a minute for each reason, and of nothing else."""
    return bool(lines) and all(" WARN " in line and " action=requests_refused " in line for line in lines)


def test_strangers_are_turned_away(tmp_path: Path) -> None:
    """No, another CA's or an expired certificate; the right one without a token: no request, bounded memory."""
    problems = []
    with Target(tmp_path, guard=Guard(tmp_path)) as guarded:
        n_lines = len(guarded.log)
        for case in every_certificate_case():
            if not any(word in case.name for word in LONG_CASES):
                problems += try_case(case, guarded)
        assert _are_refusals(guarded.log[n_lines:])
        guarded.send_good()
    assert not problems


def test_the_page_is_attacked(tmp_path: Path) -> None:
    """Path tricks, header bombs, wrong methods, names of markup: the right answer, bounded memory, an empty log."""
    problems = []
    with Target(tmp_path, page=PAGE, processor={"grace": "0s"}) as shown:
        n_lines = len(shown.log)
        for case in every_page_case():
            problems += try_case(case, shown)
        assert shown.log[n_lines:] == []
        found, _ = hostile_names(40)(shown, 0)
        shown.send_good()
        assert not shown.complaints
    assert problems + found == []


def test_broken_requests_are_answered_as_designed(target: Target) -> None:
    """Mutated requests by either protocol, in protobuf and JSON: allowed answers only, and a good one is counted."""
    answers = fuzz_servers.fuzz(target, 1, 300)
    assert answers["grpc", "OK"] and answers["http", "200"] and answers["json", "200"]  # noqa: PT018
    assert target.peak_bytes() < 2 * target.idle_bytes


@pytest.mark.parametrize("name", list(REQUESTS))
def test_a_sender_that_queues_and_reads_nothing_is_bounded(target: Target, name: str) -> None:
    """Megabytes of requests without their answers read: next to no memory, and a good request is counted meanwhile."""
    target.reset_peak()
    idle_bytes = target.rss_bytes()
    sent_bytes = 0
    with ThreadPoolExecutor() as pool:
        senders = [pool.submit(send_unread, target.http_port, REQUESTS[name], is_short=True) for _ in range(4)]
        while not all(sender.done() for sender in senders):
            target.send_good()
        sent_bytes = min(sender.result() for sender in senders)
    assert sent_bytes >= BLOCK_SIZE_BYTES
    assert target.peak_bytes() < idle_bytes + 16 * MIB


def test_endless_distinct_values_are_bounded(target: Target) -> None:
    """More groups than `series_max`: one overflow series takes the rest, each counted, with one warning."""
    problems, _ = distinct_values(SERIES_MAX * 1000)(target, 0)
    assert not problems
    assert target.rss_bytes() < 2 * target.idle_bytes


@pytest.mark.parametrize("name", ["pings", "settings", "calls reset at once", "endless headers"])
def test_a_flood_of_frames_is_survived(target: Target, name: str) -> None:
    """Thousands of frames that ask for nothing: a good request is counted afterwards, memory is bounded."""
    target.reset_peak()
    frame_flood(name, 2000)(target, 0)
    assert target.peak_bytes() < 2 * target.idle_bytes


def test_more_files_may_be_open_than_by_default(target: Target) -> None:
    """The pipeline may hold as many connections as its system allows at all."""
    (line,) = [line for line in Path(f"/proc/{target.pid}/limits").read_text().splitlines() if "open files" in line]
    soft, hard = line.split()[3:5]
    assert soft == hard
