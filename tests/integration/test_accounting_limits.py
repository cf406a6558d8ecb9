"""Requests of very many messages, a ledger that stalls, one that cannot be read: told, and nothing counted twice."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import builders
import grpc
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from pipeline_parts import Clock, make_config, run, running

from otel_sla import accountant
from otel_sla.accountant import RESOURCES_MAX
from otel_sla.config import Config
from otel_sla.errors import LedgerError
from otel_sla.ledger.reader import LedgerReader

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


def test_a_large_request_lets_others_be_counted_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small requests are answered while a large one is classified; what both hold counts once, whoever is first."""
    monkeypatch.setattr(accountant, "_SPANS_AT_ONCE", 1)
    monkeypatch.setattr(accountant, "_TURN_S", 0.0)
    config, clock = make_config(tmp_path), Clock(NOW + MINUTE)
    spans = [builders.make_span({"http.response.status_code": f"{n}"}, end_time_unix_nano=NOW) for n in range(20_000)]
    shared = [piece(number) for number in range(10)]
    large = builders.make_request(builders.make_resource_spans(spans), *shared)

    async def scenario() -> None:
        async with running(config, clock) as (pipeline, _):
            ended: list[int] = []
            pipeline.accountant.commits._pause = lambda: asyncio.sleep(0)  # Else all of them share one commit.

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
    body = builders.make_request(piece(1)) * (RESOURCES_MAX + 1)

    async def scenario() -> None:
        async with running(config, Clock(NOW + MINUTE)) as (_, send):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await send(body)
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "65537 ResourceSpans, the limit is 65536" in str(refused.value.details())
            await send(body[: -len(body) // (RESOURCES_MAX + 1)])
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


def test_a_ledger_that_cannot_be_read_ends_the_pipeline(tmp_path: Path) -> None:
    """A failed look-up is no answer to one request only: the pipeline says so and is not ready any more."""

    async def scenario() -> None:
        async with running(make_config(tmp_path), Clock(NOW + MINUTE)) as (_, send):
            await send(builders.make_request(piece(1)))
        async with running(make_config(tmp_path), Clock(NOW + MINUTE)) as (pipeline, send):
            assert pipeline._why_not_ready() == ""
            assert pipeline._reader is not None
            pipeline._reader.close()
            for number in (1, 2):  # Of that minute only the ledger knows.
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await send(builders.make_request(piece(number)))
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert isinstance(await pipeline.failed(), LedgerError)
            assert pipeline._why_not_ready() == "the ledger failed"

    run(scenario)


def test_a_ledger_that_stalls_is_told_and_nothing_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While another program holds the file senders are told to come back; what they sent is counted once."""
    config = make_config(tmp_path)

    async def scenario() -> None:
        async with running(config, Clock(NOW + MINUTE)) as (pipeline, send):
            pipeline.accountant.commits._answer_within_s = 0.05
            body = builders.make_request(piece(1))
            with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                for attempt in (body, body, builders.make_request(piece(2))):
                    with pytest.raises(grpc.aio.AioRpcError) as refused:
                        await send(attempt)
                    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
                    assert "the ledger took more than 0.05 s" in str(refused.value.details())
                assert pipeline._why_not_ready() == "the ledger does not finish a write"
                other.execute("ROLLBACK")
            await pipeline.accountant.commits.settle()
            pipeline.accountant.commits._answer_within_s = 20.0
            await send(body)
            assert pipeline._why_not_ready() == ""
        assert counted(config) == 2

    run(scenario)
    told = [record.action for record in caplog.records if "stalled" in getattr(record, "action", "")]
    assert told == ["ledger_stalled"]
