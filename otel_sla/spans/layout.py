"""The table of columns: how each is stored, in the order in which kernels take them."""

from typing import NamedTuple

from otel_sla.jit import array_reader


class Column(NamedTuple):
    """How a column is stored."""

    dtype: str
    rows: str  # What has a row: a byte, a ResourceSpans or a span.
    keys: str = ""  # Whose watched keys have a cell in each row.


BYTES, RESOURCES, SPANS = "bytes", "resources", "spans"
COLUMNS = {
    "body": Column("uint8", BYTES),
    "resource_start": Column("int64", RESOURCES),
    "resource_stop": Column("int64", RESOURCES),
    "resource_value_type": Column("uint8", RESOURCES, RESOURCES),
    "resource_value_bits": Column("uint64", RESOURCES, RESOURCES),
    "resource_index": Column("int32", SPANS),
    "kind": Column("int32", SPANS),
    "end_time_unix_nano": Column("uint64", SPANS),
    "flags": Column("uint32", SPANS),
    "has_parent": Column("bool", SPANS),
    "span_status_code": Column("int32", SPANS),
    "threshold": Column("int64", SPANS),
    "value_type": Column("uint8", SPANS, SPANS),
    "value_bits": Column("uint64", SPANS, SPANS),
}


read_columns = array_reader(*(column.dtype + ("[,]" if column.keys else "[]") for column in COLUMNS.values()))
