"""`otel-sla demo`."""

import typer


def demo() -> None:
    """Show it all in half a minute: spans of an eventful hour in, events and the month's figure out."""
    from otel_sla.cli.demo.show import run_demo

    run_demo(typer.echo)
