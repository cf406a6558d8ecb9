"""Page, API, badges, reports and gauges of random ledgers: one figure."""

from pathlib import Path

import pytest
from page_twin import page_differences
from random_months import random_month
from report_twin import case_of_traffic, write_ledger

CASES_PER_TEST = 5


@pytest.mark.parametrize("first_seed", range(0, 20, CASES_PER_TEST))
def test_all_figures_are_equal(first_seed: int, tmp_path: Path) -> None:
    """For random agreements, the figures in memory, API, CSV, badges, reports and the newest gauges are the same."""
    for seed in range(first_seed, first_seed + CASES_PER_TEST):
        for case in (case_of_traffic(seed), random_month(seed)):
            url = f"sqlite:///{tmp_path}/{case.source}.db"
            write_ledger(case, url)
            found = page_differences(case, url)
            assert not found, "\n".join(found[:20])
