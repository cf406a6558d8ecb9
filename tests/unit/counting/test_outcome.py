"""Clause 4 rule by rule, through the whole classifier."""

from collections import Counter

import pytest
from column_parts import SpanRow, Value, agreement_of, classify_spans

from otel_sla.counting.classify.notes import Notes
from otel_sla.counting.classify.outcome import NO_STATUS, status_index
from otel_sla.sla.agreement import (
    GRPC_STATUS_KEYS,
    HTTP_STATUS_KEYS,
    Agreement,
    CodeRule,
    Condition,
    NoStatusCode,
    Outcome,
    Scope,
    WhenAbsent,
)
from otel_sla.sla.counts import OUTCOME_BITS, SPARED_BIT
from otel_sla.spans.columns import ValueType

HTTP = "http.response.status_code"
STRICT = agreement_of(
    failed_http_status=frozenset({500}),
    code=CodeRule("error.type", ("Internal Error", "a*"), WhenAbsent.FAILED),
)


def outcome(attributes: dict[str, Value], agreement: Agreement | None = None, *, span_status_code: int = 0) -> Outcome:
    """What becomes of one request."""
    span = SpanRow(attributes, span_status_code=span_status_code)
    requests, _ = classify_spans([agreement_of() if agreement is None else agreement], [span])
    assert len(requests) == 1
    return Outcome(requests.outcome_bits[0] & OUTCOME_BITS)


def noted(attributes: dict[str, Value], agreement: Agreement) -> Notes | None:
    """What is noted of one request."""
    requests, _ = classify_spans([agreement], [SpanRow(attributes)])
    return requests.notes


def test_clause_4_rule_1_invalid_rule_wins_over_every_status() -> None:
    """A request that matches an invalid rule is invalid, even with a status that fails."""
    agreement = agreement_of(invalid=((Condition(Scope.SPAN, "feature.stage", ("alpha", "beta")),),))
    assert outcome({"feature.stage": "beta", HTTP: 500}, agreement) is Outcome.INVALID
    assert outcome({"feature.stage": "ga", HTTP: 500}, agreement) is Outcome.FAILED


def test_clause_4_rule_1_needs_every_condition_of_one_rule() -> None:
    """Two conditions of one rule must hold together; of two rules one is enough."""
    both = (Condition(Scope.SPAN, "a", ("1",)), Condition(Scope.SPAN, "b", ("1",)))
    agreement = agreement_of(invalid=(both, (Condition(Scope.SPAN, "c", ("1",)),)))
    assert outcome({"a": 1}, agreement) is Outcome.SUCCEEDED
    assert outcome({"a": 1, "b": 1}, agreement) is Outcome.INVALID
    assert outcome({"c": 1}, agreement) is Outcome.INVALID


def test_clause_4_rule_2_failed_rule_makes_a_good_answer_fail() -> None:
    """An answer 200 that bears an error failed; so does one of any status, but not one that an invalid rule takes."""
    has_errors = (Condition(Scope.SPAN, "graphql.response.has_errors", ("true",)),)
    agreement = agreement_of(failed=(has_errors,), invalid=((Condition(Scope.SPAN, "beta", ("1",)),),))
    assert outcome({HTTP: 200, "graphql.response.has_errors": True}, agreement) is Outcome.FAILED
    assert outcome({HTTP: 404, "graphql.response.has_errors": True}, agreement) is Outcome.FAILED
    assert outcome({"graphql.response.has_errors": True}, agreement) is Outcome.FAILED
    assert outcome({HTTP: 200, "graphql.response.has_errors": False}, agreement) is Outcome.SUCCEEDED
    assert outcome({HTTP: 200, "graphql.response.has_errors": True, "beta": 1}, agreement) is Outcome.INVALID


@pytest.mark.parametrize("status", [400, 404, 429, 499])
def test_clause_4_rule_3_http_4xx_is_invalid(status: int) -> None:
    """HTTP 400 to 499 is the client's fault."""
    assert outcome({HTTP: status}) is Outcome.INVALID


@pytest.mark.parametrize("status", [500, 503, 599])
def test_clause_4_rule_4_failing_set_fails(status: int) -> None:
    """With the default failing set each HTTP 5xx failed."""
    assert outcome({HTTP: status}) is Outcome.FAILED


def test_clause_4_rule_5_http_5xx_outside_the_failing_set_succeeds() -> None:
    """With a failing set of 500 alone, 503 is valid and succeeded."""
    agreement = agreement_of(failed_http_status=frozenset({500}))
    assert outcome({HTTP: 503}, agreement) is Outcome.SUCCEEDED
    assert outcome({HTTP: 500}, agreement) is Outcome.FAILED
    assert noted({HTTP: 503}, agreement) is None


def test_clause_4_strict_code_decides_what_a_500_is() -> None:
    """With a code rule: one of its values failed, another succeeded, none as configured; a star is no glob."""
    assert outcome({HTTP: 500, "error.type": "Internal Error"}, STRICT) is Outcome.FAILED
    assert outcome({HTTP: 500, "error.type": "internal error"}, STRICT) is Outcome.SUCCEEDED
    assert outcome({HTTP: 500, "error.type": "abc"}, STRICT) is Outcome.SUCCEEDED
    assert outcome({HTTP: 500, "error.type": "a*"}, STRICT) is Outcome.FAILED
    assert outcome({HTTP: 500, "error.type": ""}, STRICT) is Outcome.SUCCEEDED
    assert outcome({HTTP: 500}, STRICT) is Outcome.FAILED
    assert outcome({HTTP: 503, "error.type": "Internal Error"}, STRICT) is Outcome.SUCCEEDED


def test_clause_4_strict_code_absent_succeeds_where_configured() -> None:
    """A 500 without the code attribute succeeded where `when_absent` says so."""
    agreement = agreement_of(code=CodeRule("code", ("7",), WhenAbsent.SUCCEEDED))
    assert outcome({HTTP: 500}, agreement) is Outcome.SUCCEEDED
    assert outcome({HTTP: 500, "code": 7}, agreement) is Outcome.FAILED
    assert outcome({HTTP: 500, "code": 7.0}, agreement) is Outcome.SUCCEEDED
    assert outcome({HTTP: 500, "code": [7]}, agreement) is Outcome.SUCCEEDED


def test_clause_4_what_only_the_code_spares_is_noted() -> None:
    """A failing status that the code spares is a spared request, with the value seen; another success is none."""
    agreement = agreement_of(name="strict", code=CodeRule("error.type", ("Internal Error",), WhenAbsent.SUCCEEDED))
    for attributes, seen in (
        ({HTTP: 500, "error.type": "500"}, "'500'"),
        ({HTTP: 503}, "none"),
        ({HTTP: "500", "error.type": 7}, "7"),
    ):
        requests, _ = classify_spans([agreement], [SpanRow(attributes)])
        assert requests.outcome_bits.tolist() == [Outcome.SUCCEEDED | SPARED_BIT]
        assert requests.notes == Notes(spared_requests=1, spared_codes={"strict": {seen}})
    for attributes in ({HTTP: 200, "error.type": "x"}, {HTTP: 500, "error.type": "Internal Error"}, {HTTP: 404}):
        assert noted(attributes, agreement) is None
    many = [SpanRow({HTTP: 500, "error.type": str(number)}) for number in range(3)]
    requests, _ = classify_spans([agreement, agreement_of(name="plain")], many)
    assert (requests.outcome_bits > OUTCOME_BITS).tolist() == [True, False] * 3
    assert requests.notes == Notes(spared_requests=3, spared_codes={"strict": {"'2'"}})
    other = agreement_of(name="other", code=CodeRule("app.code", ("Internal Error",), WhenAbsent.SUCCEEDED))
    requests, _ = classify_spans([agreement, other], [SpanRow({HTTP: 500, "error.type": "500"})])
    assert requests.notes == Notes(spared_requests=2, spared_codes={"strict": {"'500'"}, "other": {"none"}})


@pytest.mark.parametrize("value", [0, "0", "OK", "Ok", "ok", 0.0, -0.0])
@pytest.mark.parametrize("key", GRPC_STATUS_KEYS)
def test_clause_4_rule_6_grpc_ok_succeeds(key: str, value: Value) -> None:
    """GRPC OK in each key and spelling succeeded, though the span says ERROR."""
    assert outcome({key: value}, span_status_code=2) is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (2, "UNKNOWN"),
        (4, "DEADLINE_EXCEEDED"),
        (12, "UNIMPLEMENTED"),
        (13, "INTERNAL"),
        (14, "UNAVAILABLE"),
        (15, "DATA_LOSS"),
    ],
)
def test_clause_4_rule_7_grpc_server_faults_fail(code: int, name: str) -> None:
    """The six codes that blame the server failed, by number and name in each form, in each key, beside HTTP 200 too."""
    camel = name.title().replace("_", "")
    for value in (code, str(code), float(code), name, name.lower(), camel, camel.lower()):
        for key in GRPC_STATUS_KEYS:
            assert outcome({key: value}) is Outcome.FAILED
            assert outcome({key: value, HTTP: 200}) is Outcome.FAILED


@pytest.mark.parametrize("code", [2, 4, 12, 13, 14, 15])
def test_clause_4_rule_8_server_faults_outside_the_failing_set_succeed(code: int) -> None:
    """Without gRPC codes in the failing set, as the contract reads strictly, they are valid and succeeded."""
    assert outcome({"rpc.grpc.status_code": code}, agreement_of(failed_grpc_status=frozenset())) is Outcome.SUCCEEDED
    others = agreement_of(failed_grpc_status=frozenset({13}))
    assert outcome({"rpc.grpc.status_code": code}, others) is (Outcome.FAILED if code == 13 else Outcome.SUCCEEDED)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (1, "CANCELLED"),
        (1, "canceled"),
        (3, "INVALID_ARGUMENT"),
        (5, "NOT_FOUND"),
        (6, "ALREADY_EXISTS"),
        (7, "PERMISSION_DENIED"),
        (8, "RESOURCE_EXHAUSTED"),
        (9, "FAILED_PRECONDITION"),
        (10, "ABORTED"),
        (11, "OUT_OF_RANGE"),
        (16, "UNAUTHENTICATED"),
    ],
)
def test_clause_4_rule_9_other_grpc_codes_are_invalid(code: int, name: str) -> None:
    """All other codes are invalid, by number and by name, whatever fails, beside HTTP 200 too."""
    assert outcome({"rpc.grpc.status_code": code}, agreement_of(failed_grpc_status=frozenset())) is Outcome.INVALID
    assert outcome({"rpc.response.status_code": name, HTTP: 200}) is Outcome.INVALID


@pytest.mark.parametrize("status", [100, 200, 302, 399])
def test_clause_4_rule_10_http_below_400_succeeds(status: int) -> None:
    """HTTP 100 to 399 without a gRPC status succeeded, though the span says ERROR."""
    assert outcome({HTTP: status}, span_status_code=2) is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (NoStatusCode.SPAN_STATUS, Outcome.FAILED),
        (NoStatusCode.SUCCEEDED, Outcome.SUCCEEDED),
        (NoStatusCode.INVALID, Outcome.INVALID),
    ],
)
@pytest.mark.parametrize("error", [None, "timeout", "", 7])
def test_clause_4_rule_11_error_without_status_code(policy: NoStatusCode, expected: Outcome, error: Value) -> None:
    """A span status ERROR, or any error.type, without a usable status code becomes what the policy says."""
    agreement = agreement_of(no_status_code=policy)
    assert outcome({"error.type": error}, agreement, span_status_code=0 if error is not None else 2) is expected


@pytest.mark.parametrize("policy", list(NoStatusCode))
@pytest.mark.parametrize("span_status_code", [0, 1, 3])
def test_clause_4_rule_11_nothing_seen(policy: NoStatusCode, span_status_code: int) -> None:
    """Without status code and error the request succeeded, or is invalid where the policy is that; an array is none."""
    expected = Outcome.INVALID if policy is NoStatusCode.INVALID else Outcome.SUCCEEDED
    assert outcome({}, agreement_of(no_status_code=policy), span_status_code=span_status_code) is expected
    assert outcome({"error.type": [1]}, agreement_of(no_status_code=policy)) is expected


@pytest.mark.parametrize(
    ("http", "grpc", "expected"),
    [
        (200, 13, Outcome.FAILED),
        (200, 5, Outcome.INVALID),
        (200, 0, Outcome.SUCCEEDED),
        (399, "UNAVAILABLE", Outcome.FAILED),
        (400, 13, Outcome.INVALID),
        (404, 0, Outcome.INVALID),
        (503, 0, Outcome.FAILED),
        (503, 5, Outcome.FAILED),
        (200, 17, Outcome.SUCCEEDED),
        ("200", "14", Outcome.FAILED),
    ],
)
def test_clause_4_grpc_decides_below_http_400(http: Value, grpc: Value, expected: Outcome) -> None:
    """An HTTP status below 400 says that the transport worked; from 400 on the call did not reach the service."""
    for http_key in HTTP_STATUS_KEYS:
        for grpc_key in GRPC_STATUS_KEYS:
            assert outcome({http_key: http, grpc_key: grpc}) is expected


def test_clause_4_first_usable_key_counts() -> None:
    """The newer key goes first, but only with a usable value."""
    assert outcome({HTTP: 500, "http.status_code": 200}) is Outcome.FAILED
    assert outcome({HTTP: 99, "http.status_code": 200}, span_status_code=2) is Outcome.SUCCEEDED
    assert outcome({HTTP: True, "http.status_code": "404"}) is Outcome.INVALID
    assert outcome({"rpc.grpc.status_code": 17, "rpc.status_code": "NOT_FOUND"}) is Outcome.INVALID
    assert outcome({HTTP: 600, "rpc.grpc.status_code": 13}) is Outcome.FAILED


@pytest.mark.parametrize(
    "value",
    [
        0,
        99,
        600,
        -200,
        2**63 - 1,
        -(2**63),
        500.5,
        float("nan"),
        float("inf"),
        [500],
        True,
        "",
        "5xx",
        " 500",
        "500 ",
        "+500",
        "0x1f4",
        "500.0",
        "\u0665\u0660\u0660",
        b"5\x00",
    ],
)
def test_clause_4_unusable_http_status_is_as_if_absent(value: Value) -> None:
    """A value that is no HTTP status leaves the request to rule 11, and is noted."""
    assert outcome({HTTP: value}, agreement_of(no_status_code=NoStatusCode.INVALID)) is Outcome.INVALID
    assert outcome({HTTP: value}) is Outcome.SUCCEEDED
    notes = noted({HTTP: value, "http.status_code": 200}, agreement_of())
    assert notes is not None
    assert notes.unusable_status_spans == {HTTP: 1}


def test_clause_4_digits_may_begin_with_zeros() -> None:
    """Any string of ASCII digits whose number is within the limits is a status; a huge one is none."""
    assert outcome({HTTP: "0503"}) is Outcome.FAILED
    assert outcome({HTTP: "0" * 5000 + "503"}) is Outcome.FAILED
    assert outcome({HTTP: "5" * 100_000}) is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    "value", [17, -1, "17", 13.5, "", "INTERNAL ", "DEADLINE__EXCEEDED", "IN_TERNAL", b"o\xcbk", True]
)
def test_clause_4_unusable_grpc_status_is_as_if_absent(value: Value) -> None:
    """A value that is no gRPC code leaves the request to HTTP, or to rule 11, and is noted."""
    for key in GRPC_STATUS_KEYS:
        assert outcome({key: value, HTTP: 200}) is Outcome.SUCCEEDED
        assert outcome({key: value}, span_status_code=2) is Outcome.FAILED
        notes = noted({key: value}, agreement_of())
        assert notes is not None
        assert notes.unusable_status_spans == {key: 1}


def test_clause_4_unusable_statuses_are_noted_by_key_with_a_value() -> None:
    """Who reads the note sees each key, on how many spans, and one of the values, cut where it is long."""
    spans = [SpanRow({HTTP: "Server Error", "grpc.status_code": [13]}), SpanRow({HTTP: 99}), SpanRow({HTTP: "x" * 500})]
    requests, _ = classify_spans([agreement_of()], [*spans, SpanRow({HTTP: 200})])
    shown = {HTTP: repr("x" * 100), "grpc.status_code": "an array, a map, bytes or nothing"}
    expected = Notes(unusable_status_spans=Counter({HTTP: 3, "grpc.status_code": 1}), unusable_status=shown)
    assert requests.notes == expected
    for value, text in ((99, "99"), (-5, "-5"), (0.5, "0.5"), (True, "true"), (b"\xff", "'\\\\xff'")):
        notes = noted({HTTP: value}, agreement_of())
        assert notes is not None
        assert notes.unusable_status == {HTTP: text}


def test_attributes_of_other_keys_hold_no_status() -> None:
    """Only the keys of the clause are read as status codes."""
    assert status_index("http.status", ValueType.INT, b"500") == NO_STATUS
    assert outcome({"error.type": "500", "http.status_code": 200}) is Outcome.SUCCEEDED
