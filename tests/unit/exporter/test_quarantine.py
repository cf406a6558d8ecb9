"""A batch of which the backend may refuse any part."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_sla.exporter.quarantine import BisectingDelivery
from otel_sla.exporter.refusal import Answer, Blame, Refused

Kind = str  # good, bad (the item is to blame), odd (the backend fails over it), or away (it says that it is).


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
        for kind, blame in (("odd", Blame.UNCLEAR), ("bad", Blame.ITEM), ("away", Blame.BACKEND)):
            if any(self.kinds[item] == kind for item in items):
                raise Refused(kind, blame)
        self.kept += items
        return Answer()


class RecordedDelivery(BisectingDelivery[int]):
    """Delivers to a fake backend, and keeps what became of the items, in order."""

    def __init__(self, backend: FakeBackend, size_max: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(size_max, clock)
        self.backend = backend
        self.kept: list[tuple[int, str]] = []

    async def send(self, items: Sequence[int]) -> Answer:
        """Send to the backend."""
        return await self.backend.send(items)

    async def keep_delivered(self, items: Sequence[int], answer: Answer) -> None:
        """Keep that they are good."""
        assert answer == Answer()
        self.kept += [(item, "good") for item in items]

    async def keep_set_aside(self, item: int, reason: str) -> None:
        """Keep the reason."""
        self.kept.append((item, reason))

    async def find_probe(self, later: Sequence[int]) -> Sequence[int]:  # noqa: ARG002
        """None may overtake."""
        return ()

    def attempt(self) -> None:
        """Try once to deliver what is left."""
        asyncio.run(self.deliver_items(range(len(self.kept), len(self.backend.kinds))))


def deliver(
    backend: FakeBackend, *, attempts: int = 1, size_max: int = 100
) -> tuple[list[tuple[int, str]], Refused | None]:
    """Deliver all items in so many attempts; give what became of them and why it stopped."""
    delivery = RecordedDelivery(backend, size_max)
    stopped = None
    for _ in range(attempts):
        try:
            delivery.attempt()
        except Refused as refused:
            stopped = refused
        else:
            return delivery.kept, None
    return delivery.kept, stopped


KINDS = st.lists(st.sampled_from(["good", "good", "bad", "odd"]), min_size=1, max_size=16)


@settings(max_examples=80)
@given(kinds=KINDS, size_max=st.integers(1, 8))
def test_nothing_is_stuck_and_nothing_overtakes(kinds: list[Kind], size_max: int) -> None:
    """After a few attempts all items are kept, in order and each as what it is, if any at all is taken."""
    backend = FakeBackend(kinds)
    kept, refused = deliver(backend, attempts=3 + len(kinds), size_max=size_max)
    expected = list(enumerate(kinds))
    if "good" not in kinds[kinds.index("odd") if "odd" in kinds else 0 :] and "good" not in kinds:
        expected = expected[: kinds.index("odd")] if "odd" in kinds else expected
    assert kept == expected
    assert (refused is None) == (len(expected) == len(kinds))
    firsts = list(dict.fromkeys(item for item in backend.kept if item not in backend.kept[:1]))
    assert firsts == sorted(firsts)


@settings(max_examples=80)
@given(kinds=KINDS, gone_after=st.integers(0, 40))
def test_a_backend_that_goes_away_leaves_no_gaps(kinds: list[Kind], gone_after: int) -> None:
    """If the backend goes away at any call, what is kept is a beginning of the items, each as what it is."""
    backend = FakeBackend(kinds)
    backend.gone_after = gone_after
    kept, _ = deliver(backend)
    assert kept == list(enumerate(kinds))[: len(kept)]


@pytest.mark.parametrize("place", [0, 49, 99])
def test_one_poisonous_item_costs_few_calls(place: int) -> None:
    """One bad item of a hundred is found by halving."""
    backend = FakeBackend(["bad" if n == place else "good" for n in range(100)])
    kept, refused = deliver(backend)
    assert refused is None
    assert len(kept) == 100
    assert backend.calls <= 2 * 7 + 1


def test_a_backend_that_fails_over_everything_loses_nothing() -> None:
    """Where no item is taken, an unclear refusal blames none of them, and each attempt is short."""
    backend = FakeBackend(["odd"] * 100)
    kept, refused = deliver(backend, attempts=20)
    assert kept == []
    assert refused is not None
    assert refused.is_retryable
    assert backend.calls <= 20 * 9


def test_one_of_two_replicas_fails_over_everything() -> None:
    """A backend that refuses every second request, whatever it holds, loses no item."""

    class Half(FakeBackend):
        async def send(self, items: Sequence[int]) -> Answer:
            self.kinds = ["odd" if self.calls % 2 == 0 else "good"] * len(self.kinds)
            return await super().send(items)

    kept, _ = deliver(Half(["good"] * 20), attempts=100, size_max=4)
    assert kept == [(n, "good") for n in range(20)]


def test_a_probe_that_is_invalid_by_now_is_an_answer() -> None:
    """A backend that calls what it took before too old is well: what it fails over is set aside."""

    class Ageing(FakeBackend):
        async def send(self, items: Sequence[int]) -> Answer:
            answer = await super().send(items)
            self.kinds = ["bad", "odd"]
            return answer

    kept, refused = deliver(Ageing(["good", "odd"]), attempts=2, size_max=1)
    assert refused is None
    assert kept == [(0, "good"), (1, "odd")]


class Hours:
    """Attempts a minute apart, by a clock that nobody waits for."""

    def __init__(self, backend: FakeBackend) -> None:
        self.now_s = 0.0
        self.backend = backend
        self.delivery = RecordedDelivery(backend, 4, lambda: self.now_s)

    def run(self, hours: float) -> None:
        """Try for so long, or until nothing is left."""
        stop_s = self.now_s + hours * 3600
        while self.now_s < stop_s and len(self.delivery.kept) < len(self.backend.kinds):
            with suppress(Refused):
                self.delivery.attempt()
            self.now_s += 60


def test_what_holds_up_nothing_waits_for_ever() -> None:
    """The last item is refused for days, as if the backend were away: it waits, and is set aside when one follows."""
    backend = FakeBackend(["good", "away"])
    hours = Hours(backend)
    hours.run(72)
    assert hours.delivery.kept == [(0, "good")]
    backend.kinds = ["good", "away", "good"]
    hours.run(1.9)
    assert hours.delivery.kept == [(0, "good")]
    hours.run(2.1)
    assert [item for item, _ in hours.delivery.kept] == [0, 1, 2]
    assert hours.delivery.kept[1][1].startswith("away (for 3.")


def test_an_outage_makes_the_hours_prove_nothing() -> None:
    """Where others are refused too, at one of the looks, all before it do not count."""
    backend = FakeBackend(["good", "away", "good"])
    hours = Hours(backend)
    hours.run(3.6)
    backend.kinds = ["away"] * 3
    hours.run(0.3)
    backend.kinds = ["good", "away", "good"]
    hours.run(1.7)
    assert hours.delivery.kept == [(0, "good")]
    backend.kinds = ["good"] * 3
    hours.run(0.1)
    assert hours.delivery.kept == [(n, "good") for n in range(3)]


def test_replicas_of_which_one_is_away_cost_no_item() -> None:
    """A backend that is away at every second or third request, whatever it holds, for days, loses no item."""

    class Balanced(FakeBackend):
        n_replicas = 2

        async def send(self, items: Sequence[int]) -> Answer:
            self.kinds = ["good" if self.calls % self.n_replicas == 0 else "away"] * len(self.kinds)
            return await super().send(items)

    for n_replicas in (2, 3):
        backend = Balanced(["good"] * 40)
        backend.n_replicas = n_replicas
        hours = Hours(backend)
        hours.run(72)
        assert hours.delivery.kept == [(n, "good") for n in range(40)]
