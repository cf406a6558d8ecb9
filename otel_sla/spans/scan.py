"""The kernels that walk a request: one looks how many rows it will need, the other fills the columns.

Dimensions:
    n_bytes: bytes of the request.
"""

import numpy as np

from otel_sla.jit import byte_at, hot_kernel, inner_kernel, kernel, word_at
from otel_sla.spans.attributes import read_attribute
from otel_sla.spans.columns import SPAN_KIND_SERVER, read_columns
from otel_sla.spans.skipping import EVENT, LEAF, LINK, SCOPE, skip_child, skip_field
from otel_sla.spans.trace_state import NO_THRESHOLD, read_threshold
from otel_sla.spans.wire import read_fixed, read_length, read_tag, read_varint

# Depths of the messages on the way to a span, typed (`wire`).
_REQUEST, _RESOURCE_SPANS, _SCOPE_SPANS, _SPAN, _IN_SPAN = map(np.int64, range(5))
_RESOURCE, _IN_RESOURCE = _SCOPE_SPANS, _SPAN

FULL = np.int64(-(2**62))  # More spans than there is room for.
_PLAIN_HEAD_SIZE_MAX = 18 + 10 + 10 + 129 + 11 + 9 + 8  # Bytes that `_read_plain_head` may look at.


@kernel
def count_kernel(body, end, sampled_spans, counts):
    """Count what the columns need room for; stops where the scan will find the error.

    message ExportTraceServiceRequest { repeated ResourceSpans resource_spans = 1; }
    message ResourceSpans { Resource resource = 1; repeated ScopeSpans scope_spans = 2; }
    message ScopeSpans { InstrumentationScope scope = 1; repeated Span spans = 2; }

    Args:
        body: The request (`jit.buffer_of`).
        end: n_bytes.
        sampled_spans: Spans of each ScopeSpans that are counted; if it has more, they are taken to be half as long
            on average, so that there mostly is room for all.
        counts: int64[3], written. ResourceSpans, spans or a guess of them, and where the walk came to.
    """
    counts[:2] = 0
    position = np.int64(0)
    while 0 <= position < end:
        tag, position = read_tag(body, position, end)
        if position < 0:
            break
        if tag != 0x0A:
            position = skip_field(body, position, end, tag, _REQUEST)
            continue
        length, position = read_length(body, position, end)
        if position < 0:
            break
        counts[0] += 1
        resource_end = position + length
        while 0 <= position < resource_end:
            tag, position = read_tag(body, position, resource_end)
            if position < 0:
                break
            if tag != 0x12:
                position = skip_field(body, position, resource_end, tag, _RESOURCE_SPANS)
                continue
            length, position = read_length(body, position, resource_end)
            if position < 0:
                break
            scope_end = position + length
            scope_start = position
            n_sampled = 0
            while 0 <= position < scope_end:
                tag, position = read_tag(body, position, scope_end)
                if position < 0:
                    break
                if tag == 0x12:
                    if n_sampled == sampled_spans:
                        counts[1] += 1 + 2 * n_sampled * (scope_end - position) // (position - scope_start)
                        position = scope_end
                        break
                    n_sampled += 1
                    counts[1] += 1
                position = skip_field(body, position, scope_end, tag, _SCOPE_SPANS)
    counts[2] = position


@inner_kernel
def _read_status_code(body, position, end, code):
    """message Status { string message = 2; StatusCode code = 3; }"""
    while position < end:
        tag, position = read_tag(body, position, end)
        if position < 0:
            break
        if tag == 0x18:
            value, position = read_varint(body, position, end)
            code = _to_int32(value)
        else:
            position = skip_field(body, position, end, tag, _IN_SPAN)
        if position < 0:
            break
    return code, position


@inner_kernel
def _to_int32(value):
    """An enum is cut to 32 bits."""
    return np.int32(np.int64(value & np.uint64(0xFFFFFFFF)))


@inner_kernel
def _has_other_than_zero(body, position, size):
    for index in range(position, position + size):
        if byte_at(body, index) != 0:
            return True
    return False


@hot_kernel
def _read_plain_head(body, size, position, end):
    """Read the first fields of a span as every SDK and the Collector write them; gives where it came to.

    0A 10 trace_id, 12 08 span_id, 22 08 parent_span_id, 2A <size> name, 30 kind 39 start_time_unix_nano,
    41 end_time_unix_nano. Each may be missing; what stands in another form or order is left to the loop over fields.
    108 instead of 128 ns a span to decode (benchmarks/bench_stages.py).
    """
    has_parent, kind, end_time_unix_nano = False, np.int32(0), np.uint64(0)
    at = position
    if size - position >= _PLAIN_HEAD_SIZE_MAX:
        if word_at(body, at) & np.uint64(0xFFFF) == np.uint64(0x100A):
            at += 18
        if word_at(body, at) & np.uint64(0xFFFF) == np.uint64(0x0812):
            at += 10
        if word_at(body, at) & np.uint64(0xFFFF) == np.uint64(0x0822):
            has_parent = word_at(body, at + 2) != np.uint64(0)
            at += 10
        if word_at(body, at) & np.uint64(0x80FF) == np.uint64(0x2A):
            at += 2 + np.int64(byte_at(body, at + 1))
        if word_at(body, at) & np.uint64(0xFF80FF) == np.uint64(0x390030):
            kind = np.int32(byte_at(body, at + 1))
            at += 11
        if byte_at(body, at) == 0x41:
            end_time_unix_nano = word_at(body, at + 1)
            at += 9
        if at > end:
            # What was read are not this span's fields.
            at = position
            has_parent, kind, end_time_unix_nano = False, np.int32(0), np.uint64(0)
    return at, has_parent, kind, end_time_unix_nano


@inner_kernel
def _scan_resource(body, size, position, end, table, types, bits, row):
    """Called once a resource: counting the references of its arrays costs nothing there.

    message Resource { repeated KeyValue attributes = 1; repeated EntityRef entity_refs = 3; }
    """
    while position < end:
        tag, position = read_tag(body, position, end)
        if position < 0:
            break
        if tag == 0x0A:
            column, value_type, value_bits, position = read_attribute(body, size, position, end, _IN_RESOURCE, table)
            if column >= 0:
                types[row, column] = value_type
                bits[row, column] = value_bits
        elif tag == 0x1A:
            position = skip_child(body, position, end, LEAF, _IN_RESOURCE)
        else:
            position = skip_field(body, position, end, tag, _RESOURCE)
        if position < 0:
            break
    return position


@kernel
def scan_kernel(body, end, resource_table, span_table, columns, n_spans_max):
    """Fill the columns (see `columns.SpanColumns`), whose value types are 0 and which have room for all resources.

    message Span { string trace_state = 3; bytes parent_span_id = 4; SpanKind kind = 6; fixed64 end_time_unix_nano = 8;
        repeated KeyValue attributes = 9; repeated Event events = 11; repeated Link links = 13; Status status = 15;
        fixed32 flags = 16; }

    One function of nested loops: handing the columns to another one would count their references for each span.

    Args:
        body: The request (`jit.buffer_of`).
        end: n_bytes.
        resource_table: Keys of the resource's columns (`attributes._find_key`).
        span_table: Keys of the span's.
        columns: `SpanColumns.arrays`, written.
        n_spans_max: Spans that there is room for.

    Returns:
        n_spans, FULL if there is no room for them, or another negative number that `request` reads.
    """
    resource_start, resource_stop, resource_types, resource_bits, resource_index = read_columns(columns)[1:6]
    kind, end_time_unix_nano, flags, has_parent, span_status_code, threshold, types, bits = read_columns(columns)[6:]
    position = np.int64(0)
    resource, row = -1, -1
    while position < end:
        tag, position = read_tag(body, position, end)
        if position < 0:
            return position
        if tag != 0x0A:
            position = skip_field(body, position, end, tag, _REQUEST)
            if position < 0:
                return position
            continue
        length, position = read_length(body, position, end)
        if position < 0:
            return position
        resource += 1
        resource_end = position + length
        resource_start[resource] = position
        resource_stop[resource] = resource_end
        while position < resource_end:
            tag, position = read_tag(body, position, resource_end)
            if position < 0:
                return position
            if tag == 0x0A:
                length, position = read_length(body, position, resource_end)
                if position >= 0:
                    position = _scan_resource(
                        body, end, position, position + length, resource_table, resource_types, resource_bits, resource
                    )
                if position < 0:
                    return position
                continue
            if tag != 0x12:
                position = skip_field(body, position, resource_end, tag, _RESOURCE_SPANS)
                if position < 0:
                    return position
                continue
            length, position = read_length(body, position, resource_end)
            if position < 0:
                return position
            scope_end = position + length
            while position < scope_end:
                tag, position = read_tag(body, position, scope_end)
                if position < 0:
                    return position
                if tag != 0x12:
                    if tag == 0x0A:
                        position = skip_child(body, position, scope_end, SCOPE, _SPAN)
                    else:
                        position = skip_field(body, position, scope_end, tag, _SCOPE_SPANS)
                    if position < 0:
                        return position
                    continue
                length, position = read_length(body, position, scope_end)
                if position < 0:
                    return position
                span_end = position + length
                row += 1
                if row == n_spans_max:
                    return FULL
                resource_index[row] = resource
                flags[row] = 0
                span_status_code[row] = 0
                threshold[row] = NO_THRESHOLD
                state_start, state_size = np.int64(0), np.int64(0)
                position, has_parent[row], kind[row], end_time_unix_nano[row] = _read_plain_head(
                    body, end, position, span_end
                )
                while position < span_end:
                    tag, position = read_tag(body, position, span_end)
                    if position < 0:
                        return position
                    if tag == 0x4A:
                        column, value_type, value_bits, position = read_attribute(
                            body, end, position, span_end, _IN_SPAN, span_table
                        )
                        if column >= 0:
                            types[row, column] = value_type
                            bits[row, column] = value_bits
                    elif tag == 0x1A:
                        state_size, position = read_length(body, position, span_end)
                        state_start = position
                        if position >= 0:
                            position += state_size
                    elif tag == 0x22:
                        length, position = read_length(body, position, span_end)
                        if position >= 0:
                            has_parent[row] = _has_other_than_zero(body, position, length)
                            position += length
                    elif tag == 0x30:
                        value, position = read_varint(body, position, span_end)
                        kind[row] = _to_int32(value)
                    elif tag == 0x41 and span_end - position >= 8:
                        end_time_unix_nano[row] = read_fixed(body, position, 8)
                        position += 8
                    elif tag == 0x85 and span_end - position >= 4:
                        flags[row] = np.uint32(read_fixed(body, position, 4))
                        position += 4
                    elif tag == 0x7A:
                        length, position = read_length(body, position, span_end)
                        if position >= 0:
                            code, position = _read_status_code(body, position, position + length, span_status_code[row])
                            span_status_code[row] = code
                    elif tag == 0x5A:
                        position = skip_child(body, position, span_end, EVENT, _IN_SPAN)
                    elif tag == 0x6A:
                        position = skip_child(body, position, span_end, LINK, _IN_SPAN)
                    else:
                        position = skip_field(body, position, span_end, tag, _SPAN)
                    if position < 0:
                        return position
                if state_size > 0 and kind[row] == SPAN_KIND_SERVER:
                    threshold[row] = read_threshold(body, state_start, state_start + state_size)
    return row + 1
