"""Sends the pipeline's own telemetry to a backend: all of it at each interval, and once more at the stop.

Nothing is kept for a backend that is away: counters go on from where they were, so the next success tells all of it.
"""

import asyncio
import contextlib
from collections.abc import Callable

from opentelemetry.sdk.metrics.export import MetricsData

from otel_sla.exporter.call_thread import CallThread
from otel_sla.exporter.otlp import OtlpSender
from otel_sla.exporter.schedule import NEVER, Schedule, Timing
from otel_sla.self_metrics import Attempts


class TelemetryExport:
    """The pipeline's own telemetry on its way to one backend.

    Args:
        name: The exporter's component id.
        sender: Speaks to the backend; nobody else uses it.
        read: Gives all that there is to tell; called on the event loop's thread.
        interval_s: Between two attempts.
        pace: Time and chance.
    """

    def __init__(
        self,
        name: str,
        sender: OtlpSender,
        read: Callable[[], MetricsData | None],
        interval_s: float,
        pace: Timing | None = None,
    ) -> None:
        self._sender = sender
        self._read = read
        self._interval_s = interval_s
        self._pace = pace or Timing()
        self._calls = CallThread(f"telemetry-{name}")
        self.attempts = Attempts("the pipeline's own metrics")
        self._lane = Schedule(name, self.attempts, self._send, interval_s, self._pace)
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; the first attempt is made after one interval."""
        self._task = asyncio.create_task(self._run(), name="telemetry")

    async def close(self, timeout_s: float) -> None:
        """Tell what has come together, if it can be done in this time, and end; safe when never started."""
        self._stopping.set()
        if self._task is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._task, timeout_s)
        self._calls.close()
        self._sender.close()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            asked_s = 0.0 if self._lane.due_s == NEVER else self._lane.due_s - self._pace.clock()
            await self._pace.wait(self._stopping, max(self._interval_s, asked_s))
            await self._lane.go()

    async def _send(self) -> bool:
        data = self._read()
        if data is not None:
            await self._calls.call(lambda: self._sender.send_telemetry(data))
            self.attempts.note_success()
        return False
