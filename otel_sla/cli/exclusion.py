"""`otel-sla exclusion add`, `list` and `withdraw`: windows that people record (clauses 12 to 15).

They work while the pipeline runs and while it does not. A running pipeline finds the change by itself and publishes
what follows from it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Annotated

import typer

from otel_sla.cli.commands import Commands
from otel_sla.cli.options import (
    ConfigOption,
    TableOrJson,
    find_agreement,
    load,
    parse_month,
    settle_moment,
    user_name,
)
from otel_sla.config import Config
from otel_sla.errors import LedgerError
from otel_sla.judging.exclusion_effect import MonthEffect, effects_of, figures_before
from otel_sla.judging.month_report import elapsed_stop_minute
from otel_sla.judging.series_judge import series_of
from otel_sla.judging.terms_versions import find_basis, removed_agreements
from otel_sla.ledger.exclusion_writer import ExclusionWriter
from otel_sla.ledger.reader import LedgerReader, LedgerReadings
from otel_sla.report.wording import group_text, moment_in, pairs_text, printable, words_of
from otel_sla.sla.agreement import Agreement, ExclusionReason, ExclusionWindow
from otel_sla.sla.exclusions import (
    ExclusionRecord,
    Refusal,
    Withdrawal,
    find_refusal,
    last_change,
    latest_announcement,
)
from otel_sla.sla.figures_text import counted, moment_text, percent_text
from otel_sla.sla.months import Month, month_of, month_range
from otel_sla.sla.series import Series

commands = Commands("exclusion")

_SCHEMA = "otel-sla.exclusions/v1"

ByOption = Annotated[str | None, typer.Option(metavar="WHO", help="Who decides it; the system's user by default.")]


@commands.command()
def add(
    *,
    config: ConfigOption = None,
    agreement: Annotated[str, typer.Option(metavar="NAME", help="The agreement.")],
    group: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only this series: once for each group_by attribute.")
    ] = None,
    reason: Annotated[ExclusionReason, typer.Option(help="Why it does not count.")],
    start: Annotated[str, typer.Option(metavar="TIME", help="Start; without an offset local to the agreement.")],
    stop: Annotated[str, typer.Option(metavar="TIME", help="End (exclusive).")],
    announced_at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="When it was announced to customers; scheduled_maintenance needs it."),
    ] = None,
    note: Annotated[str, typer.Option(metavar="TEXT", help="For people; shown in reports.")],
    by: ByOption = None,
) -> None:
    """Record a time that does not count as downtime, before or after the fact."""
    now = datetime.now(UTC).replace(microsecond=0)
    settings = load(config)
    with closing(ExclusionWriter.open(settings.ledger.url)) as writer:
        chosen = find_agreement(agreement, _agreements(settings, writer))
        zone = chosen.time_zone
        window = ExclusionWindow(
            reason=reason,
            start=settle_moment(start, "--start", zone),
            stop=settle_moment(stop, "--stop", zone),
            group=_read_group(group or [], chosen, writer.series()),
            announced_at=None if announced_at is None else settle_moment(announced_at, "--announced-at", zone),
            note=_required(note, "--note"),
            recorded_by=user_name(by),
            recorded_at=now,
        )
        _check_times(window, zone)
        with writer.snapshot():
            records = writer.exclusions()
            added = ExclusionRecord(0, last_change(records) + 1, chosen.name, window, None, None)
            changed = (*records, added)
            effects = effects_of(writer, chosen, window, (records, changed), _elapsed_stop(settings, now))
        number = writer.record_exclusion(chosen.name, window, figures_before(effects))
    _print_lines((*_each_window_line(number, chosen, window, effects), *_each_effect_line(effects)))


@commands.command(name="list")
def list_(
    *,
    config: ConfigOption = None,
    agreement: Annotated[str | None, typer.Option(metavar="NAME", help="Only those of this agreement.")] = None,
    month: Annotated[str | None, typer.Option(metavar="YYYY-MM", help="Only those that touch this month.")] = None,
    list_format: Annotated[TableOrJson, typer.Option("--format", help="How to write it.")] = TableOrJson.TABLE,
    with_withdrawn: Annotated[bool, typer.Option("--all", help="Withdrawn ones too.")] = False,
) -> None:
    """Show the exclusions, those of the configuration and those recorded."""
    settings = load(config)
    wanted = parse_month(month)
    with closing(LedgerReader.open(settings.ledger.url)) as reader, reader.snapshot():
        agreements = _agreements(settings, reader)
        entries = _entries_of(reader, agreements)
    if agreement is not None and agreement not in {entry.agreement for entry in entries}:
        find_agreement(agreement, agreements)
    entries = [
        entry
        for entry in entries
        if agreement in (None, entry.agreement)
        and (wanted is None or entry.touches(wanted))
        and (with_withdrawn or entry.withdrawal is None)
    ]
    if list_format is TableOrJson.JSON:
        typer.echo(_json_of_entries(entries))
    else:
        _print_lines([line for entry in entries for line in _each_entry_line(entry)] or ["no exclusions"])


@commands.command()
def withdraw(
    *,
    config: ConfigOption = None,
    number: Annotated[str, typer.Argument(metavar="ID", help="Its number, as `exclusion list` shows it.")],
    why: Annotated[str, typer.Option(metavar="TEXT", help="For people; shown in reports.")],
    by: ByOption = None,
) -> None:
    """Take a recorded exclusion back. Its record stays and says who did so, when and why."""
    now = datetime.now(UTC).replace(microsecond=0)
    settings = load(config)
    why, who, exclusion_id = _required(why, "--why"), user_name(by), _read_number(number)
    with closing(ExclusionWriter.open(settings.ledger.url)) as writer:
        record = _find_record(writer, exclusion_id)
        chosen = next((each for each in _agreements(settings, writer) if each.name == record.agreement), None)

        effects: tuple[MonthEffect, ...] = ()
        if chosen is not None and record.withdrawal is None:
            with writer.snapshot():
                records = writer.exclusions()
                withdrawal = Withdrawal(last_change(records) + 1, "", now, "", None)
                changed = tuple(
                    replace(each, withdrawal=withdrawal) if each.exclusion_id == exclusion_id else each
                    for each in records
                )
                effects = effects_of(writer, chosen, record.window, (records, changed), _elapsed_stop(settings, now))
        writer.withdraw_exclusion(
            exclusion_id, withdrawn_by=who, withdrawn_at=now, why=why, figures_before=figures_before(effects)
        )
    withdrawn = f"exclusion {exclusion_id} of agreement {record.agreement} is withdrawn by {who}: {why}"
    _print_lines((withdrawn, *_each_effect_line(effects)))


def _print_lines(lines: Iterable[str]) -> None:
    typer.echo("".join(f"{printable(line)}\n" for line in lines), nl=False)


def _agreements(settings: Config, reader: LedgerReadings) -> tuple[Agreement, ...]:
    """Give those that are configured, then those that were: their months are judged as well (clause 22)."""
    return (*settings.agreements, *removed_agreements(reader, settings.agreements))


def _find_record(writer: ExclusionWriter, exclusion_id: int) -> ExclusionRecord:
    records = writer.exclusions()
    found = next((record for record in records if record.exclusion_id == exclusion_id), None)
    if found is not None:
        return found
    error = LedgerError(f"the ledger {writer.path} has no exclusion {exclusion_id}")
    error.hint = (
        f"it has {records[0].exclusion_id} to {records[-1].exclusion_id}: see otel-sla exclusion list --all"
        if records
        else "none was recorded; those of the configuration are taken back there"
    )
    raise error


def _elapsed_stop(settings: Config, now: datetime) -> int:
    return elapsed_stop_minute(now, timedelta(seconds=settings.processor.grace_s))


def _required(text: str, option: str) -> str:
    text = text.strip()
    if not text:
        raise typer.BadParameter("must say something", param_hint=option)
    return text


def _read_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):  # What SQLite keeps has no more digits.
        raise typer.BadParameter(f"must be a number such as 1, not {text!r}", param_hint="ID")
    return int(text)


def _check_times(window: ExclusionWindow, zone: str) -> None:
    if window.start.astimezone(UTC) >= window.stop.astimezone(UTC):
        message = f"must be after start: {moment_in(window.stop, zone)} is not after {moment_in(window.start, zone)}"
        raise typer.BadParameter(message, param_hint="--stop")
    if window.reason is ExclusionReason.SCHEDULED_MAINTENANCE and window.announced_at is None:
        message = "is required for scheduled_maintenance: notice is counted from it"
        raise typer.BadParameter(message, param_hint="--announced-at")


def _read_group(
    pairs: Sequence[str], agreement: Agreement, all_series: Iterable[Series]
) -> tuple[tuple[str, str], ...] | None:
    """Read `--group key=value ...` as the group of a series that the ledger knows; None without any."""
    if not pairs:
        return None
    given: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or key in given:
            problem = "is given twice" if key in given else "must be written key=value"
            raise typer.BadParameter(f"{pair!r} {problem}", param_hint="--group")
        given[key] = value
    known = [series.group_text for series in series_of(agreement, all_series)]
    if given in known:
        # In the order of the agreement's group_by; several series may look the same, all of them are meant.
        return next(tuple(group.items()) for group in known if group == given)
    raise typer.BadParameter(_unknown_group(given, known, agreement.group_by), param_hint="--group")


def _unknown_group(given: Mapping[str, str], known: Iterable[Mapping[str, str]], keys: tuple[str, ...]) -> str:
    if not keys:
        return "the agreement judges all requests together, it has no groups"
    if unknown := [key for key in given if key not in keys]:
        near = get_close_matches(unknown[0], keys, n=1) or keys
        return f"{unknown[0]!r} is no attribute of group_by; did you mean {near[0]!r}?"
    if missing := [key for key in keys if key not in given]:
        return f"needs a value for each group_by attribute; {', '.join(missing)} is missing"
    texts = [pairs_text(group) for group in known]
    near_texts = get_close_matches(pairs_text(given), texts, n=1)
    hint = f"did you mean {near_texts[0]!r}?" if near_texts else f"it knows {len(texts)} of this agreement"
    return f"the ledger knows no series {pairs_text(given)!r}; {hint}"


@dataclass(frozen=True, slots=True)
class _Entry:
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


def _entries_of(reader: LedgerReadings, agreements: Sequence[Agreement]) -> list[_Entry]:
    """Give all exclusions: those of terms first, then those recorded in the order of their numbers.

    The snapshot of the reader is the caller's.
    """
    entries = [
        _Entry(agreement.name, agreement, agreement, window, None)
        for agreement in agreements
        for window in agreement.exclusions.windows
    ]
    by_name = {agreement.name: agreement for agreement in agreements}
    for record in reader.exclusions():
        terms = judged_by = by_name.get(record.agreement)
        if terms is not None:
            month = month_of(int(record.window.start.timestamp()) // 60, terms.time_zone)
            judged_by = find_basis(reader, terms, month).agreement
        entries.append(_Entry(record.agreement, terms, judged_by, record.window, record))
    return entries


def _json_of_entries(entries: Sequence[_Entry]) -> str:
    """Write exclusions as JSON."""
    document = {"schema": _SCHEMA, "exclusions": [_object(entry) for entry in entries]}
    return json.dumps(document, indent=2, ensure_ascii=False)


def _each_window_line(
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


def _each_effect_line(effects: Sequence[MonthEffect]) -> Iterator[str]:
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


def _each_entry_line(entry: _Entry) -> Iterator[str]:
    """Write one for people."""
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


def _object(entry: _Entry) -> dict[str, object]:
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
