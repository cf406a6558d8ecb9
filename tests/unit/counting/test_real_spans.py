"""What real senders write on a span, and what becomes of it: from bytes to outcomes (clauses 1, 4 and 19)."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Value, make_request_of, make_span
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from sla_parts import make_agreement

from otel_sla.counting.classify.classifier import Classifier, Requests
from otel_sla.counting.minute_ring import MinuteRing
from otel_sla.sla.agreement import CodeRule, Condition, NoStatusCode, Outcome, Scope, WhenAbsent
from otel_sla.sla.counts import COUNT_MAX, OUTCOME_BITS, PARTS_PER_REQUEST, AcceptWindow, Count, CountRows
from otel_sla.sla.series import SeriesTable
from otel_sla.spans.request import decode_request

PAGE = Path(__file__).resolve().parents[3] / "docs" / "clauses.md"
HTTP, OLD_HTTP = "http.response.status_code", "http.status_code"
STRICT = CodeRule("error.type", ("Internal Error",), WhenAbsent.FAILED)
SUCCEEDED, FAILED, INVALID = Outcome


@dataclass(frozen=True)
class Sent:
    """One server span, and the agreement that it counts for."""

    attributes: Mapping[str, Value]
    outcome: Outcome
    terms: Mapping[str, Any] = field(default_factory=dict)
    span: Mapping[str, Any] = field(default_factory=dict)
    unusable: tuple[str, ...] = ()
    is_spared: bool = False


ASPNETCORE = {
    "http.request.method": "POST",
    "http.route": "/greet.Greeter/SayHello",
    "network.protocol.version": "2",
    HTTP: 200,
    "rpc.system": "grpc",
}
ENVOY = {
    "component": "proxy",
    "http.method": "POST",
    OLD_HTTP: "200",
    "grpc.path": "/greet.Greeter/SayHello",
    "response_flags": "-",
}
SENT = {
    "aspnetcore_grpc_internal": Sent({**ASPNETCORE, "rpc.grpc.status_code": 13}, FAILED),
    "aspnetcore_grpc_ok": Sent({**ASPNETCORE, "rpc.grpc.status_code": 0}, SUCCEEDED),
    "aspnetcore_grpc_not_found": Sent({**ASPNETCORE, "rpc.grpc.status_code": 5}, INVALID),
    "envoy_grpc_unavailable": Sent({**ENVOY, "grpc.status_code": "14"}, FAILED),
    "envoy_grpc_ok": Sent({**ENVOY, "grpc.status_code": "0"}, SUCCEEDED),
    "double_500": Sent({OLD_HTTP: 500.0}, FAILED),
    "double_404_with_an_error": Sent({OLD_HTTP: 404.0}, INVALID, span={"status_code": 2}),
    "grpc_name": Sent({"rpc.grpc.status_code": "INTERNAL"}, FAILED),
    "grpc_digits": Sent({"rpc.grpc.status_code": "13"}, FAILED),
    "grpc_double": Sent({"rpc.grpc.status_code": 13.0}, FAILED),
    "grpc_lower_case": Sent({"rpc.response.status_code": "internal"}, FAILED),
    "grpc_camel_case": Sent({"rpc.response.status_code": "DeadlineExceeded"}, FAILED),
    "connect_error": Sent({HTTP: 200, "rpc.connect_rpc.error_code": "internal"}, FAILED),
    "connect_client_error": Sent({HTTP: 200, "rpc.connect_rpc.error_code": "canceled"}, INVALID),
    "text_that_is_no_status": Sent({HTTP: "Server Error"}, SUCCEEDED, unusable=(HTTP,)),
    "number_that_is_no_status": Sent({HTTP: 99}, SUCCEEDED, unusable=(HTTP,)),
    "array_as_status": Sent({OLD_HTTP: [500]}, SUCCEEDED, unusable=(OLD_HTTP,)),
    "unreadable_beside_an_error": Sent({HTTP: "?"}, FAILED, span={"status_code": 2}, unusable=(HTTP,)),
    "no_status_no_error_invalid": Sent({}, INVALID, {"no_status_code": NoStatusCode.INVALID}),
    "parent_unknown_flags_0": Sent(
        {HTTP: 500}, FAILED, {"entry_spans_only": True}, {"flags": 0, "parent_span_id": b"12345678"}
    ),
    "parent_unknown_flags_1": Sent(
        {HTTP: 500}, FAILED, {"entry_spans_only": True}, {"flags": 1, "parent_span_id": b"12345678"}
    ),
    "fastapi_500_under_a_rule_on_error_type": Sent(
        {HTTP: 500, "error.type": "500"}, SUCCEEDED, {"code": STRICT}, is_spared=True
    ),
    "graphql_error_in_an_answer_200": Sent(
        {HTTP: 200, "graphql.response.has_errors": True},
        FAILED,
        {"failed": ((Condition(Scope.SPAN, "graphql.response.has_errors", ("true",)),),)},
    ),
    "grpc_under_the_strict_reading": Sent(
        {**ASPNETCORE, "rpc.grpc.status_code": 13}, SUCCEEDED, {"failed_grpc_status": frozenset()}
    ),
}


def count(*spans: Span, **terms: Any) -> tuple[Requests, CountRows]:  # noqa: ANN401  fields of the agreement
    """Count spans, from their bytes."""
    agreements = [replace(make_agreement(), **terms)]
    table = SeriesTable(agreements, series_max=10)
    classifier, ring = Classifier(agreements, table), MinuteRing()
    columns = decode_request(make_request_of(*spans), classifier.watch)
    requests = classifier.classify(columns, AcceptWindow(0, 2**64 - 1), np.ones(1, dtype=np.bool_))
    ring.add(requests)
    return requests, ring.drain()


@pytest.mark.parametrize("sent", SENT.values(), ids=SENT)
def test_clause_4_what_real_senders_write(sent: Sent) -> None:
    """A span as a real sender writes it becomes what the clause says, and what cannot be read is noted."""
    requests, rows = count(make_span(sent.attributes, **sent.span), **sent.terms)
    assert [Outcome(outcome) for outcome in requests.outcome_bits & OUTCOME_BITS] == [sent.outcome]
    assert rows.counts[0, Count.SPARED] == sent.is_spared
    notes = requests.notes
    assert sorted(notes.unusable_status_spans if notes else ()) == sorted(sent.unusable)


def worked_spans() -> dict[str, str]:
    """The page's worked spans: number -> outcome."""
    _, _, table = PAGE.read_text(encoding="utf-8").partition("| # | Span | Outcome |\n")
    rows = (re.split(r" *\| *", line.strip("| ")) for line in table.partition("\n\n")[0].splitlines()[1:])
    return {number: outcome for number, _, outcome in rows}


WORKED = {
    "9": SENT["aspnetcore_grpc_internal"],
    "10": SENT["aspnetcore_grpc_not_found"],
    "11": Sent({HTTP: 503, "rpc.grpc.status_code": 0}, FAILED),
    "12": SENT["double_500"],
    "13": SENT["grpc_name"],
    "14": SENT["fastapi_500_under_a_rule_on_error_type"],
    "15": SENT["no_status_no_error_invalid"],
}


@pytest.mark.parametrize("number", WORKED, ids=lambda number: f"worked_case_{number}")
def test_the_pages_spans_become_what_it_says(number: str) -> None:
    """Each span of the page's second table has the outcome that stands there."""
    sent = WORKED[number]
    assert list(worked_spans()) == list(WORKED)
    requests, rows = count(make_span(sent.attributes, **sent.span), **sent.terms)
    words = re.split(r"\W+", worked_spans()[number])
    assert Outcome(requests.outcome_bits[0] & OUTCOME_BITS).name.lower() == words[0]
    assert bool(rows.counts[0, Count.SPARED]) == ("spared" in words)


THRESHOLDS = st.integers(0, 2**56 - 1) | st.builds(lambda bits: 2**56 - (1 << bits), st.integers(0, 56))


def excess_of(threshold: int) -> int:
    """By how many parts a span stands for more than itself."""
    adjusted = Fraction(2**56, 2**56 - threshold) * PARTS_PER_REQUEST
    return min(math.floor(adjusted + Fraction(1, 2)) - PARTS_PER_REQUEST, COUNT_MAX)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.lists(st.tuples(THRESHOLDS, st.sampled_from([200, 404, 500])), min_size=1, max_size=20))
def test_clause_19_adjusted_counts_are_exact(drawn: list[tuple[int, int]]) -> None:
    """Spans of any thresholds: what each stands for is the Fraction rounded half up, and sums of them are exact."""
    spans = [make_span({HTTP: status}, trace_state=f"ot=th:{threshold:014x}") for threshold, status in drawn]
    _, rows = count(*spans)
    expected = dict.fromkeys((200, 500, 404), 0)
    for threshold, status in drawn:
        expected[status] = min(expected[status] + excess_of(threshold), COUNT_MAX)
    assert rows.counts[0, Count.SUCCEEDED_EXCESS :].tolist() == list(expected.values())
    assert rows.counts[0, Count.SAMPLED] == sum(threshold > 0 for threshold, _ in drawn)
    assert rows.counts[0, Count.THRESHOLDED] == len(drawn)


def test_clause_19_tail_sampling_that_keeps_the_errors() -> None:
    """All 6 errors and 1 of 16 successes are kept: 6 of 100 spans stand for 6 of 1,510 requests, which is 0.4 %."""
    errors = [make_span({HTTP: 500}, trace_state="ot=th:0") for _ in range(6)]
    _, rows = count(*errors, *[make_span({HTTP: 200}, trace_state="ot=th:f") for _ in range(94)])
    succeeded, failed, *_ = rows.counts[0].tolist()
    adjusted_failed = failed + Fraction(int(rows.counts[0, Count.FAILED_EXCESS]), PARTS_PER_REQUEST)
    adjusted = adjusted_failed + succeeded + Fraction(int(rows.counts[0, Count.SUCCEEDED_EXCESS]), PARTS_PER_REQUEST)
    assert (adjusted_failed, adjusted) == (6, 1510)
    assert rows.counts[0, [Count.SAMPLED, Count.THRESHOLDED]].tolist() == [94, 100]


def test_clause_19_thresholds_are_read_as_tracestate_has_them() -> None:
    """Missing digits are zeros, other members and fields are passed over, what is none is noted and as if absent."""
    usable = {"ot=th:8": 1, "ot=th:80000000000000": 1, "a=b, ot=rv:1;th:C": 3, "ot=th:f": 15, "ot=th:0": 0}
    for trace_state, excess in usable.items():
        requests, rows = count(make_span({HTTP: 200}, trace_state=trace_state))
        assert rows.counts[0, Count.THRESHOLDED :].tolist() == [1, excess * PARTS_PER_REQUEST, 0, 0], trace_state
        assert (requests.notes is None) == (excess == 0)
    for trace_state in ("", "ot=rv:1", "th:8", "ot=th:", "ot=th:800000000000000", "ot=th:0x8"):
        requests, rows = count(make_span({HTTP: 200}, trace_state=trace_state))
        assert rows.counts[0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0], trace_state
        is_unusable = "ot=th" in trace_state
        assert (0 if requests.notes is None else requests.notes.unusable_threshold_spans) == is_unusable
