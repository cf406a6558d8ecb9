"""The minute ring against a dict."""

from collections import Counter
from dataclasses import replace

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from ledger_parts import rows_of_outcomes

from otel_sla.counting.classify.classifier import Requests
from otel_sla.counting.minute_ring import MinuteRing
from otel_sla.sla.agreement import Outcome
from otel_sla.sla.counts import COUNT_MAX, SAMPLED_BIT, SPARED_BIT, THRESHOLDED_BIT, CountRows

MINUTES_KEPT = 4
Counted = Counter[tuple[int, int, int]]  # (series_id, epoch_minute, outcome) -> requests.


def requests_of(triples: list[tuple[int, int, int]]) -> Requests:
    """Requests from (series_id, epoch_minute, outcome)."""
    series_id, epoch_minute, outcome = (list(column) for column in zip(*triples, strict=True)) if triples else ([],) * 3
    return Requests(
        np.array(series_id, dtype=np.int64),
        np.array(epoch_minute, dtype=np.int64),
        np.array(outcome, dtype=np.uint8),
        late_count=0,
        future_count=0,
        malformed_count=0,
        overflow_count=0,
    )


def counted_of(rows: CountRows) -> Counted:
    """Rows as a Counter; a pair that comes twice fails."""
    pairs = list(zip(rows.series_id.tolist(), rows.epoch_minute.tolist(), strict=True))
    assert len(pairs) == len(set(pairs))
    counted: Counted = Counter()
    for (series_id, minute), three in zip(pairs, rows.outcomes.tolist(), strict=True):
        for outcome, count in enumerate(three):
            counted[series_id, minute, outcome] = count
    return +counted


def rows_of(counted: Counted) -> CountRows:
    """What `counted_of` took apart."""
    pairs = sorted({key[:2] for key in counted})
    return rows_of_outcomes(
        np.array([series_id for series_id, _ in pairs], dtype=np.int64),
        np.array([minute for _, minute in pairs], dtype=np.int64),
        np.array([[counted[(*pair, outcome)] for outcome in range(3)] for pair in pairs], dtype=np.int64).reshape(
            -1, 3
        ),
    )


class RingMachine(RuleBasedStateMachine):
    """Any order of adding, draining and restarting: the ring and the ledger together hold what was counted."""

    def __init__(self) -> None:
        super().__init__()
        self.ring = MinuteRing(minutes_kept=MINUTES_KEPT)
        self.added: Counted = Counter()
        self.ledger: Counted = Counter()
        self.newest = -1
        self.loaded_from = 0

    @rule(
        triples=st.lists(
            st.tuples(st.one_of(st.integers(0, 5), st.integers(0, 70)), st.integers(-9, 3), st.integers(0, 2)),
            max_size=12,
        )
    )
    def add(self, triples: list[tuple[int, int, int]]) -> None:
        """Add requests around the newest minute, late ones and newer ones mixed."""
        base = max(self.newest, 20)
        requests = [(series_id, base + minute, outcome) for series_id, minute, outcome in triples]
        self.ring.add(requests_of(requests))
        self.added.update(requests)
        self.newest = max([self.newest, *(minute for _, minute, _ in requests)])

    @rule()
    def drain(self) -> None:
        """Commit what is uncommitted."""
        self.ledger += counted_of(self.ring.drain())
        assert self.ledger == self.added

    @precondition(lambda self: self.newest >= 0)
    @rule(back=st.integers(0, 6))
    def restart(self, back: int) -> None:
        """Lose what was not committed, and load the ledger's newest minutes."""
        self.added = Counter(self.ledger)
        self.loaded_from = max(self.newest - back, 0)
        self.ring = MinuteRing(minutes_kept=MINUTES_KEPT)
        recent = Counter({key: count for key, count in self.ledger.items() if key[1] >= self.loaded_from})
        self.ring.load(rows_of(recent), start_minute=self.loaded_from)
        self.newest = max((minute for _, minute, _ in recent), default=-1)

    @invariant()
    def totals_of_hot_minutes_are_all_that_was_added(self) -> None:
        """Totals include what is uncommitted; minutes that are not hot have none."""
        for minute in range(max(self.newest - MINUTES_KEPT - 3, 0), max(self.newest, 0) + 3):
            totals = self.ring.totals(minute)
            is_hot = max(self.newest - MINUTES_KEPT + 1, self.loaded_from) <= minute <= self.newest
            assert (totals is not None) is is_hot
            if totals is not None:
                expected = np.zeros_like(totals)
                for (series_id, at, outcome), count in self.added.items():
                    if at == minute:
                        expected[series_id, outcome] = count
                np.testing.assert_array_equal(totals, expected)


RingMachine.TestCase.settings = settings(derandomize=True, max_examples=150, stateful_step_count=30, deadline=None)
TestRing = RingMachine.TestCase


def test_late_requests_are_drained_with_the_rest() -> None:
    """Requests a day late go to the same rows as if they had come in time, each pair once."""
    ring = MinuteRing(minutes_kept=2)
    ring.add(requests_of([(0, 2000, 0), (0, 500, 1), (3, 500, 1), (0, 500, 1)]))
    ring.add(requests_of([(0, 500, 2)]))
    assert counted_of(ring.drain()) == {(0, 2000, 0): 1, (0, 500, 1): 2, (3, 500, 1): 1, (0, 500, 2): 1}
    assert len(ring.drain()) == 0


def test_many_late_requests_are_added_up_before_the_drain() -> None:
    """A drained queue of old minutes does not pile up request by request."""
    ring = MinuteRing(minutes_kept=2)
    ring.add(requests_of([(0, 10**6, 0)]))
    late = requests_of([(series_id, minute, 1) for series_id in range(50) for minute in range(100)])
    for _ in range(30):
        ring.add(late)
    rows = ring.drain()
    assert len(rows) == 5001
    assert rows.counts.sum() == 30 * 5000 + 1


def test_totals_are_a_copy() -> None:
    """What a caller does to the totals does not reach the ring."""
    ring = MinuteRing()
    ring.add(requests_of([(0, 7, 0)]))
    totals = ring.totals(7)
    assert totals is not None
    totals += 5
    again = ring.totals(7)
    assert again is not None
    assert again[0].tolist() == [1, 0, 0]


def test_load_leaves_nothing_uncommitted() -> None:
    """Totals from the ledger are not written to it a second time."""
    ring = MinuteRing()
    ring.load(rows_of(Counter({(2, 7, 0): 4})))
    ring.load(CountRows.empty())
    assert len(ring.drain()) == 0
    totals = ring.totals(7)
    assert totals is not None
    assert totals[2].tolist() == [4, 0, 0]


def test_series_far_above_the_capacity_fit() -> None:
    """One request of a series with a high id makes room at once."""
    ring = MinuteRing(minutes_kept=2)
    ring.add(requests_of([(1, 7, 0), (40_000, 8, 1), (1, 8, 2)]))
    assert counted_of(ring.drain()) == {(1, 7, 0): 1, (40_000, 8, 1): 1, (1, 8, 2): 1}


def test_what_is_counted_beside_outcomes_is_drained_once() -> None:
    """Spared and sampled requests, hot and cold, before and after the ring grew, are summed by series and minute."""
    ring = MinuteRing(minutes_kept=MINUTES_KEPT)
    sampled, huge = SAMPLED_BIT | THRESHOLDED_BIT, COUNT_MAX - 1
    rows = [
        (0, 100, Outcome.SUCCEEDED | SPARED_BIT, 0),
        (0, 100, Outcome.FAILED | sampled, huge),
        (40, 100, Outcome.INVALID | THRESHOLDED_BIT, 0),
        (0, 100, Outcome.FAILED | sampled, 5),
        (0, 90, Outcome.SUCCEEDED | sampled, 7),
        (0, 90, Outcome.SUCCEEDED, 0),
        (0, 103, Outcome.SUCCEEDED | sampled, 3),
        (0, 104, Outcome.SUCCEEDED | SPARED_BIT, 0),
    ]
    for row in (rows[:1], rows[1:3], rows[3:]):
        series_id, epoch_minute, outcome_bits, excess = (
            np.array(column, dtype=np.int64) for column in zip(*row, strict=True)
        )
        requests = requests_of([])
        ring.add(
            replace(
                requests,
                series_id=series_id,
                epoch_minute=epoch_minute,
                outcome_bits=outcome_bits.astype(np.uint8),
                excess=excess,
            )
        )
    drained = ring.drain()
    pairs = zip(drained.series_id.tolist(), drained.epoch_minute.tolist(), strict=True)
    assert dict(zip(pairs, drained.counts.tolist(), strict=True)) == {
        (0, 90): [2, 0, 0, 0, 1, 1, 7, 0, 0],
        (0, 100): [1, 2, 0, 1, 2, 2, 0, COUNT_MAX, 0],
        (40, 100): [0, 0, 1, 0, 0, 1, 0, 0, 0],
        (0, 103): [1, 0, 0, 0, 1, 1, 3, 0, 0],
        (0, 104): [1, 0, 0, 1, 0, 0, 0, 0, 0],
    }
    assert len(ring.drain()) == 0
