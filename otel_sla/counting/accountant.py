"""Counts each request once and answers when it is durable.

The one owner of the ring and of the fingerprints on their way to the ledger: all of it runs on the event loop's
thread, without locks. The ledger's writes run on the writer's thread, the answers wait for them.

The way of one request: decode, leave out what was counted before, classify, add to the ring, join the commit. Small
ones that come while a commit runs go this way together.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np

from otel_sla.arrays import BoolArray
from otel_sla.counting.classify.classifier import Classifier, Requests
from otel_sla.counting.first_requests import FirstRequests, SpanHints, SparedHints
from otel_sla.counting.group_commit import GroupCommit
from otel_sla.counting.joining import Arrivals, CannotJoin, Commits
from otel_sla.counting.minute_ring import MinuteRing
from otel_sla.counting.receipt import LARGE_SIZE_BYTES, Receipt
from otel_sla.counting.repeats.filter_loading import new_filter
from otel_sla.counting.repeats.fingerprint import Fingerprint, RecentFingerprints, fingerprints_of, may_have_counted
from otel_sla.counting.span_times import SpanTimes
from otel_sla.errors import LedgerError, Overloaded
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Commit
from otel_sla.self_metrics import SelfMetrics
from otel_sla.sla.counts import AcceptWindow
from otel_sla.sla.series import SeriesTable
from otel_sla.spans.columns import SpanColumns
from otel_sla.spans.request import decode_request, is_within

RESOURCES_MAX = 65_536  # ResourceSpans of a request. Each is looked up by itself, for 5 us: a third of a second.
_LOOK_UPS_AT_ONCE = 2_048  # Before others have their turn: 10 ms.
_SPANS_AT_ONCE = 16_384  # If their values are new, 60 ms.
# Counted and not durable yet; who comes then is told to come back. 250 MB, and 80 for the rows.
_UNCOMMITTED_MAX = 1_000_000  # Fingerprints, and those of one request more.
_UNCOMMITTED_ROWS_MAX = 1_000_000  # That gather behind a commit; as before.
_TURN_S = 0.005
_TURNS_MAX = 3  # Then in one go, for who comes just as a minute is sealed, each time.


class _SortedOut(NamedTuple):
    """The ResourceSpans of a request: which are new."""

    is_fresh: BoolArray  # bool[n_resources].
    fresh: dict[Fingerprint, int]  # Index of each that is new.
    commits: Commits  # That hold others.


# Of each ResourceSpans with server spans: its index, its fingerprint, and whether that was there when it was looked up.
_Found = list[tuple[int, Fingerprint, bool]]


class Accountant:
    """Implements `receiver.accounting.Accountant` on ring and ledger.

    Args:
        classifier: Gives the watch list and the requests.
        table: The series that `classifier` numbers.
        ring: Already loaded with what the ledger says.
        reader: For the fingerprint look-up, on this thread.
        fingerprint_seed: The ledger's secret.
        write: Commits on the writer's thread, as `Ledger.commit`.
        window: What is accepted now.
        metrics: The pipeline's own telemetry.
        times: Takes notice of when spans ended.
    """

    def __init__(  # noqa: PLR0913 - the eight parts that meet here meet nowhere else.
        self,
        *,
        classifier: Classifier,
        table: SeriesTable,
        ring: MinuteRing,
        reader: LedgerReader,
        fingerprint_seed: int,
        write: Callable[[Commit], Awaitable[int]],
        window: Callable[[], AcceptWindow],
        metrics: SelfMetrics,
        times: SpanTimes,
    ) -> None:
        self._classifier = classifier
        self._table = table
        self._ring = ring
        self._reader = reader
        self._fingerprint_seed = fingerprint_seed
        self._write = write
        self._window = window
        self._metrics = metrics
        self._times = times
        self._uncommitted: dict[Fingerprint, asyncio.Future[None]] = {}
        self._gathered: list[Fingerprint] = []
        self._first = FirstRequests(classifier.watch, table)
        self._hints = SpanHints()
        self.spared = SparedHints(classifier.agreements, table)
        self._is_looking = False  # A request is looked up that lets others have their turn.
        self._lately: set[Fingerprint] = set()  # Committed meanwhile.
        self.filter = new_filter(reader, window())
        self._recent = RecentFingerprints()
        self._large_turn = asyncio.Lock()
        self._arrivals = Arrivals(self._count_joined, lambda: self.commits.is_running, metrics)
        self.commits = GroupCommit(
            self._commit,
            before_next=self._arrivals.take,
            is_awaited=self._arrivals.are_waiting,
            is_full=lambda: len(self._uncommitted) >= _UNCOMMITTED_MAX or ring.n_gathered >= _UNCOMMITTED_ROWS_MAX,
        )

    async def account(self, body: bytes | memoryview) -> Receipt:
        """Count one request and return when its counts are durable.

        A ResourceSpans message that was counted before, or that is just being committed, is not counted again; the
        answer waits for the commit that holds it all the same.

        Raises:
            DecodeError: Not an OTLP trace request; nothing was counted.
            RequestTooLarge: It would take too much memory, or time; nothing was counted.
            Overloaded: The ledger takes too long, or too much waits for it. A repeat counts once.
            LedgerUnavailable: Not durable. The sender may try again: the repeat counts once.
        """
        counted = self._arrivals.add(body)
        if counted is not None and await counted:
            return Receipt()
        return await self._account_alone(body)

    async def _account_alone(self, body: bytes | memoryview) -> Receipt:
        arrived_s, n_spans = time.perf_counter(), 0
        is_small = len(body) < LARGE_SIZE_BYTES and is_within(body, _LOOK_UPS_AT_ONCE, _SPANS_AT_ONCE)
        # The columns of the others may take 80 MiB each. The commit is not part of the turn: several may share it.
        turn = nullcontext() if is_small else self._large_turn
        try:
            async with turn:
                columns = decode_request(body, self._classifier.watch, resources_max=RESOURCES_MAX)
                n_spans = columns.n_spans
                commits, requests = await self._look_up_and_count(columns, body)
                receipt = _receipt_of(requests)
                # A body of empty spans has columns of twelve times its size: nothing of them may wait for the disk.
                del columns, requests
            for commit in commits:
                # Shielded: a sender that gives up must not cancel the commit of all the others.
                await asyncio.shield(commit)
        except (LedgerError, Overloaded):
            self._metrics.refused_spans += n_spans
            raise
        except Exception:  # A mistake of ours: the sender is told not to repeat it.
            self._metrics.failed_spans += n_spans
            raise
        self._metrics.accepted_spans += n_spans - receipt.rejected_spans
        self._metrics.record_ack_latency(time.perf_counter() - arrived_s)
        return receipt

    def _count_joined(self, body: bytes) -> tuple[Commits, int]:
        """Count several small requests as one; gives the commits that hold them, and how many spans they have.

        Raises:
            CannotJoin: A sender has to be told something, so that each has to be counted by itself; nothing was.
            Overloaded: All are told to come back; nothing was counted.
        """
        try:
            columns, window, requests, sorted_out = self._classify_joined(body)
        except Exception as error:  # Whatever it is, the one that has it meets it again when it goes alone.
            raise CannotJoin from error
        try:
            return self._add(columns, window, requests, sorted_out), columns.n_spans
        except LedgerError as error:
            raise CannotJoin from error
        except Overloaded:
            self._metrics.refused_spans += columns.n_spans
            raise
        except Exception:  # A mistake of ours, and some of it may be counted: nobody is to repeat it.
            self._metrics.failed_spans += columns.n_spans
            raise

    def _classify_joined(self, body: bytes) -> tuple[SpanColumns, AcceptWindow, Requests, "_SortedOut"]:
        columns = decode_request(body, self._classifier.watch)
        if columns.n_spans > _SPANS_AT_ONCE:
            raise CannotJoin
        window, sorted_out = self._window(), self._sort_out(columns, list(self._look_up(columns, body)))
        requests = self._classifier.classify(columns, window, sorted_out.is_fresh)
        if requests.rejected_count:
            raise CannotJoin
        return columns, window, requests, sorted_out

    async def _look_up_and_count(self, columns: SpanColumns, body: bytes | memoryview) -> tuple[Commits, Requests]:
        """Look for what was counted before; then, in one go, count the rest."""
        if columns.n_resources <= _LOOK_UPS_AT_ONCE and columns.n_spans <= _SPANS_AT_ONCE:
            return await self._count(columns, list(self._look_up(columns, body)))
        found: _Found = []
        self._is_looking = True
        try:
            for of_resource in self._look_up(columns, body):
                found.append(of_resource)
                if len(found) % _LOOK_UPS_AT_ONCE == 0:
                    await asyncio.sleep(0)
            return await self._count(columns, found)
        finally:
            self._is_looking = False
            self._lately.clear()

    def _look_up(self, columns: SpanColumns, body: bytes | memoryview) -> Iterator[tuple[int, Fingerprint, bool]]:
        for index, fingerprint in fingerprints_of(columns, body, self._fingerprint_seed):
            yield index, fingerprint, self._is_counted(fingerprint)

    def _is_counted(self, fingerprint: Fingerprint) -> bool:
        if fingerprint in self._uncommitted:
            return True
        if not self.filter.may_be_counted(*fingerprint):
            return False
        try:
            return fingerprint in self._recent or self._reader.is_counted(*fingerprint, in_log=False)
        except LedgerError as error:
            # What cannot be read cannot be told from what was never counted: the pipeline has to end.
            self.commits.fail(error)
            raise

    async def _count(self, columns: SpanColumns, found: _Found) -> tuple[Commits, Requests]:
        """Add what is new to the ring; give the commits that the answer has to wait for.

        What came since `found` was looked up is looked for here.
        """
        turns = 0 if columns.n_spans <= _SPANS_AT_ONCE else _TURNS_MAX
        while True:
            window, sorted_out = self._window(), self._sort_out(columns, found)
            if not turns:
                requests = self._classifier.classify(columns, window, sorted_out.is_fresh)
                break
            turns -= 1
            requests = await self._classify_in_turns(columns, window, sorted_out.is_fresh)
            # Others were counted meanwhile, and time went on. A second time is quick: what is new has been learnt.
            is_as_it_was = np.array_equal(sorted_out.is_fresh, self._sort_out(columns, found).is_fresh)
            if is_as_it_was and window.sealed_before_minute == self._window().sealed_before_minute:
                break
        return self._add(columns, window, requests, sorted_out), requests

    def _add(self, columns: SpanColumns, window: AcceptWindow, requests: Requests, sorted_out: "_SortedOut") -> Commits:
        """Add what is new to the ring, in one go with what was sorted out; give the commits that hold it all.

        Raises:
            LedgerError, Overloaded: Nothing was added.
        """
        commits = sorted_out.commits
        if len(requests.series_id):
            commit = self.commits.join()
            commits.add(commit)
            self._ring.add(requests)
            fresh = may_have_counted(sorted_out.fresh, columns, window)
            self._gathered.extend(fresh)
            self._uncommitted.update(dict.fromkeys(fresh, commit))
        if requests.late_count or requests.future_count:
            self._times.rejected(columns.end_time_unix_nano, window)
        self._record(requests, columns, sorted_out.is_fresh)
        return commits

    def _sort_out(self, columns: SpanColumns, found: _Found) -> "_SortedOut":
        is_fresh = np.ones(columns.n_resources, dtype=np.bool_)
        fresh: dict[Fingerprint, int] = {}
        commits: Commits = set()
        for index, fingerprint, was_there in found:
            commit = self._uncommitted.get(fingerprint)
            if commit is not None:
                commits.add(commit)
            if was_there or commit is not None or fingerprint in fresh or fingerprint in self._lately:
                is_fresh[index] = False
                continue
            fresh[fingerprint] = index
        return _SortedOut(is_fresh, fresh, commits)

    async def _classify_in_turns(self, columns: SpanColumns, window: AcceptWindow, is_fresh: BoolArray) -> Requests:
        """Classify a large request; each of a million new values takes 4 us to learn."""
        turn_ends_s = time.perf_counter() + _TURN_S
        requests = None
        for requests in self._classifier.classify_in_pieces(columns, window, is_fresh):  # noqa: B007
            if time.perf_counter() > turn_ends_s:
                await asyncio.sleep(0)
                turn_ends_s = time.perf_counter() + _TURN_S
        assert requests is not None, "the last piece gives the requests"
        return requests

    def _record(self, requests: Requests, columns: SpanColumns, is_fresh: BoolArray) -> None:
        if self._first.are_awaited:
            self._first.look(columns, requests, is_fresh)
        metrics = self._metrics
        metrics.late_spans += requests.late_count
        metrics.future_spans += requests.future_count
        metrics.malformed_spans += requests.malformed_count
        metrics.overflow_spans += requests.overflow_count
        if requests.notes is not None:
            notes = requests.notes
            metrics.unusable_status_spans.update(notes.unusable_status_spans)
            metrics.unusable_threshold_spans += notes.unusable_threshold_spans
            metrics.unknown_parent_spans += notes.unknown_parent_spans
            metrics.sampled_spans += notes.sampled_spans
            metrics.spared_requests += notes.spared_requests
            self._hints.look(notes)
            self.spared.look(notes)
        if not is_fresh.all():
            metrics.duplicate_spans += int(np.count_nonzero(~is_fresh[columns.resource_index]))
        if requests.overflow_count:
            self._first.tell_overflow()

    async def _commit(self) -> None:
        fingerprints, self._gathered = self._gathered, []
        commit = Commit(new_series=self._table.drain_new(), rows=self._ring.drain(), fingerprints=tuple(fingerprints))
        started_s = time.perf_counter()
        moved_commits = await self._write(commit)
        self._metrics.record_commit(time.perf_counter() - started_s, len(commit.rows))
        self.spared.count(commit.rows)
        self._times.counted(commit.rows)
        if self._is_looking:
            self._lately.update(fingerprints)
        self._recent.add(fingerprints, moved_commits)
        self.filter.take_up(fingerprints, self._window())
        for fingerprint in fingerprints:
            del self._uncommitted[fingerprint]


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
    rejected = requests.late_count + requests.future_count + requests.malformed_count
    return Receipt(rejected_spans=rejected, error_message="; ".join(reasons))
