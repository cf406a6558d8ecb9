"""Delivers the ledger's events and figures to one backend, and keeps in the ledger how far it has come.

Nothing is queued here. What is read from the backlog is delivered before the cursor moves, so whatever ends the
process, the next one goes on from there: every event in order and at least once. At most one batch is in memory,
however long a backend is away.

Events and figures have schedules and back-offs of their own: a backend that takes metrics only gets them, though it
refuses all events. When one of the two finds that the backend is back, the other is tried at once.
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from otel_sla.errors import LedgerError
from otel_sla.exporter.backlog import FigureBatch, LedgerBacklog
from otel_sla.exporter.otlp_data import count_points
from otel_sla.exporter.quarantine import BisectingDelivery
from otel_sla.exporter.refusal import Answer, Refused
from otel_sla.exporter.schedule import NEVER, Schedule, Timing
from otel_sla.ledger.records import RefusedPoints, StoredEvent
from otel_sla.self_metrics import ExporterCounts, SignalCounts
from otel_sla.sla.events import Event
from otel_sla.sla.uptime import MinuteFigures

_log = logging.getLogger(__name__)

EVENTS_MAX = 100  # In one request.
FIGURES_MAX = 200  # In one request: some 3,000 points, 0.3 MB; receivers take 4 MiB by default.
BATCH_FIGURES = 5_000  # About so many are in memory at once, but at least those of one minute.
BATCH_MINUTES_MAX = 60

Call = Callable[[Callable[[], Answer]], Awaitable[Answer]]  # Makes a blocking call elsewhere.
_Result = TypeVar("_Result")


class Sender(Protocol):
    """What speaks to the backend. Calls block, one at a time, on any thread; `close` may be called meanwhile."""

    def send_events(self, events: Sequence[Event]) -> Answer:
        """Send events in one request, or raise `Refused`."""

    def send_figures(self, figures: Sequence[MinuteFigures]) -> Answer:
        """Send the points of minutes in one request, or raise `Refused`."""

    def close(self) -> None:
        """End calls that are under way and close the connections."""


async def call_in_daemon_thread(name: str, function: Callable[[], _Result]) -> _Result:
    """Give what a blocking function gives, or raise what it raises; cancelled, the call goes on alone.

    The process does not wait for the thread when it ends, as it would for one of the standard library's executors:
    a call may hang at a backend, and what it sends is sent again at the next start anyway.
    """
    outcome: concurrent.futures.Future[_Result] = concurrent.futures.Future()
    outcome.set_running_or_notify_cancel()  # From now on it cannot be cancelled.

    def run() -> None:
        try:
            outcome.set_result(function())
        except Exception as error:  # noqa: BLE001 - it is raised where the call was made.
            outcome.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await asyncio.wrap_future(outcome)


class ScheduledDelivery:
    """Delivers to one backend whenever one of its schedules is due.

    Args:
        name: The exporter's component id.
        backlog: What there is to deliver.
        counts: Its part of the pipeline's own metrics; what waits is counted anew after each attempt, and when woken.
        timing: Time and chance.
        schedules: One for each kind of data.
        close: Closes the connection to the backend.
    """

    def __init__(
        self,
        name: str,
        backlog: LedgerBacklog,
        counts: ExporterCounts,
        timing: Timing,
        *,
        schedules: Sequence[Schedule],
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._backlog = backlog
        self._counts = counts
        self._timing = timing
        self._schedules = tuple(schedules)
        self._close = close
        self._woken = asyncio.Event()
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the backlog and begin to deliver, with what is left from before.

        Raises:
            LedgerError: The backlog cannot be opened.
        """
        assert self._task is None, "a delivery starts once"
        await self._backlog.open()
        self.wake()
        self._task = asyncio.create_task(self._run(), name=f"delivery-{self._name}")

    def wake(self) -> None:
        """Look for something new; there may be none."""
        for schedule in self._schedules:
            schedule.wake()
        self._woken.set()

    async def drain(self, timeout_s: float) -> None:
        """Try once more to deliver everything, then close the connection and the backlog; safe when never started."""
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
        self._close()
        await self._backlog.close()

    async def _run(self) -> None:
        while not self._is_stopping:
            self._woken.clear()
            for schedule in self._schedules:
                if schedule.is_due():
                    n_taken = schedule.counts.n_requests_taken
                    await schedule.go()
                    if schedule.is_failing or schedule.counts.n_requests_taken > n_taken:
                        for other in self._schedules:
                            if other is not schedule:
                                other.note_backend(is_well=not schedule.is_failing)
            await self._count_waiting()
            due_s = min(schedule.due_s for schedule in self._schedules)
            timeout_s = None if due_s == NEVER else max(0.0, due_s - self._timing.clock())
            if not self._is_stopping:
                await self._timing.wait(self._woken, timeout_s)
        for schedule in self._schedules:
            while await schedule.go():
                pass

    async def _count_waiting(self) -> None:
        with contextlib.suppress(LedgerError):  # The schedules log it, as deliveries read the same ledger.
            waiting = await self._backlog.waiting()
            events, figures = self._counts.events, self._counts.figures
            events.n_waiting, events.oldest_unix_nano = waiting.n_events, waiting.oldest_event_unix_nano
            figures.n_waiting, figures.oldest_unix_nano = waiting.n_minutes, waiting.oldest_minute_unix_nano


class Delivery(ScheduledDelivery):
    """The delivery of one exporter.

    Args:
        name: The exporter's component id.
        sender: Speaks to the backend.
        backlog: What there is to deliver.
        interval_s: Of figures, at least; events are delivered at once.
        counts: Its part of the pipeline's own metrics.
        timing: Time and chance.
    """

    def __init__(
        self,
        name: str,
        sender: Sender,
        backlog: LedgerBacklog,
        interval_s: float,
        counts: ExporterCounts | None = None,
        timing: Timing | None = None,
    ) -> None:
        counts, timing = counts or ExporterCounts(), timing or Timing()
        call = partial(call_in_daemon_thread, f"exporter-{name}")
        events = EventsDelivery(call, sender, backlog, counts.events, timing)
        figures = FiguresDelivery(call, sender, backlog, counts.figures, timing)
        schedules = (
            Schedule(name, counts.events, events.deliver, 0.0, timing),
            Schedule(name, counts.figures, figures.deliver, interval_s, timing),
        )
        super().__init__(name, backlog, counts, timing, schedules=schedules, close=sender.close)


class EventsDelivery(BisectingDelivery[StoredEvent]):
    """Delivers events in the order of the ledger's outbox."""

    def __init__(
        self, call: Call, sender: Sender, backlog: LedgerBacklog, counts: SignalCounts, timing: Timing
    ) -> None:
        super().__init__(EVENTS_MAX, timing.clock)
        self._call, self._sender, self._backlog, self._counts = call, sender, backlog, counts

    async def deliver(self) -> bool:
        """Deliver until no event is left, or raise `Refused` or LedgerError; gives that nothing is left (False)."""
        while stored := await self._backlog.events(EVENTS_MAX):
            await self.deliver_items(stored)
        return False

    async def send(self, items: Sequence[StoredEvent]) -> Answer:
        """Send events in one request."""
        return await self._call(partial(self._sender.send_events, [item.event for item in items]))

    async def keep_delivered(self, items: Sequence[StoredEvent], answer: Answer) -> None:
        """Move the cursor behind events; if some were rejected, all are set aside, as nobody knows which ones."""
        rejected = min(answer.rejected_count, len(items))
        if rejected:  # OTLP forbids to send them again, so each is kept with the reason.
            which = "" if rejected == len(items) else f"{rejected} of {len(items)} events, perhaps this one, "
            for item in items:
                await self._backlog.set_aside(item, f"{which}rejected by the backend: {answer.message}")
            _log.warning(
                "%d of %d events were rejected: %s",
                rejected,
                len(items),
                answer.message,
                extra={"action": "events_rejected"},
            )
        else:
            await self._backlog.delivered_events(items[-1].event_id)
        if answer.is_sent:
            self._counts.note_success(len(items) - rejected)
        self._counts.n_refused += rejected

    async def keep_set_aside(self, item: StoredEvent, reason: str) -> None:
        """Set an event aside, with the reason, and move the cursor behind it."""
        await self._backlog.set_aside(item, reason)
        self._counts.n_refused += 1
        _log.error(
            "event %d (%s) is set aside, the backend will not take it: %s",
            item.event_id,
            item.event.name,
            reason,
            extra={"action": "event_set_aside"},
        )

    async def find_probe(self, later: Sequence[StoredEvent]) -> Sequence[StoredEvent]:  # noqa: ARG002
        """Give the last event that a former process delivered: one of those that follow would overtake."""
        event = await self._backlog.last_event()
        return () if event is None else (event,)


class FiguresDelivery(BisectingDelivery[MinuteFigures]):
    """Delivers figures minute after minute, those of revised minutes after the new ones."""

    def __init__(
        self, call: Call, sender: Sender, backlog: LedgerBacklog, counts: SignalCounts, timing: Timing
    ) -> None:
        super().__init__(FIGURES_MAX, timing.clock)
        self._call, self._sender, self._backlog, self._counts = call, sender, backlog, counts
        self._minutes_max = 1
        self._batch: FigureBatch | None = None  # Under way; kept while the backend does not take it.
        self._n_done = 0  # Figures of the batch that were delivered or refused for good.
        self._refused: RefusedPoints | None = None  # Of the batch.

    async def deliver(self) -> bool:
        """Deliver one batch, or what is left of it, or raise `Refused` or LedgerError; gives whether more may be left.

        Events have their turn between two batches.
        """
        if self._batch is None:
            self._batch = await self._backlog.figures(self._minutes_max)
            self._n_done, self._refused = 0, None
        batch = self._batch
        if batch is None:
            return False
        try:
            await self.deliver_items(batch.figures[self._n_done :])
        except Refused:
            if len(batch.figures) == 1:
                # Only with others beside them can it be found whether the figures or the backend are to blame.
                self._batch = None
                self._minutes_max = min(BATCH_MINUTES_MAX, 2 * self._minutes_max)
            raise
        await self._backlog.delivered_figures(batch, self._refused)
        self._batch = None
        self._minutes_max = next_minutes_max(self._minutes_max, len(batch.figures))
        return True

    async def send(self, items: Sequence[MinuteFigures]) -> Answer:
        """Send the points of minutes in one request."""
        return await self._call(partial(self._sender.send_figures, items))

    async def keep_delivered(self, items: Sequence[MinuteFigures], answer: Answer) -> None:
        """Go on in the batch, and note points that were rejected."""
        self._n_done += len(items)
        if not answer.is_sent:
            return
        n_points = sum(map(count_points, items))
        rejected = min(answer.rejected_count, n_points)
        self._counts.note_success(n_points - rejected)
        if rejected:
            self._note_refused(items, rejected, f"{rejected} of {n_points} points were rejected: {answer.message}")

    async def keep_set_aside(self, item: MinuteFigures, reason: str) -> None:
        """Go on in the batch, and note the points of a minute; it stays in the ledger and in every report."""
        self._n_done += 1
        self._note_refused([item], count_points(item), reason)

    async def find_probe(self, later: Sequence[MinuteFigures]) -> Sequence[MinuteFigures]:
        """Give any minute: points say themselves which minute they belong to, so they may overtake."""
        return later[-1:]

    def _note_refused(self, items: Sequence[MinuteFigures], n_points: int, reason: str) -> None:
        self._counts.n_refused += n_points
        minutes = [item.epoch_minute for item in items]
        before = self._refused
        if before is None:  # One log line per batch: a backend that takes no late points refuses each of them.
            _log.warning("points that the backend will not take: %s", reason, extra={"action": "points_refused"})
        else:
            minutes += [before.first_minute, before.last_minute]
            n_points += before.count
        self._refused = RefusedPoints(n_points, min(minutes), max(minutes), reason, time.time_ns())


def next_minutes_max(minutes_max: int, n_figures: int) -> int:
    """Give how many minutes to read next, so that about BATCH_FIGURES are in memory however many series there are.

    >>> next_minutes_max(4, 100), next_minutes_max(60, 100), next_minutes_max(4, 9_000), next_minutes_max(1, 10_000)
    (8, 60, 2, 1)
    """
    if n_figures > BATCH_FIGURES:
        return max(1, minutes_max // 2)
    return min(BATCH_MINUTES_MAX, 2 * minutes_max) if 2 * n_figures <= BATCH_FIGURES else minutes_max
