"""The running month of an application: its counts in memory, and the newest judged minute of each series.

Counts are kept by series and UTC day, so that a series takes memory for the days that it had requests on: 17 KiB each,
half a megabyte for a whole month. What is counted beside outcomes (`Count`) takes 68 KiB more on days that have any.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import add

import numpy as np

from otel_sla.arrays import Int64Array, UInt32Array
from otel_sla.judging.series_judge import History, Terms, is_grouped, series_of
from otel_sla.sla.agreement import Agreement, Counting, NoData, Outcome
from otel_sla.sla.counts import MINUTES_PER_DAY, N_COUNTS, N_OUTCOMES, Count, CountRows, add_capped, has_enough
from otel_sla.sla.exclusions import ExclusionRecord, last_change
from otel_sla.sla.months import MinuteRange, month_of, month_range
from otel_sla.sla.series import Series
from otel_sla.sla.uptime import Counts, MinuteFigures

_NO_COUNTS = [0] * N_COUNTS

LastMinute = tuple[int, tuple[int, ...]]  # Epoch minute and its counts, as of `MinuteMemory.last_data_minute`.


class MinuteMemory:
    """What a ledger is to the pipeline: implements `series_judge.CountReadings`. One thread owns it."""

    def __init__(self) -> None:
        self.first_data_minutes: dict[int, int] = {}  # Series -> first minute ever with a valid request.
        # Series -> UTC day -> uint32[3, 1440], requests.
        self._days: dict[int, dict[int, UInt32Array]] = defaultdict(
            lambda: defaultdict(lambda: np.zeros((N_OUTCOMES, MINUTES_PER_DAY), dtype=np.uint32))
        )
        # (series, UTC day) -> int64[6, 1440], the other counts.
        self._beside: dict[tuple[int, int], Int64Array] = defaultdict(
            lambda: np.zeros((N_COUNTS - N_OUTCOMES, MINUTES_PER_DAY), dtype=np.int64)
        )
        self._last_forgotten: dict[int, LastMinute] = {}
        self._known_from: dict[int, int] = {}  # Series -> first minute that is not forgotten.

    def add(self, rows: CountRows) -> None:
        """Add to the counts; each (series, minute) stands in `rows` at most once."""
        for series_id, minute, counts in zip(
            rows.series_id.tolist(), rows.epoch_minute.tolist(), rows.counts, strict=True
        ):
            day, place = divmod(minute, MINUTES_PER_DAY)
            self._days[series_id][day][:, place] += counts[:N_OUTCOMES].astype(np.uint32)
            if counts[N_OUTCOMES:].any():
                beside = self._beside[series_id, day]
                beside[:, place] = add_capped(beside[:, place], counts[N_OUTCOMES:])
            has_valid = counts[Outcome.SUCCEEDED] + counts[Outcome.FAILED] > 0
            if has_valid and minute < self.first_data_minutes.get(series_id, minute + 1):
                self.first_data_minutes[series_id] = minute

    def remember(self, series_id: int, first_data_minute: int | None, last: LastMinute | None) -> None:
        """Take up what a ledger knows of a series' past before the minutes that are added."""
        if first_data_minute is not None:
            self.first_data_minutes[series_id] = first_data_minute
        if last is not None:
            self._last_forgotten[series_id] = last

    def month_counts(
        self, series_id: int, start_minute: int, stop_minute: int, columns: int = N_OUTCOMES
    ) -> Int64Array:
        """Totals of one series: int64[n_minutes, columns], as `LedgerReadings.month_counts` gives them."""
        dense = np.zeros((columns, max(0, stop_minute - start_minute)), dtype=np.int64)
        days = self._days.get(series_id, {})
        for day in range(start_minute // MINUTES_PER_DAY, -(-stop_minute // MINUTES_PER_DAY)):
            block = days.get(day)
            if block is None:
                continue
            midnight = day * MINUTES_PER_DAY
            first, stop = max(start_minute, midnight), min(stop_minute, midnight + MINUTES_PER_DAY)
            wanted = dense[:, first - start_minute : stop - start_minute]
            wanted[:N_OUTCOMES] = block[:, first - midnight : stop - midnight]
            beside = self._beside.get((series_id, day))
            if beside is not None:
                wanted[N_OUTCOMES:] = beside[: columns - N_OUTCOMES, first - midnight : stop - midnight]
        return dense.T

    def each_month_counts(
        self, series_ids: Sequence[int], start_minute: int, stop_minute: int, columns: int = N_OUTCOMES
    ) -> Iterator[tuple[int, Int64Array]]:
        """`month_counts` of many series, one after the other."""
        for series_id in series_ids:
            yield series_id, self.month_counts(series_id, start_minute, stop_minute, columns)

    def known_from(self, series_id: int) -> int:
        """Give the first minute whose counts are not forgotten."""
        return self._known_from.get(series_id, 0)

    def last_data_minute(
        self, series_id: int, before_minute: int, valid_requests_min: int, *, is_adjusted: bool = False
    ) -> LastMinute | None:
        """Give the last minute before `before_minute` with enough valid requests, as `LedgerReadings` does."""
        columns = N_COUNTS if is_adjusted else N_OUTCOMES
        for day in sorted(self._days.get(series_id, {}), reverse=True):
            midnight = day * MINUTES_PER_DAY
            stop_minute = min(before_minute, midnight + MINUTES_PER_DAY)
            counts = self.month_counts(series_id, midnight, stop_minute, columns)
            (places,) = has_enough(counts, valid_requests_min).nonzero()
            if len(places):
                return midnight + int(places[-1]), tuple(counts[places[-1]].tolist())
        last = self._last_forgotten.get(series_id)
        return last if last is not None and last[0] < before_minute else None

    def forget(self, series_id: int, before_minute: int, valid_requests_min: int, *, is_adjusted: bool = False) -> None:
        """Drop the days of a series that ended before `before_minute`; its last judged minute stays known."""
        days = self._days.get(series_id, {})
        old = [day for day in days if (day + 1) * MINUTES_PER_DAY <= before_minute]
        if old:
            stop_minute = (max(old) + 1) * MINUTES_PER_DAY
            last = self.last_data_minute(series_id, stop_minute, valid_requests_min, is_adjusted=is_adjusted)
            self._known_from[series_id] = stop_minute
            for day in old:
                del days[day]
                self._beside.pop((series_id, day), None)
            self.remember(series_id, None, last)


class SdkJudge:
    """Judges by the same arithmetic as pipeline and reports. One thread owns it.

    Args:
        agreements: To judge by.
        memory: The counts.
    """

    def __init__(self, agreements: Sequence[Agreement], memory: MinuteMemory) -> None:
        self._agreements = tuple(agreements)
        self._memory = memory
        self._terms = [Terms.of(agreement, (), 0) for agreement in agreements]
        self._records: Sequence[ExclusionRecord] = ()
        self._unjudged: list[CountRows] = []  # Of this process; some of their minutes have not elapsed.
        self._judged: dict[int, list[int]] = {}  # Series -> counts of judged minutes, as in `Count`.

    def add(self, rows: CountRows) -> None:
        """Take up what this process counted."""
        self._unjudged.append(rows)

    def figures(
        self, all_series: Sequence[Series], records: Sequence[ExclusionRecord], judged_before: int
    ) -> tuple[MinuteFigures, ...]:
        """Give the minute before `judged_before` of every series, shown as the pipeline shows them.

        The month's requests in it are those since this process began: an SDK's counter starts with its process, and
        must not fall at the start of a month.
        """
        if records != self._records:
            self._records = records
            self._terms = [Terms.of(agreement, records, last_change(records)) for agreement in self._agreements]
        self._sum_up(judged_before)
        return tuple(
            replace(found, so_far=replace(found.so_far, counts=self._requests_of(found.series, found.parts)))
            for terms in self._terms
            for found in self._of_agreement(terms, all_series, judged_before - 1)
        )

    def _of_agreement(self, terms: Terms, all_series: Sequence[Series], minute: int) -> Iterator[MinuteFigures]:
        agreement, memory = terms.agreement, self._memory
        history = History(memory, memory.first_data_minutes, {})
        for series in series_of(agreement, all_series):
            if not is_grouped(series, agreement):
                continue
            memory.forget(
                series.series_id,
                kept_from(agreement, minute),
                agreement.downtime.valid_requests_min,
                is_adjusted=agreement.counting is Counting.ADJUSTED,
            )
            has_data = memory.first_data_minutes.get(series.series_id, minute + 1) <= minute
            for found in history.minute_figures(series, terms, MinuteRange(minute, minute + 1), minute + 1):
                if any(found.so_far.counts) or (has_data and agreement.downtime.no_data is not NoData.UP):
                    yield found

    def _sum_up(self, judged_before: int) -> None:
        waiting = []
        for rows in self._unjudged:
            is_judged = rows.epoch_minute < judged_before
            for series_id, counts in zip(
                rows.series_id[is_judged].tolist(), rows.counts[is_judged].tolist(), strict=True
            ):
                self._judged[series_id] = list(map(add, self._judged.get(series_id, _NO_COUNTS), counts))
            if not is_judged.all():
                keep = ~is_judged
                waiting.append(CountRows(rows.series_id[keep], rows.epoch_minute[keep], rows.counts[keep]))
        self._unjudged = waiting

    def _requests_of(self, series: Series, parts: int) -> Counts:
        """Give outcomes, in parts with what sampled requests stand for (clause 19)."""
        counts = self._judged.get(series.series_id, _NO_COUNTS)
        excesses = counts[Count.SUCCEEDED_EXCESS :] if parts > 1 else (0, 0, 0)
        succeeded, failed, invalid = (
            count * parts + excess for count, excess in zip(counts[:N_OUTCOMES], excesses, strict=True)
        )
        return succeeded, failed, invalid


def kept_from(agreement: Agreement, minute: int) -> int:
    """Give the first minute whose counts a minute's month needs: a run at its start may reach back by a period."""
    month = month_range(month_of(minute, agreement.time_zone), agreement.time_zone)
    return month.start_minute - max(MINUTES_PER_DAY, agreement.downtime.period_minutes_min)
