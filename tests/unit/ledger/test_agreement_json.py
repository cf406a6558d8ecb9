"""Terms of agreements as the ledger keeps them."""

import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction

import pytest
from agreements import PRESENTS, random_agreement
from hypothesis import given, settings
from hypothesis import strategies as st
from sla_parts import make_agreement, make_terms

from otel_sla.errors import LedgerCorrupt
from otel_sla.ledger.agreement_json import agreement_of, terms_of
from otel_sla.ledger.sql import to_json
from otel_sla.sla.agreement import (
    Agreement,
    Condition,
    Counting,
    ExclusionReason,
    ExclusionTerms,
    ExclusionWindow,
    Scope,
)

RATIOS = st.fractions(min_value=0, max_value=1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def make_window(start: datetime) -> ExclusionWindow:
    """One window of an hour."""
    return ExclusionWindow(
        reason=ExclusionReason.FORCE_MAJEURE,
        start=start,
        stop=start + timedelta(hours=1),
        group=(("service.name", "chat-1"),),
        announced_at=None,
        note="",
        recorded_by="configuration",
        recorded_at=None,
    )


@st.composite
def any_agreement(draw: st.DrawFn) -> Agreement:
    """An agreement with any terms, names and ratios, and windows at any offset."""
    rng = random.Random(draw(st.integers(0, 1 << 32)))
    drawn = random_agreement(rng, draw(TEXTS), PRESENTS[0])
    offset = timezone(timedelta(minutes=draw(st.integers(-719, 719))))
    start = draw(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1))).replace(tzinfo=offset)  # noqa: DTZ001
    windows = (*drawn.exclusions.windows, replace(make_window(start), note=draw(TEXTS)))
    return replace(
        drawn,
        target=draw(RATIOS),
        downtime=replace(drawn.downtime, error_rate_above=draw(RATIOS)),
        exclusions=replace(drawn.exclusions, windows=windows),
    )


@settings(derandomize=True, deadline=None, max_examples=200)
@given(any_agreement())
def test_terms_give_the_agreement_back(agreement: Agreement) -> None:
    """Any agreement, through the ledger's JSON text: equal afterwards, to the last ratio, and the same text again."""
    text = to_json(terms_of(agreement))
    assert text is not None
    back = agreement_of(json.loads(text))
    assert back == agreement
    assert to_json(terms_of(back)) == text


@settings(derandomize=True, deadline=None, max_examples=100)
@given(any_agreement(), any_agreement())
def test_different_agreements_have_different_terms(one: Agreement, other: Agreement) -> None:
    """Terms are equal exactly where the agreements are: nothing that decides a verdict is left out."""
    assert (terms_of(one) == terms_of(other)) == (one == other)


@pytest.mark.parametrize(
    "change",
    [
        {"target": Fraction(999_000_000_001, 10**12)},
        {"downtime": make_terms(Fraction(1, 3))},
        {"downtime": make_terms(period_minutes_min=2)},
        {"time_zone": "Asia/Kolkata"},
        {"group_by": ()},
        {"failed_http_status": frozenset({500})},
        {"entry_spans_only": True},
        {"covered_any": ((Condition(Scope.SPAN, "a", ("b",)),),)},
        {"failed": ((Condition(Scope.SPAN, "a", ("b",)),),)},
        {"failed_grpc_status": frozenset({13})},
        {"counting": Counting.ADJUSTED},
        {"outcome_rules": 1},
        {"exclusions": ExclusionTerms(2, (), ())},
        {"exclusions": ExclusionTerms(3, (), (make_window(datetime(2026, 11, 6, tzinfo=UTC)),))},
    ],
)
def test_each_term_makes_other_terms(change: dict[str, object]) -> None:
    """One term changed, however little: other terms, so a version of its own."""
    agreement = make_agreement()
    assert terms_of(replace(agreement, **change)) != terms_of(agreement)  # type: ignore[arg-type]


def test_terms_of_the_first_schema_say_the_rules_of_their_time() -> None:
    """A ledger of version 0.1.0: nothing of what came later is in them, and they are another agreement than today's."""
    agreement = make_agreement()
    later = ("covered_any", "failed", "failed_grpc_status", "counting", "outcome_rules")
    v1 = {key: value for key, value in terms_of(agreement).items() if key not in later}
    back = agreement_of(v1 | {"schema": "otel-sla.terms/v1"})
    assert back == replace(agreement, outcome_rules=1)
    assert agreement.outcome_rules == 2


@pytest.mark.parametrize(
    "broken",
    [{}, {"schema": "otel-sla.terms/v9"}, {"schema": "otel-sla.terms/v2"}, {"target": "a"}, {"target": "1/0"}],
)
def test_terms_that_cannot_be_read_raise_an_error(broken: dict[str, object]) -> None:
    """Another schema, missing or senseless terms: the ledger's own error."""
    terms = {**terms_of(make_agreement()), **broken} if "target" in broken else broken
    with pytest.raises(LedgerCorrupt, match="the terms of an agreement"):
        agreement_of(terms)
