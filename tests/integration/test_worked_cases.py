"""The worked cases of docs/clauses.md, read from the page, from spans to the month's report."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import naive
import pytest
from agreements import Case
from builders import make_request_of, make_span
from order_pipeline import Driven
from sla_parts import make_agreement, make_terms

PAGE = Path(__file__).resolve().parents[2] / "docs" / "clauses.md"
MONTH = "2026-06"
START = naive.month_minutes(MONTH, "UTC").start * naive.NANOS_PER_MINUTE
STATES = ("up", "down", "excluded", "low_traffic", "no_data")


@dataclass(frozen=True, slots=True)
class WorkedCase:
    """One minute of the page, and the state that it says."""

    number: str
    requests: tuple[int, int, int]  # Succeeded, failed, invalid.
    limit: Fraction
    valid_requests_min: int
    state: str


def worked_cases() -> Iterator[WorkedCase]:
    """The rows of the page's table; a row that names a second state under other terms is two cases."""
    _, _, table = PAGE.read_text(encoding="utf-8").partition("| # | valid | failed | limit | state |\n")
    for line in table.partition("\n\n")[0].splitlines()[1:]:
        number, requests, failed, limit, says = (cell.strip() for cell in line.strip("|").split("|"))
        valid, invalid = int(requests.split()[0]), re.search(r"(\d+) invalid", requests)
        counts = (valid - int(failed), int(failed), int(invalid[1]) if invalid else 0)
        error_rate_above = Fraction(limit.removesuffix("%")) / 100
        yield WorkedCase(number, counts, error_rate_above, 1, re.split(r"\W", says)[0])
        if other := re.search(r"`(\w+)` with `valid_requests_min: (\d+)`", says):
            yield WorkedCase(number, counts, error_rate_above, int(other[2]), other[1])


def test_the_page_has_worked_cases() -> None:
    """Eight rows are read, each with one of the states; one has two."""
    cases = list(worked_cases())
    assert [case.number for case in cases] == ["1", "2", "3", "4", "5", "5", "6", "7", "8"]
    assert {case.state for case in cases} == {"up", "down", "low_traffic", "no_data"}


@pytest.mark.parametrize("case", list(worked_cases()), ids=lambda case: f"worked_case_{case.number}_{case.state}")
def test_the_pages_case_from_spans_to_report(case: WorkedCase, tmp_path: Path) -> None:
    """A minute with these requests, after one that is up, has the page's state in the month's report."""
    terms = make_agreement(downtime=make_terms(case.limit, valid_requests_min=case.valid_requests_min))
    now = START + 3 * naive.NANOS_PER_MINUTE
    grace = timedelta(seconds=60)
    driven = Driven(
        tmp_path / "pipeline", Case(0, (terms,), (), timedelta(hours=24), timedelta(minutes=5), grace, now), now
    )
    before = [make_span({"http.response.status_code": 200}, end_time_unix_nano=START + n) for n in range(20)]
    minute = [
        make_span({"http.response.status_code": status}, end_time_unix_nano=START + naive.NANOS_PER_MINUTE + n)
        for status, count in zip((200, 500, 404), case.requests, strict=True)
        for n in range(count)
    ]
    driven.send([make_request_of(*before, *minute)])
    (agreement,) = json.loads(driven.report(MONTH))["agreements"]
    driven.close()
    (series,) = agreement["series"]
    expected = dict.fromkeys(STATES, 0) | {"up": 1}
    expected[case.state] += 1
    assert {state: series["minutes"][state] for state in STATES} == expected
    requests = {"valid": 20 + sum(case.requests[:2]), "failed": case.requests[1], "invalid": case.requests[2]}
    assert {name: series["requests"][name] for name in requests} == requests
