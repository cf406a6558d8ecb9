"""Counts per series and minute, as they travel from the ring to the ledger and from the ledger to the judge.

An agreement is judged on requests as they came, or on those that they stand for (clause 19). Such adjusted counts are
whole numbers of *parts*, 2^-20 requests, so that their sums are the same in any order. What is judged on requests has
one part to a request, so one arithmetic serves both.

Dimensions:
    n_rows: distinct (series, minute) pairs.
    n_minutes: minutes, consecutive or not.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from otel_sla.arrays import BoolArray, Int64Array
from otel_sla.sla.agreement import Counting, Outcome

NANOS_PER_MINUTE = 60_000_000_000
MINUTES_PER_DAY = 1440
# Adjusted counts are kept in this many parts of a request, so that sums are exact in any order (clause 19).
PARTS_PER_REQUEST = 1 << 20
# No count of a series' minute grows past it; only an excess ever could, of spans that stand for 10^12 requests.
COUNT_MAX = 1 << 62
# No minute has so many spans. With COUNT_MAX beside it, an outcome's parts have room in an int64; those of two of them
# may not (`SeriesCounts.valid`).
SPANS_MAX = 1 << 40
_INT64_MAX = 2**63 - 1


class Count(IntEnum):
    """What is counted of a series' minute; the number is its column. The first three are those of agreement.Outcome.

    An excess is the adjusted count less the count of requests, in 2^-20 requests: 0 where nothing is sampled. So the
    adjusted count of failed requests is `failed * PARTS_PER_REQUEST + failed_excess`.
    """

    SUCCEEDED = 0
    FAILED = 1
    INVALID = 2
    SPARED = 3  # Succeeded requests whose failing HTTP status the code attribute spares (clause 4).
    SAMPLED = 4  # Requests whose span bears a sampling threshold above 0 (clause 19).
    THRESHOLDED = 5  # Requests whose span bears a usable sampling threshold, 0 included.
    SUCCEEDED_EXCESS = 6
    FAILED_EXCESS = 7
    INVALID_EXCESS = 8


# A request's outcome bits: its Outcome in the two lowest bits, and what else is counted of it.
OUTCOME_BITS = 0b11
SPARED_BIT, SAMPLED_BIT, THRESHOLDED_BIT = 0b100, 0b1000, 0b10000

N_OUTCOMES = len(Outcome)
N_COUNTS = len(Count)


@dataclass(frozen=True, slots=True)
class AcceptWindow:
    """Which end times are accepted (clause 16)."""

    sealed_before_minute: int  # Epoch minute. A span of an earlier minute is late.
    future_after_unix_nano: int  # ns since the Unix epoch. A span that ends after it is early.
    late_is_taken: bool = False  # Late spans are requests as any other, and counted as late besides.


class CountsBeside(NamedTuple):
    """What is counted of requests beside their outcomes: the other columns of Count, in their order."""

    spared: int = 0
    sampled: int = 0
    thresholded: int = 0
    succeeded_excess: int = 0  # 2^-20 requests, as the next two.
    failed_excess: int = 0
    invalid_excess: int = 0


NOTHING_BESIDE = CountsBeside()


@dataclass(frozen=True, slots=True)
class CountRows:
    """Requests per (series, minute); each pair at most once, in no promised order."""

    series_id: Int64Array  # int64[n_rows]. See series.SeriesTable.
    epoch_minute: Int64Array  # int64[n_rows], whole minutes since the Unix epoch.
    counts: Int64Array  # int64[n_rows, N_COUNTS]. Columns as in Count.

    def __post_init__(self) -> None:
        assert self.counts.shape == (len(self.series_id), N_COUNTS), f"counts of the shape {self.counts.shape}"

    def __len__(self) -> int:
        return len(self.series_id)

    @property
    def outcomes(self) -> Int64Array:
        """int64[n_rows, 3], requests: the columns of agreement.Outcome."""
        return self.counts[:, :N_OUTCOMES]

    @classmethod
    def empty(cls) -> "CountRows":
        """No rows."""
        none = np.empty(0, dtype=np.int64)
        return cls(none, none, np.empty((0, N_COUNTS), dtype=np.int64))


def sum_rows(counts: Int64Array, firsts: Int64Array) -> Int64Array:
    """Sum rows of counts to int64[n_sums, n_columns], each sum at most COUNT_MAX.

    `counts` is int64[n_rows, n_columns], in [0, COUNT_MAX]. `firsts` is int64[n_sums]: the first row of each sum,
    ascending; the rows up to the next one are in it.
    """
    if len(counts) == 0:
        return counts
    if int(counts.max()) <= COUNT_MAX // len(counts):
        return np.add.reduceat(counts, firsts, axis=0)
    # In halves, of which billions can be added up.
    low = np.add.reduceat(counts & 0xFFFF_FFFF, firsts, axis=0)
    high = np.add.reduceat(counts >> 32, firsts, axis=0) + (low >> 32)
    return np.where(high < COUNT_MAX >> 32, high << 32 | low & 0xFFFF_FFFF, COUNT_MAX)


def add_capped(counts: Int64Array, more: Int64Array) -> Int64Array:
    """Add counts, each sum at most COUNT_MAX; both are in [0, COUNT_MAX] and of one shape."""
    return counts + np.minimum(more, COUNT_MAX - counts)


def has_enough(counts: Int64Array, valid_requests_min: int) -> BoolArray:
    """Mark the minutes with `valid_requests_min` valid requests, and at least one.

    `counts` is int64[n_minutes, n_columns], the first columns of Count. With all of them, adjusted counts are compared.
    """
    valid = counts[:, Count.SUCCEEDED] + counts[:, Count.FAILED]
    is_enough: BoolArray = valid >= max(valid_requests_min, 1)
    if counts.shape[1] == N_COUNTS:
        # Two excesses may add up to 2^63.
        needed = (valid_requests_min - valid) * PARTS_PER_REQUEST - counts[:, Count.FAILED_EXCESS]
        is_enough |= (valid > 0) & (counts[:, Count.SUCCEEDED_EXCESS] >= needed)
    return is_enough


def parts_of(counting: Counting) -> int:
    """Parts of one request."""
    return PARTS_PER_REQUEST if counting is Counting.ADJUSTED else 1


def columns_of(parts: int) -> int:
    """Columns of Count, from the first on, that `judged_counts` reads."""
    return N_OUTCOMES if parts == 1 else N_COUNTS


def judged_counts(counts: Int64Array, parts: int) -> Int64Array:
    """Give what is judged of what was counted: int64[n_minutes, 3], parts of requests, columns as in agreement.Outcome.

    `counts` is int64[n_minutes, columns_of(parts)] or wider, columns as in Count, each in [0, COUNT_MAX]; `parts` are
    `parts_of` the agreement's counting. Where they are requests, the result is a view.

    >>> judged_counts(np.array([[1, 2, 0, 0, 1, 3, 15 << 20, 0, 0]]), PARTS_PER_REQUEST) / PARTS_PER_REQUEST
    array([[16.,  2.,  0.]])
    """
    outcomes = counts[:, :N_OUTCOMES]
    if parts == 1:
        return outcomes
    judged: Int64Array = np.minimum(outcomes, SPANS_MAX) * parts + counts[:, Count.SUCCEEDED_EXCESS :]
    return judged


def exact_sum(values: Int64Array) -> int:
    """Sum counts of minutes, none below 0, however large the sum is."""
    if len(values) == 0 or int(values.max()) <= _INT64_MAX // len(values):
        return int(values.sum())
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFF_FFFF).sum())
