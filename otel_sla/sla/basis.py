"""The basis that an agreement is judged on (clause 19): requests as they came, or the requests that they stand for.

Adjusted counts are whole numbers of *parts*, 2^-20 requests, so that their sums are the same in any order. What is
judged on requests has one part to a request, so one arithmetic serves both.

Dimensions:
    n_minutes: minutes, consecutive or not.
"""

import numpy as np

from otel_sla.arrays import Int64Array
from otel_sla.sla.agreement import Counting
from otel_sla.sla.counts import N_COUNTS, N_OUTCOMES, PARTS_PER_REQUEST, Count

_INT64_MAX = 2**63 - 1
# No minute has so many spans. With COUNT_MAX beside it, an outcome's parts have room in an int64; those of two of them
# may not (`SeriesCounts.valid`).
SPANS_MAX = 1 << 40


def parts_of(counting: Counting) -> int:
    """Parts of one request."""
    return PARTS_PER_REQUEST if counting is Counting.ADJUSTED else 1


def columns_of(parts: int) -> int:
    """Columns of `counts.Count`, from the first on, that `judged_counts` reads."""
    return N_OUTCOMES if parts == 1 else N_COUNTS


def judged_counts(counts: Int64Array, parts: int) -> Int64Array:
    """Give what is judged of what was counted.

    Args:
        counts: int64[n_minutes, columns_of(parts)] or wider. Columns as in counts.Count; each in [0, COUNT_MAX].
        parts: `parts_of` the agreement's counting.

    Returns:
        int64[n_minutes, 3], parts of requests; a view where they are requests. Columns as in agreement.Outcome.

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
