"""The commands: the only module that prints or exits.

Exit codes: 0 fine, 1 failed, 2 wrong usage or configuration. What makes a command slow to start is imported inside it.
"""

import os
import shutil
import sys
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from otel_sla import __version__
from otel_sla.errors import ConfigError, OtelSlaError

if TYPE_CHECKING:
    from otel_sla.config import Config
    from otel_sla.report.document import Report
    from otel_sla.sla.agreement import Agreement
    from otel_sla.sla.months import Month

EXIT_FAILED = 1
EXIT_USAGE = 2


class ReportFormat(Enum):
    """How a report is written."""

    TABLE = "table"
    JSON = "json"


class _Commands(TyperGroup):
    """Tells errors of this package in one line each, without a traceback."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # noqa: ANN401 - as the base has it.
        try:
            return super().invoke(ctx)
        except OtelSlaError as error:
            _tell(error)
            raise typer.Exit(EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED) from error


app = typer.Typer(
    name="otel-sla",
    cls=_Commands,
    help="The uptime figure that a contract is settled by, computed from OpenTelemetry traces.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="YAML configuration; without it, the defaults serve."),
]


def main() -> None:
    """Run the command line; never returns."""
    app(prog_name="otel-sla")


def _print_version(is_asked: bool) -> None:  # noqa: FBT001 - typer's callback.
    if is_asked:
        typer.echo(f"otel-sla {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def run(config: ConfigOption = None) -> None:
    """Take spans, count and judge them, and export what follows, until stopped."""
    settings = _load(config)
    # A wrong configuration is told before the seconds that this import takes.
    from otel_sla.logs import set_up_logs  # noqa: PLC0415
    from otel_sla.pipeline import run_until_stopped  # noqa: PLC0415

    set_up_logs(settings.logs, sys.stderr)
    run_until_stopped(settings)


@app.command()
def validate(config: ConfigOption = None) -> None:
    """Check a configuration and print what is in effect: defaults written out, secrets masked."""
    from otel_sla.config import effective_yaml  # noqa: PLC0415

    typer.echo(effective_yaml(_load(config)), nl=False)


@app.command()
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
    from otel_sla.ledger.reader import LedgerReader  # noqa: PLC0415
    from otel_sla.reporting import elapsed_stop_minute, load_report  # noqa: PLC0415

    now = datetime.now(UTC)
    wanted = _parse_month(month, now)
    shown_time = _parse_generated_at(generated_at) or now
    settings = _load(config)
    agreements = _choose_agreements(agreement, settings)
    elapsed_stop = elapsed_stop_minute(now, timedelta(seconds=settings.processor.grace_s))
    with closing(LedgerReader.open(settings.ledger.url)) as reader:
        document = load_report(reader, agreements, wanted, elapsed_stop, shown_time)
    path = None if output is None or str(output) == "-" else output
    _write(_render(document, report_format, is_for_terminal=path is None and sys.stdout.isatty()), path)


@app.command()
def demo() -> None:
    """Show it all in half a minute: spans of an eventful hour in, events and the month's figure out."""
    from otel_sla.demo import run_demo  # noqa: PLC0415

    run_demo(typer.echo)


def _load(path: Path | None) -> "Config":
    from otel_sla.config import load_config  # noqa: PLC0415

    return load_config(path, os.environ)


def _parse_month(text: str | None, now: datetime) -> "Month":
    from otel_sla.sla.months import Month  # noqa: PLC0415

    if text is None:
        return Month(now.year, now.month)
    try:
        return Month.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--month") from error


def _parse_generated_at(text: str | None) -> datetime | None:
    if text is None:
        return None
    message = f"must be a time with an offset such as 2026-12-01T00:00:00Z, not {text!r}"
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment
    raise typer.BadParameter(message, param_hint="--generated-at")


def _choose_agreements(name: str | None, config: "Config") -> tuple["Agreement", ...]:
    chosen = tuple(agreement for agreement in config.agreements if name in (None, agreement.name))
    if chosen:
        return chosen
    names = [agreement.name for agreement in config.agreements]
    near = get_close_matches(name or "", names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the configuration has {', '.join(map(repr, names))}"
    raise typer.BadParameter(f"there is no agreement {name!r}; {hint}", param_hint="--agreement")


def _render(document: "Report", report_format: ReportFormat, *, is_for_terminal: bool) -> str:
    if report_format is ReportFormat.JSON:
        from otel_sla.report.json import render_json  # noqa: PLC0415

        return render_json(document)
    from otel_sla.report.table import WIDTH_MIN, render_table  # noqa: PLC0415

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


def _tell(error: OtelSlaError) -> None:
    for line in str(error).splitlines():
        typer.echo(f"otel-sla: error: {line}", err=True)
    if error.hint:
        typer.echo(f"otel-sla: hint: {error.hint}", err=True)
