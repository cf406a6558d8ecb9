"""`otel-sla exclusion add`, `list` and `withdraw`: windows that people record (clauses 12 to 15).

They work while the pipeline runs and while it does not. A running pipeline finds the change by itself and tells what
follows from it.
"""

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from otel_sla.cli.commands import Commands
from otel_sla.cli.options import (
    ConfigOption,
    find_agreement,
    load,
    parse_month,
    read_group,
    settle_moment,
    user_name,
)
from otel_sla.errors import LedgerError
from otel_sla.sla.agreement import ExclusionReason, ExclusionWindow

if TYPE_CHECKING:
    from otel_sla.config import Config
    from otel_sla.judging.exclusion_effect import MonthEffect
    from otel_sla.ledger.exclusion_writer import ExclusionWriter
    from otel_sla.ledger.reader import LedgerReadings
    from otel_sla.sla.agreement import Agreement
    from otel_sla.sla.exclusions import ExclusionRecord

commands = Commands("exclusion", "Record, list and withdraw times that do not count as downtime.")

ByOption = Annotated[str | None, typer.Option(metavar="WHO", help="Who decides it; the system's user by default.")]


class ListFormat(Enum):
    """How a list is written."""

    TABLE = "table"
    JSON = "json"


@commands.command()
def add(
    *,
    config: ConfigOption = None,
    agreement: Annotated[str, typer.Option(metavar="NAME", help="The agreement.")],
    group: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Only this series: once for each group_by attribute."),
    ] = None,
    reason: Annotated[ExclusionReason, typer.Option(help="Why it does not count.")],
    start: Annotated[str, typer.Option(metavar="TIME", help="First moment; without an offset local to the agreement.")],
    stop: Annotated[str, typer.Option(metavar="TIME", help="First moment after it.")],
    announced_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="When customers were told; scheduled_maintenance needs it.")
    ] = None,
    note: Annotated[str, typer.Option(metavar="TEXT", help="For people; shown in reports.")],
    by: ByOption = None,
) -> None:
    """Record a time that does not count as downtime, before or after the fact."""
    now = datetime.now(UTC).replace(microsecond=0)
    settings = load(config)
    from otel_sla.ledger.exclusion_writer import ExclusionWriter

    with closing(ExclusionWriter.open(settings.ledger.url)) as notebook:
        chosen = find_agreement(agreement, _agreements(settings, notebook))
        zone = chosen.time_zone
        window = ExclusionWindow(
            reason=reason,
            start=settle_moment(start, "--start", zone),
            stop=settle_moment(stop, "--stop", zone),
            group=read_group(group or [], chosen, notebook.series()),
            announced_at=None if announced_at is None else settle_moment(announced_at, "--announced-at", zone),
            note=_said(note, "--note"),
            recorded_by=user_name(by),
            recorded_at=now,
        )
        _check_times(window, zone)
        _add(notebook, chosen, window, _elapsed_stop(settings, now))


@commands.command(name="list")
def list_(
    *,
    config: ConfigOption = None,
    agreement: Annotated[str | None, typer.Option(metavar="NAME", help="Only those of this agreement.")] = None,
    month: Annotated[str | None, typer.Option(metavar="YYYY-MM", help="Only those that touch this month.")] = None,
    list_format: Annotated[ListFormat, typer.Option("--format", help="How to write it.")] = ListFormat.TABLE,
    with_withdrawn: Annotated[bool, typer.Option("--all", help="Withdrawn ones too.")] = False,
) -> None:
    """Show the exclusions, those of the configuration and those recorded."""
    from otel_sla.cli.exclusion_list import entries_of, render_entries, render_entries_json
    from otel_sla.ledger.reader import LedgerReader

    settings = load(config)
    wanted = None if month is None else parse_month(month)
    with closing(LedgerReader.open(settings.ledger.url)) as reader, reader.snapshot():
        agreements = _agreements(settings, reader)
        entries = entries_of(reader, agreements)
    if agreement is not None and agreement not in {entry.agreement for entry in entries}:
        find_agreement(agreement, agreements)
    entries = [
        entry
        for entry in entries
        if agreement in (None, entry.agreement)
        and (wanted is None or entry.touches(wanted))
        and (with_withdrawn or entry.withdrawal is None)
    ]
    render = render_entries_json if list_format is ListFormat.JSON else render_entries
    typer.echo(render(entries), nl=False)


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
    why, who, exclusion_id = _said(why, "--why"), user_name(by), _read_number(number)
    from otel_sla.ledger.exclusion_writer import ExclusionWriter

    with closing(ExclusionWriter.open(settings.ledger.url)) as notebook:
        record = _find_record(notebook, exclusion_id)
        agreements = _agreements(settings, notebook)
        chosen = next((each for each in agreements if each.name == record.agreement), None)
        effects = _withdrawal_effects(notebook, chosen, record, _elapsed_stop(settings, now))
        from otel_sla.judging.exclusion_effect import figures_before

        notebook.withdraw_exclusion(
            exclusion_id, withdrawn_by=who, withdrawn_at=now, why=why, figures_before=figures_before(effects)
        )
    typer.echo(f"exclusion {exclusion_id} of agreement {record.agreement} is withdrawn by {who}: {why}")
    _tell_effects(effects)


def _agreements(settings: "Config", reader: "LedgerReadings") -> "tuple[Agreement, ...]":
    """Give those that are configured, then those that were: their months are judged as well (clause 22)."""
    from otel_sla.judging.terms_versions import removed_agreements

    return (*settings.agreements, *removed_agreements(reader, settings.agreements))


def _add(notebook: "ExclusionWriter", agreement: "Agreement", window: ExclusionWindow, elapsed_stop: int) -> None:
    from otel_sla.judging.exclusion_effect import effects_of, figures_before
    from otel_sla.sla.exclusions import ExclusionRecord, last_change

    with notebook.snapshot():
        records = notebook.exclusions()
        added = ExclusionRecord(0, last_change(records) + 1, agreement.name, window, None, None)
        effects = effects_of(notebook, agreement, window, (records, (*records, added)), elapsed_stop)
    number = notebook.record_exclusion(agreement.name, window, figures_before(effects))
    _tell_window(number, agreement, window, effects)
    _tell_effects(effects)


def _withdrawal_effects(
    notebook: "ExclusionWriter", agreement: "Agreement | None", record: "ExclusionRecord", elapsed_stop: int
) -> "tuple[MonthEffect, ...]":
    from dataclasses import replace

    from otel_sla.judging.exclusion_effect import effects_of
    from otel_sla.sla.exclusions import Withdrawal, last_change

    if agreement is None or record.withdrawal is not None:
        return ()
    with notebook.snapshot():
        records = notebook.exclusions()
        withdrawal = Withdrawal(last_change(records) + 1, "", datetime.now(UTC), "", None)
        after = tuple(
            replace(each, withdrawal=withdrawal) if each.exclusion_id == record.exclusion_id else each
            for each in records
        )
        return effects_of(notebook, agreement, record.window, (records, after), elapsed_stop)


def _find_record(notebook: "ExclusionWriter", exclusion_id: int) -> "ExclusionRecord":
    records = notebook.exclusions()
    for record in records:
        if record.exclusion_id == exclusion_id:
            return record
    error = LedgerError(f"the ledger {notebook.path} has no exclusion {exclusion_id}")
    error.hint = (
        f"it has {records[0].exclusion_id} to {records[-1].exclusion_id}: see otel-sla exclusion list --all"
        if records
        else "none was recorded; those of the configuration are taken back there"
    )
    raise error


def _elapsed_stop(settings: "Config", now: datetime) -> int:
    from otel_sla.judging.month_report import elapsed_stop_minute

    return elapsed_stop_minute(now, timedelta(seconds=settings.processor.grace_s))


def _said(text: str, option: str) -> str:
    text = text.strip()
    if not text:
        raise typer.BadParameter("must say something", param_hint=option)
    return text


def _read_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):  # What SQLite keeps has no more digits.
        raise typer.BadParameter(f"must be a number such as 1, not {text!r}", param_hint="ID")
    return int(text)


def _check_times(window: ExclusionWindow, zone: str) -> None:
    from otel_sla.report.wording import moment_in

    if window.start.astimezone(UTC) >= window.stop.astimezone(UTC):
        message = f"must be after start: {moment_in(window.stop, zone)} is not after {moment_in(window.start, zone)}"
        raise typer.BadParameter(message, param_hint="--stop")
    if window.reason is ExclusionReason.SCHEDULED_MAINTENANCE and window.announced_at is None:
        message = "is required for scheduled_maintenance: notice is counted from it"
        raise typer.BadParameter(message, param_hint="--announced-at")


def _tell_window(
    number: int, agreement: "Agreement", window: ExclusionWindow, effects: "Sequence[MonthEffect]"
) -> None:
    from otel_sla.report.wording import moment_in, printable, words_of
    from otel_sla.sla.exclusions import Refusal, find_refusal, latest_announcement
    from otel_sla.sla.figures_text import counted

    zone, terms = agreement.time_zone, agreement.exclusions
    group = "all series" if window.group is None else ", ".join(f"{key}={value}" for key, value in window.group)
    lines = [
        f"exclusion {number} of agreement {agreement.name} is recorded by {window.recorded_by}",
        f"  {words_of(window.reason.value)}, {group}: {window.note}",
        f"  from {moment_in(window.start, zone)} to {moment_in(window.stop, zone)}",
    ]
    refusal = find_refusal(window, terms, zone)
    if window.announced_at is not None:
        lines.append(f"  announced at {moment_in(window.announced_at, zone)}")
    if refusal is None:
        lines.append("  accepted")
    else:
        lines.append(f"  not accepted, excludes nothing: {words_of(refusal.value)}")
    if refusal is Refusal.NOTICE_TOO_SHORT:
        latest = latest_announcement(window.start, terms, zone).isoformat()
        days = terms.notice_business_days_min
        lines.append(f"  the latest date to announce it was {latest}, {counted(days, 'business day')} before")
    for effect in effects:  # What closed a month decides there, whatever is configured now.
        basis = effect.basis.agreement
        decided = find_refusal(window, basis.exclusions, basis.time_zone)
        if effect.basis.closed_version is not None and decided is not refusal:
            by_its_terms = "accepted" if decided is None else f"not accepted: {words_of(decided.value)}"
            lines.append(
                f"  in {effect.month}, by version {effect.basis.closed_version} that closed it: {by_its_terms}"
            )
    if window.minutes.n_minutes == 0:
        lines.append("  it covers no whole minute, so it excludes nothing")
    for line in lines:
        typer.echo(printable(line))


def _tell_effects(effects: "Sequence[MonthEffect]") -> None:
    from otel_sla.report.wording import group_text
    from otel_sla.sla.figures_text import counted, percent_text

    if not effects:
        typer.echo("  no whole minute of it has elapsed in a month with data: no figure changes now")
    for effect in effects:
        if not effect.is_kept:
            typer.echo(f"  month {effect.month}: its counts are kept no longer, so its figures stay what they are")
            continue
        version = "" if effect.basis.version is None else f", by version {effect.basis.version} of the agreement"
        closed = ", closed" if effect.basis.closed_version is not None else ""
        changed = [series for series in effect.series if series.is_changed]
        kept = len(effect.series) - len(changed)
        verbs = "gets" if len(changed) == 1 else "get", "keeps its" if kept == 1 else "keep theirs"
        fate = f"{counted(len(changed), 'series', 'series')} {verbs[0]} another uptime, {kept:,} {verbs[1]}"
        typer.echo(f"  month {effect.month}{closed}{version}: {fate}")
        for series in changed:
            before, after = series.before.figures, series.after.figures
            typer.echo(
                f"    {group_text(series.before)}: uptime {percent_text(before.monthly_uptime)}"
                f" -> {percent_text(after.monthly_uptime)}, downtime {before.down} -> {after.down} min"
                f" (raw {after.down_raw} min)"
                f"{'' if after.coverage is None else f', coverage {percent_text(after.coverage, 2)}'}"
            )
