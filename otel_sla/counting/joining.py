"""Small requests that arrive while a commit runs are counted together as soon as it is over.

They could not be part of it anyway. Decoding and classifying cost some 100 us for each call, whatever the size: of
sixteen requests of 100 spans at once a fifth is left.
"""

import asyncio
import time
from collections.abc import Callable

from otel_sla.errors import LedgerError, Overloaded
from otel_sla.self_metrics import SelfMetrics
from otel_sla.spans.request import is_joinable

JOINED_SIZE_BYTES_MAX = 512 * 1024  # Of one; what is larger gains little.
_TAKEN_SIZE_BYTES = 2 * 1024 * 1024  # Together they are counted at once: 1 ms of the event loop.
_RESOURCES_MAX = 64
_ALONE_S = 1.0

Commits = set[asyncio.Future[None]]


class CannotJoin(Exception):
    """These requests have to be counted one by one: something in one of them has to be told to its sender."""


class _JoinedRequests:
    """The requests of one batch."""

    __slots__ = ("arrived_s", "bodies", "counted", "size_bytes")

    def __init__(self) -> None:
        self.bodies: list[bytes | memoryview] = []
        self.counted: list[asyncio.Future[bool]] = []  # True: durable. False: not counted, has to go alone.
        self.arrived_s: list[float] = []
        self.size_bytes = 0


class Arrivals:
    """Gathers requests, and has them counted as one.

    Args:
        count: Counts a joined body; gives the commits that hold it, and its spans. CannotJoin leaves nothing counted.
        is_committing: Tells whether a commit runs; `take` has to be called when it is over.
        metrics: Get the outcome.
    """

    def __init__(
        self, count: Callable[[bytes], tuple[Commits, int]], is_committing: Callable[[], bool], metrics: SelfMetrics
    ) -> None:
        self._count = count
        self._is_committing = is_committing
        self._metrics = metrics
        self._waiting = _JoinedRequests()
        self._is_due = False
        self._alone_until_s = 0.0
        self._answering: set[asyncio.Task[None]] = set()

    def add(self, body: bytes | memoryview) -> asyncio.Future[bool] | None:
        """Let a request wait for others; None if it has to go alone.

        Returns:
            True once it is durable, False if it was not counted after all and has to go alone. LedgerError and
            Overloaded as `Accountant.account` raises them.
        """
        now_s = time.perf_counter()
        if len(body) > JOINED_SIZE_BYTES_MAX or now_s < self._alone_until_s or not is_joinable(body, _RESOURCES_MAX):
            return None
        waiting, loop = self._waiting, asyncio.get_running_loop()
        counted: asyncio.Future[bool] = loop.create_future()
        waiting.bodies.append(body)
        waiting.counted.append(counted)
        waiting.arrived_s.append(now_s)
        waiting.size_bytes += len(body)
        if waiting.size_bytes > _TAKEN_SIZE_BYTES:
            self.take()
        elif not self._is_due and not self._is_committing():
            self._is_due = True
            loop.call_soon(self.take)
        return counted

    def are_waiting(self) -> bool:
        """Tell whether any have gathered."""
        return bool(self._waiting.bodies)

    def take(self) -> None:
        """Count what has gathered."""
        self._is_due = False
        waiting, self._waiting = self._waiting, _JoinedRequests()
        if not waiting.bodies:
            return
        if len(waiting.bodies) == 1:
            _send_alone(waiting)
            return
        try:
            commits, n_spans = self._count(b"".join(waiting.bodies))
        except CannotJoin:
            # The next ones of the same sender would most likely be the same.
            self._alone_until_s = time.perf_counter() + _ALONE_S
            _send_alone(waiting)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever.
            _fail(waiting, error)
        else:
            answering = asyncio.create_task(self._answer(waiting, commits, n_spans))
            self._answering.add(answering)
            answering.add_done_callback(self._answering.discard)

    async def _answer(self, waiting: _JoinedRequests, commits: Commits, n_spans: int) -> None:
        waiting.bodies.clear()
        try:
            for commit in commits:
                await asyncio.shield(commit)
        except (LedgerError, Overloaded) as error:
            self._metrics.refused_spans += n_spans
            _fail(waiting, error)
            return
        self._metrics.accepted_spans += n_spans
        now_s = time.perf_counter()
        for counted, arrived_s in zip(waiting.counted, waiting.arrived_s, strict=True):
            self._metrics.record_ack_latency(now_s - arrived_s)
            if not counted.done():
                counted.set_result(True)


def _send_alone(waiting: _JoinedRequests) -> None:
    for counted in waiting.counted:
        if not counted.done():
            counted.set_result(False)


def _fail(waiting: _JoinedRequests, error: Exception) -> None:
    for counted in waiting.counted:
        if not counted.done():
            counted.set_exception(error)
