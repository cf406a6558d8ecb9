"""A ledger that is judged over months and configurations, and what was told of it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ledger_parts import count_rows, make_window

from otel_sla.exporter.backlog import FigureReading
from otel_sla.judging.clock import MinuteMarks
from otel_sla.judging.judge import Judge
from otel_sla.judging.month_report import each_series_minutes, load_report
from otel_sla.judging.terms_versions import record_versions
from otel_sla.ledger.exclusion_writer import ExclusionWriter
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Closing, Commit
from otel_sla.ledger.writer import Ledger
from otel_sla.report.json import report_object
from otel_sla.sla.agreement import Agreement, ExclusionReason, ExclusionWindow
from otel_sla.sla.downtime import MinuteState
from otel_sla.sla.months import Month, month_range
from otel_sla.sla.series import Series
from otel_sla.sla.uptime import MinuteFigures

OCTOBER, NOVEMBER = Month(2026, 10), Month(2026, 11)
EDGE = month_range(NOVEMBER, "UTC").start_minute
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
N_SERIES = 3


class History:
    """A ledger that is counted into, judged, and handed from one configuration to the next."""

    def __init__(
        self,
        folder: Path,
        agreement: Agreement,
        *,
        piece_minutes_max: int = 250_000,
        series_per_snapshot_max: int = 100,
    ) -> None:
        self.agreement = agreement
        self.configured = (agreement,)
        self.url = f"sqlite:///{folder}/ledger.db"
        self.now = EDGE - 60
        self.sealed_before = self.now
        self._piece_minutes_max = piece_minutes_max
        self._series_per_snapshot_max = series_per_snapshot_max
        self._ids: dict[tuple[str, tuple[str, ...], int], int] = {}
        self._start()
        self.count([(self.now, number, 1, 0, 0) for number in range(N_SERIES)])

    def _start(self) -> None:
        self.ledger = Ledger.open(self.url)
        self.reader = LedgerReader.open(self.url)
        self.recorded = record_versions(self.ledger, self.configured, self.now)
        self.forget()

    def forget(self) -> None:
        """Go on with a judge that remembers nothing."""
        self._closer = Judge(
            self.reader,
            self.configured,
            self.recorded.versions,
            self.recorded.removed,
            piece_minutes_max=self._piece_minutes_max,
            late_series_max=max(1, self._piece_minutes_max // 10),
            series_per_snapshot_max=self._series_per_snapshot_max,
        )

    def restart(self, agreement: Agreement | None) -> None:
        """Go on with other terms, or without any agreement."""
        self.stop()
        self.agreement = agreement or self.agreement
        self.configured = () if agreement is None else (agreement,)
        self._start()

    def stop(self) -> None:
        """Close the ledger."""
        self.reader.close()
        self.ledger.close()

    def count(self, rows: Iterable[tuple[int, ...]]) -> None:
        """Add (minute, number, succeeded, failed, invalid), the number being that of a series as it is grouped now.

        Behind them may stand what else is counted, as in counts.Count.
        """
        new: list[Series] = []
        found = []
        for minute, number, *counts in rows if self.configured else ():
            if number and not self.agreement.group_by:
                continue  # All requests are one series.
            key = (self.agreement.name, self.agreement.group_by, number)
            if key not in self._ids:
                self._ids[key] = len(self._ids)
                value = f"chat-{number}".encode()
                group = tuple((name, value) for name in self.agreement.group_by)
                new.append(Series(self._ids[key], self.agreement.name, group, is_overflow=False))
            found.append((minute, self._ids[key], *counts))
        self.ledger.commit(Commit(tuple(new), count_rows(found), (), versions=self.recorded.versions))  # type: ignore[arg-type]

    def judge(self, *, closings_max: int = 100) -> None:
        """Close minutes as the pipeline's tick does; a small `closings_max` is a crash on the way."""
        self.ledger.close_minutes(Closing(judged_before=self.now, sealed_before=None))
        for _ in range(closings_max):
            closing = self.find()
            if closing is None:
                return
            self.ledger.close_minutes(closing)

    def find(self) -> Closing | None:
        """Look for what has to be told, without writing it."""
        return self._closer.find(MinuteMarks(self.now, self.sealed_before))

    def document(self, month: Month) -> dict[str, Any]:
        """Give the report."""
        moment = EPOCH + timedelta(minutes=self.now)
        removed = self.recorded.removed
        return report_object(load_report(self.reader, self.configured, month, self.now, moment, removed=removed))

    def report(self, month: Month) -> dict[str, dict[str, object]]:
        """Give the report's series by their group's value; a grouping by other keys than services names its key."""
        sections = self.document(month)["agreements"]
        return {_name_of(series["group"]): series for section in sections for series in section["series"]}

    def told_down(self) -> dict[str, set[int]]:
        """Add up the events: the epoch minutes that are down, by service (docs/events.md)."""
        standing: dict[str, dict[str, object]] = {}
        for stored in self.reader.events_after(0, 1_000_000):
            kind, _, what = stored.event.name.rpartition(".")
            if kind == "sla.downtime":
                key = str(stored.event.attributes["sla.downtime.id"])
                standing.pop(key, None)
                if what != "withdrawn":
                    standing[key] = dict(stored.event.attributes)
        down: dict[str, set[int]] = defaultdict(set)
        for told in standing.values():
            stop = minute_of(told["sla.downtime.stop"]) if "sla.downtime.stop" in told else self.now
            down[_name_of(told)].update(range(minute_of(told["sla.downtime.start"]), stop))
        return down

    def told_breached(self, month: Month) -> dict[str, bool]:
        """Whether the last that was told of a month is that its promise is broken, by service."""
        breached: dict[str, bool] = defaultdict(bool)
        for stored in self.reader.events_after(0, 1_000_000):
            event = stored.event
            if event.name.startswith("sla.target.") and event.attributes["sla.month.name"] == str(month):
                breached[_name_of(event.attributes)] = event.name == "sla.target.breached"
        return breached

    def told_closed(self, month: Month) -> dict[str, int]:
        """The downtime that a month was last closed with, by service."""
        return {
            _name_of(stored.event.attributes): int(str(stored.event.attributes["sla.month.downtime_minutes"]))
            for stored in self.reader.events_after(0, 1_000_000)
            if stored.event.name == "sla.month.closed" and stored.event.attributes["sla.month.name"] == str(month)
        }

    def exclude(
        self, start_minute: int, n_minutes: int, group: tuple[tuple[str, str], ...] | None = None
    ) -> ExclusionWindow:
        """Record a window of force majeure for the agreement."""
        start = EPOCH + timedelta(minutes=start_minute)
        stop = start + timedelta(minutes=n_minutes)
        window = replace(make_window(), reason=ExclusionReason.FORCE_MAJEURE, start=start, stop=stop, group=group)
        with closing(ExclusionWriter.open(self.url)) as notebook:
            notebook.record_exclusion(self.agreement.name, window, {})
        return window

    def causes(self) -> list[str]:
        """The causes that were told for revised minutes, each once."""
        revised = [stored.event for stored in self.reader.events_after(0, 1_000_000)]
        return sorted(
            {str(event.attributes["sla.revision.cause"]) for event in revised if event.name == "sla.verdict.revised"}
        )

    def assert_adds_up(self, where: str) -> None:
        """The events alone give the report's figures, for both months."""
        down, breached = self.told_down(), {month: self.told_breached(month) for month in (OCTOBER, NOVEMBER)}
        for month in (OCTOBER, NOVEMBER):
            minutes = month_range(month, "UTC")
            for service, series in self.report(month).items():
                told = sum(minutes.start_minute <= minute < minutes.stop_minute for minute in down[service])
                assert told == series["minutes"]["down"], f"{where}, {month}, {service}"  # type: ignore[index]
                assert breached[month][service] == series["breached"], f"{where}, {month}, {service}"
            closed = self.told_closed(month)
            if closed:
                figures = {name: series["minutes"]["down"] for name, series in self.report(month).items()}  # type: ignore[index]
                assert closed == figures, f"{where}, {month} was closed"
            listed = self.report(month)
            for service, told_minutes in down.items():
                told = sum(minutes.start_minute <= minute < minutes.stop_minute for minute in told_minutes)
                assert not told or service in listed, f"{where}, {month}, {service} is told and not listed"

    def gauges(self) -> dict[tuple[str, int], MinuteFigures]:
        """What a backend that is new gets: by service and minute."""
        backlog = FigureReading("new", (*self.configured, *self.recorded.removed), first_minutes_max=1_000_000)
        shown: dict[tuple[str, int], MinuteFigures] = {}
        while (batch := backlog.next_batch(self.reader, 7)) is not None and batch.exported_before is not None:
            for figures in batch.figures:
                shown[_name_of(figures.series.group_text), figures.epoch_minute] = figures
            self.ledger.advance_cursor("new", exported_before=batch.exported_before)
        return shown

    def assert_gauges_agree(self, where: str) -> None:
        """A backend that is new gets, for each minute of both months, the state and the month's sum of the report."""
        judged, shown = (*self.configured, *self.recorded.removed), self.gauges()
        for month in (OCTOBER, NOVEMBER):
            for minutes in each_series_minutes(self.reader, judged, month, self.now):
                down = 0
                for offset, state in enumerate(minutes.states.adjusted.tolist()):
                    figures = shown.get((_name_of(minutes.series.group_text), minutes.states.start_minute + offset))
                    down += state == MinuteState.DOWN
                    if figures is not None:
                        assert (figures.state, figures.so_far.down) == (state, down), f"{where}, {month}, {offset}"
        assert shown


def _name_of(attributes: Mapping[str, object]) -> str:
    keys = [key for key in attributes if not key.startswith("sla.")]
    return "/".join(str(attributes[key]) if key == "service.name" else f"{key}={attributes[key]}" for key in keys)


def minute_of(text: object) -> int:
    """The epoch minute of an event's time."""
    return int(datetime.fromisoformat(str(text)).timestamp()) // 60
