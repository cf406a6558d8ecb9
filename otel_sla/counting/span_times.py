"""When received spans ended: the newest minute of each agreement, and how far the senders' clocks are from this one.

Which of the clocks is wrong cannot be seen here, only that they differ: by hours where a time zone was taken for UTC.
"""

from collections.abc import Callable, Sequence

import numpy as np

from otel_sla.arrays import Int64Array, UInt64Array
from otel_sla.sla.counts import NANOS_PER_MINUTE, AcceptWindow, CountRows
from otel_sla.sla.series import SeriesTable

Clock = Callable[[], int]  # ns.

RECENT_NANOS = 10 * NANOS_PER_MINUTE  # What came earlier says nothing of the clocks of now.
BEHIND_NANOS = 30 * NANOS_PER_MINUTE  # Less may be a Collector that had to wait.
_NANOS_PER_S = 1_000_000_000
_NONE = -1


class _Newest:
    """The newest time that came lately, kept as its distance to the steady clock: the other may be set meanwhile."""

    def __init__(self, steady: Clock) -> None:
        self._steady = steady
        self._distance = 0
        self._came_at: int | None = None  # By the steady clock.

    def add(self, unix_nano: int) -> None:
        now = self._steady()
        distance = unix_nano - now
        if self._came_at is None or distance >= self._distance or now - self._came_at > RECENT_NANOS:
            self._distance, self._came_at = distance, now

    def now(self) -> int | None:
        """Give it as the senders' clock would show it by now, ns since the Unix epoch; None: nothing came lately."""
        now = self._steady()
        return None if self._came_at is None or now - self._came_at > RECENT_NANOS else self._distance + now


class SpanTimes:
    """Keeps the newest end of spans, by agreement and by whether they were counted; one thread uses it.

    `clock` is ns since the Unix epoch, as it is set now; `steady` is a clock that is never set.
    """

    def __init__(
        self, agreements: Sequence[str], table: SeriesTable, clock: Clock, steady: Clock, future_spans_max_s: float
    ) -> None:
        self._index = {name: index for index, name in enumerate(agreements)}
        self._table = table
        self._clock = clock
        self._future_spans_max = round(future_spans_max_s * _NANOS_PER_S)
        self._agreement_of: Int64Array = np.empty(0, dtype=np.int64)  # int64[n_series].
        self._newest_minute: Int64Array = np.full(len(agreements) + 1, _NONE, dtype=np.int64)  # One for those gone.
        self._counted, self._rejected = _Newest(steady), _Newest(steady)

    def load(self, rows: CountRows) -> None:
        """Take up what was counted before the start."""
        if len(self._agreement_of) < len(self._table):
            new = [self._table[series_id].agreement for series_id in range(len(self._agreement_of), len(self._table))]
            indices = [self._index.get(name, len(self._index)) for name in new]
            self._agreement_of = np.concatenate((self._agreement_of, np.array(indices, dtype=np.int64)))
        np.maximum.at(self._newest_minute, self._agreement_of[rows.series_id], rows.epoch_minute)

    def load_older(self, last_minute: Callable[[int], int | None]) -> None:
        """Take up the last minute of each series (by series_id) of the agreements that none is known of yet."""
        for series_id in np.flatnonzero(self._newest_minute[self._agreement_of] == _NONE).tolist():
            index = self._agreement_of[series_id]
            self._newest_minute[index] = max(self._newest_minute[index], last_minute(series_id) or _NONE)

    def counted(self, rows: CountRows) -> None:
        """Take up counts that have just been committed."""
        if len(rows):
            self.load(rows)
            self._counted.add(int(rows.epoch_minute.max()) * NANOS_PER_MINUTE)

    def rejected(self, end_time_unix_nano: UInt64Array, window: AcceptWindow) -> None:
        """Take up a request of whose spans some were rejected, as late or early; the least of them counts."""
        early = end_time_unix_nano[end_time_unix_nano > np.uint64(window.future_after_unix_nano)]
        sealed = np.uint64(max(0, window.sealed_before_minute * NANOS_PER_MINUTE))
        late = end_time_unix_nano[(end_time_unix_nano > 0) & (end_time_unix_nano < sealed)]
        if len(early) or len(late):
            self._rejected.add(int(early.min() if len(early) else late.max()))

    def newest_unix_s(self, agreement: str) -> int | None:
        """Give the start of an agreement's newest minute with a span, s since the Unix epoch; None: not known."""
        minute = int(self._newest_minute[self._index[agreement]])
        return None if minute == _NONE else minute * 60

    def lead_s(self) -> float | None:
        """Give how far the spans that came lately are ahead of the clock, by the newest of those that were counted.

        Where none was, by those that were rejected; below 0 they are behind, by up to a minute always. None: none came.
        """
        counted = self._counted.now()
        newest = self._rejected.now() if counted is None else counted
        return None if newest is None else (newest - self._clock()) / _NANOS_PER_S

    def why_clocks_differ(self) -> str:
        """Say how far the clock is from that of the senders; empty: it is not, as far as their spans show."""
        lead_s = self.lead_s() or 0.0
        minutes = f"{abs(lead_s) / 60:.0f} min"
        if lead_s * _NANOS_PER_S > self._future_spans_max:
            return (
                f"the spans that come end {minutes} ahead of this machine's clock, and more than"
                " processor.future_spans_max is rejected: where their senders' clocks are right, this one is behind"
            )
        if -lead_s * _NANOS_PER_S > BEHIND_NANOS:
            return (
                f"the newest of the spans that come ended {minutes} ago: their senders have waited, or this machine's"
                " clock is ahead of theirs"
            )
        return ""
