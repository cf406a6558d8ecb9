"""Counts each request once and answers when it is durable.

The one owner of the ring and of the fingerprints on their way to the ledger: all of it runs on the event loop's
thread, without locks. The ledger's writes run on the writer's thread, the answers wait for them.

The way of one request: decode, leave out what was counted before, classify, add to the ring, join the commit.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import numpy as np
import xxhash

from otel_sla.errors import LedgerError
from otel_sla.group_commit import GroupCommit
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Commit
from otel_sla.receiver.accounting import Receipt
from otel_sla.self_metrics import SelfMetrics
from otel_sla.sla.classify import AcceptWindow, Classifier, Requests
from otel_sla.sla.counts import NANOS_PER_MINUTE
from otel_sla.sla.ring import MinuteRing
from otel_sla.sla.series import SeriesTable
from otel_sla.spans.columns import SPAN_KIND_SERVER, BoolArray, Int64Array, SpanColumns
from otel_sla.spans.decode import decode_request

_log = logging.getLogger(__name__)

Fingerprint = tuple[int, bytes]  # (newest minute of its server spans, xxh3-128 of its bytes).


class Accountant:
    """Implements `receiver.accounting.Accountant` on ring and ledger.

    Args:
        classifier: Gives the watch list and the requests.
        table: The series that `classifier` numbers.
        ring: Already loaded with what the ledger says.
        reader: For the fingerprint look-up, on this thread.
        fingerprint_seed: The ledger's secret.
        write: Commits on the writer's thread.
        window: What is accepted now.
        metrics: The pipeline's own telemetry.
    """

    def __init__(  # noqa: PLR0913 - the seven parts that meet here meet nowhere else.
        self,
        *,
        classifier: Classifier,
        table: SeriesTable,
        ring: MinuteRing,
        reader: LedgerReader,
        fingerprint_seed: int,
        write: Callable[[Commit], Awaitable[None]],
        window: Callable[[], AcceptWindow],
        metrics: SelfMetrics,
    ) -> None:
        self._classifier = classifier
        self._table = table
        self._ring = ring
        self._reader = reader
        self._fingerprint_seed = fingerprint_seed
        self._write = write
        self._window = window
        self._metrics = metrics
        self._uncommitted: dict[Fingerprint, asyncio.Future[None]] = {}
        self._gathered: list[Fingerprint] = []
        self._overflow_told = False
        self.commits = GroupCommit(self._commit)

    async def account(self, body: bytes) -> Receipt:
        """Count one request and return when its counts are durable.

        A ResourceSpans message that was counted before, or that is just being committed, is not counted again; the
        answer waits for the commit that holds it all the same.

        Raises:
            DecodeError: Not an OTLP trace request; nothing was counted.
            RequestTooLarge: It would take too much memory; nothing was counted.
            LedgerUnavailable: Not durable. The sender may try again: the repeat counts once.
        """
        arrived_s = time.perf_counter()
        columns = decode_request(body, self._classifier.watch)
        n_spans = columns.n_spans
        try:
            commits, requests = self._count(columns, body)
            receipt = receipt_of(requests)
            # A body of empty spans has columns of twelve times its size: nothing of them may wait for the disk.
            del columns, requests
            for commit in commits:
                # Shielded: a sender that gives up must not cancel the commit of all the others.
                await asyncio.shield(commit)
        except LedgerError:
            self._metrics.refused_spans += n_spans
            raise
        except Exception:  # A mistake of ours: the sender is told not to repeat it.
            self._metrics.failed_spans += n_spans
            raise
        self._metrics.accepted_spans += n_spans
        self._metrics.record_ack_latency(time.perf_counter() - arrived_s)
        return receipt

    def _count(self, columns: SpanColumns, body: bytes) -> tuple[set[asyncio.Future[None]], Requests]:
        """Add what is new to the ring; give the commits that the answer has to wait for."""
        newest_minute = newest_server_minutes(columns)
        is_fresh = np.ones(columns.n_resources, dtype=np.bool_)
        fresh: dict[Fingerprint, int] = {}
        commits: set[asyncio.Future[None]] = set()
        for index in np.flatnonzero(newest_minute >= 0).tolist():
            piece = body[columns.resource_start[index] : columns.resource_stop[index]]
            fingerprint = (int(newest_minute[index]), xxhash.xxh3_128_digest(piece, self._fingerprint_seed))
            commit = self._uncommitted.get(fingerprint)
            if commit is not None:
                commits.add(commit)
            if commit is not None or fingerprint in fresh or self._reader.is_counted(*fingerprint):
                is_fresh[index] = False
                continue
            fresh[fingerprint] = index
        requests = self._classifier.classify(columns, self._window(), is_fresh)
        self._record(requests, columns, is_fresh)
        if len(requests.series_id) == 0:
            return commits, requests
        commit = self.commits.join()
        commits.add(commit)
        self._ring.add(requests)
        self._gathered.extend(fresh)
        self._uncommitted.update(dict.fromkeys(fresh, commit))
        return commits, requests

    def _record(self, requests: Requests, columns: SpanColumns, is_fresh: BoolArray) -> None:
        metrics = self._metrics
        metrics.late_spans += requests.late_count
        metrics.future_spans += requests.future_count
        metrics.malformed_spans += requests.malformed_count
        metrics.overflow_spans += requests.overflow_count
        if not is_fresh.all():
            metrics.duplicate_spans += int(np.count_nonzero(~is_fresh[columns.resource_index]))
        if requests.overflow_count and not self._overflow_told:
            self._overflow_told = True
            _log.warning(
                "more series than processor.series_max: the rest is counted in one overflow series per agreement",
                extra={"action": "series_overflow"},
            )

    async def _commit(self) -> None:
        fingerprints, self._gathered = self._gathered, []
        commit = Commit(new_series=self._table.drain_new(), rows=self._ring.drain(), fingerprints=tuple(fingerprints))
        started_s = time.perf_counter()
        await self._write(commit)
        self._metrics.record_commit(time.perf_counter() - started_s, len(commit.rows))
        for fingerprint in fingerprints:
            del self._uncommitted[fingerprint]


def newest_server_minutes(columns: SpanColumns) -> Int64Array:
    """Tell for each ResourceSpans the newest minute of its server spans, or -1 if it has none.

    A function of the bytes alone, so that a repeat finds its fingerprint whatever the clock says by then.

    Returns:
        int64[n_resources], whole minutes since the Unix epoch.
    """
    newest = np.full(columns.n_resources, -1, dtype=np.int64)
    is_server = columns.kind == SPAN_KIND_SERVER
    minutes = (columns.end_time_unix_nano[is_server] // np.uint64(NANOS_PER_MINUTE)).astype(np.int64)
    np.maximum.at(newest, columns.resource_index[is_server], minutes)
    return newest


def receipt_of(requests: Requests) -> Receipt:
    """Say which spans were rejected and why (OTLP's partial success); the sender must not send those again."""
    reasons = [
        f"{count} {reason}"
        for count, reason in (
            (requests.late_count, "ended before the oldest minute that is still open (processor.late_spans_max)"),
            (requests.future_count, "end further ahead of the clock than processor.future_spans_max"),
            (requests.malformed_count, "have no end time"),
        )
        if count
    ]
    rejected = requests.late_count + requests.future_count + requests.malformed_count
    return Receipt(rejected_spans=rejected, error_message="; ".join(reasons))
