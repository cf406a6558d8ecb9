"""An agreement in words: each term that differs is said differently."""

from dataclasses import replace
from datetime import date
from fractions import Fraction
from typing import Any

import pytest
from sla_parts import make_agreement, make_terms

from otel_sla.report.terms import each_term, selector_text
from otel_sla.sla.agreement import (
    CodeRule,
    Condition,
    Counting,
    ExclusionTerms,
    NoData,
    NoStatusCode,
    Scope,
    WhenAbsent,
)

COVERED = (Condition(Scope.RESOURCE, "service.name", ("chat-*", "bot")), Condition(Scope.SPAN, "http.route", ("/v1",)))


def said_of(**changes: Any) -> str:  # noqa: ANN401  any term
    """The words of the contract's agreement with some terms changed."""
    return " ".join(words for _, _, words in each_term(replace(make_agreement(), **changes)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"covered_service": COVERED}, "service.name is \u201cchat-*\u201d or \u201cbot\u201d and span http.route"),
        ({"entry_spans_only": True}, "that have no parent or a remote one"),
        ({"group_by": ()}, "All requests are judged together."),
        ({"group_by": ("a", "b")}, "Each distinct value of \u201ca\u201d and \u201cb\u201d."),
        ({"invalid": (COVERED[1:],)}, "Nor are those for which span http.route is \u201c/v1\u201d."),
        ({"no_status_code": NoStatusCode.INVALID}, "Those without a status code are not valid either"),
        (
            {"no_status_code": NoStatusCode.INVALID, "outcome_rules": 1},
            "Those without a status code that bear an error are not valid either",
        ),
        ({"covered_any": (COVERED[:1], COVERED[1:])}, "for which one of these holds: resource service.name is"),
        ({"covered_any": (COVERED[:1], COVERED[1:])}, "; or span http.route is"),
        ({"outcome_rules": 1}, "An HTTP status decides alone where there is one"),
        ({"failed": (COVERED[1:],)}, "Those for which span http.route is \u201c/v1\u201d, whatever their status; HTTP"),
        ({"failed_grpc_status": frozenset({13, 14})}, "; gRPC INTERNAL or UNAVAILABLE"),
        ({"failed_grpc_status": frozenset({13, 14})}, "UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED or DATA_LOSS have"),
        ({"failed_grpc_status": frozenset()}, "; no gRPC code"),
        ({"counting": Counting.ADJUSTED}, "the requests that the sampling threshold T in its tracestate (ot=th) says"),
        ({"no_status_code": NoStatusCode.SPAN_STATUS}, "a span status ERROR"),
        ({"failed_http_status": frozenset({500, 502, 503})}, "HTTP 500, 502-503;"),
        ({"code": CodeRule("app.code", ("x",), WhenAbsent.FAILED)}, "app.code is \u201cx\u201d or absent"),
        ({"code": CodeRule("app.code", ("x",), WhenAbsent.FAILED)}, "has succeeded, and is counted as spared"),
        ({"downtime": make_terms(Fraction(1, 3000))}, "exactly 0.03333333 % is not above"),
        ({"downtime": make_terms(valid_requests_min=5)}, "fewer than 5 valid requests"),
        ({"downtime": make_terms(period_minutes_min=3)}, "At least 3 consecutive minutes"),
        ({"downtime": make_terms(no_data=NoData.DOWN)}, "is down, from the first one with data on"),
        ({"downtime": make_terms(no_data=NoData.CARRY)}, "if the last judged one was; an excluded minute judges"),
        ({"downtime": make_terms(no_data=NoData.CARRY), "outcome_rules": 1}, "judged one was, an excluded one too."),
        ({"target": Fraction(9995, 10000)}, "At least 99.95 % monthly uptime"),
        ({"time_zone": "Asia/Kolkata"}, "Asia/Kolkata"),
        (
            {"exclusions": ExclusionTerms(1, (date(2026, 12, 25),), ())},
            "announced 1 business day before. Holidays: 2026",
        ),
    ],
)
def test_a_term_is_said(changes: dict[str, Any], words: str) -> None:
    """What is agreed stands in the words, and does not where it is not agreed."""
    assert words in said_of(**changes)
    assert words not in said_of(**{"no_status_code": NoStatusCode.SUCCEEDED} | {"name": "other"})


def test_every_term_names_its_clauses() -> None:
    """The terms cover clauses 1 to 19 but those that speak of recording and delivery, in their order."""
    clauses = [clause for clause, _, _ in each_term(make_agreement())]
    assert clauses == ["1\u20133", "3", "4", "4", "4", "5", "6", "7", "8", "9\u201311", "12\u201314", "19"]


def test_clause_19_the_basis_of_counting_is_said() -> None:
    """Every report says that sampled traces are counted as they came, and not extrapolated."""
    assert "Each span that was received counts as one request" in said_of()


def test_nothing_asked_is_said() -> None:
    """An empty selector, which holds always, is not an empty sentence."""
    assert selector_text(()) == "nothing is asked"
