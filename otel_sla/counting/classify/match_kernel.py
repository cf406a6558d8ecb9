"""The look-ups per span: from value ids to requests. What is missing is left to `Classifier` to find out."""

import numpy as np

from otel_sla.arrays import BoolArray
from otel_sla.counting.classify import kernel_tables as tables
from otel_sla.counting.classify.conditions import ERROR_TYPE_SPAN_KEY_INDEX
from otel_sla.counting.classify.group_table import UNKNOWN_SERIES
from otel_sla.counting.classify.outcome import (
    ERROR_STATUS_INDEX,
    GRPC_STATUS_INDEX,
    HTTP_DECIDES_FROM,
    NEITHER_STATUS_INDEX,
    NO_STATUS,
    STATUS_KEY_COUNT,
)
from otel_sla.jit import Arrays, buffer_in, inner_kernel, kernel, word_at
from otel_sla.sla.counts import COUNT_MAX, NANOS_PER_MINUTE, PARTS_PER_REQUEST, SAMPLED_BIT, SPARED_BIT, THRESHOLDED_BIT
from otel_sla.spans.columns import SPAN_KIND_SERVER, SPAN_STATUS_ERROR, ValueType, read_columns

_HAS_IS_REMOTE, _REMOTENESS = 0x100, 0x300  # Span.flags: has-is-remote, and is-remote with it.
_NANOS_PER_MINUTE = np.uint64(NANOS_PER_MINUTE)
_OTHER = np.uint64(ValueType.OTHER)
# A row's types begin with those of the status keys and of error.type, a byte each: one word.
_STATUS_TYPES = np.uint64((1 << 8 * STATUS_KEY_COUNT) - 1)
_ERROR_TYPE_SHIFT = np.uint64(8 * ERROR_TYPE_SPAN_KEY_INDEX)
_LOW_BYTE, _LOW_HALF = np.uint64(0xFF), np.uint64(0xFFFF_FFFF)
_ZERO, _ONE, _HALF_BYTE_BITS, _BYTE_BITS, _HALF_BITS = map(np.uint64, (0, 1, 4, 8, 32))
_FACTOR = np.uint64(0x9E37_79B1)
_NO_BIT, _THRESHOLDED, _SAMPLED = map(np.uint8, (0, THRESHOLDED_BIT, THRESHOLDED_BIT | SAMPLED_BIT))

_ALL_SPANS = np.uint64(1 << 56)  # What a threshold is a part of.
_QUOTIENT_MAX = np.uint64(1 << 43)  # From here on 2^20 times it is past any count.
_PARTS = np.uint64(PARTS_PER_REQUEST)


@inner_kernel
def excess_of(threshold: np.int64) -> np.int64:
    """Give how many requests a sampled span stands for beyond itself (clause 19).

    In parts: 2^76 / (2^56 - T) - 2^20, rounded to nearest, half up, and at most COUNT_MAX.

    `threshold` is T, in [0, 2^56). The division is a long one: 2^76 has no room in 64 bits.
    """
    divisor = _ALL_SPANS - np.uint64(threshold)
    quotient = _ALL_SPANS // divisor
    if quotient >= _QUOTIENT_MAX:
        return np.int64(COUNT_MAX)
    rest = _ALL_SPANS - quotient * divisor
    for bits in (_BYTE_BITS, _BYTE_BITS, _HALF_BYTE_BITS):
        rest <<= bits
        quotient = quotient << bits | rest // divisor
        rest = rest % divisor
    if rest << _ONE >= divisor:
        quotient += _ONE
    return min(np.int64(quotient - _PARTS), np.int64(COUNT_MAX))


@kernel
def match_spans_kernel(  # noqa: C901, PLR0912, PLR0913, PLR0915, PLR0917 - a kernel
    start: int,
    stop: int,
    chunk_start: int,
    columns: Arrays,
    table: Arrays,
    is_fresh: BoolArray,
    sealed_before_minute: np.uint64,
    late_is_taken: bool,  # noqa: FBT001
    future_after_unix_nano: np.uint64,
    hash_start: np.uint64,
    hash_mask: np.uint64,
) -> int:
    """Match SERVER spans [start, stop) of a chunk; gives the span it came to, progress[tables.REASON] says why.

    `columns` are SpanColumns; `table` is what `read_tables` reads.
    """
    resource_index, kind, end_time_unix_nano, flags, has_parent, span_status_code = read_columns(columns)[5:11]
    threshold, value_type = read_columns(columns)[11:13]
    looked_up = tables.read_tables(table)
    ids_resource_row, ids_resource, ids_span, value_mask, value_status, value_text = looked_up[:6]
    tested_resource_keys, tested_span_keys, outcomes, entry_span_bits, entry_spans_only = looked_up[6:11]
    slot_class, class_words, entry_start, entry_stop, entry_agreement, entry_row = looked_up[11:17]
    grouping_of, cell_of, n_keys_of, n_cells_of, resource_key, span_key = looked_up[17:23]
    slot_group, group_grouping, group_texts, group_cell, group_series, group_size = looked_up[23:29]
    found_series, found_minute, found_bits, found_excess, found_agreement, found_group = looked_up[29:35]
    progress, noted, words, groups_now, groups_of_resource = looked_up[35:]
    types = buffer_in(value_type.ravel())
    n_span_keys = value_type.shape[1]
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
    n_late = n_future = n_malformed = n_unknown = is_noted = 0
    last_sampling, excess = np.int64(0), np.int64(0)
    last_resource = -1
    last_class = 0
    resource_mask, last_mask = np.uint64(0), np.uint64(0)
    reason = tables.ALL_DONE
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
            resource_mask = words[0, 0]
            for grouping in range(n_groupings):
                groups_of_resource[grouping] = 0

        # The mask, and its class. The first word, mostly the only one, stays in a register.
        mask = resource_mask
        if entry_span_bit != 0 and (not has_parent[span] or (flags[span] & _REMOTENESS) != _HAS_IS_REMOTE):
            mask |= entry_span_bit
        for word in range(1, n_words):
            words[1, word] = words[0, word]
        for tested in range(tested_span_keys.shape[0]):
            value = ids_span[row, tested_span_keys[tested]]
            mask |= value_mask[value, 0]
            for word in range(1, n_words):
                words[1, word] |= value_mask[value, word]
        is_same = last_class != 0 and mask == last_mask
        for word in range(1, n_words):
            is_same = is_same and words[1, word] == words[2, word]
        if not is_same:
            last_mask = mask
            words[1, 0] = mask
            hashed = _FACTOR ^ hash_start
            for word in range(n_words):
                words[2, word] = words[1, word]
                hashed ^= words[1, word]
                hashed = (hashed & _LOW_HALF) * _FACTOR + (hashed >> _HALF_BITS)
            hashed = (hashed & _LOW_HALF) * _FACTOR + (hashed >> _HALF_BITS)
            slot = (hashed ^ (hashed >> _HALF_BITS)) & hash_mask & class_slot_mask
            last_class = 0
            while slot_class[slot] != 0:
                is_same = True
                for word in range(n_words):
                    is_same = is_same and class_words[slot_class[slot], word] == words[1, word]
                if is_same:
                    last_class = slot_class[slot]
                    break
                slot = (slot + _ONE) & class_slot_mask
            if last_class == 0:
                progress[tables.SLOT] = slot
                reason = tables.CLASS_UNKNOWN
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
        is_late = minute < sealed_before_minute
        if is_late and not late_is_taken:
            n_late += 1
            continue
        if end_time > future_after_unix_nano:
            n_future += 1
            continue
        if not is_fresh[resource]:
            continue
        if n_found + last_entry - entry > n_found_max:
            reason = tables.FOUND_FULL
            came_to = span
            break

        # Clause 4: of either protocol the first usable status code in the order of the keys.
        status, grpc_status = NO_STATUS, NO_STATUS
        bad_keys = 0
        fixed_types = word_at(types, span * n_span_keys)
        status_types = fixed_types & _STATUS_TYPES
        if _ZERO < status_types < _OTHER:
            # Most have the first key alone.
            status = value_status[ids_span[row, 0]]
            if status == NO_STATUS:
                bad_keys = 1
            status_types = _ZERO
        key = 0
        while status_types != _ZERO:
            status_type = status_types & _LOW_BYTE
            if status_type != _ZERO:
                found = NO_STATUS
                if status_type != _OTHER:
                    found = value_status[ids_span[row, key]]
                if found == NO_STATUS:
                    bad_keys |= 1 << key
                elif found < GRPC_STATUS_INDEX:
                    if status == NO_STATUS:
                        status = found
                elif grpc_status == NO_STATUS:
                    grpc_status = found
            status_types >>= _BYTE_BITS
            key += 1
        if grpc_status != NO_STATUS and status < HTTP_DECIDES_FROM:
            status = grpc_status
        if status == NO_STATUS:
            status = NEITHER_STATUS_INDEX
            error_type = fixed_types >> _ERROR_TYPE_SHIFT & _LOW_BYTE
            if span_status_code[span] == SPAN_STATUS_ERROR or error_type not in (_ZERO, _OTHER):
                status = ERROR_STATUS_INDEX

        # Clause 19. Samplers know few thresholds: mostly it is that of the span before.
        sampling = threshold[span]
        sampling_bits = _NO_BIT
        if sampling > 0:
            sampling_bits = _THRESHOLDED
            if sampling > 1:
                sampling_bits = _SAMPLED
                if sampling != last_sampling:
                    last_sampling = sampling
                    excess = excess_of(sampling - 1)

        for grouping in range(n_groupings):
            groups_now[grouping] = groups_of_resource[grouping]
        n_found_before = n_found
        all_bits = 0
        while entry < last_entry:
            agreement = entry_agreement[entry]
            grouping = grouping_of[agreement]
            group = groups_now[grouping]
            if group == 0:
                # The new group's texts are put where it will stay, and compared from there.
                new_group = n_groups + 1
                if new_group > n_groups_max or n_cells + n_cells_of[grouping] > n_cells_max:
                    reason = tables.GROUPS_FULL
                    break
                n_keys = n_keys_of[grouping]
                is_of_resource = True
                hashed = (np.uint64(grouping) * _FACTOR) ^ hash_start
                for key in range(n_keys):
                    value = ids_resource[resource_row, resource_key[grouping, key]]
                    if value == 0:
                        is_of_resource = False
                        value = ids_span[row, span_key[grouping, key]]
                    group_texts[new_group, key] = value_text[value]
                    hashed ^= np.uint64(value_text[value])
                    hashed = (hashed & _LOW_HALF) * _FACTOR + (hashed >> _HALF_BITS)
                hashed = (hashed & _LOW_HALF) * _FACTOR + (hashed >> _HALF_BITS)
                slot = (hashed ^ (hashed >> _HALF_BITS)) & hash_mask & group_slot_mask
                while slot_group[slot] != 0:
                    group = slot_group[slot]
                    is_same = group_grouping[group] == grouping
                    for key in range(n_keys):
                        is_same = is_same and group_texts[group, key] == group_texts[new_group, key]
                    if is_same:
                        break
                    slot = (slot + _ONE) & group_slot_mask
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
                if is_of_resource:
                    groups_of_resource[grouping] = group
            series = group_series[group_cell[group] + cell_of[agreement]]
            if series == UNKNOWN_SERIES:
                n_unknown += 1
                found_agreement[n_found] = agreement
                found_group[n_found] = group
            found_series[n_found] = series
            found_minute[n_found] = np.int64(minute)
            bits = outcomes[entry_row[entry], status] | sampling_bits
            all_bits |= bits
            found_bits[n_found] = bits
            n_found += 1
            entry += 1
        if reason == tables.GROUPS_FULL:
            n_found = n_found_before
            came_to = span
            break
        if is_late:
            n_late += 1

        # What goes into Notes, which is nothing of most spans.
        if entry_span_bit == 0 and bad_keys | sampling | (all_bits >> 2) == 0:
            continue
        is_parent_unknown = entry_span_bit != 0 and has_parent[span] and (flags[span] & _HAS_IS_REMOTE) == 0
        if sampling > 1:
            for place in range(n_found_before, n_found):
                found_excess[place] = excess
            noted[tables.SAMPLED_SPANS] += 1
            is_noted = 1
        elif sampling < 0:
            noted[tables.BAD_THRESHOLD_SPANS] += 1
            is_noted = 1
        if bad_keys != 0:
            is_noted = 1
            for key in range(STATUS_KEY_COUNT):
                if bad_keys >> key & 1:
                    noted[tables.BAD_STATUS_SPANS + key] += 1
                    noted[tables.BAD_STATUS_SPAN + key] = span + 1
        if is_parent_unknown or (all_bits & SPARED_BIT) != 0:
            is_noted = 1
            is_entry = False
            for place in range(n_found_before, n_found):
                agreement = entry_agreement[last_entry - n_found + place]
                is_entry = is_entry or entry_spans_only[agreement] != 0
                if found_bits[place] & SPARED_BIT:
                    noted[tables.SPARED_REQUESTS] += 1
                    noted[tables.SPARED_SPAN + agreement] = span + 1
            if is_parent_unknown and is_entry:
                noted[tables.UNKNOWN_PARENT_SPANS] += 1
    group_size[0] = n_groups
    group_size[1] = n_cells
    progress[tables.LATE] = n_late
    progress[tables.FUTURE] = n_future
    progress[tables.MALFORMED] = n_malformed
    progress[tables.COUNTED] = n_found
    progress[tables.UNKNOWN] = n_unknown
    progress[tables.REASON] = reason
    progress[tables.IS_NOTED] = is_noted
    return came_to
