"""Real requests over gRPC through the whole pipeline, against the slow twin."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import agreements
import naive
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from pipeline_parts import Clock, case_processor, events_of, make_config, report_of, run, running

from otel_sla.config import Config

pytestmark = pytest.mark.slow

SEEDS = 100  # `make orders` sends more of the same cases, in any order.
SEEDS_PER_TEST = 20
# An exporter's figures are not what is compared here and took half of this test's time: each tenth case has one all the
# same, so that its deliveries stand between what is.
SEEDS_PER_EXPORTER = 10


@pytest.mark.parametrize("first_seed", range(0, SEEDS, SEEDS_PER_TEST))
def test_reports_over_grpc_equal_the_twin(first_seed: int, tmp_path: Path) -> None:
    """For random agreements and traffic, judged again and again while it comes in, each figure is the twin's."""
    for seed in range(first_seed, first_seed + SEEDS_PER_TEST):
        folder = tmp_path / str(seed)
        folder.mkdir()
        compare_with_twin(agreements.random_case(seed), folder)


def compare_with_twin(case: agreements.Case, folder: Path) -> None:
    """Send a case, restart once in the middle, and compare rejections, reports and the story of the events."""
    config = make_config(folder, case.agreements, **case_processor(case))
    if case.seed % SEEDS_PER_EXPORTER:
        config = replace(config, exporters=())
    counted = naive.count(
        case.requests, case.agreements, late_spans_max=case.late_spans_max, future_spans_max=case.future_spans_max
    )
    rejected: list[int] = []

    async def scenario() -> None:
        clock = Clock(case.requests[0][1] if case.requests else case.now)
        middle = len(case.requests) // 2
        for part in (case.requests[:middle], case.requests[middle:]):
            async with running(config, clock) as (pipeline, send):
                for index, (body, arrival) in enumerate(part):
                    clock.now = arrival
                    answer = ExportTraceServiceResponse.FromString(await send(body))
                    rejected.append(answer.partial_success.rejected_spans)
                    if index % 3 == 0:
                        await pipeline.tick()
        clock.now = case.now
        async with running(config, clock) as (pipeline, _):
            await pipeline.tick()

    run(scenario)
    assert rejected == counted.rejected, f"seed {case.seed}"
    reports = {month: report_of(config, month, case.now) for month in case.months}
    for month, report in reports.items():
        expected = naive.report(month, case.agreements, counted.whole, now=case.now, grace=case.grace)
        found = naive.differences(expected, report, f"seed {case.seed}, {month}")
        assert not found, "\n".join(found[:20])
    assert_story_adds_up(case, config, reports)


def assert_story_adds_up(case: agreements.Case, config: Config, reports: dict[str, dict[str, Any]]) -> None:
    """Whoever reads the events alone knows how many minutes each series was down in each month (docs/events.md)."""
    standing: dict[str, dict[str, object]] = {}
    for event in events_of(config):
        kind, _, what = event.name.rpartition(".")
        if kind == "sla.downtime":
            key = str(event.attributes["sla.downtime.id"])
            standing.pop(key, None)
            if what != "withdrawn":
                standing[key] = dict(event.attributes)
    told: dict[tuple[str, frozenset[tuple[str, str]]], set[int]] = defaultdict(set)
    elapsed = naive.elapsed_stop(case.now, case.grace)
    for attributes in standing.values():
        agreement = next(a for a in case.agreements if a.name == attributes["sla.agreement.name"])
        keys = (*agreement.group_by, "sla.series.overflow")
        group = frozenset((key, str(attributes[key])) for key in keys if key in attributes)
        start = minute_of(str(attributes["sla.downtime.start"]))
        stop = minute_of(str(attributes["sla.downtime.stop"])) if "sla.downtime.stop" in attributes else elapsed
        told[agreement.name, group].update(range(start, stop))
    for month, report in reports.items():
        for agreement in report["agreements"]:
            zone = next(a.time_zone for a in case.agreements if a.name == agreement["name"])
            minutes = naive.month_minutes(month, zone)
            for series in agreement["series"]:
                group = frozenset(series["group"].items())
                down = sum(minutes.start <= minute < minutes.stop for minute in told[agreement["name"], group])
                assert down == series["minutes"]["down"], f"seed {case.seed}, {month}, {agreement['name']}, {group}"


def minute_of(text: str) -> int:
    """The epoch minute of an event's time."""
    moment = naive.datetime.fromisoformat(text)
    return int(moment.timestamp()) // 60
