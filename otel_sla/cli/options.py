"""What several commands take: the configuration, an agreement, a month, a time, a name."""

import getpass
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from otel_sla.config import Config, choose_config, load_config
from otel_sla.config.parse import parse_time, settle_time
from otel_sla.errors import ConfigError, ConfigProblem
from otel_sla.sla.agreement import Agreement
from otel_sla.sla.months import Month, month_of

Value = TypeVar("Value")

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="YAML configuration; without it OTEL_SLA_CONFIG, else ./otel-sla.yaml, else the defaults.",
    ),
]


class TableOrJson(Enum):
    """How something is written."""

    TABLE = "table"
    JSON = "json"


def load(path: Path | None, *, begins_ledger: bool = False) -> Config:
    """Read the configuration, and print on a terminal which one it is; arguments and errors as for `load_config`."""
    choice = choose_config(path, os.environ)
    if sys.stderr.isatty():
        typer.echo(f"otel-sla: configuration: {choice}", err=True)
    return load_config(choice.path, os.environ, begins_ledger=begins_ledger)


def running_month(agreements: Iterable[Agreement], now: datetime) -> Month:
    """Give the month that is running: by the agreements' time zone, by UTC if they have several."""
    zones = {agreement.time_zone for agreement in agreements}
    return month_of(int(now.timestamp()) // 60, zones.pop() if len(zones) == 1 else "UTC")


def read_option(text: str, option: str, read: Callable[[str], Value]) -> Value:
    """Read an option's text by a function that raises ValueError where it cannot."""
    try:
        return read(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def parse_month(text: str | None) -> Month | None:
    """Read `--month`, if it is given."""
    return None if text is None else read_option(text, "--month", Month.parse)


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
    return read_option(text, option, lambda text: settle_time(parse_time(text), time_zone))


def user_name(given: str | None) -> str:
    """Give `--by`, or who runs this command."""
    try:
        name = getpass.getuser() if given is None else given.strip()
    except (KeyError, OSError) as error:
        message = "is required here: the system does not know its user"
        raise typer.BadParameter(message, param_hint="--by") from error
    if not name:
        raise typer.BadParameter("must name somebody", param_hint="--by")
    return name


def find_agreement(name: str, agreements: Sequence[Agreement]) -> Agreement:
    """Find an agreement by its name, among those configured and those that were once."""
    by_name = {agreement.name: agreement for agreement in reversed(agreements)}
    if name not in by_name:
        raise unknown_name("agreement", name, [agreement.name for agreement in agreements])
    return by_name[name]


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
    except OSError as error:
        exists = isinstance(error, FileExistsError)
        problem = "exists already; choose another --output" if exists else f"cannot be written: {error.strerror}"
        raise ConfigError(str(path), [ConfigProblem("", problem)]) from error
