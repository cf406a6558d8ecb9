"""Counts per series and minute, as they travel from the ring to the ledger and from the ledger to the judge.

Dimensions:
    n_rows: distinct (series, minute) pairs.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from otel_sla.spans.columns import Int64Array

NANOS_PER_MINUTE = 60_000_000_000
# Adjusted counts are kept in this many parts of a request, so that sums are exact in any order (clause 19).
PARTS_PER_REQUEST = 1 << 20


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


@dataclass(frozen=True, slots=True)
class CountRows:
    """Requests per (series, minute); each pair at most once, in no promised order."""

    series_id: Int64Array  # int64[n_rows]. See series.SeriesTable.
    epoch_minute: Int64Array  # int64[n_rows], whole minutes since the Unix epoch.
    counts: Int64Array  # int64[n_rows, 3], requests. Columns as in agreement.Outcome.

    def __len__(self) -> int:
        return len(self.series_id)

    @classmethod
    def empty(cls) -> "CountRows":
        """No rows."""
        none = np.empty(0, dtype=np.int64)
        return cls(none, none, np.empty((0, 3), dtype=np.int64))
