"""Of a span's `tracestate`: the sampling threshold that its sampler left there (clause 19).

W3C's header is a list of members, `key=value`, between commas and blanks; OpenTelemetry's member is `ot`, whose value
is a list of fields, `key:value`, between semicolons. In `ot=th:c;rv:1234, other=1` the threshold is c0000000000000.
"""

import numpy as np

from otel_sla.jit import byte_at, inner_kernel

NO_THRESHOLD, BAD_THRESHOLD = np.int64(0), np.int64(-1)  # Others are the threshold plus 1.
_DIGITS = 14
_TAB, _SPACE, _COMMA, _COLON, _SEMICOLON, _EQUALS = map(np.int64, b"\t ,:;=")
_O, _T, _H, _ZERO, _NINE, _A, _F, _LOWER = map(np.int64, b"oth09af ")


@inner_kernel
def _is_blank(byte):
    return byte == _SPACE or byte == _TAB


@inner_kernel
def _find(body, position, end, sign):
    """Give the position of the next such byte, or the end."""
    while position < end and byte_at(body, position) != sign:
        position += 1
    return position


@inner_kernel
def _read_digits(body, position, end):
    """Read 1 to 14 hex digits, the first the highest; those missing are zeros."""
    if position == end or end - position > _DIGITS:
        return BAD_THRESHOLD
    threshold = np.int64(0)
    for index in range(_DIGITS):
        digit = np.int64(0)
        if position + index < end:
            byte = np.int64(byte_at(body, position + index))
            letter = byte | _LOWER
            if _ZERO <= byte <= _NINE:
                digit = byte - _ZERO
            elif _A <= letter <= _F:
                digit = letter - _A + 10
            else:
                return BAD_THRESHOLD
        threshold = threshold << 4 | digit
    return threshold + 1


@inner_kernel
def _begins_with(body, position, end, first, second, third):
    return (
        end - position >= 3
        and byte_at(body, position) == first
        and byte_at(body, position + 1) == second
        and byte_at(body, position + 2) == third
    )


@inner_kernel
def read_threshold(body, position, end):
    """Give the threshold of a `tracestate` plus 1, NO_THRESHOLD, or BAD_THRESHOLD if it is not 1 to 14 hex digits.

    Of several `ot` members or `th` fields, which nobody should write, the first counts.
    """
    while position < end:
        stop = _find(body, position, end, _COMMA)
        while position < stop and _is_blank(byte_at(body, position)):
            position += 1
        if _begins_with(body, position, stop, _O, _T, _EQUALS):
            while stop > position and _is_blank(byte_at(body, stop - 1)):
                stop -= 1
            return _read_field(body, position + 3, stop)
        position = stop + 1
    return NO_THRESHOLD


@inner_kernel
def _read_field(body, position, end):
    while position < end:
        stop = _find(body, position, end, _SEMICOLON)
        if _begins_with(body, position, stop, _T, _H, _COLON):
            return _read_digits(body, position + 3, stop)
        position = stop + 1
    return NO_THRESHOLD
