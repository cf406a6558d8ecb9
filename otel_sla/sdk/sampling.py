"""A sampler drops spans before any processor sees them, and with them requests. This one keeps those of requests."""

from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes


class RecordServerSpans(Sampler):
    """Lets another sampler decide what is exported, and has every server span recorded all the same.

    A server span that the other would drop is recorded and not sampled: it reaches the processors, exporters leave it
    alone, and what is under it stays dropped.

    Args:
        sampler: Decides about all else.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(  # noqa: PLR0913, PLR0917 - the SDK's signature.
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide as the other sampler does, but that a server span is at least recorded."""
        result = self._sampler.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)
        if kind is SpanKind.SERVER and result.decision is Decision.DROP:
            return SamplingResult(Decision.RECORD_ONLY, attributes, result.trace_state)
        return result

    def get_description(self) -> str:
        """Name both."""
        return f"RecordServerSpans{{{self._sampler.get_description()}}}"
