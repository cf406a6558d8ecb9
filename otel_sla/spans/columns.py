"""The columns that a request is decoded into.

Dimensions:
    n_bytes: bytes of the request.
    n_resources: ResourceSpans messages of the request, in the order of the wire.
    n_spans: spans of the request, of every kind, in the order of the wire.
    n_span_keys, n_resource_keys: watched attribute keys.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
Int8Array = NDArray[np.int8]
Int16Array = NDArray[np.int16]
Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]
UInt8Array = NDArray[np.uint8]
UInt32Array = NDArray[np.uint32]
UInt64Array = NDArray[np.uint64]

SPAN_KIND_SERVER = 2
SPAN_STATUS_ERROR = 2


class ValueType(IntEnum):
    """What an attribute cell holds; the bits beside it are read accordingly."""

    ABSENT = 0  # No such attribute, or an array, a map, bytes or an unset value (SLA.md, clause 3).
    STRING = 1  # bits = offset << 32 | size: the value's bytes in `SpanColumns.body`, not checked as UTF-8.
    BOOL = 2  # bits = 0 or 1.
    INT = 3  # bits = the two's complement of the int64.
    DOUBLE = 4  # bits = the IEEE 754 binary64.


@dataclass(frozen=True, slots=True)
class WatchList:
    """The attribute keys that are read from spans and from resources; all others are only skipped.

    Keys are distinct within each tuple. A key may stand in both.
    """

    span_keys: tuple[bytes, ...]
    resource_keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SpanColumns:
    """One decoded request. Owned by the caller; string cells point into `body`, which is not copied."""

    body: UInt8Array  # uint8[n_bytes]. Read-only view of the request.

    resource_start: Int64Array  # int64[n_resources], bytes. First byte of the ResourceSpans message in body.
    resource_stop: Int64Array  # int64[n_resources], bytes. One past its last byte.
    resource_value_type: UInt8Array  # uint8[n_resources, n_resource_keys]. A ValueType.
    resource_value_bits: UInt64Array  # uint64[n_resources, n_resource_keys]. See ValueType.

    resource_index: Int32Array  # int32[n_spans]. The ResourceSpans that holds the span; ascending.
    kind: Int32Array  # int32[n_spans]. Span.SpanKind as sent; unknown numbers are kept.
    end_time_unix_nano: UInt64Array  # uint64[n_spans], ns since the Unix epoch; 0 if unset.
    flags: UInt32Array  # uint32[n_spans]. Bits 8 and 9: has-is-remote, is-remote.
    has_parent: BoolArray  # bool[n_spans]. parent_span_id holds a byte that is not 0.
    span_status_code: Int32Array  # int32[n_spans]. Status.StatusCode as sent; 2 is ERROR.
    value_type: UInt8Array  # uint8[n_spans, n_span_keys]. A ValueType.
    value_bits: UInt64Array  # uint64[n_spans, n_span_keys]. See ValueType.

    @property
    def n_spans(self) -> int:
        """Spans of the request, of every kind."""
        return len(self.kind)

    @property
    def n_resources(self) -> int:
        """ResourceSpans messages of the request."""
        return len(self.resource_start)
