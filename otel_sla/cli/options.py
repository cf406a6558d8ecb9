"""What several commands take: the configuration, an agreement, a month, a time."""

import os
from contextlib import suppress
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from otel_sla.config import Config
    from otel_sla.sla.agreement import Agreement
    from otel_sla.sla.months import Month

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="YAML configuration; without it, the defaults serve."),
]


def load(path: Path | None) -> "Config":
    """Read the configuration.

    Raises:
        ConfigError: It cannot be used.
    """
    from otel_sla.config import load_config

    return load_config(path, os.environ)


def parse_month(text: str | None, now: datetime) -> "Month":
    """Read `--month`; without it, the running one (UTC)."""
    from otel_sla.sla.months import Month

    if text is None:
        return Month(now.year, now.month)
    try:
        return Month.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--month") from error


def parse_moment(text: str, option: str) -> datetime:
    """Read a time that says its offset."""
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment
    message = f"must be a time with an offset such as 2026-12-01T00:00:00Z, not {text!r}"
    raise typer.BadParameter(message, param_hint=option)


def choose_agreements(name: str | None, config: "Config") -> tuple["Agreement", ...]:
    """Find the agreement of `--agreement`; without it, all."""
    chosen = tuple(agreement for agreement in config.agreements if name in (None, agreement.name))
    if chosen:
        return chosen
    names = [agreement.name for agreement in config.agreements]
    near = get_close_matches(name or "", names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the configuration has {', '.join(map(repr, names))}"
    raise typer.BadParameter(f"there is no agreement {name!r}; {hint}", param_hint="--agreement")
