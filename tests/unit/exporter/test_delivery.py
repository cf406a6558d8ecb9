"""Blocking calls on a thread that nobody waits for."""

import asyncio
import subprocess
import sys

import pytest

from otel_sla.exporter.delivery import call_in_daemon_thread


def test_results_and_errors_come_back() -> None:
    """Two calls: the one gives what the function gives, the other raises what it raises."""

    def fail() -> None:
        raise OSError("no")

    async def scenario() -> None:
        assert await call_in_daemon_thread("call", lambda: 7) == 7
        with pytest.raises(OSError, match="no"):
            await call_in_daemon_thread("call", fail)

    asyncio.run(scenario())


HANGING = """
import asyncio, threading
from otel_sla.exporter.delivery import call_in_daemon_thread
async def scenario():
    call = asyncio.create_task(call_in_daemon_thread("call", threading.Event().wait))
    await asyncio.sleep(0)
    call.cancel()
asyncio.run(scenario())
"""


def test_a_call_that_hangs_does_not_hold_up_the_end() -> None:
    """A process whose call never returns ends all the same once the call is given up."""
    subprocess.run([sys.executable, "-c", HANGING], check=True, timeout=30)
