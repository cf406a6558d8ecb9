"""`otel-sla replay`."""

from pathlib import Path
from typing import Annotated

import typer

from otel_sla.cli.commands import Commands
from otel_sla.cli.options import ConfigOption, TableOrJson, load, parse_moment, parse_month
from otel_sla.replay.settings import Format, OnError

commands = Commands("replay")


@commands.command()
def replay(
    *,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE", help="Written by the Collector's file exporter; .gz and .zst too; - is standard input."
        ),
    ],
    config: ConfigOption = None,
    record_format: Annotated[
        Format, typer.Option("--format", help="JSON lines, or protobuf behind lengths.")
    ] = Format.AUTO,
    on_error: Annotated[
        OnError, typer.Option(help="End at a broken record, or print a warning and count the rest.")
    ] = OnError.STOP,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Leave the ledger alone: print what the report would be.")
    ] = False,
    month: Annotated[
        str | None, typer.Option(metavar="YYYY-MM", help="Of the dry run: which month; all that are found by default.")
    ] = None,
    report_format: Annotated[
        TableOrJson | None, typer.Option(help="Of the dry run: how the report is written; a table by default.")
    ] = None,
    generated_at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Of the dry run: written into the report instead of the time of day."),
    ] = None,
) -> None:
    """Count recorded spans of any age into the ledger, each once; the same file again counts what is new in it."""
    for option, given in (("--month", month), ("--report-format", report_format), ("--generated-at", generated_at)):
        if not dry_run and given is not None:
            raise typer.BadParameter("is for --dry-run", param_hint=option)
    shown_time = None if generated_at is None else parse_moment(generated_at, "--generated-at")
    for path in files:
        if str(path) != "-" and (path.is_dir() or not path.exists()):
            problem = "is a directory" if path.is_dir() else "does not exist"
            raise typer.BadParameter(f"{path} {problem}", param_hint="FILE")
    wanted = parse_month(month)
    settings = load(config, begins_ledger=not dry_run)
    # Imports numba, which neither `--help` nor a mistake in an option waits for.
    from otel_sla.cli.replaying import count_into_ledger, print_dry_run  # noqa: PLC0415
    from otel_sla.replay.replay import ReplayOptions  # noqa: PLC0415

    options = ReplayOptions(format=record_format, on_error=on_error)
    if dry_run:
        print_dry_run(settings, files, options, wanted, shown_time, is_json=report_format is TableOrJson.JSON)
    else:
        count_into_ledger(settings, files, options)
