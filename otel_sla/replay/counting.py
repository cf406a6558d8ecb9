"""Counts requests into a ledger, as the pipeline does: decode, leave out what was counted before, classify, add to the
ring, commit (`accountant.py` has the same way, with senders that wait at its end).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xxhash

from otel_sla.fingerprints import newest_server_minutes
from otel_sla.first_requests import UncoveredSpans
from otel_sla.hash_key import new_hash_key
from otel_sla.ledger.ledger import Ledger
from otel_sla.ledger.records import Commit, Position
from otel_sla.replay.fingerprints import SeenMessages
from otel_sla.replay.payloads import Body, OtherSignal
from otel_sla.replay.totals import Totals
from otel_sla.sla.agreement import Agreement, Outcome
from otel_sla.sla.classify import AcceptWindow, Classifier, Requests
from otel_sla.sla.counts import CountRows
from otel_sla.sla.ring import MinuteRing
from otel_sla.sla.series import SeriesTable
from otel_sla.spans.columns import BoolArray, SpanColumns
from otel_sla.spans.decode import decode_request
from otel_sla.versions import record_versions

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


class Counting:
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
