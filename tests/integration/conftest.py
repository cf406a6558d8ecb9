"""What several integration tests are run with."""

import pytest
from receiver_parts import LOOPS, Run, run_on


@pytest.fixture(params=list(LOOPS))
def run(request: pytest.FixtureRequest) -> Run:
    """Run a test's coroutine on each kind of event loop."""
    return lambda main: run_on(request.param, main)
