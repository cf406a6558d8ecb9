"""Series: what is judged by itself, one for each agreement and distinct tuple of `group_by` values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from otel_sla.sla.agreement import Agreement


@dataclass(frozen=True, slots=True)
class Series:
    """One series. The group's values are bytes as sent: two values that only look alike stay two series."""

    series_id: int  # Row of the ring and key in the ledger; dense, from 0, never reused.
    agreement: str
    group: tuple[tuple[str, bytes], ...]  # (key, value) in the order of group_by; a missing value is b"".
    is_overflow: bool  # Takes what came after `series_max` was reached; its group is OVERFLOW_GROUP.

    @property
    def group_text(self) -> dict[str, str]:
        """The group for people and backends; bytes that are no UTF-8 show as escapes, so that two stay two."""
        return {key: value.decode("utf-8", errors="backslashreplace") for key, value in self.group}

    @property
    def phrase(self) -> str:
        """Agreement and group for people."""
        group = ", ".join(f"{key}={value}" for key, value in self.group_text.items())
        return f"{self.agreement} ({group})" if group else self.agreement


OVERFLOW_GROUP: tuple[tuple[str, bytes], ...] = (("sla.series.overflow", b"true"),)

# A series is kept and sent for as long as the ledger is. What has a longer value is not cut, which would merge two.
GROUP_VALUE_SIZE_BYTES_MAX = 1024

GroupValues = tuple[bytes, ...]


class SeriesTable:
    """All series by number, known ones from the ledger and new ones as they are met.

    An agreement gets `series_max` series and, when a further group is met, one overflow series that takes all the rest.
    Series whose agreement is gone, or is grouped by other keys now, keep their numbers and are never matched again.

    Args:
        agreements: Names are distinct.
        series_max: At least 1. Known ones count, and stay even if they are more.
        known: All series of the ledger, in any order; their ids are dense from 0.
    """

    def __init__(self, agreements: Sequence[Agreement], *, series_max: int, known: Iterable[Series] = ()) -> None:
        assert series_max >= 1, f"series_max is {series_max}"
        self._agreements = tuple(agreements)
        self._series_max = series_max
        self._series = sorted(known, key=lambda series: series.series_id)
        assert [series.series_id for series in self._series] == list(range(len(self._series))), "series ids are dense"
        self._drained_count = len(self._series)
        self._id_of: dict[tuple[int, GroupValues], int] = {}
        self._overflow_ids: dict[int, int] = {}
        self._counts = [0] * len(self._agreements)
        index_of = {agreement.name: index for index, agreement in enumerate(self._agreements)}
        for series in self._series:
            agreement_index = index_of.get(series.agreement)
            if agreement_index is not None:
                self._match(agreement_index, series)

    def __len__(self) -> int:
        return len(self._series)

    def __getitem__(self, series_id: int) -> Series:
        return self._series[series_id]

    def find_or_add(self, agreement_index: int, values: GroupValues) -> int:
        """Give the id of a group's series, or of the agreement's overflow series if it may have no more.

        `agreement_index` is the agreement's place in the constructor's, `values` are in the order of its group_by.
        """
        series_id = self._id_of.get((agreement_index, values))
        if series_id is not None:
            return series_id
        is_long = any(len(value) > GROUP_VALUE_SIZE_BYTES_MAX for value in values)
        if is_long or self._counts[agreement_index] >= self._series_max:
            return self._overflow_id(agreement_index)
        group = tuple(zip(self._agreements[agreement_index].group_by, values, strict=True))
        return self._add(agreement_index, group, is_overflow=False)

    @property
    def overflow_ids(self) -> tuple[int, ...]:
        """The overflow series of the agreements that have one."""
        return tuple(self._overflow_ids.values())

    def drain_new(self) -> tuple[Series, ...]:
        """Give the series added since the last call; they are committed with the counts that need them."""
        new = tuple(self._series[self._drained_count :])
        self._drained_count = len(self._series)
        return new

    def _overflow_id(self, agreement_index: int) -> int:
        series_id = self._overflow_ids.get(agreement_index)
        return self._add(agreement_index, OVERFLOW_GROUP, is_overflow=True) if series_id is None else series_id

    def _add(self, agreement_index: int, group: tuple[tuple[str, bytes], ...], *, is_overflow: bool) -> int:
        series = Series(len(self._series), self._agreements[agreement_index].name, group, is_overflow)
        self._series.append(series)
        self._match(agreement_index, series)
        return series.series_id

    def _match(self, agreement_index: int, series: Series) -> None:
        if series.is_overflow:
            self._overflow_ids[agreement_index] = series.series_id
        elif tuple(key for key, _ in series.group) == self._agreements[agreement_index].group_by:
            self._id_of[agreement_index, tuple(value for _, value in series.group)] = series.series_id
            self._counts[agreement_index] += 1
