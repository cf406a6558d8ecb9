"""From counts in a ledger to the month's report, against the slow twin."""

from pathlib import Path

import pytest
from report_twin import differences_of

SEEDS_PER_TEST = 10


@pytest.mark.parametrize("first_seed", range(1000, 1060, SEEDS_PER_TEST))
def test_report_from_a_ledger_equals_the_twin(first_seed: int, tmp_path: Path) -> None:
    """For random agreements and counts each figure of the months' JSON reports is the twin's."""
    for seed in range(first_seed, first_seed + SEEDS_PER_TEST):
        found = differences_of(seed, tmp_path)
        assert not found, "\n".join(found[:20])
