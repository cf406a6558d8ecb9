"""`otel-sla outbox list`: what the backends have not got yet, and what they will never take."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated

import typer

from otel_sla.cli.commands import Commands
from otel_sla.cli.options import ConfigOption, load, unknown_name
from otel_sla.ledger.reader import LedgerReader
from otel_sla.report.wording import moment_in, printable, short_minute
from otel_sla.sla.figures_text import counted

commands = Commands("outbox", is_group=True)


@commands.command(name="list")
def list_(
    config: ConfigOption = None,
    exporter: Annotated[str | None, typer.Option(metavar="NAME", help="Only this exporter.")] = None,
) -> None:
    """Show for each exporter how many events wait, and what its backend refused for good."""
    settings = load(config)
    configured = [each.name for each in (*settings.exporters, *settings.notifications)]
    with closing(LedgerReader.open(settings.ledger.url)) as reader, reader.snapshot():
        names = [*configured, *(name for name in reader.exporters() if name not in configured)]
        if exporter is not None and exporter not in names:
            raise unknown_name("exporter", exporter, names)
        chosen = [name for name in names if exporter in (None, name)]
        lines = [line for name in chosen for line in _each_line(reader, name, is_configured=name in configured)]
    # Written when the snapshot has ended: whoever pages through it must not hold it.
    typer.echo("".join(f"{printable(line)}\n" for line in lines), nl=False)


def _each_line(reader: LedgerReader, name: str, *, is_configured: bool) -> Iterator[str]:
    cursor, aside = reader.cursor(name), reader.set_aside(name)
    waiting = reader.events_count_after(cursor.event_id)
    before = cursor.exported_before
    figures = "no figures delivered yet" if before is None else f"figures delivered up to {short_minute(before, 'UTC')}"
    gone = "" if is_configured else " (not configured)"
    wait = f"{counted(waiting, 'event')} {'waits' if waiting == 1 else 'wait'}"
    yield f"{name}{gone}: {wait}, {len(aside):,} set aside; {figures}"
    refused = reader.refused_points(name)
    if refused is not None:
        at = moment_in(datetime.fromtimestamp(refused.at_unix_nano // 1_000_000_000, UTC), "UTC")
        span = f"from {short_minute(refused.first_minute, 'UTC')} to {short_minute(refused.last_minute + 1, 'UTC')}"
        yield f"  {counted(refused.count, 'point')} of figures refused, {span}; last at {at}: {refused.reason}"
    for item in aside:
        at = moment_in(datetime.fromtimestamp(item.at_unix_nano // 1_000_000_000, UTC), "UTC")
        stored = reader.events_after(item.event_id - 1, 1)
        is_kept = bool(stored) and stored[0].event_id == item.event_id
        what = f"{stored[0].event.name}: {stored[0].event.body}" if is_kept else "an event past its retention"
        yield f"  event {item.event_id}, set aside at {at}: {item.reason}"
        yield f"    {what}"
