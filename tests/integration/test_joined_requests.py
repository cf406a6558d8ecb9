"""Small requests that wait for the same commit are counted as one: each is answered as if it had come alone."""

import asyncio
from contextlib import closing
from pathlib import Path

import builders
import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from pipeline_parts import Clock, make_config, run, running

from otel_sla.config import Config
from otel_sla.counting.receipt import Receipt
from otel_sla.errors import DecodeError, LedgerUnavailable
from otel_sla.ledger.reader import LedgerReader

MINUTE = 60 * 10**9
NOW = builders.START_UNIX_NANO


def body(number: int, end_time_unix_nano: int = NOW) -> bytes:
    """A request of one server span; each number gives another."""
    return builders.make_request_of(
        builders.make_span(end_time_unix_nano=end_time_unix_nano, span_id=number.to_bytes(8))
    )


def counted(config: Config) -> int:
    """All requests in the ledger."""
    with closing(LedgerReader.open(config.ledger.url)) as reader:
        return int(reader.counts(0, 1 << 40).counts.sum())


def test_requests_at_once_are_decoded_together_and_each_counts_once(tmp_path: Path) -> None:
    """Forty requests, ten of them repeats of others: fewer than forty are decoded, thirty are counted."""
    config = make_config(tmp_path)

    async def scenario() -> None:
        async with running(config, Clock(NOW)) as (pipeline, _):
            account, joined = pipeline.accountant.account, []
            count = pipeline.counts.count_joined
            pipeline.counts.count_joined = lambda bodies, join: joined.append(bodies) or count(bodies, join)  # type: ignore[func-returns-value,method-assign]
            bodies = [body(number % 30) for number in range(40)]
            assert await asyncio.gather(*map(account, bodies)) == [Receipt()] * 40
            assert sum(map(len, joined)) == 40 * len(bodies[0])
            assert pipeline.metrics.accepted_spans == 40
            assert pipeline.metrics.duplicate_spans == 10
            # And later, when the first ones are in the ledger.
            assert await asyncio.gather(*map(account, bodies)) == [Receipt()] * 40
        assert counted(config) == 30

    run(scenario)


def test_one_that_is_rejected_is_told_and_the_others_are_not(tmp_path: Path) -> None:
    """A span without an end among good ones: its sender alone hears of it, all good ones count."""
    config = make_config(tmp_path)

    async def scenario() -> None:
        async with running(config, Clock(NOW)) as (pipeline, _):
            bodies = [*(body(number) for number in range(5)), body(9, end_time_unix_nano=0)]
            *good, bad = await asyncio.gather(*map(pipeline.accountant.account, bodies))
            assert good == [Receipt()] * 5
            assert bad.rejected_spans == 1
            assert pipeline.metrics.malformed_spans == 1
        assert counted(config) == 5

    run(scenario)


def test_one_that_is_no_request_does_not_spoil_the_others(tmp_path: Path) -> None:
    """Broken within, whole from outside: its sender is refused, the others are counted."""
    config = make_config(tmp_path)
    broken = bytes([0x0A, 2, 0x12, 9])

    async def scenario() -> None:
        async with running(config, Clock(NOW)) as (pipeline, _):
            bodies = [body(1), broken, body(2)]
            found = await asyncio.gather(*map(pipeline.accountant.account, bodies), return_exceptions=True)
            assert found[0] == found[2] == Receipt()
            assert isinstance(found[1], DecodeError)
        assert counted(config) == 2

    run(scenario)


def test_a_mistake_of_ours_has_an_answer_for_each(tmp_path: Path) -> None:
    """An error while many are added: all are told not to repeat, none waits for ever, and the next are counted."""
    config = make_config(tmp_path)

    async def scenario() -> None:
        async with running(config, Clock(NOW)) as (pipeline, _):
            account, ring = pipeline.accountant.account, pipeline.counts.counter.ring
            add = ring.add
            ring.add = None  # type: ignore[assignment,method-assign]  # Something that should be there is not.
            found = await asyncio.gather(*(account(body(number)) for number in range(5)), return_exceptions=True)
            assert [type(error) for error in found] == [TypeError] * 5
            assert pipeline.metrics.failed_spans == 5
            ring.add = add  # type: ignore[method-assign]
            assert await asyncio.gather(*(account(body(number)) for number in range(10, 15))) == [Receipt()] * 5
            assert pipeline.metrics.accepted_spans == 5
        assert counted(config) == 5

    run(scenario)


def test_over_the_wire_at_once(tmp_path: Path) -> None:
    """A hundred calls of one connection: all accepted, all counted."""
    config = make_config(tmp_path)

    async def scenario() -> None:
        async with running(config, Clock(NOW)) as (_, send):
            answers = await asyncio.gather(*(send(body(number)) for number in range(100)))
            assert not any(
                ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans for answer in answers
            )
        assert counted(config) == 100

    run(scenario)


def test_a_ledger_that_fails_refuses_all_that_wait(tmp_path: Path) -> None:
    """Those that came while the commit ran that fails are refused too, and so is who comes later."""

    async def scenario() -> None:
        async with running(make_config(tmp_path), Clock(NOW)) as (pipeline, send):
            account, began, gathered = pipeline.accountant.account, asyncio.Event(), asyncio.Event()

            async def broken(_: object) -> None:
                began.set()
                await gathered.wait()
                raise MemoryError("no more")

            pipeline.counts.write = broken
            first = asyncio.create_task(account(body(1)))
            await began.wait()
            later = [asyncio.create_task(account(body(number))) for number in range(2, 5)]
            await asyncio.sleep(0)
            # The pipeline's first tick commits too; if it came first, all four wait for that.
            assert len(pipeline.accountant._waiting) >= 3
            gathered.set()
            found = await asyncio.gather(first, *later, account(body(9)), return_exceptions=True)
            assert [type(error) for error in found] == [LedgerUnavailable] * 5
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await send(body(10))
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE

    run(scenario)
