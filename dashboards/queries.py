"""What the dashboard asks Prometheus: each query under a name, for the panels, the pictures and the tests alike.

A minute's point bears the time of the minute's end. A graph therefore asks in whole minutes (`$__interval` is one
minute or more), and for the worst of each step: a step of an hour must not hide a minute that was down.
"""

SELECTION = 'sla_agreement_name=~"$agreement", service_name=~"$group"'
BY_SERIES = "by (sla_agreement_name, service_name)"
STATUS = '__name__=~"sla_minute_status(_ratio)?"'  # VictoriaMetrics adds the unit, Prometheus does not.
STATES = {"up": 1, "no_data": 2, "low_traffic": 3, "excluded": 4, "down": 5}  # Of several minutes the highest is drawn.


def newest(metric: str) -> str:
    """Give the newest point of a figure that has one each minute."""
    return f"{metric}{{{SELECTION}}}"


def worst(function: str, metric: str) -> str:
    """Give the lowest or highest point of each step, one line a series."""
    return f"{function} {BY_SERIES} ({function}_over_time({metric}{{{SELECTION}}}[$__interval]))"


def _states() -> str:
    """Number the state of each minute; of a step that holds several minutes the worst."""
    numbered = (
        f'max_over_time({{{STATUS}, {SELECTION}, sla_minute_state="{state}"}}[$__interval]) * {number}'
        for state, number in STATES.items()
    )
    return f"max {BY_SERIES} ({' or '.join(numbered)})"


# Grafana rounds, and 99.99996 % must not be shown as 100 %: cut after three places. The addition is for what binary
# fractions lack: 0.9995 is a little less than that.
_TRUNCATED = "floor({} * 100000 + 0.0001) / 1000"

UPTIME_LOWEST = _TRUNCATED.format(f"min({newest('sla_monthly_uptime_ratio')})")
TARGET_LOWEST = _TRUNCATED.format(f"min({newest('sla_monthly_uptime_target_ratio')})")
BUDGET_LOWEST = f"min({newest('sla_downtime_budget_seconds')}) / 60"
DOWNTIME_HIGHEST = f"max({newest('sla_downtime_seconds')}) / 60"
COVERAGE_LOWEST = _TRUNCATED.format(f"min({newest('sla_coverage_ratio')})")

UPTIME = worst("min", "sla_monthly_uptime_ratio")
TARGET = worst("min", "sla_monthly_uptime_target_ratio")
BUDGET = f"{worst('min', 'sla_downtime_budget_seconds')} / 60"
ERROR_RATE = worst("max", "sla_error_rate_ratio")
LIMIT = "vector($limit)"
MINUTE_STATES = _states()
COVERAGE = worst("min", "sla_coverage_ratio")
REQUESTS = f"sum by (sla_request_outcome) (rate({newest('sla_requests_total')}[$__rate_interval])) * 60"

SERIES_UPTIME = _TRUNCATED.format(f"min {BY_SERIES} ({newest('sla_monthly_uptime_ratio')})")
SERIES_RAW = _TRUNCATED.format(f"min {BY_SERIES} ({newest('sla_monthly_uptime_raw_ratio')})")
SERIES_TARGET = _TRUNCATED.format(f"min {BY_SERIES} ({newest('sla_monthly_uptime_target_ratio')})")
SERIES_DOWNTIME = f"max {BY_SERIES} ({newest('sla_downtime_seconds')}) / 60"
SERIES_BUDGET = f"min {BY_SERIES} ({newest('sla_downtime_budget_seconds')}) / 60"
SERIES_COVERAGE = _TRUNCATED.format(f"min {BY_SERIES} ({newest('sla_coverage_ratio')})")

# Of each step the worst minute: Grafana asks for annotations in steps of some minutes, whatever a panel does.
DOWN = f'max {BY_SERIES} (max_over_time({{{STATUS}, {SELECTION}, sla_minute_state="down"}}[$__interval])) > 0'
EVENTS = '{service_name="otel-sla"} | sla_agreement_name=~"$agreement"'  # LogQL, for events in Loki.

AGREEMENTS = "label_values(sla_coverage_ratio, sla_agreement_name)"
GROUPS = 'label_values(sla_coverage_ratio{sla_agreement_name=~"$agreement"}, service_name)'

# How otel-sla itself does, scraped as the job `otel-sla`: of each panel its lines, as (legend, query).
_JOB = '{job="otel-sla"}'


def _per_s(metric: str) -> str:
    return f"sum(rate({metric}{_JOB}[$__rate_interval]))"


OWN = {
    "Alerts": (
        (
            "{{alertname}}",
            'count by (alertname) (ALERTS{alertname=~"(Sla|OtelSla).*", alertstate="firing"}) or on () vector(0)',
        ),
    ),
    "Spans a second": (
        ("accepted", _per_s("otelcol_receiver_accepted_spans_total")),
        ("refused, to be sent again", _per_s("otelcol_receiver_refused_spans_total")),
        ("rejected: late", _per_s("sla_receiver_late_spans_total")),
        ("rejected: ahead of the clock", _per_s("sla_receiver_future_spans_total")),
        ("rejected: malformed", _per_s("sla_receiver_malformed_spans_total")),
    ),
    "Since the newest span": (("{{sla_agreement_name}}", "time() - sla_agreement_last_span_timestamp_seconds"),),
    "Judging and clock": (
        ("judging lags by", "sla_judge_lag_seconds"),
        ("spans are ahead of the clock by", "sla_receiver_clock_lead_seconds"),
    ),
    "Waiting for backends": (("{{exporter}} {{data_type}}", f"otelcol_exporter_queue_size{_JOB}"),),
    "Age of the oldest that waits": (("{{exporter}} {{data_type}}", "sla_exporter_oldest_age_seconds"),),
    "Failed attempts a minute": (
        (
            "{{exporter}} {{data_type}}: {{reason}}",
            "sum by (exporter, data_type, reason) (rate(sla_exporter_failed_attempts_total[$__rate_interval])) * 60",
        ),
    ),
    "Ledger and its disk": (
        ("ledger", "sla_ledger_size_bytes"),
        ("its log", "sla_ledger_log_size_bytes"),
        ("free", "sla_ledger_disk_free_bytes"),
    ),
}
