"""Killed in the middle of a load: the short form of `make crash`."""

from pathlib import Path

import pytest
from crash.campaign import Phase, run_campaign

pytestmark = pytest.mark.slow


def test_crash_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """After kill -9, at any instant, what was acknowledged over gRPC and HTTP is there, and what was repeated once."""
    result = run_campaign(4, 46, tmp_path, print)
    assert result.kills.total() == 4
    assert result.kills.keys() == set(Phase)
    assert sum(len(account.acknowledged) for account in result.accounts) == 5, "each sender got through"
    assert all(account.repeated and account.batched_anew for account in result.accounts)
