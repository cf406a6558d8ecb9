"""Counts the requests of senders, each ResourceSpans once; what was counted is committed with its fingerprints.

All of it runs on the event loop's thread, without locks, but for the ledger's write, which is awaited.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from otel_sla.arrays import BoolArray
from otel_sla.counting.classify.classifier import Requests
from otel_sla.counting.counter import FreshResources, RequestCounter, find_fresh
from otel_sla.counting.first_requests import FirstRequests, SpanHints
from otel_sla.counting.receipt import LARGE_SIZE_BYTES, Receipt
from otel_sla.counting.repeats.bloom_filter import new_filter
from otel_sla.counting.repeats.fingerprint import (
    Fingerprint,
    RecentFingerprints,
    may_have_counted,
    newest_accepted_minute,
)
from otel_sla.counting.span_times import SpanTimes
from otel_sla.errors import LedgerError, Overloaded
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Commit
from otel_sla.self_metrics import SelfMetrics
from otel_sla.sla.counts import AcceptWindow
from otel_sla.spans.columns import SpanColumns
from otel_sla.spans.request import is_within

Durable = asyncio.Future[None]  # Resolves when a commit is durable, or fails.


@dataclass(frozen=True, slots=True, kw_only=True)
class CountingLimits:
    """What bounds the time and the memory that counting takes."""

    resources_max: int = 65_536  # ResourceSpans of a request. Each is looked up, for 5 us: a third of a second.
    look_ups_at_once: int = 2_048  # Before others have their turn: 10 ms.
    spans_at_once: int = 16_384  # If their values are new, 60 ms.
    # Backpressure: above these, new requests fail as Overloaded, which is retryable. 250 MB, and 80 MB for the rows.
    uncommitted_max: int = 1_000_000  # Fingerprints that are not durable yet; those of one request more.
    uncommitted_rows_max: int = 1_000_000  # Rows that are not durable yet; those of one request more.
    turn_s: float = 0.005
    turns_max: int = 3  # Then in one go: a request may come just as a minute is sealed, each time.


class Counted(NamedTuple):
    """A request that is counted, and what its answer waits for."""

    commits: set[Durable]  # That hold it, and what it repeats.
    n_spans: int
    receipt: Receipt


class ReceivedCounts:
    """What was counted of requests since the last commit, and which ResourceSpans were counted ever.

    Args:
        counter: Its ring is loaded with what the ledger holds.
        reader: For the look-up of fingerprints, on this thread.
        write: Commits on the writer's thread, as `Ledger.commit`.
        window: What is accepted now.
        metrics: The pipeline's own.
        times: Gets the times at which spans ended.
    """

    def __init__(
        self,
        counter: RequestCounter,
        *,
        reader: LedgerReader,
        write: Callable[[Commit], Awaitable[int]],
        window: Callable[[], AcceptWindow],
        metrics: SelfMetrics,
        times: SpanTimes,
    ) -> None:
        self.limits = CountingLimits()
        self.counter = counter
        self.reader = reader
        self.write = write
        self.filter = new_filter(reader, window())
        self.hints = SpanHints(counter.classifier.agreements, counter.table)
        self.uncommitted: dict[Fingerprint, Durable] = {}
        self._window = window
        self._metrics = metrics
        self._times = times
        self._first = FirstRequests(counter.classifier.watch, counter.table)
        self._recent = RecentFingerprints()
        self._large_turn = asyncio.Lock()
        # While a large request is counted that lets others have their turn: what of it was counted before, or is
        # committed meanwhile.
        self._counted_meanwhile: set[Fingerprint] | None = None

    @property
    def is_full(self) -> bool:
        """Whether as much waits for a commit as may."""
        limits = self.limits
        return (
            len(self.uncommitted) >= limits.uncommitted_max
            or self.counter.ring.n_gathered >= limits.uncommitted_rows_max
        )

    def count_joined(self, body: bytes, join: Callable[[], Durable]) -> Counted | None:
        """Count several small requests, one behind the other, as one; errors as for `count`.

        Returns:
            None: nothing was counted, as each has to be counted by itself: one of them has to be answered otherwise.
        """
        try:
            columns = self.counter.decode(body)
            if columns.n_spans > self.limits.spans_at_once:
                return None
            window, fresh, requests = self._classify(columns, body)
        except LedgerError:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the request that has it meets it again by itself.
            return None
        if requests.rejected_count:
            return None
        with self._counting_failures(columns.n_spans):
            try:
                return self._add(columns, window, fresh, requests, join)
            except LedgerError:
                return None

    async def count(self, body: bytes | memoryview, join: Callable[[], Durable]) -> Counted:
        """Count one request; `join` gives the answer of the next commit.

        Raises:
            DecodeError, RequestTooLarge: As `decode_request`; nothing was counted.
            LedgerError, Overloaded: Nothing was counted.
        """
        limits = self.limits
        is_small = len(body) < LARGE_SIZE_BYTES and is_within(body, limits.look_ups_at_once, limits.spans_at_once)
        # The columns of the others may take 80 MiB each. The commit is not part of the turn: several may share it.
        async with nullcontext() if is_small else self._large_turn:
            columns = self.counter.decode(body, resources_max=limits.resources_max)
            with self._counting_failures(columns.n_spans):
                if columns.n_resources <= limits.look_ups_at_once and columns.n_spans <= limits.spans_at_once:
                    window, fresh, requests = self._classify(columns, body)
                    return self._add(columns, window, fresh, requests, join)
                self._counted_meanwhile = set()
                try:
                    return await self._count_in_turns(columns, body, join, self._counted_meanwhile)
                finally:
                    self._counted_meanwhile = None

    async def commit(self) -> None:
        """Make durable what was counted when this was called.

        Raises:
            LedgerError: What is in the ledger is not known.
        """
        commit = self.counter.take()
        started_s = time.perf_counter()
        moved_commits = await self.write(commit)
        self._metrics.record_commit(time.perf_counter() - started_s, len(commit.rows))
        self.hints.add_rows(commit.rows)
        self._times.counted(commit.rows)
        if self._counted_meanwhile is not None:
            self._counted_meanwhile.update(commit.fingerprints)
        self._recent.add(commit.fingerprints, moved_commits)
        window = self._window()
        self.filter.add(commit.fingerprints, newest_accepted_minute(window))
        self.filter.forget_before(window.sealed_before_minute)
        for fingerprint in commit.fingerprints:
            del self.uncommitted[fingerprint]

    @contextmanager
    def _counting_failures(self, n_spans: int) -> Iterator[None]:
        try:
            yield
        except (LedgerError, Overloaded):
            self._metrics.refused_spans += n_spans
            raise
        except Exception:  # A mistake of ours, and some of it may be counted: the sender must not repeat it.
            self._metrics.failed_spans += n_spans
            raise

    def _is_counted(self, fingerprint: Fingerprint) -> bool:
        if fingerprint in self.uncommitted:
            return True
        if not self.filter.may_be_counted(*fingerprint):
            return False
        return fingerprint in self._recent or self.reader.is_counted(*fingerprint, in_log=False)

    def _classify(
        self, columns: SpanColumns, body: bytes | memoryview
    ) -> tuple[AcceptWindow, FreshResources, Requests]:
        window, found = self._window(), self.counter.fingerprints_of(columns, body)
        fresh = find_fresh(columns.n_resources, found, self._is_counted)
        return window, fresh, self.counter.classifier.classify(columns, window, fresh.is_fresh)

    async def _count_in_turns(
        self, columns: SpanColumns, body: bytes | memoryview, join: Callable[[], Durable], counted: set[Fingerprint]
    ) -> Counted:
        """Look up what was counted before, a piece at a time; then classify, and count in one go."""
        limits = self.limits
        found = []
        for index, fingerprint in self.counter.fingerprints_of(columns, body):
            if self._is_counted(fingerprint):
                counted.add(fingerprint)
            found.append((index, fingerprint))
            if len(found) % limits.look_ups_at_once == 0:
                await asyncio.sleep(0)

        def is_counted(fingerprint: Fingerprint) -> bool:
            return fingerprint in counted or fingerprint in self.uncommitted

        turns = 0 if columns.n_spans <= limits.spans_at_once else limits.turns_max
        while True:
            window, fresh = self._window(), find_fresh(columns.n_resources, found, is_counted)
            if not turns:
                requests = self.counter.classifier.classify(columns, window, fresh.is_fresh)
                break
            turns -= 1
            requests = await self._classify_in_turns(columns, window, fresh.is_fresh)
            # Others were counted meanwhile, and time went on. A second time is quick: no value is new any more.
            is_as_it_was = np.array_equal(fresh.is_fresh, find_fresh(columns.n_resources, found, is_counted).is_fresh)
            if is_as_it_was and window.sealed_before_minute == self._window().sealed_before_minute:
                break
        return self._add(columns, window, fresh, requests, join)

    async def _classify_in_turns(self, columns: SpanColumns, window: AcceptWindow, is_fresh: BoolArray) -> Requests:
        """Classify a large request; each of a million new values takes 4 us."""
        turn_ends_s = time.perf_counter() + self.limits.turn_s
        requests = None
        for requests in self.counter.classifier.classify_in_pieces(columns, window, is_fresh):  # noqa: B007
            if time.perf_counter() > turn_ends_s:
                await asyncio.sleep(0)
                turn_ends_s = time.perf_counter() + self.limits.turn_s
        assert requests is not None, "the last piece gives the requests"
        return requests

    def _add(
        self,
        columns: SpanColumns,
        window: AcceptWindow,
        fresh: FreshResources,
        requests: Requests,
        join: Callable[[], Durable],
    ) -> Counted:
        """Count what is new, in one go with `fresh`. When `join` fails, nothing was counted."""
        commits = {self.uncommitted[each] for each in fresh.repeats if each in self.uncommitted}
        if len(requests):
            commit = join()
            commits.add(commit)
            fingerprints = may_have_counted(fresh.new, columns, window)
            self.counter.add(requests, fingerprints)
            self.uncommitted.update(dict.fromkeys(fingerprints, commit))
        if requests.late_count or requests.future_count:
            self._times.rejected(columns.end_time_unix_nano, window)
        self._record(requests, columns, fresh)
        return Counted(commits, columns.n_spans, _receipt_of(requests))

    def _record(self, requests: Requests, columns: SpanColumns, fresh: FreshResources) -> None:
        if self._first.are_awaited:
            self._first.check(columns, requests, fresh.is_fresh)
        metrics = self._metrics
        metrics.late_spans += requests.late_count
        metrics.future_spans += requests.future_count
        metrics.malformed_spans += requests.malformed_count
        metrics.overflow_spans += requests.overflow_count
        metrics.duplicate_spans += fresh.repeated_spans(columns)
        self.hints.add(requests)
        if (notes := requests.notes) is not None:
            metrics.unusable_status_spans.update(notes.unusable_status_spans)
            metrics.unusable_threshold_spans += notes.unusable_threshold_spans
            metrics.unknown_parent_spans += notes.unknown_parent_spans
            metrics.sampled_spans += notes.sampled_spans
            metrics.spared_requests += notes.spared_requests


def _receipt_of(requests: Requests) -> Receipt:
    """Say which spans were rejected and why (OTLP's partial success); the sender must not send those again."""
    reasons = [
        f"{count} {'span' if count == 1 else 'spans'} {reason}"
        for count, reason in (
            (requests.late_count, "of minutes before the oldest that is still open (processor.late_spans_max)"),
            (requests.future_count, "ending further ahead of the clock than processor.future_spans_max"),
            (requests.malformed_count, "without an end time"),
        )
        if count
    ]
    return Receipt(requests.rejected_count, "; ".join(reasons))
