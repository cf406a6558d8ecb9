"""Clauses that only hold between the stages: recorded exclusions, lateness, elapsed minutes, repetition, counting."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from builders import START_UNIX_NANO, make_request, make_request_of, make_resource_spans, make_span
from ledger_parts import count_rows
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from pipeline_parts import Clock, make_config, report_of, run, running
from sla_parts import make_agreement

from otel_sla.config import Config
from otel_sla.judging.month_report import elapsed_stop_minute
from otel_sla.judging.series_judge import Terms
from otel_sla.ledger.exclusion_writer import ExclusionWriter
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Closing, Commit, Reopened
from otel_sla.ledger.writer import Ledger
from otel_sla.sla.agreement import ExclusionReason, ExclusionWindow
from otel_sla.sla.series import Series

NANOS_PER_MINUTE = 60_000_000_000
START_MINUTE = START_UNIX_NANO // NANOS_PER_MINUTE
SERIES = Series(0, "chat", (("service.name", b"chat-1"),), is_overflow=False)


def series_at(config: Config, now: int) -> list[dict[str, Any]]:
    """The series in the report of the month of START_UNIX_NANO."""
    start = datetime.fromtimestamp(START_UNIX_NANO // 10**9, tz=UTC)
    series: list[dict[str, Any]] = report_of(config, f"{start:%Y-%m}", now)["agreements"][0]["series"]
    return series


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A ledger in which minute 10 was judged with one request."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    with closing(Ledger.open(url)) as ledger:
        ledger.commit(Commit((SERIES,), count_rows([(10, 0, 1, 0, 0)]), ()))
        ledger.close_minutes(Closing(judged_before=11, sealed_before=None))
    return url


def test_clause_15_recorded_later_and_withdrawn(url: str) -> None:
    """A window recorded after the fact holds from then on, withdrawn no more, and who, when and why stay known."""
    agreed = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
    window = ExclusionWindow(
        reason=ExclusionReason.FORCE_MAJEURE,
        start=agreed - timedelta(days=2),
        stop=agreed - timedelta(days=1),
        group=None,
        announced_at=None,
        note="flood",
        recorded_by="ops",
        recorded_at=agreed,
    )
    agreement = make_agreement()
    with closing(ExclusionWriter.open(url)) as notebook:
        number = notebook.record_exclusion("chat", window, {"monthly_uptime": "0.98"})
        withdrawn_at = agreed + timedelta(days=1)
        notebook.withdraw_exclusion(number, withdrawn_by="legal", withdrawn_at=withdrawn_at, why="not agreed")
    with closing(LedgerReader.open(url)) as reader:
        records = reader.exclusions()
    held = [Terms.of(agreement, records, change).windows for change in (0, 1, 2)]
    assert held == [(), (window,), ()]
    (record,) = records
    assert record.figures_before == {"monthly_uptime": "0.98"}
    assert record.withdrawal is not None
    assert (record.withdrawal.withdrawn_by, record.withdrawal.why) == ("legal", "not agreed")


def test_clause_16_a_late_span_reopens_its_minute(url: str) -> None:
    """Requests that come for a judged minute keep what it was judged by, so that a revision can name it."""
    with closing(Ledger.open(url)) as ledger:
        ledger.commit(Commit((), count_rows([(10, 0, 0, 1, 0), (11, 0, 1, 0, 0)]), ()))
        assert ledger.reopened() == (Reopened(0, 10, (1, 0, 0)),)


def test_clause_16_too_late_and_too_early_are_told(tmp_path: Path) -> None:
    """At the default limits, 24 hours back and 5 minutes ahead, a span is accepted; beyond, its sender is told."""
    now = START_UNIX_NANO + 30 * 3600 * 10**9
    day, ahead = 24 * 3600 * 10**9, 5 * 60 * 10**9
    ends = [now - day - NANOS_PER_MINUTE, now - day + NANOS_PER_MINUTE, now + ahead, now + ahead + NANOS_PER_MINUTE]
    config = make_config(tmp_path)
    answers = []

    async def scenario() -> None:
        async with running(config, Clock(now)) as (_, send):
            for end in ends:
                answer = await send(make_request_of(make_span(end_time_unix_nano=end)))
                answers.append(ExportTraceServiceResponse.FromString(answer).partial_success)

    run(scenario)
    assert [answer.rejected_spans for answer in answers] == [1, 0, 0, 1]
    assert "late_spans_max" in answers[0].error_message
    assert "future_spans_max" in answers[3].error_message


@pytest.mark.parametrize(("seconds", "elapsed"), [(119, 0), (120, 1), (179, 1), (180, 2)])
def test_clause_17_a_minute_elapses_grace_after_its_end(seconds: int, elapsed: int) -> None:
    """With a grace of 60 s the first minute has elapsed 120 s after its start and not before."""
    start = datetime(2026, 11, 1, tzinfo=UTC)
    first = int(start.timestamp()) // 60
    assert elapsed_stop_minute(start + timedelta(seconds=seconds), timedelta(seconds=60)) - first == elapsed


def test_clause_18_the_same_bytes_count_once(tmp_path: Path) -> None:
    """A ResourceSpans message counts once however often, beside whatever others and across a restart it is sent."""
    messages = [
        make_resource_spans([make_span(end_time_unix_nano=START_UNIX_NANO + 1)], [("service.name", name)])
        for name in ("chat-1", "chat-2")
    ]
    bodies = [make_request(messages[0]), make_request(messages[0]), make_request(*messages), make_request(messages[1])]
    config = make_config(tmp_path)
    now = START_UNIX_NANO + 5 * NANOS_PER_MINUTE

    async def scenario() -> None:
        for part in (bodies[:2], bodies[2:]):
            async with running(config, Clock(now)) as (_, send):
                for body in part:
                    await send(body)

    run(scenario)
    series = series_at(config, now)
    assert [(entry["group"]["service.name"], entry["requests"]["valid"]) for entry in series] == [
        ("chat-1", 1),
        ("chat-2", 1),
    ]


@pytest.mark.parametrize(
    ("failing_seconds", "period_minutes_min", "down"), [(20, 1, 1), (3, 1, 0), (4, 1, 1), (60, 1, 1), (20, 2, 0)]
)
def test_clause_20_the_minute_is_the_smallest_unit(
    tmp_path: Path, failing_seconds: int, period_minutes_min: int, down: int
) -> None:
    """One request a second, all of which fail for some: the minute is down as a whole, or, up to 5 %, not at all.

    Who reads "intermittent downtime of less than one minute" more leniently asks for periods of two minutes.
    """
    config = make_config(tmp_path)
    (agreement,) = config.agreements
    terms = replace(agreement.downtime, period_minutes_min=period_minutes_min)
    config = replace(config, agreements=(replace(agreement, downtime=terms),))
    spans = [
        make_span(
            end_time_unix_nano=START_UNIX_NANO + second * 10**9,
            attributes={"http.response.status_code": 500 if second < failing_seconds else 200},
        )
        for second in range(60)
    ]
    now = START_UNIX_NANO + 5 * NANOS_PER_MINUTE

    async def scenario() -> None:
        async with running(config, Clock(now)) as (_, send):
            await send(make_request_of(*spans))

    run(scenario)
    (series,) = series_at(config, now)
    assert series["minutes"]["down"] == down
    assert series["requests"]["failed"] == failing_seconds
