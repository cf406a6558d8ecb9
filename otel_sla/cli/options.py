"""What several commands take: the configuration, an agreement, a group, a month, a time, a name."""

import getpass
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from otel_sla.config import Config
    from otel_sla.report.table import Screen
    from otel_sla.sla.agreement import Agreement
    from otel_sla.sla.months import Month
    from otel_sla.sla.series import Series

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="YAML configuration; without it OTEL_SLA_CONFIG, else ./otel-sla.yaml, else the defaults.",
    ),
]


def load(path: Path | None, *, begins_ledger: bool = False) -> "Config":
    """Read the configuration; says on a terminal which one. Arguments as for `load_config`.

    Raises:
        ConfigError: It cannot be used.
    """
    from otel_sla.config import choose_config, load_config

    choice = choose_config(path, os.environ)
    if sys.stderr.isatty():
        typer.echo(f"otel-sla: configuration: {choice}", err=True)
    return load_config(choice.path, os.environ, begins_ledger=begins_ledger)


def screen() -> "Screen":
    """What a report is written for on standard output; a file or a pipe gets the same bytes whatever stands behind."""
    from otel_sla.report.table import Screen

    if not sys.stdout.isatty():
        return Screen()
    has_colours = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Screen(shutil.get_terminal_size().columns, has_colours)


def running_month(agreements: "Iterable[Agreement]", now: datetime) -> "Month":
    """Give the month that is running: by the agreements' time zone, by UTC if they have several."""
    from otel_sla.sla.months import month_of

    zones = {agreement.time_zone for agreement in agreements}
    return month_of(int(now.timestamp()) // 60, zones.pop() if len(zones) == 1 else "UTC")


def parse_month(text: str) -> "Month":
    """Read `--month`."""
    from otel_sla.sla.months import Month

    try:
        return Month.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--month") from error


def parse_moment(text: str, option: str) -> datetime:
    """Read a time that says its offset."""
    from otel_sla.config.parse import parse_time

    with suppress(ValueError):
        moment = parse_time(text)
        if moment.tzinfo is not None:
            return moment
    message = f"must be a time with an offset such as 2026-12-01T00:00:00Z, not {text!r}"
    raise typer.BadParameter(message, param_hint=option)


def settle_moment(text: str, option: str, time_zone: str) -> datetime:
    """Read a time; without an offset it is local to the time zone."""
    from otel_sla.config.parse import parse_time, settle_time

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


def find_agreement(name: str, agreements: "Sequence[Agreement]") -> "Agreement":
    """Find an agreement by its name, among those configured and those that were (`versions.removed_agreements`)."""
    for agreement in agreements:
        if agreement.name == name:
            return agreement
    names = [agreement.name for agreement in agreements]
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the agreements are {', '.join(map(repr, names))}"
    raise typer.BadParameter(f"there is no agreement {name!r}; {hint}", param_hint="--agreement")


def read_group(
    pairs: Sequence[str], agreement: "Agreement", all_series: "Iterable[Series]"
) -> tuple[tuple[str, str], ...] | None:
    """Read `--group key=value ...` as the group of a series that the ledger knows; None without any."""
    if not pairs:
        return None
    from otel_sla.judging.series_judge import series_of

    given: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or key in given:
            said = "is given twice" if key in given else "must be written key=value"
            raise typer.BadParameter(f"{pair!r} {said}", param_hint="--group")
        given[key] = value
    known = [series.group_text for series in series_of(agreement, all_series)]
    if given in known:
        # In the order of the agreement's group_by; several series may look the same, all of them are meant.
        return next(tuple(group.items()) for group in known if group == given)
    raise typer.BadParameter(_unknown_group(given, known, agreement.group_by), param_hint="--group")


def _unknown_group(given: Mapping[str, str], known: Iterable[Mapping[str, str]], keys: tuple[str, ...]) -> str:
    if not keys:
        return "the agreement judges all requests together, it has no groups"
    for key in given:
        if key not in keys:
            near = get_close_matches(key, keys, n=1) or keys
            return f"{key!r} is no attribute of group_by; did you mean {near[0]!r}?"
    missing = [key for key in keys if key not in given]
    if missing:
        return f"needs a value for each group_by attribute; {', '.join(missing)} is missing"
    texts = [_group_text(group) for group in known]
    near_texts = get_close_matches(_group_text(given), texts, n=1)
    hint = f"did you mean {near_texts[0]!r}?" if near_texts else f"it knows {len(texts)} of this agreement"
    return f"the ledger knows no series {_group_text(given)!r}; {hint}"


def _group_text(group: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in group.items())


def write_new_file(path: Path, text: str) -> None:
    """Write a file that does not exist yet; what somebody has written is never overwritten.

    Raises:
        ConfigError: It exists, or cannot be written.
    """
    from otel_sla.errors import ConfigError, ConfigProblem

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise ConfigError(str(path), [ConfigProblem("", "exists already; choose another --output")]) from error
    except OSError as error:
        raise ConfigError(str(path), [ConfigProblem("", f"cannot be written: {error.strerror}")]) from error
