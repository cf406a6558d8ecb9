"""In an application without a Collector: takes the server spans that its SDK ends, gives the gauges through its own
MeterProvider, by the same decode, classification and judging as the pipeline. Never holds up a request, and never
raises into the application once it is set up.
"""

from otel_sla.sdk.processor import SlaSpanProcessor
from otel_sla.sdk.sampling import RecordServerSpans

__all__ = ["RecordServerSpans", "SlaSpanProcessor"]
