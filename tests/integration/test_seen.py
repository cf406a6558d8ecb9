"""What a running pipeline shows of itself: what waits, how far it is, its disk, and clocks that differ."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from builders import make_request, make_resource_spans, make_span
from capture import backend
from pipeline_parts import Clock, make_config, run, running
from sla_parts import make_agreement

from otel_sla.exporter.backlog import LedgerBacklog
from otel_sla.exporter.settings import DebugSettings, ExporterSettings
from otel_sla.receiver.responses import Readiness
from otel_sla.serving.pipeline import Pipeline
from otel_sla.sla.uptime import MinuteFigures

MINUTE = 60 * 10**9
HOUR = 60 * MINUTE
START = 29_701_440 * MINUTE  # 2026-06-22T00:00:00Z.
QUIET = (DebugSettings(name="debug", interval_s=0.001),)


def body_at(end_time_unix_nano: int, status: int = 200, service: str = "chat") -> bytes:
    """A request of one server span."""
    span = make_span({"http.response.status_code": status}, end_time_unix_nano=end_time_unix_nano)
    return make_request(make_resource_spans([span], {"service.name": service}))


def shown(pipeline: Pipeline, name: str, **labels: str) -> float | None:
    """One sample of the pipeline's own metrics; None: there is none."""
    for line in pipeline.metrics.prometheus_text().splitlines():
        found = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
        if found and all(f'{key}="{value}"' in (found[1] or "") for key, value in labels.items()):
            return float(found[2])
    return None


async def until(is_so: Callable[[], bool]) -> None:
    """Let the pipeline's own tasks have their turns."""
    async with asyncio.timeout(30):
        while not is_so():  # noqa: ASYNC110 - what is waited for has no event of its own.
            await asyncio.sleep(0)


def test_what_waits_for_a_backend_that_is_away(tmp_path: Path) -> None:
    """Two events and three minutes wait, the oldest grow older, attempts fail by reason; back again, nothing waits."""
    with backend("http") as gone:
        settings = gone.settings(interval_s=0.001, timeout_s=2)
    clock = Clock(START)

    async def scenario() -> None:
        async with running(make_config(tmp_path, exporters=(settings,)), clock) as (pipeline, send):

            def of(name: str, data_type: str, **labels: str) -> float | None:
                return shown(pipeline, name, exporter=settings.name, data_type=data_type, **labels)

            for minute, status in ((0, 200), (1, 500), (2, 200)):
                await send(body_at(START + minute * MINUTE, status))
            clock.now = START + 4 * MINUTE
            await pipeline.tick()
            await until(lambda: of("otelcol_exporter_queue_size", "logs") == 2)
            assert of("otelcol_exporter_queue_size", "metrics") == 3
            assert of("sla_exporter_oldest_age_seconds", "logs") == 180
            assert of("sla_exporter_oldest_age_seconds", "metrics") == 180
            clock.now += MINUTE
            assert of("sla_exporter_oldest_age_seconds", "metrics") == 240
            failed = "sla_exporter_failed_attempts_total"
            await until(lambda: of(failed, "logs", reason="backend") == of(failed, "metrics", reason="backend") == 1)
            assert of(failed, "logs", reason="sender") == 0
            assert of("sla_exporter_last_success_timestamp_seconds", "logs") is None
            with backend("http", port=int(gone.address.rpartition(":")[2])):
                await until(lambda: of("otelcol_exporter_queue_size", "metrics") == 0)
                await until(lambda: of("otelcol_exporter_queue_size", "logs") == 0)
                assert of("sla_exporter_oldest_age_seconds", "logs") == 0
                assert of("sla_exporter_last_success_timestamp_seconds", "logs") is not None

    run(scenario)


def test_how_far_judging_is_and_what_the_disk_holds(tmp_path: Path) -> None:
    """Unjudged minutes are the judge's lag, none are none; files and disk have their sizes, agreements their newest."""
    clock = Clock(START)

    async def scenario() -> None:
        async with running(make_config(tmp_path, exporters=QUIET), clock) as (pipeline, send):
            assert shown(pipeline, "sla_agreement_last_span_timestamp_seconds") is None
            assert shown(pipeline, "sla_judge_lag_seconds") is None, "nothing was ever judged"
            await send(body_at(START))
            await send(body_at(START - 7 * MINUTE))
            newest = shown(pipeline, "sla_agreement_last_span_timestamp_seconds", sla_agreement_name="default")
            assert newest == START // 10**9
            lag = shown(pipeline, "sla_judge_lag_seconds")
            assert lag is not None
            clock.now += HOUR
            assert shown(pipeline, "sla_judge_lag_seconds") == lag + 3600, "since the first minute that was counted"
            clock.now -= HOUR
            clock.now += 2 * MINUTE
            await pipeline.tick()
            assert shown(pipeline, "sla_judge_lag_seconds") == 0
            clock.now += 30 * MINUTE
            assert shown(pipeline, "sla_judge_lag_seconds") == 1800
            assert shown(pipeline, "sla_pipeline_ready") == 1
            assert shown(pipeline, "sla_ledger_size_bytes") == (tmp_path / "ledger.db").stat().st_size
            assert shown(pipeline, "sla_ledger_log_size_bytes") == (tmp_path / "ledger.db-wal").stat().st_size
            free, whole = (shown(pipeline, f"sla_ledger_disk_{which}_bytes") for which in ("free", "size"))
            assert free is not None
            assert whole is not None
            assert 0 < free <= whole
        async with running(make_config(tmp_path, exporters=QUIET), Clock(START + MINUTE)) as (pipeline, _):
            assert shown(pipeline, "sla_agreement_last_span_timestamp_seconds") == START // 10**9, "as before the start"
        async with running(make_config(tmp_path, exporters=QUIET), Clock(START + 6 * 24 * HOUR)) as (pipeline, _):
            assert shown(pipeline, "sla_agreement_last_span_timestamp_seconds") == START // 10**9, "days before, too"

    run(scenario)


@pytest.mark.parametrize(
    ("off", "lead_s", "says"),
    [
        (HOUR, 3600, "the spans that come end 60 min ahead of this machine's clock"),
        (-HOUR, -3600, "the newest of the spans that come ended 60 min ago"),
        (-48 * HOUR, -48 * 3600, "the newest of the spans that come ended 2880 min ago"),
        (4 * MINUTE, 240, ""),
        (-10 * MINUTE, -600, ""),
    ],
)
def test_a_clock_that_is_wrong_by_an_hour_is_seen(tmp_path: Path, off: int, lead_s: float, says: str) -> None:
    """Senders an hour ahead of the clock or behind it: /readyz says so, and says it no more once the clock is right."""
    wall, steady = Clock(START), Clock(7)

    async def scenario() -> None:
        async with running(make_config(tmp_path, exporters=QUIET), wall, steady=steady) as (pipeline, send):
            assert shown(pipeline, "sla_receiver_clock_lead_seconds") is None
            await send(body_at(START + off))
            assert shown(pipeline, "sla_receiver_clock_lead_seconds") == lead_s
            assert pipeline.readiness() == Readiness("", pipeline._times.why_clocks_differ())
            assert pipeline.readiness().notice.startswith(says)
            wall.now += 5 * MINUTE
            steady.now += 5 * MINUTE
            assert shown(pipeline, "sla_receiver_clock_lead_seconds") == lead_s, "time alone changes nothing"
            wall.now += off
            assert not pipeline._times.why_clocks_differ()
            wall.now -= off
            for each in (wall, steady):
                each.now += 6 * MINUTE
            assert shown(pipeline, "sla_receiver_clock_lead_seconds") is None, "nothing came lately"

    run(scenario)


def test_a_sender_with_a_wrong_clock_is_not_ours(tmp_path: Path) -> None:
    """One sender is hours ahead, the others are not: what is counted tells the clock, and what is rejected does not."""

    async def scenario() -> None:
        async with running(make_config(tmp_path, exporters=QUIET), Clock(START)) as (pipeline, send):
            await send(body_at(START + 5 * HOUR))
            await send(body_at(START - MINUTE))
            await send(body_at(START + 6 * HOUR))
            await send(body_at(START - 9 * HOUR))
            assert shown(pipeline, "sla_receiver_clock_lead_seconds") == -60
            assert shown(pipeline, "sla_receiver_future_spans_total") == 2
            assert pipeline.readiness() == Readiness()

    run(scenario)


def test_a_ledger_that_is_judged_ahead_of_the_clock_is_seen(tmp_path: Path) -> None:
    """Started with a clock two hours behind where it was judged: taken, not judged, and told while that lasts."""

    async def scenario() -> None:
        clock = Clock(START)
        async with running(make_config(tmp_path, exporters=QUIET), clock) as (pipeline, send):
            await send(body_at(START))
            clock.now += 2 * MINUTE
            await pipeline.tick()
        clock.now -= 2 * HOUR
        async with running(make_config(tmp_path, exporters=QUIET), clock) as (pipeline, _):
            assert shown(pipeline, "sla_judge_lag_seconds") == -7200
            assert pipeline.readiness() == Readiness(
                "", "the ledger has judged minutes that are 7140 s ahead of the clock"
            )
            clock.now += 2 * HOUR
            assert pipeline.readiness() == Readiness()

    run(scenario)


def test_a_silent_series_is_shown_until_it_was_silent_for_a_month(tmp_path: Path) -> None:
    """With `no_data: up`: its last span on 30 June; shown as without data through July, and not in August, nor
    after a restart then. A new month's figures of others are as ever.
    """
    end_of_june = int(datetime(2026, 6, 30, 23, 50, tzinfo=UTC).timestamp()) * 10**9
    clock = Clock(end_of_june)
    agreement = replace(make_agreement(), name="chat")
    exporters: tuple[ExporterSettings, ...] = QUIET
    config = make_config(tmp_path, (agreement,), exporters=exporters)

    async def figures_of(pipeline: Pipeline, name: str) -> list[MinuteFigures]:
        backlog = LedgerBacklog(name, config.ledger.url, config.agreements, pipeline._writer, first_minutes_max=5)
        await backlog.open()
        found: list[MinuteFigures] = []
        while (batch := await backlog.figures(60)) is not None:
            found.extend(batch.figures)
            await backlog.delivered_figures(batch)
        await backlog.close()
        return found

    async def scenario() -> None:
        async with running(config, clock) as (pipeline, send):
            await send(body_at(clock.now))
            for day in (1, 31, 32):
                clock.now = end_of_june + (day * 1440 + 12) * MINUTE
                await send(body_at(clock.now - MINUTE, service="other"))
                clock.now += 2 * MINUTE
                await pipeline.tick()
                found = await figures_of(pipeline, f"new-{day}")
                silent = [each for each in found if each.series.group_text == {"service.name": "chat"}]
                assert {each.series.group_text["service.name"] for each in found} >= {"other"}
                is_july = day < 32
                assert bool(silent) == is_july, day
                assert all(each.so_far.counts == (0, 0, 0) and each.monthly_uptime == 1 for each in silent)
        async with running(config, clock) as (pipeline, _):
            found = await figures_of(pipeline, "restarted")
            assert {each.series.group_text["service.name"] for each in found} == {"other"}

    run(scenario)
