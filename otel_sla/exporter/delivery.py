"""Brings the ledger's events and figures to one backend, and keeps in the ledger how far it has come.

Nothing is queued here. What is read from the `Backlog` is delivered before the cursor moves, so whatever ends the
process, the next one goes on from there: every event in order and at least once. At most one batch is in memory,
however long a backend is away.

Events and figures are two lanes with back-offs of their own: a backend that takes metrics only does not miss them for
the events that it refuses. When one lane finds that the backend is back, the other tries at once. Both lanes use one
thread, as the exporters block (`calling`).
"""

import asyncio
import contextlib
import logging

from otel_sla.errors import LedgerError
from otel_sla.exporter.call_thread import CallThread
from otel_sla.exporter.deliver_events import EventsDelivery
from otel_sla.exporter.deliver_figures import FiguresDelivery
from otel_sla.exporter.protocols import Backlog, FigureBatch, Sender
from otel_sla.exporter.schedule import NEVER, Schedule, Timing
from otel_sla.self_metrics import ExporterCounts

__all__ = ["Backlog", "Delivery", "FigureBatch", "Sender"]

_log = logging.getLogger(__name__)


class Delivery:
    """The delivery of one exporter.

    Args:
        name: The exporter's component id.
        sender: Speaks to the backend.
        backlog: What there is to deliver.
        interval_s: Figures are delivered so often at most; events at once.
        counts: Its part of the pipeline's own telemetry; what waits is counted anew after each attempt, and when woken.
        pace: Time and chance.
    """

    def __init__(
        self,
        name: str,
        sender: Sender,
        backlog: Backlog,
        interval_s: float,
        counts: ExporterCounts | None = None,
        pace: Timing | None = None,
    ) -> None:
        counts = counts or ExporterCounts()
        self._name = name
        self._sender = sender
        self._backlog = backlog
        self._counts = counts
        self._pace = pace or Timing()
        self._woken = asyncio.Event()
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None
        self._calls = CallThread(f"exporter-{name}")
        events = EventsDelivery(sender, backlog, self._calls.call, counts, self._pace.clock)
        figures = FiguresDelivery(sender, backlog, self._calls.call, counts, self._pace.clock)
        self._lanes = (
            Schedule(name, counts.events, events.deliver, 0.0, self._pace),
            Schedule(name, counts.figures, figures.deliver, interval_s, self._pace),
        )

    def start(self) -> None:
        """Begin to deliver, with what is left from before."""
        assert self._task is None, "a delivery starts once"
        self.wake()
        self._task = asyncio.create_task(self._run(), name=f"delivery-{self._name}")

    def wake(self) -> None:
        """Say that there may be something new."""
        for lane in self._lanes:
            lane.wake()
        self._woken.set()

    async def drain(self, timeout_s: float) -> None:
        """Try once more to deliver everything, then stop and close the connection; safe when never started."""
        self._is_stopping = True
        self._woken.set()
        if self._task is not None:
            done, _ = await asyncio.wait([self._task], timeout=timeout_s)
            if not done:
                self._task.cancel()
                await asyncio.wait([self._task])
                _log.warning(
                    "exporter %s: not all was delivered in time; the rest follows at the next start",
                    self._name,
                    extra={"action": "export_unfinished"},
                )
        self._calls.close()
        self._sender.close()

    async def _run(self) -> None:
        while not self._is_stopping:
            self._woken.clear()
            for lane in self._lanes:
                if lane.is_due():
                    await self._go(lane)
            await self._count_waiting()
            due_s = min(lane.due_s for lane in self._lanes)
            timeout_s = None if due_s == NEVER else max(0.0, due_s - self._pace.clock())
            if not self._is_stopping:
                await self._pace.wait(self._woken, timeout_s)
        for lane in self._lanes:
            while await lane.go():
                pass

    async def _go(self, lane: Schedule) -> None:
        n_taken = lane.attempts.n_taken
        await lane.go()
        if lane.is_failing or lane.attempts.n_taken > n_taken:
            for other in self._lanes:
                if other is not lane:
                    other.hear(is_well=not lane.is_failing)

    async def _count_waiting(self) -> None:
        with contextlib.suppress(LedgerError):  # The lanes read the same ledger, and tell it.
            waiting = await self._backlog.waiting()
            events, figures = self._counts.events, self._counts.figures
            events.n_waiting, events.oldest_unix_nano = waiting.n_events, waiting.oldest_event_unix_nano
            figures.n_waiting, figures.oldest_unix_nano = waiting.n_minutes, waiting.oldest_minute_unix_nano
