"""`otel-sla replay`."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from enum import Enum
from io import BufferedIOBase, BufferedReader
from itertools import islice
from pathlib import Path
from typing import Annotated, cast

import typer

from otel_sla.cli.commands import EXIT_FAILED, Commands
from otel_sla.cli.options import ConfigOption, load, parse_moment, parse_month
from otel_sla.cli.replay_display import open_display, totals_lines
from otel_sla.cli.report import screen
from otel_sla.config import Config
from otel_sla.errors import ReplayError
from otel_sla.ledger.writer import Ledger
from otel_sla.replay.counting import ReplayCounter
from otel_sla.replay.records import Format
from otel_sla.replay.replay import OnError, Replay, ReplayOptions
from otel_sla.replay.session import each_report, private_ledger, start_counting
from otel_sla.report.document import Report
from otel_sla.report.json import render_json
from otel_sla.report.table import render_table

commands = Commands("replay")

_NOTHING_TO_REPORT = "No request of an agreement was found, so there is no month to report.\n"


class DryReportFormat(Enum):
    """How the report of a dry run is written."""

    TABLE = "table"
    JSON = "json"


@commands.command()
def replay(
    *,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="Written by the Collector's file exporter; .gz and .zst too; - is standard input.",
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
        DryReportFormat | None,
        typer.Option(help="Of the dry run: how the report is written; a table by default."),
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
        if not _is_standard_input(path) and (path.is_dir() or not path.exists()):
            problem = "is a directory" if path.is_dir() else "does not exist"
            raise typer.BadParameter(f"{path} {problem}", param_hint="FILE")
    wanted = None if month is None else parse_month(month)
    settings = load(config, begins_ledger=not dry_run)
    options = ReplayOptions(format=record_format, on_error=on_error)
    if not dry_run:
        ledger = Ledger.open(settings.ledger.url, may_create=settings.ledger.may_create)
        with closing(ledger):
            try:
                _count(ledger, settings, files, options, is_report_next=False)
            except ReplayError:
                if ledger.is_new and not ledger.series():
                    ledger.remove()
                raise
        return
    with private_ledger() as ledger:
        counting = _count(ledger, settings, files, options, is_report_next=True)
        reports = each_report(ledger, settings, wanted, counting.days, shown_time)
        _print_reports(reports, is_json=report_format is DryReportFormat.JSON)


def _count(
    ledger: Ledger, settings: Config, files: Sequence[Path], options: ReplayOptions, *, is_report_next: bool
) -> ReplayCounter:
    """Count all files; the totals are printed however it ends."""
    counting = start_counting(ledger, settings, time.time_ns)
    started_s = time.monotonic()
    try:
        with open_display(sum(path.stat().st_size for path in files if not _is_standard_input(path))) as display:
            replay = Replay(counting, options, tell=display.warn, show=display.show)
            for path in files:
                display.begin_file()
                if _is_standard_input(path):
                    replay.count("standard input", cast("BufferedIOBase", typer.get_binary_stream("stdin")))
                else:
                    with _opened(path) as file:
                        replay.count(str(path), file)
    except KeyboardInterrupt:
        typer.echo("otel-sla: interrupted; the same command goes on from where it stopped", err=True)
        raise typer.Exit(EXIT_FAILED) from None
    finally:
        for line in totals_lines(counting.totals, settings.agreements, time.monotonic() - started_s):
            typer.echo(line, err=is_report_next)
        if counting.totals.spans and not counting.totals.requests:
            typer.echo(f"  none is a request of an agreement: {counting.uncovered.reason()}", err=is_report_next)
    return counting


def _print_reports(reports: Iterator[Report], *, is_json: bool) -> None:
    stream = typer.get_binary_stream("stdout")
    if is_json:
        found = list(islice(reports, 2))
        if len(found) != 1:
            problem = "several months are" if found else "no month with requests of an agreement is"
            raise typer.BadParameter(f"is needed for JSON: {problem} found", param_hint="--month")
        stream.write(render_json(found[0]).encode())
    else:
        tables = [render_table(document, screen()) for document in reports]
        stream.write("".join(tables or [_NOTHING_TO_REPORT]).encode())
    stream.flush()


def _is_standard_input(path: Path) -> bool:
    return str(path) == "-"


def _opened(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise ReplayError(f"{path} cannot be read: {error.strerror}") from error
