"""All that is known of one process' requests: counted, kept for the running month, judged.

Belongs to the processor's thread; nothing in it is locked.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Sequence

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Status
from opentelemetry.util.types import AttributeValue

from otel_sla.config import Config
from otel_sla.counting.counter import RequestCounter
from otel_sla.counting.first_requests import SpanHints
from otel_sla.counting.kernels import load_kernels
from otel_sla.exporter.otlp_data import series_attributes
from otel_sla.judging.clock import Clock, JudgingClock, TrustedClock, steady_clock
from otel_sla.ledger.records import Watermarks
from otel_sla.sdk.instruments import Labelled
from otel_sla.sdk.ledger_copy import LedgerCopy
from otel_sla.sdk.month import MonthLedger, SdkJudge
from otel_sla.sla.counts import NANOS_PER_MINUTE
from otel_sla.sla.series import SeriesTable
from otel_sla.spans.columns import WatchList

_log = logging.getLogger(__name__)

_SURROGATE = re.compile("[\ud800-\udfff]")  # Half of an emoji, or a byte of a file's name: no message takes it.
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 63) - 1
_BATCH_SPANS = 512  # Bounds what is encoded at a time; some 50 KB.


class SpanEncoder:
    """Encodes spans as a request, with what decides about them and nothing else: 15 instead of 38 us each.

    Nor can any other text in it, such as an exception's message, keep it from being encoded.

    Args:
        watch: What decides.
    """

    def __init__(self, watch: WatchList) -> None:
        self._keys = frozenset(key.decode() for key in watch.span_keys)
        self._resource_keys = tuple(key.decode() for key in watch.resource_keys)
        self._resource: Resource | None = None  # The last one; an application has one.
        self._pruned_resource = Resource.get_empty()

    def encode(self, spans: Sequence[ReadableSpan]) -> bytes:
        """Give the request's bytes; any error says that a span cannot be encoded (an end time below zero)."""
        return bytes(encode_spans([self._pruned(span) for span in spans]).SerializeToString())

    def _pruned(self, span: ReadableSpan) -> ReadableSpan:
        attributes = span.attributes or {}
        # Goes through the span's keys in C; to ask the SDK's mapping for ours takes 3.8 us instead of 0.4.
        watched = self._keys.intersection(attributes)
        return ReadableSpan(
            name="",
            context=span.context,
            parent=span.parent,
            resource=self._prune(span.resource),
            attributes={key: _encodable(attributes[key]) for key in watched},
            kind=span.kind,
            status=Status(span.status.status_code),
            end_time=span.end_time,
        )

    def _prune(self, resource: Resource) -> Resource:
        if resource is not self._resource:
            attributes = resource.attributes
            kept = {key: _encodable(attributes[key]) for key in self._resource_keys if key in attributes}
            self._resource, self._pruned_resource = resource, Resource(kept)
        return self._pruned_resource


def _encodable(value: AttributeValue) -> AttributeValue:
    """Give a value that a message takes and that counts alike: nothing is counted by what an array holds."""
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
    is_number = isinstance(value, float) or (isinstance(value, int) and _INT_MIN <= value <= _INT_MAX)
    return value if is_number else ()


class SpanCounter:
    """Counts and judges.

    Args:
        config: Its agreements and the durations of `processor`.
        ledger_url: Of the ledger that gets a copy of the counts, if there is one.
        uncounted: Spans that were not counted, by reason; added to.
        clock: ns since the Unix epoch.
        steady: ns; a clock that is never set.

    Raises:
        LedgerError: The ledger cannot be opened or read.
    """

    def __init__(
        self,
        config: Config,
        ledger_url: str | None,
        uncounted: Counter[str],
        clock: Clock,
        steady: Callable[[], int] = steady_clock,
    ) -> None:
        self.overflow_count = 0  # Requests that were counted in an overflow series.
        self._retention_minutes = round(config.ledger.retention_s) // 60
        self._uncounted = uncounted
        self._memory, self._copy = MonthLedger.in_memory(), LedgerCopy(ledger_url)
        known = self._copy.load(config, clock() // NANOS_PER_MINUTE, self._memory)
        self._table = SeriesTable(config.agreements, series_max=config.processor.series_max, known=known)
        trusted = TrustedClock(clock, steady)
        self._judging_clock = JudgingClock(config.processor, trusted.latest, trusted, Watermarks(None, None, 0, None))
        self._counter = RequestCounter(config.agreements, self._table)
        self._encoder = SpanEncoder(self._counter.classifier.watch)
        self._hints = SpanHints(config.agreements, self._table)
        self._judge = SdkJudge(config.agreements, self._memory)
        self._judged_before = 0

    def load_kernels(self) -> None:
        """Have them loaded, in a quarter of a second, or compiled, in some, before the first span."""
        load_kernels(self._counter.classifier)

    def count(self, spans: Sequence[ReadableSpan]) -> None:
        """Count ended spans; one that cannot be encoded is left out and counted as such."""
        for start in range(0, len(spans), _BATCH_SPANS):
            batch = spans[start : start + _BATCH_SPANS]
            try:
                self._count(batch)
            except Exception:  # Which span is wrong shows when each is counted alone.
                for span in batch:
                    self._count_alone(span)
        commit = self._counter.take()
        if not (len(commit.rows) or commit.new_series):
            return
        self._hints.add_rows(commit.rows)
        self._judge.add(commit)
        self._copy.commit(commit)

    def judge(self) -> tuple[Labelled, ...] | None:
        """Give the figures of the newest minute that has elapsed; None if none has since the last call."""
        progress = self._judging_clock.progress()
        if progress.judged_before <= self._judged_before:
            return None
        self._judged_before = progress.judged_before
        self._hints.log_spared(progress.judged_before)
        all_series = [self._table[series_id] for series_id in range(len(self._table))]
        figures = self._judge.figures(all_series, self._copy.exclusions(), progress.judged_before)
        self._copy.tidy(progress, self._retention_minutes)
        return tuple((minute, series_attributes(minute.series)) for minute in figures)

    def close(self) -> None:
        """Give the ledger back, if there is one."""
        self._copy.close()
        self._memory.close()

    def leave_to_parent(self) -> None:
        """In a forked child: leave the ledger to the parent; nothing may be called afterwards."""
        self._copy.leave_to_parent()

    def _count_alone(self, span: ReadableSpan) -> None:
        try:
            self._count((span,))
        except Exception:
            self._uncounted["failed"] += 1
            if self._uncounted["failed"] == 1:
                _log.exception("a span cannot be counted", extra={"action": "span_failed"})

    def _count(self, spans: Sequence[ReadableSpan]) -> None:
        columns = self._counter.decode(self._encoder.encode(spans))
        requests = self._counter.classifier.classify(columns, self._judging_clock.window(), columns.resource_start >= 0)
        self._counter.add(requests)
        self._uncounted["late"] += requests.late_count
        self._uncounted["future"] += requests.future_count
        self._uncounted["malformed"] += requests.malformed_count
        self.overflow_count += requests.overflow_count
        self._hints.add(requests)
