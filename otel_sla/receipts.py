"""What a sender is told of a request that was counted."""

from otel_sla.receiver.accounting import Receipt
from otel_sla.sla.classify import Requests


def receipt_of(requests: Requests) -> Receipt:
    """Say which spans were rejected and why (OTLP's partial success); the sender must not send those again."""
    reasons = [
        f"{count} {'span' if count == 1 else 'spans'} {reason}"
        for count, reason in (
            (requests.late_count, "of minutes before the oldest that is still open (processor.late_spans_max)"),
            (requests.future_count, "ending further ahead of the clock than processor.future_spans_max"),
            (requests.malformed_count, "without an end time"),
        )
        if count
    ]
    rejected = requests.late_count + requests.future_count + requests.malformed_count
    return Receipt(rejected_spans=rejected, error_message="; ".join(reasons))
