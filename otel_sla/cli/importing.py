"""`otel-sla import openslo`: agreements out of what others have written already."""

from pathlib import Path
from typing import Annotated

import typer

from otel_sla.cli.commands import Commands
from otel_sla.cli.openslo import Translation, read_openslo
from otel_sla.cli.options import write_new_file
from otel_sla.config import parse_config
from otel_sla.config.first_draft import draft_yaml
from otel_sla.errors import ConfigError, ConfigProblem
from otel_sla.sla.figures_text import counted

commands = Commands("import")

OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write there, if there is no such file; else to stdout."),
]


@commands.callback()
def _import() -> None:
    pass


@commands.command()
def openslo(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="OpenSLO v1, YAML; `-` for standard input.")],
    *,
    output: OutputOption = None,
) -> None:
    """Turn SLOs of calendar months and slices of a minute into agreements.

    Says on stderr, for each field, what it became or why it was not taken.
    """
    source = "standard input" if str(file) == "-" else str(file)
    readings = read_openslo(_read_text(file, source), source)
    agreements = [agreement for reading in readings for agreement in reading.agreements]
    text = draft_yaml(agreements, head=f"Made from {source} by `otel-sla import openslo`.")
    parse_config(text, source, {})
    for reading in readings:
        _print(reading)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_new_file(output, text)
        typer.echo(f"wrote {output}: {counted(len(agreements), 'agreement')}", err=True)


def _read_text(file: Path, source: str) -> str:
    try:
        return typer.get_text_stream("stdin").read() if str(file) == "-" else file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(source, [ConfigProblem("", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(source, [ConfigProblem("", f"is not UTF-8 at byte {error.start}")]) from error


def _print(reading: Translation) -> None:
    typer.echo(f"{reading.source}:", err=True)
    for verb, fields in (("taken", reading.taken), ("not taken", reading.not_taken)):
        for path, said in fields:
            typer.echo(f"  {verb:<10} {path}: {said}", err=True)
