"""The look-ups per span: from value ids to requests. What is missing is left to `classify.Classifier` to learn."""

from typing import NamedTuple

import numpy as np

from otel_sla.jit import kernel
from otel_sla.sla.conditions import ERROR_TYPE_SPAN_KEY_INDEX, STATUS_KEYS
from otel_sla.sla.counts import NANOS_PER_MINUTE
from otel_sla.sla.groups import UNKNOWN_SERIES
from otel_sla.sla.outcome import ERROR_STATUS_INDEX, NEITHER_STATUS_INDEX, NO_STATUS
from otel_sla.spans.columns import (
    SPAN_KIND_SERVER,
    SPAN_STATUS_ERROR,
    BoolArray,
    Int16Array,
    Int32Array,
    Int64Array,
    UInt8Array,
    UInt32Array,
    UInt64Array,
)

# Places in Found.progress.
LATE, FUTURE, MALFORMED, COUNTED, UNKNOWN, REASON, SLOT = range(7)
PROGRESS_SIZE = 7

# Why a kernel stopped.
ALL_DONE, CLASS_UNKNOWN, GROUPS_FULL, FOUND_FULL = range(4)

_STATUS_KEY_COUNT = len(STATUS_KEYS)
_IS_REMOTE_FLAGS = 0x300  # Span.flags: has-is-remote and is-remote.
_NANOS_PER_MINUTE = np.uint64(NANOS_PER_MINUTE)


class ValueMeanings(NamedTuple):
    """What is known of each value; row 0 is the absent one."""

    mask: UInt64Array  # uint64[n_values, n_words]. The conditions that it satisfies.
    status_index: Int16Array  # int16[n_values]. See outcome; NO_STATUS if it is no usable status code.
    text_id: Int32Array  # int32[n_values]. See groups; 0 in columns that nothing is grouped by.


class Rules(NamedTuple):
    """What stays the same while the process runs."""

    tested_resource_keys: Int32Array  # int32[n]. Resource keys that conditions read.
    tested_span_keys: Int32Array  # int32[n]. Span keys that conditions read.
    outcomes: UInt8Array  # uint8[n_rows, STATUS_INDEX_COUNT]. See outcome.outcome_table.
    entry_span_bit: UInt64Array  # uint64[1]. ENTRY_SPAN_BIT if any agreement asks for it, else 0.


class Found(NamedTuple):
    """Requests found in a chunk, and how far it came. n_found_max is at least the number of agreements."""

    series_id: Int64Array  # int64[n_found_max]. UNKNOWN_SERIES where the agreement has not met the group yet.
    epoch_minute: Int64Array  # int64[n_found_max].
    outcome: UInt8Array  # uint8[n_found_max].
    agreement: Int32Array  # int32[n_found_max].
    group: Int32Array  # int32[n_found_max].
    progress: Int64Array  # int64[PROGRESS_SIZE]. Counts and why it stopped.
    words: UInt64Array  # uint64[3, n_words]. Masks of the resource, the span, and the span before it.
    groups_now: Int32Array  # int32[n_groupings]. The span's group in each grouping; 0 if not looked up yet.


@kernel
def match_spans_kernel(  # noqa: C901, PLR0912, PLR0913, PLR0915, PLR0917 - a kernel
    start: int,
    stop: int,
    chunk_start: int,
    kind: Int32Array,
    resource_index: Int32Array,
    end_time_unix_nano: UInt64Array,
    flags: UInt32Array,
    has_parent: BoolArray,
    span_status_code: Int32Array,
    value_type: UInt8Array,
    is_fresh: BoolArray,
    sealed_before_minute: np.uint64,
    future_after_unix_nano: np.uint64,
    hash_mask: np.uint64,
    ids_resource_row: Int32Array,
    ids_resource: Int32Array,
    ids_span: Int32Array,
    value_mask: UInt64Array,
    value_status: Int16Array,
    value_text: Int32Array,
    tested_resource_keys: Int32Array,
    tested_span_keys: Int32Array,
    outcomes: UInt8Array,
    entry_span_bits: UInt64Array,
    slot_class: Int32Array,
    class_words: UInt64Array,
    entry_start: Int32Array,
    entry_stop: Int32Array,
    entry_agreement: Int32Array,
    entry_row: Int32Array,
    grouping_of: Int32Array,
    cell_of: Int32Array,
    n_keys_of: Int32Array,
    n_cells_of: Int32Array,
    resource_key: Int32Array,
    span_key: Int32Array,
    slot_group: Int32Array,
    group_grouping: Int32Array,
    group_texts: Int32Array,
    group_cell: Int64Array,
    group_series: Int64Array,
    group_size: Int64Array,
    found_series: Int64Array,
    found_minute: Int64Array,
    found_outcome: UInt8Array,
    found_agreement: Int32Array,
    found_group: Int32Array,
    progress: Int64Array,
    words: UInt64Array,
    groups_now: Int32Array,
) -> int:
    """Match SERVER spans [start, stop) of a chunk; gives the span it came to, progress[REASON] says why.

    The arrays are fields of SpanColumns, ChunkIds, ValueMeanings, Rules, ClassArrays, GroupArrays and Found, in this
    order. They come one by one as numba takes twice as long to unpack tuples of them, at each request.
    """
    entry_span_bit = entry_span_bits[0]
    n_words = words.shape[1]
    n_groupings = groups_now.shape[0]
    n_groups_max = group_grouping.shape[0] - 1
    n_cells_max = group_series.shape[0]
    n_found_max = found_series.shape[0]
    n_found = 0
    n_groups = group_size[0]
    n_cells = group_size[1]
    class_slot_mask = np.uint64(slot_class.shape[0] - 1)
    group_slot_mask = np.uint64(slot_group.shape[0] - 1)
    low = np.uint64(0xFFFF_FFFF)
    u32 = np.uint64(32)
    one = np.uint64(1)
    factor = np.uint64(0x9E37_79B1)
    n_late = 0
    n_future = 0
    n_malformed = 0
    n_unknown = 0
    last_resource = -1
    last_class = 0
    reason = ALL_DONE
    came_to = stop
    for span in range(start, stop):
        if kind[span] != SPAN_KIND_SERVER:
            continue
        row = span - chunk_start
        resource_row = ids_resource_row[row]
        resource = resource_index[span]
        if resource != last_resource:
            last_resource = resource
            for word in range(n_words):
                words[0, word] = 0
            for tested in range(tested_resource_keys.shape[0]):
                value = ids_resource[resource_row, tested_resource_keys[tested]]
                for word in range(n_words):
                    words[0, word] |= value_mask[value, word]

        # The mask, and its class.
        for word in range(n_words):
            words[1, word] = words[0, word]
        if not has_parent[span] or (flags[span] & _IS_REMOTE_FLAGS) == _IS_REMOTE_FLAGS:
            words[1, 0] |= entry_span_bit
        for tested in range(tested_span_keys.shape[0]):
            value = ids_span[row, tested_span_keys[tested]]
            if value != 0:
                for word in range(n_words):
                    words[1, word] |= value_mask[value, word]
        is_same = last_class != 0
        for word in range(n_words):
            is_same = is_same and words[1, word] == words[2, word]
        if not is_same:
            hashed = factor
            for word in range(n_words):
                words[2, word] = words[1, word]
                hashed ^= words[1, word]
                hashed = (hashed & low) * factor + (hashed >> u32)
            hashed = (hashed & low) * factor + (hashed >> u32)
            slot = (hashed ^ (hashed >> u32)) & hash_mask & class_slot_mask
            last_class = 0
            while slot_class[slot] != 0:
                is_same = True
                for word in range(n_words):
                    is_same = is_same and class_words[slot_class[slot], word] == words[1, word]
                if is_same:
                    last_class = slot_class[slot]
                    break
                slot = (slot + one) & class_slot_mask
            if last_class == 0:
                progress[SLOT] = slot
                reason = CLASS_UNKNOWN
                came_to = span
                break
        entry = entry_start[last_class]
        last_entry = entry_stop[last_class]
        if entry == last_entry:
            continue

        # Clauses 2 and 16. uint64 throughout: any end time that can be sent is compared as it is.
        end_time = end_time_unix_nano[span]
        minute = end_time // _NANOS_PER_MINUTE
        if end_time == 0:
            n_malformed += 1
            continue
        if minute < sealed_before_minute:
            n_late += 1
            continue
        if end_time > future_after_unix_nano:
            n_future += 1
            continue
        if not is_fresh[resource]:
            continue
        if n_found + last_entry - entry > n_found_max:
            reason = FOUND_FULL
            came_to = span
            break

        # Clause 4: the first usable status code in the order of the keys.
        status = NO_STATUS
        for key in range(_STATUS_KEY_COUNT):
            value = ids_span[row, key]
            if value != 0 and value_status[value] != NO_STATUS:
                status = value_status[value]
                break
        if status == NO_STATUS:
            status = NEITHER_STATUS_INDEX
            if span_status_code[span] == SPAN_STATUS_ERROR or value_type[span, ERROR_TYPE_SPAN_KEY_INDEX] != 0:
                status = ERROR_STATUS_INDEX

        for grouping in range(n_groupings):
            groups_now[grouping] = 0
        n_found_before = n_found
        while entry < last_entry:
            agreement = entry_agreement[entry]
            grouping = grouping_of[agreement]
            group = groups_now[grouping]
            if group == 0:
                # The new group's texts are put where it will stay, and compared from there.
                new_group = n_groups + 1
                if new_group > n_groups_max or n_cells + n_cells_of[grouping] > n_cells_max:
                    reason = GROUPS_FULL
                    break
                n_keys = n_keys_of[grouping]
                hashed = np.uint64(grouping) * factor
                for key in range(n_keys):
                    value = ids_resource[resource_row, resource_key[grouping, key]]
                    if value == 0:
                        value = ids_span[row, span_key[grouping, key]]
                    group_texts[new_group, key] = value_text[value]
                    hashed ^= np.uint64(value_text[value])
                    hashed = (hashed & low) * factor + (hashed >> u32)
                hashed = (hashed & low) * factor + (hashed >> u32)
                slot = (hashed ^ (hashed >> u32)) & hash_mask & group_slot_mask
                while slot_group[slot] != 0:
                    group = slot_group[slot]
                    is_same = group_grouping[group] == grouping
                    for key in range(n_keys):
                        is_same = is_same and group_texts[group, key] == group_texts[new_group, key]
                    if is_same:
                        break
                    slot = (slot + one) & group_slot_mask
                if slot_group[slot] == 0:
                    group = new_group
                    n_groups = new_group
                    slot_group[slot] = group
                    group_grouping[group] = grouping
                    group_cell[group] = n_cells
                    for cell in range(n_cells_of[grouping]):
                        group_series[n_cells + cell] = UNKNOWN_SERIES
                    n_cells += n_cells_of[grouping]
                groups_now[grouping] = group
            series = group_series[group_cell[group] + cell_of[agreement]]
            if series == UNKNOWN_SERIES:
                n_unknown += 1
            found_series[n_found] = series
            found_minute[n_found] = np.int64(minute)
            found_outcome[n_found] = outcomes[entry_row[entry], status]
            found_agreement[n_found] = agreement
            found_group[n_found] = group
            n_found += 1
            entry += 1
        if reason == GROUPS_FULL:
            n_found = n_found_before
            came_to = span
            break
    group_size[0] = n_groups
    group_size[1] = n_cells
    progress[LATE] = n_late
    progress[FUTURE] = n_future
    progress[MALFORMED] = n_malformed
    progress[COUNTED] = n_found
    progress[UNKNOWN] = n_unknown
    progress[REASON] = reason
    return came_to
