"""The columns that a request is decoded into.

Dimensions:
    n_bytes: bytes of the request.
    n_resources: ResourceSpans messages of the request, in the order of the wire.
    n_spans: spans of the request, of every kind, in the order of the wire.
    n_span_keys, n_resource_keys: watched attribute keys.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import NDArray

from otel_sla.arrays import BoolArray, Int32Array, Int64Array, UInt8Array, UInt32Array, UInt64Array
from otel_sla.jit import Arrays, ArrayTable
from otel_sla.spans.layout import COLUMNS, RESOURCES

if TYPE_CHECKING:
    from otel_sla.spans.block import Block


SPAN_KIND_SERVER = 2
SPAN_STATUS_ERROR = 2


class ValueType(IntEnum):
    """What an attribute cell holds; the bits beside it are read accordingly."""

    ABSENT = 0  # No such attribute.
    STRING = 1  # bits = offset << 32 | size: the value's bytes in `SpanColumns.body`, not checked as UTF-8.
    BOOL = 2  # bits = 0 or 1.
    INT = 3  # bits = the two's complement of the int64.
    DOUBLE = 4  # bits = the IEEE 754 binary64.
    OTHER = 5  # An array, a map, bytes or an unset value, which counts as absent (SLA.md, clause 3). bits say nothing.


@dataclass(frozen=True, slots=True)
class WatchList:
    """The attribute keys that are read from spans and from resources; all others are only skipped.

    Keys are distinct within each tuple. A key may stand in both.
    """

    span_keys: tuple[bytes, ...]
    resource_keys: tuple[bytes, ...]


class SpanColumns:
    """One decoded request. Owned by the caller; string cells point into `body`, which is not copied.

    The decoder's columns are made arrays when they are first asked for. Kernels take all of them as `arrays`, by
    `read_columns`, in this order.
    """

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
    # int64[n_spans]. Of a span of kind SERVER, the sampling threshold plus 1, in [1, 2^56]; 0 if its trace_state bears
    # none, and of other spans; -1 if that is unusable (clause 19).
    threshold: Int64Array
    value_type: UInt8Array  # uint8[n_spans, n_span_keys]. A ValueType.
    value_bits: UInt64Array  # uint64[n_spans, n_span_keys]. See ValueType.

    n_spans: int  # Spans of the request, of every kind.
    n_resources: int  # ResourceSpans messages of the request.
    arrays: Arrays
    _block: "Block"

    def __init__(self, **columns: NDArray[Any]) -> None:
        """Take each column by its name, in the order above."""
        assert tuple(columns) == tuple(COLUMNS), f"{tuple(columns)} are not the columns"
        self.__dict__.update(columns)
        self.n_spans, self.n_resources = len(columns["kind"]), len(columns["resource_start"])
        self._table = ArrayTable(columns.values())
        self.arrays = self._table.argument

    @classmethod
    def of_block(cls, block: "Block", n_spans: int) -> Self:
        """Take what the decoder has written."""
        columns = cls.__new__(cls)
        columns.__dict__.update(
            body=block.body, n_spans=n_spans, n_resources=block.n_resources, arrays=block.arrays, _block=block
        )
        return columns

    def __getattr__(self, name: str) -> NDArray[Any]:
        """Make the array of a column."""
        if name not in COLUMNS:
            raise AttributeError(name)
        n_rows = self.n_resources if COLUMNS[name].rows == RESOURCES else self.n_spans
        column: NDArray[Any] = self._block.column(name)[:n_rows]
        self.__dict__[name] = column
        return column

    @property
    def n_span_keys(self) -> int:
        """Watched attribute keys of spans."""
        return int(self._block.n_span_keys if "_block" in self.__dict__ else self.value_type.shape[1])
