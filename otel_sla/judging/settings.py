"""When minutes are judged and sealed, as plain values."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorSettings:
    """`processor`. Its memory limit is part of the receiver's settings."""

    grace_s: float
    late_spans_max_s: float  # At least grace_s.
    future_spans_max_s: float
    series_max: int  # Per agreement.
