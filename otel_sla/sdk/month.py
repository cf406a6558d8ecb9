"""The running month of an application: its counts in a ledger in memory, and the newest judged minute of each series.

A series takes 2 KB in memory for each of the month's days that it had requests on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import add
from typing import TypeVar

import numpy as np

from otel_sla.judging.series_judge import History, Terms, is_grouped, series_of
from otel_sla.ledger.records import Commit
from otel_sla.ledger.writer import Ledger
from otel_sla.sla.agreement import Agreement, Counting, NoData
from otel_sla.sla.counts import MINUTES_PER_DAY, N_COUNTS, N_OUTCOMES, Count, CountRows
from otel_sla.sla.exclusions import ExclusionRecord, last_change
from otel_sla.sla.months import MinuteRange, month_of, month_range
from otel_sla.sla.series import Series
from otel_sla.sla.uptime import Counts, MinuteFigures

_Key = TypeVar("_Key")

_NO_COUNTS = [0] * N_COUNTS
_PIECES_MAX = 16  # Of packing after a minute; what is left waits for the next one.
_MINUTES_AHEAD = 1 << 20  # Behind the newest minute that can have been counted.


class MonthLedger(Ledger):
    """The counts that the running months need, in memory."""

    def load(self, source: Ledger, agreements: Sequence[Agreement], minute: int) -> tuple[Series, ...]:
        """Take up from another ledger what the months of `minute` need; give all series."""
        kept_from, all_series = _kept_from(agreements, minute), source.series()
        firsts = {series_id: first for series_id, first in source.first_data_minutes().items() if first < kept_from}
        # The minute, which is all that is kept of these rows.
        self.commit(Commit(all_series, _rows_of([(series_id, first, (1,)) for series_id, first in firsts.items()]), ()))
        self._forget(source, agreements, kept_from)
        self.commit(Commit((), source.counts(kept_from, minute + _MINUTES_AHEAD), ()))
        return all_series

    def tidy(self, agreements: Sequence[Agreement], judged_before: int) -> None:
        """Pack what is judged, and forget what is older than the months of the newest judged minute."""
        pack(self, judged_before, judged_before)
        kept_from = _kept_from(agreements, judged_before - 1)
        if kept_from > self.known_from:
            self._forget(self, agreements, kept_from)

    def _forget(self, source: Ledger, agreements: Sequence[Agreement], before_minute: int) -> None:
        """Drop earlier minutes but the last one of each series that `source` can judge."""
        by_name = {agreement.name: agreement for agreement in agreements}
        lasts = []
        for series in source.series():
            agreement = by_name.get(series.agreement)
            if agreement is not None:
                last = source.last_data_minute(
                    series.series_id,
                    before_minute,
                    agreement.downtime.valid_requests_min,
                    is_adjusted=agreement.counting is Counting.ADJUSTED,
                )
                lasts += [] if last is None else [(series.series_id, *last)]
        while self.expire(before_minute):
            pass
        self.known_from = before_minute
        self.commit(Commit((), _rows_of(lasts), ()))


class SdkJudge:
    """Judges by the same arithmetic as pipeline and reports. One thread owns it.

    Args:
        agreements: To judge by.
        ledger: The counts.
    """

    def __init__(self, agreements: Sequence[Agreement], ledger: MonthLedger) -> None:
        self._agreements = tuple(agreements)
        self._ledger = ledger
        self._terms = [Terms.of(agreement, (), 0) for agreement in agreements]
        self._records: Sequence[ExclusionRecord] = ()
        # Of this process: (epoch minute, series) -> counts as in `Count`, of minutes that have not elapsed.
        self._unjudged: dict[tuple[int, int], list[int]] = {}
        self._judged: dict[int, list[int]] = {}  # Series -> counts of judged minutes, as in `Count`.

    def add(self, commit: Commit) -> None:
        """Take up what this process counted."""
        self._ledger.commit(commit)
        minutes, series_ids = commit.rows.epoch_minute.tolist(), commit.rows.series_id.tolist()
        for minute, series_id, counts in zip(minutes, series_ids, commit.rows.counts.tolist(), strict=True):
            _add(self._unjudged, (minute, series_id), counts)

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
        for key in [key for key in self._unjudged if key[0] < judged_before]:
            _add(self._judged, key[1], self._unjudged.pop(key))
        self._ledger.tidy(self._agreements, judged_before)
        history, firsts = History.of(self._ledger), self._ledger.first_data_minutes()
        return tuple(
            replace(found, so_far=replace(found.so_far, counts=self._requests_of(found.series, found.parts)))
            for terms in self._terms
            for series in series_of(terms.agreement, all_series)
            if is_grouped(series, terms.agreement)
            for found in _minute_figures(history, series, terms, judged_before - 1, firsts.get(series.series_id))
        )

    def _requests_of(self, series: Series, parts: int) -> Counts:
        """Give outcomes, in parts with what sampled requests stand for (clause 19)."""
        counts = self._judged.get(series.series_id, _NO_COUNTS)
        excesses = counts[Count.SUCCEEDED_EXCESS :] if parts > 1 else (0, 0, 0)
        succeeded, failed, invalid = (
            count * parts + excess for count, excess in zip(counts[:N_OUTCOMES], excesses, strict=True)
        )
        return succeeded, failed, invalid


def pack(ledger: Ledger, sealed_before: int, judged_before: int) -> None:
    """Pack what is judged: a bounded piece of it."""
    for _ in range(_PIECES_MAX):
        if not ledger.seal(sealed_before, pack_before=judged_before):
            break


def _minute_figures(
    history: History, series: Series, terms: Terms, minute: int, first_data_minute: int | None
) -> Iterator[MinuteFigures]:
    has_data = first_data_minute is not None and first_data_minute <= minute
    for found in history.minute_figures(series, terms, MinuteRange(minute, minute + 1), minute + 1):
        if any(found.so_far.counts) or (has_data and terms.agreement.downtime.no_data is not NoData.UP):
            yield found


def _add(sums: dict[_Key, list[int]], key: _Key, counts: list[int]) -> None:
    sums[key] = list(map(add, sums.get(key, _NO_COUNTS), counts))


def _kept_from(agreements: Sequence[Agreement], minute: int) -> int:
    """Give the first minute whose counts a minute's months need: a run at their start may reach back by a period."""
    return min(
        month_range(month_of(minute, agreement.time_zone), agreement.time_zone).start_minute
        - max(MINUTES_PER_DAY, agreement.downtime.period_minutes_min)
        for agreement in agreements
    )


def _rows_of(minutes: Sequence[tuple[int, int, tuple[int, ...]]]) -> CountRows:
    """Give rows of (series, epoch minute, its first counts)."""
    counts = np.zeros((len(minutes), N_COUNTS), dtype=np.int64)
    for row, (_, _, first_counts) in zip(counts, minutes, strict=True):
        row[: len(first_counts)] = first_counts
    keys = np.array([minute[:2] for minute in minutes], dtype=np.int64).reshape(-1, 2)
    return CountRows(keys[:, 0], keys[:, 1], counts)
