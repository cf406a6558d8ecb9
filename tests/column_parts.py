"""Columns made by hand, for tests of what comes after decoding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sla_parts import make_agreement

from otel_sla.arrays import UInt8Array, UInt64Array
from otel_sla.counting.classify.classifier import Classifier, Requests
from otel_sla.sla.agreement import Agreement
from otel_sla.sla.counts import NANOS_PER_MINUTE, AcceptWindow
from otel_sla.sla.series import SeriesTable
from otel_sla.spans.columns import SpanColumns, ValueType, WatchList

Value = bytes | str | bool | int | float | list[int] | None  # A list stands for all that counts as absent.
Attributes = Mapping[str, Value]

MINUTE = 29_701_440
OPEN = AcceptWindow(sealed_before_minute=0, future_after_unix_nano=2**64 - 1)


@dataclass(frozen=True)
class SpanRow:
    """One span; a server's request that ended in MINUTE unless told otherwise."""

    attributes: Attributes = field(default_factory=dict)
    resource: int = 0
    kind: int = 2
    end_time_unix_nano: int = MINUTE * NANOS_PER_MINUTE + 1
    flags: int = 0
    has_parent: bool = False
    span_status_code: int = 0
    threshold: int = 0  # As in SpanColumns.


def make_columns(watch: WatchList, spans: Sequence[SpanRow], resources: Sequence[Attributes] = ({},)) -> SpanColumns:
    """Lay spans out as the decoder does."""
    text = bytearray()
    resource_type, resource_bits = _cells(resources, watch.resource_keys, text)
    value_type, value_bits = _cells([span.attributes for span in spans], watch.span_keys, text)
    return SpanColumns(
        body=np.frombuffer(bytes(text), dtype=np.uint8),
        resource_start=np.zeros(len(resources), dtype=np.int64),
        resource_stop=np.zeros(len(resources), dtype=np.int64),
        resource_value_type=resource_type,
        resource_value_bits=resource_bits,
        resource_index=np.array([span.resource for span in spans], dtype=np.int32),
        kind=np.array([span.kind for span in spans], dtype=np.int32),
        end_time_unix_nano=np.array([span.end_time_unix_nano for span in spans], dtype=np.uint64),
        flags=np.array([span.flags for span in spans], dtype=np.uint32),
        has_parent=np.array([span.has_parent for span in spans], dtype=np.bool_),
        span_status_code=np.array([span.span_status_code for span in spans], dtype=np.int32),
        threshold=np.array([span.threshold for span in spans], dtype=np.int64),
        value_type=value_type,
        value_bits=value_bits,
    )


def agreement_of(**changes: Any) -> Agreement:  # noqa: ANN401  any field
    """The contract's agreement over everything, with changes."""
    return replace(make_agreement(), **changes)


def classify_spans(
    agreements: Sequence[Agreement],
    spans: Sequence[SpanRow],
    resources: Sequence[Attributes] = ({},),
    *,
    window: AcceptWindow = OPEN,
    is_fresh: Sequence[bool] | None = None,
    **limits: int,
) -> tuple[Requests, SeriesTable]:
    """Classify spans once with a classifier of their own."""
    table = SeriesTable(agreements, series_max=limits.pop("series_max", 1000))
    classifier = Classifier(agreements, table, **limits)
    columns = make_columns(classifier.watch, spans, resources)
    fresh = np.ones(len(resources), dtype=np.bool_) if is_fresh is None else np.array(is_fresh, dtype=np.bool_)
    return classifier.classify(columns, window, fresh), table


def _cells(rows: Sequence[Attributes], keys: tuple[bytes, ...], text: bytearray) -> tuple[UInt8Array, UInt64Array]:
    value_type = np.zeros((len(rows), len(keys)), dtype=np.uint8)
    bits = np.zeros((len(rows), len(keys)), dtype=np.uint64)
    for row, attributes in enumerate(rows):
        for column, key in enumerate(keys):
            value_type[row, column], bits[row, column] = _cell(attributes.get(key.decode()), text)
    return value_type, bits


def _cell(value: Value, text: bytearray) -> tuple[ValueType, int]:
    if value is None:
        return ValueType.ABSENT, 0
    if isinstance(value, list):
        return ValueType.OTHER, 0
    if isinstance(value, bool):
        return ValueType.BOOL, int(value)
    if isinstance(value, int):
        return ValueType.INT, value & 0xFFFF_FFFF_FFFF_FFFF
    if isinstance(value, float):
        return ValueType.DOUBLE, int(np.float64(value).view(np.uint64))
    content = value.encode() if isinstance(value, str) else value
    text += content
    return ValueType.STRING, (len(text) - len(content)) << 32 | len(content)
