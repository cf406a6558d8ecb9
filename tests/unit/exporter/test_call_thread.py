"""Blocking calls on a thread that nobody waits for."""

import asyncio
import subprocess
import sys

import pytest

from otel_sla.exporter.call_thread import CallThread


def test_results_and_errors_come_back_in_order() -> None:
    """Two calls: the one gives what the function gives, the other raises what it raises."""

    def fail() -> None:
        raise OSError("no")

    async def scenario() -> None:
        calls = CallThread("calls")
        assert await calls.call(lambda: 7) == 7
        with pytest.raises(OSError, match="no"):
            await calls.call(fail)
        calls.close()

    asyncio.run(scenario())


HANGING = """
import asyncio, threading
from otel_sla.exporter.call_thread import CallThread
async def scenario():
    calls = CallThread("calls")
    call = asyncio.create_task(calls.call(threading.Event().wait))
    await asyncio.sleep(0)
    call.cancel()
    calls.close()
asyncio.run(scenario())
"""


def test_a_call_that_hangs_does_not_hold_up_the_end() -> None:
    """A process whose call never returns ends all the same once the call is given up."""
    subprocess.run([sys.executable, "-c", HANGING], check=True, timeout=30)
