"""The commands, one module each: the only place that prints or exits.

Takes the command line; gives text, files and an exit code: 0 fine, 1 failed, 2 wrong usage or configuration.
Never loads a command's module before that command runs.
"""

import os
import signal
import sys
from typing import Annotated, Any

import typer

from otel_sla import __version__
from otel_sla.cli.commands import Commands, Group, LazyCommand

# Command -> its module and the first sentence of its help, which stands here so that `otel-sla --help` imports nothing.
COMMANDS = {
    "run": ("run", "Take spans, count and judge them, and export what follows, until stopped."),
    "validate": (
        "validate",
        "Check a configuration and print what is in effect: defaults written out, secrets masked.",
    ),
    "init": ("init", "Write a first configuration with comments."),
    "report": ("report", "Show a month as the agreement sees it."),
    "replay": (
        "replay",
        "Count recorded spans of any age into the ledger, each once; the same file again counts what is new in it.",
    ),
    "demo": (
        "demo.show",
        "Show it all in half a minute: spans of an eventful hour in, events and the month's figure out.",
    ),
    "exclusion": ("exclusion", "Record, list and withdraw times that do not count as downtime."),
    "ledger": ("ledger", "Look after the ledger's file."),
    "outbox": ("outbox", "See how far the exporters have come."),
    "import": ("openslo", "Make a configuration of what is written already."),
}


class _AllCommands(Group):
    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - as the base has it.
        super().__init__(**settings)
        for name, (module, summary) in COMMANDS.items():
            self.add_command(LazyCommand(name, f"otel_sla.cli.{module}", summary))


app = Commands(
    "otel-sla",
    help="The uptime figure that a contract is settled by, computed from OpenTelemetry traces.",
    cls=_AllCommands,
    add_completion=True,
)


def main() -> None:
    """Run the command line; never returns."""
    _open_standard_files()
    # As Ctrl-C does: what a command has begun is cleaned up. `run` has handlers of its own; until it sets them it
    # ignores a hangup: what that asks for is read in a moment anyway.
    if sys.argv[1:2] == ["run"] and hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
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
