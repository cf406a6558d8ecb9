"""Each configuration of `collector-config/`, by the real Collector: valid, and run from end to end."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import beside
import naive
import pytest
from beside import Backend
from pipeline_parts import make_config, report_of, running

# (requests, failed among them) of consecutive minutes: an outage of two minutes, then a failure within the limit.
TRAFFIC = ((20, 0), (20, 20), (20, 10), (20, 1), (20, 0))
NOT_A_COLLECTORS = {"builder", "otel-sla", "prometheus"}
COLLECTORS = sorted(path.stem for path in beside.CONFIGS.glob("*.yaml") if path.stem not in NOT_A_COLLECTORS)


@pytest.fixture
def backend() -> Iterator[Backend]:
    """In the place of the user's."""
    with Backend.listening() as listening:
        yield listening


@pytest.mark.collector
@pytest.mark.parametrize("name", COLLECTORS)
def test_config_is_valid_as_it_is(collector_binary: Path, tmp_path: Path, name: str) -> None:
    """The Collector's own `validate` has nothing to say about a configuration, without one variable set."""
    command = [str(collector_binary), "validate", "--config", str(beside.CONFIGS / f"{name}.yaml")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env={})
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


async def tell_story(stack: beside.Beside) -> None:
    """Send TRAFFIC through the Collector and have it judged once it is counted."""
    await stack.send(*(beside.body_of(stack.first_minute + n, *row) for n, row in enumerate(TRAFFIC)))
    await stack.until_counted(sum(requests for requests, _ in TRAFFIC))
    await stack.pass_minutes(len(TRAFFIC) + beside.GRACE_MINUTES)


def assert_downtime(stack: beside.Beside) -> None:
    """The report has the outage of TRAFFIC, and no request twice."""
    (series,) = stack.report()["series"]
    assert series["group"] == {"service.name": "chat-1"}
    counted = {"valid": 100, "failed": 31, "invalid": 0, "spared": 0, "sampled": 0, "unthresholded": 100, "spans": 100}
    assert series["requests"] == counted
    assert [period["minutes"] for period in series["downtime_periods"]] == [2]


@pytest.mark.collector
@pytest.mark.parametrize("name", ["agent", "gateway"])
def test_traces_and_figures_reach_the_backend(
    collector_binary: Path, tmp_path: Path, backend: Backend, name: str
) -> None:
    """The backend has every span as before, and an outage as gauges of its minutes and as events."""
    environment = {"BACKEND_ENDPOINT": backend.endpoint}

    async def scenario() -> None:
        async with beside.beside(collector_binary, name, tmp_path, environment) as stack:
            await tell_story(stack)
            last = stack.first_minute + len(TRAFFIC) - 1
            await beside.until(lambda: last in backend.points("sla.monthly_uptime"), "gauges in the backend")
            await beside.until(lambda: len(backend.events()) >= 2, "events in the backend")
            await beside.until(lambda: len(backend.spans()) >= 200, "spans in the backend")
            assert_downtime(stack)
            error_rates = backend.points("sla.error_rate")
            assert [error_rates[stack.first_minute + n].as_double for n in range(5)] == [0, 1, 0.5, 0.05, 0]
            assert backend.points("sla.downtime")[last].as_double == 120
            moments = {event.event_name: event.time_unix_nano // beside.MINUTE_NANOS for event in backend.events()}
            first = stack.first_minute
            assert moments == {"sla.downtime.started": first + 1, "sla.downtime.ended": first + 3}
            assert len(backend.spans()) == 200, "server and client spans, each once"

    beside.run(scenario)


@pytest.mark.collector
def test_a_sampler_takes_nothing_from_the_figures(collector_binary: Path, tmp_path: Path, backend: Backend) -> None:
    """The sampler leaves failed traces alone and drops nearly all others; otel-sla counts before it, and exactly."""
    environment = {"BACKEND_ENDPOINT": backend.endpoint, "DECISION_WAIT": "1s"}

    async def scenario() -> None:
        async with beside.beside(collector_binary, "tail-sampled", tmp_path, environment) as stack:
            await stack.send(*(beside.body_of(stack.first_minute, 100, 1) for _ in range(4)))
            await stack.until_counted(400)
            await stack.pass_minutes(1 + beside.GRACE_MINUTES)
            await beside.until(lambda: bool(backend.points("sla.error_rate")), "gauges in the backend")
            assert backend.points("sla.error_rate")[stack.first_minute].as_double == 0.01
            (series,) = stack.report()["series"]
            assert (series["requests"]["valid"], series["requests"]["failed"]) == (400, 4)
            assert series["downtime_periods"] == []
            await beside.until(lambda: len(backend.spans()) >= 8, "the failed traces in the backend")
            sampled = backend.spans()
            failed = {span.trace_id for span in sampled if span.status.code == span.status.STATUS_CODE_ERROR}
            assert len(failed) == 4
            assert len(failed) / len({span.trace_id for span in sampled}) > 0.05, "down, by what the sampler left"

    beside.run(scenario)


@pytest.mark.collector
def test_ten_minutes_without_otel_sla_cost_nothing(collector_binary: Path, tmp_path: Path, backend: Backend) -> None:
    """Stopped for ten minutes of load and started again, it gives the figures of one that never stopped."""

    async def scenario() -> None:
        async with beside.beside(
            collector_binary, "gateway", tmp_path, {"BACKEND_ENDPOINT": backend.endpoint}
        ) as stack:
            (tmp_path / "twin").mkdir()
            never_stopped = make_config(tmp_path / "twin", stack.config().agreements)
            async with running(never_stopped, stack.clock) as (pipeline, send):
                for number in range(14):
                    if number == 2:
                        await stack.stop()
                    if number == 12:
                        await stack.start()
                    body = beside.body_of(stack.first_minute + number, 20, number % 4)
                    await stack.send(body)
                    await send(body)
                    await stack.pass_minutes(1)
                    await pipeline.tick()
                await stack.until_counted(14 * 20)
                await stack.pass_minutes(beside.GRACE_MINUTES)
                await pipeline.tick()
                month = f"{naive.EPOCH + naive.timedelta(minutes=stack.first_minute):%Y-%m}"
                with_outage, without = (
                    report_of(config, month, stack.clock.now)["agreements"]
                    for config in (stack.config(), never_stopped)
                )
                assert with_outage == without
                assert with_outage[0]["series"][0]["requests"]["valid"] == 14 * 20

    beside.run(scenario)


def replay(spans: Path, ledger: Path) -> None:
    """Count a file with the command, named twice."""
    command = [sys.executable, "-m", "otel_sla", "replay", str(spans), str(spans)]
    command += ["--config", str(beside.CONFIGS / "otel-sla.yaml")]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "LEDGER_FILE": str(ledger)})


@pytest.mark.collector
def test_recorded_spans_are_counted_by_replay(collector_binary: Path, tmp_path: Path) -> None:
    """What the Collector wrote into its file is counted by `otel-sla replay`, server spans only and each once."""
    spans, ledger = tmp_path / "spans.proto", tmp_path / "ledger.db"

    async def scenario() -> None:
        stack = beside.Beside(
            collector_binary, beside.CONFIGS / "spans-to-files.yaml", tmp_path, {"SPANS_FILE": str(spans)}
        )
        with stack.collector:
            await stack.send(*(beside.body_of(stack.first_minute + n, *row) for n, row in enumerate(TRAFFIC)))
        await asyncio.to_thread(replay, spans, ledger)
        stack.clock.now += (len(TRAFFIC) + beside.GRACE_MINUTES) * beside.MINUTE_NANOS
        assert_downtime(stack)

    beside.run(scenario)
