"""What stands beside the figures: spared and sampled requests, in every format."""

import csv
import io
from dataclasses import replace
from fractions import Fraction
from html import unescape

import pytest
from report_parts import eventful_month

from otel_sla.report.csv import render_csv
from otel_sla.report.document import Report
from otel_sla.report.html.page import render_html
from otel_sla.report.json import report_object
from otel_sla.report.notes import each_note
from otel_sla.report.table import render_table
from otel_sla.sla.agreement import CodeRule, Counting, WhenAbsent
from otel_sla.sla.counts import PARTS_PER_REQUEST
from otel_sla.sla.uptime import Counts, SpanCounts

CODE = CodeRule("app.response.code", ("Internal Error",), WhenAbsent.FAILED)


def report_of(
    spans: SpanCounts,
    *,
    counts: Counts | None = None,
    counting: Counting = Counting.REQUESTS,
    code: CodeRule | None = CODE,
) -> Report:
    """An eventful month of one series, of which something was counted besides."""
    report = eventful_month()
    (section,) = report.agreements
    figures = replace(section.series[0].figures, spans=spans)
    if counts is not None:
        figures = replace(figures, counts=counts)
    if counting is Counting.ADJUSTED:
        figures = replace(figures, parts=PARTS_PER_REQUEST)
    agreement = replace(section.agreement, counting=counting, code=code)
    section = replace(section, agreement=agreement, series=(replace(section.series[0], figures=figures),))
    return replace(report, agreements=(section,))


def notes_of(report: Report) -> list[str]:
    """The notes of its one agreement."""
    return list(each_note(report.agreements[0]))


def test_nothing_counted_besides_needs_no_note() -> None:
    """Spans without thresholds that are judged one by one, none spared: the figures say it all."""
    assert notes_of(report_of(SpanCounts(1000))) == []
    assert notes_of(eventful_month()) == []


def test_clause_4_spared_requests_are_noted_and_a_rule_that_spares_all_is_doubted() -> None:
    """What the code attribute spared, by its name; with no failed request beside it the attribute is doubted."""
    (note,) = notes_of(report_of(SpanCounts(1000, spared=40), counts=(1000, 0, 0)))
    assert note.startswith(
        "40 requests with a failing HTTP status were spared, as app.response.code says, and succeeded."
    )
    assert "No request failed: most likely the rule reads an attribute that does not hold the answer's code." in note
    (note,) = notes_of(report_of(SpanCounts(1000, spared=1), counts=(999, 1, 0)))
    assert note == "1 request with a failing HTTP status was spared, as app.response.code says, and succeeded."
    (note,) = notes_of(report_of(SpanCounts(1000, spared=40), code=None))
    assert "spared by the terms of their time" in note


def test_clause_19_notes_say_what_was_sampled() -> None:
    """The share of sampled traces whatever the basis; without thresholds on adjusted counts, theirs as well."""
    spans = SpanCounts(1000, sampled=250, thresholded=990)
    (note,) = notes_of(report_of(spans))
    assert note.startswith("250 of 1,000 spans (25.00 %) were sampled: each counts as one request, though")
    sampled, unthresholded = notes_of(report_of(spans, counting=Counting.ADJUSTED))
    assert sampled == "250 of 1,000 spans (25.00 %) were sampled: each counts as the requests that it stands for."
    assert unthresholded == "10 of 1,000 spans (1.00 %) bear no sampling threshold and count as one request each."


@pytest.mark.parametrize("counting", list(Counting))
def test_every_format_has_what_was_counted(counting: Counting) -> None:
    """Spared, sampled and all spans, the notes and the exact adjusted counts: nothing is in one format alone."""
    spans = SpanCounts(123_456, spared=789, sampled=4_321, thresholded=100_000)
    parts = PARTS_PER_REQUEST if counting is Counting.ADJUSTED else 1
    counts = (5000 * parts, 6 * parts + parts // 4, 7 * parts)
    report = report_of(spans, counts=counts, counting=counting)
    notes = notes_of(report)

    (series,) = report_object(report)["agreements"][0]["series"]
    assert series["requests"] == {
        "valid": 5006,
        "failed": 6,
        "invalid": 7,
        "spared": 789,
        "sampled": 4321,
        "unthresholded": 23_456,
        "spans": 123_456,
    }
    exact = {"valid": "5006.25", "failed": "6.25", "invalid": "7"} if parts > 1 else None
    assert series.get("requests_adjusted") == exact
    assert series["sampled_share"] == "0.03500032"

    (row,) = csv.DictReader(io.StringIO(render_csv(report), newline=""))
    for name, value in series["requests"].items():
        assert row[f"requests_{name}"] == str(value)
    for name in ("valid", "failed", "invalid"):
        assert row[f"requests_{name}_adjusted"] == (exact[name] if exact else "")
    assert (row["counting"], row["sampled_share"]) == (counting.value, "0.03500032")

    table = " ".join(render_table(report).split())
    assert "Of 123,456 spans 789 spared, 4,321 of sampled traces." in table
    assert all(note in table for note in notes)

    html = " ".join(unescape(render_html(report)).split())
    assert "789 spared by their code; 4,321 of sampled traces; 23,456 without a sampling threshold" in html
    failed = "6.25" if parts > 1 else "6"
    assert f"5,000 succeeded + {failed} failed; 7 more were not valid" in html
    assert all(note in html for note in notes)


def test_a_series_without_spans_has_no_share() -> None:
    """A silent series whose silence is judged: no share of nothing."""
    (series,) = report_object(report_of(SpanCounts(0), counts=(0, 0, 0)))["agreements"][0]["series"]
    assert series["sampled_share"] is None
    assert SpanCounts(4, sampled=1).sampled_share == Fraction(1, 4)
