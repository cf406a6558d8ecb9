"""Senders that repeat what was not acknowledged, in the same requests or in others."""

import asyncio
import contextlib
import random
import time
from collections import Counter, deque
from dataclasses import dataclass, field

from .pieces import Encoding, Piece, encode_request, make_piece
from .tally import Tally
from .transports import NotAnswered, Transport

UNDER_WAY = 4  # Requests of one sender at a time.
PIECES_MAX = 4  # In one request.
QUEUE_LENGTH_MAX = 60  # Messages; while more wait, no new ones are made.
BACKOFF_S_FIRST, BACKOFF_S_MAX, BACKOFF_FACTOR = 0.02, 0.3, 1.5
TIMEOUT_S = 5.0  # As the Collector's.
# How often in a thousand requests, or attempts, something happens that happens to senders.
IMPATIENT = 20  # A time limit so short that the request goes on alone and its repeat meets it there.
ANSWER_LOST = 20  # It was acknowledged and the sender does not learn it.
QUEUED_ANEW = 400  # The sender began anew meanwhile: its messages go to the end of its queue, to be batched otherwise.


@dataclass(slots=True)
class Account:
    """What senders did."""

    acknowledged: Counter[str] = field(default_factory=Counter)  # Requests, by sender.
    repeated: int = 0  # Attempts with the same request.
    batched_anew: int = 0  # Requests with a message that had been in another.
    not_answered: Counter[str] = field(default_factory=Counter)  # By reason.


class Sender:
    """One application, or Collector, with several requests under way.

    Args:
        name: What the account calls it.
        transport: Closed at the end.
        encoding: Of its requests.
        queue: Messages that were in a request before. Senders of one encoding share it, as behind a load balancer: a
            message that one of them got no answer for may go another way.
        rng: For this sender alone.
        tally: Told of each new message.
    """

    def __init__(
        self,
        name: str,
        transport: Transport,
        encoding: Encoding,
        *,
        queue: deque[Piece],
        rng: random.Random,
        tally: Tally,
    ) -> None:
        self.name = name
        self.account = Account()
        self._transport = transport
        self._encoding = encoding
        self._rng = rng
        self._tally = tally
        self._queue = queue
        self._is_last_call = False

    async def run(self) -> None:
        """Send until `last_call`, and then until all is acknowledged.

        Raises:
            AssertionError: A request was answered in a way that makes a sender drop it.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(UNDER_WAY):
                    group.create_task(self._send_on())
        finally:
            await self._transport.close()

    def last_call(self) -> None:
        """Make no new messages from now on."""
        self._is_last_call = True

    async def _send_on(self) -> None:
        backoff_s = BACKOFF_S_FIRST
        while request := self._next_request():
            backoff_s = await self._deliver(request, backoff_s)

    def _next_request(self) -> list[Piece]:
        """Some messages of the queue and some new ones; none when there is nothing left to do."""
        size = self._rng.randint(1, PIECES_MAX)
        n_queued = min(len(self._queue), self._rng.randint(0, size))
        if self._is_last_call or len(self._queue) > QUEUE_LENGTH_MAX:
            n_queued = size = min(len(self._queue), size)
        request = [self._queue.popleft() for _ in range(n_queued)]
        self.account.batched_anew += bool(request)
        for _ in range(size - n_queued):
            piece = make_piece(self._rng, self._encoding, time.time_ns())
            self._tally.add(piece)
            request.append(piece)
        return request

    async def _deliver(self, request: list[Piece], backoff_s: float) -> float:
        """Send a request until it is acknowledged, or its messages are put back into the queue; the next back-off."""
        body = encode_request([piece.wire for piece in request], self._encoding)
        while True:
            timeout_s = self._rng.uniform(0.0005, 0.01) if self._happens(IMPATIENT) else TIMEOUT_S
            try:
                await self._transport.export(body, timeout_s)
            except NotAnswered as problem:
                self.account.not_answered[problem.reason] += 1
                await _pause(problem.delay_s + backoff_s * self._rng.uniform(0.5, 1.5))
                backoff_s = min(backoff_s * BACKOFF_FACTOR, BACKOFF_S_MAX)
                if self._happens(QUEUED_ANEW):
                    self._queue.extend(request)
                    return backoff_s
                self.account.repeated += 1
                continue
            for piece in request:
                piece.is_acknowledged = True
            self.account.acknowledged[self.name] += 1
            if self._happens(ANSWER_LOST):
                self._queue.extend(request)
            return BACKOFF_S_FIRST

    def _happens(self, in_a_thousand: int) -> bool:
        return self._rng.randrange(1000) < in_a_thousand


async def _pause(delay_s: float) -> None:
    """OTLP's back-off: nothing else is waited for."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(delay_s):
            await asyncio.Event().wait()
