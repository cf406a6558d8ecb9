"""What several commands take: the configuration, an agreement, a month, a time, a name."""

import getpass
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer

from otel_sla.config import Config, choose_config, load_config
from otel_sla.config.parse import parse_time, settle_time
from otel_sla.errors import ConfigError, ConfigProblem
from otel_sla.sla.agreement import Agreement
from otel_sla.sla.months import Month, month_of

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="YAML configuration; without it OTEL_SLA_CONFIG, else ./otel-sla.yaml, else the defaults.",
    ),
]


def load(path: Path | None, *, begins_ledger: bool = False) -> Config:
    """Read the configuration; says on a terminal which one. Arguments as for `load_config`.

    Raises:
        ConfigError: It cannot be used.
    """
    choice = choose_config(path, os.environ)
    if sys.stderr.isatty():
        typer.echo(f"otel-sla: configuration: {choice}", err=True)
    return load_config(choice.path, os.environ, begins_ledger=begins_ledger)


def running_month(agreements: Iterable[Agreement], now: datetime) -> Month:
    """Give the month that is running: by the agreements' time zone, by UTC if they have several."""
    zones = {agreement.time_zone for agreement in agreements}
    return month_of(int(now.timestamp()) // 60, zones.pop() if len(zones) == 1 else "UTC")


def parse_month(text: str) -> Month:
    """Read `--month`."""
    try:
        return Month.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--month") from error


def parse_moment(text: str, option: str) -> datetime:
    """Read a time that says its offset."""
    with suppress(ValueError):
        moment = parse_time(text)
        if moment.tzinfo is not None:
            return moment
    message = f"must be a time with an offset such as 2026-12-01T00:00:00Z, not {text!r}"
    raise typer.BadParameter(message, param_hint=option)


def settle_moment(text: str, option: str, time_zone: str) -> datetime:
    """Read a time; without an offset it is local to the time zone."""
    try:
        return settle_time(parse_time(text), time_zone)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def user_name(given: str | None) -> str:
    """Give `--by`, or who runs this command."""
    if given is None:
        try:
            return getpass.getuser()
        except (KeyError, OSError) as error:
            message = "is required here: the system does not know its user"
            raise typer.BadParameter(message, param_hint="--by") from error
    if not given.strip():
        raise typer.BadParameter("must name somebody", param_hint="--by")
    return given.strip()


def find_agreement(name: str, agreements: Sequence[Agreement]) -> Agreement:
    """Find an agreement by its name, among those configured and those that were once."""
    for agreement in agreements:
        if agreement.name == name:
            return agreement
    raise unknown_name("agreement", name, [agreement.name for agreement in agreements])


def unknown_name(noun: str, name: str, names: Sequence[str]) -> typer.BadParameter:
    """Give the error for an option that must name one of `names`, with the nearest of them."""
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the {noun}s are {', '.join(map(repr, names))}"
    return typer.BadParameter(f"there is no {noun} {name!r}; {hint}", param_hint=f"--{noun}")


def write_new_file(path: Path, text: str) -> None:
    """Write a file that does not exist yet; what somebody has written is never overwritten.

    Raises:
        ConfigError: It exists, or cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise ConfigError(str(path), [ConfigProblem("", "exists already; choose another --output")]) from error
    except OSError as error:
        raise ConfigError(str(path), [ConfigProblem("", f"cannot be written: {error.strerror}")]) from error
