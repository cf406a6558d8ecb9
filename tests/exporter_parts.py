"""A backlog in memory with the ledger's behaviour, time that passes when it is waited for, and figures to deliver."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from sla_parts import MINUTE, judge_series, make_agreement, make_series, make_series_counts

from otel_sla.exporter.backlog import FigureBatch, Waiting
from otel_sla.exporter.delivery import Delivery, Sender
from otel_sla.exporter.schedule import Timing
from otel_sla.ledger.records import RefusedPoints, StoredEvent
from otel_sla.sla.agreement import Agreement
from otel_sla.sla.events import Event, Severity
from otel_sla.sla.months import MinuteRange, month_of, month_range
from otel_sla.sla.series import Series
from otel_sla.sla.uptime import MinuteFigures, minute_figures

TIMEOUT_S = 60.0  # For a whole scenario; never reached unless a test fails.


def make_events(n_events: int) -> list[Event]:
    """Events `e0`, `e1`, … in the order of publishing."""
    return [
        Event(f"e{n}", "sla.downtime.started", (MINUTE + n) * 60_000_000_000, Severity.ERROR, f"chat {n}", {"n": n})
        for n in range(n_events)
    ]


def make_figures(
    rows: Sequence[tuple[int, int, int]], *, series: Series | None = None, agreement: Agreement | None = None
) -> list[MinuteFigures]:
    """Consecutive minutes from the start of June 2026 on, each with its succeeded, failed and invalid requests."""
    agreement = agreement or make_agreement()
    month = month_range(month_of(MINUTE, agreement.time_zone), agreement.time_zone)
    counts = make_series_counts(rows, start_minute=month.start_minute)
    judged = judge_series(counts, agreement.downtime, np.zeros(len(rows), dtype=np.bool_))
    minutes = MinuteRange(month.start_minute, month.start_minute + len(rows))
    return list(minute_figures(series or make_series(), agreement, judged, minutes))


class MemoryBacklog:
    """What `LedgerBacklog` does, in memory: reading starts behind the cursor."""

    def __init__(self, events: Iterable[Event] = (), figures: Iterable[MinuteFigures] = ()) -> None:
        self.stored = [StoredEvent(number, event) for number, event in enumerate(events, start=1)]
        self.minutes = list(figures)
        self.cursor = 0
        self.exported = 0  # Minutes.
        self.aside: dict[str, str] = {}
        self.refused: list[RefusedPoints] = []
        self.largest = 0  # Events or figures given at once.

    def add(self, events: Iterable[Event]) -> None:
        """Publish more events."""
        self.stored += [StoredEvent(number, event) for number, event in enumerate(events, start=len(self.stored) + 1)]

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def events(self, limit: int) -> tuple[StoredEvent, ...]:
        """Give the next events behind the cursor."""
        found = tuple(event for event in self.stored if event.event_id > self.cursor)[:limit]
        self.largest = max(self.largest, len(found))
        return found

    async def last_event(self) -> StoredEvent | None:
        """Give the last event at or before the cursor that is not set aside."""
        published = [
            event for event in self.stored if event.event_id <= self.cursor and event.event.uid not in self.aside
        ]
        return published[-1] if published else None

    async def delivered_events(self, event_id: int) -> None:
        """Move the cursor behind an event."""
        assert event_id > self.cursor, "the cursor goes forward only"
        self.cursor = event_id

    async def set_aside(self, event: StoredEvent, reason: str) -> None:
        """Keep the event and the reason, and move the cursor behind it."""
        await self.delivered_events(event.event_id)
        self.aside[event.event.uid] = reason

    async def figures(self, minutes_max: int) -> FigureBatch | None:
        """Give the figures of the next minutes."""
        found = tuple(self.minutes[self.exported : self.exported + minutes_max])
        self.largest = max(self.largest, len(found))
        return FigureBatch(found, exported_before=self.exported + len(found), replacement_id=None) if found else None

    async def waiting(self) -> Waiting:
        """Count what is behind the cursors."""
        events = [stored.event.time_unix_nano for stored in self.stored if stored.event_id > self.cursor]
        minutes = [(minute.epoch_minute + 1) * 60_000_000_000 for minute in self.minutes[self.exported :]]
        return Waiting(len(events), min(events, default=None), len(minutes), min(minutes, default=None))

    async def delivered_figures(self, batch: FigureBatch, refused: RefusedPoints | None) -> None:
        """Move the cursor behind a batch, and keep what of it was refused."""
        self.refused += [refused] if refused is not None else []
        assert batch.exported_before is not None, "no minute is revised here"
        self.exported = batch.exported_before


class Time:
    """Time that stands still, and passes at once when somebody waits for it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []
        self.on_pause: Callable[[], None] = lambda: None

    def timing(self, jitter: float = 0.0) -> Timing:
        """For a delivery."""
        return Timing(clock=lambda: self.now, wait=self._wait, jitter=lambda: jitter)

    async def _wait(self, event: asyncio.Event, timeout_s: float | None) -> None:
        if timeout_s is None:
            await event.wait()
            return
        if not event.is_set():
            self.pauses.append(timeout_s)
            self.now += timeout_s
            self.on_pause()
        await asyncio.sleep(0)


def deliver(
    sender: Sender,
    backlog: MemoryBacklog,
    *,
    is_done: Callable[[], bool],
    time: Time | None = None,
    interval_s: float = 60,
) -> Time:
    """Run a delivery until `is_done`, then drain it."""
    time = time or Time()

    async def scenario() -> None:
        delivery = Delivery("otlp", sender, backlog, interval_s, timing=time.timing())
        await delivery.start()
        while not is_done():  # noqa: ASYNC110 - what is waited for has no event of its own.
            await asyncio.sleep(0)
        await delivery.drain(TIMEOUT_S)

    asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_S))
    return time
