"""The report as JSON, schema `otel-sla.report/v1` (docs/report.schema.json).

Keys come in a fixed order, times in UTC, ratios as decimal strings that are truncated to 8 places. Readers have to
pass over keys that they do not know.
"""

import re
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import orjson

from otel_sla.report.document import AgreementReport, CountedBy, ExclusionReport, Report, SeriesReport
from otel_sla.report.terms import Term, each_counting_term, each_term
from otel_sla.sla.figures_text import minute_text, moment_text, ratio_text, term_text
from otel_sla.sla.uptime import DowntimePeriod, MonthFigures

SCHEMA = "otel-sla.report/v1"

Object = dict[str, Any]

# JSON escapes those below the blank. A terminal takes U+009B in a name for the beginning of a control sequence as well.
_CONTROLS = re.compile("[\x7f-\x9f]")


def render_json(report: Report) -> str:
    """Write the report as JSON text; ends with a line feed."""
    return object_text(report_object(report))


def object_text(report: Object) -> str:
    """Write a `report_object`."""
    text = orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def report_object(report: Report) -> Object:
    """Give the report as plain dicts, lists, strings and numbers, keys in the schema's order."""
    return {
        "schema": SCHEMA,
        "month": str(report.month),
        "generated_at": moment_text(report.generated_at.replace(microsecond=0)),
        "agreements": [_agreement_object(agreement) for agreement in report.agreements],
    }


def _agreement_object(report: AgreementReport) -> Object:
    agreement = report.agreement
    return {
        "name": agreement.name,
        "time_zone": agreement.time_zone,
        "target": term_text(agreement.target),
        "error_rate_above": term_text(agreement.downtime.error_rate_above),
        "counting": agreement.counting.value,
        "start": minute_text(report.minutes.start_minute),
        "stop": minute_text(report.minutes.stop_minute),
        "version": report.version,
        "closed_by_version": report.closed_version,
        "as_closed": report.is_as_closed,
        "later_exclusions": report.has_later_exclusions,
        "configured": report.configured,
        "breached": report.breached,
        "counted_by": [_counted_object(counted) for counted in report.counted_by],
        "terms": _term_objects(each_term(agreement)),
        "series": [_series_object(series) for series in report.series],
        "exclusions": [exclusion_object(exclusion) for exclusion in report.exclusions],
    }


def figures_object(figures: MonthFigures) -> Object:
    """Give the figures of one series as they stand in the report."""
    minutes = ("total", "elapsed", "up", "down", "excluded", "low_traffic", "no_data")
    requests, spans = ("valid", "failed", "invalid"), figures.spans
    beside = {name: getattr(spans, name) for name in ("spared", "sampled", "unthresholded")}
    exact = dict(zip(requests, map(term_text, figures.adjusted), strict=True))
    return {
        "minutes": {name: getattr(figures, name) for name in minutes},
        "requests": {**{name: getattr(figures, name) for name in requests}, **beside, "spans": spans.total},
        **({"requests_adjusted": exact} if figures.parts > 1 else {}),
        "sampled_share": _optional_ratio_text(spans.sampled_share),
        "monthly_uptime": ratio_text(figures.monthly_uptime),
        "monthly_uptime_raw": ratio_text(figures.monthly_uptime_raw),
        "elapsed_uptime": _optional_ratio_text(figures.elapsed_uptime),
        "coverage": _optional_ratio_text(figures.coverage),
        "downtime_minutes_allowed": figures.downtime_minutes_allowed,
        "downtime_minutes_raw": figures.down_raw,
        "breached": figures.is_breached,
    }


def _series_object(report: SeriesReport) -> Object:
    return {
        "group": report.series.group_text,
        "former": report.former,
        **figures_object(report.figures),
        "complete": report.is_complete,
        "downtime_periods": [period_object(period) for period in report.figures.downtime_periods],
        "exclusions": [exclusion_object(exclusion) for exclusion in report.exclusions],
    }


def _counted_object(counted: CountedBy) -> Object:
    return {
        "version": counted.version,
        "start": minute_text(counted.minutes.start_minute),
        "stop": minute_text(counted.minutes.stop_minute),
        "terms": _term_objects(each_counting_term(counted.agreement)),
        **({"derived": True} if counted.is_derived else {}),
    }


def _term_objects(terms: Iterable[Term]) -> list[Object]:
    return [{"clauses": clauses, "heading": heading, "text": text} for clauses, heading, text in terms]


def period_object(period: DowntimePeriod) -> Object:
    """Give a downtime period as it stands in the report."""
    counts = ("minutes", "minutes_in_month", "excluded_minutes", "valid", "failed")
    return {
        "start": minute_text(period.start_minute),
        "stop": minute_text(period.stop_minute),
        **{name: getattr(period, name) for name in counts},
    }


def exclusion_object(report: ExclusionReport) -> Object:
    """Give an exclusion as it stands in the report; what it does not have is left out."""
    window, withdrawn = report.window, report.withdrawn
    entry = {
        "reason": window.reason.value,
        "start": moment_text(window.start),
        "stop": moment_text(window.stop),
        "accepted": report.refusal is None,
        "minutes_saved": report.minutes_saved,
        "refusal": report.refusal and report.refusal.value,
        "announced_at": window.announced_at and moment_text(window.announced_at),
        "note": window.note,
        "id": report.exclusion_id,
        "recorded_by": window.recorded_at and window.recorded_by,
        "recorded_at": window.recorded_at and moment_text(window.recorded_at),
        "withdrawn_by": withdrawn and withdrawn.withdrawn_by,
        "withdrawn_at": withdrawn and moment_text(withdrawn.withdrawn_at),
        "withdrawn_why": withdrawn and withdrawn.why,
    }
    return {key: value for key, value in entry.items() if value is not None}


def _optional_ratio_text(ratio: Fraction | None) -> str | None:
    return None if ratio is None else ratio_text(ratio)
