"""The fingerprint by which a ResourceSpans message is recognised when it comes again: its newest minute, and a hash."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

import numpy as np
import xxhash

from otel_sla.arrays import Int64Array
from otel_sla.sla.counts import NANOS_PER_MINUTE, AcceptWindow
from otel_sla.spans.columns import SPAN_KIND_SERVER, SpanColumns

Fingerprint = tuple[int, bytes]  # (newest minute of its server spans, xxh3-128 of its bytes).

# No clock shows later end times; they would keep a fingerprint for as long.
_MINUTE_MAX = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp()) // 60
# So many more than a commit brings are dropped with it: all 65,536 at once would hold the event loop for 10 ms.
_DROPPED_BESIDE = 1_024


class RecentFingerprints:
    """Fingerprints that were committed and may still be in the ledger's log: 170 bytes each."""

    def __init__(self) -> None:
        self._all: set[Fingerprint] = set()
        self._commits: deque[Sequence[Fingerprint]] = deque()
        self._moved_commits = 0

    def __contains__(self, fingerprint: Fingerprint) -> bool:
        return fingerprint in self._all

    def add(self, fingerprints: Sequence[Fingerprint], moved_commits: int) -> None:
        """Add those of one commit, and drop some that the ledger has moved to its table (`Ledger.commit`)."""
        if fingerprints:
            self._commits.append(fingerprints)
            self._all.update(fingerprints)
        n_left = len(fingerprints) + _DROPPED_BESIDE
        while self._moved_commits < moved_commits and n_left > 0:
            gone = self._commits.popleft()
            self._moved_commits += 1
            self._all.difference_update(gone)
            n_left -= len(gone)


def fingerprints_of(columns: SpanColumns, body: bytes | memoryview, seed: int) -> Iterator[tuple[int, Fingerprint]]:
    """Give (index, fingerprint) of each ResourceSpans with server spans.

    `seed` is the ledger's secret, so that no sender can make two messages that are taken for one.
    """
    newest_minute = newest_server_minutes(columns)
    indices = np.flatnonzero(newest_minute >= 0)
    found = (indices, newest_minute[indices], columns.resource_start[indices], columns.resource_stop[indices])
    view = memoryview(body)
    for index, minute, start, stop in zip(*(each.tolist() for each in found), strict=True):
        yield index, (minute, xxhash.xxh3_128_digest(view[start:stop], seed))


def may_have_counted(
    fresh: dict[Fingerprint, int], columns: SpanColumns, window: AcceptWindow
) -> Iterable[Fingerprint]:
    """Leave out the fingerprints of ResourceSpans whose server spans were all rejected (clause 16).

    Nothing of them counted, so a repeat cannot count twice, and may count once its time has come. A sender whose clock
    is ahead would else leave fingerprints that are kept until that time is over. `fresh` has the index of each.
    """
    sealed_before_minute, newest_minute = window.sealed_before_minute, newest_accepted_minute(window)
    # Nearly always: the newest span is one that is accepted. 0.1 us for each.
    if all(sealed_before_minute <= minute < newest_minute for minute, _ in fresh):
        return fresh
    end = columns.end_time_unix_nano
    is_accepted = columns.kind == SPAN_KIND_SERVER
    is_accepted &= end >= _uint64(sealed_before_minute * NANOS_PER_MINUTE)
    is_accepted &= end <= _uint64(window.future_after_unix_nano)
    has_counted = np.zeros(columns.n_resources, dtype=np.bool_)
    has_counted[columns.resource_index[is_accepted]] = True
    return [fingerprint for fingerprint, index in fresh.items() if has_counted[index]]


def newest_accepted_minute(window: AcceptWindow) -> int:
    """Give the newest minute that is accepted, mostly not whole."""
    return window.future_after_unix_nano // NANOS_PER_MINUTE


def newest_server_minutes(columns: SpanColumns) -> Int64Array:
    """Give for each ResourceSpans the newest minute of its server spans before the year 2100, or -1 if it has none.

    A function of the bytes alone, so that a repeat finds its fingerprint whatever the clock says by then. And of its
    minutes the newest, however far ahead: any of them may be the one that is accepted, now or at a repeat, and the
    fingerprint must not be forgotten before that one is sealed. What ends after 2100 is rejected, now and then.

    Returns:
        int64[n_resources], whole minutes since the Unix epoch.
    """
    newest = np.full(columns.n_resources, -1, dtype=np.int64)
    is_server = columns.kind == SPAN_KIND_SERVER
    minutes = (columns.end_time_unix_nano[is_server] // np.uint64(NANOS_PER_MINUTE)).astype(np.int64)
    np.maximum.at(newest, columns.resource_index[is_server], np.where(minutes < _MINUTE_MAX, minutes, -1))
    return newest


def _uint64(number: int) -> np.uint64:
    return np.uint64(min(max(number, 0), 0xFFFF_FFFF_FFFF_FFFF))
