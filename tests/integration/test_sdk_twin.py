"""The processor's figures against the slow twin's, which is given the same spans as a pipeline would be."""

import random
from datetime import timedelta

import naive
import numpy as np
import pytest
from ledger_parts import rows_of_outcomes
from opentelemetry.trace import SpanKind, StatusCode
from sdk_parts import MINUTE_NANOS, START, Application, make_config, running, twin_counts

from otel_sla.judging.series_judge import series_of
from otel_sla.ledger.records import Commit
from otel_sla.sdk.month import MonthLedger, SdkJudge
from otel_sla.sla.agreement import Agreement
from otel_sla.sla.series import SeriesTable

CONFIG = """
agreements:
  - name: strict
    covered_service: {resource: {deployment.environment.name: production}, span: {http.route: ["/v1/*", "true", "0.5"]}}
    group_by: [http.route, tier]
    valid_requests: {invalid: [{span: {stage: [alpha, "4*"]}}], no_status_code: invalid}
    error_rate:
      failed_http_status: ["500"]
      code: {attribute: error.type, values: ["Internal Error"], when_absent: failed}
    downtime: {error_rate_above: 10%, valid_requests_min: 2}
  - {name: entry, entry_spans_only: true, downtime: {no_data: carry}}
"""
VALUES = {
    "http.route": ["/v1/a", "/v1/b", "/health", True, 0.5, ["/v1/a"], "wörld"],
    "tier": ["gold", "", 1, True, 1.0, b"gold"],
    "stage": ["alpha", "beta", 42, 4.5, False],
    "http.response.status_code": [200, 204, 404, 500, 500, 503, "500", 700, True, 2**70],
    "http.status_code": [200, 500, "404"],
    "rpc.grpc.status_code": [0, 2, 5, 13],
    "rpc.response.status_code": ["OK", "UNAVAILABLE"],
    "error.type": ["Internal Error", "timeout"],
    "unwatched": ["x" * 100, 1, 2.5],
}


def send(app: Application, randomness: random.Random, n_spans: int) -> None:
    """Requests of three minutes as nobody would wish them, some inside others, some of other kinds."""
    for _ in range(n_spans):
        attributes = {key: randomness.choice(values) for key, values in VALUES.items() if randomness.random() < 0.5}
        kind = randomness.choice([SpanKind.SERVER] * 6 + [SpanKind.CONSUMER, SpanKind.INTERNAL])
        status = randomness.choice([StatusCode.UNSET, StatusCode.OK, StatusCode.ERROR])
        end = START + randomness.randrange(3 * MINUTE_NANOS)
        if randomness.random() < 0.2:
            with app.tracer.start_as_current_span("outer"):
                app.request(None, kind=kind, end=end, attributes=attributes, span_status=status)
        else:
            app.request(None, kind=kind, end=end, attributes=attributes, span_status=status)


def test_counts_and_month_are_those_of_the_same_spans_in_a_pipeline() -> None:
    """For random attributes of all types each series of two agreements has the twin's requests and month."""
    config = make_config(CONFIG)
    with running(config) as app:
        app.clock.now = START + 2 * MINUTE_NANOS
        send(app, random.Random(6), 500)
        app.pass_minutes(3)
        now = app.clock.now
        series = twin_counts(app.exporter.get_finished_spans(), config.agreements, now)
        report = naive.report("2026-06", config.agreements, series, now=now, grace=timedelta(minutes=1))
        expected = {name: {} for name in ("sla.requests", "sla.downtime", "sla.coverage", "sla.monthly_uptime")}
        for agreement in report["agreements"]:
            for one in agreement["series"]:
                key = frozenset({**one["group"], "sla.agreement.name": agreement["name"]}.items())
                requests, minutes = one["requests"], one["minutes"]
                succeeded = requests["valid"] - requests["failed"]
                outcomes = {"succeeded": succeeded, "failed": requests["failed"], "invalid": requests["invalid"]}
                for outcome, count in outcomes.items():
                    expected["sla.requests"][key | {("sla.request.outcome", outcome)}] = count
                expected["sla.downtime"][key] = 60 * minutes["down"]
                expected["sla.coverage"][key] = pytest.approx(float(one["coverage"]), abs=1e-8)
                expected["sla.monthly_uptime"][key] = pytest.approx(float(one["monthly_uptime"]), abs=1e-8)
        assert len(expected["sla.downtime"]) > 10
        assert sum(expected["sla.downtime"].values()) > 0
        assert {name: app.points(name) for name in expected} == expected


def random_counts(randomness: random.Random, start: int, stop: int) -> naive.MinuteCounts:
    """Stretches of quiet, of traffic and of outage over some weeks."""
    counts: naive.MinuteCounts = {}
    minute = start + randomness.randrange(2_000)
    while minute < stop:
        length = randomness.choice([1, 2, 3, 60, 700, 4_000])
        kind = randomness.choice(["silent", "fine", "down", "few"])
        for each in range(minute, min(stop, minute + length)):
            if kind != "silent":
                counts[each] = {"fine": [50, 1, 2], "down": [50, 50, 0], "few": [1, 0, 0]}[kind].copy()
        minute += length
    return counts


def figures_of(
    agreement: Agreement, counts: naive.MinuteCounts, stops: list[int]
) -> list[tuple[int, int, int, float, str]]:
    """Down minutes, down ones before exclusions, elapsed ones, coverage and the last state, at each stop."""
    table = SeriesTable([agreement], series_max=10)
    series_id = table.find_or_add(0, tuple(b"x" for _ in agreement.group_by))
    assert series_of(agreement, [table[series_id]]) == (table[series_id],)
    judging, found, start = SdkJudge([agreement], MonthLedger.in_memory()), [], 0
    for stop in stops:
        minutes = [minute for minute in counts if start <= minute < stop]
        rows = rows_of_outcomes(
            np.full(len(minutes), series_id),
            np.array(minutes, dtype=np.int64),
            np.array([counts[minute] for minute in minutes], dtype=np.int64).reshape(-1, 3),
        )
        judging.add(Commit(() if start else (table[series_id],), rows, ()))
        for each in judging.figures([table[series_id]], (), stop):
            month = each.so_far
            found.append((month.down, month.down_raw, month.elapsed, float(each.coverage), each.state.wire_name))
        start = stop
    return found


def twin_figures(
    agreement: Agreement, counts: naive.MinuteCounts, stops: list[int]
) -> list[tuple[int, int, int, float, str]]:
    """The same, from all counts at once."""
    found = []
    for stop in stops:
        known = {minute: count for minute, count in counts.items() if minute < stop}
        now = naive.EPOCH + timedelta(minutes=stop - 1)
        month = naive.month_minutes(now.strftime("%Y-%m"), "UTC")
        windows = list(agreement.exclusions.windows)
        one = naive.series_report(known, agreement, (), month, stop, windows)
        begin = min(known, default=stop)
        raw, adjusted = naive.states(known, agreement, windows, begin, stop)
        first = naive.first_data_minute(known)
        has_counts = any(minute in month for minute in known)
        if first is None or not (has_counts or agreement.downtime.no_data.value != "up"):
            continue
        in_month = [minute for minute in raw if minute in month]
        down_raw = sum(raw[minute] == naive.DOWN for minute in in_month)
        elapsed = one["minutes"]["elapsed"]
        with_data = sum(sum(known[minute][:2]) > 0 for minute in in_month if minute in known)
        found.append((one["minutes"]["down"], down_raw, elapsed, with_data / elapsed, adjusted[stop - 1]))
    return found


@pytest.mark.parametrize(("no_data", "period_minutes_min"), [("up", 3), ("down", 1), ("carry", 1), ("carry", 3)])
def test_months_go_by_and_what_is_forgotten_is_not_missed(no_data: str, period_minutes_min: int) -> None:
    """Over the end of a month every figure is that of the whole past, though only the running month is kept."""
    (agreement,) = make_config(
        "agreements:\n  - name: a\n    group_by: []\n"
        f"    downtime: {{no_data: {no_data}, period_minutes_min: {period_minutes_min}, valid_requests_min: 5}}\n"
        "    exclusions: {windows: [\n"
        "      {reason: force_majeure, start: 2026-06-30T12:00:00Z, stop: 2026-07-01T06:00:00Z}]}\n"
    ).agreements
    june, july = START // MINUTE_NANOS + 6 * 1440, START // MINUTE_NANOS + 9 * 1440
    cases = [random_counts(random.Random(period_minutes_min), june, july + 1_600)]
    # An outage, and silence over all that is forgotten; three minutes of outage across the end of the month.
    cases.append({minute: [50, 50, 0] for minute in range(june, june + 1_000)})
    cases.append({minute: [50, 50 * (minute <= july), 0] for minute in range(july - 2, july + 9)})
    for counts in cases:
        stops = [june + 900, june + 2_000, july - 1, july, july + 1, july + 2, july + 1_500]
        assert figures_of(agreement, counts, stops) == twin_figures(agreement, counts, stops)
