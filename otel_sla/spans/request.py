"""One request's bytes to columns, and what can be said of them before."""

import struct
import sys
from functools import lru_cache

import numpy as np

from otel_sla.arrays import UInt8Array
from otel_sla.errors import DecodeError, RequestTooLarge
from otel_sla.jit import Buffer, buffer_of
from otel_sla.spans.attributes import slot_of, tail_of
from otel_sla.spans.columns import SpanColumns, WatchList
from otel_sla.spans.scan import FULL, count_kernel, scan_kernel
from otel_sla.spans.wire import REASONS

COLUMNS_SIZE_BYTES_MAX = 80 * 1024 * 1024  # Two and a half times what the fullest request of real spans needs.

_RESOURCE_ROW_SIZE = 16  # Bytes of a resource's row without its cells: start and stop.
_SPAN_ROW_SIZE = 4 + 4 + 8 + 4 + 1 + 4 + 8  # Bytes of a span's row without its cells.
_CELL_SIZE = 1 + 8
# Spans at the start of each ScopeSpans from whose sizes it is guessed how many it has. To go from each span to the
# next to count them took 10 us of the 81 us of 512 spans, and to fetch the cache lines for that beforehand 5 us.
_SAMPLED_SPANS = 16


@lru_cache(maxsize=64)
def key_table(keys: tuple[bytes, ...]) -> UInt8Array:
    """Write the table that `attributes._find_key` finds watched keys in; the index of each is its column."""
    assert len(set(keys)) == len(keys), "watched keys are distinct"
    n_slots = 1 << (4 * len(keys)).bit_length()
    slots = [(0, 0, 0)] * n_slots
    texts = bytearray()
    start = 8 + 24 * n_slots
    for column, key in enumerate(keys):
        slot = slot_of(key, n_slots)
        while slots[slot][1]:
            slot = (slot + 1) % n_slots
        slots[slot] = tail_of(key), len(key) << 32 | (column + 1), start + len(texts)
        texts += key
    numbers = [n_slots - 1, *(number for slot in slots for number in slot)]
    return np.frombuffer(struct.pack(f"<{len(numbers)}Q", *numbers) + bytes(texts), dtype=np.uint8)


def decode_request(
    body: bytes | memoryview,
    watch: WatchList,
    *,
    columns_size_bytes_max: int = COLUMNS_SIZE_BYTES_MAX,
    resources_max: int = sys.maxsize,
) -> SpanColumns:
    """Decode one `ExportTraceServiceRequest`.

    Accepts what upb accepts, and text that is not UTF-8 besides. The columns point into `body`, which is not copied
    and must not change while they live.

    Args:
        body: The request, decompressed.
        watch: The attributes that are read.
        columns_size_bytes_max: Bytes. Bound of the columns: a request of empty spans is small, its columns are not.
        resources_max: Bound of its ResourceSpans.

    Raises:
        DecodeError: The bytes are no such message.
        RequestTooLarge: More than a bound allows.

    >>> columns = decode_request(b"", WatchList((), ()))
    >>> columns.n_spans, columns.n_resources
    (0, 0)
    """
    view = np.frombuffer(body, dtype=np.uint8)
    n_resources, n_spans_max, _ = _count(view, _SAMPLED_SPANS)
    if n_resources > resources_max:
        raise RequestTooLarge(f"a request of {n_resources} ResourceSpans, the limit is {resources_max}")
    n_keys = len(watch.resource_keys), len(watch.span_keys)
    row_size = _SPAN_ROW_SIZE + _CELL_SIZE * n_keys[1]
    size_bytes_left = columns_size_bytes_max - n_resources * (_RESOURCE_ROW_SIZE + _CELL_SIZE * n_keys[0])
    columns = SpanColumns(view, n_resources, max(0, min(n_spans_max, size_bytes_left // row_size)), n_keys)
    n_spans = _scan(columns, watch) if size_bytes_left >= 0 else int(FULL)
    if n_spans == FULL:
        _, n_spans_max, _ = _count(view, len(view))
        if n_spans_max * row_size > size_bytes_left:
            size = columns_size_bytes_max - size_bytes_left + n_spans_max * row_size
            raise RequestTooLarge(
                f"a request of {len(view)} bytes with {n_spans_max} spans needs {size} bytes to be counted,"
                f" more than {columns_size_bytes_max}"
            )
        columns = SpanColumns(view, n_resources, n_spans_max, n_keys)
        n_spans = _scan(columns, watch)
    if n_spans < 0:
        offset, reason = divmod(-n_spans - 1, 8)
        raise DecodeError(REASONS[reason], offset)
    columns.n_spans = n_spans
    return columns


def is_within(body: bytes | memoryview, resources_max: int, spans_max: int) -> bool:
    """Whether a request has no more messages than that, found before it is decoded: 20 ns a span.

    Whether the body is a request is for `decode_request` to say.
    """
    n_resources, n_spans, _ = _count(np.frombuffer(body, dtype=np.uint8), len(body))
    return n_resources <= resources_max and n_spans <= spans_max


def is_joinable(body: bytes | memoryview, resources_max: int) -> bool:
    """Whether others can follow the request: it has up to `resources_max` ResourceSpans, and its last field is whole.

    Protobuf messages of one type, one behind the other, are their merger; but one that is cut off would take what
    follows for its own. What is within a ScopeSpans is the decoder's to check.

    >>> is_joinable(bytes([0x0A, 2, 0x12, 0]), 10), is_joinable(bytes([0x0A, 3, 0x12, 0]), 10)
    (True, False)
    """
    n_resources, _, came_to = _count(np.frombuffer(body, dtype=np.uint8), 0)
    return 0 < n_resources <= resources_max and came_to == len(body)


def _count(view: UInt8Array, sampled_spans: int) -> list[int]:
    counts = np.empty(3, dtype=np.int64)
    count_kernel(buffer_of(view), len(view), sampled_spans, counts)
    return counts.tolist()


@lru_cache(maxsize=64)
def _key_buffers(watch: WatchList) -> tuple[Buffer, Buffer, UInt8Array, UInt8Array]:
    """Give the tables as kernels read them, and the tables, which have to live as long."""
    of_resource, of_span = key_table(watch.resource_keys), key_table(watch.span_keys)
    return buffer_of(of_resource), buffer_of(of_span), of_resource, of_span


def _scan(columns: SpanColumns, watch: WatchList) -> int:
    resource_buffer, span_buffer, *_ = _key_buffers(watch)
    body = columns.body
    return int(scan_kernel(buffer_of(body), len(body), resource_buffer, span_buffer, columns.arrays, columns.n_spans))
