"""The figures as observable instruments of the application's own MeterProvider.

Names, units and attributes are those of `exporter.otlp_data`; only the time stamps differ, as an SDK stamps its points
itself. The processor's own counters stand here.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from otel_sla.exporter.otlp_data import GAUGES, SCOPE, SUMS, GaugeMetric, SumMetric
from otel_sla.sla.uptime import MinuteFigures

Labelled = tuple[MinuteFigures, Mapping[str, str]]  # A minute and the attributes of its series.
Observe = Callable[[CallbackOptions], Iterable[Observation]]

UNCOUNTED_SPANS = "sla.sdk.uncounted_spans"
OVERFLOW_SPANS = "sla.sdk.overflow_spans"
REASON = "error.type"  # As the SDK's own metrics name why a span was dropped.


def create_instruments(
    meter_provider: MeterProvider,
    read_figures: Callable[[], Iterable[Labelled]],
    read_uncounted: Callable[[], Mapping[str, int]],
    read_overflow: Callable[[], int],
) -> None:
    """Register instruments that read what is true when they are asked.

    Args:
        meter_provider: The application's.
        read_figures: The newest judged minutes.
        read_uncounted: Spans that were not counted, by reason.
        read_overflow: Requests that were counted in an overflow series.
    """
    meter = meter_provider.get_meter(SCOPE.name, SCOPE.version)
    for gauge in GAUGES:
        meter.create_observable_gauge(gauge.name, [_observe_gauge(gauge, read_figures)], gauge.unit, gauge.description)
    for total in SUMS:
        create = meter.create_observable_counter if total.is_monotonic else meter.create_observable_up_down_counter
        create(total.name, [_observe_sum(total, read_figures)], total.unit, total.description)
    meter.create_observable_counter(
        UNCOUNTED_SPANS,
        [lambda _: [Observation(count, {REASON: reason}) for reason, count in read_uncounted().items() if count]],
        "{span}",
        "Server spans that were not counted, by reason.",
    )
    meter.create_observable_counter(
        OVERFLOW_SPANS,
        [lambda _: [Observation(read_overflow())]],
        "{span}",
        "Counted in an overflow series.",
    )


def _observe_gauge(gauge: GaugeMetric, read: Callable[[], Iterable[Labelled]]) -> Observe:
    def observe(_: CallbackOptions) -> Iterator[Observation]:
        for figures, attributes in read():
            figure = gauge.figure(figures)
            if figure is not None:
                yield Observation(float(figure), attributes)

    return observe


def _observe_sum(total: SumMetric, read: Callable[[], Iterable[Labelled]]) -> Observe:
    def observe(_: CallbackOptions) -> Iterator[Observation]:
        for figures, attributes in read():
            for value, count in total.figures(figures):
                yield Observation(count, {**attributes, total.attribute: value})

    return observe
