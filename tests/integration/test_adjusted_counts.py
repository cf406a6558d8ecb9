"""Sampled traces through a whole pipeline: judged by what they stand for, in any order, across restarts."""

import random
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import sdk_parts
from builders import START_UNIX_NANO, make_request_of, make_span
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import TraceState
from pipeline_parts import Clock, events_of, make_config, report_of, run, running

from otel_sla.config import Config
from otel_sla.judging.series_judge import History, Terms
from otel_sla.ledger.reader import LedgerReader
from otel_sla.sla.agreement import Counting
from otel_sla.sla.months import MinuteRange
from otel_sla.sla.uptime import MonthSoFar, minute_figures

MINUTE = 60 * 10**9
START = START_UNIX_NANO // MINUTE * MINUTE


def spans_of(minute: int, *, failed: int, succeeded: int, kept: str = "ot=th:f") -> list[Span]:
    """A minute as a tail sampler leaves it that keeps all errors; of the successes, 1 of 16."""
    kinds = [(500, "ot=th:0")] * failed + [(200, kept)] * succeeded
    return [
        make_span(
            {"http.response.status_code": status},
            end_time_unix_nano=START + minute * MINUTE + number,
            trace_state=trace_state,
        )
        for number, (status, trace_state) in enumerate(kinds)
    ]


def config_of(folder: Path, counting: Counting) -> Config:
    """The defaults, judged on this basis."""
    config = make_config(folder)
    return replace(config, agreements=(replace(config.agreements[0], counting=counting),))


def series_of(config: Config, minutes: int) -> dict[str, Any]:
    """The one series in the report, so many minutes after the start."""
    (series,) = report_of(config, "2026-06", START + (minutes + 1) * MINUTE)["agreements"][0]["series"]
    found: dict[str, Any] = series
    return found


def send_all(config: Config, bodies: Sequence[bytes], *, restarts_every: int = 1000) -> None:
    """Send bodies, with restarts between, then judge all minutes."""
    clock = Clock(START + 10 * MINUTE)

    async def scenario() -> None:
        for first in range(0, len(bodies), restarts_every):
            async with running(config, clock) as (pipeline, send):
                for body in bodies[first : first + restarts_every]:
                    await send(body)
                    await pipeline.tick()
        async with running(config, clock) as (pipeline, _):
            clock.now += 5 * MINUTE
            await pipeline.tick()

    run(scenario)


@pytest.mark.parametrize(("counting", "down", "valid"), [(Counting.ADJUSTED, 0, 1510), (Counting.REQUESTS, 1, 100)])
def test_clause_19_tail_sampling_that_keeps_all_errors(
    tmp_path: Path, counting: Counting, down: int, valid: int
) -> None:
    """6 of 1,510 is 0.4 %: the minute is up; as they came, 6 of 100, it is down. Both say what was sampled."""
    config = config_of(tmp_path, counting)
    send_all(config, [make_request_of(*spans_of(0, failed=6, succeeded=94))])
    series = series_of(config, 15)
    assert series["minutes"]["down"] == down
    requests = {"valid": valid, "failed": 6, "invalid": 0, "spared": 0, "sampled": 94, "unthresholded": 0, "spans": 100}
    assert series["requests"] == requests
    assert series["sampled_share"] == "0.94000000"
    events = [event.attributes for event in events_of(config) if event.name == "sla.downtime.ended"]
    assert [event["sla.downtime.requests.valid"] for event in events] == [100] * down


def test_clause_19_figures_are_the_same_in_any_order_and_cut(tmp_path: Path) -> None:
    """Spans of odd thresholds in any order, in many bodies, restarts between: one body's figures, to the last part."""
    rng = random.Random(19)
    spans = [
        span
        for minute in range(4)
        for kept in ("ot=th:5555555555555", "ot=th:fd70a3d70a3d71", "ot=th:0123456789abcd", "")
        for span in spans_of(minute, failed=10 * minute, succeeded=7, kept=kept)
    ]
    for number, span in enumerate(spans):  # No two bodies are the same bytes.
        span.span_id = number.to_bytes(8, "big")
    whole, cut = (config_of(tmp_path / name, Counting.ADJUSTED) for name in ("whole", "cut"))
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    send_all(whole, [make_request_of(*spans)])
    rng.shuffle(spans)
    send_all(cut, [make_request_of(*spans[first : first + 9]) for first in range(0, len(spans), 9)], restarts_every=5)
    assert series_of(cut, 15) == series_of(whole, 15)
    assert series_of(whole, 15)["minutes"]["down"] > 0
    assert "." in series_of(whole, 15)["requests_adjusted"]["valid"]


def test_a_minute_that_late_successes_make_good_is_revised(tmp_path: Path) -> None:
    """Errors are told as downtime; what the successes stand for comes later: the downtime is withdrawn."""
    config, clock = config_of(tmp_path, Counting.ADJUSTED), Clock(START + 10 * MINUTE)

    async def scenario() -> None:
        async with running(config, clock) as (pipeline, send):
            await send(make_request_of(*spans_of(0, failed=6, succeeded=1)))
            await pipeline.tick()
        async with running(config, clock) as (pipeline, send):
            await send(make_request_of(*spans_of(0, failed=0, succeeded=93)))
            await pipeline.tick()
            with closing(LedgerReader.open(config.ledger.url)) as reader:
                assert reader.reopened() == ()

    run(scenario)
    names = [event.name for event in events_of(config)]
    assert "sla.downtime.started" in names
    assert names[-2:] == ["sla.verdict.revised", "sla.downtime.withdrawn"]
    assert series_of(config, 15)["minutes"]["down"] == 0


def test_another_basis_judges_the_open_month_anew(tmp_path: Path) -> None:
    """The same counts on requests, then on adjusted counts, and back: the downtime is taken back, and told again."""
    config = config_of(tmp_path, Counting.REQUESTS)
    send_all(config, [make_request_of(*spans_of(0, failed=6, succeeded=94))])
    for counting, down, told in (
        (Counting.ADJUSTED, 0, ["sla.verdict.revised", "sla.downtime.withdrawn"]),
        (Counting.REQUESTS, 1, ["sla.verdict.revised", "sla.downtime.started", "sla.downtime.ended"]),
    ):
        config = config_of(tmp_path, counting)
        send_all(config, [])
        assert series_of(config, 15)["minutes"]["down"] == down
        names = [event.name for event in events_of(config)]
        assert names[-len(told) :] == told


def test_gauges_are_in_the_basis(tmp_path: Path) -> None:
    """The error rate is that of adjusted counts, and sla.requests has whole ones of them."""
    config = config_of(tmp_path, Counting.ADJUSTED)
    send_all(config, [make_request_of(*spans_of(0, failed=6, succeeded=94))])
    with closing(LedgerReader.open(config.ledger.url)) as reader:
        (agreement,), (series,) = config.agreements, reader.series()
        minute = START // MINUTE
        history = History.of(reader)
        asked = MinuteRange(minute, minute + 1)
        judged = history.judged(series, Terms.of(agreement, (), 0), asked, minute + 1)
        month = MinuteRange(minute, minute + 1)
        (figures,) = minute_figures(series, agreement, judged, month, so_far=MonthSoFar())
    assert figures.error_rate == Fraction(6, 1510)
    assert figures.requests_so_far == (1504, 6, 0)


class KeepErrors(Sampler):
    """Keeps all errors, and says that it keeps 1 of 16 successes."""

    def should_sample(self, *given: Any, **_: Any) -> SamplingResult:  # noqa: ANN401 - the SDK's own.
        """Decide by the status that the span starts with."""
        attributes: Mapping[str, Any] = given[4]
        kept = "th:0" if attributes["http.response.status_code"] == 500 else "th:f"
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, TraceState([("ot", kept)]))

    def get_description(self) -> str:
        """Name it."""
        return "KeepErrors"


def test_an_application_judges_its_own_sampled_spans(tmp_path: Path) -> None:
    """The SDK's processor, with a ledger beneath: gauges in the basis, also of the minute after a restart."""
    config = sdk_parts.make_config("agreements: [{name: chat, counting: adjusted}]")
    url = f"sqlite:///{tmp_path}/app.db"
    with sdk_parts.running(config, sampler=KeepErrors(), ledger=url) as app:
        for status in [500] * 6 + [200] * 94:
            app.request(status)
        app.pass_minutes(2)
        assert app.requests() == {"succeeded": 1504, "failed": 6, "invalid": 0}
        assert app.values("sla.downtime") == [0]
        now = app.clock.now
    with sdk_parts.running(config, sampler=KeepErrors(), ledger=url, clock=sdk_parts.Clock(now)) as app:
        for status in [500] * 100 + [200]:
            app.request(status)
        app.pass_minutes(2)
        assert app.values("sla.downtime") == [60]
        assert app.requests() == {"succeeded": 16, "failed": 100, "invalid": 0}
