"""`otel-sla validate`."""

import os

import typer

from otel_sla.cli.commands import Commands
from otel_sla.cli.options import ConfigOption, load
from otel_sla.config import check_own_receiver, effective_yaml

commands = Commands("validate")


@commands.command()
def validate(config: ConfigOption = None) -> None:
    """Check a configuration and print what is in effect: defaults written out, secrets masked."""
    settings = load(config)
    check_own_receiver(settings, os.environ)
    typer.echo(effective_yaml(settings), nl=False)
