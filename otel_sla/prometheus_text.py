"""Metrics in Prometheus' text format, version 0.0.4.

Names and labels are the Collector's own way of showing itself: dots become underscores, nothing is appended for unit
or type.
"""

import math
import re
from collections.abc import Iterable, Mapping

from opentelemetry.sdk.metrics.export import Histogram, HistogramDataPoint, Metric, MetricsData, NumberDataPoint, Sum

_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_:]")
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


def prometheus_text(data: MetricsData | None) -> str:
    """Write all metrics; None and metrics without a point are nothing."""
    if data is None:
        return ""
    metrics = (
        metric
        for of_resource in data.resource_metrics
        for of_scope in of_resource.scope_metrics
        for metric in of_scope.metrics
    )
    return "".join(f"{line}\n" for metric in metrics for line in _metric_lines(metric))


def _metric_lines(metric: Metric) -> Iterable[str]:
    name = _NOT_IN_NAMES.sub("_", metric.name)
    unit = f" ({metric.unit})" if metric.unit else ""
    yield f"# HELP {name} {(metric.description or '').translate(_HELP_ESCAPES)}{unit}"
    yield f"# TYPE {name} {_type_of(metric)}"
    for point in metric.data.data_points:
        if isinstance(point, NumberDataPoint):
            yield f"{name}{_labels(point.attributes)} {_number(point.value)}"
        elif isinstance(point, HistogramDataPoint):
            yield from _histogram_lines(name, point)


def _type_of(metric: Metric) -> str:
    if isinstance(metric.data, Histogram):
        return "histogram"
    return "counter" if isinstance(metric.data, Sum) and metric.data.is_monotonic else "gauge"


def _histogram_lines(name: str, point: HistogramDataPoint) -> Iterable[str]:
    count = 0
    for bound, in_bucket in zip([*point.explicit_bounds, math.inf], point.bucket_counts, strict=True):
        count += in_bucket
        labels = _labels({**(point.attributes or {}), "le": _number(bound)})
        yield f"{name}_bucket{labels} {count}"
    yield f"{name}_sum{_labels(point.attributes)} {_number(point.sum)}"
    yield f"{name}_count{_labels(point.attributes)} {point.count}"


def _labels(attributes: Mapping[str, object] | None) -> str:
    pairs = [
        f'{_NOT_IN_NAMES.sub("_", key)}="{str(value).translate(_ESCAPES)}"' for key, value in (attributes or {}).items()
    ]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)
