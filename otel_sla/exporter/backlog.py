"""What one exporter still has to deliver, read from the ledger and kept there.

Nothing is queued in memory: an exporter has a cursor in the ledger (`ledger.records.Cursor`), and what lies behind it
is computed again when it is needed. A backend that is down for a day costs a day's reading later, and no memory now.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TypeVar

from otel_sla.errors import LedgerCorrupt, LedgerError
from otel_sla.judging.series_judge import History, Terms, series_of
from otel_sla.judging.terms_versions import find_basis
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Cursor, RefusedPoints, SetAside, StoredEvent
from otel_sla.ledger.threads import LedgerThread, Writer
from otel_sla.sla.agreement import Agreement, NoData
from otel_sla.sla.counts import NANOS_PER_MINUTE
from otel_sla.sla.months import MinuteRange, Month, month_of, month_range, months_between
from otel_sla.sla.series import Series
from otel_sla.sla.uptime import MinuteFigures, MonthSoFar

T = TypeVar("T")
_ALL = 1_000_000
_PAGE = 1_000  # Events read at once.
_REVISED_MAX = 64  # Ranges of revised minutes in one batch; the judge keeps each to an hour.


@dataclass(frozen=True, slots=True)
class FigureBatch:
    """Figures to deliver together, and what the cursor becomes when they are delivered."""

    figures: tuple[MinuteFigures, ...]
    exported_before: int | None  # Epoch minute; None: these are revised minutes.
    replacement_id: int | None  # The last `ledger.records.Replacement` in them; None: these are new minutes.


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much lies behind an exporter's cursor, revised minutes not counted, and when the oldest of it happened."""

    n_events: int = 0
    oldest_event_unix_nano: int | None = None
    n_minutes: int = 0
    oldest_minute_unix_nano: int | None = None  # Its end.


class LedgerBacklog:
    """The events and figures behind one exporter's cursor. Reading runs on a thread of its own.

    Args:
        name: The exporter's component id, the name of its cursor.
        url: Of the ledger.
        agreements: All that are judged, those that are no longer configured too.
        writer: Moves the cursor.
        first_minutes_max: An exporter that is new to a ledger begins so many minutes back at most.
        is_for_people: One that is new to an old ledger begins with what comes, and each batch of revised minutes ends
            with the newest one, for the sums of its month.
        on_damage: Called when the ledger turns out not to be sound; trying again would not help.
    """

    def __init__(  # noqa: PLR0913 - what a cursor's owner is, and where it is kept.
        self,
        name: str,
        url: str,
        agreements: Sequence[Agreement],
        writer: Writer,
        *,
        first_minutes_max: int,
        is_for_people: bool = False,
        on_damage: Callable[[LedgerError], None] = lambda _: None,
    ) -> None:
        self._name = name
        self._writer = writer
        self._on_damage = on_damage
        self._thread = LedgerThread(f"backlog-{name}", lambda: LedgerReader.open(url))
        self._agreements = tuple(agreements)
        self._is_for_people = is_for_people
        self._figures = FigureReading(name, agreements, first_minutes_max, ends_with_newest=is_for_people)

    async def open(self) -> None:
        """Open the reading connection; an exporter that is new to an old ledger gets its cursor.

        Raises:
            LedgerError: It cannot be read or written.
        """
        await self._thread.open()
        first = await self._thread.call(self._first_cursor)
        if first is not None:
            # Kept at once: if its backend is away for months, events are not skipped when the next month begins.
            await self._writer.call(
                lambda ledger: ledger.advance_cursor(
                    self._name,
                    event_id=first.event_id,
                    exported_before=first.exported_before,
                    replacement_id=first.replacement_id,
                )
            )

    async def close(self) -> None:
        """Close the reading connection."""
        await self._thread.close()

    async def events(self, limit: int) -> tuple[StoredEvent, ...]:
        """Give the next events behind the cursor."""
        return await self._read(lambda reader: reader.events_after(reader.cursor(self._name).event_id, limit))

    async def last_event(self) -> StoredEvent | None:
        """Give the last event at or before the cursor that is not set aside; None if there is none."""
        return await self._read(lambda reader: _last_event(reader, self._name))

    async def figures(self, minutes_max: int) -> FigureBatch | None:
        """Give the figures of the next judged minutes, or of revised minutes; None if there are none."""
        return await self._read(lambda reader: self._figures.next_batch(reader, minutes_max))

    async def waiting(self) -> Waiting:
        """Count what is behind the cursor."""
        return await self._read(self._figures.waiting)

    async def delivered_events(self, event_id: int) -> None:
        """Move the cursor behind an event."""
        await self._writer.call(lambda ledger: ledger.advance_cursor(self._name, event_id=event_id))

    async def set_aside(self, event: StoredEvent, reason: str) -> None:
        """Keep that the backend will never take an event, and move the cursor behind it."""
        aside = (SetAside(event.event_id, reason, time.time_ns()),)
        await self._writer.call(
            lambda ledger: ledger.advance_cursor(self._name, event_id=event.event_id, set_aside=aside)
        )

    async def delivered_figures(self, batch: FigureBatch, refused: RefusedPoints | None = None) -> None:
        """Move the cursor behind a batch, and keep what of it the backend will never take."""
        await self._writer.call(
            lambda ledger: ledger.advance_cursor(
                self._name, exported_before=batch.exported_before, replacement_id=batch.replacement_id, refused=refused
            )
        )

    def _first_cursor(self, reader: LedgerReader) -> Cursor | None:
        """Give where an exporter without a cursor begins; None: it has one."""
        if self._name in reader.exporters():
            return None
        if not self._is_for_people:
            return Cursor(_last_event_before(reader, self._agreements), None)
        with reader.snapshot():
            replacement_id, event_id = reader.last_ids()
            return Cursor(event_id, reader.watermarks().published_before, replacement_id)

    async def _read(self, read: Callable[[LedgerReader], T]) -> T:
        try:
            return await self._thread.call(read)
        except LedgerCorrupt as error:
            self._on_damage(error)
            raise


def _last_event_before(reader: LedgerReader, agreements: Sequence[Agreement]) -> int:
    """Give the last event that an exporter without a cursor need not deliver, 0 for none.

    Whoever adds a backend to an old ledger wants the running month there, not the years before it.
    """
    published_before = reader.watermarks().published_before
    if published_before is None:
        return 0
    zones = {agreement.time_zone for agreement in agreements}
    since_minute = min(month_range(month_of(published_before, zone), zone).start_minute for zone in zones)
    since_unix_nano = since_minute * NANOS_PER_MINUTE
    last = 0
    while page := reader.events_after(last, _PAGE):
        for stored in page:
            if stored.event.time_unix_nano >= since_unix_nano:
                return last
            last = stored.event_id
    return last


def _last_event(reader: LedgerReader, name: str) -> StoredEvent | None:
    event_id, aside = reader.cursor(name).event_id, {aside.event_id for aside in reader.set_aside(name)}
    while event_id in aside:
        event_id -= 1
    return next((stored for stored in reader.events_after(event_id - 1, 1) if stored.event_id == event_id), None)


class FigureReading:
    """Computes batches; remembers each series' month so far, so that a new minute does not cost the whole month.

    Args:
        name: Of the exporter.
        agreements: All that are judged.
        first_minutes_max: An exporter without a cursor begins so many minutes back at most.
        ends_with_newest: The newest minute of each series follows its revised ones.
    """

    def __init__(
        self, name: str, agreements: Sequence[Agreement], first_minutes_max: int, *, ends_with_newest: bool = False
    ) -> None:
        self._ends_with_newest = ends_with_newest
        self._name = name
        self._agreements = tuple(agreements)
        self._first_minutes_max = first_minutes_max
        self._revised_seen = 0  # The last `Replacement` that was dropped from the months so far.
        self._so_far: dict[int, tuple[int, MonthSoFar]] = {}  # Series -> (minute, its month before that minute).
        self._was_counted: dict[int, tuple[int, bool]] = {}  # Series -> (month's start, counts before it).

    def next_batch(self, reader: LedgerReader, minutes_max: int) -> FigureBatch | None:
        """Give the figures of up to `minutes_max` new minutes, else those of revised minutes; None if none is left."""
        with reader.snapshot():
            cursor = reader.cursor(self._name)
            new = self._new_minutes(reader, cursor)
            if new is None:
                return None
            snapshot = _SnapshotFigures(reader, self._agreements, new.stop_minute, self._was_counted)
            # The sums of months with revised minutes are out of date.
            for revised in reader.replacements_after(max(cursor.replacement_id, self._revised_seen), _ALL):
                self._so_far.pop(revised.series_id, None)
                self._revised_seen = revised.replacement_id
            if new.n_minutes:
                minutes = MinuteRange(new.start_minute, min(new.start_minute + minutes_max, new.stop_minute))
                figures = tuple(snapshot.new_figures(minutes, self._so_far))
                return FigureBatch(figures, exported_before=minutes.stop_minute, replacement_id=None)
            # A revision of the newest minute waits for the next minute. A backend may let a series' past points be
            # changed, but not its newest, and may refuse the whole request for it: Prometheus does.
            found = reader.replacements_after(cursor.replacement_id, _REVISED_MAX)
            ranges = list(takewhile(lambda revised: revised.stop_minute < new.stop_minute, found))
            if not ranges:
                return None
            wanted: dict[int, set[int]] = defaultdict(set)
            for revised in ranges:
                wanted[revised.series_id].update(range(revised.start_minute, revised.stop_minute))
            revised_figures = snapshot.revised_figures(wanted, ends_with_newest=self._ends_with_newest)
            return FigureBatch(tuple(revised_figures), None, ranges[-1].replacement_id)

    def waiting(self, reader: LedgerReader) -> Waiting:
        """Count what is behind the cursor."""
        with reader.snapshot():
            cursor = reader.cursor(self._name)
            n_events = reader.events_count_after(cursor.event_id)
            oldest = next((stored.event.time_unix_nano for stored in reader.events_after(cursor.event_id, 1)), None)
            new = self._new_minutes(reader, cursor)
        if new is None or not new.n_minutes:
            return Waiting(n_events, oldest)
        return Waiting(n_events, oldest, new.n_minutes, (new.start_minute + 1) * NANOS_PER_MINUTE)

    def _new_minutes(self, reader: LedgerReader, cursor: Cursor) -> MinuteRange | None:
        """Give the judged minutes whose figures were not delivered; None: nothing is counted, or judged."""
        published_before, first_minutes = reader.watermarks().published_before, reader.first_minutes()
        if published_before is None or not first_minutes:
            return None
        start_minute = cursor.exported_before
        if start_minute is None:
            start_minute = max(min(first_minutes.values()), published_before - self._first_minutes_max)
        return MinuteRange(min(start_minute, published_before), published_before)


class _SnapshotFigures:
    """Figures of one snapshot; `was_counted` is kept from one to the next."""

    def __init__(
        self,
        reader: LedgerReader,
        agreements: Sequence[Agreement],
        published_before: int,
        was_counted: dict[int, tuple[int, bool]],
    ) -> None:
        self._was_counted = was_counted
        self._reader = reader
        self._history = History.of(reader)
        self._retired = reader.retired_minutes()
        self._first_minutes, self._first_data = reader.first_minutes(), reader.first_data_minutes()
        self._published_before = published_before
        self._month_terms: dict[tuple[str, Month], Terms] = {}
        self._records, self._change = reader.exclusions(), reader.watermarks().exclusion_change
        all_series = reader.series()
        self._pairs = [
            (series, Terms.of(agreement, self._records, self._change))
            for agreement in agreements
            for series in series_of(agreement, all_series)
        ]

    def new_figures(self, minutes: MinuteRange, so_far: dict[int, tuple[int, MonthSoFar]]) -> Iterator[MinuteFigures]:
        """Give the figures of new minutes of all series; keeps `so_far` up to date."""
        for series, terms in self._pairs:
            first = self._first_minutes.get(series.series_id, minutes.stop_minute)
            if first >= minutes.stop_minute:
                continue
            wanted = MinuteRange(max(minutes.start_minute, first), minutes.stop_minute)
            before, known = so_far.pop(series.series_id, (-1, None))
            # A run that grows to a period makes minutes before it down: then the month is added up anew.
            is_known = before == wanted.start_minute and terms.agreement.downtime.period_minutes_min == 1
            found = list(self._of_series(series, terms, wanted, known if is_known else None))
            so_far[series.series_id] = (wanted.stop_minute, found[-1].so_far)
            yield from (figures for figures in found if self._is_shown(figures, terms))

    def revised_figures(self, wanted: dict[int, set[int]], *, ends_with_newest: bool) -> Iterator[MinuteFigures]:
        """Give the figures of revised minutes, by series, and of the last minute of each month that is over.

        A revised minute gives its own figures only. The month's stand in the newest point, and in an older one would
        fall back to what they were. A month that is over has no newer point, so its last one is corrected.
        """
        for series, terms in self._pairs:
            minutes = wanted.get(series.series_id)
            if minutes:
                zone = terms.agreement.time_zone
                months = {month_range(month_of(minute, zone), zone) for minute in minutes}
                lasts = {month.stop_minute - 1 for month in months if month.stop_minute <= self._published_before}
                minutes |= lasts
                span = MinuteRange(min(minutes), max(minutes) + 1)
                for figures in self._of_series(series, terms, span, None):
                    if figures.epoch_minute in minutes:
                        yield replace(figures, has_month=figures.epoch_minute in lasts)
                if ends_with_newest:
                    newest = MinuteRange(self._published_before - 1, self._published_before)
                    yield from self._of_series(series, terms, newest, None)

    def _is_shown(self, figures: MinuteFigures, terms: Terms) -> bool:
        """Whether a series has points: a silent one until it was silent for a whole month, as alerts need something.

        In the month that it is silent all through it has points, and is not reported (`uptime.is_in_month`).
        """
        if any(figures.so_far.counts):
            return True
        series_id, start_minute = figures.series.series_id, figures.month.start_minute
        stop_minute = figures.epoch_minute + 1
        if self._retired.get(series_id, stop_minute) <= start_minute:
            return False
        if terms.agreement.downtime.no_data is not NoData.UP:
            return self._first_data.get(series_id, stop_minute) < stop_minute
        known = self._was_counted.get(series_id)
        if known is None or known[0] != start_minute:
            before = month_range(month_of(start_minute - 1, terms.agreement.time_zone), terms.agreement.time_zone)
            is_counted = bool(self._reader.month_counts(series_id, before.start_minute, before.stop_minute).any())
            known = self._was_counted[series_id] = start_minute, is_counted
        return known[1]

    def _of_series(
        self, series: Series, terms: Terms, minutes: MinuteRange, so_far: MonthSoFar | None
    ) -> Iterator[MinuteFigures]:
        start_minute, zone = minutes.start_minute, terms.agreement.time_zone
        for month in months_between(*minutes, zone):
            whole, month_terms = month_range(month, zone), self._terms_in(month, terms)
            part = MinuteRange(start_minute, min(minutes.stop_minute, whole.stop_minute))
            if start_minute == whole.start_minute:
                so_far = MonthSoFar()
            yield from self._history.minute_figures(series, month_terms, part, self._published_before, so_far)
            start_minute = whole.stop_minute

    def _terms_in(self, month: Month, terms: Terms) -> Terms:
        """Give what judges a month: a closed one stays judged by the terms that closed it, as its report is."""
        key = terms.agreement.name, month
        if key not in self._month_terms:
            agreement = find_basis(self._reader, terms.agreement, month).agreement
            is_other = agreement != terms.agreement
            self._month_terms[key] = Terms.of(agreement, self._records, self._change) if is_other else terms
        return self._month_terms[key]
