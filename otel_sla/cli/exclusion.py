"""`otel-sla exclusion add`, `list` and `withdraw`: windows that people record (clauses 12 to 15).

They work while the pipeline runs and while it does not. A running pipeline finds the change by itself and publishes
what follows from it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from enum import Enum
from typing import Annotated

import typer

from otel_sla.cli.commands import Commands
from otel_sla.cli.exclusion_text import each_effect_line, each_window_line, entries_of, entries_text, json_of_entries
from otel_sla.cli.options import ConfigOption, find_agreement, load, parse_month, settle_moment, user_name
from otel_sla.config import Config
from otel_sla.errors import LedgerError
from otel_sla.judging.exclusion_effect import MonthEffect, effects_of, figures_before
from otel_sla.judging.month_report import elapsed_stop_minute
from otel_sla.judging.series_judge import series_of
from otel_sla.judging.terms_versions import removed_agreements
from otel_sla.ledger.exclusion_writer import ExclusionWriter
from otel_sla.ledger.reader import LedgerReader, LedgerReadings
from otel_sla.report.wording import moment_in, pairs_text, printable
from otel_sla.sla.agreement import Agreement, ExclusionReason, ExclusionWindow
from otel_sla.sla.exclusions import ExclusionRecord, Withdrawal, last_change
from otel_sla.sla.series import Series

commands = Commands("exclusion")

ByOption = Annotated[str | None, typer.Option(metavar="WHO", help="Who decides it; the system's user by default.")]


Records = tuple[ExclusionRecord, ...]


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
    start: Annotated[str, typer.Option(metavar="TIME", help="Start; without an offset local to the agreement.")],
    stop: Annotated[str, typer.Option(metavar="TIME", help="End (exclusive).")],
    announced_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="When customers were told; scheduled_maintenance needs it.")
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

        def with_window(records: Records) -> Records:
            return (*records, ExclusionRecord(0, last_change(records) + 1, chosen.name, window, None, None))

        effects = _effects(writer, chosen, window, with_window, _elapsed_stop(settings, now))
        number = writer.record_exclusion(chosen.name, window, figures_before(effects))
    for line in (*each_window_line(number, chosen, window, effects), *each_effect_line(effects)):
        typer.echo(printable(line))


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
    typer.echo((json_of_entries if list_format is ListFormat.JSON else entries_text)(entries), nl=False)


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

        def without_it(records: Records) -> Records:
            withdrawal = Withdrawal(last_change(records) + 1, "", now, "", None)
            return tuple(
                replace(each, withdrawal=withdrawal) if each.exclusion_id == exclusion_id else each for each in records
            )

        effects: tuple[MonthEffect, ...] = ()
        if chosen is not None and record.withdrawal is None:
            effects = _effects(writer, chosen, record.window, without_it, _elapsed_stop(settings, now))
        writer.withdraw_exclusion(
            exclusion_id, withdrawn_by=who, withdrawn_at=now, why=why, figures_before=figures_before(effects)
        )
    typer.echo(printable(f"exclusion {exclusion_id} of agreement {record.agreement} is withdrawn by {who}: {why}"))
    for line in each_effect_line(effects):
        typer.echo(printable(line))


def _agreements(settings: Config, reader: LedgerReadings) -> tuple[Agreement, ...]:
    """Give those that are configured, then those that were: their months are judged as well (clause 22)."""
    return (*settings.agreements, *removed_agreements(reader, settings.agreements))


def _effects(
    writer: ExclusionWriter,
    agreement: Agreement,
    window: ExclusionWindow,
    change: Callable[[Records], Records],
    elapsed_stop: int,
) -> tuple[MonthEffect, ...]:
    """Give what a change of the recorded exclusions would do to the months that the window touches."""
    with writer.snapshot():
        records = writer.exclusions()
        return effects_of(writer, agreement, window, (records, change(records)), elapsed_stop)


def _find_record(writer: ExclusionWriter, exclusion_id: int) -> ExclusionRecord:
    records = writer.exclusions()
    for record in records:
        if record.exclusion_id == exclusion_id:
            return record
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
    for key in given:
        if key not in keys:
            near = get_close_matches(key, keys, n=1) or keys
            return f"{key!r} is no attribute of group_by; did you mean {near[0]!r}?"
    missing = [key for key in keys if key not in given]
    if missing:
        return f"needs a value for each group_by attribute; {', '.join(missing)} is missing"
    texts = [pairs_text(group) for group in known]
    near_texts = get_close_matches(pairs_text(given), texts, n=1)
    hint = f"did you mean {near_texts[0]!r}?" if near_texts else f"it knows {len(texts)} of this agreement"
    return f"the ledger knows no series {pairs_text(given)!r}; {hint}"
