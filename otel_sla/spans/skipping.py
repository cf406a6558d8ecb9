"""Fields and whole messages that nobody asks for: checked as upb checks them, and skipped."""

import numpy as np

from otel_sla.jit import inner_kernel
from otel_sla.spans.wire import (
    BAD_GROUP,
    BAD_TAG,
    CUT_OFF,
    DEPTH_MAX,
    TOO_DEEP,
    fail,
    read_length,
    read_tag,
    read_varint,
)

_VARINT, _FIXED64, _BYTES, _GROUP, _GROUP_END, _FIXED32 = range(6)

# Messages that are only checked. opentelemetry/proto/{common/v1/common,resource/v1/resource,trace/v1/trace}.proto:
#   AnyValue { ArrayValue array_value = 5; KeyValueList kvlist_value = 6; }
#   ArrayValue { repeated AnyValue values = 1; }
#   KeyValueList { repeated KeyValue values = 1; }
#   KeyValue { AnyValue value = 2; }
#   InstrumentationScope { repeated KeyValue attributes = 3; }
#   Event { repeated KeyValue attributes = 3; }
#   Link { repeated KeyValue attributes = 4; }
_ANY, ARRAY, MAP, _PAIR, SCOPE, EVENT, LINK, LEAF = map(np.int64, range(8))
_CHILDREN_FIELDS_MAX = 8
_CHILDREN = np.full((8, _CHILDREN_FIELDS_MAX), -1, dtype=np.int8)
_CHILDREN[_ANY, 5], _CHILDREN[_ANY, 6] = ARRAY, MAP
_CHILDREN[ARRAY, 1] = _ANY
_CHILDREN[MAP, 1] = _PAIR
_CHILDREN[_PAIR, 2] = _ANY
_CHILDREN[SCOPE, 3] = _CHILDREN[EVENT, 3] = _CHILDREN[LINK, 4] = _PAIR


@inner_kernel
def _skip_message(body, position, end, message, depth):
    """Check a message whose fields nobody asks for, or the inside of a group, where upb takes field number 0 too.

    `message` is which one, or -1 minus the field number of a group that has just been opened; `depth` counts the
    messages and groups around the content, itself included.
    """
    if depth > DEPTH_MAX:
        return fail(TOO_DEEP, position)
    ends = np.empty(DEPTH_MAX + 1, dtype=np.int64)
    messages = np.empty(DEPTH_MAX + 1, dtype=np.int64)
    outermost = depth
    ends[depth] = end
    messages[depth] = message
    while True:
        end = ends[depth]
        message = messages[depth]
        if position == end:
            if message < 0:
                return fail(CUT_OFF, position)
            if depth == outermost:
                return position
            depth -= 1
            continue
        start = position
        tag, position = read_tag(body, position, end)
        if position < 0:
            return position
        wire_type = tag & 7
        field = tag >> 3
        if field == 0 and message >= 0:
            return fail(BAD_TAG, start)
        if wire_type == _VARINT:
            _, position = read_varint(body, position, end)
        elif wire_type == _BYTES:
            length, position = read_length(body, position, end)
            if position >= 0:
                child = -1
                if message >= 0 and field < _CHILDREN_FIELDS_MAX:
                    child = _CHILDREN[message, field]
                if child < 0 or depth == DEPTH_MAX:  # Deeper, nothing is counted by and nothing is looked at.
                    position += length
                else:
                    depth += 1
                    ends[depth] = position + length
                    messages[depth] = child
        elif wire_type == _FIXED64:
            position = position + 8 if end - position >= 8 else fail(CUT_OFF, start)
        elif wire_type == _FIXED32:
            position = position + 4 if end - position >= 4 else fail(CUT_OFF, start)
        elif wire_type == _GROUP:
            if depth == DEPTH_MAX:
                return fail(TOO_DEEP, start)
            depth += 1
            ends[depth] = end
            messages[depth] = -field - 1
        elif wire_type == _GROUP_END:
            if message != -field - 1:
                return fail(BAD_GROUP, start)
            if depth == outermost:
                return position
            depth -= 1
        else:
            return fail(BAD_TAG, start)
        if position < 0:
            return position


@inner_kernel
def skip_field(body, position, end, tag, depth):
    """Skip a field whose tag was read; `depth` is that of the message that it is in."""
    wire_type = tag & 7
    if tag < 8:
        position = fail(BAD_TAG, position)
    elif wire_type == _VARINT:
        _, position = read_varint(body, position, end)
    elif wire_type == _BYTES:
        length, position = read_length(body, position, end)
        if position >= 0:
            position += length
    elif wire_type == _FIXED64:
        position = position + 8 if end - position >= 8 else fail(CUT_OFF, position)
    elif wire_type == _FIXED32:
        position = position + 4 if end - position >= 4 else fail(CUT_OFF, position)
    elif wire_type == _GROUP:
        position = _skip_message(body, position, end, -(tag >> 3) - 1, depth + 1)
    elif wire_type == _GROUP_END:
        position = fail(BAD_GROUP, position)
    else:
        position = fail(BAD_TAG, position)
    return position


@inner_kernel
def skip_child(body, position, end, message, depth):
    """Check a message field whose tag was read; `depth` is the child's own."""
    length, position = read_length(body, position, end)
    if position >= 0:
        position = _skip_message(body, position, position + length, message, depth)
    return position
