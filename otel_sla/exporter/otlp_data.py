"""Verdicts as OpenTelemetry data: the one place where metrics, their attributes and units are named.

The time stamp of a point is the end of its minute, however late the point is made; sums start with the month. All
figures are exact up to here; only this module converts a Fraction to a float.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_sla.sla.agreement import Outcome
from otel_sla.sla.counts import NANOS_PER_MINUTE
from otel_sla.sla.downtime import MinuteState
from otel_sla.sla.events import Event
from otel_sla.sla.series import Series
from otel_sla.sla.uptime import MinuteFigures

AGREEMENT_NAME = "sla.agreement.name"
REQUEST_OUTCOME = "sla.request.outcome"
MINUTE_STATE = "sla.minute.state"
LOG_RECORD_UID = "log.record.uid"

SERVICE_NAME = "otel-sla"
SCOPE = InstrumentationScope("otel_sla", version("otel-sla"))


@dataclass(frozen=True, slots=True)
class GaugeMetric:
    """A figure of a minute; None where the minute has none."""

    name: str
    unit: str
    description: str
    figure: Callable[[MinuteFigures], Fraction | int | None]
    is_of_month: bool = True  # Else of the minute alone.


@dataclass(frozen=True, slots=True)
class SumMetric:
    """A cumulative sum with one more attribute; `figures` gives the sum for each of its values."""

    name: str
    unit: str
    description: str
    attribute: str
    is_monotonic: bool
    is_of_month: bool
    figures: Callable[[MinuteFigures], Iterable[tuple[str, int]]]


def _requests(figures: MinuteFigures) -> Iterable[tuple[str, int]]:
    return ((outcome.name.lower(), figures.requests_so_far[outcome]) for outcome in Outcome)


def _status(figures: MinuteFigures) -> Iterable[tuple[str, int]]:
    return ((state.wire_name, int(figures.state is state)) for state in MinuteState)


GAUGES = (
    GaugeMetric(
        "sla.error_rate",
        "1",
        "Failed among the valid requests of a closed minute.",
        lambda minute: minute.error_rate,
        is_of_month=False,
    ),
    GaugeMetric(
        "sla.monthly_uptime",
        "1",
        "Monthly uptime after exclusions, if nothing more goes wrong.",
        lambda minute: minute.monthly_uptime,
    ),
    GaugeMetric(
        "sla.monthly_uptime.raw",
        "1",
        "Monthly uptime before exclusions, if nothing more goes wrong.",
        lambda minute: minute.monthly_uptime_raw,
    ),
    GaugeMetric("sla.monthly_uptime.target", "1", "The promised monthly uptime.", lambda minute: minute.target),
    GaugeMetric("sla.downtime", "s", "Downtime of the month so far.", lambda minute: minute.downtime_s),
    GaugeMetric(
        "sla.downtime.budget",
        "s",
        "Downtime that the month still bears; negative once the promise is broken.",
        lambda minute: minute.downtime_budget_s,
    ),
    GaugeMetric("sla.coverage", "1", "Share of the month's elapsed minutes with data.", lambda minute: minute.coverage),
)
SUMS = (
    SumMetric("sla.requests", "{request}", "Counted requests.", REQUEST_OUTCOME, True, True, _requests),  # noqa: FBT003
    SumMetric("sla.minute.status", "1", "1 for the state that the minute has.", MINUTE_STATE, False, False, _status),  # noqa: FBT003
)


def make_resource(instance_id: str) -> Resource:
    """Describe the pipeline itself; the attributes of the points say what is judged.

    The id is the ledger's own: a new one at each start would begin new time series at the backend.
    """
    return Resource(
        {"service.name": SERVICE_NAME, "service.instance.id": instance_id, "service.version": SCOPE.version or ""}
    )


def make_metrics(minutes: Sequence[MinuteFigures], resource: Resource) -> MetricsData:
    """Make the points of some minutes, at least one: per metric that has any, in the order of `minutes`."""
    labelled = [(figures, series_attributes(figures.series)) for figures in minutes]
    metrics = []
    for gauge in GAUGES:
        of_gauge = Gauge(list(_gauge_points(gauge, labelled)))
        metrics.append(Metric(gauge.name, gauge.description, gauge.unit, of_gauge))
    for total in SUMS:
        points = list(_sum_points(total, labelled))
        of_sum = Sum(points, AggregationTemporality.CUMULATIVE, total.is_monotonic)
        metrics.append(Metric(total.name, total.description, total.unit, of_sum))
    return as_data([metric for metric in metrics if metric.data.data_points], resource)


def as_data(metrics: Sequence[Metric], resource: Resource) -> MetricsData:
    """Put metrics under their scope and resource."""
    scope_metrics = ScopeMetrics(SCOPE, metrics, schema_url="")
    return MetricsData([ResourceMetrics(resource, [scope_metrics], schema_url=resource.schema_url)])


def count_points(figures: MinuteFigures) -> int:
    """Count the points that `make_metrics` makes of one minute."""
    of_minute = int(figures.valid > 0) + len(MinuteState)
    return of_minute + (len(GAUGES) - 1 + len(Outcome) if figures.has_month else 0)


def make_log_record(event: Event, resource: Resource, observed_unix_nano: int) -> ReadableLogRecord:
    """Make the log record of one event, with the time that it is sent at; a repeat has the same `log.record.uid`."""
    record = LogRecord(
        timestamp=event.time_unix_nano,
        observed_timestamp=observed_unix_nano,
        severity_number=SeverityNumber(event.severity),
        body=event.body,
        attributes={**event.attributes, LOG_RECORD_UID: event.uid},
        event_name=event.name,
    )
    return ReadableLogRecord(record, resource, SCOPE)


def series_attributes(series: Series) -> dict[str, str]:
    """Give the attributes that all points of a series carry."""
    # Ours last: a group's key that is also one of ours must not hide it.
    return {**series.group_text, AGREEMENT_NAME: series.agreement}


_Labelled = tuple[MinuteFigures, dict[str, str]]


def _gauge_points(gauge: GaugeMetric, labelled: Iterable[_Labelled]) -> Iterable[NumberDataPoint]:
    for figures, attributes in labelled:
        figure = gauge.figure(figures) if figures.has_month or not gauge.is_of_month else None
        if figure is not None:
            stop = (figures.epoch_minute + 1) * NANOS_PER_MINUTE
            yield NumberDataPoint(attributes, 0, stop, float(figure))


def _sum_points(total: SumMetric, labelled: Iterable[_Labelled]) -> Iterable[NumberDataPoint]:
    for figures, attributes in labelled:
        if total.is_of_month and not figures.has_month:
            continue
        start = figures.month.start_minute * NANOS_PER_MINUTE
        stop = (figures.epoch_minute + 1) * NANOS_PER_MINUTE
        for value, count in total.figures(figures):
            yield NumberDataPoint({**attributes, total.attribute: value}, start, stop, count)
