"""Which alerts of dashboards/alerts.yaml have to fire, by what two scrapes of otel-sla's own metrics say.

Their conditions only, on what has settled: what a rule waits for (`for`), and the rates within minutes, are the matter
of promtool's tests beside them. The rules on the agreements' figures are not looked at but for `SlaBreached`.
"""

from collections.abc import Mapping

from year.service import largest, total

_REJECTED = ("sla_receiver_late_spans_total", "sla_receiver_future_spans_total", "sla_receiver_malformed_spans_total")
_UNUSABLE = ("sla_receiver_unusable_status_spans_total", "sla_receiver_unusable_threshold_spans_total")


def firing(before: Mapping[str, float], now: Mapping[str, float]) -> set[str]:
    """The alerts whose conditions hold.

    Args:
        before: A scrape some 15 minutes earlier; counters are compared with it, and with 0 where it started anew since.
        now: The newest.
    """

    def increase(name: str) -> float:
        last, former = total(now, name), total(before, name)
        return last - former if last >= former else last

    lead, lag = now.get("sla_receiver_clock_lead_seconds", 0), now.get("sla_judge_lag_seconds", 0)
    free, size = now["sla_ledger_disk_free_bytes"], now["sla_ledger_disk_size_bytes"]
    refused = {name: value for name, value in now.items() if _is_refusal(name)}
    conditions = {
        "OtelSlaNotReady": now["sla_pipeline_ready"] == 0,
        "OtelSlaExporterStuck": largest(now, "sla_exporter_oldest_age_seconds") > 900,
        "OtelSlaEventsRefused": increase("otelcol_exporter_send_failed_log_records_total") > 0,
        "OtelSlaSendersRefused": any(value > before.get(name, 0) for name, value in refused.items()),
        "OtelSlaSpansRejected": any(increase(name) > 0 for name in _REJECTED),
        "OtelSlaSpansUnusable": any(increase(name) > 0 for name in _UNUSABLE),
        "OtelSlaClockDiffers": lead > 300 or lead < -1800 or lag < -300,
        "OtelSlaJudgingLags": lag > 300,
        "OtelSlaDiskNearlyFull": free < 0.1 * size,
    }
    return {name for name, holds in conditions.items() if holds}


def _is_refusal(name: str) -> bool:
    return name.startswith("otelcol_receiver_requests_total{") and 'outcome="success"' not in name
