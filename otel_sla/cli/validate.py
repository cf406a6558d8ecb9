"""`otel-sla validate`."""

import typer

from otel_sla.cli.options import ConfigOption, load


def validate(config: ConfigOption = None) -> None:
    """Check a configuration and print what is in effect: defaults written out, secrets masked."""
    from otel_sla.config import effective_yaml

    typer.echo(effective_yaml(load(config)), nl=False)
