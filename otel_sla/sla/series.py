"""Series: what is judged by itself, one for each agreement and distinct tuple of `group_by` values."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Series:
    """One series. The group's values are bytes as sent: two values that only look alike stay two series."""

    series_id: int  # Row of the ring and key in the ledger; dense, from 0, never reused.
    agreement: str
    group: tuple[tuple[str, bytes], ...]  # (key, value) in the order of group_by; a missing value is b"".
    is_overflow: bool  # Takes what came after `series_max` was reached; its group is OVERFLOW_GROUP.

    @property
    def group_text(self) -> dict[str, str]:
        """The group for people and backends; bytes that are no UTF-8 show as replacement characters."""
        return {key: value.decode("utf-8", errors="replace") for key, value in self.group}


OVERFLOW_GROUP: tuple[tuple[str, bytes], ...] = (("sla.series.overflow", b"true"),)
