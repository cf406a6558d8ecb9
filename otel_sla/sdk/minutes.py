"""Counts of the running month in memory: what the ledger is to the pipeline.

Kept by series and UTC day, so that a series takes memory for the days that it had requests on: 17 KiB each, half a
megabyte for a whole month.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from otel_sla.sla.agreement import Outcome
from otel_sla.sla.counts import CountRows
from otel_sla.spans.columns import Int64Array, UInt32Array

MINUTES_PER_DAY = 1440

LastMinute = tuple[int, tuple[int, int, int]]  # Epoch minute and its requests, columns as in agreement.Outcome.


class MinuteMemory:
    """Implements `history.CountReadings`. One thread owns it."""

    def __init__(self) -> None:
        self.first_data_minutes: dict[int, int] = {}  # Series -> first minute ever with a valid request.
        self._days: dict[int, dict[int, UInt32Array]] = {}  # Series -> UTC day -> uint32[3, 1440], requests.
        self._last_forgotten: dict[int, LastMinute] = {}

    def add(self, rows: CountRows) -> None:
        """Add to the counts; each (series, minute) stands in `rows` at most once."""
        day, place = np.divmod(rows.epoch_minute, MINUTES_PER_DAY)
        for index, series_id in enumerate(rows.series_id.tolist()):
            days = self._days.setdefault(series_id, {})
            block = days.get(int(day[index]))
            if block is None:
                block = days[int(day[index])] = np.zeros((len(Outcome), MINUTES_PER_DAY), dtype=np.uint32)
            block[:, place[index]] += rows.counts[index].astype(np.uint32)
            succeeded, failed, _ = rows.counts[index].tolist()
            minute = int(rows.epoch_minute[index])
            if succeeded + failed and minute < self.first_data_minutes.get(series_id, minute + 1):
                self.first_data_minutes[series_id] = minute

    def remember(self, series_id: int, first_data_minute: int | None, last: LastMinute | None) -> None:
        """Take up what a ledger knows of a series' past before the minutes that are added."""
        if first_data_minute is not None:
            self.first_data_minutes[series_id] = first_data_minute
        if last is not None:
            self._last_forgotten[series_id] = last

    def month_counts(self, series_id: int, start_minute: int, stop_minute: int) -> Int64Array:
        """Totals of one series: int64[n_minutes, 3], requests, 0 where there are none. Owned by the caller."""
        dense = np.zeros((len(Outcome), max(0, stop_minute - start_minute)), dtype=np.int64)
        days = self._days.get(series_id, {})
        for day in range(start_minute // MINUTES_PER_DAY, -(-stop_minute // MINUTES_PER_DAY)):
            block = days.get(day)
            if block is not None:
                midnight = day * MINUTES_PER_DAY
                first, stop = max(start_minute, midnight), min(stop_minute, midnight + MINUTES_PER_DAY)
                dense[:, first - start_minute : stop - start_minute] = block[:, first - midnight : stop - midnight]
        return dense.T

    def each_month_counts(
        self, series_ids: Sequence[int], start_minute: int, stop_minute: int
    ) -> Iterator[tuple[int, Int64Array]]:
        """`month_counts` of many series, one after the other."""
        for series_id in series_ids:
            yield series_id, self.month_counts(series_id, start_minute, stop_minute)

    def last_data_minute(self, series_id: int, before_minute: int, valid_requests_min: int) -> LastMinute | None:
        """Give the last minute before `before_minute` with at least so many valid requests, and its counts."""
        days = self._days.get(series_id, {})
        for day in sorted(days, reverse=True):
            block = days[day][:, : max(0, before_minute - day * MINUTES_PER_DAY)]
            (places,) = (block[0] + block[1] >= max(valid_requests_min, 1)).nonzero()
            if len(places):
                succeeded, failed, invalid = block[:, places[-1]].tolist()
                return day * MINUTES_PER_DAY + int(places[-1]), (succeeded, failed, invalid)
        last = self._last_forgotten.get(series_id)
        return last if last is not None and last[0] < before_minute else None

    def forget(self, series_id: int, before_minute: int, valid_requests_min: int) -> None:
        """Drop the days of a series that ended before `before_minute`; its last judged minute stays known."""
        days = self._days.get(series_id, {})
        old = [day for day in days if (day + 1) * MINUTES_PER_DAY <= before_minute]
        if old:
            last = self.last_data_minute(series_id, (max(old) + 1) * MINUTES_PER_DAY, valid_requests_min)
            for day in old:
                del days[day]
            self.remember(series_id, None, last)
