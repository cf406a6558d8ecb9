"""How `otel-sla exclusion list` shows exclusions: as lines for people, or as JSON."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from otel_sla.judging.terms_versions import find_basis
from otel_sla.ledger.reader import LedgerReadings
from otel_sla.ledger.records import Json
from otel_sla.report.wording import moment_in, printable, words_of
from otel_sla.sla.agreement import Agreement, ExclusionWindow
from otel_sla.sla.exclusions import Refusal, Withdrawal, find_refusal
from otel_sla.sla.figures_text import moment_text
from otel_sla.sla.months import Month, month_of, month_range

SCHEMA = "otel-sla.exclusions/v1"


@dataclass(frozen=True, slots=True)
class Entry:
    """One exclusion, configured or recorded."""

    exclusion_id: int | None  # None: from the configuration.
    agreement: str
    terms: Agreement | None  # As configured, or as recorded last; None: neither configured nor ever recorded.
    judged_by: Agreement | None  # Its terms in the month of the window: those that closed it, while it is open today's.
    window: ExclusionWindow
    figures_before: Json | None
    withdrawal: Withdrawal | None

    @property
    def refusal(self) -> Refusal | None:
        """Why it excludes nothing; None if it does, or if its agreement's terms are not known."""
        if self.withdrawal is not None:
            return Refusal.WITHDRAWN
        known = self.judged_by
        return None if known is None else find_refusal(self.window, known.exclusions, known.time_zone)

    def touches(self, month: Month) -> bool:
        """Whether it shares any time with the agreement's month."""
        start_minute, stop_minute = month_range(month, "UTC" if self.terms is None else self.terms.time_zone)
        return self.window.start.timestamp() < 60 * stop_minute and self.window.stop.timestamp() > 60 * start_minute


def entries_of(reader: LedgerReadings, agreements: Sequence[Agreement]) -> list[Entry]:
    """Give all exclusions: those of terms first, then those recorded in the order of their numbers.

    Args:
        reader: Its snapshot is the caller's.
        agreements: As configured, then those that are configured no more.
    """

    def judged_by(agreement: Agreement | None, window: ExclusionWindow) -> Agreement | None:
        if agreement is None:
            return None
        month = month_of(int(window.start.timestamp()) // 60, agreement.time_zone)
        return find_basis(reader, agreement, month).agreement

    by_name = {agreement.name: agreement for agreement in agreements}
    configured = [
        Entry(None, agreement.name, agreement, agreement, window, None, None)
        for agreement in agreements
        for window in agreement.exclusions.windows
    ]
    recorded = [
        Entry(
            record.exclusion_id,
            record.agreement,
            by_name.get(record.agreement),
            judged_by(by_name.get(record.agreement), record.window),
            record.window,
            record.figures_before,
            record.withdrawal,
        )
        for record in reader.exclusions()
    ]
    return [*configured, *recorded]


def render_entries(entries: Sequence[Entry]) -> str:
    """Write exclusions for people."""
    if not entries:
        return "no exclusions\n"
    return "".join(f"{printable(line)}\n" for entry in entries for line in _lines(entry))


def render_entries_json(entries: Sequence[Entry]) -> str:
    """Write exclusions as JSON."""
    document = {"schema": SCHEMA, "exclusions": [_object(entry) for entry in entries]}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _lines(entry: Entry) -> Iterator[str]:
    window, withdrawal = entry.window, entry.withdrawal
    number = "configured" if entry.exclusion_id is None else f"exclusion {entry.exclusion_id}"
    group = "all series" if window.group is None else ", ".join(f"{key}={value}" for key, value in window.group)
    yield f"{number}: {entry.agreement}, {group}, {words_of(window.reason.value)}"
    known = entry.judged_by
    zone = "UTC" if known is None else known.time_zone
    yield f"  from {moment_in(window.start, zone)} to {moment_in(window.stop, zone)}"
    if window.announced_at is not None:
        yield f"  announced at {moment_in(window.announced_at, zone)}"
    if window.note:
        yield f"  note: {window.note}"
    if window.recorded_at is not None:
        yield f"  recorded by {window.recorded_by} at {moment_in(window.recorded_at, zone)}"
    if withdrawal is not None:
        at = moment_in(withdrawal.withdrawn_at, zone)
        yield f"  withdrawn by {withdrawal.withdrawn_by} at {at}: {withdrawal.why}"
    elif known is None:
        yield "  neither the configuration nor the ledger has terms of this agreement"
    elif entry.refusal is not None:
        yield f"  not accepted, excludes nothing: {words_of(entry.refusal.value)}"
    else:
        yield "  accepted"


def _object(entry: Entry) -> dict[str, object]:
    window, withdrawal = entry.window, entry.withdrawal
    found: dict[str, object] = {
        "id": entry.exclusion_id,
        "agreement": entry.agreement,
        "reason": window.reason.value,
        "group": None if window.group is None else dict(window.group),
        "start": moment_text(window.start),
        "stop": moment_text(window.stop),
        "announced_at": _optional_moment(window.announced_at),
        "note": window.note,
        "recorded_by": window.recorded_by,
        "recorded_at": _optional_moment(window.recorded_at),
        "figures_before": entry.figures_before,
        "accepted": None if entry.terms is None and withdrawal is None else entry.refusal is None,
    }
    if entry.refusal is not None:
        found["refusal"] = entry.refusal.value
    if withdrawal is not None:
        found["withdrawn_by"] = withdrawal.withdrawn_by
        found["withdrawn_at"] = moment_text(withdrawal.withdrawn_at)
        found["withdrawn_why"] = withdrawal.why
        found["figures_before_withdrawal"] = withdrawal.figures_before
    return found


def _optional_moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment_text(moment)
