"""Counts requests into a ledger, as the pipeline does: decode, leave out what was counted before, classify, add to the
ring, commit (`accountant.py` has the same way, with senders that wait at its end).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xxhash

from otel_sla.arrays import BoolArray
from otel_sla.counting.classify.classifier import Classifier, Requests
from otel_sla.counting.first_requests import UncoveredSpans
from otel_sla.counting.kernels import new_hash_key
from otel_sla.counting.minute_ring import MinuteRing
from otel_sla.counting.repeats.fingerprint import newest_server_minutes
from otel_sla.judging.terms_versions import record_versions
from otel_sla.ledger.reader import LedgerReadings
from otel_sla.ledger.records import Commit, Position
from otel_sla.ledger.writer import Ledger
from otel_sla.replay.payloads import Body, OtherSignal
from otel_sla.replay.totals import Totals
from otel_sla.sla.agreement import Agreement, Outcome
from otel_sla.sla.counts import AcceptWindow, CountRows
from otel_sla.sla.series import SeriesTable
from otel_sla.spans.columns import SpanColumns
from otel_sla.spans.request import decode_request

REMEMBERED_MAX = 2_000_000
_LAST_MINUTE = (1 << 63) - 1


class SeenMessages:
    """Remembers the fingerprints that a replay met, in a memory of bounded size.

    The ledger forgets the fingerprints of sealed minutes, as no sender may repeat those; a recorded file may. So all
    that a replay meets is remembered here too, also what it only passes because an earlier run counted it.

    Guarantee: a repetition is found if the ledger has its fingerprint, or if it is in the files of one command and at
    most `remembered_max / 2` other messages lie between. Senders repeat within minutes; at 10,000 spans/s in messages
    of 100, a million are those of almost three hours.

    Args:
        ledger: Its fingerprints count as seen.
        remembered_max: Fingerprints, some 100 bytes each.
    """

    def __init__(self, ledger: LedgerReadings, remembered_max: int = REMEMBERED_MAX) -> None:
        self._ledger = ledger
        self._generation_size_max = remembered_max // 2
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()
        # What the ledger had before: a look-up takes 15 us, a tenth of all for messages of 170 spans.
        self._first_minute, self._last_minute = ledger.fingerprint_minutes() or (0, -1)
        # What this replay writes itself is in the sets for longer than in the ledger's log.
        self._has_log = ledger.has_fingerprint_log()

    def is_new(self, newest_minute: int, fingerprint: bytes) -> bool:
        """Tell whether a message was not seen before; from now on it is."""
        if fingerprint in self._young or fingerprint in self._old:
            return False
        self.remember(fingerprint)
        if not self._first_minute <= newest_minute <= self._last_minute:
            return True
        return not self._ledger.is_counted(newest_minute, fingerprint, in_log=self._has_log)

    def remember(self, fingerprint: bytes) -> None:
        """Take up a message that was counted before."""
        if len(self._young) >= self._generation_size_max:
            if self._old:  # What is forgotten here may be in the ledger by now.
                self._first_minute, self._last_minute = 0, _LAST_MINUTE
            self._old, self._young = self._young, set()
        self._young.add(fingerprint)


_RING_MINUTES = 64
_MINUTES_PER_DAY = 1440
_FINGERPRINTS_MAX = 100_000  # Per commit; far fewer than are remembered.


@dataclass(frozen=True, slots=True, kw_only=True)
class CountingTerms:
    """What is counted, and by what bounds."""

    agreements: Sequence[Agreement]
    series_max: int  # Per agreement.
    # What ends later has a wrong clock. What is of a sealed minute counts, but the ledger forgets its fingerprint, so
    # that is not given to it.
    window: Callable[[], AcceptWindow]
    since_minute: int  # Epoch minute from which the agreements' terms hold, where the ledger has others.


class ReplayCounter:
    """One ledger's counts as they grow. Spans of any age count: `processor.late_spans_max` is for senders.

    Args:
        ledger: Open for writing, on this thread.
        terms: What is counted.
    """

    def __init__(self, ledger: Ledger, terms: CountingTerms) -> None:
        self.totals = Totals()  # Durable.
        self.pending = Totals()  # Becomes durable with the next commit.
        self.days: dict[int, tuple[int, int]] = {}  # UTC day -> first and last epoch minute with requests, durable.
        self.ledger = ledger
        self._terms = terms
        self._versions = record_versions(ledger, terms.agreements, terms.since_minute).versions
        self._table = SeriesTable(terms.agreements, series_max=terms.series_max, known=ledger.series())
        self._classifier = Classifier(terms.agreements, self._table, hash_key=new_hash_key())
        self._ring = MinuteRing(minutes_kept=_RING_MINUTES)
        self.uncovered = UncoveredSpans(self._classifier.watch)
        self._seen = SeenMessages(ledger)
        self._sealed_before_minute = terms.window().sealed_before_minute
        self._fingerprints: list[tuple[int, bytes]] = []

    @property
    def is_full(self) -> bool:
        """Whether a commit is due, however little was counted."""
        return len(self._fingerprints) >= _FINGERPRINTS_MAX

    def add(self, body: Body, *, is_traces: bool = False) -> None:
        """Count one request.

        Args:
            body: Protobuf; does not change meanwhile.
            is_traces: It is known to be of traces; else it is refused when it need not be.

        Raises:
            OtherSignal: It may be metrics or logs; nothing was counted.
            DecodeError: It is no request; nothing was counted.
            RequestTooLarge: It would take too much memory; nothing was counted.
        """
        columns = decode_request(body, self._classifier.watch)
        if not is_traces and ((columns.end_time_unix_nano == 0) & (columns.kind == 0)).any():
            raise OtherSignal
        window = self._terms.window()
        self._sealed_before_minute = window.sealed_before_minute
        is_fresh = self._find_fresh(columns, body)
        requests = self._classifier.classify(columns, replace(window, late_is_taken=True), is_fresh)
        self._ring.add(requests)
        if not len(requests):
            self.uncovered.add(columns, is_fresh)
        self._record(columns, requests, is_fresh)

    def pass_by(self, body: Body) -> None:
        """Remember the messages of a request that an earlier run counted.

        Raises:
            DecodeError: It is no request.
            RequestTooLarge: It would take too much memory.
        """
        columns = decode_request(body, self._classifier.watch)
        for _, fingerprint in self._each_fingerprint(columns, body):
            self._seen.remember(fingerprint[1])

    def commit(self, positions: tuple[Position, ...]) -> None:
        """Make durable what was counted, together with the places that it was counted up to.

        Raises:
            LedgerError: Not durable.
        """
        rows = self._ring.drain()
        fingerprints, self._fingerprints = tuple(self._fingerprints), []
        versions = self._versions
        self.ledger.commit(Commit(self._table.drain_new(), rows, fingerprints, positions, versions))
        self._sum_up(rows)
        self.totals.add(self.pending)
        self.pending = Totals()

    def _each_fingerprint(self, columns: SpanColumns, body: Body) -> list[tuple[int, tuple[int, bytes]]]:
        """Give (index of the ResourceSpans, (newest minute, fingerprint)) of those that have a server span."""
        newest_minute = newest_server_minutes(columns)
        seed = self.ledger.fingerprint_seed
        found = []
        for index in np.flatnonzero(newest_minute >= 0).tolist():
            piece = body[columns.resource_start[index] : columns.resource_stop[index]]
            found.append((index, (int(newest_minute[index]), xxhash.xxh3_128_digest(piece, seed))))
        return found

    def _find_fresh(self, columns: SpanColumns, body: Body) -> BoolArray:
        is_fresh = np.ones(columns.n_resources, dtype=np.bool_)
        for index, fingerprint in self._each_fingerprint(columns, body):
            if not self._seen.is_new(*fingerprint):
                is_fresh[index] = False
            elif fingerprint[0] >= self._sealed_before_minute:
                self._fingerprints.append(fingerprint)
        return is_fresh

    def _record(self, columns: SpanColumns, requests: Requests, is_fresh: BoolArray) -> None:
        pending = self.pending
        pending.spans += columns.n_spans
        pending.future_spans += requests.future_count
        pending.malformed_spans += requests.malformed_count
        pending.sealed_spans += requests.late_count
        pending.overflow_requests += requests.overflow_count
        if requests.notes is not None:
            pending.notes.add(requests.notes)
        if not is_fresh.all():
            pending.duplicate_spans += int(np.count_nonzero(~is_fresh[columns.resource_index]))

    def _sum_up(self, rows: CountRows) -> None:
        counts_of_series = np.zeros((len(self._table), len(Outcome)), dtype=np.int64)
        np.add.at(counts_of_series, rows.series_id, rows.outcomes)
        for series_id in np.flatnonzero(counts_of_series.any(axis=1)).tolist():
            agreement = self._table[series_id].agreement
            for outcome in Outcome:
                self.pending.requests[agreement, outcome] += int(counts_of_series[series_id, outcome])
        for minute in np.unique(rows.epoch_minute).tolist():
            first, last = self.days.get(minute // _MINUTES_PER_DAY, (minute, minute))
            self.days[minute // _MINUTES_PER_DAY] = min(first, minute), max(last, minute)
