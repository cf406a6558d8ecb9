"""The kernel that looks how many rows a request will need, before `scan` fills them.

Dimensions:
    n_bytes: bytes of the request.
"""

import numpy as np

from otel_sla.jit import kernel
from otel_sla.spans.skipping import skip_field
from otel_sla.spans.wire import read_length, read_tag

# Depths of the messages on the way to a span, typed (`wire`).
_REQUEST, _RESOURCE_SPANS, _SCOPE_SPANS = map(np.int64, range(3))


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
        counts: int64[2], written. ResourceSpans, and spans or a guess of them.
    """
    counts[0] = 0
    counts[1] = 0
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
