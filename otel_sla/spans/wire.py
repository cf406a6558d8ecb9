"""Protobuf's wire format: tags, varints, lengths and fixed numbers, as kernels read them.

The kernels accept what upb, the reference parser, accepts, except that they do not look at UTF-8, nor at values nested
deeper than 100 messages: the Collector passes both on, and a whole request lost for one span's attribute would be
worse. Where protobuf is awkward the rules are upb's: unknown fields and fields of another wire type are skipped, a
repeated singular message merges, the last member of a oneof wins, a group is skipped up to its own end tag, and groups
end at 100 messages and groups.

A function that reads gives the position behind what it read, or a negative number that says what is wrong and where
(`fail`). Every read is bounded by the end of the message that it is in, so none leaves the buffer.
"""

import numpy as np

from otel_sla.jit import byte_at, hot_kernel, inner_kernel

DEPTH_MAX = 100  # Messages and groups below the request, as in upb.
REASONS = (
    "a value is cut off",
    "a varint of more than 64 bits",
    "a tag that is none",
    "a length past the end of its message",
    "an end of a group that did not start",
    "nesting deeper than 100",
)
# Typed, as are all numbers that are handed to kernels: numba compiles a function anew for each
# literal that it is called with.
CUT_OFF, LONG_VARINT, BAD_TAG, LONG_LENGTH, BAD_GROUP, TOO_DEEP = map(np.int64, range(6))


@hot_kernel
def fail(reason, position):
    """Write a reason and where it was found as a negative number; `request` reads it."""
    return -(position * 8 + reason) - 1


@inner_kernel
def read_varint(body, position, end):
    """Read a varint of at most ten bytes; what the tenth holds past 64 bits is dropped, as in upb."""
    value = np.uint64(0)
    shift = np.uint64(0)
    start = position
    while True:
        if position >= end:
            position = fail(CUT_OFF, start)
            break
        byte = np.uint64(byte_at(body, position))
        position += 1
        value |= (byte & np.uint64(0x7F)) << shift
        if byte < np.uint64(0x80):
            break
        shift += np.uint64(7)
        if shift > np.uint64(63):
            position = fail(LONG_VARINT, start)
            break
    return value, position


@inner_kernel
def _read_long(body, position, end, reason_if_longer):
    """Read a tag or a length of at most five bytes; `reason_if_longer` says what is wrong."""
    start = position
    value = np.int64(0)
    shift = 0
    while True:
        if position >= end:
            position = fail(CUT_OFF, start)
            break
        byte = np.int64(byte_at(body, position))
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 28:
            position = fail(reason_if_longer, start)
            break
    return value, position


@hot_kernel
def read_tag(body, position, end):
    """Read a tag; `position` is before `end`. Field number 0 is left to who skips the field."""
    start = position
    tag = np.int64(byte_at(body, position))
    if tag < 0x80:
        position += 1
    else:
        tag, position = _read_long(body, position, end, BAD_TAG)
        if position >= 0 and tag > 0xFFFFFFFF:
            position = fail(BAD_TAG, start)
    return tag, position


@hot_kernel
def read_length(body, position, end):
    """Read a length; the position is where its bytes begin, all of them before `end`."""
    start = position
    length = np.int64(0x80)
    if position < end:
        length = np.int64(byte_at(body, position))
    if length < 0x80:
        position += 1
    else:
        length, position = _read_long(body, position, end, LONG_LENGTH)
    if position >= 0 and length > end - position:
        position = fail(LONG_LENGTH, start)
    return length, position


@inner_kernel
def read_fixed(body, position, n_bytes):
    """Read a little-endian number whose bytes are there."""
    value = np.uint64(0)
    for index in range(n_bytes):
        value |= np.uint64(byte_at(body, position + index)) << np.uint64(8 * index)
    return value
