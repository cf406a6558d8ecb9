"""Groups of requests: distinct tuples of `group_by` values, and the series that each agreement keeps for them.

Agreements with the same `group_by` share one *grouping*, so that a span's group is looked up once for all of them. A
group is its grouping and the text ids of its values: the int 443 and the string "443" are one text. As with values, a
hash only says where to look.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from otel_sla.arrays import Int32Array, Int64Array
from otel_sla.counting.classify.conditions import Conditions
from otel_sla.sla.agreement import Scope
from otel_sla.sla.series import SeriesTable

UNKNOWN_SERIES = -1


class GroupArrays(NamedTuple):
    """The table as kernels see it. n_slots is a power of two; groups are dense from 1."""

    grouping_of: Int32Array  # int32[n_agreements]. The agreement's grouping.
    cell_of: Int32Array  # int32[n_agreements]. Place of the agreement among those of its grouping.
    n_keys: Int32Array  # int32[n_groupings]. Keys of the grouping.
    n_cells: Int32Array  # int32[n_groupings]. Agreements of the grouping.
    resource_key: Int32Array  # int32[n_groupings, n_keys_max]. Index of the key among the resource's.
    span_key: Int32Array  # int32[n_groupings, n_keys_max]. Index of the key among the span's.
    slot_group: Int32Array  # int32[n_slots]. The group there, 0 if none.
    grouping: Int32Array  # int32[n_groups]. The group's grouping.
    texts: Int32Array  # int32[n_groups, n_keys_max]. Text ids of its values.
    cell: Int64Array  # int64[n_groups]. Its first cell of `series`.
    # int64[n_cells_max]. A series id for each group and agreement of its grouping, or UNKNOWN_SERIES.
    series: Int64Array
    size: Int64Array  # int64[2]. Groups and cells in use.


class GroupTable:
    """Texts, groups and their series; forgotten together with the values they were made of."""

    def __init__(
        self, group_bys: Sequence[tuple[str, ...]], conditions: Conditions, table: SeriesTable, groups_max: int
    ) -> None:
        """Make an empty table for `groups_max` groups of all groupings, or for what a single span may need."""
        self._table = table
        groupings = list(dict.fromkeys(group_bys))
        grouping_of = [groupings.index(group_by) for group_by in group_bys]
        n_keys_max = max((len(group_by) for group_by in groupings), default=0)
        n_resource_keys = len(conditions.watch.resource_keys)
        resource_key = np.zeros((len(groupings), n_keys_max), dtype=np.int32)
        span_key = np.zeros((len(groupings), n_keys_max), dtype=np.int32)
        for index, group_by in enumerate(groupings):
            resource_key[index, : len(group_by)] = [conditions.column(Scope.RESOURCE, key) for key in group_by]
            span_key[index, : len(group_by)] = [
                conditions.column(Scope.SPAN, key) - n_resource_keys for key in group_by
            ]
        self.columns = frozenset(
            conditions.column(scope, key) for group_by in groupings for key in group_by for scope in Scope
        )
        groups_max = max(groups_max, len(groupings))
        n_cells_max = max(4 * groups_max, len(group_bys))
        self.arrays = GroupArrays(
            grouping_of=np.array(grouping_of, dtype=np.int32),
            cell_of=np.array([grouping_of[:i].count(g) for i, g in enumerate(grouping_of)], dtype=np.int32),
            n_keys=np.array([len(group_by) for group_by in groupings], dtype=np.int32),
            n_cells=np.array([grouping_of.count(g) for g in range(len(groupings))], dtype=np.int32),
            resource_key=resource_key,
            span_key=span_key,
            slot_group=np.zeros(1 << (2 * groups_max - 1).bit_length(), dtype=np.int32),
            grouping=np.zeros(groups_max + 1, dtype=np.int32),
            texts=np.zeros((groups_max + 1, n_keys_max), dtype=np.int32),
            cell=np.zeros(groups_max + 1, dtype=np.int64),
            series=np.zeros(n_cells_max, dtype=np.int64),
            size=np.zeros(2, dtype=np.int64),
        )
        self._text_ids: dict[bytes, int] = {}
        self._texts: list[bytes] = []
        self.clear()

    def text_id(self, text: bytes) -> int:
        """Number a text; the empty one is 0, which is also what an absent value is grouped as (clause 3)."""
        text_id = self._text_ids.setdefault(text, len(self._texts))
        if text_id == len(self._texts):
            self._texts.append(text)
        return text_id

    def find_series(self, agreement_index: int, group: int) -> int:
        """Give the series of a group that an agreement has not met in this generation; series outlive the table."""
        arrays = self.arrays
        n_keys = arrays.n_keys[arrays.grouping[group]]
        values = tuple(self._texts[text] for text in arrays.texts[group, :n_keys].tolist())
        series_id = self._table.find_or_add(agreement_index, values)
        arrays.series[arrays.cell[group] + arrays.cell_of[agreement_index]] = series_id
        return series_id

    def clear(self) -> None:
        """Begin a new generation."""
        self._text_ids = {b"": 0}
        self._texts = [b""]
        self.arrays.slot_group[:] = 0
        self.arrays.size[:] = 0
