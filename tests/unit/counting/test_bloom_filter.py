"""The filter before the fingerprint table: it may be wrong in one direction only."""

import random

import pytest

from otel_sla.counting.repeats.bloom_filter import FULL_BITS, BloomFilter, filter_bits


def test_what_was_written_is_always_asked_for_and_most_else_never() -> None:
    """20,000 fingerprints of two minutes: none of them is ruled out, of as many others nearly all are."""
    randomness = random.Random(0)
    written = [(100 + n % 2, randomness.randbytes(16)) for n in range(20_000)]
    others = [(100 + n % 2, randomness.randbytes(16)) for n in range(20_000)]
    filter_ = BloomFilter(first_own_minute=100)
    filter_.add(written, 101)
    assert all(filter_.may_be_counted(*fingerprint) for fingerprint in written)
    assert sum(filter_.may_be_counted(*fingerprint) for fingerprint in others) < 20


def test_the_ledger_is_asked_for_minutes_of_a_former_process() -> None:
    """Of minutes that had fingerprints before the start nothing is known here."""
    filter_ = BloomFilter(first_own_minute=100)
    assert filter_.may_be_counted(99, bytes(16))
    assert not filter_.may_be_counted(100, bytes(16))


def test_minutes_whose_filter_is_gone_are_asked_for() -> None:
    """More minutes than filters: those that were let go, and those that never got one, are the ledger's again."""
    filter_ = BloomFilter(first_own_minute=0)
    n_minutes = filter_.filters_max + 3
    for minute in (*range(1, n_minutes), 0):
        filter_.add([(minute, bytes(16))], n_minutes)
    assert len(filter_._filters) == filter_.filters_max
    assert all(filter_.may_be_counted(minute, bytes(16)) for minute in range(n_minutes))
    filter_.add([(0, bytes(16))], n_minutes)
    assert filter_.may_be_counted(0, bytes([255] * 16)), "a filter that missed some is not begun again"
    assert not filter_.may_be_counted(n_minutes - 1, bytes([255] * 16))
    assert not filter_.may_be_counted(n_minutes, bytes(16))


def test_sealed_minutes_are_forgotten() -> None:
    """Their memory is given back; of them the ledger is asked."""
    filter_ = BloomFilter(first_own_minute=0)
    filter_.add([(minute, bytes(16)) for minute in range(4)], 4)
    filter_.forget_before(3)
    filter_.forget_before(2)
    assert set(filter_._filters) == {3}
    assert filter_.may_be_counted(2, bytes([1] * 16))
    filter_.add([(2, bytes(16))], 4)
    assert set(filter_._filters) == {3}


def test_minutes_that_are_not_accepted_yet_take_no_filter_from_others() -> None:
    """A message that also holds an end time years ahead is known, then and when its time has come, by one filter."""
    randomness = random.Random(0)
    filter_ = BloomFilter(first_own_minute=100)
    ahead = [(200 + 1000 * n, randomness.randbytes(16)) for n in range(60)]
    filter_.add(ahead, newest_minute=105)
    assert not filter_._filters
    own = [(minute, randomness.randbytes(16)) for minute in (100, 200)]
    filter_.add(own, newest_minute=205)
    assert set(filter_._filters) == {100, 200}
    assert all(filter_.may_be_counted(*fingerprint) for fingerprint in (*ahead, *own))
    assert not filter_.may_be_counted(200, randomness.randbytes(16))
    assert not filter_.may_be_counted(1200, randomness.randbytes(16))


def test_what_the_ledger_has_of_minutes_ahead_is_asked_for() -> None:
    """Of a minute that is not accepted yet at the start: what was there, and all if that is too much to be read."""
    filter_ = BloomFilter(100, ahead=filter_bits([bytes(16)]))
    assert filter_.may_be_counted(500, bytes(16))
    assert not filter_.may_be_counted(500, bytes([255] * 16))
    assert BloomFilter(100, ahead=FULL_BITS).may_be_counted(500, bytes([255] * 16))


@pytest.mark.parametrize("seed", range(30))
def test_nothing_that_was_counted_is_ever_ruled_out(seed: int) -> None:
    """Commits, also far ahead, sealing, and too many minutes, in any order, around what there was."""
    randomness = random.Random(seed)
    now, sealed = 200, 0
    known = {(randomness.randrange(now), randomness.randbytes(16)) for _ in range(60)} if seed % 5 else set()
    ahead = {(now + randomness.randrange(400), randomness.randbytes(16)) for _ in range(20)} if seed % 2 else set()
    first_own_minute = now if ahead else max((minute for minute, _ in known), default=-1) + 1
    bits = filter_bits([digest for _, digest in ahead], n_bits=1 << 12)
    filter_ = BloomFilter(first_own_minute, bits, n_bits=1 << 12, filters_max=3)
    known |= ahead
    n_ruled_out = 0
    for _ in range(150):
        act = randomness.randrange(12)
        if act < 10:
            minute = randomness.choice((now, now - 1, randomness.randrange(now), now + randomness.randrange(400)))
            new = {(minute, randomness.randbytes(16)) for _ in range(3)}
            filter_.add(new, newest_minute=now + randomness.randrange(3))
            known |= new
        elif act == 10:
            now += randomness.choice((0, 1, 5, 40))
        elif randomness.random() < 0.2:
            sealed = max(sealed, now - 150)
            filter_.forget_before(sealed)
        assert all(filter_.may_be_counted(*fingerprint) for fingerprint in known)
        n_ruled_out += not filter_.may_be_counted(now + 1, randomness.randbytes(16))
    assert n_ruled_out
