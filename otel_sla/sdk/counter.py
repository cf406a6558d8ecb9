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
from otel_sla.counting.classify.classifier import Classifier
from otel_sla.counting.first_requests import SpanHints, SparedHints
from otel_sla.counting.kernels import load_kernels, new_hash_key
from otel_sla.counting.minute_ring import MinuteRing
from otel_sla.exporter.otlp_data import series_attributes
from otel_sla.judging.clock import Clock, JudgingClock, TrustedClock, steady_clock
from otel_sla.ledger.records import Watermarks
from otel_sla.sdk.counts_in_memory import MinuteMemory
from otel_sla.sdk.instruments import Labelled
from otel_sla.sdk.judge import Judging
from otel_sla.sdk.ledger_copy import KeptMonth
from otel_sla.sla.agreement import Agreement
from otel_sla.sla.counts import AcceptWindow, CountRows
from otel_sla.sla.series import SeriesTable
from otel_sla.spans.request import decode_request

_log = logging.getLogger(__name__)

_SURROGATE = re.compile("[\ud800-\udfff]")  # Half of an emoji, or a byte of a file's name: no message takes it.
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 63) - 1
_BATCH_SPANS = 512  # Bounds what is encoded at a time; some 50 KB.


class SpanCounting:
    """Counts spans by the pipeline's kernels. One thread owns it.

    Args:
        agreements: By which is counted.
        table: Gets the series that are met.
        window: Which end times are accepted now.
        uncounted: Spans that were not counted, by reason; added to.
    """

    def __init__(
        self,
        agreements: Sequence[Agreement],
        table: SeriesTable,
        window: Callable[[], AcceptWindow],
        uncounted: Counter[str],
    ) -> None:
        self._classifier = Classifier(agreements, table, hash_key=new_hash_key())
        self._ring = MinuteRing()
        self._window = window
        self._uncounted = uncounted
        self._keys = frozenset(key.decode() for key in self._classifier.watch.span_keys)
        self._hints = SpanHints()
        self.spared = SparedHints(agreements, table)
        self._resource_keys = tuple(key.decode() for key in self._classifier.watch.resource_keys)
        self._resource: Resource | None = None  # The last one; an application has one.
        self._pruned_resource = Resource.get_empty()
        self.overflow_count = 0  # Requests that were counted in an overflow series.

    def load_kernels(self) -> None:
        """Have them loaded, in a quarter of a second, or compiled, in some."""
        load_kernels(self._classifier)

    def count(self, spans: Sequence[ReadableSpan]) -> CountRows:
        """Count spans: requests per series and minute, each pair once.

        A span that cannot be encoded (an end time below zero) is left out and counted as such.
        """
        for start in range(0, len(spans), _BATCH_SPANS):
            batch = spans[start : start + _BATCH_SPANS]
            try:
                self._count(batch)
            except Exception:  # What is wrong is told of the span that it is wrong with.
                for span in batch:
                    self._count_alone(span)
        rows = self._ring.drain()
        self.spared.count(rows)
        return rows

    def _count_alone(self, span: ReadableSpan) -> None:
        try:
            self._count((span,))
        except Exception:
            self._uncounted["failed"] += 1
            if self._uncounted["failed"] == 1:
                _log.exception("a span cannot be counted", extra={"action": "span_failed"})

    def _count(self, spans: Sequence[ReadableSpan]) -> None:
        body = encode_spans([self._pruned(span) for span in spans]).SerializeToString()
        columns = decode_request(body, self._classifier.watch)
        requests = self._classifier.classify(columns, self._window(), columns.resource_start >= 0)
        self._ring.add(requests)
        if requests.notes is not None:
            self._hints.look(requests.notes)
            self.spared.look(requests.notes)
        self._uncounted["late"] += requests.late_count
        self._uncounted["future"] += requests.future_count
        self._uncounted["malformed"] += requests.malformed_count
        if requests.overflow_count and not self.overflow_count:
            _log.warning(
                "more series than series_max: the rest is counted in one overflow series per agreement",
                extra={"action": "series_overflow"},
            )
        self.overflow_count += requests.overflow_count

    def _pruned(self, span: ReadableSpan) -> ReadableSpan:
        """Give a span with what decides about it and nothing else: 15 instead of 38 us to encode.

        Nor can any other text in it, such as an exception's message, keep it from being encoded.
        """
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
        ledger_url: Of the ledger beneath, if there is one.
        uncounted: Spans that were not counted, by reason; added to.
        clock: ns since the Unix epoch.
        steady: ns; nobody sets it.

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
        self._config = config
        self._memory = MinuteMemory()
        self._kept = None if ledger_url is None else KeptMonth(ledger_url)
        known = self._kept.load(config, clock(), self._memory) if self._kept else ()
        self._table = SeriesTable(config.agreements, series_max=config.processor.series_max, known=known)
        trusted = TrustedClock(clock, steady)
        self._clockwork = JudgingClock(config.processor, trusted.latest, trusted, Watermarks(None, None, 0, None))
        self._counting = SpanCounting(config.agreements, self._table, self._clockwork.window, uncounted)
        self._judging = Judging(config.agreements, self._memory)
        self._judged_before = 0

    @property
    def overflow_count(self) -> int:
        """Requests that were counted in an overflow series."""
        return self._counting.overflow_count

    def load_kernels(self) -> None:
        """Have them loaded or compiled before the first span."""
        self._counting.load_kernels()

    def count(self, spans: Sequence[ReadableSpan]) -> None:
        """Count ended spans."""
        rows = self._counting.count(spans)
        if len(rows) == 0:
            return
        self._memory.add(rows)
        self._judging.add(rows)
        if self._kept is not None:
            self._kept.commit(self._table.drain_new(), rows)

    def judge(self) -> tuple[Labelled, ...] | None:
        """Give the figures of the newest minute that has elapsed; None if none has since the last call."""
        progress = self._clockwork.progress()
        if progress.judged_before <= self._judged_before:
            return None
        self._judged_before = progress.judged_before
        self._counting.spared.tell(progress.judged_before)
        all_series = [self._table[series_id] for series_id in range(len(self._table))]
        records = self._kept.exclusions() if self._kept is not None else ()
        figures = self._judging.figures(all_series, records, progress.judged_before)
        if self._kept is not None:
            self._kept.tidy(progress, round(self._config.ledger.retention_s) // 60)
        return tuple((minute, series_attributes(minute.series)) for minute in figures)

    def close(self) -> None:
        """Give the ledger back, if there is one."""
        if self._kept is not None:
            self._kept.close()

    def leave_to_parent(self) -> None:
        """In a forked child: leave the ledger to the parent; nothing may be called afterwards."""
        if self._kept is not None:
            self._kept.leave_to_parent()
