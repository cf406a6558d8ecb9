"""The newest judged minute of each series with its month, from counts in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from otel_sla.arrays import Int64Array
from otel_sla.judging.series_judge import History, Terms, is_grouped, series_of
from otel_sla.sdk.counts_in_memory import MINUTES_PER_DAY, MinuteMemory
from otel_sla.sla.agreement import Agreement, Counting, NoData, Outcome
from otel_sla.sla.counts import Count, CountRows
from otel_sla.sla.exclusions import ExclusionRecord, last_change
from otel_sla.sla.months import MinuteRange, month_of, month_range
from otel_sla.sla.series import Series
from otel_sla.sla.uptime import Counts, MinuteFigures


class Judging:
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
        self._requests: Int64Array = np.zeros((16, len(Outcome)), dtype=np.int64)  # By series, of judged minutes.
        # Series -> what these requests stand for beyond themselves (clause 19), parts; of those that have any.
        self._excesses: dict[int, Counts] = {}

    def add(self, rows: CountRows) -> None:
        """Take note of what this process counted."""
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
        self._sum_up(judged_before, len(all_series))
        return tuple(
            replace(found, so_far=replace(found.so_far, counts=self._requests_of(found.series, found.parts)))
            for terms in self._terms
            for found in self._of_agreement(terms, all_series, judged_before - 1)
        )

    def _of_agreement(self, terms: Terms, all_series: Sequence[Series], minute: int) -> Iterator[MinuteFigures]:
        agreement, memory = terms.agreement, self._memory
        history = History(memory, memory.first_data_minutes, {})
        month = month_range(month_of(minute, agreement.time_zone), agreement.time_zone)
        for series in series_of(agreement, all_series):
            if not is_grouped(series, agreement):
                continue
            memory.forget(
                series.series_id,
                kept_from(agreement, month.start_minute),
                agreement.downtime.valid_requests_min,
                is_adjusted=agreement.counting is Counting.ADJUSTED,
            )
            has_data = memory.first_data_minutes.get(series.series_id, minute + 1) <= minute
            for found in history.minute_figures(series, terms, MinuteRange(minute, minute + 1), minute + 1):
                if any(found.so_far.counts) or (has_data and agreement.downtime.no_data is not NoData.UP):
                    yield found

    def _sum_up(self, judged_before: int, n_series: int) -> None:
        if n_series > len(self._requests):
            self._requests = np.pad(self._requests, ((0, 2 * n_series - len(self._requests)), (0, 0)))
        waiting = []
        for rows in self._unjudged:
            is_judged = rows.epoch_minute < judged_before
            np.add.at(self._requests, rows.series_id[is_judged], rows.outcomes[is_judged])
            excesses = rows.counts[:, Count.SUCCEEDED_EXCESS :]
            has_excess = is_judged & excesses.any(axis=1)
            for series_id, more in zip(rows.series_id[has_excess].tolist(), excesses[has_excess].tolist(), strict=True):
                held = self._excesses.get(series_id, (0, 0, 0))
                self._excesses[series_id] = held[0] + more[0], held[1] + more[1], held[2] + more[2]
            if not is_judged.all():
                keep = ~is_judged
                waiting.append(CountRows(rows.series_id[keep], rows.epoch_minute[keep], rows.counts[keep]))
        self._unjudged = waiting

    def _requests_of(self, series: Series, parts: int) -> Counts:
        succeeded, failed, invalid = self._requests[series.series_id].tolist()
        more = self._excesses.get(series.series_id, (0, 0, 0)) if parts > 1 else (0, 0, 0)
        return succeeded * parts + more[0], failed * parts + more[1], invalid * parts + more[2]


def kept_from(agreement: Agreement, month_start_minute: int) -> int:
    """Give the first minute whose counts a running month needs: a run at its start may reach back by a period."""
    return month_start_minute - max(MINUTES_PER_DAY, agreement.downtime.period_minutes_min)
