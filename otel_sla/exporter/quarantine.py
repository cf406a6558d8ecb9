"""Delivers items in order when the backend may take only a part: what it refuses is halved until the item is found.

Each item ends in one of two books, delivered or set aside, in the order of the items; or delivery stops with
everything from some item on in neither, to be tried again later. An item is set aside

- when it was refused alone, and the refusal says that the item is to blame;
- when it was refused alone for no clear reason, again and again, while in between the backend took another one: its
  witness. If it does not take the witness either, the backend is to blame: a day of errors must not cost a day of
  events;
- when it was refused alone for hours for a reason that speaks of the backend or of us, holds up others, and the backend
  took the witness in between each time that it was asked, with a quarter of an hour between (`patience`).

The witness is the last item that was taken, sent once more. So nothing overtakes an item that is still to be
delivered, and what comes twice can be recognised. A backend that has taken nothing yet has no witness: then, at each
attempt, another one of the items that follow is tried as one, and is sent again in its turn.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from otel_sla.exporter.refusal import Answer, Blame, Refused

# One of two replicas behind a balancer may fail over everything. So many refusals, each with the witness taken in
# between, happen by chance once in 2 ** 17 times then.
ROUNDS = 8

Item = TypeVar("Item")
_Item_contra = TypeVar("_Item_contra", contravariant=True)


class DeliveryRecord(Protocol[_Item_contra]):
    """Where it is kept what became of the items; each call covers the items that follow those of the call before."""

    async def delivered(self, items: Sequence[_Item_contra], answer: Answer) -> None:
        """The backend took them in one request, perhaps without some (`Answer.rejected_count`)."""

    async def set_aside(self, item: _Item_contra, reason: str) -> None:
        """The backend will never take it."""

    async def find_witness(self, later: Sequence[_Item_contra]) -> Sequence[Any]:
        """Give one that the backend should take, where nothing was taken yet, and that may overtake; or none.

        Args:
            later: What follows the item that it does not take.
        """


class Parcels(Generic[Item]):
    """The way of one kind of item to one backend; knows how the backend fared with the ones before.

    Args:
        send: Sends items in one request; raises `Refused`.
        books: Keeps what became of them.
        size_max: Items in one request.
        clock: Seconds; only differences count.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Item]], Awaitable[Answer]],
        books: DeliveryRecord[Item],
        size_max: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send = send
        self._books = books
        self._size_max = size_max
        self._size = size_max  # Less after a refusal: a slow backend may be in time with a smaller request.
        self._witness: list[Item] = []  # None, or the last one that was taken.
        self._n_probes = 0
        self._patience = Patience(clock)  # With the first item that is in neither book.

    async def deliver(self, items: Sequence[Item]) -> None:
        """Deliver what can be delivered.

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

        Args:
            items: At least one.
            later: What follows them.
            is_part: Of a request that was refused while the backend took others.
        """
        try:
            answer = await self._send(items)
        except Refused as refused:
            if len(items) == 1:
                await self._judge(items[0], later, refused)
                return
            if not refused.may_be_item:
                raise
            if refused.blame is Blame.UNCLEAR and not is_part and self._witness:
                await self._ask_witness(refused)
        else:
            await self._deliver_done(items, answer)
            return
        middle = len(items) // 2
        await self._deliver(items[:middle], [*items[middle:], *later], is_part=True)
        await self._deliver(items[middle:], later, is_part=True)

    async def _judge(self, item: Item, later: Sequence[Item], refused: Refused) -> None:
        """Decide about an item that was refused alone."""
        if not refused.may_be_item:
            await self._bear_with(item, later, refused)
            return
        if refused.blame is Blame.UNCLEAR:
            if not self._witness:
                await self._find_witness(later, refused)
            for number in range(ROUNDS):
                await self._ask_witness(refused)
                for _ in range(1 + number % 3):  # One by one in step with replicas that take turns would prove nothing.
                    answer = await self._try_again(item)
                    if answer is not None:
                        await self._deliver_done([item], answer)
                        return
        await self._set_aside(item, str(refused))

    async def _bear_with(self, item: Item, later: Sequence[Item], refused: Refused) -> None:
        """Raise `refused`, until it is beyond doubt that the item is to blame, whatever the backend says."""
        patience = self._patience
        if not later or not patience.is_round_due():  # What holds up nothing can wait for ever.
            raise refused
        witness = self._witness or list(await self._books.find_witness(later))
        if not witness or not await self._is_taken(witness):
            patience.doubt()
            raise refused
        self._witness = witness
        for _ in range(1 + patience.rounds % 3):  # As above, for replicas that take turns.
            try:
                answer = await self._send([item])
            except Refused:
                continue
            await self._deliver_done([item], answer)
            return
        if not patience.count_round():
            raise refused
        hours = patience.waited_s() / 3600
        await self._set_aside(item, f"{refused} (for {hours:.1f} hours, in which it took others)")

    async def _is_taken(self, witness: Sequence[Item]) -> bool:
        """Tell it for sure: that it is refused as invalid does not count, as what is checked first may work alone."""
        try:
            answer = await self._send(witness)
        except Refused:
            return False
        return answer.rejected_count == 0

    async def _set_aside(self, item: Item, reason: str) -> None:
        self._patience.forget()
        await self._books.set_aside(item, reason)

    async def _try_again(self, item: Item) -> Answer | None:
        try:
            return await self._send([item])
        except Refused as refused:
            if not refused.may_be_item:
                raise
            return None

    async def _deliver_done(self, items: Sequence[Item], answer: Answer) -> None:
        self._patience.forget()
        if answer.rejected_count == 0:
            self._witness = [items[-1]]
        await self._books.delivered(items, answer)

    async def _ask_witness(self, refused: Refused) -> None:
        """Raise `refused` if the backend does not take now what it took before.

        That it calls the witness invalid, as some do with what is old, is an answer too: it is well.
        """
        try:
            await self._send(self._witness)
        except Refused as error:
            if error.blame is not Blame.ITEM:
                raise (refused if error.may_be_item else error) from None

    async def _find_witness(self, later: Sequence[Item], refused: Refused) -> None:
        if not later:
            raise refused
        probe = later[self._n_probes % len(later)]
        self._n_probes += 1
        try:
            answer = await self._send([probe])
        except Refused:
            raise refused from None
        if answer.rejected_count:
            raise refused
        self._witness = [probe]


WAIT_S = 2 * 3600.0  # An item that is refused for less is no matter: most outages are over by then.
ROUND_S = 15 * 60.0  # Between two rounds at least.
ROUNDS = 8  # In a row in which the item was refused, another one taken, and the item refused again.


class Patience:
    """With the item whose turn it is.

    Args:
        clock: Seconds; only differences count.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since_s: float | None = None  # It was refused alone first; None: it was not.
        self._due_s = 0.0  # The next round.
        self.rounds = 0  # That speak against it.

    def is_round_due(self) -> bool:
        """Take notice that the item was refused alone; tell whether it is time to look what becomes of others."""
        now_s = self._clock()
        if self._since_s is None:
            self._since_s = now_s
            self._due_s = now_s + WAIT_S
        if now_s < self._due_s:
            return False
        self._due_s = now_s + ROUND_S
        return True

    def count_round(self) -> bool:
        """Count a round; tell whether it is beyond doubt that the backend will never take the item."""
        self.rounds += 1
        return self.rounds >= ROUNDS

    def doubt(self) -> None:
        """Others are not taken either: no round before this one proves anything."""
        self.rounds = 0

    def waited_s(self) -> float:
        """Tell how long the item has been refused."""
        return 0.0 if self._since_s is None else self._clock() - self._since_s

    def forget(self) -> None:
        """It is the next item's turn."""
        self._since_s = None
        self.rounds = 0
