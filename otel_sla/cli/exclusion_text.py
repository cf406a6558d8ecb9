"""What `otel-sla exclusion` prints: lists of exclusions, a new one, and what a change does to figures."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from otel_sla.judging.exclusion_effect import MonthEffect
from otel_sla.judging.terms_versions import find_basis
from otel_sla.ledger.reader import LedgerReadings
from otel_sla.report.wording import group_text, moment_in, pairs_text, printable, words_of
from otel_sla.sla.agreement import Agreement, ExclusionWindow
from otel_sla.sla.exclusions import ExclusionRecord, Refusal, Withdrawal, find_refusal, latest_announcement
from otel_sla.sla.figures_text import counted, moment_text, percent_text
from otel_sla.sla.months import Month, month_of, month_range

SCHEMA = "otel-sla.exclusions/v1"


@dataclass(frozen=True, slots=True)
class Entry:
    """One exclusion, configured or recorded."""

    agreement: str
    terms: Agreement | None  # As configured, or as recorded last; None: neither configured nor ever recorded.
    judged_by: Agreement | None  # Its terms in the month of the window: those that closed it, while it is open today's.
    window: ExclusionWindow
    record: ExclusionRecord | None  # None: from the configuration.

    @property
    def withdrawal(self) -> Withdrawal | None:
        """Who took it back; None if nobody did."""
        return None if self.record is None else self.record.withdrawal

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

    entries = [
        Entry(agreement.name, agreement, agreement, window, None)
        for agreement in agreements
        for window in agreement.exclusions.windows
    ]
    by_name = {agreement.name: agreement for agreement in agreements}
    for record in reader.exclusions():
        terms = by_name.get(record.agreement)
        entries.append(Entry(record.agreement, terms, judged_by(terms, record.window), record.window, record))
    return entries


def entries_text(entries: Sequence[Entry]) -> str:
    """Write exclusions for people."""
    return "".join(f"{printable(line)}\n" for entry in entries for line in _each_line(entry)) or "no exclusions\n"


def json_of_entries(entries: Sequence[Entry]) -> str:
    """Write exclusions as JSON."""
    document = {"schema": SCHEMA, "exclusions": [_object(entry) for entry in entries]}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def each_window_line(
    number: int, agreement: Agreement, window: ExclusionWindow, effects: Sequence[MonthEffect]
) -> Iterator[str]:
    """Write an exclusion that was just recorded, and whether its agreement's terms accept it."""
    zone, terms = agreement.time_zone, agreement.exclusions
    yield f"exclusion {number} of agreement {agreement.name} is recorded by {window.recorded_by}"
    yield f"  {words_of(window.reason.value)}, {_scope_text(window)}: {window.note}"
    yield from _each_time_line(window, zone)
    refusal = find_refusal(window, terms, zone)
    yield f"  {_decision_text(refusal, ', excludes nothing')}"
    if refusal is Refusal.NOTICE_TOO_SHORT:
        latest = latest_announcement(window.start, terms, zone).isoformat()
        days = counted(terms.notice_business_days_min, "business day")
        yield f"  the latest date to announce it was {latest}, {days} before"
    for effect in effects:  # The terms that closed a month decide there, whatever is configured now.
        basis = effect.basis.agreement
        decided = find_refusal(window, basis.exclusions, basis.time_zone)
        if effect.basis.closed_version is not None and decided is not refusal:
            by_version = f"by version {effect.basis.closed_version} that closed it"
            yield f"  in {effect.month}, {by_version}: {_decision_text(decided)}"
    if window.minutes.n_minutes == 0:
        yield "  it covers no whole minute, so it excludes nothing"


def each_effect_line(effects: Sequence[MonthEffect]) -> Iterator[str]:
    """Write what a recording or a withdrawal does to the figures of each month."""
    if not effects:
        yield "  no whole minute of it has elapsed in a month with data: no figure changes now"
    for effect in effects:
        if not effect.is_kept:
            yield f"  month {effect.month}: its counts are kept no longer, so its figures stay what they are"
            continue
        version = "" if effect.basis.version is None else f", by version {effect.basis.version} of the agreement"
        closed = ", closed" if effect.basis.closed_version is not None else ""
        changed = [series for series in effect.series if series.is_changed]
        kept = len(effect.series) - len(changed)
        verbs = "gets" if len(changed) == 1 else "get", "keeps its" if kept == 1 else "keep theirs"
        fate = f"{counted(len(changed), 'series', 'series')} {verbs[0]} another uptime, {kept:,} {verbs[1]}"
        yield f"  month {effect.month}{closed}{version}: {fate}"
        for series in changed:
            before, after = series.before.figures, series.after.figures
            yield (
                f"    {group_text(series.before)}: uptime {percent_text(before.monthly_uptime)}"
                f" -> {percent_text(after.monthly_uptime)}, downtime {before.down} -> {after.down} min"
                f" (raw {after.down_raw} min)"
                f"{'' if after.coverage is None else f', coverage {percent_text(after.coverage, 2)}'}"
            )


def _each_line(entry: Entry) -> Iterator[str]:
    window, withdrawal, known = entry.window, entry.withdrawal, entry.judged_by
    zone = "UTC" if known is None else known.time_zone
    number = "configured" if entry.record is None else f"exclusion {entry.record.exclusion_id}"
    yield f"{number}: {entry.agreement}, {_scope_text(window)}, {words_of(window.reason.value)}"
    yield from _each_time_line(window, zone)
    if window.note:
        yield f"  note: {window.note}"
    if window.recorded_at is not None:
        yield f"  recorded by {window.recorded_by} at {moment_in(window.recorded_at, zone)}"
    if withdrawal is not None:
        at = moment_in(withdrawal.withdrawn_at, zone)
        yield f"  withdrawn by {withdrawal.withdrawn_by} at {at}: {withdrawal.why}"
    elif known is None:
        yield "  neither the configuration nor the ledger has terms of this agreement"
    else:
        yield f"  {_decision_text(entry.refusal, ', excludes nothing')}"


def _each_time_line(window: ExclusionWindow, zone: str) -> Iterator[str]:
    yield f"  from {moment_in(window.start, zone)} to {moment_in(window.stop, zone)}"
    if window.announced_at is not None:
        yield f"  announced at {moment_in(window.announced_at, zone)}"


def _scope_text(window: ExclusionWindow) -> str:
    return "all series" if window.group is None else pairs_text(dict(window.group))


def _decision_text(refusal: Refusal | None, consequence: str = "") -> str:
    return "accepted" if refusal is None else f"not accepted{consequence}: {words_of(refusal.value)}"


def _object(entry: Entry) -> dict[str, object]:
    window, withdrawal = entry.window, entry.withdrawal
    found: dict[str, object] = {
        "id": None if entry.record is None else entry.record.exclusion_id,
        "agreement": entry.agreement,
        "reason": window.reason.value,
        "group": None if window.group is None else dict(window.group),
        "start": moment_text(window.start),
        "stop": moment_text(window.stop),
        "announced_at": window.announced_at and moment_text(window.announced_at),
        "note": window.note,
        "recorded_by": window.recorded_by,
        "recorded_at": window.recorded_at and moment_text(window.recorded_at),
        "figures_before": None if entry.record is None else entry.record.figures_before,
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
