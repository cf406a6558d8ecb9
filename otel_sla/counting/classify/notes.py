"""Requests that count, but perhaps not as meant (clauses 1, 4 and 19): what senders or the operator should know."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from otel_sla.arrays import Int64Array
from otel_sla.counting.classify.kernel_tables import (
    BAD_STATUS_SPAN,
    BAD_STATUS_SPANS,
    BAD_THRESHOLD_SPANS,
    SAMPLED_SPANS,
    SPARED_REQUESTS,
    SPARED_SPAN,
    UNKNOWN_PARENT_SPANS,
)
from otel_sla.counting.classify.outcome import STATUS_KEY_COUNT
from otel_sla.sla.agreement import Agreement
from otel_sla.spans.columns import SpanColumns, ValueType

_SHOWN_SIZE_BYTES_MAX = 100
_VALUES_MAX = 10  # Of each agreement.


@dataclass(slots=True)
class Notes:
    """What was seen on the spans of some counted requests; adds up."""

    unusable_status_spans: Counter[str] = field(default_factory=Counter)  # By key: spans whose value cannot be read.
    unusable_status: dict[str, str] = field(default_factory=dict)  # By key: one such value.
    unusable_threshold_spans: int = 0
    unknown_parent_spans: int = 0  # Whose parent may be local or remote, of agreements with entry_spans_only.
    sampled_spans: int = 0
    spared_requests: int = 0
    spared_codes: dict[str, set[str]] = field(default_factory=dict)  # By agreement: some values of its code attribute.

    def add(self, other: "Notes") -> None:
        """Take up what was seen on other spans."""
        self.unusable_status_spans.update(other.unusable_status_spans)
        self.unusable_status = {**other.unusable_status, **self.unusable_status}
        self.unusable_threshold_spans += other.unusable_threshold_spans
        self.unknown_parent_spans += other.unknown_parent_spans
        self.sampled_spans += other.sampled_spans
        self.spared_requests += other.spared_requests
        for agreement, values in other.spared_codes.items():
            known = self.spared_codes.setdefault(agreement, set())
            known.update(sorted(values - known)[: _VALUES_MAX - len(known)])


def notes_of(
    noted: Int64Array, columns: SpanColumns, agreements: Sequence[Agreement], span_keys: Sequence[str]
) -> Notes:
    """Put into words what the matching kernel noted.

    Args:
        noted: `kernel_tables.Found.noted`.
        columns: The spans that it speaks of.
        agreements: In their order.
        span_keys: Watched keys of spans, in the order of their columns.
    """
    counts = noted.tolist()
    notes = Notes(
        unusable_threshold_spans=counts[BAD_THRESHOLD_SPANS],
        unknown_parent_spans=counts[UNKNOWN_PARENT_SPANS],
        sampled_spans=counts[SAMPLED_SPANS],
        spared_requests=counts[SPARED_REQUESTS],
    )
    for key in range(STATUS_KEY_COUNT):
        if counts[BAD_STATUS_SPANS + key]:
            notes.unusable_status_spans[span_keys[key]] = counts[BAD_STATUS_SPANS + key]
            notes.unusable_status[span_keys[key]] = _shown(columns, counts[BAD_STATUS_SPAN + key] - 1, key)
    for agreement, span in zip(agreements, counts[SPARED_SPAN:], strict=True):
        if span:
            assert agreement.code is not None, "only a code spares"
            key = span_keys.index(agreement.code.attribute)
            notes.spared_codes[agreement.name] = {_shown(columns, span - 1, key)}
    return notes


def _shown(columns: SpanColumns, span: int, key: int) -> str:
    """Show a span's value to people."""
    bits = columns.value_bits[span, key]
    match ValueType(columns.value_type[span, key]):
        case ValueType.ABSENT:
            return "none"
        case ValueType.OTHER:
            return "an array, a map, bytes or nothing"
        case ValueType.BOOL:
            return "true" if bits else "false"
        case ValueType.INT:
            return str(bits.view(np.int64))
        case ValueType.DOUBLE:
            return repr(float(bits.view(np.float64)))
    return repr(shown_text(columns, int(bits)))


def shown_text(columns: SpanColumns, bits: int) -> str:
    """Show to people the start of a string that a cell holds; `bits` as in `ValueType`."""
    offset, size = divmod(bits, 1 << 32)
    text = columns.body[offset : offset + min(size, _SHOWN_SIZE_BYTES_MAX)].tobytes()
    return text.decode("utf-8", errors="backslashreplace")
