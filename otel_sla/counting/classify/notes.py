"""Requests that count, but perhaps not as meant (clauses 1, 4 and 19): what senders or the operator should know."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from otel_sla.arrays import Int64Array
from otel_sla.counting.classify import kernel_tables as tables
from otel_sla.counting.classify.outcome import STATUS_KEY_COUNT
from otel_sla.counting.classify.value_table import scalar_text
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
    """Put into words what the matching kernel `noted` of the spans in `columns`, whose watched keys are `span_keys`."""
    counts = noted.tolist()
    notes = Notes(
        unusable_threshold_spans=counts[tables.BAD_THRESHOLD_SPANS],
        unknown_parent_spans=counts[tables.UNKNOWN_PARENT_SPANS],
        sampled_spans=counts[tables.SAMPLED_SPANS],
        spared_requests=counts[tables.SPARED_REQUESTS],
    )
    for key in range(STATUS_KEY_COUNT):
        if counts[tables.BAD_STATUS_SPANS + key]:
            notes.unusable_status_spans[span_keys[key]] = counts[tables.BAD_STATUS_SPANS + key]
            notes.unusable_status[span_keys[key]] = _shown(columns, counts[tables.BAD_STATUS_SPAN + key] - 1, key)
    for agreement, span in zip(agreements, counts[tables.SPARED_SPAN :], strict=True):
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
        case ValueType.STRING:
            return repr(shown_text(columns, int(bits)))
        case value_type:
            return scalar_text(value_type, bits)


def shown_text(columns: SpanColumns, bits: int) -> str:
    """Show to people the start of a string that a cell holds; `bits` as in `ValueType`."""
    offset, size = divmod(bits, 1 << 32)
    text = columns.body[offset : offset + min(size, _SHOWN_SIZE_BYTES_MAX)].tobytes()
    return text.decode("utf-8", errors="backslashreplace")
