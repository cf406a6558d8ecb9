"""Delivers one batch when the backend may take only a part of it: what it refuses is halved until the item is found.

Each item ends in one of two books, delivered or set aside, in the order of the items; or delivery stops with
everything from some item on in neither, to be tried again later. An item is set aside

- when it was refused alone, and the refusal says that the item is to blame;
- when it was refused alone for no clear reason, and again after the backend took another one. If it takes nothing at
  all, the backend is to blame: a day of errors must not cost a day of events.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

from otel_sla.exporter.answers import Answer, Blame, Refused

Item = TypeVar("Item")
_Item_contra = TypeVar("_Item_contra", contravariant=True)


class Books(Protocol[_Item_contra]):
    """Where it is kept what became of the items; each call covers the items that follow those of the call before."""

    async def delivered(self, items: Sequence[_Item_contra], answer: Answer) -> None:
        """The backend took them in one request, perhaps without some (`Answer.rejected_count`)."""

    async def set_aside(self, item: _Item_contra, reason: str) -> None:
        """The backend will never take it."""


class Parcel(Generic[Item]):
    """One batch on its way.

    Args:
        send: Sends items in one request; raises `Refused`.
        books: Keeps what became of them.
    """

    def __init__(self, send: Callable[[Sequence[Item]], Awaitable[Answer]], books: Books[Item]) -> None:
        self._send = send
        self._books = books
        self._suspects: list[tuple[Item, Refused]] = []  # Refused alone; the books end before the first of them.

    async def deliver(self, items: Sequence[Item]) -> None:
        """Deliver what can be delivered.

        Raises:
            Refused: The rest has to wait.
        """
        await self._deliver(items)
        if self._suspects:
            raise self._suspects[0][1]

    async def _deliver(self, items: Sequence[Item]) -> None:
        try:
            answer = await self._send(items)
        except Refused as refused:
            if not refused.may_be_item:
                raise
            if len(items) == 1:
                await self._suspect(items[0], refused)
                return
        else:
            await self._settle_suspects()
            await self._books.delivered(items, answer)
            return
        middle = len(items) // 2
        await self._deliver(items[:middle])
        await self._deliver(items[middle:])

    async def _suspect(self, item: Item, refused: Refused) -> None:
        if refused.blame is Blame.ITEM and not self._suspects:
            await self._books.set_aside(item, str(refused))
        else:
            self._suspects.append((item, refused))

    async def _settle_suspects(self) -> None:
        """Now that another one was taken, try each once more."""
        while self._suspects:
            item, refused = self._suspects[0]
            try:
                answer = None if refused.blame is Blame.ITEM else await self._send([item])
            except Refused as again:
                if not again.may_be_item:
                    raise
                answer = None
            if answer is None:
                await self._books.set_aside(item, str(refused))
            else:
                await self._books.delivered([item], answer)
            self._suspects.pop(0)
