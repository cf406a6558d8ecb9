"""How long counts are kept: whole months of every time zone, and what leads up to them.

A month of which some days are gone would be judged by what is left, as if the rest had been silent.
"""

from otel_sla.sla.months import MinuteRange, month_of, month_range

# A run of down minutes, or a silence, may go over a month's first minute: so much of what was before it is kept.
_LEAD_MINUTES = 7 * 24 * 60
_WEST_MINUTES = 12 * 60  # No zone is further behind UTC,
_EAST_MINUTES = 14 * 60  # and none further ahead.


def expire_before(oldest_minute: int) -> int:
    """Give the epoch minute before which counts may go, if those from `oldest_minute` on have to be kept.

    Every month that this minute lies in, in whatever time zone, stays whole.
    """
    month = month_of(max(0, oldest_minute - _WEST_MINUTES), "UTC")
    return max(0, month_range(month, "UTC").start_minute - _EAST_MINUTES - _LEAD_MINUTES)


def kept_from(expired_before: int) -> int:
    """Give the first epoch minute that can still be judged, by the ledger's watermark."""
    return expired_before + _LEAD_MINUTES if expired_before else 0


def is_kept(month: MinuteRange, expired_before: int) -> bool:
    """Tell whether all counts are there that a month is judged by.

    Args:
        month: `months.month_range` of it.
        expired_before: The ledger's watermark.
    """
    return month.start_minute >= kept_from(expired_before)
