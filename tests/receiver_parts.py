"""A stand-in for the accountant, with its real protocol, and event loops for the tests of the receiving servers."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from otel_sla.counting.receipt import Receipt

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
Run = Callable[[Coroutine[Any, Any, None]], None]  # What the fixture `run` gives.


def run_on(loop: str, main: Coroutine[Any, Any, None]) -> None:
    """Run `main` to its end on a new event loop of that kind."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main)


class FakeAccountant:
    """Answers with the given outcomes, in turn, and with full success when there are no more.

    While `gate` is not set, requests wait in it. `arrived` is set when one does.
    """

    def __init__(self, *outcomes: Receipt | Exception) -> None:
        self.outcomes = list(outcomes)
        self.bodies: list[bytes] = []
        self.finished = 0
        self.arrived = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def account(self, body: bytes) -> Receipt:
        """Implement `otel_sla.counting.receipt.TracesConsumer`."""
        self.bodies.append(body)
        self.arrived.set()
        await self.gate.wait()
        self.finished += 1
        outcome = self.outcomes.pop(0) if self.outcomes else Receipt()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def until(is_so: Callable[[], bool]) -> None:
    """Let the event loop run until `is_so`; the test's own time limit ends a wait in vain."""
    while not is_so():  # noqa: ASYNC110 - what is waited for has no event of its own.
        await asyncio.sleep(0)
