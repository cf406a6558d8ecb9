"""An agreement as the JSON that the ledger keeps of it, and back.

A closed month stays judged by the terms that closed it, whatever is configured since. So the terms are kept exact:
ratios as "n/d", times with their offset.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from fractions import Fraction
from typing import Any

from otel_sla.errors import LedgerCorrupt
from otel_sla.ledger.records import Json
from otel_sla.sla.agreement import (
    SERVER_FAULT_GRPC_STATUS,
    Agreement,
    CodeRule,
    Condition,
    Counting,
    DowntimeTerms,
    ExclusionReason,
    ExclusionTerms,
    ExclusionWindow,
    NoData,
    NoStatusCode,
    Scope,
    Selector,
    WhenAbsent,
)

SCHEMA = "otel-sla.terms/v2"


# What the first schema does not say: the outcome rules of its time had nothing of it.
_SCHEMA_V1 = "otel-sla.terms/v1"


_V1_DEFAULTS: Json = {
    "covered_any": [],
    "failed": [],
    "failed_grpc_status": sorted(SERVER_FAULT_GRPC_STATUS),
    "counting": Counting.REQUESTS.value,
    "outcome_rules": 1,
}


_Object = Mapping[str, Any]


def terms_of(agreement: Agreement) -> Json:
    """Give the agreement as plain dicts, lists, strings and numbers: equal ones for equal agreements."""
    code = agreement.code
    downtime = agreement.downtime
    return {
        "schema": SCHEMA,
        "name": agreement.name,
        "covered_service": _selector_terms(agreement.covered_service),
        "covered_any": [_selector_terms(selector) for selector in agreement.covered_any],
        "entry_spans_only": agreement.entry_spans_only,
        "group_by": list(agreement.group_by),
        "invalid": [_selector_terms(rule) for rule in agreement.invalid],
        "no_status_code": agreement.no_status_code.value,
        "failed_http_status": sorted(agreement.failed_http_status),
        "code": None
        if code is None
        else {"attribute": code.attribute, "values": list(code.values), "when_absent": code.when_absent.value},
        "failed_grpc_status": sorted(agreement.failed_grpc_status),
        "failed": [_selector_terms(rule) for rule in agreement.failed],
        "counting": agreement.counting.value,
        "outcome_rules": agreement.outcome_rules,
        "downtime": {
            "error_rate_above": _ratio_term(downtime.error_rate_above),
            "valid_requests_min": downtime.valid_requests_min,
            "period_minutes_min": downtime.period_minutes_min,
            "no_data": downtime.no_data.value,
        },
        "target": _ratio_term(agreement.target),
        "time_zone": agreement.time_zone,
        "exclusions": {
            "notice_business_days_min": agreement.exclusions.notice_business_days_min,
            "holidays": [day.isoformat() for day in agreement.exclusions.holidays],
            "windows": [_window_terms(window) for window in agreement.exclusions.windows],
        },
    }


def agreement_of(terms: Json) -> Agreement:
    """Give back the agreement that `terms_of` made the terms of, in this version or in an earlier one.

    Raises:
        LedgerCorrupt: These are no such terms.
    """
    known: _Object = {**_V1_DEFAULTS, **terms, "schema": SCHEMA} if terms.get("schema") == _SCHEMA_V1 else terms
    if known.get("schema") != SCHEMA:
        raise LedgerCorrupt(f"the terms of an agreement are {known.get('schema')!r}, this otel-sla reads {SCHEMA!r}")
    try:
        return _agreement(known)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise LedgerCorrupt(f"the terms of an agreement cannot be read: {error!r}") from error


def _agreement(known: _Object) -> Agreement:
    code, downtime, exclusions = known["code"], known["downtime"], known["exclusions"]
    return Agreement(
        name=known["name"],
        covered_service=_selector(known["covered_service"]),
        covered_any=tuple(map(_selector, known["covered_any"])),
        entry_spans_only=known["entry_spans_only"],
        group_by=tuple(known["group_by"]),
        invalid=tuple(map(_selector, known["invalid"])),
        no_status_code=NoStatusCode(known["no_status_code"]),
        failed_http_status=frozenset(known["failed_http_status"]),
        code=None
        if code is None
        else CodeRule(code["attribute"], tuple(code["values"]), WhenAbsent(code["when_absent"])),
        failed_grpc_status=frozenset(known["failed_grpc_status"]),
        failed=tuple(map(_selector, known["failed"])),
        counting=Counting(known["counting"]),
        outcome_rules=known["outcome_rules"],
        downtime=DowntimeTerms(
            error_rate_above=Fraction(downtime["error_rate_above"]),
            valid_requests_min=downtime["valid_requests_min"],
            period_minutes_min=downtime["period_minutes_min"],
            no_data=NoData(downtime["no_data"]),
        ),
        target=Fraction(known["target"]),
        time_zone=known["time_zone"],
        exclusions=ExclusionTerms(
            notice_business_days_min=exclusions["notice_business_days_min"],
            holidays=tuple(map(date.fromisoformat, exclusions["holidays"])),
            windows=tuple(map(_window, exclusions["windows"])),
        ),
    )


def _ratio_term(ratio: Fraction) -> str:
    return f"{ratio.numerator}/{ratio.denominator}"


def _selector_terms(selector: Selector) -> list[dict[str, object]]:
    return [
        {"scope": condition.scope.value, "key": condition.key, "patterns": list(condition.patterns)}
        for condition in selector
    ]


def _selector(terms: Sequence[_Object]) -> Selector:
    return tuple(
        Condition(Scope(condition["scope"]), condition["key"], tuple(condition["patterns"])) for condition in terms
    )


def _window_terms(window: ExclusionWindow) -> dict[str, object]:
    return {
        "reason": window.reason.value,
        "start": window.start.isoformat(),
        "stop": window.stop.isoformat(),
        "group": None if window.group is None else [list(pair) for pair in window.group],
        "announced_at": None if window.announced_at is None else window.announced_at.isoformat(),
        "note": window.note,
        "recorded_by": window.recorded_by,
        "recorded_at": None if window.recorded_at is None else window.recorded_at.isoformat(),
    }


def _window(terms: _Object) -> ExclusionWindow:
    group = terms["group"]
    return ExclusionWindow(
        reason=ExclusionReason(terms["reason"]),
        start=datetime.fromisoformat(terms["start"]),
        stop=datetime.fromisoformat(terms["stop"]),
        group=None if group is None else tuple((key, value) for key, value in group),
        announced_at=_optional_time(terms["announced_at"]),
        note=terms["note"],
        recorded_by=terms["recorded_by"],
        recorded_at=_optional_time(terms["recorded_at"]),
    )


def _optional_time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
