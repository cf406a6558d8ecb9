"""The filter before the fingerprint table: it may be wrong in one direction only."""

import random

from otel_sla import counted_filter
from otel_sla.counted_filter import CountedFilter


def test_what_was_written_is_always_asked_for_and_most_else_never() -> None:
    """20,000 fingerprints of two minutes: none of them is ruled out, of as many others nearly all are."""
    randomness = random.Random(0)
    written = [(100 + n % 2, randomness.randbytes(16)) for n in range(20_000)]
    others = [(100 + n % 2, randomness.randbytes(16)) for n in range(20_000)]
    filter_ = CountedFilter(first_own_minute=100)
    filter_.add(written)
    assert all(filter_.may_be_counted(*fingerprint) for fingerprint in written)
    assert sum(filter_.may_be_counted(*fingerprint) for fingerprint in others) < 20


def test_the_ledger_is_asked_for_minutes_of_a_former_process() -> None:
    """Of minutes that had fingerprints before the start nothing is known here."""
    filter_ = CountedFilter(first_own_minute=100)
    assert filter_.may_be_counted(99, bytes(16))
    assert not filter_.may_be_counted(100, bytes(16))


def test_minutes_whose_filter_is_gone_are_asked_for() -> None:
    """More minutes than filters: those that were let go, and those that never got one, are the ledger's again."""
    filter_ = CountedFilter(first_own_minute=0)
    n_minutes = counted_filter._FILTERS_MAX + 3
    for minute in (*range(1, n_minutes), 0):
        filter_.add([(minute, bytes(16))])
    assert len(filter_._filters) == counted_filter._FILTERS_MAX
    assert all(filter_.may_be_counted(minute, bytes(16)) for minute in range(n_minutes))
    filter_.add([(0, bytes(16))])
    assert filter_.may_be_counted(0, bytes([255] * 16)), "a filter that missed some is not begun again"
    assert not filter_.may_be_counted(n_minutes, bytes(16))


def test_sealed_minutes_are_forgotten() -> None:
    """Their memory is given back; of them the ledger is asked."""
    filter_ = CountedFilter(first_own_minute=0)
    filter_.add([(minute, bytes(16)) for minute in range(4)])
    filter_.forget_before(3)
    filter_.forget_before(2)
    assert set(filter_._filters) == filter_._written == {3}
    assert filter_.may_be_counted(2, bytes([1] * 16))
    filter_.add([(2, bytes(16))])
    assert set(filter_._filters) == {3}


def test_endless_minutes_do_not_fill_the_memory() -> None:
    """A sender whose spans end in ever other minutes: from some number on the ledger is asked for all."""
    filter_ = CountedFilter(first_own_minute=0)
    filter_.add([(minute, bytes(16)) for minute in range(counted_filter._MINUTES_MAX + 1)])
    assert not filter_._written
    assert not filter_._filters
    assert filter_.may_be_counted(10**7, bytes(16))
