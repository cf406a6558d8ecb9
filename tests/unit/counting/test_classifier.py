"""Which spans count, where and when (clauses 1 to 3 and 16)."""

import pytest
from column_parts import MINUTE, Attributes, SpanRow, Value, agreement_of, classify_spans, make_columns

from otel_sla.counting.classify.classifier import Classifier
from otel_sla.counting.classify.notes import Notes
from otel_sla.counting.classify.value_table import CHUNK_SPANS
from otel_sla.sla.agreement import Agreement, CodeRule, Condition, Outcome, Scope, WhenAbsent
from otel_sla.sla.counts import NANOS_PER_MINUTE, OUTCOME_BITS, AcceptWindow
from otel_sla.sla.series import GROUP_VALUE_SIZE_BYTES_MAX, SeriesTable

ON_RESOURCE = Condition(Scope.RESOURCE, "service.name", ("chat-*",))
ON_SPAN = Condition(Scope.SPAN, "service.name", ("chat-*",))


def groups_of(
    spans: list[SpanRow], resources: tuple[Attributes, ...] = ({},), *agreements: Agreement
) -> list[tuple[str, tuple[bytes, ...]]]:
    """Agreement and group values of each request."""
    requests, table = classify_spans(agreements or (agreement_of(),), spans, resources)
    found = [table[series_id] for series_id in requests.series_id.tolist()]
    return [(series.agreement, tuple(value for _, value in series.group)) for series in found]


def is_covered(
    agreement: Agreement, attributes: Attributes | None = None, resource: Attributes | None = None, **fields: int
) -> bool:
    """Whether the agreement covers one span."""
    span = SpanRow(attributes or {}, **fields)
    return len(classify_spans([agreement], [span], [resource or {}])[0]) == 1


@pytest.mark.parametrize("kind", [0, 1, 3, 4, 5, 77, -1])
def test_clause_1_other_kinds_are_ignored(kind: int) -> None:
    """Only SERVER spans are requests; others are not even rejected."""
    requests, table = classify_spans([agreement_of()], [SpanRow(kind=kind, end_time_unix_nano=0)])
    assert (len(requests), requests.rejected_count, len(table)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("has_parent", "flags", "expected"),
    [
        (False, 0, True),
        (False, 0x100, True),
        (True, 0, True),
        (True, 0x100, False),
        (True, 1, True),
        (True, 0x200, True),
        (True, 0x300, True),
        (True, 0xFFFF_FFFF, True),
    ],
)
def test_clause_1_entry_spans_only(has_parent: bool, flags: int, expected: bool) -> None:  # noqa: FBT001
    """With entry_spans_only a span whose parent is known to be local is not covered; without it, it is."""
    fields = {"has_parent": has_parent, "flags": flags}
    assert is_covered(agreement_of(entry_spans_only=True), **fields) is expected
    assert is_covered(agreement_of(), **fields)


def test_clause_1_entry_spans_only_is_each_agreements_own() -> None:
    """Of two agreements one keeps entry spans only: an inner span counts for the other."""
    agreements = agreement_of(name="entry", entry_spans_only=True), agreement_of(name="all")
    assert [name for name, _ in groups_of([SpanRow(has_parent=True, flags=0x100)], ({},), *agreements)] == ["all"]


def test_clause_1_an_unknown_parent_is_taken_for_remote_and_counted() -> None:
    """Flags of 0 or 1, as many SDKs send, say nothing of the parent: it counts, and is noted with entry_spans_only."""
    agreements = agreement_of(name="entry", entry_spans_only=True), agreement_of(name="all", covered_service=(ON_SPAN,))
    spans = [SpanRow(has_parent=True, flags=flags) for flags in (0, 1, 0x200, 0x100, 0x300)] + [SpanRow()]
    requests, _ = classify_spans(agreements, spans)
    assert len(requests) == 5
    assert requests.notes == Notes(unknown_parent_spans=3)
    requests, _ = classify_spans([agreement_of()], spans)
    assert requests.notes is None


def test_clause_2_minute_is_that_of_the_end_time() -> None:
    """The last nanosecond of a minute belongs to it, the next one to the next; the largest end time has one too."""
    start = MINUTE * NANOS_PER_MINUTE
    ends = [start - 1, start, start + NANOS_PER_MINUTE - 1, start + NANOS_PER_MINUTE, 2**64 - 1, 1]
    requests, _ = classify_spans([agreement_of()], [SpanRow(end_time_unix_nano=end) for end in ends])
    last = (2**64 - 1) // NANOS_PER_MINUTE
    assert requests.epoch_minute.tolist() == [MINUTE - 1, MINUTE, MINUTE, MINUTE + 1, last, 0]


def test_clause_3_scopes_are_not_mixed() -> None:
    """The right attribute in the wrong place is a decoy."""
    chat = {"service.name": "chat-1"}
    assert is_covered(agreement_of(covered_service=(ON_RESOURCE,)), resource=chat)
    assert not is_covered(agreement_of(covered_service=(ON_RESOURCE,)), chat)
    assert is_covered(agreement_of(covered_service=(ON_SPAN,)), chat)
    assert not is_covered(agreement_of(covered_service=(ON_SPAN,)), resource=chat)


def test_clause_3_every_condition_must_hold() -> None:
    """Two conditions, also on one key, hold together or not at all."""
    agreement = agreement_of(
        covered_service=(Condition(Scope.SPAN, "a", ("x*",)), Condition(Scope.SPAN, "a", ("*y",))),
    )
    assert [is_covered(agreement, {"a": text}) for text in ("xy", "xz", "zy")] == [True, False, False]


def test_clause_3_of_several_selectors_one_suffices() -> None:
    """What always has to hold, and one of those that say the same in other words; without it nothing is covered."""
    on_other = Condition(Scope.SPAN, "environment", ("prod",))
    agreement = agreement_of(
        covered_service=(Condition(Scope.SPAN, "route", ("/v1",)),), covered_any=((ON_SPAN,), (on_other,))
    )
    chat = {"service.name": "chat-1"}
    assert is_covered(agreement, {"route": "/v1", **chat})
    assert is_covered(agreement, {"route": "/v1", "environment": "prod"})
    assert not is_covered(agreement, {"route": "/v1"})
    assert not is_covered(agreement, {"route": "/v1", "environment": "test"})
    assert not is_covered(agreement, chat)


@pytest.mark.parametrize(
    ("value", "pattern"),
    [
        (True, "true"),
        (False, "false"),
        (443, "443"),
        (-(2**63), "-9223372036854775808"),
        (2**63 - 1, "9223372036854775807"),
        (0.5, "0.5"),
        (1.0, "1.0"),
        (1e22, "1e+22"),
        (float("nan"), "nan"),
        (-0.0, "-0.0"),
        ("", ""),
        (b"\xff\xfe", "??"),
        ("wörld", "w?rld"),
    ],
)
def test_clause_3_values_compare_by_their_text(value: Value, pattern: str) -> None:
    """Booleans, integers and doubles match by their text; bytes that are no UTF-8 are a character each."""
    assert is_covered(agreement_of(covered_service=(Condition(Scope.SPAN, "a", (pattern,)),)), {"a": value})


def test_clause_3_absent_matches_not_even_a_star() -> None:
    """A condition on an attribute that is not there does not hold; an empty value is there."""
    agreement = agreement_of(covered_service=(Condition(Scope.SPAN, "a", ("*",)),))
    assert not is_covered(agreement)
    assert is_covered(agreement, {"a": ""})


def test_clause_3_group_takes_the_resource_first() -> None:
    """The resource's value wins, an empty one too; else the span's; else the empty value, which is the same series."""
    resources = ({"service.name": "r"}, {"service.name": ""}, {})
    spans = [SpanRow({"service.name": "s"}, resource=0), SpanRow({"service.name": "s"}, resource=1)]
    spans += [SpanRow({"service.name": "s"}, resource=2), SpanRow(resource=2)]
    assert [values for _, values in groups_of(spans, resources)] == [(b"r",), (b"",), (b"s",), (b"",)]
    requests, _ = classify_spans([agreement_of()], spans, resources)
    assert requests.series_id[1] == requests.series_id[3]


def test_clause_3_equal_texts_are_one_series() -> None:
    """The int 443 and the string "443" are one group; 443.0 is another."""
    spans = [SpanRow({"service.name": value}) for value in (443, "443", 443.0, "443.0", True, "true")]
    requests, _ = classify_spans([agreement_of()], spans)
    assert requests.series_id.tolist() == [0, 0, 1, 1, 2, 2]


def test_clause_3_groups_of_several_keys_are_not_run_together() -> None:
    """The tuples (ab, c) and (a, bc), (x, "") and ("", x) are different groups."""
    agreement = agreement_of(group_by=("a", "b"))
    pairs = [("ab", "c"), ("a", "bc"), ("x", None), (None, "x")]
    spans = [SpanRow({"a": first, "b": second}) for first, second in pairs]
    expected = [(b"ab", b"c"), (b"a", b"bc"), (b"x", b""), (b"", b"x")]
    assert [values for _, values in groups_of(spans, ({},), agreement)] == expected


def test_clause_3_no_group_by_is_one_series() -> None:
    """Without group_by all requests of an agreement are one series."""
    requests, table = classify_spans([agreement_of(group_by=())], [SpanRow({"a": text}) for text in "abc"])
    assert requests.series_id.tolist() == [0, 0, 0]
    assert table[0].group == ()


def test_two_agreements_count_each_for_itself() -> None:
    """One span under two agreements: covered by both, with other rules and other groups."""
    strict = agreement_of(
        name="strict", failed_http_status=frozenset({500}), code=CodeRule("code", ("E",), WhenAbsent.SUCCEEDED)
    )
    tools = agreement_of(name="tools", covered_service=(Condition(Scope.SPAN, "tool", ("*",)),), group_by=("tool",))
    span = SpanRow({"http.status_code": 500, "tool": "t"})
    requests, table = classify_spans([strict, tools], [span, SpanRow({"http.status_code": 500})])
    assert [table[series_id].agreement for series_id in requests.series_id.tolist()] == ["strict", "tools", "strict"]
    assert (requests.outcome_bits & OUTCOME_BITS).tolist() == [Outcome.SUCCEEDED, Outcome.FAILED, Outcome.SUCCEEDED]


def test_rejected_spans_are_counted_once_and_by_kind() -> None:
    """Late, early and malformed spans under two agreements: counted once each, and none of them as a request."""
    window = AcceptWindow(MINUTE, MINUTE * NANOS_PER_MINUTE + 5)
    start = MINUTE * NANOS_PER_MINUTE
    spans = [SpanRow(end_time_unix_nano=end) for end in (0, start - 1, start, start + 5, start + 6, 2**64 - 1)]
    agreements = agreement_of(name="a"), agreement_of(name="b")
    requests, _ = classify_spans(agreements, spans, window=window)
    assert (requests.malformed_count, requests.late_count, requests.future_count) == (1, 1, 2)
    assert len(requests) == 4


def test_rejected_only_if_covered() -> None:
    """A late span that no agreement covers is nobody's matter."""
    spans = [SpanRow(end_time_unix_nano=0)]
    requests, _ = classify_spans([agreement_of(covered_service=(ON_SPAN,))], spans)
    assert requests.rejected_count == 0


def test_clause_18_spans_of_a_repeated_message_do_not_count_again() -> None:
    """Of two ResourceSpans one was there before: its good spans count no more, its bad ones are still told."""
    spans = [SpanRow(resource=0), SpanRow(resource=0, end_time_unix_nano=0), SpanRow(resource=1)]
    requests, _ = classify_spans([agreement_of()], spans, ({}, {"service.name": "b"}), is_fresh=[False, True])
    assert len(requests) == 1
    assert requests.malformed_count == 1


def test_overflow_is_counted_as_such() -> None:
    """Above series_max requests still count, in one series per agreement, and it is told how many."""
    spans = [SpanRow({"service.name": text}) for text in "abacb"]
    requests, table = classify_spans([agreement_of()], spans, series_max=1)
    assert requests.overflow_count == 3
    assert requests.series_id.tolist() == [0, 1, 0, 1, 1]
    assert table[1].is_overflow


def test_empty_requests() -> None:
    """A body without spans, and one whose resources are all empty, give no request."""
    assert len(classify_spans([agreement_of()], [], [])[0]) == 0
    assert len(classify_spans([agreement_of()], [], [{"service.name": "a"}])[0]) == 0


def test_no_agreements_count_nothing() -> None:
    """A classifier without agreements finds nothing and fails at nothing."""
    assert len(classify_spans([], [SpanRow()])[0]) == 0


def test_more_conditions_than_a_word_has_bits() -> None:
    """With 150 agreements, each of its own route: every span counts for exactly its agreement."""
    agreements = [
        agreement_of(name=str(index), covered_service=(Condition(Scope.SPAN, "route", (f"/{index}",)),))
        for index in range(150)
    ]
    spans = [SpanRow({"route": f"/{index}"}) for index in reversed(range(151))]
    assert [name for name, _ in groups_of(spans, ({},), *agreements)] == [str(index) for index in reversed(range(150))]


def test_chunks_and_full_results_join_without_a_seam() -> None:
    """More spans than a chunk, times five agreements: each is there once and in order."""
    agreements = [agreement_of(name=str(index)) for index in range(5)]
    n_spans = CHUNK_SPANS + 700
    spans = [SpanRow({"service.name": index % 7}) for index in range(n_spans)]
    requests, _ = classify_spans(agreements, spans)
    assert requests.series_id.tolist() == [5 * (span % 7) + index for span in range(n_spans) for index in range(5)]


@pytest.mark.parametrize("limits", [{"hash_mask": 0}, {"values_max": 1}, {"text_bytes_max": 1}, {"values_max": 9}])
def test_values_that_collide_or_are_forgotten_stay_apart(limits: dict[str, int]) -> None:
    """Distinct values whose hashes are all equal, or for which there is no room, are never one series."""
    texts = [b"", b"a", b"b", b"12345678", b"12345679", b"1234567890", b"2234567890", b"x" * 1024, b"x" * 1023 + b"y"]
    spans = [SpanRow({"service.name": text}) for text in texts * 3]
    requests, table = classify_spans([agreement_of()], spans, **limits)
    assert requests.series_id.tolist() == list(range(len(texts))) * 3
    assert [series.group[0][1] for series in (table[index] for index in range(len(table)))] == texts


def test_values_that_are_too_long_for_a_series_go_to_the_overflow() -> None:
    """A value is kept and sent whole, or its requests are in the overflow series: it is never cut."""
    texts = [b"x" * GROUP_VALUE_SIZE_BYTES_MAX, b"x" * (GROUP_VALUE_SIZE_BYTES_MAX + 1), b"y" * 5000, b"z"]
    requests, table = classify_spans([agreement_of()], [SpanRow({"service.name": text}) for text in texts])
    assert requests.series_id.tolist() == [0, 1, 1, 2]
    assert [table[index].is_overflow for index in range(3)] == [False, True, False]
    assert requests.overflow_count == 2


def test_series_ids_outlive_what_is_forgotten() -> None:
    """One classifier with a tiny memory over many bodies: the same group is the same series each time."""
    table = SeriesTable([agreement_of()], series_max=100)
    classifier = Classifier([agreement_of()], table, values_max=3, text_bytes_max=64)
    for body in range(20):
        columns = make_columns(classifier.watch, [SpanRow()], [{"service.name": f"chat-{body % 5}"}])
        requests = classifier.classify(columns, AcceptWindow(0, 2**64 - 1), columns.has_parent == 0)
        assert requests.series_id.tolist() == [body % 5]


def test_classes_are_forgotten_when_there_are_too_many() -> None:
    """More distinct masks than are remembered: each span still counts for exactly the agreements that cover it."""
    agreements = [
        agreement_of(name=str(bit), covered_service=(Condition(Scope.SPAN, f"k{bit}", ("1",)),)) for bit in range(13)
    ]
    masks = range(1 << 13)
    spans = [SpanRow({f"k{bit}": 1 for bit in range(13) if mask >> bit & 1}) for mask in masks]
    requests, _ = classify_spans(agreements, spans)
    assert len(requests) == sum(mask.bit_count() for mask in masks)
