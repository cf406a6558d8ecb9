"""`otel-sla validate`."""

import os

import typer

from otel_sla.cli.commands import Commands
from otel_sla.cli.options import ConfigOption, load
from otel_sla.config import check_notifications, check_own_receiver

commands = Commands("validate")


@commands.command()
def validate(config: ConfigOption = None) -> None:
    """Check a configuration and print what is in effect: defaults written out, secrets masked."""
    settings = load(config)
    check_own_receiver(settings, os.environ)
    check_notifications(settings)
    typer.echo(settings.effective, nl=False)
