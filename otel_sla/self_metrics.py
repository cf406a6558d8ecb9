"""The pipeline's own metrics: what it took, refused and wrote, under the Collector's names where it has them.

Counts are plain integers that their owner adds to, latencies (per request and per commit, never per span) fall into
buckets; all of it is put into the SDK's data when it goes out. The SDK's own instruments are not used: to record a
latency took them 11 us, 6 % of a request. All of it belongs to the event loop's thread.
"""

import math
import os
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
)

from otel_sla.sla.agreement import STATUS_KEYS

Read = Callable[[], int | float | None]  # None: not known, not shown.


@dataclass(frozen=True, slots=True)
class Instrument:
    """One line of the table of instruments."""

    name: str
    unit: str  # UCUM.
    kind: str  # Prometheus' word: counter, gauge or histogram.
    description: str

    @property
    def short_name(self) -> str:
        """The last word, `accepted_spans`: the attribute of `SelfMetrics` that it shows, if there is one."""
        return self.name.rpartition(".")[2].removeprefix("otelcol_receiver_").removeprefix("otelcol_exporter_")


_C, _G, _H = "counter", "gauge", "histogram"

INSTRUMENTS = (
    Instrument("otelcol_receiver_accepted_spans", "{span}", _C, "Spans answered with success."),
    Instrument("otelcol_receiver_refused_spans", "{span}", _C, "Spans the sender must send again."),
    Instrument("otelcol_receiver_failed_spans", "{span}", _C, "Spans lost to an internal error."),
    Instrument("otelcol_receiver_requests", "{request}", _C, "Requests by transport and by outcome."),
    Instrument("otelcol_exporter_sent_log_records", "{record}", _C, "Events that the backend took."),
    Instrument("otelcol_exporter_sent_metric_points", "{datapoint}", _C, "Data points that the backend took."),
    Instrument("otelcol_exporter_send_failed_log_records", "{record}", _C, "Events that the backend refused for good."),
    Instrument("otelcol_exporter_send_failed_metric_points", "{datapoint}", _C, "Data points refused for good."),
    Instrument("otelcol_exporter_queue_size", "{item}", _G, "Events (logs) and judged minutes (metrics) that wait."),
    Instrument("sla.exporter.oldest_age", "s", _G, "Age of the oldest event, or minute, that waits; 0: none does."),
    Instrument("sla.exporter.failed_attempts", "{attempt}", _C, "Attempts that failed, by where the reason lies."),
    Instrument("sla.exporter.last_success_timestamp", "s", _G, "When the backend last took something."),
    Instrument("otelcol_process_uptime", "s", _C, "Time since the pipeline was made."),
    Instrument("otelcol_process_memory_rss", "By", _G, "Physical memory of the process."),
    Instrument("otelcol_process_cpu_seconds", "s", _C, "User and system CPU time of the process."),
    Instrument("process.start_time", "s", _G, "When the pipeline was made, seconds since the Unix epoch."),
    Instrument("sla.pipeline.ready", "{pipeline}", _G, "1 while requests are welcome (/readyz), else 0."),
    Instrument("sla.receiver.late_spans", "{span}", _C, "Rejected: older than what is still open."),
    Instrument("sla.receiver.future_spans", "{span}", _C, "Rejected: too far ahead of the clock."),
    Instrument("sla.receiver.malformed_spans", "{span}", _C, "Rejected: no end time."),
    Instrument("sla.receiver.duplicate_spans", "{span}", _C, "Repeats, not counted again."),
    Instrument("sla.receiver.clock_lead", "s", _G, "Of the newest spans' ends over the clock; negative: behind it."),
    Instrument("sla.receiver.overflow_spans", "{span}", _C, "Counted in an overflow series."),
    Instrument("sla.receiver.unusable_status_spans", "{span}", _C, "Counted; a status cannot be read, by its key."),
    Instrument(
        "sla.receiver.unusable_threshold_spans", "{span}", _C, "Counted; tracestate's threshold cannot be read."
    ),
    Instrument("sla.receiver.unknown_parent_spans", "{span}", _C, "Counted; whether the parent is remote is not said."),
    Instrument("sla.receiver.sampled_spans", "{span}", _C, "Counted; they bear a sampling threshold."),
    Instrument("sla.receiver.spared_requests", "{request}", _C, "Succeeded, as error_rate.code spares their status."),
    Instrument("sla.receiver.overloaded_requests", "{request}", _C, "Refused for want of room; to be sent again."),
    Instrument("sla.receiver.refused_connections", "{connection}", _C, "Over connections_max; of HTTP only."),
    Instrument("sla.receiver.in_flight_size", "By", _G, "Bytes that requests hold of receivers' memory limit."),
    Instrument("sla.receiver.ack_latency", "s", _H, "From a request's bytes to its answer, commit included."),
    Instrument("sla.ledger.commit_duration", "s", _H, "One durable transaction of counts."),
    Instrument("sla.ledger.committed_rows", "{row}", _C, "Rows of counts written to the ledger."),
    Instrument("sla.ledger.series", "{series}", _G, "Series that the ledger knows."),
    Instrument("sla.ledger.size", "By", _G, "The ledger's file."),
    Instrument("sla.ledger.log_size", "By", _G, "The write-ahead log beside it."),
    Instrument("sla.ledger.disk_free", "By", _G, "What the ledger's disk has left for it."),
    Instrument("sla.ledger.disk_size", "By", _G, "The ledger's disk."),
    Instrument("sla.judge.lag", "s", _G, "How far judging is behind the clock; negative: the ledger is ahead of it."),
    Instrument("sla.agreement.last_span_timestamp", "s", _G, "The newest minute with a span of the agreement."),
)

_KINDS = {instrument.name: instrument.kind for instrument in INSTRUMENTS}
_RECEIVER = {"receiver": "otlp"}  # The component id, as the Collector has it.
_ANSWER_OUTCOMES = {"OK": "success", 200: "success", 204: "success", "INTERNAL": "failure", 500: "failure"}
_ACK_LATENCY = "sla.receiver.ack_latency"
_COMMIT_DURATION = "sla.ledger.commit_duration"
# A commit takes 0.2 to 0.5 ms on a local disk, seconds on a bad network drive.
_LATENCY_BOUNDS_S = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

FAILURES = ("backend", "sender", "item", "unclear", "ledger", "internal")  # `refusal.Blame`, or a reason on our side.


@dataclass(slots=True)
class SignalCounts:
    """What one exporter sent of one kind of data, how its attempts go, and what waits."""

    what: str  # For people: "events".
    n_sent: int = 0  # Log records or points.
    n_refused: int = 0  # For good.
    n_requests_taken: int = 0
    last_success_unix_s: float | None = None  # None: not since the start.
    failed_attempts: Counter[str] = field(default_factory=Counter)  # By FAILURES.
    n_waiting: int = 0  # Events, or minutes whose figures wait.
    oldest_unix_nano: int | None = None  # When the oldest of them happened; None: nothing waits.

    def note_success(self, n_items: int = 0) -> None:
        """Count a request that the backend took."""
        self.n_sent += n_items
        self.n_requests_taken += 1
        self.last_success_unix_s = time.time()


@dataclass(slots=True)
class ExporterCounts:
    """What one exporter has sent; its delivery adds to it."""

    events: SignalCounts = field(default_factory=lambda: SignalCounts("events"))
    figures: SignalCounts = field(default_factory=lambda: SignalCounts("figures"))


class Latencies:
    """Counts durations by bucket, as OTLP's histogram has them."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_LATENCY_BOUNDS_S) + 1)
        self._sum_s, self._min_s, self._max_s = 0.0, math.inf, -math.inf

    def record(self, duration_s: float) -> None:
        """Add a duration; a bucket's upper bound belongs to it."""
        self._counts[bisect_left(_LATENCY_BOUNDS_S, duration_s)] += 1
        self._sum_s += duration_s
        # Calls of min and max would take longer than all of it.
        if duration_s < self._min_s:  # noqa: PLR1730
            self._min_s = duration_s
        if duration_s > self._max_s:  # noqa: PLR1730
            self._max_s = duration_s

    def points(self, start_time_unix_nano: int, time_unix_nano: int) -> list[HistogramDataPoint]:
        """Give the one point of the histogram; none before the first duration."""
        if not (count := sum(self._counts)):
            return []
        figures = count, self._sum_s, tuple(self._counts), _LATENCY_BOUNDS_S, self._min_s, self._max_s
        return [HistogramDataPoint({}, start_time_unix_nano, time_unix_nano, *figures)]


class SelfMetrics:
    """The pipeline's own counters and latencies; `clock`, ns since the Unix epoch, is for the ages.

    The integer attributes are there to be added to; they never go down.
    """

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self.accepted_spans = 0
        self.refused_spans = 0
        self.failed_spans = 0
        self.late_spans = 0
        self.future_spans = 0
        self.malformed_spans = 0
        self.duplicate_spans = 0
        self.overflow_spans = 0
        self.unusable_threshold_spans = 0
        self.unknown_parent_spans = 0
        self.sampled_spans = 0
        self.spared_requests = 0
        self.unusable_status_spans: Counter[str] = Counter()  # By the attribute's key.
        self.committed_rows = 0
        self._reads: dict[str, list[tuple[Read, Mapping[str, str]]]] = defaultdict(list)
        self._latencies = {_ACK_LATENCY: Latencies(), _COMMIT_DURATION: Latencies()}
        self._started_unix_nano = time.time_ns()
        for instrument in INSTRUMENTS:
            if isinstance(getattr(self, instrument.short_name, None), int):
                attributes = _RECEIVER if instrument.name.startswith("otelcol_receiver_") else {}
                self.register(instrument.name, partial(getattr, self, instrument.short_name), attributes)
        for key in STATUS_KEYS:
            read = partial(self.unusable_status_spans.__getitem__, key)
            self.register("sla.receiver.unusable_status_spans", read, {"key": key})
        started_s = time.monotonic()
        self.register("process.start_time", lambda: self._started_unix_nano / 1e9)
        self.register("otelcol_process_uptime", lambda: time.monotonic() - started_s)
        self.register("otelcol_process_memory_rss", memory_rss_bytes)
        self.register("otelcol_process_cpu_seconds", time.process_time)

    def record_ack_latency(self, seconds: float) -> None:
        """Record how long one request waited for its answer."""
        self._latencies[_ACK_LATENCY].record(seconds)

    def record_ack_latencies(self, now_s: float, arrived_s: Iterable[float]) -> None:
        """Record how long requests waited that are answered at `now_s`."""
        record = self._latencies[_ACK_LATENCY].record
        for each_s in arrived_s:
            record(now_s - each_s)

    def record_commit(self, seconds: float, n_rows: int) -> None:
        """Record one commit of `n_rows` rows of counts."""
        self.committed_rows += n_rows
        self._latencies[_COMMIT_DURATION].record(seconds)

    def register(self, name: str, read: Read, attributes: Mapping[str, str] | None = None) -> None:
        """Show a value that another part owns, such as a queue's size.

        Args:
            name: Of a counter or gauge in `INSTRUMENTS`.
            read: Gives the value now; called at each export. A counter's never goes down.
            attributes: Distinguish several owners of one instrument, such as `{"exporter": "otlp"}`.
        """
        assert _KINDS.get(name) in (_C, _G), f"no counter or gauge: {name!r}"
        self._reads[name].append((read, dict(attributes or {})))

    def register_exporter(self, name: str, counts: ExporterCounts) -> None:
        """Show what one exporter counts, under its component id."""
        for of_signal, data_type, items in (
            (counts.events, "logs", "log_records"),
            (counts.figures, "metrics", "metric_points"),
        ):
            exporter = {"exporter": name}
            self.register(f"otelcol_exporter_sent_{items}", partial(getattr, of_signal, "n_sent"), exporter)
            self.register(f"otelcol_exporter_send_failed_{items}", partial(getattr, of_signal, "n_refused"), exporter)
            attributes = {**exporter, "data_type": data_type}
            self.register("otelcol_exporter_queue_size", partial(getattr, of_signal, "n_waiting"), attributes)
            self.register("sla.exporter.oldest_age", partial(self._oldest_age_s, of_signal), attributes)
            self.register_attempts(of_signal, attributes)

    def register_attempts(self, counts: SignalCounts, attributes: Mapping[str, str]) -> None:
        """Show how attempts to send one kind of data go."""
        last_success = partial(getattr, counts, "last_success_unix_s")
        self.register("sla.exporter.last_success_timestamp", last_success, attributes)
        for reason in FAILURES:
            read = partial(counts.failed_attempts.__getitem__, reason)
            self.register("sla.exporter.failed_attempts", read, {**attributes, "reason": reason})

    def register_receiver(self, transport: str, answers: Mapping[Any, int]) -> None:
        """Show a server's requests by their outcome, as the Collector does: the sender's fault is `refused`.

        `answers` counts each gRPC status name or HTTP status; the server goes on adding to it.
        """
        for outcome in ("success", "failure", "refused"):
            attributes = {**_RECEIVER, "transport": transport, "outcome": outcome}
            self.register("otelcol_receiver_requests", partial(_count_of, answers, outcome), attributes)

    def totals(self) -> dict[str, int]:
        """Give the counts of things by the last word of their names: `accepted_spans`, `sent_log_records`, …."""
        totals: dict[str, int] = {}
        for instrument in INSTRUMENTS:
            is_count = instrument.kind == _C and instrument.unit.startswith("{")
            if is_count and instrument.name in self._reads:
                totals[instrument.short_name] = sum(int(read() or 0) for read, _ in self._reads[instrument.name])
        return totals

    def prometheus_text(self) -> str:
        """Give all of it as Prometheus' text format 0.0.4, for `GET /metrics`."""
        return "".join(f"{line}\n" for metric in self.read() for line in _metric_lines(metric))

    def read(self) -> list[Metric]:
        """Give all of it as the SDK's data; sums run from the start of the pipeline."""
        now = time.time_ns()
        made = [(instrument, self._data(instrument, now)) for instrument in INSTRUMENTS]
        return [Metric(each.name, each.description, each.unit, data) for each, data in made if data.data_points]

    def points(self) -> tuple[tuple[str, Mapping[str, str], float], ...]:
        """Give each counter's and gauge's value now: name, attributes, value."""
        return tuple(
            (name, attributes, value)
            for name, reads in self._reads.items()
            for read, attributes in reads
            if (value := read()) is not None
        )

    def _data(self, instrument: Instrument, now: int) -> Sum | Gauge | Histogram:
        start, temporality = self._started_unix_nano, AggregationTemporality.CUMULATIVE
        if instrument.kind == _H:
            return Histogram(self._latencies[instrument.name].points(start, now), temporality)
        points = [
            NumberDataPoint(attributes, start, now, value)
            for read, attributes in self._reads.get(instrument.name, ())
            if (value := read()) is not None
        ]
        return Gauge(points) if instrument.kind == _G else Sum(points, temporality, is_monotonic=True)

    def _oldest_age_s(self, counts: SignalCounts) -> float:
        oldest = counts.oldest_unix_nano
        return 0.0 if oldest is None else max(0.0, (self._clock() - oldest) / 1e9)


def _count_of(answers: Mapping[Any, int], outcome: str) -> int:
    return sum(count for status, count in answers.items() if _ANSWER_OUTCOMES.get(status, "refused") == outcome)


def memory_rss_bytes() -> int | None:
    """Read the resident memory of this process, where the system has Linux' `/proc`."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def prometheus_name(name: str, unit: str, kind: str) -> str:
    """Translate a name as the specification of OpenTelemetry and Prometheus says ("Metric Metadata").

    >>> prometheus_name("otelcol_process_cpu_seconds", "s", "counter")
    'otelcol_process_cpu_seconds_total'
    """
    translated = name.replace(".", "_")
    suffix = {"s": "seconds", "By": "bytes"}.get(unit)  # Units in braces are annotations and are left out.
    if suffix and not translated.endswith(f"_{suffix}"):
        translated = f"{translated}_{suffix}"
    return f"{translated}_total" if kind == _C else translated


def _metric_lines(metric: Metric) -> Iterator[str]:
    kind = _KINDS[metric.name]
    name = prometheus_name(metric.name, metric.unit or "", kind)
    yield f"# HELP {name} {_escaped(metric.description or '')}"
    yield f"# TYPE {name} {kind}"
    for point in metric.data.data_points:
        labels = {key.replace(".", "_"): str(value) for key, value in (point.attributes or {}).items()}
        if isinstance(point, NumberDataPoint):
            yield f"{name}{_labels_text(labels)} {point.value}"
        elif isinstance(point, HistogramDataPoint):
            yield from _histogram_lines(name, labels, point)


def _histogram_lines(name: str, labels: Mapping[str, str], point: HistogramDataPoint) -> Iterator[str]:
    for bound, count in zip((*point.explicit_bounds, "+Inf"), accumulate(point.bucket_counts), strict=True):
        yield f"{name}_bucket{_labels_text({**labels, 'le': str(bound)})} {count}"
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
