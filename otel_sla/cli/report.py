"""`otel-sla report`."""

import os
from codecs import BOM_UTF8
from collections.abc import Generator, Iterable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from otel_sla.cli.options import ConfigOption, find_agreement, load, parse_moment, parse_month, running_month, screen
from otel_sla.errors import OtelSlaError

if TYPE_CHECKING:
    from otel_sla.config import Config
    from otel_sla.ledger.reader import LedgerReader
    from otel_sla.sla.agreement import Agreement
    from otel_sla.sla.months import Month


class ReportFormat(Enum):
    """How a report is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    HTML = "html"


class ReportRows(Enum):
    """What a row of the CSV stands for."""

    SERIES = "series"
    PERIODS = "periods"
    EXCLUSIONS = "exclusions"
    MINUTES = "minutes"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the report is to be of."""

    agreements: "tuple[Agreement, ...]"
    removed: "tuple[Agreement, ...]"  # Those that are no longer configured.
    month: "Month"
    elapsed_stop: int
    grace: timedelta
    generated_at: datetime
    as_configured: bool


def report(
    *,
    config: ConfigOption = None,
    month: Annotated[
        str | None, typer.Option(metavar="YYYY-MM", help="Which month; by default the one that is running.")
    ] = None,
    agreement: Annotated[str | None, typer.Option(metavar="NAME", help="Only this agreement.")] = None,
    report_format: Annotated[ReportFormat, typer.Option("--format", help="How to write it.")] = ReportFormat.TABLE,
    rows: Annotated[
        ReportRows | None, typer.Option(help="Of the CSV: what a row stands for; series by default.")
    ] = None,
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
    wanted = None if month is None else parse_month(month)
    shown_time = now if generated_at is None else parse_moment(generated_at, "--generated-at")
    settings = load(config)
    from otel_sla.judging.month_report import elapsed_stop_minute
    from otel_sla.ledger.reader import LedgerReader

    # A report of a moment speaks of what had elapsed then; of the future nothing is known.
    moment = min(now, shown_time)
    grace = timedelta(seconds=settings.processor.grace_s)
    elapsed_stop = elapsed_stop_minute(moment, grace)
    path = None if output is None or str(output) == "-" else output
    with closing(LedgerReader.open(settings.ledger.url)) as reader:
        agreements, removed = _choose_agreements(agreement, settings, reader)
        wanted = wanted or running_month(agreements or removed, moment)
        asked = _Asked(agreements, removed, wanted, elapsed_stop, grace, shown_time, as_configured)
        if rows is ReportRows.MINUTES:
            with closing(_each_minute_line(reader, asked)) as lines:
                _write(lines, path, bom=bom)
            return
        text = _render(reader, asked, report_format, rows, is_for_stdout=path is None)
    _write([text], path, bom=bom)


def _choose_agreements(
    name: str | None, settings: "Config", reader: "LedgerReader"
) -> "tuple[tuple[Agreement, ...], tuple[Agreement, ...]]":
    """Give those that are configured and those that are no more; with `--agreement` the one that it names."""
    from otel_sla.judging.terms_versions import removed_agreements

    removed = removed_agreements(reader, settings.agreements)
    if name is None:
        return settings.agreements, removed
    named = find_agreement(name, (*settings.agreements, *removed))
    return ((), (named,)) if named in removed else ((named,), ())


def _render(
    reader: "LedgerReader",
    asked: _Asked,
    report_format: ReportFormat,
    rows: ReportRows | None,
    *,
    is_for_stdout: bool,
) -> str:
    from otel_sla.judging.month_report import explain_absences, load_report
    from otel_sla.report.html.page import SECTIONS_MAX, render_html

    document = load_report(
        reader,
        asked.agreements,
        asked.month,
        asked.elapsed_stop,
        asked.generated_at,
        drawn_max=SECTIONS_MAX if report_format is ReportFormat.HTML else 0,
        as_configured=asked.as_configured,
        removed=asked.removed,
    )
    document = explain_absences(reader, document, asked.elapsed_stop, asked.grace)
    if report_format is ReportFormat.HTML:
        return render_html(document)
    if report_format is ReportFormat.JSON:
        from otel_sla.report.json import render_json

        return render_json(document)
    if report_format is ReportFormat.CSV:
        from otel_sla.report.csv import Rows, render_csv

        return render_csv(document, Rows.SERIES if rows is None else Rows(rows.value))
    from otel_sla.report.table import Screen, render_table

    return render_table(document, screen() if is_for_stdout else Screen())


def _each_minute_line(reader: "LedgerReader", asked: _Asked) -> Generator[str]:
    """A month of a thousand series has 44 million lines, so they are written as they come."""
    from otel_sla.judging.month_report import each_series_minutes
    from otel_sla.judging.terms_versions import find_basis
    from otel_sla.report.csv import each_minute_line

    with reader.snapshot():
        judged_by = [
            find_basis(reader, agreement, asked.month, as_configured=asked.as_configured).agreement
            for agreement in (*asked.agreements, *asked.removed)
        ]
        all_series = reader.series()
    minutes = each_series_minutes(
        reader,
        (*asked.agreements, *asked.removed),
        asked.month,
        asked.elapsed_stop,
        as_configured=asked.as_configured,
    )
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
