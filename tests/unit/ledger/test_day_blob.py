"""A day of counts survives packing, and damage does not pass."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from otel_sla.arrays import Int64Array
from otel_sla.errors import LedgerCorrupt
from otel_sla.ledger.day_blob import pack_day, unpack_days
from otel_sla.sla.counts import MINUTES_PER_DAY

SHAPE = (3, MINUTES_PER_DAY)


def unpacked(*blobs: bytes) -> Int64Array:
    """int64[3, n_days, 1440]."""
    out = np.full((3, len(blobs), MINUTES_PER_DAY), -7, dtype=np.int64)
    unpack_days(list(blobs), out)
    return out


def realistic_day(seed: int, requests_per_minute: float) -> Int64Array:
    """Counts that rise and fall with the day, int64[3, 1440]."""
    rng = np.random.default_rng(seed)
    rate = requests_per_minute * (1 + 0.6 * np.sin(2 * np.pi * np.arange(MINUTES_PER_DAY) / MINUTES_PER_DAY))
    return np.stack([rng.poisson(rate), rng.poisson(rate * 0.001), rng.poisson(rate * 0.02)]).astype(np.int64)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    hnp.arrays(np.int64, (3, 24), elements=st.integers(0, 2**62)),
    st.integers(0, 60),
)
def test_any_counts_come_back(few: Int64Array, shift: int) -> None:
    """Counts of any width, in steps and in leaps, come back as they were."""
    day = np.repeat(few >> shift, MINUTES_PER_DAY // 24, axis=1)
    day[:, ::7] = 0
    assert (unpacked(pack_day(day))[:, 0] == day).all()


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0, 1, 7, 300, 70_000, 10**8])), min_size=1, max_size=5))
def test_days_of_different_widths_are_unpacked_together(days: list[tuple[int, int]]) -> None:
    """Each of several days comes back in its place, whatever widths the others have."""
    dense = [realistic_day(seed, mean) for seed, mean in days]
    out = unpacked(*[pack_day(day) for day in dense])
    assert all((out[:, place] == day).all() for place, day in enumerate(dense))


@pytest.mark.parametrize("base", [0, 2**31 - 1441, 2**31 - 1440, 2**31 - 256, 2**31 - 1, 2**31, 2**62])
@pytest.mark.parametrize("slope", [0, 1, -1])
def test_counts_around_the_narrow_width(base: int, slope: int) -> None:
    """Counts that just fit into half the width, or no more, come back, as distances and as steps."""
    day = np.full(SHAPE, base, dtype=np.int64)
    day[0] += max(-slope, 0) * MINUTES_PER_DAY + slope * np.arange(MINUTES_PER_DAY)
    day[1, ::2] += 255
    out = unpacked(pack_day(day), pack_day(np.flip(day, axis=1)))
    assert (out[:, 0] == day).all()
    assert (out[:, 1] == np.flip(day, axis=1)).all()


@settings(derandomize=True, max_examples=40, deadline=None)
@given(hnp.arrays(np.int64, (9, 24), elements=st.sampled_from([0, 1, 16, 2**20 * 15, 2**62])), st.booleans())
def test_what_is_counted_beside_outcomes_comes_back(few: Int64Array, has_beside: bool) -> None:  # noqa: FBT001 - drawn
    """A day with more than outcomes keeps all columns, one without keeps three; days of both are read together."""
    day = np.repeat(few, MINUTES_PER_DAY // 24, axis=1)
    day[3:] *= has_beside
    plain = realistic_day(7, 60)
    blobs = [pack_day(plain), pack_day(day), pack_day(day[:3])]
    out = np.full((9, 3, MINUTES_PER_DAY), -7, dtype=np.int64)
    unpack_days(blobs, out)
    assert (out[:, 1] == day).all()
    assert (out[:3, 0] == plain).all()
    assert (out[:3, 2] == day[:3]).all()
    assert not out[3:, [0, 2]].any()
    assert (unpacked(*blobs) == out[:3]).all()
    assert (len(blobs[1]) == len(blobs[2])) == (not day[3:].any())


def test_no_days() -> None:
    """Nothing unpacks to nothing."""
    assert unpacked().shape == (3, 0, MINUTES_PER_DAY)


@pytest.mark.parametrize(("requests_per_minute", "bytes_per_minute_max"), [(0, 0.1), (5, 1.6), (60, 2.1), (1000, 3.1)])
def test_size(requests_per_minute: int, bytes_per_minute_max: float) -> None:
    """A minute of a series takes few enough bytes for 1,000 series and 13 months in 2 GB (3.4 a minute)."""
    blobs = [pack_day(realistic_day(seed, requests_per_minute)) for seed in range(5)]
    assert sum(map(len, blobs)) / (5 * MINUTES_PER_DAY) <= bytes_per_minute_max


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda blob: blob[:40], id="cut header"),
        pytest.param(lambda blob: blob[:-1], id="cut column"),
        pytest.param(lambda blob: b"\x09" + blob[1:], id="unknown format"),
        pytest.param(lambda blob: blob[:1] + b"\x02\x02\x02" + blob[4:], id="unknown exceptions"),
        pytest.param(lambda blob: blob[:4] + b"\x05" + blob[5:], id="unknown width"),
        pytest.param(lambda blob: blob.replace(b"\xbc\x02\xbd\x02", b"\xff\xff\xff\xff"), id="no minute of the day"),
    ],
)
def test_damage_raises_an_error(damaged: Callable[[bytes], bytes]) -> None:
    """A blob that was cut or changed is an error, never other counts."""
    day = np.zeros(SHAPE, dtype=np.int64)
    day[0] = np.arange(MINUTES_PER_DAY) % 1000
    day[2, [700, 701]] = 3
    with pytest.raises(LedgerCorrupt, match="packed day"):
        unpacked(damaged(pack_day(day)))
