"""Counts per series and minute, as they travel from the ring to the ledger and from the ledger to the judge.

Dimensions:
    n_rows: distinct (series, minute) pairs.
"""

from dataclasses import dataclass

import numpy as np

from otel_sla.spans.columns import Int64Array

NANOS_PER_MINUTE = 60_000_000_000


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
