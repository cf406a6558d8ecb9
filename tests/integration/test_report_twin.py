"""From counts in a ledger to the month's report, against the slow twin."""

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from random_months import MONTHS
from report_twin import Seen, cases_from, differences_of

pytestmark = pytest.mark.slow

CASES_PER_TEST = 18  # 24 months, twelve of them by turns in the six time zones.


@pytest.mark.parametrize("first_seed", range(1000, 1050, 10))
def test_report_from_a_ledger_equals_the_twin(first_seed: int, tmp_path: Path) -> None:
    """For random agreements, counts and exclusions each figure of the months' JSON reports is the twin's."""
    seen: Seen = Counter()
    for case in islice(cases_from(first_seed), CASES_PER_TEST):
        found = differences_of(case, tmp_path, seen)
        assert not found, "\n".join(found[:20])
    assert {zone for zone, _ in seen} >= set(MONTHS)
    assert {policy for term, policy in seen if term == "no_data"} == {"up", "down", "carry"}
    assert {state for term, state in seen if term == "state"} >= {"up", "down", "excluded", "no_data"}
    assert {basis for term, basis in seen if term == "counting"} == {"requests", "adjusted"}
    assert seen["spared", True]
    assert seen["sampled", True]
    changing = {"America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Europe/Berlin"}
    assert {zone for zone, is_so in seen if is_so == "clock change"} == changing
