"""Whatever order the same spans come in, however late, cut or repeated, the figures are the same."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from order_machine import OrderMachine

pytestmark = pytest.mark.slow

SHORT = settings(
    max_examples=14,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def test_any_order_with_restarts_gives_the_same_report_and_story() -> None:
    """Spans in any order, late or repeated, between restarts and kills: report, minutes and story of those in order."""
    OrderMachine.seen.clear()
    run_state_machine_as_test(OrderMachine, settings=SHORT)
    seen = OrderMachine.seen
    tried = ("spans", "messages sent again", "exclusions recorded or withdrawn", "restarts", "kills")
    changed = (f"times {name}" for name in ("remove", "rename", "regroup", "bring back", "count", "judge"))
    told = (f"times sla.{name}" for name in ("downtime", "excluded_downtime", "target"))
    # Which ones are drawn is chance, and another one after each change of the machine; `make orders` draws all.
    assert min(seen[name] for name in tried) >= 1, seen
    assert sum(seen[name] for name in told) >= 5, seen
    assert sum(seen[name] > 0 for name in changed) >= 2, seen
