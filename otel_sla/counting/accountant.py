"""The batch loop: small requests that arrive together are counted as one, and many requests share one durable commit.

::

    request  ──>  _waiting  ──>  counted as one  ──>  _gathering  ──>  commit  ──>  answers
    large requests, and those that are answered otherwise, go alone ──^

While one commit runs, the next batch gathers, and a moment longer where many come. Decoding and classifying cost some
100 us for each call, whatever the size: of sixteen requests of 100 spans that are counted as one a fifth is left.

Everything here runs on the event loop's thread; only the write itself runs elsewhere.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from otel_sla.counting.receipt import Receipt
from otel_sla.counting.received import Counted, Durable, ReceivedCounts
from otel_sla.errors import LedgerError, LedgerUnavailable, Overloaded
from otel_sla.self_metrics import SelfMetrics
from otel_sla.spans.request import is_joinable

_log = logging.getLogger(__name__)

# Senders give an attempt up after 5 to 10 s by themselves. They are refused before: Overloaded is retryable.
ANSWER_WITHIN_S = 4.0
# Between two commits, if requests wait already: senders that were just answered send again soon. At 770 requests/s of
# 100 spans p99 of the answers was 68 to 92 ms, and is 14 to 21; commits are half as many.
PAUSE_S = 0.003
JOINED_SIZE_BYTES_MAX = 512 * 1024  # Of one request; a larger one gains little.
_WAITING_SIZE_BYTES_MAX = 2 * 1024 * 1024  # Together they are counted at once: 1 ms of the event loop.
_JOINED_RESOURCES_MAX = 64  # Of one request: each is looked up by itself.
_ALONE_S = 1.0  # After a join had to be undone, requests go alone for so long.


class _Waiting(NamedTuple):
    """A small request that is not counted yet."""

    body: bytes | memoryview
    is_counted: asyncio.Future[bool]  # True: it is durable. False: it is not counted, and has to go alone.
    arrived_s: float


def _resolve(waiting: list[_Waiting], outcome: bool | Exception) -> None:  # noqa: FBT001 - a result.
    for each in waiting:
        if each.is_counted.done():
            continue
        if isinstance(outcome, Exception):
            each.is_counted.set_exception(outcome)
        else:
            each.is_counted.set_result(outcome)


class _Batch:
    """One commit: when it is durable, and what its requests are answered."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.durable: Durable = loop.create_future()
        self.answer: Durable = loop.create_future()  # As `durable`, or that it takes too long.

    def set_durable(self) -> None:
        self.durable.set_result(None)
        if not self.answer.done():
            self.answer.set_result(None)

    def refuse(self, error: Exception) -> None:
        """Answer all requests that have joined; what they hold may still become durable."""
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # A request that was cancelled has nobody left to fetch it.

    def renew_answer(self) -> None:
        """After the others were refused, give requests that join from now on an answer of their own."""
        if self.answer.done():
            self.answer = asyncio.get_running_loop().create_future()

    def set_failed(self, error: Exception) -> None:
        self.refuse(error)
        self.durable.set_exception(error)
        self.durable.exception()


class Accountant:
    """Implements `receipt.TracesConsumer`: counts requests, commits what was counted, and answers.

    When a commit fails, what is on disk is unknown: all requests that wait are refused, and every later one, and
    `failure` resolves, so that the pipeline ends. When it takes long, nothing is lost; but requests that wait are
    refused as Overloaded, and no others join before it is over: what gathers would have no bound.
    """

    def __init__(
        self,
        counts: ReceivedCounts,
        metrics: SelfMetrics,
        *,
        pause: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(PAUSE_S),
        answer_within_s: float = ANSWER_WITHIN_S,
    ) -> None:
        self.pause = pause
        self.answer_within_s = answer_within_s
        self.waiting_size_bytes_max = _WAITING_SIZE_BYTES_MAX
        self.is_stalled = False  # A commit has taken longer than `answer_within_s`, and is not over.
        self.failure: asyncio.Future[LedgerError] = asyncio.get_running_loop().create_future()
        self._counts = counts
        self._metrics = metrics
        self._waiting: list[_Waiting] = []
        self._waiting_size_bytes = 0
        self._is_due = False  # Whether they are counted with the event loop's next turn.
        self._alone_until_s = 0.0
        self._gathering: _Batch | None = None
        self._running: _Batch | None = None
        self._stall: asyncio.TimerHandle  # While a commit runs.
        self._loop_task: asyncio.Task[None] | None = None
        self._answering: set[asyncio.Task[None]] = set()

    async def account(self, body: bytes | memoryview) -> Receipt:
        """Count one request and return when its counts, or those that it repeats, are durable (`TracesConsumer`)."""
        is_counted = self._wait_for_others(body)
        if is_counted is not None and await is_counted:
            return Receipt()
        return await self.account_alone(body)

    async def account_alone(self, body: bytes | memoryview) -> Receipt:
        """Do what `account` does, without waiting for others."""
        arrived_s = time.perf_counter()
        try:
            counted = await self._counts.count(body, self.join)
        except LedgerError as error:
            # What cannot be read may have been counted before: the pipeline has to end.
            self.fail(error)
            raise
        await self._wait_until_durable(counted)
        self._metrics.record_ack_latency(time.perf_counter() - arrived_s)
        return counted.receipt

    def fail(self, error: LedgerError) -> None:
        """Refuse all further requests, for a failure that was met elsewhere; a running commit may still succeed."""
        if not self.failure.done():
            self.failure.set_result(error)

    async def settle(self) -> None:
        """Wait until all that had been counted when this was called is durable.

        Raises:
            LedgerError: It could not be written.
        """
        self._check()
        await asyncio.shield(self._next().durable)

    def _wait_for_others(self, body: bytes | memoryview) -> asyncio.Future[bool] | None:
        """Give `_Waiting.is_counted` of a request that may wait for others."""
        now_s = time.perf_counter()
        if (
            len(body) > JOINED_SIZE_BYTES_MAX
            or now_s < self._alone_until_s
            or not is_joinable(body, _JOINED_RESOURCES_MAX)
        ):
            return None
        loop = asyncio.get_running_loop()
        waiting = _Waiting(body, loop.create_future(), now_s)
        self._waiting.append(waiting)
        self._waiting_size_bytes += len(body)
        if self._waiting_size_bytes > self.waiting_size_bytes_max:
            self._count_waiting()
        elif not self._is_due and not self._is_committing:
            self._is_due = True
            loop.call_soon(self._count_waiting)
        return waiting.is_counted

    @property
    def _is_committing(self) -> bool:
        """Whether a commit is under way, or about to be, and not stalled: requests that join now wait for it anyway."""
        return self._loop_task is not None and not self.is_stalled and not self.failure.done()

    def _count_waiting(self) -> None:
        self._is_due, self._waiting_size_bytes = False, 0
        waiting, self._waiting = self._waiting, []
        if len(waiting) < 2:
            _resolve(waiting, False)  # noqa: FBT003 - a result.
            return
        try:
            counted = self._counts.count_joined(b"".join([each.body for each in waiting]), self.join)
        except LedgerError as error:
            self.fail(error)
            _resolve(waiting, False)  # noqa: FBT003 - each is refused.
        except Exception as error:  # noqa: BLE001 - whatever it is, no request may wait for ever.
            _resolve(waiting, error)
        else:
            if counted is None:
                # The next ones of the same sender would most likely be the same.
                self._alone_until_s = time.perf_counter() + _ALONE_S
                _resolve(waiting, False)  # noqa: FBT003 - a result.
                return
            answering = asyncio.create_task(self._answer(waiting, counted))
            self._answering.add(answering)
            answering.add_done_callback(self._answering.discard)

    async def _answer(self, waiting: list[_Waiting], counted: Counted) -> None:
        try:
            await self._wait_until_durable(counted)
        except (LedgerError, Overloaded) as error:
            _resolve(waiting, error)
            return
        now_s = time.perf_counter()
        for each in waiting:
            self._metrics.record_ack_latency(now_s - each.arrived_s)
        _resolve(waiting, True)  # noqa: FBT003 - a result.

    async def _wait_until_durable(self, counted: Counted) -> None:
        try:
            for commit in counted.commits:
                # Shielded: a sender that gives up must not cancel the commit of all the others.
                await asyncio.shield(commit)
        except (LedgerError, Overloaded):
            self._metrics.refused_spans += counted.n_spans
            raise
        self._metrics.accepted_spans += counted.n_spans - counted.receipt.rejected_spans

    def join(self) -> Durable:
        """Join the batch that gathers; the result comes when it is durable, or Overloaded before. To be shielded.

        Raises:
            LedgerUnavailable: An earlier commit failed.
            Overloaded: The running one takes too long, or as much has gathered as may; nothing was joined.
        """
        self._check()
        if self.is_stalled:
            raise self._takes_long()
        if self._counts.is_full:
            raise Overloaded("as much waits for the ledger as may")
        return self._next().answer

    def _check(self) -> None:
        if self.failure.done():
            raise LedgerUnavailable(f"the ledger failed: {self.failure.result()}")

    def _next(self) -> _Batch:
        if self._gathering is None:
            self._gathering = _Batch()
            if self._loop_task is None:
                self._loop_task = asyncio.create_task(self._commit_batches())
        return self._gathering

    async def _commit_batches(self) -> None:
        while self._gathering is not None:
            self._running, self._gathering = self._gathering, None
            self._stall = asyncio.get_running_loop().call_later(self.answer_within_s, self._on_stall)
            try:
                await self._counts.commit()
            except LedgerError as error:
                self._fail_batches(error)
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, no request may wait for ever.
                # A mistake of ours: what is half done must not be gone on with.
                _log.exception("a commit ended in an error that was not foreseen", extra={"action": "commit_failed"})
                self._fail_batches(LedgerError(f"a commit ended in an error that was not foreseen: {error!r}"))
                return
            finally:
                self._stall.cancel()
                was_stalled, self.is_stalled = self.is_stalled, False
            if was_stalled:
                _log.info("the ledger's write is over", extra={"action": "ledger_not_stalled"})
                if self._gathering is not None:
                    self._gathering.renew_answer()
            self._running.set_durable()
            if self._gathering is not None or self._waiting:
                await self.pause()
            self._count_waiting()
        self._loop_task = None

    def _on_stall(self) -> None:
        """Refuse all requests that wait, also for the next commit; those of `settle` wait on, so look again."""
        if not self.is_stalled:
            self.is_stalled = True
            _log.warning(
                "the ledger has not finished a write for %g s; requests are refused as retryable, nothing is lost",
                self.answer_within_s,
                extra={"action": "ledger_stalled"},
            )
        self._count_waiting()
        for batch in (self._running, self._gathering):
            if batch is not None:
                batch.refuse(self._takes_long())
        self._stall = asyncio.get_running_loop().call_later(self.answer_within_s, self._on_stall)

    def _takes_long(self) -> Overloaded:
        return Overloaded(f"the ledger took more than {self.answer_within_s:g} s")

    def _fail_batches(self, error: LedgerError) -> None:
        self.fail(error)
        for batch in (self._running, self._gathering):
            if batch is not None:
                batch.set_failed(LedgerUnavailable(f"the ledger failed: {error}"))
        self._count_waiting()  # Each is refused.
