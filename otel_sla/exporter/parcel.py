"""Delivers items in order when the backend may take only a part: what it refuses is halved until the item is found.

Each item ends in one of two books, delivered or set aside, in the order of the items; or delivery stops with
everything from some item on in neither, to be tried again later. An item is set aside

- when it was refused alone, and the refusal says that the item is to blame;
- when it was refused alone for no clear reason, again and again, while in between the backend took another one: its
  witness. If it does not take the witness either, the backend is to blame: a day of errors must not cost a day of
  events.

The witness is the last item that was taken, sent once more. So nothing overtakes an item that is still to be
delivered, and what comes twice can be recognised. A backend that has taken nothing yet has no witness: then, at each
attempt, another one of the items that follow is tried as one, and is sent again in its turn.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

from otel_sla.exporter.answers import Answer, Blame, Refused

# One of two replicas behind a balancer may fail over everything. So many refusals, each with the witness taken in
# between, happen by chance once in 2 ** 17 times then.
ROUNDS = 8

Item = TypeVar("Item")
_Item_contra = TypeVar("_Item_contra", contravariant=True)


class Books(Protocol[_Item_contra]):
    """Where it is kept what became of the items; each call covers the items that follow those of the call before."""

    async def delivered(self, items: Sequence[_Item_contra], answer: Answer) -> None:
        """The backend took them in one request, perhaps without some (`Answer.rejected_count`)."""

    async def set_aside(self, item: _Item_contra, reason: str) -> None:
        """The backend will never take it."""


class Parcels(Generic[Item]):
    """The way of one kind of item to one backend; knows how the backend fared with the ones before.

    Args:
        send: Sends items in one request; raises `Refused`.
        books: Keeps what became of them.
        size_max: Items in one request.
    """

    def __init__(self, send: Callable[[Sequence[Item]], Awaitable[Answer]], books: Books[Item], size_max: int) -> None:
        self._send = send
        self._books = books
        self._size_max = size_max
        self._size = size_max  # Less after a refusal: a slow backend may be in time with a smaller request.
        self._witness: list[Item] = []  # None, or the last one that was taken.
        self._n_probes = 0

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
            if not refused.may_be_item:
                raise
            if len(items) == 1:
                await self._judge(items[0], later, refused)
                return
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
        await self._books.set_aside(item, str(refused))

    async def _try_again(self, item: Item) -> Answer | None:
        try:
            return await self._send([item])
        except Refused as refused:
            if not refused.may_be_item:
                raise
            return None

    async def _deliver_done(self, items: Sequence[Item], answer: Answer) -> None:
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
