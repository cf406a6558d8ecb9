"""`otel-sla ledger check` and `backup`, which work while the pipeline runs, and `compact`, which does not."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from otel_sla.cli.commands import Commands
from otel_sla.cli.options import ConfigOption, load
from otel_sla.errors import LedgerCorrupt
from otel_sla.ledger.compacting import compact_ledger
from otel_sla.ledger.faults import RESTORE
from otel_sla.ledger.reader import LedgerReader

commands = Commands("ledger")


@commands.command()
def check(config: ConfigOption = None) -> None:
    """Read all of the ledger and print what is damaged; exit code 1 if anything is."""
    with closing(LedgerReader.open(load(config).ledger.url)) as reader:
        found, path = reader.check(), reader.path
        log = path.with_name(f"{path.name}-wal")
        beside = f", read together with its log {log}" if log.exists() and log.stat().st_size else ""
    if found:
        raise LedgerCorrupt("\n".join(f"the ledger {path} is damaged: {line}" for line in found), RESTORE)
    typer.echo(f"the ledger {path} is sound{beside}")


@commands.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")], config: ConfigOption = None
) -> None:
    """Copy the ledger, as it is now, to a new file."""
    with closing(LedgerReader.open(load(config).ledger.url, as_it_is=True)) as reader:
        reader.backup(file)
        typer.echo(f"the ledger {reader.path} is copied to {file}, {file.stat().st_size} bytes")


@commands.command()
def compact(config: ConfigOption = None) -> None:
    """Give the disk back what is free in the ledger's file; the pipeline has to be stopped."""
    done = compact_ledger(load(config).ledger.url)
    before, after = done.size_before_bytes, done.size_after_bytes
    fate = f"has no free pages: {after} bytes" if before == after else f"is compacted, from {before} to {after} bytes"
    typer.echo(f"the ledger {done.path} {fate}")
