"""Sends the pipeline's own metrics to a backend: all of them at each interval, and once more at the stop.

Nothing is kept for a backend that is away: counters go on from where they were, so the next success carries all.
"""

import asyncio
import contextlib
from collections.abc import Callable

from opentelemetry.sdk.metrics.export import Metric

from otel_sla.exporter.delivery import call_in_daemon_thread
from otel_sla.exporter.otlp import OtlpSender
from otel_sla.exporter.schedule import NEVER, Schedule, Timing
from otel_sla.self_metrics import SignalCounts


class OwnMetricsExport:
    """Sends to one backend. `sender` is closed with it; `read` gives all metrics, on the event loop's thread."""

    def __init__(self, name: str, sender: OtlpSender, read: Callable[[], list[Metric]], interval_s: float) -> None:
        self._name, self._sender, self._read, self._interval_s = name, sender, read, interval_s
        self._timing = Timing()
        self.counts = SignalCounts("the pipeline's own metrics")
        self._schedule = Schedule(name, self.counts, self._send, interval_s, self._timing)
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; the first attempt is made after one interval."""
        self._task = asyncio.create_task(self._run(), name="own-metrics")

    async def close(self, timeout_s: float) -> None:
        """Send once more, if it can be done in this time, and end; safe when never started."""
        self._stopping.set()
        if self._task is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._task, timeout_s)
        self._sender.close()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            back_off_s = 0.0 if self._schedule.due_s == NEVER else self._schedule.due_s - self._timing.clock()
            await self._timing.wait(self._stopping, max(self._interval_s, back_off_s))
            await self._schedule.go()

    async def _send(self) -> bool:
        metrics = self._read()
        await call_in_daemon_thread(f"own-metrics-{self._name}", lambda: self._sender.send_own_metrics(metrics))
        self.counts.note_success()
        return False
