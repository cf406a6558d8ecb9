"""From columns to requests: which spans count, for which series, in which minute, with what outcome (clauses 1 to 4).

::

    values      every cell -> the number of its distinct value
    classes     the conditions that a span's values satisfy, as a mask -> the agreements that cover it, each with its
                row of the outcome table
    groups      the values of group_by -> the series of each of those agreements

Python runs once per distinct value, mask and group; per span there are only look-ups, and what several agreements ask
of a span is asked once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from otel_sla.arrays import BoolArray, Int32Array, Int64Array, UInt8Array
from otel_sla.counting.classify import kernel_tables as tables
from otel_sla.counting.classify.class_table import ClassArrays, ClassTable, words_of_mask
from otel_sla.counting.classify.conditions import ENTRY_SPAN_BIT, Conditions
from otel_sla.counting.classify.group_table import UNKNOWN_SERIES, GroupTable
from otel_sla.counting.classify.match_kernel import match_spans_kernel
from otel_sla.counting.classify.notes import Notes, notes_of
from otel_sla.counting.classify.outcome import NO_STATUS, outcome_table, status_index
from otel_sla.counting.classify.value_table import CHUNK_SPANS, PUBLIC_HASH_KEY, ValueTable
from otel_sla.jit import ArrayTable
from otel_sla.sla.agreement import STATUS_KEYS, Agreement
from otel_sla.sla.counts import AcceptWindow
from otel_sla.sla.series import SeriesTable
from otel_sla.spans.columns import SpanColumns, WatchList

_CLASSES_MAX = 4096
_UINT64_MAX = 0xFFFF_FFFF_FFFF_FFFF
_NO_EXCESS: Int64Array = np.empty(0, dtype=np.int64)
_NO_PART = _NO_EXCESS, _NO_EXCESS, np.empty(0, dtype=np.uint8), _NO_EXCESS


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests of one body, and how many of its spans were rejected.

    A span that several agreements cover is one request of each of them, but rejected only once. n_requests: covered and
    accepted spans, times agreements.
    """

    series_id: Int64Array  # int64[n_requests]. See series.SeriesTable.
    epoch_minute: Int64Array  # int64[n_requests], whole minutes since the Unix epoch.
    outcome_bits: UInt8Array  # uint8[n_requests]. An agreement.Outcome, and bits of `counts` for what else is counted.
    late_count: int  # Covered spans whose minute is sealed; rejected, unless the window takes them.
    future_count: int  # Covered spans that end too far ahead.
    malformed_count: int  # Covered spans without an end time.
    overflow_count: int  # Requests that went to an overflow series.
    # int64[n_requests], as in counts.Count, of those with SAMPLED_BIT; int64[0] where there are none.
    excess: Int64Array = field(default_factory=lambda: _NO_EXCESS)
    notes: Notes | None = None  # What senders or operators should know of them; None: nothing.

    def __len__(self) -> int:
        return len(self.series_id)

    @property
    def rejected_count(self) -> int:
        """Spans that were not taken, for any reason."""
        return self.late_count + self.future_count + self.malformed_count


class Classifier:
    """Turns columns into requests. Remembers values, classes and groups; not for several threads at a time."""

    def __init__(
        self,
        agreements: Sequence[Agreement],
        table: SeriesTable,
        *,
        values_max: int = 65536,
        text_bytes_max: int = 16 << 20,
        hash_key: Sequence[int] = PUBLIC_HASH_KEY,
        hash_mask: int = _UINT64_MAX,
    ) -> None:
        """Prepare for a configuration.

        Args:
            agreements: Those of `table`, in the same order.
            table: Gets the series that are met.
            values_max: Distinct attribute values that are remembered at a time.
            text_bytes_max: Bytes of text that are remembered at a time.
            hash_key: Four secret words of 64 bits, where senders are not trusted; results do not depend on it.
            hash_mask: Bits that the look-ups' hashes use; results do not depend on it.
        """
        self._table = table
        self.agreements = tuple(agreements)
        self.chunk_spans = CHUNK_SPANS  # Of a piece, at most.
        self._conditions = Conditions(agreements)
        self._hash_start, self._hash_mask = np.uint64(hash_key[0]), np.uint64(hash_mask)
        self._classes = ClassTable(self._conditions, _CLASSES_MAX)
        self._groups = GroupTable([agreement.group_by for agreement in agreements], self._conditions, table, values_max)
        n_resource_keys, n_span_keys = len(self.watch.resource_keys), len(self.watch.span_keys)
        self._span_keys = [key.decode() for key in self.watch.span_keys]
        # A status is looked at where it is there; of error.type alone only its presence is read.
        columns = range(n_resource_keys, n_resource_keys + n_span_keys)
        is_read = [self._conditions.has_tests(column) or column in self._groups.columns for column in columns]
        statuses = [key for key in range(len(STATUS_KEYS)) if not is_read[key]]
        self._values = ValueTable(
            n_resource_keys,
            n_span_keys,
            _indices([key for key in range(n_span_keys) if is_read[key]]),
            sparse_span_keys=statuses,
            values_max=values_max,
            text_bytes_max=text_bytes_max,
            hash_key=hash_key,
            hash_mask=hash_mask,
        )
        n_values = self._values.values_max + 1
        n_words = self._conditions.n_words
        self._meanings = tables.ValueMeanings(
            mask=np.zeros((n_values, n_words), dtype=np.uint64),
            status_index=np.full(n_values, NO_STATUS, dtype=np.int16),
            text_id=np.zeros(n_values, dtype=np.int32),
        )
        tested = [column for column in range(self._conditions.n_columns) if self._conditions.has_tests(column)]
        entry_spans_only = [agreement.entry_spans_only for agreement in agreements]
        self._rules = tables.Rules(
            tested_resource_keys=_indices([column for column in tested if column < n_resource_keys]),
            tested_span_keys=_indices([column - n_resource_keys for column in tested if column >= n_resource_keys]),
            outcomes=outcome_table(agreements),
            entry_span_bit=np.array([ENTRY_SPAN_BIT * any(entry_spans_only)], dtype=np.uint64),
            entry_spans_only=np.array(entry_spans_only, dtype=np.uint8),
        )
        self._found = _empty_found(len(agreements), n_words, len(self._groups.arrays.n_keys))
        self._tabled_classes: ClassArrays | None = None

    @property
    def watch(self) -> WatchList:
        """The attributes that are to be decoded."""
        return self._conditions.watch

    def classify(self, columns: SpanColumns, window: AcceptWindow, is_fresh: BoolArray) -> Requests:
        """Find the requests of one body, in one go. Arguments as for `classify_in_pieces`."""
        *_, requests = self.classify_in_pieces(columns, window, is_fresh)
        assert requests is not None, "the last piece gives the requests"
        return requests

    def classify_in_pieces(
        self, columns: SpanColumns, window: AcceptWindow, is_fresh: BoolArray
    ) -> Iterator[Requests | None]:
        """Find the requests of one body, a bounded piece at a time, and give them last; before, others have their turn.

        Args:
            columns: Decoded with `watch`.
            window: The end times that are accepted.
            is_fresh: bool[n_resources]. False for a ResourceSpans that was counted before: its spans are not counted
                again, but those out of the window are still rejected.
        """
        assert columns.n_span_keys == len(self._span_keys), "columns are decoded with this watch list"
        assert len(is_fresh) == columns.n_resources, f"{len(is_fresh)} of {columns.n_resources} resources"
        tally = _Tally()
        start = 0
        while start < columns.n_spans:
            stop = self._values.number(columns, start, min(start + self.chunk_spans, columns.n_spans))
            if stop == start:
                self._forget()
                continue
            self._describe_values()
            start = self._match(columns, window, is_fresh, start, stop, tally)
            yield None
        yield tally.requests(self._table.overflow_ids)

    def _match(
        self, columns: SpanColumns, window: AcceptWindow, is_fresh: BoolArray, start: int, stop: int, tally: "_Tally"
    ) -> int:
        """Match a numbered chunk; gives where to go on, earlier than `stop` if all had to be forgotten."""
        at = start
        sealed_before_minute = np.uint64(min(max(window.sealed_before_minute, 0), _UINT64_MAX))
        future_after_unix_nano = np.uint64(min(max(window.future_after_unix_nano, 0), _UINT64_MAX))
        while at < stop:
            at = match_spans_kernel(
                at,
                stop,
                start,
                columns.arrays,
                self._tables().argument,
                is_fresh,
                sealed_before_minute,
                window.late_is_taken,
                future_after_unix_nano,
                self._hash_start,
                self._hash_mask,
            )
            progress = self._found.progress.tolist()
            if progress[tables.UNKNOWN]:
                self._find_series(progress[tables.COUNTED])
            tally.add(self._found, progress)
            if progress[tables.IS_NOTED]:
                tally.note(notes_of(self._found.noted, columns, self.agreements, self._span_keys))
                self._found.noted[:] = 0
            if progress[tables.REASON] == tables.CLASS_UNKNOWN:
                self._classes.add(self._found.words[1], progress[tables.SLOT])
            elif progress[tables.REASON] == tables.GROUPS_FULL:
                self._forget()
                break
        return at

    def _tables(self) -> ArrayTable:
        """What the kernel looks things up in; made anew when the table of classes has grown."""
        if self._tabled_classes is not self._classes.arrays:
            self._tabled_classes = self._classes.arrays
            found, groups, classes = self._found, self._groups.arrays, self._classes.arrays
            self._table_of_all = ArrayTable(
                (*self._values.ids, *self._meanings, *self._rules, *classes, *groups, *found)
            )
        return self._table_of_all

    def _describe_values(self) -> None:
        n_resource_keys = len(self.watch.resource_keys)
        for value_id, column, value_type, text in self._values.drain_new():
            mask = self._conditions.mask_of(column, text)
            self._meanings.mask[value_id] = words_of_mask(mask, self._conditions.n_words)
            status = NO_STATUS
            if column >= n_resource_keys:
                status = status_index(self._span_keys[column - n_resource_keys], value_type, text)
            self._meanings.status_index[value_id] = status
            self._meanings.text_id[value_id] = self._groups.text_id(text) if column in self._groups.columns else 0

    def _find_series(self, n_found: int) -> None:
        found = self._found
        known: dict[tuple[int, int], int] = {}
        for index in np.flatnonzero(found.series_id[:n_found] == UNKNOWN_SERIES).tolist():
            key = int(found.agreement[index]), int(found.group[index])
            if key not in known:
                known[key] = self._groups.find_series(*key)
            found.series_id[index] = known[key]

    def _forget(self) -> None:
        """Begin anew with values and groups; series keep their ids."""
        self._values.clear()
        self._groups.clear()


class _Tally:
    """Gathers what the chunks of one body gave."""

    def __init__(self) -> None:
        self._parts: list[tuple[Int64Array, Int64Array, UInt8Array, Int64Array]] = []
        self._rejected = [0, 0, 0]
        self._is_sampled = False
        self._notes: Notes | None = None

    def add(self, found: tables.Found, progress: list[int]) -> None:
        count = progress[tables.COUNTED]
        if count:
            columns = found.series_id[:count].copy(), found.epoch_minute[:count].copy()
            self._parts.append((*columns, found.outcome_bits[:count].copy(), found.excess[:count].copy()))
        for index in (tables.LATE, tables.FUTURE, tables.MALFORMED):
            self._rejected[index] += progress[index]

    def note(self, notes: Notes) -> None:
        self._is_sampled = self._is_sampled or notes.sampled_spans > 0
        if self._notes is None:
            self._notes = notes
        else:
            self._notes.add(notes)

    def requests(self, overflow_ids: Sequence[int]) -> Requests:
        if len(self._parts) == 1:
            series_id, epoch_minute, outcome_bits, excess = self._parts[0]
        else:
            series_id, epoch_minute, outcome_bits, excess = (
                np.concatenate(column) for column in zip(_NO_PART, *self._parts, strict=True)
            )
        late_count, future_count, malformed_count = self._rejected
        return Requests(
            series_id,
            epoch_minute,
            outcome_bits,
            late_count,
            future_count,
            malformed_count,
            overflow_count=int(np.isin(series_id, overflow_ids).sum()) if overflow_ids else 0,
            excess=excess if self._is_sampled else _NO_EXCESS,
            notes=self._notes,
        )


def _indices(indices: list[int]) -> Int32Array:
    return np.array(indices, dtype=np.int32)


def _empty_found(n_agreements: int, n_words: int, n_groupings: int) -> tables.Found:
    n_found_max = max(2 * CHUNK_SPANS, n_agreements)
    return tables.Found(
        series_id=np.zeros(n_found_max, dtype=np.int64),
        epoch_minute=np.zeros(n_found_max, dtype=np.int64),
        outcome_bits=np.zeros(n_found_max, dtype=np.uint8),
        excess=np.zeros(n_found_max, dtype=np.int64),
        agreement=np.zeros(n_found_max, dtype=np.int32),
        group=np.zeros(n_found_max, dtype=np.int32),
        progress=np.zeros(tables.PROGRESS_SIZE, dtype=np.int64),
        noted=np.zeros(tables.SPARED_SPAN + n_agreements, dtype=np.int64),
        words=np.zeros((3, n_words), dtype=np.uint64),
        groups_now=np.zeros(n_groupings, dtype=np.int32),
        groups_of_resource=np.zeros(n_groupings, dtype=np.int32),
    )
