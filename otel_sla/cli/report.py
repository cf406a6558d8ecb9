"""`otel-sla report`."""

import shutil
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from otel_sla.cli.options import ConfigOption, choose_agreements, load, parse_moment, parse_month
from otel_sla.errors import OtelSlaError

if TYPE_CHECKING:
    from otel_sla.report.document import Report


class ReportFormat(Enum):
    """How a report is written."""

    TABLE = "table"
    JSON = "json"


def report(
    *,
    config: ConfigOption = None,
    month: Annotated[
        str | None, typer.Option(metavar="YYYY-MM", help="Which month; the running one (UTC) by default.")
    ] = None,
    agreement: Annotated[str | None, typer.Option(metavar="NAME", help="Only this agreement.")] = None,
    report_format: Annotated[ReportFormat, typer.Option("--format", help="How to write it.")] = ReportFormat.TABLE,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write it; - and the default are standard output.")
    ] = None,
    generated_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Time to show as that of the report, for the same bytes twice.")
    ] = None,
) -> None:
    """Show a month as the agreement sees it. Reads the ledger, also while the pipeline runs."""
    from otel_sla.ledger.reader import LedgerReader
    from otel_sla.reporting import elapsed_stop_minute, load_report

    now = datetime.now(UTC)
    wanted = parse_month(month, now)
    shown_time = now if generated_at is None else parse_moment(generated_at, "--generated-at")
    settings = load(config)
    agreements = choose_agreements(agreement, settings)
    elapsed_stop = elapsed_stop_minute(now, timedelta(seconds=settings.processor.grace_s))
    with closing(LedgerReader.open(settings.ledger.url)) as reader:
        document = load_report(reader, agreements, wanted, elapsed_stop, shown_time)
    path = None if output is None or str(output) == "-" else output
    _write(_render(document, report_format, is_for_terminal=path is None and sys.stdout.isatty()), path)


def _render(document: "Report", report_format: ReportFormat, *, is_for_terminal: bool) -> str:
    if report_format is ReportFormat.JSON:
        from otel_sla.report.json import render_json

        return render_json(document)
    from otel_sla.report.table import WIDTH_MIN, render_table

    # A file or a pipe gets the same bytes whatever terminal stands behind.
    return render_table(document, shutil.get_terminal_size().columns if is_for_terminal else WIDTH_MIN)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise OtelSlaError(f"{output} cannot be written: {error.strerror}") from error
