"""What the matching kernel looks things up in, what it finds, and what it says of how far it came."""

from typing import NamedTuple

from otel_sla.arrays import Int16Array, Int32Array, Int64Array, UInt8Array, UInt64Array
from otel_sla.counting.classify.outcome import STATUS_KEY_COUNT
from otel_sla.jit import array_reader

# Places in Found.progress.
LATE, FUTURE, MALFORMED, COUNTED, UNKNOWN, REASON, SLOT, IS_NOTED = range(8)
PROGRESS_SIZE = 8

# Places in Found.noted. Spans are those that were counted; one that stands for others is its index plus 1.
UNKNOWN_PARENT_SPANS, SAMPLED_SPANS, BAD_THRESHOLD_SPANS, SPARED_REQUESTS = range(4)
# By status key: spans on which its value cannot be read, and one of them.
BAD_STATUS_SPANS, BAD_STATUS_SPAN = 4, 4 + STATUS_KEY_COUNT
# By agreement: one of the spans whose request its code spared.
SPARED_SPAN = 4 + 2 * STATUS_KEY_COUNT

# Why a kernel stopped.
ALL_DONE, CLASS_UNKNOWN, GROUPS_FULL, FOUND_FULL = range(4)


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
    entry_spans_only: UInt8Array  # uint8[n_agreements]. Whether the agreement asks for it.


class Found(NamedTuple):
    """Requests found in a chunk, and how far it came. n_found_max is at least the number of agreements."""

    series_id: Int64Array  # int64[n_found_max]. UNKNOWN_SERIES where the agreement has not met the group yet.
    epoch_minute: Int64Array  # int64[n_found_max].
    outcome_bits: UInt8Array  # uint8[n_found_max]. See counts.
    excess: Int64Array  # int64[n_found_max]. See counts.Count; written where the request has SAMPLED_BIT.
    agreement: Int32Array  # int32[n_found_max]. Written where the series is unknown.
    group: Int32Array  # int32[n_found_max]. Written where the series is unknown.
    progress: Int64Array  # int64[PROGRESS_SIZE]. Counts and why it stopped.
    noted: Int64Array  # int64[SPARED_SPAN + n_agreements]. What goes into Notes; added to, and read where IS_NOTED.
    words: UInt64Array  # uint64[3, n_words]. Masks of the resource, the span, and the span before it.
    groups_now: Int32Array  # int32[n_groupings]. The span's group in each grouping; 0 if not looked up yet.
    groups_of_resource: Int32Array  # int32[n_groupings]. The same where the resource has all the values.


# The fields of these tuples, in this order.
read_tables = array_reader(
    *("int32[]", "int32[,]", "int32[,]"),  # ChunkIds.
    *("uint64[,]", "int16[]", "int32[]"),  # ValueMeanings.
    *("int32[]", "int32[]", "uint8[,]", "uint64[]", "uint8[]"),  # Rules.
    *("int32[]", "uint64[,]", "int32[]", "int32[]", "int32[]", "int32[]"),  # ClassArrays.
    *("int32[]", "int32[]", "int32[]", "int32[]", "int32[,]", "int32[,]"),  # GroupArrays,
    *("int32[]", "int32[]", "int32[,]", "int64[]", "int64[]", "int64[]"),  # and the rest of it.
    *("int64[]", "int64[]", "uint8[]", "int64[]", "int32[]", "int32[]"),  # Found,
    *("int64[]", "int64[]", "uint64[,]", "int32[]", "int32[]"),  # and the rest of it.
)
