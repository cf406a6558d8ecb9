"""The commands, one module each: the only place that prints or exits.

Takes the command line; gives text, files and an exit code: 0 fine, 1 failed, 2 wrong usage or configuration.
Never loads what is slow to start before a command needs it: modules import that inside their functions.
"""

import os
import signal
import sys
from typing import Annotated

import typer

from otel_sla import __version__
from otel_sla.cli import exclusion, importing, ledger, outbox
from otel_sla.cli.commands import Commands
from otel_sla.cli.demo.command import demo
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
    _open_standard_files()
    # As Ctrl-C does: what a command has begun is cleaned up. `run` has handlers of its own.
    for name in ("SIGTERM", "SIGHUP"):  # Windows has the first one only.
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores a hangup.
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    app(prog_name="otel-sla")


def _open_standard_files() -> None:
    """Where whoever started this has closed input, output or errors, let /dev/null stand there.

    Else the next file that is opened, the ledger or a connection, gets the number, and what is printed goes into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # The lowest number that is free; it stays open for as long as the process runs.
            opened = os.open(os.devnull, os.O_RDWR)
            assert opened == number, f"{name} was closed, and {opened} is the lowest free number"
            setattr(sys, name, open(opened, "r" if number == 0 else "w", closefd=False, encoding="utf-8"))  # noqa: SIM115


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
