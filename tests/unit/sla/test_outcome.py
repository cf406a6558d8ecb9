"""Clause 4 rule by rule, through the whole classifier."""

import pytest
from column_parts import SpanRow, Value, agreement_of, classify_spans

from otel_sla.sla.agreement import Agreement, CodeRule, Condition, NoStatusCode, Outcome, Scope, WhenAbsent
from otel_sla.sla.outcome import NO_STATUS, status_index
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
    return Outcome(requests.outcome[0])


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


@pytest.mark.parametrize("status", [100, 200, 302, 399])
def test_clause_4_rule_2_http_below_400_succeeds(status: int) -> None:
    """HTTP 100 to 399 succeeded, though the span says ERROR."""
    assert outcome({HTTP: status}, span_status_code=2) is Outcome.SUCCEEDED


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


@pytest.mark.parametrize("value", [0, "0", "OK"])
def test_clause_4_rule_6_grpc_ok_succeeds(value: Value) -> None:
    """GRPC OK in each spelling succeeded, though the span says ERROR."""
    assert outcome({"rpc.response.status_code": value}, span_status_code=2) is Outcome.SUCCEEDED


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
    """The six codes that blame the server failed, by number, digits and name."""
    assert outcome({"rpc.grpc.status_code": code}) is Outcome.FAILED
    assert outcome({"rpc.status_code": str(code)}) is Outcome.FAILED
    assert outcome({"rpc.status_code": name}) is Outcome.FAILED


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (1, "CANCELLED"),
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
def test_clause_4_rule_8_other_grpc_codes_are_invalid(code: int, name: str) -> None:
    """All other codes are invalid, by number and by name."""
    assert outcome({"rpc.grpc.status_code": code}) is Outcome.INVALID
    assert outcome({"rpc.response.status_code": name}) is Outcome.INVALID


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (NoStatusCode.SPAN_STATUS, Outcome.FAILED),
        (NoStatusCode.SUCCEEDED, Outcome.SUCCEEDED),
        (NoStatusCode.INVALID, Outcome.INVALID),
    ],
)
@pytest.mark.parametrize("error", [None, "timeout", "", 7])
def test_clause_4_rule_9_error_without_status_code(policy: NoStatusCode, expected: Outcome, error: Value) -> None:
    """A span status ERROR, or any error.type, without a usable status code becomes what the policy says."""
    agreement = agreement_of(no_status_code=policy)
    assert outcome({"error.type": error}, agreement, span_status_code=0 if error is not None else 2) is expected


@pytest.mark.parametrize("policy", list(NoStatusCode))
@pytest.mark.parametrize("span_status_code", [0, 1, 3])
def test_clause_4_rule_10_nothing_seen_succeeds(policy: NoStatusCode, span_status_code: int) -> None:
    """Without status code and error the request succeeded, whatever the policy."""
    assert outcome({}, agreement_of(no_status_code=policy), span_status_code=span_status_code) is Outcome.SUCCEEDED


def test_clause_4_http_wins_over_grpc() -> None:
    """A span with both is judged by its HTTP status."""
    assert outcome({"http.status_code": 200, "rpc.grpc.status_code": 13}) is Outcome.SUCCEEDED


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
        500.0,
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
    """A value that is no HTTP status leaves the request to rule 9."""
    assert outcome({HTTP: value}, agreement_of(no_status_code=NoStatusCode.INVALID), span_status_code=2) is (
        Outcome.INVALID
    )
    assert outcome({HTTP: value}) is Outcome.SUCCEEDED


def test_clause_4_digits_may_begin_with_zeros() -> None:
    """Any string of ASCII digits whose number is within the limits is a status; a huge one is none."""
    assert outcome({HTTP: "0503"}) is Outcome.FAILED
    assert outcome({HTTP: "0" * 5000 + "503"}) is Outcome.FAILED
    assert outcome({HTTP: "5" * 100_000}) is Outcome.SUCCEEDED


def test_clause_4_text_in_the_old_grpc_key_is_unusable() -> None:
    """`rpc.grpc.status_code` is an int by definition; text in it is as if absent."""
    for text in ("13", "INTERNAL"):
        assert outcome({"rpc.grpc.status_code": text}) is Outcome.SUCCEEDED


def test_grpc_names_are_upper_case() -> None:
    """A name in other letters is no status."""
    assert outcome({"rpc.status_code": "internal"}) is Outcome.SUCCEEDED
    assert outcome({"rpc.status_code": 13.0}) is Outcome.SUCCEEDED


def test_attributes_of_other_keys_hold_no_status() -> None:
    """Only the five keys are read as status codes."""
    assert status_index("http.status", ValueType.INT, b"500") == NO_STATUS
    assert outcome({"error.type": "500", "http.status_code": 200}) is Outcome.SUCCEEDED
