"""Points and records as DESIGN's table has them."""

from dataclasses import replace
from fractions import Fraction

import pytest
from exporter_parts import make_events, make_figures
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.sdk.metrics.export import Gauge, Metric, Sum
from sla_parts import make_agreement, make_series, make_terms

from otel_sla.exporter.otlp_data import (
    GAUGES,
    SUMS,
    count_points,
    make_log_record,
    make_metrics,
    make_resource,
    series_attributes,
)
from otel_sla.sla.agreement import NoData
from otel_sla.sla.series import OVERFLOW_GROUP, Series
from otel_sla.sla.uptime import MinuteFigures

RESOURCE = make_resource("id-1")
NANOS_PER_MINUTE = 60_000_000_000


def metrics_of(figures: list[MinuteFigures]) -> dict[str, Metric]:
    """Metrics by name."""
    (of_resource,) = make_metrics(figures, RESOURCE).resource_metrics
    (of_scope,) = of_resource.scope_metrics
    return {metric.name: metric for metric in of_scope.metrics}


def values_of(figures: list[MinuteFigures], name: str) -> list[float]:
    """The values of one gauge."""
    return [point.value for point in metrics_of(figures)[name].data.data_points]


def test_names_kinds_and_units_are_the_promised_ones() -> None:
    """A minute with data gives exactly the nine metrics that users rely on, with their kinds and units."""
    found = {
        metric.name: (type(metric.data), metric.unit, getattr(metric.data, "is_monotonic", None))
        for metric in metrics_of(make_figures([(9, 1, 0)])).values()
    }
    assert found == {
        "sla.error_rate": (Gauge, "1", None),
        "sla.requests": (Sum, "{request}", True),
        "sla.minute.status": (Sum, "1", False),
        "sla.monthly_uptime": (Gauge, "1", None),
        "sla.monthly_uptime.raw": (Gauge, "1", None),
        "sla.monthly_uptime.target": (Gauge, "1", None),
        "sla.downtime": (Gauge, "s", None),
        "sla.downtime.budget": (Gauge, "s", None),
        "sla.coverage": (Gauge, "1", None),
    }
    assert all(metric.description for metric in (*GAUGES, *SUMS))


def test_points_carry_the_end_of_their_minute() -> None:
    """Each point of a minute in the past has the time stamp of that minute's end, to the nanosecond."""
    figures = make_figures([(1, 0, 0), (1, 0, 0)])
    ends = [(minute.epoch_minute + 1) * NANOS_PER_MINUTE for minute in figures]
    for metric in metrics_of(figures).values():
        assert sorted({point.time_unix_nano for point in metric.data.data_points}) == ends


def test_requests_are_sums_from_the_start_of_the_month() -> None:
    """The requests of a minute are the month's up to it, by outcome, and start with the month."""
    figures = make_figures([(5, 1, 2), (3, 0, 0)])
    points = metrics_of(figures)["sla.requests"].data.data_points
    assert [(point.attributes["sla.request.outcome"], point.value) for point in points] == [
        ("succeeded", 5),
        ("failed", 1),
        ("invalid", 2),
        ("succeeded", 8),
        ("failed", 1),
        ("invalid", 2),
    ]
    assert {point.start_time_unix_nano for point in points} == {figures[0].month.start_minute * NANOS_PER_MINUTE}


def test_status_has_a_point_for_every_state() -> None:
    """Each minute has one state at 1 and all others at 0, so that a state that ended does not stay on."""
    points = metrics_of(make_figures([(1, 0, 0), (0, 5, 0), (0, 0, 0)]))["sla.minute.status"].data.data_points
    states = [point.attributes["sla.minute.state"] for point in points]
    assert states == ["up", "down", "excluded", "low_traffic", "no_data"] * 3
    assert [states[n] for n, point in enumerate(points) if point.value] == ["up", "down", "no_data"]


def test_error_rate_is_absent_without_valid_requests() -> None:
    """A minute with no valid request has no error rate, and all other figures."""
    assert values_of(make_figures([(19, 1, 0), (0, 0, 7), (0, 1, 0)]), "sla.error_rate") == [0.05, 1.0]
    assert "sla.error_rate" not in metrics_of(make_figures([(0, 0, 7)]))
    assert len(metrics_of(make_figures([(0, 0, 7)]))) == 8


def test_downtime_and_budget_are_seconds() -> None:
    """Downtime grows by 60 s a minute, and the budget falls from 43 minutes of a June to below zero."""
    figures = make_figures([(0, 1, 0)] * 45)
    assert values_of(figures, "sla.downtime") == [60.0 * n for n in range(1, 46)]
    assert values_of(figures, "sla.downtime.budget") == [60.0 * (43 - n) for n in range(1, 46)]


def test_ratios_become_floats_once() -> None:
    """Uptime, target and coverage are the floats nearest to the exact fractions."""
    agreement = make_agreement(target=Fraction(999, 1000), downtime=make_terms(no_data=NoData.DOWN))
    figures = make_figures([(1, 0, 0), (0, 0, 0), (0, 1, 0)], agreement=agreement)
    assert values_of(figures, "sla.monthly_uptime") == [43200 / 43200, 43199 / 43200, 43198 / 43200]
    assert values_of(figures, "sla.monthly_uptime.raw") == [43200 / 43200, 43199 / 43200, 43198 / 43200]
    assert values_of(figures, "sla.monthly_uptime.target") == [0.999] * 3
    assert values_of(figures, "sla.coverage") == [1.0, 0.5, 2 / 3]


def test_a_revised_minute_leaves_its_month_alone() -> None:
    """A minute whose month stands in a later point gives its error rate and its state, and nothing of the month."""
    (minute,) = make_figures([(9, 1, 0)])
    assert set(metrics_of([replace(minute, has_month=False)])) == {"sla.error_rate", "sla.minute.status"}


@pytest.mark.parametrize("has_month", [True, False])
@pytest.mark.parametrize("row", [(3, 0, 0), (0, 0, 2), (0, 0, 0)])
def test_points_are_counted_as_they_are_made(row: tuple[int, int, int], has_month: bool) -> None:  # noqa: FBT001
    """The number of points of a minute is the number that its metrics hold."""
    figures = [replace(minute, has_month=has_month) for minute in make_figures([row])]
    made = sum(len(metric.data.data_points) for metric in metrics_of(figures).values())
    assert count_points(figures[0]) == made


def test_a_group_cannot_hide_the_agreement() -> None:
    """A group's key that is also ours does not replace it; bytes that are no UTF-8 are shown as escapes."""
    series = make_series(group=(("sla.agreement.name", b"other"), ("service.name", b"\xff")))
    assert series_attributes(series) == {"sla.agreement.name": "chat", "service.name": r"\xff"}


def test_overflow_series_says_so() -> None:
    """Points of the overflow series carry its mark in place of a group."""
    series = Series(7, "chat", OVERFLOW_GROUP, is_overflow=True)
    assert series_attributes(series) == {"sla.agreement.name": "chat", "sla.series.overflow": "true"}


def test_resource_is_the_pipeline_and_stays_the_same() -> None:
    """The resource names otel-sla with the ledger's instance id, and nothing that differs between two starts."""
    assert make_resource("id-1") == RESOURCE
    assert set(RESOURCE.attributes) == {"service.name", "service.instance.id", "service.version"}
    assert RESOURCE.attributes["service.name"] == "otel-sla"
    assert RESOURCE.attributes["service.instance.id"] == "id-1"


def test_events_keep_their_time_and_identity() -> None:
    """A log record has the event's name, time, severity and uid; made twice it differs in when it was observed only."""
    (event,) = make_events(1)
    first, again = (
        encode_logs([make_log_record(event, RESOURCE, now)]).resource_logs[0].scope_logs[0] for now in (5, 6)
    )
    (record,) = first.log_records
    attributes = {pair.key: pair.value for pair in record.attributes}
    assert record.event_name == "sla.downtime.started"
    assert record.time_unix_nano == event.time_unix_nano
    assert record.observed_time_unix_nano == 5
    assert record.severity_number == 17
    assert record.body.string_value == "chat 0"
    assert attributes["log.record.uid"].string_value == "e0"
    assert attributes["n"].int_value == 0
    assert first.scope.name == "otel_sla"
    again.log_records[0].observed_time_unix_nano = 5
    assert again == first
