"""A pipeline that knows without a look-up what a former process has counted."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import builders
import pytest
from pipeline_parts import Clock, make_config, run, running

from otel_sla import filter_loading
from otel_sla.pipeline import Pipeline

MINUTE = 60 * 10**9
START = 1_795_000_020 * 10**9 // MINUTE * MINUTE  # Some minute of 2026-11.
MINUTES_BACK = range(0, 100, 7)  # Several blocks.

Send = Callable[[bytes], Awaitable[bytes]]


def body_of(minutes_back: int, number: int) -> bytes:
    """One request of one span."""
    spans = [builders.make_span(end_time_unix_nano=START - minutes_back * MINUTE + number)]
    return builders.make_request(builders.make_resource_spans(spans, {"service.name": "chat"}))


async def look_ups_of(pipeline: Pipeline, send: Send, number: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Send a request for each minute; gives how many of them the ledger was asked for."""
    asked = []
    reader = pipeline.accountant._reader
    ask = reader.is_counted
    with monkeypatch.context() as patched:
        patched.setattr(reader, "is_counted", lambda *what, **how: asked.append(what) or ask(*what, **how))
        for minutes_back in MINUTES_BACK:
            await send(body_of(minutes_back, number))
    return len(asked)


def test_what_a_former_process_counted_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its messages are not counted again, the ledger says so; of new ones for the same minutes it is not asked."""
    monkeypatch.setattr(filter_loading, "_LEDGER_SIZE_BYTES_MIN", 0)
    config, clock = make_config(tmp_path), Clock(START)

    async def scenario() -> None:
        async with running(config, clock) as (pipeline, send):
            assert await look_ups_of(pipeline, send, 1, monkeypatch) == 0
        async with running(config, clock) as (pipeline, send):
            assert pipeline.filter_loading is not None
            await pipeline.filter_loading.finish()
            assert await look_ups_of(pipeline, send, 1, monkeypatch) == len(MINUTES_BACK)
            assert pipeline.metrics.duplicate_spans == len(MINUTES_BACK)
            assert await look_ups_of(pipeline, send, 2, monkeypatch) == 0
            assert pipeline.metrics.accepted_spans == 2 * len(MINUTES_BACK)

    run(scenario)


def test_where_nothing_is_loaded_the_ledger_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small ledger is not loaded, nor one whose reading was ended."""
    config, clock = make_config(tmp_path), Clock(START)

    async def scenario() -> None:
        async with running(config, clock) as (pipeline, send):
            await look_ups_of(pipeline, send, 1, monkeypatch)
        async with running(config, clock) as (pipeline, send):
            assert pipeline.filter_loading is not None
            await pipeline.filter_loading.finish()
            assert await look_ups_of(pipeline, send, 2, monkeypatch) == len(MINUTES_BACK)
        monkeypatch.setattr(filter_loading, "_LEDGER_SIZE_BYTES_MIN", 0)
        monkeypatch.setattr(filter_loading, "_read", lambda _, reader: reader.give_up() or reader.watermarks())
        async with running(config, clock) as (pipeline, send):
            assert await look_ups_of(pipeline, send, 3, monkeypatch) == len(MINUTES_BACK)

    run(scenario)
