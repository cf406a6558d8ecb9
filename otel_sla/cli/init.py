"""`otel-sla init`: a first configuration."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from otel_sla.cli.commands import Commands
from otel_sla.cli.options import Value, read_option, write_new_file
from otel_sla.config import parse_config
from otel_sla.config.first_draft import AgreementDraft, draft_yaml
from otel_sla.config.load import FOLDER_FILE
from otel_sla.config.parse import check_zone, parse_ratio

commands = Commands("init")

NAME, LIMIT, TARGET, ZONE = "default", "5%", "99.9%", "UTC"


@commands.command()
def init(
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write it; an existing file is kept.")
    ] = Path("otel-sla.yaml"),
    agreement: Annotated[str | None, typer.Option(metavar="NAME", help=f"Its name, {NAME} by default.")] = None,
    service: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Covered service.name, exact or a glob; may be repeated. All by default."),
    ] = None,
    error_rate_above: Annotated[
        str | None, typer.Option(metavar="RATIO", help=f"A minute is down above this, {LIMIT} by default.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="RATIO", help=f"Promised monthly uptime, {TARGET} by default.")
    ] = None,
    time_zone: Annotated[str | None, typer.Option(metavar="ZONE", help=f"Of the months, {ZONE} by default.")] = None,
    backend: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="OTLP/gRPC backend for gauges and events; none: the log.")
    ] = None,
) -> None:
    """Write a first configuration with comments. On a terminal, asks for what no option gives."""
    asks = sys.stdin.isatty() and sys.stdout.isatty()
    name = _settle(agreement, "--agreement", NAME, "Name of the agreement", str, asks=asks)
    patterns = service or []
    if asks and not patterns:
        answer: str = typer.prompt("Covered service.name, globs allowed, several with commas; empty: all", default="")
        patterns = [part.strip() for part in answer.split(",") if part.strip()]
    draft = AgreementDraft(
        name=name,
        services=tuple(patterns),
        error_rate_above=_settle(
            error_rate_above, "--error-rate-above", LIMIT, "Limit of a minute's error rate", parse_ratio, asks=asks
        ),
        target=_settle(target, "--target", TARGET, "Promised monthly uptime", parse_ratio, asks=asks),
        time_zone=_settle(time_zone, "--time-zone", ZONE, "Time zone of the months", check_zone, asks=asks),
    )
    text = draft_yaml([draft], head="Made by `otel-sla init`.", backend=backend)
    parse_config(text, "what was given", {})
    write_new_file(output, text)
    is_found = output == FOLDER_FILE  # The others have to be named.
    typer.echo(f"wrote {output}; next: otel-sla run{'' if is_found else f' --config {output}'}")


def _settle(
    given: str | None, option: str, default: str, question: str, read: Callable[[str], Value], *, asks: bool
) -> Value:
    """Read what an option gave, or the answer to a question, asked until it can be read."""
    if given is not None or not asks:
        return read_option(default if given is None else given, option, read)
    while True:
        try:
            return read(typer.prompt(question, default=default))
        except ValueError as error:
            typer.echo(f"  {error}", err=True)
