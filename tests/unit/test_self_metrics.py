"""The pipeline's own telemetry."""

import doctest
import re
from dataclasses import replace

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_sla import self_metrics
from otel_sla.self_metrics import FAILURES, INSTRUMENTS, ExporterCounts, SelfMetrics, prometheus_name


@pytest.fixture
def metrics() -> SelfMetrics:
    """The telemetry of one pipeline."""
    return SelfMetrics()


def samples(metrics: SelfMetrics) -> dict[str, float]:
    """The samples of the Prometheus text, by name and labels."""
    lines = [line for line in metrics.prometheus_text().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_counts_are_shown_as_they_are(metrics: SelfMetrics) -> None:
    """Every integer attribute: its counter shows what was added, under its Prometheus name."""
    shown = {}
    for number, instrument in enumerate(INSTRUMENTS, start=1):
        if isinstance(getattr(metrics, instrument.short_name, None), int):
            setattr(metrics, instrument.short_name, number)
            name = prometheus_name(instrument.name, instrument.unit, instrument.kind)
            shown[name + '{receiver="otlp"}' * name.startswith("otelcol_receiver_")] = number
    found = samples(metrics)
    assert len(shown) == 13
    assert {name: found[name] for name in shown} == shown


def test_unusable_statuses_are_shown_by_key(metrics: SelfMetrics) -> None:
    """What was seen on counted spans adds up; each status key has its line, also one that was never seen."""
    for _ in range(2):
        metrics.unusable_status_spans.update({"grpc.status_code": 2})
        metrics.spared_requests += 4
    found = samples(metrics)
    assert found['sla_receiver_unusable_status_spans_total{key="grpc.status_code"}'] == 4
    assert found['sla_receiver_unusable_status_spans_total{key="http.status_code"}'] == 0
    assert found["sla_receiver_spared_requests_total"] == 8


def test_counters_go_on(metrics: SelfMetrics) -> None:
    """A second reading after more counts: the running total, not the difference."""
    metrics.accepted_spans += 3
    metrics.prometheus_text()
    metrics.accepted_spans += 4
    assert samples(metrics)['otelcol_receiver_accepted_spans_total{receiver="otlp"}'] == 7


def test_the_names_of_the_process_are_the_collectors(metrics: SelfMetrics) -> None:
    """Uptime, memory and CPU: the Collector's names with Prometheus' units, and plausible values."""
    found = samples(metrics)
    assert found["otelcol_process_uptime_seconds_total"] >= 0
    assert found["otelcol_process_memory_rss_bytes"] > 1_000_000
    assert found["otelcol_process_cpu_seconds_total"] > 0


def test_a_commit_counts_its_rows_and_its_time(metrics: SelfMetrics) -> None:
    """Two commits: rows add up, and each falls into its bucket of the histogram."""
    metrics.record_commit(0.0003, 5)
    metrics.record_commit(20.0, 2)
    found = samples(metrics)
    assert found["sla_ledger_committed_rows_total"] == 7
    assert found['sla_ledger_commit_duration_seconds_bucket{le="0.00025"}'] == 0
    assert found['sla_ledger_commit_duration_seconds_bucket{le="0.0005"}'] == 1
    assert found['sla_ledger_commit_duration_seconds_bucket{le="10.0"}'] == 1
    assert found['sla_ledger_commit_duration_seconds_bucket{le="+Inf"}'] == 2
    assert found["sla_ledger_commit_duration_seconds_count"] == 2
    assert found["sla_ledger_commit_duration_seconds_sum"] == pytest.approx(20.0003)


def test_acknowledgements_have_a_histogram(metrics: SelfMetrics) -> None:
    """Requests answered one by one and together: the SDK's own histogram of the same latencies has the same point."""
    reader = InMemoryMetricReader()
    twin = (
        MeterProvider([reader], shutdown_on_exit=False)
        .get_meter("twin")
        .create_histogram("twin", explicit_bucket_boundaries_advisory=self_metrics._LATENCY_BOUNDS_S)
    )
    metrics.record_ack_latency(0.25)
    metrics.record_ack_latencies(100.0, [])
    metrics.record_ack_latencies(100.0, [100.0, 99.99, 99.5, 75.0])
    for latency_s in (0.25, 0.0, 100.0 - 99.99, 0.5, 25.0):
        twin.record(latency_s)
    (own,) = (metric for metric in metrics.read() if metric.name == "sla.receiver.ack_latency")
    expected = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics[0].data
    assert own.data.aggregation_temporality == expected.aggregation_temporality
    ((point,), (of_twin,)) = own.data.data_points, expected.data_points
    assert point.start_time_unix_nano <= point.time_unix_nano
    times = {"start_time_unix_nano": 0, "time_unix_nano": 0}
    assert replace(point, **times) == replace(of_twin, **times)


def test_latencies_are_absent_until_there_is_one(metrics: SelfMetrics) -> None:
    """Nothing was answered: no histogram, as the SDK has none then."""
    assert not any("ack_latency" in name or "commit_duration" in name for name in samples(metrics))


def test_values_of_other_owners(metrics: SelfMetrics) -> None:
    """Two exporters register one counter: each has its line; what is not registered or not known is absent."""
    metrics.register("otelcol_exporter_sent_log_records", lambda: 2, {"exporter": "otlp"})
    metrics.register("otelcol_exporter_sent_log_records", lambda: 3, {"exporter": 'a "b"\\\n'})
    metrics.register("sla.ledger.series", lambda: None)
    found = samples(metrics)
    assert found['otelcol_exporter_sent_log_records_total{exporter="otlp"}'] == 2
    assert found['otelcol_exporter_sent_log_records_total{exporter="a \\"b\\"\\\\\\n"}'] == 3
    assert not [name for name in found if name.startswith(("sla_ledger_series", "otelcol_exporter_queue_size"))]


def test_an_exporter_has_its_lines() -> None:
    """What an exporter's delivery counts: under the Collector's names, with what waits, how old that is, and why."""
    metrics = SelfMetrics(clock=lambda: 1_000_000_000_000)
    counts = ExporterCounts()
    metrics.register_exporter("otlp/2", counts)
    counts.events.n_sent, counts.events.n_refused = 1, 3
    counts.figures.n_sent, counts.figures.n_refused = 20, 4
    counts.events.n_waiting, counts.events.oldest_unix_nano = 5, 400_000_000_000
    counts.events.failed_attempts["sender"] += 2
    counts.figures.last_success_unix_s = 990.0
    label, logs, of_metrics = (f'exporter="otlp/2"{more}' for more in ("", ',data_type="logs"', ',data_type="metrics"'))
    expected = {
        f"otelcol_exporter_sent_log_records_total{{{label}}}": 1,
        f"otelcol_exporter_sent_metric_points_total{{{label}}}": 20,
        f"otelcol_exporter_send_failed_log_records_total{{{label}}}": 3,
        f"otelcol_exporter_send_failed_metric_points_total{{{label}}}": 4,
        f"otelcol_exporter_queue_size{{{logs}}}": 5,
        f"otelcol_exporter_queue_size{{{of_metrics}}}": 0,
        f"sla_exporter_oldest_age_seconds{{{logs}}}": 600,
        f"sla_exporter_oldest_age_seconds{{{of_metrics}}}": 0,
        f"sla_exporter_last_success_timestamp_seconds{{{of_metrics}}}": 990,
    }
    for data_type in (logs, of_metrics):
        for reason in FAILURES:
            name = f'sla_exporter_failed_attempts_total{{{data_type},reason="{reason}"}}'
            expected[name] = 2 if (data_type, reason) == (logs, "sender") else 0
    assert {name: value for name, value in samples(metrics).items() if label in name} == expected


def test_unknown_names_are_our_own_mistake(metrics: SelfMetrics) -> None:
    """Registering what the table does not have, or a histogram: refused."""
    for name in ("sla.receiver.nothing", "sla.receiver.ack_latency"):
        with pytest.raises(AssertionError, match=re.escape(name)):
            metrics.register(name, lambda: 1)


def test_totals_for_the_last_line(metrics: SelfMetrics) -> None:
    """At the stop: counts by their short names, those of all exporters together; no seconds, no gauges."""
    metrics.accepted_spans = 10
    metrics.register("otelcol_exporter_sent_log_records", lambda: 2, {"exporter": "otlp"})
    metrics.register("otelcol_exporter_sent_log_records", lambda: 3, {"exporter": "debug"})
    metrics.register("otelcol_exporter_queue_size", lambda: 9)
    metrics.register("sla.exporter.failed_attempts", lambda: 4)
    assert metrics.totals() == {
        "accepted_spans": 10,
        "refused_spans": 0,
        "failed_spans": 0,
        "sent_log_records": 5,
        "failed_attempts": 4,
        "late_spans": 0,
        "future_spans": 0,
        "malformed_spans": 0,
        "duplicate_spans": 0,
        "overflow_spans": 0,
        "unusable_status_spans": 0,
        "unusable_threshold_spans": 0,
        "unknown_parent_spans": 0,
        "sampled_spans": 0,
        "spared_requests": 0,
        "committed_rows": 0,
    }


def test_the_text_is_well_formed(metrics: SelfMetrics) -> None:
    """Every line: a HELP, a TYPE of its kind, or a sample whose name belongs to the TYPE above it."""
    metrics.record_ack_latency(1)
    name = ""
    for line in metrics.prometheus_text().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert kind in {"counter", "gauge", "histogram"}
        elif not line.startswith("# HELP "):
            assert re.fullmatch(rf"{name}(_bucket|_sum|_count)?(\{{.*\}})? \S+", line)


def test_the_examples_in_the_docstrings_hold() -> None:
    """The module's doctests give what they show."""
    failed, attempted = doctest.testmod(self_metrics)
    assert attempted
    assert not failed


def test_requests_by_outcome(metrics: SelfMetrics) -> None:
    """A server's answers: successes, internal failures, and what the sender is to blame for or shall repeat."""
    metrics.register_receiver("http", {200: 3, 400: 1, 500: 2, 503: 4})
    assert {
        name: value for name, value in samples(metrics).items() if name.startswith("otelcol_receiver_requests_total")
    } == {
        'otelcol_receiver_requests_total{receiver="otlp",transport="http",outcome="success"}': 3,
        'otelcol_receiver_requests_total{receiver="otlp",transport="http",outcome="failure"}': 2,
        'otelcol_receiver_requests_total{receiver="otlp",transport="http",outcome="refused"}': 5,
    }
