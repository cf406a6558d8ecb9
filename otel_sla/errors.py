"""What can go wrong, and what follows.

`is_retryable` says whether the sender may try again, `hint` what the operator can do. Bad input never stops the
process. `receiver/responses.py` alone decides how each is answered, and has those that only a server meets.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class OtelSlaError(Exception):
    """Base of all errors of this package; the message is one line for the operator."""

    is_retryable = False

    def __init__(self, message: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One mistake in a configuration: `path` as in `agreements[0].downtime.no_data`, and what is wrong with it."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigError(OtelSlaError):
    """The configuration cannot be used; holds every problem found, not the first one only."""

    def __init__(self, source: str, problems: Sequence[ConfigProblem]) -> None:
        assert problems, "a ConfigError needs its problems"
        self.source = source
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{source}: {problem}" for problem in self.problems))


class DecodeError(OtelSlaError):
    """The bytes are no `ExportTraceServiceRequest`; `offset` is where the scan gave up."""

    def __init__(self, reason: str, offset: int) -> None:
        self.reason = reason
        self.offset = offset
        super().__init__(f"not an OTLP trace request: {reason} at byte {offset}")


class RequestTooLarge(OtelSlaError):
    """The request needs more memory than one request may take."""


class Overloaded(OtelSlaError):
    """A limit of the pipeline is reached; the sender may try again, and a repeat counts once."""

    is_retryable = True


class LedgerError(OtelSlaError):
    """The ledger did not do what it was asked."""


class LedgerUnavailable(LedgerError):
    """The ledger cannot be opened, read or written."""

    is_retryable = True


class LedgerInUse(LedgerError):
    """Another pipeline writes this ledger."""


class LedgerCorrupt(LedgerError):
    """The file is not a sound ledger."""


class LedgerSchemaNewer(LedgerError):
    """The ledger was written by a newer otel-sla."""


class CountsExpired(LedgerError):
    """The counts that were asked for, or that a month would be judged by, are dropped."""


class ListenError(OtelSlaError):
    """A configured endpoint cannot be bound."""


class ExportError(OtelSlaError):
    """The backend did not take what was sent (`exporter.refusal.Refused`)."""


class ReplayError(OtelSlaError):
    """A recorded file, or the rest of it, cannot be counted; what was counted of it is in the ledger."""
