"""What a replay counted, and what it left out."""

from collections import Counter
from dataclasses import dataclass, field, fields

from otel_sla.counting.classify.notes import Notes
from otel_sla.sla.agreement import Outcome


@dataclass(slots=True)
class Totals:
    """Sums over all files; each holds what is in the ledger, never what is still under way."""

    records: int = 0  # Of traces, counted now.
    spans: int = 0  # In these records, of every kind.
    requests: Counter[tuple[str, Outcome]] = field(default_factory=Counter)  # By agreement and outcome.
    duplicate_spans: int = 0  # Of ResourceSpans that were counted before.
    future_spans: int = 0  # Covered, and end further ahead of the clock than processor.future_spans_max.
    malformed_spans: int = 0  # Covered, without an end time.
    overflow_requests: int = 0  # Those of `requests` that went to an overflow series.
    notes: Notes = field(default_factory=Notes)  # What was seen on counted spans.
    sealed_spans: int = 0  # Counted, in minutes whose fingerprints the ledger has forgotten.
    earlier_records: int = 0  # Counted, or left out, by an earlier run of the same file.
    other_signal_records: int = 0  # Metrics, logs, profiles.
    broken_records: int = 0  # Skipped.
    padding_size_bytes: int = 0  # Zeros and byte order marks before records.
    headless_size_bytes: int = 0  # Of first lines that are no whole record.
    skipped_files: int = 0  # Given up, or not begun.
    incomplete_size_bytes: int = 0  # Behind the last whole record of a file.

    @property
    def rejected_spans(self) -> int:
        """Spans that no minute takes."""
        return self.future_spans + self.malformed_spans

    def add(self, other: "Totals") -> None:
        """Add what was made durable."""
        for each in fields(self):
            if each.name == "requests":
                self.requests.update(other.requests)
            elif each.name == "notes":
                self.notes.add(other.notes)
            else:
                setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
