"""Several processes that receive and one that counts: the same figures, whichever is asked and whoever is killed."""

import asyncio
import contextlib
import errno
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import builders
import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from pipeline_parts import EXPORT, Clock, make_config, run, running

from otel_sla.config import Config
from otel_sla.errors import DecodeError, LedgerUnavailable, ListenError, Overloaded, RequestTooLarge
from otel_sla.ledger.reader import LedgerReader
from otel_sla.receiver.settings import BearerSettings, GrpcServerSettings, HttpServerSettings, ReceiverSettings
from otel_sla.receiver.sockets import reserve_sockets
from otel_sla.receiver.workers import pool as pool_module
from otel_sla.receiver.workers.messages import CountingFailed, FramedSocket, FrameKind, decode_error, encode_error
from otel_sla.receiver.workers.pool import WorkerPool, share_mib
from otel_sla.serving.pipeline import Pipeline

MINUTE = 60 * 10**9
NOW = builders.START_UNIX_NANO
TOKEN = "open sesame"  # noqa: S105 - of nothing.


def body(number: int, end_time_unix_nano: int = NOW) -> bytes:
    """A request of one server span; each number gives another."""
    span = builders.make_span(end_time_unix_nano=end_time_unix_nano, span_id=number.to_bytes(8))
    return builders.make_request_of(span)


def counted(config: Config) -> int:
    """All requests in the ledger."""
    with closing(LedgerReader.open(config.ledger.url)) as reader:
        return int(reader.counts(0, 1 << 40).counts.sum())


@asynccontextmanager
async def two_workers(folder: Path, **grpc_settings: object) -> AsyncIterator[tuple[Pipeline, WorkerPool, Config]]:
    """A pipeline with two workers, on free ports."""
    receiver = ReceiverSettings(
        grpc=GrpcServerSettings(endpoint="127.0.0.1:0", **grpc_settings),  # type: ignore[arg-type]
        http=HttpServerSettings(endpoint="127.0.0.1:0"),
        processes=2,
    )
    config = replace(make_config(folder), receiver=receiver)
    pipeline = Pipeline(config, clock=Clock(NOW), tick_s=3600)
    await pipeline.start()
    assert pipeline._front is not None
    pool = pipeline._front.servers
    assert isinstance(pool, WorkerPool)
    try:
        yield pipeline, pool, config
    finally:
        await pipeline.stop()


@asynccontextmanager
async def channels(port: int | None, count: int) -> AsyncIterator[list[grpc.aio.Channel]]:
    """As many connections, each its own, so that the system spreads them over the workers."""
    async with contextlib.AsyncExitStack() as stack:
        options = (("grpc.use_local_subchannel_pool", 1),)
        yield [
            await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options))
            for _ in range(count)
        ]


async def get(port: int | None, path: str) -> str:
    """What HTTP answers."""
    async with httpx.AsyncClient() as client:
        return (await client.get(f"http://127.0.0.1:{port}{path}", timeout=20)).text


async def post(port: int | None, content: bytes) -> int:
    """The status of a request over HTTP."""
    async with httpx.AsyncClient() as client:
        headers = {"Content-Type": "application/x-protobuf"}
        answer = await client.post(f"http://127.0.0.1:{port}/v1/traces", content=content, headers=headers, timeout=20)
        return answer.status_code


async def ready_says(port: int | None, reason: str) -> None:
    """Ask until the worker that answers knows."""
    async with asyncio.timeout(20):
        while await get(port, "/readyz") != f"{reason}\n":
            pass


def test_what_comes_to_either_worker_is_counted_once(tmp_path: Path) -> None:
    """Sixteen connections send the same twenty requests over gRPC, and HTTP sends some of them again: twenty count."""

    async def scenario() -> None:
        async with two_workers(tmp_path) as (pipeline, pool, config):
            async with channels(pipeline.grpc_port, 16) as opened:
                calls = [channel.unary_unary(EXPORT) for channel in opened]
                await asyncio.gather(*(call(body(number), timeout=20) for call in calls for number in range(20)))
                # A rejected span and a broken request: judged by the process that counts, answered by the worker.
                answer = ExportTraceServiceResponse.FromString(
                    await calls[0](body(1, end_time_unix_nano=0), timeout=20)
                )
                assert answer.partial_success.rejected_spans == 1
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await calls[1](bytes([0x0A, 2, 0x12, 9]), timeout=20)
                assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert [await post(pipeline.http_port, body(number)) for number in range(3)] == [200] * 3
            assert await post(pipeline.http_port, b"\x0a\x09") == 400
            assert counted(config) == 20
            assert pipeline.metrics.duplicate_spans == 15 * 20 + 3
            # Both were there: the system spreads sixteen connections over two with all but one in 32,768.
            assert len(pool.workers) == 2
            metrics = await get(pipeline.http_port, "/metrics")
            assert 'otelcol_receiver_accepted_spans_total{receiver="otlp"} 323' in metrics

    run(scenario)


def test_large_and_compressed_requests_arrive_whole(tmp_path: Path) -> None:
    """Several frames' worth of bytes, at once with small ones: every span is counted."""

    async def scenario() -> None:
        async with two_workers(tmp_path) as (pipeline, _, config):
            async with channels(pipeline.grpc_port, 4) as opened:
                large = [
                    builders.realistic_request(3_000, seed, start_unix_nano=NOW, duration_nano=1) for seed in range(3)
                ]
                await asyncio.gather(
                    *(
                        opened[at].unary_unary(EXPORT)(content, timeout=20, compression=grpc.Compression.Gzip)
                        for at, content in enumerate(large)
                    ),
                    *(opened[3].unary_unary(EXPORT)(body(number), timeout=20) for number in range(50)),
                )
            assert counted(config) == 3 * 3_000 + 50

    run(scenario)


def test_a_worker_that_is_killed_is_started_anew(tmp_path: Path) -> None:
    """SIGKILL of either worker: what was acknowledged is counted, the port stays, the next request is served."""

    async def scenario() -> None:
        async with two_workers(tmp_path) as (pipeline, pool, config):
            sent = 0
            for number in (0, 1):
                async with channels(pipeline.grpc_port, 8) as opened:
                    for channel in opened:
                        await channel.unary_unary(EXPORT)(body(sent), timeout=20)
                        sent += 1
                killed = pool.workers[number]
                assert killed.process is not None
                os.kill(killed.process.pid, signal.SIGKILL)
                await killed.connection.lost
                await _anew(pool, number, killed)
            async with channels(pipeline.grpc_port, 8) as opened:
                for channel in opened:
                    await channel.unary_unary(EXPORT)(body(sent), timeout=20)
                    sent += 1
            assert counted(config) == sent == 24
            # What the killed ones had published stays.
            assert pool.grpc_answers["OK"] <= 24

    run(scenario)


def test_a_worker_that_cannot_be_started_anew_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that does not serve in time, then no memory for one: both are logged and gone, and the next serves."""
    make = pool_module.make_shared_memory
    started: list[int] = []
    pools: list[WorkerPool] = []
    third = asyncio.Event()

    def make_shared_memory(size_bytes: int) -> int | None:
        started.append(size_bytes)
        pools[0].start_s_max = 0 if len(started) == 1 else 30
        if len(started) == 2:
            raise OSError(errno.ENOMEM, "no memory")
        if len(started) == 3:
            third.set()
        return make(size_bytes)

    async def scenario() -> None:
        async with two_workers(tmp_path) as (pipeline, pool, config):
            pool.restart_delay_s = 0
            pools.append(pool)
            monkeypatch.setattr(pool_module, "make_shared_memory", make_shared_memory)
            first = pool.workers[0]
            assert first.process is not None
            os.kill(first.process.pid, signal.SIGKILL)
            async with asyncio.timeout(30):
                await third.wait()
                assert await pool.workers[0].ready == ""
            async with channels(pipeline.grpc_port, 8) as opened:
                for number, channel in enumerate(opened):
                    await channel.unary_unary(EXPORT)(body(number), timeout=20)
            assert counted(config) == 8

    run(scenario)
    logged = [record.getMessage() for record in caplog.records if record.action == "worker_failed"]
    assert [text.partition(";")[0] for text in logged] == [
        "worker process 0: it does not serve after 0 s",
        "worker process 0: it cannot be started: [Errno 12] no memory",
    ]


async def _anew(pool: WorkerPool, number: int, killed: object) -> None:
    """Wait until another serves in its place."""
    changed = asyncio.Event()
    start = pool._start_one

    async def started(of: int) -> str:
        reason = await start(of)
        changed.set()
        return reason

    pool._start_one = started  # type: ignore[method-assign]
    if pool.workers[number] is killed or not pool.workers[number].ready.done():
        await asyncio.wait_for(changed.wait(), 30)
    pool._start_one = start  # type: ignore[method-assign]


def test_readiness_and_health_are_the_pipelines(tmp_path: Path) -> None:
    """Each worker says what the process that counts says of itself."""

    async def scenario() -> None:
        async with two_workers(tmp_path) as (pipeline, _, _config):
            assert await get(pipeline.http_port, "/healthz") == "ok\n"
            await ready_says(pipeline.http_port, "ready")
            pipeline._times.why_clocks_differ = lambda: "the clock is wrong"  # type: ignore[method-assign]
            await ready_says(pipeline.http_port, "ready, but the clock is wrong")
            async with channels(pipeline.grpc_port, 1) as (channel,):
                watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=20)
                while (await watching.read()).status != health_pb2.HealthCheckResponse.SERVING:
                    pass
                pipeline._not_ready_reason = "the ledger failed"
                assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            await ready_says(pipeline.http_port, "the ledger failed")

    run(scenario)


def test_a_failed_ledger_refuses_and_a_stop_answers(tmp_path: Path) -> None:
    """Errors reach the sender as they do with one process."""

    async def scenario() -> None:
        async with two_workers(tmp_path) as (pipeline, _, _config):
            pipeline.accountant.fail(LedgerUnavailable("gone"))
            async with channels(pipeline.grpc_port, 1) as (channel,):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await channel.unary_unary(EXPORT)(body(1), timeout=20)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert await post(pipeline.http_port, body(1)) == 503

    run(scenario)


def test_what_workers_refuse_is_logged_once_for_all(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Requests that either worker refuses: one warning for each reason by the process that counts, one at the end."""

    async def scenario() -> None:
        async with two_workers(tmp_path, auth=BearerSettings(tokens=(TOKEN,))) as (pipeline, _, _config):
            async with channels(pipeline.grpc_port, 8) as opened:
                for channel in opened:
                    with pytest.raises(grpc.aio.AioRpcError):
                        await channel.unary_unary(EXPORT)(body(1), timeout=20)
            for _ in range(8):
                assert await post(pipeline.http_port, b"no protobuf") == 400

    caplog.clear()
    run(scenario)
    logged = [vars(record) for record in caplog.records if vars(record).get("action") == "requests_refused"]
    numbers = [(each["protocol"], each["reason"], each["requests"]) for each in logged]
    assert numbers[:2] == [("grpc", "UNAUTHENTICATED", 1), ("http", "400", 1)]
    assert sorted(numbers[2:]) == [("grpc", "UNAUTHENTICATED", 7), ("http", "400", 7)]
    assert all(each["user_agent"] for each in logged)


@pytest.mark.parametrize("processes", [1, 2])
def test_connections_that_are_refused_are_logged_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, processes: int
) -> None:
    """Each process has room for one connection: of all others one warning at once, one at the end, and a metric."""
    http = HttpServerSettings(endpoint="127.0.0.1:0", connections_max=1)
    config = make_config(tmp_path)
    config = replace(config, receiver=replace(config.receiver, http=http, processes=processes))

    async def scenario() -> tuple[int, int]:
        answers = []
        async with running(config, Clock(NOW)) as (pipeline, _), contextlib.AsyncExitStack() as opened:
            for _ in range(16):
                reader, writer = await asyncio.open_connection("127.0.0.1", pipeline.http_port)
                opened.callback(writer.close)
                writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
                answers.append(await asyncio.wait_for(reader.readline(), 20))
        return answers.count(b"HTTP/1.1 503 Service Unavailable\r\n"), pipeline.metrics.totals()["refused_connections"]

    caplog.clear()
    refused, counted = asyncio.run(scenario())
    assert 16 - processes <= refused == counted
    logged = [vars(record) for record in caplog.records if vars(record).get("action") == "connections_refused"]
    assert [each["connections"] for each in logged] == [1, refused - 1]


def test_workers_check_credentials(tmp_path: Path) -> None:
    """Settings reach the workers: without the token nothing is taken."""

    async def scenario() -> None:
        async with two_workers(tmp_path, auth=BearerSettings(tokens=(TOKEN,))) as (pipeline, _, config):
            async with channels(pipeline.grpc_port, 4) as opened:
                for channel in opened:
                    with pytest.raises(grpc.aio.AioRpcError) as refused:
                        await channel.unary_unary(EXPORT)(body(1), timeout=20)
                    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
                metadata = (("authorization", f"Bearer {TOKEN}"),)
                await opened[0].unary_unary(EXPORT)(body(1), timeout=20, metadata=metadata)
            assert counted(config) == 1

    run(scenario)


def test_a_port_in_use_ends_the_start(tmp_path: Path) -> None:
    """The ports are reserved before a worker starts, and no second pipeline gets them, with workers or without."""

    async def scenario() -> None:
        async with two_workers(tmp_path) as (pipeline, _, config):
            taken = replace(config.receiver, grpc=GrpcServerSettings(endpoint=f"127.0.0.1:{pipeline.grpc_port}"))
            other = tmp_path / "other"
            other.mkdir()
            for processes in (1, 2):
                second = replace(make_config(other), receiver=replace(taken, processes=processes))
                with pytest.raises(ListenError, match="in use"):
                    await Pipeline(second, clock=Clock(NOW)).start()
            with pytest.raises(ListenError, match="in use"):
                await reserve_sockets(f"127.0.0.1:{pipeline.http_port}", "HTTP")

    run(scenario)


def test_errors_pass_between_processes_as_they_are() -> None:
    """Each error that has an answer of its own arrives as itself; all others as one of ours."""
    for error in (Overloaded("a"), RequestTooLarge("b"), LedgerUnavailable("c"), DecodeError("cut off", 7)):
        passed = decode_error(encode_error(error))
        assert (type(passed), str(passed)) == (type(error), str(error))
    assert isinstance(decode_error(encode_error(ZeroDivisionError("d"))), CountingFailed)


def test_frames_are_whole_however_they_are_cut() -> None:
    """Every cut of three frames in two gives the three."""

    async def scenario() -> None:
        frames = [(FrameKind.BODY, 7, b"x" * 40), (FrameKind.STOP, 0, b""), (FrameKind.TALLY, 1, b"{}")]
        wire = b"".join(
            len(payload).to_bytes(4, "little") + bytes([kind]) + number.to_bytes(4, "little") + payload
            for kind, number, payload in frames
        )
        for cut in range(len(wire) + 1):
            found: list[tuple[FrameKind, int, bytes]] = []
            connection = FramedSocket(
                lambda kind, number, payload, found=found: found.append((kind, number, bytes(payload)))
            )  # type: ignore[misc]
            connection.data_received(wire[:cut])
            connection.data_received(wire[cut:])
            assert found == frames, cut

    run(scenario)


def test_the_memory_limit_is_shared() -> None:
    """Each worker has its part; one request of the largest size has room in any."""
    settings = ReceiverSettings(processes=4, memory_limit_mib=512)
    assert share_mib(settings) == 128
    assert share_mib(replace(settings, memory_limit_mib=100)) == 64
    assert share_mib(replace(settings, memory_limit_mib=32)) == 32
