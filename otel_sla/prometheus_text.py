"""Metrics of the SDK as Prometheus' text format 0.0.4."""

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum

from opentelemetry.sdk.metrics.export import HistogramDataPoint, Metric, NumberDataPoint


class Kind(Enum):
    """What an instrument measures; the value is Prometheus' word for it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


def prometheus_name(name: str, unit: str, kind: Kind) -> str:
    """Translate a name as the specification of OpenTelemetry and Prometheus says ("Metric Metadata").

    >>> prometheus_name("sla.ledger.commit_duration", "s", Kind.HISTOGRAM)
    'sla_ledger_commit_duration_seconds'
    >>> prometheus_name("otelcol_process_cpu_seconds", "s", Kind.COUNTER)
    'otelcol_process_cpu_seconds_total'
    """
    translated = name.replace(".", "_")
    suffix = {"s": "seconds", "By": "bytes"}.get(unit)  # Units in braces are annotations and are left out.
    if suffix and not translated.endswith(f"_{suffix}"):
        translated = f"{translated}_{suffix}"
    return f"{translated}_total" if kind is Kind.COUNTER else translated


def metric_lines(metric: Metric, kind: Kind) -> Iterator[str]:
    """Give the lines of one metric, with what it is before its points."""
    name = prometheus_name(metric.name, metric.unit or "", kind)
    yield f"# HELP {name} {_escaped(metric.description or '')}"
    yield f"# TYPE {name} {kind.value}"
    for point in metric.data.data_points:
        labels = {key.replace(".", "_"): str(value) for key, value in (point.attributes or {}).items()}
        if isinstance(point, NumberDataPoint):
            yield f"{name}{_labels_text(labels)} {point.value}"
        elif isinstance(point, HistogramDataPoint):
            yield from _histogram_lines(name, labels, point)


def _histogram_lines(name: str, labels: Mapping[str, str], point: HistogramDataPoint) -> Iterator[str]:
    bounds: Iterable[str] = (*(str(bound) for bound in point.explicit_bounds), "+Inf")
    count = 0
    for bound, bucket_count in zip(bounds, point.bucket_counts, strict=True):
        count += bucket_count
        yield f"{name}_bucket{_labels_text({**labels, 'le': bound})} {count}"
    yield f"{name}_sum{_labels_text(labels)} {point.sum}"
    yield f"{name}_count{_labels_text(labels)} {point.count}"


def _labels_text(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = ",".join(f'{key}="{_escaped(value, quote=True)}"' for key, value in labels.items())
    return f"{{{pairs}}}"


def _escaped(text: str, *, quote: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text
