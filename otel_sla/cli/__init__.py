"""The commands, one module each: the only place that prints or exits.

Takes the command line; gives text, files and an exit code: 0 fine, 1 failed, 2 wrong usage or configuration.
Never loads what is slow to start before a command needs it: modules import that inside their functions.
"""

from typing import Annotated

import typer

from otel_sla import __version__
from otel_sla.cli import exclusion, importing, ledger, outbox
from otel_sla.cli.commands import Commands
from otel_sla.cli.demo import demo
from otel_sla.cli.init import init
from otel_sla.cli.replay import replay
from otel_sla.cli.report import report
from otel_sla.cli.run import run
from otel_sla.cli.validate import validate

app = Commands(
    "otel-sla",
    "The uptime figure that a contract is settled by, computed from OpenTelemetry traces.",
    add_completion=True,
)
app.command()(run)
app.command()(validate)
app.command()(init)
app.command()(report)
app.command()(replay)
app.command()(demo)
for commands in (exclusion.commands, ledger.commands, outbox.commands, importing.commands):
    app.add_typer(commands)


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
        bool, typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
