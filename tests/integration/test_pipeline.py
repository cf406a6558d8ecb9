"""The pipeline around its edges: restarts in the middle of a story, late spans, failures while it runs and stops."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from pathlib import Path

import builders
import grpc
import pytest
from ledger_parts import count_rows, make_commit, make_window
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from pipeline_parts import Clock, events_of, make_config, run, running
from sla_parts import make_agreement

from otel_sla.config import Config
from otel_sla.errors import LedgerError
from otel_sla.exporter.backlog import LedgerBacklog
from otel_sla.ledger.agreement_json import agreement_of, terms_of
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Commit, RefusedPoints
from otel_sla.ledger.writer import Ledger
from otel_sla.receiver.settings import HttpServerSettings
from otel_sla.serving.pipeline import Pipeline
from otel_sla.sla.agreement import ExclusionTerms, NoData
from otel_sla.sla.counts import CountRows
from otel_sla.sla.figures_text import minute_text
from otel_sla.sla.series import Series
from otel_sla.sla.uptime import MinuteFigures

MINUTE = 60 * 10**9
START = 1_795_000_020 * 10**9 // MINUTE * MINUTE  # Some minute of 2026-11.
GRACE = 60 * 10**9


def body_of(minute: int, *, failed: int, succeeded: int = 0, service: str = "chat", number: int = 0) -> bytes:
    """One request with spans of the minute `START + minute`; `number` makes equal ones differ."""
    end = START + minute * MINUTE + number
    spans = [
        builders.make_span(end_time_unix_nano=end, attributes={"http.response.status_code": status})
        for status, count in ((500, failed), (200, succeeded))
        for _ in range(count)
    ]
    return builders.make_request(builders.make_resource_spans(spans, {"service.name": service}))


def at(minute: int) -> int:
    """The moment at which the minute `START + minute - 1` has just elapsed."""
    return START + minute * MINUTE + GRACE


def names_of(config: Config) -> list[str]:
    """The events of the story, in their order."""
    return [event.name for event in events_of(config)]


def test_downtime_that_is_open_at_a_restart_is_ended(tmp_path: Path) -> None:
    """Restarted within a minute during an outage, the pipeline publishes its end all the same."""
    config, clock = make_config(tmp_path), Clock(START)

    async def scenario() -> None:
        async with running(config, clock) as (pipeline, send):
            await send(body_of(0, failed=5))
            clock.now = at(1)
            await pipeline.tick()
        async with running(config, clock) as (pipeline, send):
            await pipeline.tick()
            await send(body_of(1, failed=0, succeeded=5))
            clock.now = at(2)
            await pipeline.tick()

    run(scenario)
    assert names_of(config) == ["sla.downtime.started", "sla.downtime.ended"]


def test_minutes_of_a_series_that_nobody_judges_any_more_do_not_stay_open(tmp_path: Path) -> None:
    """Late spans, then a restart with another agreement: the tick ends, and nothing is left to publish."""
    config, clock = make_config(tmp_path), Clock(START)
    renamed = replace(config, agreements=(replace(config.agreements[0], name="other"),))

    async def scenario() -> None:
        async with running(config, clock) as (pipeline, send):
            await send(body_of(0, failed=0, succeeded=5))
            clock.now = at(1)
            await pipeline.tick()
        with closing(Ledger.open(config.ledger.url)) as ledger:
            (series,) = ledger.series()
            rows = ledger.counts(0, 1 << 40)
            ledger.commit(commit_of(rows))
            assert [minute.series_id for minute in ledger.reopened()] == [series.series_id]
        async with running(renamed, clock) as (pipeline, _):
            await asyncio.wait_for(pipeline.tick(), 10)

    run(scenario)
    with closing(LedgerReader.open(config.ledger.url)) as reader:
        assert reader.reopened() == ()


def commit_of(rows: CountRows) -> Commit:
    """The same rows once more."""
    return Commit(new_series=(), rows=rows, fingerprints=())


def last_of(figures: Sequence[MinuteFigures], minute: int) -> MinuteFigures:
    """What was delivered last for the minute `START + minute`."""
    return [found for found in figures if found.epoch_minute == START // MINUTE + minute][-1]


def test_late_spans_are_in_the_months_newest_figures(tmp_path: Path) -> None:
    """Spans that come late and a new minute in one tick: revised and new minute both have the whole month."""
    config, clock = make_config(tmp_path), Clock(START)

    async def scenario() -> None:
        async with running(config, clock) as (pipeline, send):
            backlog = LedgerBacklog(
                "otlp", config.ledger.url, config.agreements, pipeline._writer, first_minutes_max=1440
            )
            await backlog.open()
            delivered: list[MinuteFigures] = []

            async def deliver() -> None:
                while (batch := await backlog.figures(60)) is not None:
                    delivered.extend(batch.figures)
                    await backlog.delivered_figures(batch)

            for minute in range(3):
                await send(body_of(minute, failed=0, succeeded=5))
                clock.now = at(minute + 1)
                await pipeline.tick()
                await deliver()
            await send(body_of(1, failed=50, number=1))
            await send(body_of(3, failed=0, succeeded=5))
            clock.now = at(4)
            await pipeline.tick()
            await deliver()
            await backlog.close()
            assert last_of(delivered, 1).counts == (5, 50, 0)
            assert not last_of(delivered, 1).has_month, "its own figures only"
            newest = last_of(delivered, 3)
            assert newest.so_far.counts == (20, 50, 0)
            assert newest.so_far.down == 1
            assert last_of(delivered, 2).so_far.down == 0, "as it was published then"


def test_the_newest_minute_is_revised_behind_a_newer_one(tmp_path: Path) -> None:
    """Late spans for the newest published minute change no point before a newer one, which has the whole month."""
    config, clock = make_config(tmp_path), Clock(START)

    async def scenario() -> None:
        async with running(config, clock) as (pipeline, send):
            backlog = LedgerBacklog(
                "otlp", config.ledger.url, config.agreements, pipeline._writer, first_minutes_max=1440
            )
            await backlog.open()
            delivered_figures: list[list[tuple[int, int, bool]]] = []
            for failed, minute in ((0, 1), (50, 1), (0, 2)):
                await send(body_of(minute - 1, failed=failed, succeeded=5, number=failed))
                clock.now = at(minute)
                await pipeline.tick()
                delivered_figures.append([])
                while (batch := await backlog.figures(60)) is not None:
                    first = START // MINUTE
                    delivered_figures[-1] += [
                        (f.epoch_minute - first, f.so_far.down, f.has_month) for f in batch.figures
                    ]
                    await backlog.delivered_figures(batch, RefusedPoints(1, first, first, "no", 1))
            await backlog.close()
            with closing(LedgerReader.open(config.ledger.url)) as reader:
                assert reader.refused_points("otlp") == RefusedPoints(3, first, first, "no", 1)
            assert delivered_figures == [[(0, 0, True)], [], [(1, 1, True), (0, 1, False)]]

    run(scenario)


def test_an_unforeseen_error_in_a_commit_ends_the_pipeline(tmp_path: Path) -> None:
    """A defect in the ledger: the sender is refused, nobody waits for ever, and the pipeline says that it failed."""
    config, clock = make_config(tmp_path), Clock(START)

    async def scenario() -> None:
        async with running(config, clock) as (pipeline, send):

            async def broken(_: object) -> None:
                raise MemoryError("no more")

            pipeline.counts.write = broken
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await send(body_of(0, failed=1))
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "no more" in str(await asyncio.wait_for(pipeline.failed(), 5))
            assert pipeline.readiness().reason
        assert pipeline.failure is not None

    run(scenario)


def test_a_judge_that_fails_does_not_keep_the_rest_from_stopping(tmp_path: Path) -> None:
    """A defect in the judge: the pipeline fails with it, and the ledger is closed and free all the same."""
    config, clock = make_config(tmp_path), Clock(START)

    async def scenario() -> None:
        async with running(config, clock) as (pipeline, _):

            def broken(_: object) -> None:
                raise ValueError("not judged")

            pipeline._judge.find = broken  # type: ignore[assignment, method-assign]
        assert "not judged" in str(pipeline.failure)

    run(scenario)
    Ledger.open(config.ledger.url).close()


def test_an_exporter_whose_start_fails_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its backlog is open when something of it fails: the start fails with that, and what was open is closed."""
    closed = []

    class Watched(LedgerBacklog):
        async def open(self) -> None:
            await super().open()
            raise LedgerError("no cursor")

        async def close(self) -> None:
            await super().close()
            closed.append(self)

    monkeypatch.setattr("otel_sla.serving.pipeline.LedgerBacklog", Watched)
    with pytest.raises(LedgerError, match="no cursor"):
        run(Pipeline(make_config(tmp_path)).start)
    assert len(closed) == 1


def test_end_times_that_no_clock_ever_had(tmp_path: Path) -> None:
    """Spans that end at 0, 1, 2^63 or in the year 2554 are rejected by number; the rest of the request counts."""
    config, clock = make_config(tmp_path), Clock(START)
    ends = (0, 1, 1 << 63, (1 << 64) - 1, START + 6 * MINUTE, START)
    spans = [builders.make_span(end_time_unix_nano=end) for end in ends]
    body = builders.make_request(builders.make_resource_spans(spans, {"service.name": "chat"}))

    async def scenario() -> None:
        async with running(config, clock) as (pipeline, send):
            answer = ExportTraceServiceResponse.FromString(await send(body))
            assert answer.partial_success.rejected_spans == 5
            clock.now = at(1)
            await pipeline.tick()

    run(scenario)
    with closing(LedgerReader.open(config.ledger.url)) as reader:
        rows = reader.counts(0, 1 << 40)
        marks = reader.watermarks()
    assert (rows.epoch_minute.tolist(), rows.outcomes.tolist()) == ([START // MINUTE], [[1, 0, 0]])
    assert marks.published_before == START // MINUTE + 1


def test_a_clock_that_is_set_judges_no_minute_early_or_twice(tmp_path: Path) -> None:
    """Set ahead by a week and back, then back by an hour and ahead: each minute is published once, after its end."""
    config, clock, steady = make_config(tmp_path), Clock(START), Clock(0)

    async def scenario() -> None:
        async with running(config, clock, steady=steady) as (pipeline, send):

            async def pass_minute(minute: int) -> None:
                await send(body_of(minute, failed=minute % 2, succeeded=1 - minute % 2))
                clock.now += MINUTE
                steady.now += MINUTE
                await pipeline.tick()

            for minute in range(4):
                await pass_minute(minute)
            for step in (7 * 24 * 60 * MINUTE, -7 * 24 * 60 * MINUTE, -60 * MINUTE):
                clock.now += step
                await pipeline.tick()
            assert pipeline._judging_clock.progress().judged_before == START // MINUTE + 3
            clock.now += 60 * MINUTE
            for minute in range(4, 18):  # Long enough for the step back to the right time to be believed.
                await pass_minute(minute)
            clock.now += 2 * MINUTE
            await pipeline.tick()

    run(scenario)
    assert names_of(config) == ["sla.downtime.started", "sla.downtime.ended"] * 9
    starts = [event.time_unix_nano for event in events_of(config) if event.name == "sla.downtime.started"]
    assert starts == [START + minute * MINUTE for minute in range(1, 18, 2)]


def test_forgetting_keeps_up_with_what_comes_in(tmp_path: Path) -> None:
    """Several thousand fingerprints whose minutes were sealed since: one look at the ledger drops them all."""
    config, clock = make_config(tmp_path), Clock(START)
    old = START // MINUTE - 1440
    with closing(Ledger.open(config.ledger.url)) as ledger:
        ledger.commit(make_commit([], [(old, number) for number in range(5_000)]))

    async def scenario() -> None:
        async with running(config, clock) as (pipeline, _):
            await pipeline.tick()
            assert pipeline._reader is not None
            assert pipeline._reader.fingerprint_minutes() == (old, old)
            clock.now = at(2)
            await pipeline.tick()
            assert pipeline._reader.fingerprint_minutes() is None

    run(scenario)


def test_changed_terms_are_a_version_of_their_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Started again with another limit: the ledger keeps both terms, and the log says that they changed."""
    config, clock = make_config(tmp_path), Clock(START)
    agreement = config.agreements[0]
    stricter = replace(agreement, downtime=replace(agreement.downtime, valid_requests_min=3))

    async def scenario() -> None:
        for agreements in ((agreement,), (agreement,), (stricter,)):
            async with running(replace(config, agreements=agreements), clock):
                pass

    run(scenario)
    with closing(LedgerReader.open(config.ledger.url)) as reader:
        versions = reader.agreement_versions(agreement.name)
    assert [agreement_of(version.terms) for version in versions] == [agreement, stricter]
    logged = [record.getMessage() for record in caplog.records if "changed terms" in record.getMessage()]
    assert len(logged) == 1


def test_an_agreement_that_counted_nothing_is_not_logged_as_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A start that failed has recorded terms; only an agreement that has counts is said to stay in reports."""
    config, clock = make_config(tmp_path), Clock(START)
    caplog.set_level("INFO", logger="otel_sla")

    async def scenario() -> None:
        for name in ("first", "second", "third"):
            agreement = replace(config.agreements[0], name=name)
            async with running(replace(config, agreements=(agreement,)), clock) as (_, send):
                if name == "second":
                    await send(body_of(0, failed=1))

    run(scenario)
    logged = [record.getMessage() for record in caplog.records if getattr(record, "action", "") == "agreement_removed"]
    assert logged == [
        "agreement second is no longer configured: its counts stay in the reports, judged by its last terms (version 1)"
    ]


def test_a_ledger_of_the_version_before_says_from_when_the_new_outcome_rules_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Terms of the first schema in the ledger: a version of its own, logged once with its moment, no other."""
    config, clock = make_config(tmp_path), Clock(START)
    agreement = config.agreements[0]
    later = ("covered_any", "failed", "failed_grpc_status", "counting", "outcome_rules")
    v1 = {key: value for key, value in terms_of(agreement).items() if key not in later}
    with closing(Ledger.open(config.ledger.url)) as ledger:
        ledger.record_agreement(agreement.name, v1 | {"schema": "otel-sla.terms/v1"}, START // MINUTE - 9)

    async def scenario() -> None:
        for _ in range(2):
            async with running(config, clock):
                pass

    run(scenario)
    with closing(LedgerReader.open(config.ledger.url)) as reader:
        versions = reader.agreement_versions(agreement.name)
    assert [agreement_of(version.terms) for version in versions] == [replace(agreement, outcome_rules=1), agreement]
    actions = [getattr(record, "action", "") for record in caplog.records]
    assert (actions.count("outcome_rules_changed"), actions.count("agreement_changed")) == (1, 0)
    (logged,) = [record.getMessage() for record in caplog.records if "outcome rules" in record.getMessage()]
    assert minute_text(START // MINUTE) in logged


@pytest.mark.parametrize(("no_data", "n_logged"), [(NoData.DOWN, 1), (NoData.UP, 0)])
def test_an_agreement_that_comes_back_is_warned_of_before_its_silence_is_judged(
    no_data: NoData, n_logged: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Away for two days under `no_data: down`: the start says whose, since when and how many minutes."""
    config, clock = make_config(tmp_path), Clock(START)
    (agreement,) = config.agreements
    agreement = replace(agreement, downtime=replace(agreement.downtime, no_data=no_data))

    async def scenario() -> None:
        async with running(replace(config, agreements=(agreement,)), clock) as (pipeline, send):
            await send(body_of(0, failed=0, succeeded=5))
            clock.now = at(1)
            await pipeline.tick()
        async with running(replace(config, agreements=(replace(agreement, name="other"),)), clock) as (pipeline, _):
            await pipeline.tick()
            clock.now = at(2881)
            await pipeline.tick()
        for _ in range(2):
            async with running(replace(config, agreements=(agreement,)), clock) as (pipeline, _):
                await pipeline.tick()

    run(scenario)
    logged = [each.getMessage() for each in caplog.records if getattr(each, "action", "") == "agreement_returned"]
    assert len(logged) == n_logged
    for each in logged:
        since = minute_text(START // MINUTE + 1)
        assert f"agreement {agreement.name} is counted for again as it was until {since}" in each
        assert "the silence of the 2,880 minutes since then" in each


def test_a_configured_window_of_a_group_that_never_was_is_logged_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One of the grouping and one of a former grouping that the ledger has are right; a third is logged."""
    windows = tuple(replace(make_window(), group=((key, "chat-1"),)) for key in ("service.name", "host.name", "hast"))
    config = make_config(tmp_path, [make_agreement(exclusions=ExclusionTerms(3, (), windows))])
    with closing(Ledger.open(config.ledger.url)) as ledger:
        former = Series(0, "chat", (("host.name", b"chat-1"),), is_overflow=False)
        ledger.commit(Commit((former,), count_rows([]), ()))

    async def scenario() -> None:
        async with running(config, Clock(START)):
            pass

    run(scenario)
    logged = [record.getMessage() for record in caplog.records if record.action == "exclusion_of_no_series"]  # type: ignore[attr-defined]
    assert len(logged) == 1
    assert "of a group (hast=chat-1)" in logged[0]


def test_stopping_does_not_wait_for_the_judge_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not judged in time is left to the next start, which publishes it; what was counted is durable."""
    config, clock = make_config(tmp_path), Clock(START)

    async def scenario() -> None:
        with monkeypatch.context() as patched:
            patched.setattr("otel_sla.serving.pipeline.JUDGE_S", 0.0)
            async with running(config, clock) as (_, send):
                await send(body_of(0, failed=1, succeeded=0))
                clock.now = at(3)
        assert names_of(config) == []
        async with running(config, clock) as (pipeline, _):
            await pipeline.tick()

    run(scenario)
    assert names_of(config) == ["sla.downtime.started", "sla.downtime.ended"]


def test_a_clean_stop_leaves_everything_in_one_file(tmp_path: Path) -> None:
    """Stopped: the ledger's file alone is the ledger."""
    config, clock = make_config(tmp_path), Clock(START)

    async def scenario() -> None:
        async with running(config, clock) as (_, send):
            await send(body_of(0, failed=1))

    run(scenario)
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith("-wal")] == []
    copy = tmp_path / "copy.db"
    copy.write_bytes((tmp_path / "ledger.db").read_bytes())
    with closing(LedgerReader.open(f"sqlite:///{copy}")) as reader:
        assert reader.counts(0, 1 << 40).counts.sum() == 1


def test_stop_is_safe_before_start_and_twice(tmp_path: Path) -> None:
    """A pipeline that never started, and one that has stopped, can be stopped."""
    config, clock = make_config(tmp_path), Clock(START)

    async def scenario() -> None:
        await Pipeline(config, clock=clock).stop()
        async with running(config, clock) as (pipeline, _):
            await pipeline.stop()

    run(scenario)


def test_a_ledger_that_a_wrong_clock_has_sealed_is_not_ready_until_it_is_restored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Started once with a clock that is ten years ahead: with the right one it warns, is not ready, and rejects; a
    backup from before takes spans again.
    """
    config, clock = make_config(tmp_path), Clock(START)
    backup = tmp_path / "backup.db"

    async def start(*, why_not_ready: str, n_rejected: int) -> None:
        async with running(config, clock) as (pipeline, send):
            assert why_not_ready in pipeline.readiness().reason
            assert bool(pipeline.readiness().reason) == bool(why_not_ready)
            answer = ExportTraceServiceResponse.FromString(await send(body_of(1, failed=0, succeeded=5)))
            assert answer.partial_success.rejected_spans == n_rejected
            await pipeline.tick()

    async def scenario() -> None:
        await start(why_not_ready="", n_rejected=0)
        backup.write_bytes((tmp_path / "ledger.db").read_bytes())
        clock.now += 3650 * 24 * 60 * MINUTE
        async with running(config, clock) as (pipeline, _):
            await pipeline.tick()
        clock.now = START
        await start(why_not_ready="the ledger has sealed minutes", n_rejected=5)
        backup.replace(tmp_path / "ledger.db")
        await start(why_not_ready="", n_rejected=0)

    run(scenario)
    (logged,) = [record for record in caplog.records if getattr(record, "action", "") == "ledger_ahead"]
    for part in (" s ahead of the clock", str(tmp_path / "ledger.db"), "set it right", "restore a backup"):
        assert part in logged.getMessage()


def test_connections_that_are_refused_are_logged_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """There is room for one connection: of all others one warning at once, one at the end, and a metric."""
    http = HttpServerSettings(endpoint="127.0.0.1:0", connections_max=1)
    config = make_config(tmp_path)
    config = replace(config, receiver=replace(config.receiver, http=http))

    async def scenario() -> None:
        async with running(config, Clock(START)) as (pipeline, _), AsyncExitStack() as opened:
            for number in range(16):
                reader, writer = await asyncio.open_connection("127.0.0.1", pipeline.http_port)
                opened.callback(writer.close)
                writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
                status = b"503 Service Unavailable" if number else b"200 OK"
                assert await reader.readline() == b"HTTP/1.1 %s\r\n" % status
        assert pipeline.metrics.totals()["refused_connections"] == 15

    caplog.clear()
    run(scenario)
    logged = [vars(record) for record in caplog.records if vars(record).get("action") == "connections_refused"]
    assert [each["connections"] for each in logged] == [1, 14]
