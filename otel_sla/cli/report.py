"""`otel-sla report`, and the terminal that reports are written for."""

import os
import shutil
import sys
from codecs import BOM_UTF8
from collections.abc import Generator, Iterable
from contextlib import closing, nullcontext
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from otel_sla.cli.commands import Commands
from otel_sla.cli.options import ConfigOption, find_agreement, load, parse_moment, parse_month, running_month
from otel_sla.config import Config
from otel_sla.errors import OtelSlaError
from otel_sla.judging.month_report import each_series_minutes, elapsed_stop_minute, explain_absences, load_report
from otel_sla.judging.terms_versions import find_basis, removed_agreements
from otel_sla.ledger.reader import LedgerReader
from otel_sla.report.csv import Rows, each_minute_line, render_csv
from otel_sla.report.html.page import SECTIONS_MAX, render_html
from otel_sla.report.json import render_json
from otel_sla.report.table import Screen, render_table
from otel_sla.sla.agreement import Agreement
from otel_sla.sla.months import Month

commands = Commands("report")


class ReportFormat(Enum):
    """How a report is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    HTML = "html"


def screen() -> Screen:
    """What a report is written for on standard output; a file or a pipe gets the same bytes whatever stands behind."""
    if not sys.stdout.isatty():
        return Screen()
    has_colours = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Screen(shutil.get_terminal_size().columns, has_colours)


@commands.command()
def report(
    *,
    config: ConfigOption = None,
    month: Annotated[
        str | None, typer.Option(metavar="YYYY-MM", help="Which month; by default the one that is running.")
    ] = None,
    agreement: Annotated[str | None, typer.Option(metavar="NAME", help="Only this agreement.")] = None,
    report_format: Annotated[ReportFormat, typer.Option("--format", help="How to write it.")] = ReportFormat.TABLE,
    rows: Annotated[Rows | None, typer.Option(help="Of the CSV: what a row stands for; series by default.")] = None,
    bom: Annotated[
        bool, typer.Option("--bom", help="Of the CSV: begin with a byte order mark, by which spreadsheets know UTF-8.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write it; - and the default are standard output.")
    ] = None,
    as_configured: Annotated[
        bool,
        typer.Option("--as-configured", help="Judge a closed month by the terms as they are now, not as they were."),
    ] = False,
    generated_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Time to show as that of the report, for the same bytes twice.")
    ] = None,
) -> None:
    """Show a month as the agreement sees it. Reads the ledger, also while the pipeline runs."""
    for option, given in (("--rows", rows is not None), ("--bom", bom)):
        if given and report_format is not ReportFormat.CSV:
            raise typer.BadParameter("is for --format csv", param_hint=option)
    now = datetime.now(UTC)
    wanted = parse_month(month)
    shown_time = now if generated_at is None else parse_moment(generated_at, "--generated-at")
    settings = load(config)
    # A report of a moment speaks of what had elapsed then; of the future nothing is known.
    moment = min(now, shown_time)
    grace = timedelta(seconds=settings.processor.grace_s)
    elapsed_stop = elapsed_stop_minute(moment, grace)
    path = None if output is None or str(output) == "-" else output
    with closing(LedgerReader.open(settings.ledger.url)) as reader:
        agreements, removed = _choose_agreements(agreement, settings, reader)
        wanted = wanted or running_month(agreements or removed, moment)
        if rows is Rows.MINUTES:
            chosen = (*agreements, *removed)
            with closing(_minute_lines(reader, chosen, wanted, elapsed_stop, as_configured=as_configured)) as lines:
                _write(lines, path, bom=bom)
            return
        document = load_report(
            reader,
            agreements,
            wanted,
            elapsed_stop,
            shown_time,
            drawn_max=SECTIONS_MAX if report_format is ReportFormat.HTML else 0,
            as_configured=as_configured,
            removed=removed,
        )
        document = explain_absences(reader, document, elapsed_stop, grace)
    if report_format is ReportFormat.TABLE:
        text = render_table(document, screen() if path is None else Screen())
    elif report_format is ReportFormat.CSV:
        text = render_csv(document, Rows.SERIES if rows is None else rows)
    else:
        text = render_html(document) if report_format is ReportFormat.HTML else render_json(document)
    _write([text], path, bom=bom)


def _choose_agreements(
    name: str | None, settings: Config, reader: LedgerReader
) -> tuple[tuple[Agreement, ...], tuple[Agreement, ...]]:
    """Give those that are configured and those that are no more; with `--agreement` the one that it names."""
    removed = removed_agreements(reader, settings.agreements)
    if name is None:
        return settings.agreements, removed
    named = find_agreement(name, (*settings.agreements, *removed))
    return ((), (named,)) if named in removed else ((named,), ())


def _minute_lines(
    reader: LedgerReader, agreements: tuple[Agreement, ...], month: Month, elapsed_stop: int, *, as_configured: bool
) -> Generator[str]:
    """A month of a thousand series has 44 million lines, so they are written as they come."""
    with reader.snapshot():
        judged_by = [
            find_basis(reader, agreement, month, as_configured=as_configured).agreement for agreement in agreements
        ]
        all_series = reader.series()
    minutes = each_series_minutes(reader, agreements, month, elapsed_stop, as_configured=as_configured)
    yield from each_minute_line(judged_by, minutes, all_series)


def _open_own(path: Path) -> BinaryIO:
    """Open a file for writing; one that was not there is its owner's only, as the ledger is."""
    return open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600))


def _write(texts: Iterable[str], output: Path | None, *, bom: bool) -> None:
    # As bytes: the same ones in a file and in a pipe, whatever the terminal's encoding and line ends are.
    written = (text.encode() for text in texts)
    first = (BOM_UTF8 if bom else b"") + next(written)  # What cannot be read must not cost the file that is there.
    try:
        with nullcontext(typer.get_binary_stream("stdout")) if output is None else _open_own(output) as file:
            file.write(first)
            file.writelines(written)
            file.flush()
    except BrokenPipeError:  # Whoever reads has enough.
        raise
    except OSError as error:
        raise OtelSlaError(f"{output or 'standard output'} cannot be written: {error.strerror}") from error
