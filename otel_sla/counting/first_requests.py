"""What a person who has just added otel-sla has to know, logged once: that requests are counted, or why none is, and
which of them may not be counted as meant.
"""

import logging
from collections.abc import Sequence

import numpy as np

from otel_sla.arrays import BoolArray
from otel_sla.counting.classify.classifier import Requests
from otel_sla.counting.classify.notes import Notes, shown_text
from otel_sla.sla.agreement import Agreement
from otel_sla.sla.counts import Count, CountRows
from otel_sla.sla.figures_text import counted
from otel_sla.sla.series import GROUP_VALUE_SIZE_BYTES_MAX, SeriesTable
from otel_sla.spans.columns import SPAN_KIND_SERVER, SpanColumns, ValueType, WatchList

_log = logging.getLogger(__name__)

# From so many spans on of which none is a request; one body may be all of one service's client spans.
UNCOVERED_SPANS, UNCOVERED_BODIES = 1_000, 10
_NAMES_MAX = 10
_SERVICE_NAME = b"service.name"
_UNUSABLE_STATUS = (
    "%s is no status code on some spans, such as %s: it counts as absent, and these requests by what else they show"
)
_MESSAGES = {
    "unknown_parent": "entry_spans_only: some senders do not say whether a span's parent is remote (flags, bit 8):"
    " these spans are counted; where they are a request's second server span, it counts twice",
    "sampled_requests": "requests are sampled (tracestate ot=th): error rates are biased unless an agreement has"
    " counting: adjusted; each report shows their share",
    "unusable_threshold": "tracestate has an ot=th on some spans that is not 1 to 14 hex digits: it counts as absent",
    "series_overflow": "more series than processor.series_max, or a group's value of more than"
    f" {GROUP_VALUE_SIZE_BYTES_MAX} bytes: they are counted in one overflow series per agreement",
}


class FirstRequests:
    """Logs that the first request is counted, or that many spans came of which none is one."""

    def __init__(self, watch: WatchList, table: SeriesTable) -> None:
        self.are_awaited = True
        self._table = table
        self._uncovered = UncoveredSpans(watch)
        self._n_bodies = 0
        self._is_warned = False

    def check(self, columns: SpanColumns, requests: Requests, is_fresh: BoolArray) -> None:
        """Look at a body. What was counted before (not `is_fresh`) or is rejected says nothing."""
        if len(requests):
            self.are_awaited = False
            series = self._table[int(requests.series_id[0])]
            group = ", ".join(f"{key} {value!r}" for key, value in series.group_text.items())
            message = "the first requests are counted: agreement %s, %s"
            _log.info(message, series.agreement, group or "not grouped", extra={"action": "first_requests"})
        elif not (self._is_warned or requests.rejected_count):
            self._n_bodies += 1
            self._uncovered.add(columns, is_fresh)
            if self._uncovered.count >= UNCOVERED_SPANS and self._n_bodies >= UNCOVERED_BODIES:
                self._is_warned = True
                spans, reason = counted(self._uncovered.count, "span"), self._uncovered.reason()
                message = "%s came, and none is a request of an agreement: %s"
                _log.warning(message, spans, reason, extra={"action": "no_requests"})


class UncoveredSpans:
    """Spans of which none is a request of an agreement: how many, and of which services."""

    def __init__(self, watch: WatchList) -> None:
        keys = watch.resource_keys
        self._name_column = keys.index(_SERVICE_NAME) if _SERVICE_NAME in keys else None
        self.count = 0
        self._n_server_spans = 0
        self._names: set[str] = set()

    def add(self, columns: SpanColumns, is_fresh: BoolArray) -> None:
        """Look at a body's spans, those that were counted before left out."""
        of_span = is_fresh[columns.resource_index]
        is_server = of_span & (columns.kind == SPAN_KIND_SERVER)
        self.count += int(np.count_nonzero(of_span))
        self._n_server_spans += int(np.count_nonzero(is_server))
        if self._name_column is None:
            return
        resources = np.unique(columns.resource_index[is_server])
        has_name = columns.resource_value_type[resources, self._name_column] == ValueType.STRING
        for bits in columns.resource_value_bits[resources[has_name], self._name_column].tolist():
            if len(self._names) >= _NAMES_MAX:
                break
            self._names.add(shown_text(columns, bits))

    def reason(self) -> str:
        """Say why none of them is a request, as far as it can be seen."""
        if not self._n_server_spans:
            return "no server span is among them, and only these are requests"
        are = "1 is a server span" if self._n_server_spans == 1 else f"{self._n_server_spans:,} are server spans"
        seen = f", of service.name {', '.join(map(repr, sorted(self._names)))}" if self._names else ""
        return f"{are}{seen}; see covered_service and entry_spans_only"


class SpanHints:
    """Logs, once each, what counted spans show that whoever sends or configures them should know (clauses 1, 4, 19)."""

    def __init__(self, agreements: Sequence[Agreement], table: SeriesTable) -> None:
        self._table = table
        self._logged: set[str] = set()
        # Attribute of the code of each agreement that has failed no request.
        self._code_attributes = {each.name: each.code.attribute for each in agreements if each.code is not None}
        self._first_spared_minutes: dict[str, int] = {}  # By agreement.
        self._notes = Notes()  # Only the codes of spared requests are read.

    def add(self, requests: Requests) -> None:
        """Take up what was seen on the spans of requests."""
        self._log_once("series_overflow", requests.overflow_count)
        notes = requests.notes
        if notes is None:
            return
        for key, value in notes.unusable_status.items():
            if key not in self._logged:
                self._logged.add(key)
                _log.warning(_UNUSABLE_STATUS, key, value, extra={"action": "unusable_status"})
        self._log_once("unknown_parent", notes.unknown_parent_spans)
        self._log_once("sampled_requests", notes.sampled_spans)
        self._log_once("unusable_threshold", notes.unusable_threshold_spans)
        if notes.spared_codes:
            self._notes.add(notes)

    def add_rows(self, rows: CountRows) -> None:
        """Take up what was counted."""
        if not self._code_attributes:
            return
        for series_id in np.unique(rows.series_id[rows.counts[:, Count.FAILED] > 0]).tolist():
            self._code_attributes.pop(self._table[series_id].agreement, None)
        for row in np.flatnonzero(rows.counts[:, Count.SPARED]).tolist():
            name, minute = self._table[int(rows.series_id[row])].agreement, int(rows.epoch_minute[row])
            self._first_spared_minutes[name] = min(minute, self._first_spared_minutes.get(name, minute))

    def log_spared(self, judged_before: int) -> None:
        """Log which agreements' codes have spared requests and failed none, once a minute with such ones is judged."""
        for name in [name for name, minute in self._first_spared_minutes.items() if minute < judged_before]:
            del self._first_spared_minutes[name]
            if (attribute := self._code_attributes.pop(name, None)) is not None:
                _log.warning("%s", spared_text(name, attribute, self._notes), extra={"action": "spared_requests"})

    def _log_once(self, action: str, count: int) -> None:
        if count and action not in self._logged:
            self._logged.add(action)
            _log.warning(_MESSAGES[action], extra={"action": action})


def spared_text(agreement: str, attribute: str, notes: Notes) -> str:
    """Say that an agreement's code spares requests and fails none."""
    seen = ", ".join(sorted(notes.spared_codes.get(agreement, ())))
    return (
        f"agreement {agreement}: error_rate.code has spared requests with a failing HTTP status and failed none: of"
        f" {attribute} it has seen {seen}; most likely the rule reads the wrong attribute, or not its values"
    )
