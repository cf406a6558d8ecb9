"""What the receiver asks of counting: count these bytes, and say when they are durable."""

from dataclasses import dataclass
from typing import Protocol

LARGE_SIZE_BYTES = 1024 * 1024  # Takes 3 ms of the event loop to read and count.


@dataclass(frozen=True, slots=True)
class Receipt:
    """The outcome of a request that is counted and committed; OTLP's partial success if not all of it was."""

    rejected_spans: int = 0
    error_message: str = ""  # Why; empty if all was well. May be given with 0 rejected spans, as a warning.


class TracesConsumer(Protocol):
    """Counts requests."""

    async def account(self, body: bytes | memoryview) -> Receipt:
        """Count one `ExportTraceServiceRequest` and return after the commit that makes it durable.

        Raises:
            DecodeError: Not such a request; nothing was counted.
            RequestTooLarge: It would take more memory than a request may; nothing was counted.
            Overloaded: A limit is reached; nothing was counted.
            LedgerError: Not durable. A repeat of the same bytes counts once.
        """
        ...
