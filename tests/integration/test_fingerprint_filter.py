"""Which messages a pipeline knows to be new without a look-up, and what a former process has counted."""

from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import builders
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from pipeline_parts import Clock, make_config, run, running

from otel_sla.config import Config
from otel_sla.counting.repeats.bloom_filter import new_filter
from otel_sla.ledger.reader import LedgerReader
from otel_sla.serving.pipeline import Pipeline

MINUTE = 60 * 10**9
START = 1_795_000_020 * 10**9 // MINUTE * MINUTE  # Some minute of 2026-11.
MINUTES_BACK = range(7, -1, -1)

Send = Callable[[bytes], Awaitable[bytes]]


def body_of(minutes_back: int, number: int) -> bytes:
    """One request of one span."""
    spans = [builders.make_span(end_time_unix_nano=START - minutes_back * MINUTE + number)]
    return builders.make_request(builders.make_resource_spans(spans, {"service.name": "chat"}))


async def look_ups_of(pipeline: Pipeline, send: Send, number: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Send a request for each minute; gives how many of them the ledger was asked for."""
    asked = []
    reader = pipeline.counts.reader
    ask = reader.is_counted
    with monkeypatch.context() as patched:
        patched.setattr(reader, "is_counted", lambda *what, **how: asked.append(what) or ask(*what, **how))
        for minutes_back in MINUTES_BACK:
            await send(body_of(minutes_back, number))
    return len(asked)


def test_what_a_former_process_counted_is_asked_of_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of minutes that only this process has counted new messages need no look-up; a former one's count once."""
    config, clock = make_config(tmp_path), Clock(START)

    async def scenario() -> None:
        async with running(config, clock) as (pipeline, send):
            assert await look_ups_of(pipeline, send, 1, monkeypatch) == 0
        async with running(config, clock) as (pipeline, send):
            for number in (1, 2):
                assert await look_ups_of(pipeline, send, number, monkeypatch) == len(MINUTES_BACK)
                assert pipeline.metrics.duplicate_spans == len(MINUTES_BACK)
            assert pipeline.metrics.accepted_spans == 2 * len(MINUTES_BACK)

    run(scenario)


HOUR = 60 * MINUTE
YEARS = 40 * 365 * 24 * HOUR


def spans_at(number: int, *ends: int) -> ResourceSpans:
    """One ResourceSpans message of a span that ends at each of these times; each number gives other bytes."""
    spans = [builders.make_span(end_time_unix_nano=end, span_id=number.to_bytes(8)) for end in ends]
    return builders.make_resource_spans(spans, {"service.name": "chat"})


def state_of(config: Config) -> tuple[int, list[int]]:
    """The requests that were counted, and the minutes of all fingerprints, from the first one on."""
    with closing(LedgerReader.open(config.ledger.url)) as reader:
        assert not reader.has_fingerprint_log(), "a stop moves it"
        first, last = reader.fingerprint_minutes() or (0, -1)
        minutes = [m - START // MINUTE for m in (first, last)]
        n_fingerprints = sum(len(piece) // 16 for piece in reader.fingerprints_of(first, last + 1))
        return int(reader.counts(0, 1 << 40).counts.sum()), [*minutes, n_fingerprints]


async def look_ups_of_new(pipeline: Pipeline, send: Send, end: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Send twenty new messages of one minute; gives how many the ledger was asked for."""
    asked = []
    reader = pipeline.counts.reader
    ask = reader.is_counted
    with monkeypatch.context() as patched:
        patched.setattr(reader, "is_counted", lambda *what, **how: asked.append(what) or ask(*what, **how))
        for number in range(20):
            await send(builders.make_request(spans_at(1000 + number, end)))
    return len(asked)


def test_a_sender_whose_clock_is_ahead_takes_no_filter_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside good ones, in messages of its own and in one with good spans: others are known without a look-up."""
    config, clock = make_config(tmp_path), Clock(START)

    async def scenario() -> None:
        async with running(config, clock) as (pipeline, send):
            for number in range(10):
                clock.now += MINUTE
                own, mixed = spans_at(number, clock.now + HOUR), spans_at(number, clock.now, clock.now + HOUR)
                await send(builders.make_request(spans_at(number, clock.now), own, mixed))
            clock.now += MINUTE
            assert await look_ups_of_new(pipeline, send, clock.now, monkeypatch) == 0
            clock.now += HOUR - 5 * MINUTE  # Minutes that the mixed ones had.
            assert await look_ups_of_new(pipeline, send, clock.now, monkeypatch) == 0
            await send(builders.make_request(spans_at(9, START + 10 * MINUTE, START + 10 * MINUTE + HOUR)))
        assert state_of(config) == (60, [1, 70, 60]), "nothing is kept of messages of which nothing counted"

    run(scenario)


@pytest.mark.parametrize("is_read", [True, False])
def test_what_a_former_process_counted_far_ahead_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_read: bool
) -> None:
    """A message with a good span and one of 40 years ahead, then a restart: a repeat is known, others need no look-up,
    but for where too many are ahead to be read.
    """
    config, clock = make_config(tmp_path), Clock(START)
    mixed = builders.make_request(spans_at(1, START, START + YEARS), spans_at(2, START, START + HOUR))

    async def scenario() -> None:
        async with running(config, clock) as (_, send):
            await send(mixed)
        clock.now += 20 * MINUTE
        async with running(config, clock) as (pipeline, send):
            counts, window = pipeline.counts, pipeline._judging_clock.window()
            counts.filter = new_filter(counts.reader, window, ahead_fingerprints_max=10 * is_read)
            await send(mixed)
            assert pipeline.metrics.duplicate_spans == 4
            clock.now += 6 * MINUTE  # Of all minutes that were accepted at the start the ledger is asked.
            assert await look_ups_of_new(pipeline, send, clock.now, monkeypatch) == 20 * (not is_read)
            clock.now += 34 * MINUTE
            await send(mixed)
            assert pipeline.metrics.duplicate_spans == 8
        assert state_of(config) == (22, [26, YEARS // MINUTE, 22])

    run(scenario)


def test_a_message_that_was_rejected_counts_once_its_time_has_come(tmp_path: Path) -> None:
    """Beside one that counts, one is rejected as from the future; sent again ten minutes later it counts, and once."""
    config, clock = make_config(tmp_path), Clock(START)
    early = builders.make_request(spans_at(1, START), spans_at(2, START + 6 * MINUTE, START + 7 * MINUTE))

    async def scenario() -> None:
        async with running(config, clock) as (pipeline, send):
            for minutes, n_future, n_duplicates in ((0, 2, 0), (0, 4, 1), (10, 4, 2), (0, 4, 5)):
                clock.now += minutes * MINUTE
                await send(early)
                metrics = pipeline.metrics
                assert (metrics.future_spans, metrics.duplicate_spans) == (n_future, n_duplicates)
        assert state_of(config) == (3, [0, 7, 2])

    run(scenario)
