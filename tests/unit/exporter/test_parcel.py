"""A batch of which the backend may refuse any part."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_sla.exporter.answers import Answer, Blame, Refused
from otel_sla.exporter.parcel import Parcel

Kind = str  # good, bad (the item is to blame), or odd (the backend fails over it).


class FakeBackend:
    """Refuses a request that holds a bad or an odd item, and keeps the others."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self.kinds = kinds
        self.kept: list[int] = []
        self.calls = 0
        self.gone_after = -1  # Calls; -1: never.

    async def send(self, items: Sequence[int]) -> Answer:
        """Answer one request."""
        self.calls += 1
        if 0 <= self.gone_after < self.calls:
            raise Refused("gone", Blame.BACKEND)
        for kind, blame in (("odd", Blame.UNCLEAR), ("bad", Blame.ITEM)):
            if any(self.kinds[item] == kind for item in items):
                raise Refused(kind, blame)
        self.kept += items
        return Answer()


class FakeBooks:
    """Keeps what became of the items, in order."""

    def __init__(self) -> None:
        self.booked: list[tuple[int, str]] = []

    async def delivered(self, items: Sequence[int], answer: Answer) -> None:
        """Implement `parcel.Books`."""
        assert answer == Answer()
        self.booked += [(item, "good") for item in items]

    async def set_aside(self, item: int, reason: str) -> None:
        """Implement `parcel.Books`."""
        self.booked.append((item, reason))


def deliver(backend: FakeBackend) -> tuple[FakeBooks, Refused | None]:
    """Deliver all items; give the books and why it stopped."""
    books = FakeBooks()
    try:
        asyncio.run(Parcel(backend.send, books).deliver(range(len(backend.kinds))))
    except Refused as refused:
        return books, refused
    return books, None


KINDS = st.lists(st.sampled_from(["good", "good", "bad", "odd"]), min_size=1, max_size=24)


@settings(max_examples=200)
@given(kinds=KINDS)
def test_books_are_right_and_in_order(kinds: list[Kind]) -> None:
    """Whatever is refused, items are booked in order up to the last that is sure, and each as what it is."""
    backend = FakeBackend(kinds)
    books, refused = deliver(backend)
    last_good = max((n for n, kind in enumerate(kinds) if kind == "good"), default=-1)
    # Behind the last good item, bad ones are sure until the first odd one.
    rest = kinds[last_good + 1 :]
    n_booked = last_good + 1 + (rest.index("odd") if "odd" in rest else len(rest))
    assert books.booked == list(enumerate(kinds))[:n_booked]
    assert (refused is None) == (n_booked == len(kinds))
    assert backend.kept == [n for n, kind in enumerate(kinds) if kind == "good"]


@settings(max_examples=200)
@given(kinds=KINDS, gone_after=st.integers(0, 40))
def test_a_backend_that_goes_away_leaves_books_without_gaps(kinds: list[Kind], gone_after: int) -> None:
    """If the backend goes away at any call, what is booked is a beginning of the items, each as what it is."""
    backend = FakeBackend(kinds)
    backend.gone_after = gone_after
    books, _ = deliver(backend)
    assert books.booked == list(enumerate(kinds))[: len(books.booked)]


@pytest.mark.parametrize("place", [0, 49, 99])
def test_one_poisonous_item_costs_few_calls(place: int) -> None:
    """One bad item of a hundred is found by halving."""
    backend = FakeBackend(["bad" if n == place else "good" for n in range(100)])
    books, refused = deliver(backend)
    assert refused is None
    assert len(books.booked) == 100
    assert backend.calls <= 2 * 7 + 1


def test_a_backend_that_fails_over_everything_loses_nothing() -> None:
    """Where no item is taken, an unclear refusal blames none of them."""
    books, refused = deliver(FakeBackend(["odd"] * 10))
    assert books.booked == []
    assert refused is not None
    assert refused.is_retryable


def test_a_suspect_that_is_taken_at_the_second_try_is_delivered() -> None:
    """An item that failed by chance is tried again once another was taken, and is not set aside."""

    class Flaky(FakeBackend):
        async def send(self, items: Sequence[int]) -> Answer:
            answer = await super().send(items)
            self.kinds = ["good"] * len(self.kinds)
            return answer

    backend = Flaky(["odd", "good"])
    books, refused = deliver(backend)
    assert refused is None
    assert books.booked == [(0, "good"), (1, "good")]
