"""Which requests may be decoded as one: protobuf messages of the same type, one behind the other, are their merger."""

_RESOURCE_SPANS = 0x0A  # Field 1 of ExportTraceServiceRequest, length-delimited.
_LENGTH_BITS_MAX = 28  # 256 MiB; no request is that large.


def is_joinable(body: bytes | memoryview, resources_max: int) -> bool:
    """Tell whether a request ends where its last ResourceSpans message ends, so that others can follow.

    One that is cut off would take what follows for its own. What is within a message is the decoder's to check.

    Args:
        body: The request.
        resources_max: More ResourceSpans than this are not looked at: 0.4 us each.

    >>> is_joinable(bytes([0x0A, 2, 0x12, 0]), 10), is_joinable(bytes([0x0A, 3, 0x12, 0]), 10)
    (True, False)
    """
    at, size = 0, len(body)
    for _ in range(resources_max):
        if at == size:
            return size > 0
        if body[at] != _RESOURCE_SPANS:
            return False
        at += 1
        length = shift = 0
        more = True
        while more:
            if at == size or shift > _LENGTH_BITS_MAX:
                return False
            byte = body[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            more = byte >= 0x80
        at += length
        if at > size:
            return False
    return at == size
