"""Counts the requests of a recording into a ledger, by the way that `RequestCounter` goes for all."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from otel_sla.counting.classify.classifier import Requests
from otel_sla.counting.classify.notes import Notes
from otel_sla.counting.counter import FreshResources, RequestCounter, find_fresh
from otel_sla.counting.first_requests import UncoveredSpans
from otel_sla.judging.terms_versions import record_versions
from otel_sla.ledger.reader import LedgerReadings
from otel_sla.ledger.records import Position
from otel_sla.ledger.writer import Ledger
from otel_sla.replay.payloads import OtherSignal
from otel_sla.sla.agreement import Agreement, Outcome
from otel_sla.sla.counts import MINUTES_PER_DAY, AcceptWindow, CountRows
from otel_sla.sla.series import SeriesTable
from otel_sla.spans.columns import SpanColumns

REMEMBERED_MAX = 2_000_000
_LAST_MINUTE = (1 << 63) - 1
_RING_MINUTES = 64
_FINGERPRINTS_MAX = 100_000  # Per commit; far fewer than are remembered.


@dataclass(slots=True)
class Totals:
    """Sums over all files; each holds what is in the ledger, never what is still under way."""

    records: int = 0  # Of traces, counted now.
    spans: int = 0  # In these records, of every kind.
    requests: Counter[tuple[str, Outcome]] = field(default_factory=Counter)  # By agreement and outcome.
    duplicate_spans: int = 0  # Of ResourceSpans that were counted before.
    future_spans: int = 0  # Covered, and end further ahead of the clock than processor.future_spans_max.
    malformed_spans: int = 0  # Covered, without an end time.
    overflow_requests: int = 0  # Those of `requests` that went to an overflow series.
    notes: Notes = field(default_factory=Notes)  # What was seen on counted spans.
    sealed_spans: int = 0  # Counted, in minutes whose fingerprints the ledger has forgotten.
    earlier_records: int = 0  # Counted, or left out, by an earlier run of the same file.
    other_signal_records: int = 0  # Metrics, logs, profiles.
    broken_records: int = 0  # Skipped.
    padding_size_bytes: int = 0  # Zeros and byte order marks before records.
    headless_size_bytes: int = 0  # Of first lines that are no whole record.
    skipped_files: int = 0  # Given up, or not begun.
    incomplete_size_bytes: int = 0  # Behind the last whole record of a file.

    @property
    def rejected_spans(self) -> int:
        """Spans that no minute takes."""
        return self.future_spans + self.malformed_spans

    def add(self, other: "Totals") -> None:
        """Add what was made durable."""
        for each in fields(self):
            if each.name == "notes":
                self.notes.add(other.notes)
            else:
                setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


class SeenMessages:
    """Remembers the fingerprints that a replay met, in a memory of bounded size.

    The ledger forgets the fingerprints of sealed minutes, as no sender may repeat those; a recorded file may. So a
    repetition is found if the ledger has its fingerprint, or if it is in the files of one command, counted or passed
    by, and at most `remembered_max / 2` other messages lie between: at 10,000 spans/s in messages of 100, a million
    are those of almost three hours.

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
        """Whether a message was not seen before; from now on it is."""
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


class ReplayCounter:
    """One ledger's counts as they grow. Spans of any age count: `processor.late_spans_max` is for senders.

    Args:
        ledger: Open for writing, on this thread.
        agreements: By which is counted.
        series_max: Per agreement.
        window: What ends later has a wrong clock. What is of a sealed minute counts, but the ledger has forgotten the
            fingerprints of that minute, so it gets none.
        since_minute: Epoch minute from which the agreements' terms hold, where the ledger has others.
    """

    def __init__(
        self,
        ledger: Ledger,
        agreements: Sequence[Agreement],
        *,
        series_max: int,
        window: Callable[[], AcceptWindow],
        since_minute: int,
    ) -> None:
        self.totals = Totals()  # Durable.
        self.pending = Totals()  # Becomes durable with the next commit.
        self.days: dict[int, tuple[int, int]] = {}  # UTC day -> first and last epoch minute with requests, durable.
        self.ledger = ledger
        self._window = window
        self._versions = record_versions(ledger, agreements, since_minute).versions
        table = SeriesTable(agreements, series_max=series_max, known=ledger.series())
        self._counter = RequestCounter(
            agreements, table, minutes_kept=_RING_MINUTES, fingerprint_seed=ledger.fingerprint_seed
        )
        self.uncovered = UncoveredSpans(self._counter.classifier.watch)
        self._seen = SeenMessages(ledger)

    @property
    def is_full(self) -> bool:
        """Whether a commit is due, however little was counted."""
        return len(self._counter.fingerprints) >= _FINGERPRINTS_MAX

    def add(self, body: bytes, *, is_traces: bool = False) -> None:
        """Count one request.

        Args:
            body: Protobuf.
            is_traces: It is known to be of traces; else it is refused when it need not be.

        Raises:
            OtherSignal: It may be metrics or logs; nothing was counted.
            DecodeError: It is no request; nothing was counted.
            RequestTooLarge: It would take too much memory; nothing was counted.
        """
        columns = self._counter.decode(body)
        if not is_traces and ((columns.end_time_unix_nano == 0) & (columns.kind == 0)).any():
            raise OtherSignal
        window, found = self._window(), self._counter.fingerprints_of(columns, body)
        fresh = find_fresh(columns.n_resources, found, lambda each: not self._seen.is_new(*each))
        requests = self._counter.classifier.classify(columns, replace(window, late_is_taken=True), fresh.is_fresh)
        self._counter.add(requests, (each for each in fresh.new if each[0] >= window.sealed_before_minute))
        if not len(requests):
            self.uncovered.add(columns, fresh.is_fresh)
        self._record(columns, requests, fresh)

    def pass_by(self, body: bytes) -> None:
        """Remember the messages of a request that an earlier run counted.

        Raises:
            DecodeError: It is no request.
            RequestTooLarge: It would take too much memory.
        """
        for _, (_, digest) in self._counter.fingerprints_of(self._counter.decode(body), body):
            self._seen.remember(digest)

    def commit(self, positions: tuple[Position, ...]) -> None:
        """Make durable what was counted, together with the places that it was counted up to.

        Raises:
            LedgerError: Not durable.
        """
        commit = replace(self._counter.take(positions), versions=self._versions)
        self.ledger.commit(commit)
        self._sum_up(commit.rows)
        self.totals.add(self.pending)
        self.pending = Totals()

    def _record(self, columns: SpanColumns, requests: Requests, fresh: FreshResources) -> None:
        pending = self.pending
        pending.spans += columns.n_spans
        pending.future_spans += requests.future_count
        pending.malformed_spans += requests.malformed_count
        pending.sealed_spans += requests.late_count
        pending.overflow_requests += requests.overflow_count
        pending.duplicate_spans += fresh.repeated_spans(columns)
        if requests.notes is not None:
            pending.notes.add(requests.notes)

    def _sum_up(self, rows: CountRows) -> None:
        counts_of_series = np.zeros((len(self._counter.table), len(Outcome)), dtype=np.int64)
        np.add.at(counts_of_series, rows.series_id, rows.outcomes)
        for series_id in np.flatnonzero(counts_of_series.any(axis=1)).tolist():
            agreement = self._counter.table[series_id].agreement
            for outcome in Outcome:
                self.pending.requests[agreement, outcome] += int(counts_of_series[series_id, outcome])
        for minute in np.unique(rows.epoch_minute).tolist():
            first, last = self.days.get(minute // MINUTES_PER_DAY, (minute, minute))
            self.days[minute // MINUTES_PER_DAY] = min(first, minute), max(last, minute)
