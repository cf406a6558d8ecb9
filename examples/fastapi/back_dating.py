"""Only for the quick mode: spans that say they are some minutes old, so that nobody has to wait for minutes to pass.

A request says by a header how long ago it is to have been; the exporter moves its spans to that time.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Span

HEADER = b"x-minutes-ago"
ATTRIBUTE = "shop.minutes_ago"
NANOS_PER_MINUTE = 60_000_000_000


def keep_minutes_ago(span: Span, scope: Mapping[str, Any]) -> None:
    """Keep the header with the span: a hook of the instrumentation."""
    for name, value in scope["headers"]:
        if name == HEADER:
            span.set_attribute(ATTRIBUTE, int(value))


class BackDatingExporter(SpanExporter):
    """Hands spans on to another exporter, each moved to the time that it is to have been."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Move them and send them."""
        return self._exporter.export([_moved(span) for span in spans])

    def shutdown(self) -> None:
        """Close the other exporter."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held here."""
        return self._exporter.force_flush(timeout_millis)


def _moved(span: ReadableSpan) -> ReadableSpan:
    ago = NANOS_PER_MINUTE * int((span.attributes or {}).get(ATTRIBUTE, 0))
    return ReadableSpan(
        name=span.name,
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        kind=span.kind,
        status=span.status,
        start_time=(span.start_time or 0) - ago,
        end_time=(span.end_time or 0) - ago,
        instrumentation_scope=span.instrumentation_scope,
    )
