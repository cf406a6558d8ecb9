"""Delivers items in order when the backend may take only a part: a refused request is bisected until the item is found.

Each item is either delivered or set aside, in the order of the items; or delivery stops before some item, and it and
all behind it are tried again later. An item is set aside

- when it was refused alone, and the refusal says that the item is to blame;
- when it was refused alone for no clear reason, again and again, while in between the backend took another one: the
  probe. If it does not take the probe either, the backend is to blame: a day of errors must not cost a day of events;
- when it was refused alone for hours for a reason that blames the backend or us, while it holds up others and the
  backend took the probe each time that it was sent, a quarter of an hour apart.

The probe is the last item that was taken, sent once more. So nothing overtakes an item that is still to be delivered,
and the backend can recognise what comes twice. For a backend that has taken nothing yet, each attempt tries another
one of the items that follow as a probe, and that one is sent again in its turn.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Sequence
from typing import Generic, TypeVar

from otel_sla.exporter.refusal import Answer, Blame, Refused

# Rounds in a row in which the item was refused, the probe taken, and the item refused again. If one of two replicas
# behind a balancer fails over everything, the 17 refusals of one item happen by chance once in 2 ** 17 times.
ROUNDS = 8
WAIT_S = 2 * 3600.0  # Before the first round for a reason that blames the backend or us: most outages are over by then.
ROUND_S = 15 * 60.0  # Between two such rounds, at least.

Item = TypeVar("Item")


class BisectingDelivery(ABC, Generic[Item]):
    """Delivers one kind of item to one backend; subclasses send items and keep what became of them."""

    def __init__(self, size_max: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size_max = size_max
        self._size = size_max  # Smaller after a refusal: a slow backend may be in time with a smaller request.
        self._probe: Sequence[Item] = ()  # Empty, or the last item that was taken.
        self._n_probes = 0  # Tried as the first probe.
        self._clock = clock
        self._refused_since_s: float | None = None  # The first item in the queue, for a reason that does not blame it.
        self._round_due_s = 0.0
        self._rounds = 0  # In which it was refused and the probe was taken.

    @abstractmethod
    async def send(self, items: Sequence[Item]) -> Answer:
        """Send items in one request, or raise `Refused`."""

    @abstractmethod
    async def keep_delivered(self, items: Sequence[Item], answer: Answer) -> None:
        """Keep that the backend took the next items in one request, perhaps without some (`Answer.rejected_count`)."""

    @abstractmethod
    async def keep_set_aside(self, item: Item, reason: str) -> None:
        """Keep that the backend will never take the next item."""

    @abstractmethod
    async def find_probe(self, later: Sequence[Item]) -> Sequence[Item]:
        """Give one item that the backend should take and that may overtake, where it has taken nothing yet; or none.

        `later` are those that follow the item that it does not take.
        """

    async def deliver_items(self, items: Sequence[Item]) -> None:
        """Deliver or set aside all items.

        Raises:
            Refused: The rest has to wait.
        """
        start = 0
        while start < len(items):
            stop = min(start + self._size, len(items))
            try:
                await self._deliver(items[start:stop], items[stop:], is_part=False)
            except Refused:
                self._size = max(1, self._size // 2)
                raise
            self._size = min(self._size_max, self._size * 2)
            start = stop

    async def _deliver(self, items: Sequence[Item], later: Sequence[Item], *, is_part: bool) -> None:
        """Deliver one request's items, or find which of them the backend does not take.

        `is_part`: of a request that was refused while the backend took others.
        """
        try:
            answer = await self.send(items)
        except Refused as refused:
            if len(items) == 1:
                await self._judge(items[0], later, refused)
                return
            if not refused.may_be_item:
                raise
            if refused.blame is Blame.UNCLEAR and not is_part and self._probe:
                await self._send_probe(refused)
            middle = len(items) // 2
            await self._deliver(items[:middle], [*items[middle:], *later], is_part=True)
            await self._deliver(items[middle:], later, is_part=True)
        else:
            await self._delivered(items, answer)

    async def _judge(self, item: Item, later: Sequence[Item], refused: Refused) -> None:
        """Decide about an item that was refused alone."""
        if not refused.may_be_item:
            await self._wait_for_hours(item, later, refused)
            return
        if refused.blame is Blame.UNCLEAR:
            if not self._probe:
                probe = [later[self._n_probes % len(later)]] if later else []
                self._n_probes += 1
                if not probe or not await self._is_taken(probe):
                    raise refused
                self._probe = probe
            for number in range(ROUNDS):
                await self._send_probe(refused)
                if await self._send_again(item, number, expected=(Blame.ITEM, Blame.UNCLEAR)):
                    return
        await self._set_aside(item, str(refused))

    async def _wait_for_hours(self, item: Item, later: Sequence[Item], refused: Refused) -> None:
        """Raise `refused`, until the item is beyond doubt to blame, whatever the backend says."""
        if not later:  # An item that holds up nothing can wait for ever.
            raise refused
        now_s = self._clock()
        if self._refused_since_s is None:
            self._refused_since_s, self._round_due_s = now_s, now_s + WAIT_S
        if now_s < self._round_due_s:
            raise refused
        self._round_due_s = now_s + ROUND_S
        probe = self._probe or await self.find_probe(later)
        if not probe or not await self._is_taken(probe):
            self._rounds = 0  # The backend takes nothing: the rounds before prove nothing.
            raise refused
        self._probe = probe
        if await self._send_again(item, self._rounds, expected=tuple(Blame)):
            return
        self._rounds += 1
        if self._rounds < ROUNDS:
            raise refused
        hours = (self._clock() - self._refused_since_s) / 3600
        await self._set_aside(item, f"{refused} (for {hours:.1f} hours, in which it took others)")

    async def _send_again(self, item: Item, number: int, expected: Container[Blame]) -> bool:
        """Send an item one to three times more, until it is taken; raise a refusal that is not expected.

        The number of times changes from round to round: with one each, replicas that take turns would stay in step.
        """
        for _ in range(1 + number % 3):
            try:
                answer = await self.send([item])
            except Refused as refused:
                if refused.blame not in expected:
                    raise
            else:
                await self._delivered([item], answer)
                return True
        return False

    async def _send_probe(self, refused: Refused) -> None:
        """Raise `refused` if the backend does not take now what it took before.

        A backend that calls the probe invalid, as some do with what is old, works too.
        """
        try:
            await self.send(self._probe)
        except Refused as error:
            if error.blame is not Blame.ITEM:
                raise (refused if error.may_be_item else error) from None

    async def _is_taken(self, probe: Sequence[Item]) -> bool:
        """Send a probe. Calling it invalid does not count here: what a backend checks first may work alone."""
        try:
            return (await self.send(probe)).rejected_count == 0
        except Refused:
            return False

    async def _delivered(self, items: Sequence[Item], answer: Answer) -> None:
        self._refused_since_s, self._rounds = None, 0
        if answer.rejected_count == 0:
            self._probe = [items[-1]]
        await self.keep_delivered(items, answer)

    async def _set_aside(self, item: Item, reason: str) -> None:
        self._refused_since_s, self._rounds = None, 0
        await self.keep_set_aside(item, reason)
