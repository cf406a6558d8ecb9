"""Ended spans to counts: written as OTLP by the SDK's own encoder, then decoded and classified as in the pipeline."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Sequence

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Status
from opentelemetry.util.types import AttributeValue

from otel_sla.first_requests import SpanHints, SparedHints
from otel_sla.hash_key import new_hash_key
from otel_sla.sla.agreement import Agreement
from otel_sla.sla.classify import AcceptWindow, Classifier
from otel_sla.sla.counts import CountRows
from otel_sla.sla.ring import MinuteRing
from otel_sla.sla.series import SeriesTable
from otel_sla.spans.decode import decode_request
from otel_sla.warming import load_kernels

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
