"""A month and all that happens in a year, under a faked clock; `make year` is the long form."""

from pathlib import Path

import pytest
from year.campaign import Campaign, Plan
from year.clock import PACKAGE, library

# To the first month's end, each thing once or twice; judged now and then, as each takes a second of the real clock.
SHORT = Plan(
    days=31,
    spots=1,
    has_figures=False,
    settle_every=8,
    kill_every=21,
    restart_every=100,
    late_every=9,
    outage_every=16,
    full_every=20,
    exclude_every=11,
    terms_every=25,
    silent_every=23,
)


@pytest.mark.slow
@pytest.mark.skipif(library() is None, reason=f"no faked clock without libfaketime: apt-get install {PACKAGE}")
def test_a_month_from_a_former_ledger_under_a_faked_clock(tmp_path: Path) -> None:
    """Through an upgrade, a kill, a full disk, outages and changed terms each month's report is the slow twin's, each
    event is delivered, each backup is whole, and the alerts that have to fire do, none else.
    """
    campaign = Campaign(tmp_path, SHORT)
    assert campaign.run() == []
    happened = campaign.happened
    assert happened["month"] == 1
    tried = ("kill", "exclusion", "changed terms", "outage of the backend", "spans too late")
    alerts = ("alert OtelSlaExporterStuck", "alert OtelSlaSpansRejected")
    assert all(happened[each] for each in (*tried, *alerts)), happened
