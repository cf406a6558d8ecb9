"""Requests of very many messages, a ledger that stalls, one that cannot be read: told, and nothing counted twice."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import builders
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span
from pipeline_parts import Clock, make_config, run, running
from receiver_parts import until

from otel_sla.config import Config
from otel_sla.counting.accountant import Accountant
from otel_sla.counting.receipt import LARGE_SIZE_BYTES
from otel_sla.counting.received import CountingLimits, ReceivedCounts
from otel_sla.errors import LedgerError, Overloaded
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Commit
from otel_sla.serving.pipeline import Pipeline
from otel_sla.spans.columns import SpanColumns

MINUTE = 60 * 10**9
NOW = builders.START_UNIX_NANO
FAR = 2**64 - 1


def piece(number: int, end_time_unix_nano: int = NOW) -> ResourceSpans:
    """One server span by itself; each number gives other bytes."""
    span = builders.make_span(end_time_unix_nano=end_time_unix_nano, span_id=number.to_bytes(8))
    return builders.make_resource_spans([span])


def counted(config: Config) -> int:
    """All requests in the ledger."""
    with closing(LedgerReader.open(config.ledger.url)) as reader:
        return int(reader.counts(0, 1 << 40).counts.sum())


async def first_tick(pipeline: Pipeline) -> None:
    """Let the pipeline's own pass, which commits too; it is before this one or between both."""
    for _ in range(2):
        await pipeline.tick()


def test_many_messages_of_one_request_are_each_looked_up(tmp_path: Path) -> None:
    """5,000 messages, sent twice at once and once later, each with a new one besides: each counts once."""
    config, clock = make_config(tmp_path), Clock(NOW + MINUTE)
    pieces = [piece(number) for number in range(5_000)]

    async def scenario() -> None:
        async with running(config, clock) as (pipeline, send):
            small = builders.make_request(pieces[4_999])
            first, second = (builders.make_request(*pieces, piece(10_000 + number)) for number in range(2))
            await asyncio.gather(send(first), send(second), *(send(small) for _ in range(20)))
            await send(builders.make_request(*reversed(pieces)))
            assert pipeline.metrics.duplicate_spans == 5_000 + 20 + 5_000
        assert counted(config) == 5_002

    run(scenario)


def test_a_large_request_lets_others_be_counted_between(tmp_path: Path) -> None:
    """Small requests are answered while a large one is classified; what both hold counts once, whoever is first."""
    config, clock = make_config(tmp_path), Clock(NOW + MINUTE)
    spans = [builders.make_span({"http.response.status_code": f"{n}"}, end_time_unix_nano=NOW) for n in range(20_000)]
    shared = [piece(number) for number in range(10)]
    large = builders.make_request(builders.make_resource_spans(spans), *shared)

    async def scenario() -> None:
        async with running(config, clock) as (pipeline, _):
            ended: list[int] = []
            pipeline.counts.limits = CountingLimits(spans_at_once=1, turn_s=0.0)
            pipeline.accountant.pause = lambda: asyncio.sleep(0)  # Else all of them share one commit.

            async def account(body: bytes, number: int) -> None:
                await pipeline.accountant.account(body)
                ended.append(number)

            small = [builders.make_request(each) for each in shared]
            await asyncio.gather(account(large, 10), *(account(body, number) for number, body in enumerate(small)))
            assert ended[-1] == 10, "the large one came first and was answered last"
            clock.now += MINUTE
            await account(large, 11)
        assert counted(config) == 20_010

    run(scenario)


def test_more_messages_than_the_limit_are_refused_for_good(tmp_path: Path) -> None:
    """A request that would be looked up for seconds is answered RESOURCE_EXHAUSTED, and not counted."""
    config = make_config(tmp_path)
    body = builders.make_request(piece(1)) * (CountingLimits().resources_max + 1)

    async def scenario() -> None:
        async with running(config, Clock(NOW + MINUTE)) as (_, send):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await send(body)
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "65537 ResourceSpans, the limit is 65536" in str(refused.value.details())
            await send(body[: -len(body) // (CountingLimits().resources_max + 1)])
        assert counted(config) == 1

    run(scenario)


def test_an_end_time_that_no_clock_ever_had_keeps_no_fingerprint_for_it(tmp_path: Path) -> None:
    """Beside a span of the year 2554 a repeat is known all the same, and is forgotten when its own minute is."""
    config, clock = make_config(tmp_path), Clock(NOW + MINUTE)
    spans = [builders.make_span(end_time_unix_nano=end) for end in (NOW, FAR)]
    body = builders.make_request_of(*spans)

    async def scenario() -> None:
        async with running(config, clock) as (pipeline, send):
            for _ in range(2):
                await send(body)
            assert pipeline.metrics.future_spans == 2
            assert pipeline.metrics.duplicate_spans == 2
        with closing(LedgerReader.open(config.ledger.url)) as reader:
            assert reader.fingerprint_minutes() == (NOW // MINUTE, NOW // MINUTE)
        assert counted(config) == 1

    run(scenario)


def test_the_health_over_grpc_is_red_when_readiness_is(tmp_path: Path) -> None:
    """Serving at once after the start; not while the ledger stalls, nor after it failed. Who watches is told each."""

    async def scenario() -> None:
        serving = health_pb2.HealthCheckResponse
        async with (
            running(make_config(tmp_path), Clock(NOW + MINUTE)) as (pipeline, send),
            grpc.aio.insecure_channel(f"127.0.0.1:{pipeline.grpc_port}") as channel,
            asyncio.timeout(60),
        ):
            stub, question = health_pb2_grpc.HealthStub(channel), health_pb2.HealthCheckRequest()
            assert (await stub.Check(question)).status == serving.SERVING
            watching = stub.Watch(question)
            assert (await watching.read()).status == serving.SERVING
            pipeline.accountant.answer_within_s = 0.05
            with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(grpc.aio.AioRpcError):
                    await send(builders.make_request(piece(1)))
                assert (await watching.read()).status == serving.NOT_SERVING
                other.execute("ROLLBACK")
            assert (await watching.read()).status == serving.SERVING
            pipeline._not_ready_reason = "the ledger failed"
            assert (await watching.read()).status == serving.NOT_SERVING

    run(scenario)


def test_a_ledger_that_cannot_be_read_ends_the_pipeline(tmp_path: Path) -> None:
    """A failed look-up is no answer to one request only: the pipeline says so and is not ready any more."""

    async def scenario() -> None:
        async with running(make_config(tmp_path), Clock(NOW + MINUTE)) as (_, send):
            await send(builders.make_request(piece(1)))
        async with running(make_config(tmp_path), Clock(NOW + MINUTE)) as (pipeline, send):
            assert pipeline.readiness().reason == ""
            assert pipeline._reader is not None
            pipeline._reader.close()
            for number in (1, 2):  # Of that minute only the ledger knows.
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await send(builders.make_request(piece(number)))
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert isinstance(await pipeline.failed(), LedgerError)
            assert pipeline.readiness().reason == "the ledger failed"

    run(scenario)


def test_a_ledger_that_stalls_is_told_and_nothing_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While another program holds the file senders are refused; what they repeat is counted once."""
    config = make_config(tmp_path)

    async def scenario() -> None:
        async with running(config, Clock(NOW + MINUTE)) as (pipeline, send):
            await first_tick(pipeline)
            pipeline.accountant.answer_within_s = 0.05
            body, new = builders.make_request(piece(1)), builders.make_request(piece(2))
            with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                for attempt in (body, body, new):
                    with pytest.raises(grpc.aio.AioRpcError) as refused:
                        await send(attempt)
                    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
                    assert "the ledger took more than 0.05 s" in str(refused.value.details())
                assert pipeline.readiness().reason == "the ledger does not finish a write"
                other.execute("ROLLBACK")
            await pipeline.accountant.settle()
            assert counted(config) == 1, "what came first was taken, the new one was refused before it was counted"
            pipeline.accountant.answer_within_s = 20.0
            for attempt in (body, new, new):
                await send(attempt)
            assert pipeline.readiness().reason == ""
        assert counted(config) == 2

    run(scenario)
    told = [record.action for record in caplog.records if "stalled" in getattr(record, "action", "")]
    assert told == ["ledger_stalled"]


class HeldWrite:
    """A ledger whose next commit waits until the test lets it go on."""

    def __init__(self, counts: ReceivedCounts) -> None:
        self.began, self.may_end = asyncio.Event(), asyncio.Event()
        self._write, counts.write = counts.write, self
        self.commits: list[Commit] = []

    async def __call__(self, commit: Commit) -> int:
        """Commit, later."""
        self.commits.append(commit)
        self.began.set()
        await self.may_end.wait()
        return await self._write(commit)


def make_large(number: int, *, is_bare: bool = False) -> bytes:
    """A request of 20,000 spans, whose columns are larger than itself: 1.9 MB, or 260 KB if the spans are bare."""
    span = builders.make_span({"http.response.status_code": 200}, end_time_unix_nano=NOW + number)
    if is_bare:
        span = Span(kind=Span.SPAN_KIND_SERVER, end_time_unix_nano=NOW + number)
    spans = [span] * 20_000
    return builders.make_request(builders.make_resource_spans(spans), piece(number))


@pytest.mark.parametrize("is_bare", [False, True], ids=["large", "small"])
def test_requests_with_large_columns_take_turns(
    *, is_bare: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one is counted and lets others have their turn, no other one's columns are made, whatever its size."""
    config = make_config(tmp_path)
    large = [make_large(number, is_bare=is_bare) for number in range(3)]
    assert [len(body) < LARGE_SIZE_BYTES for body in large] == [is_bare] * 3
    is_counting: list[bool] = []

    async def scenario() -> None:
        async with running(config, Clock(NOW + MINUTE)) as (pipeline, _):
            counts, decode = pipeline.counts, pipeline.counts.counter.decode
            counts.limits = CountingLimits(turn_s=0.0)
            counts.counter.classifier.chunk_spans = 1_000

            def decode_alone(body: bytes, **limits: int) -> SpanColumns:
                is_counting.append(counts._counted_meanwhile is not None)
                return decode(body, **limits)

            monkeypatch.setattr(counts.counter, "decode", decode_alone)
            await asyncio.gather(*map(pipeline.accountant.account, large))
        assert counted(config) == 3 * 20_001

    run(scenario)
    assert is_counting[-3:] == [False] * 3


def test_large_requests_share_a_commit(tmp_path: Path) -> None:
    """While a disk is slow, large requests are counted, and then made durable together."""
    config = make_config(tmp_path)
    large = [make_large(number) for number in range(3)]

    async def scenario() -> None:
        async with running(config, Clock(NOW + MINUTE)) as (pipeline, _):
            counting = pipeline.accountant
            await first_tick(pipeline)
            ledger = HeldWrite(pipeline.counts)
            calls = [asyncio.create_task(counting.account(builders.make_request(piece(9))))]
            await ledger.began.wait()
            calls += [asyncio.create_task(counting.account(body)) for body in large]
            await until(lambda: len(pipeline.counts.counter.fingerprints) == 3 * 2)
            ledger.may_end.set()
            await asyncio.gather(*calls)
            assert [len(commit.fingerprints) for commit in ledger.commits] == [1, 3 * 2]
        assert counted(config) == 3 * 20_001 + 1

    run(scenario)


async def refused_at_once(counting: Accountant, bodies: Sequence[bytes]) -> None:
    """Send all at once; each is refused before anything else happens."""
    async with asyncio.timeout(20):
        found = await asyncio.gather(*map(counting.account, bodies), return_exceptions=True)
    assert [type(error) for error in found] == [Overloaded] * len(bodies)


def test_while_a_ledger_stalls_what_waits_does_not_grow(tmp_path: Path) -> None:
    """New requests, small and large, alone and many, are refused at once; repeated later each counts once."""
    config = make_config(tmp_path)
    pieces = [piece(number) for number in range(3_100)]
    small = [builders.make_request(each) for each in pieces[:100]]
    bodies = [*small, builders.make_request(*pieces[100:]), builders.make_request(*pieces[:50], *pieces[200:])]

    async def scenario() -> None:
        async with running(config, Clock(NOW + MINUTE)) as (pipeline, _):
            counting = pipeline.accountant
            await first_tick(pipeline)
            ledger = HeldWrite(pipeline.counts)
            counting.answer_within_s = 0.05
            with pytest.raises(Overloaded):
                await counting.account(small[0])
            counting.answer_within_s = 3600.0
            await refused_at_once(counting, small[:1])
            await refused_at_once(counting, bodies)
            assert len(pipeline.counts.uncommitted) == 1
            assert not pipeline.counts.counter.fingerprints
            assert not pipeline.counts.counter.ring.n_gathered
            assert pipeline.metrics.refused_spans == 1 + 1 + 100 + 3_000 + 2_950
            ledger.may_end.set()
            await counting.settle()
            await asyncio.gather(*map(counting.account, bodies))
        assert counted(config) == 3_100

    run(scenario)


@pytest.mark.parametrize("limit", ["uncommitted_max", "uncommitted_rows_max"])
def test_what_waits_for_the_ledger_is_bounded(limit: str, tmp_path: Path) -> None:
    """Behind a commit that is slow, but not for long enough to be stalled: from the limit on, requests are refused."""
    config = make_config(tmp_path)
    bodies = [builders.make_request(piece(number, NOW - number * MINUTE)) for number in range(20)]

    async def scenario() -> None:
        async with running(config, Clock(NOW + MINUTE)) as (pipeline, _):
            counting = pipeline.accountant
            await first_tick(pipeline)
            ledger = HeldWrite(pipeline.counts)
            pipeline.counts.limits = CountingLimits(**{limit: 10})
            counting.waiting_size_bytes_max = 0  # Else they wait for the commit's end.
            taken = [asyncio.create_task(counting.account(builders.make_request(piece(100))))]
            await ledger.began.wait()
            large = builders.make_request(*(piece(number, NOW - number * MINUTE) for number in range(10)))
            taken.append(asyncio.create_task(counting.account_alone(large)))
            await asyncio.sleep(0)
            await refused_at_once(counting, [bodies[15]])
            await refused_at_once(counting, bodies[10:])
            assert len(pipeline.counts.uncommitted) == 11
            assert pipeline.counts.counter.ring.n_gathered == 10
            assert pipeline.metrics.refused_spans == 11
            ledger.may_end.set()
            await asyncio.gather(*taken)
            await asyncio.gather(*map(counting.account, bodies))
        assert counted(config) == 21

    run(scenario)
