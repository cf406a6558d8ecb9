"""Typer as this project uses it: lazy commands, usage lines as man pages write them, errors printed in one form.

What typer and pydantic say in words of their own ("Value error, ...", "{FILE}...", "<list[Path]>") does not get out.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, TypeVar

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from otel_sla.errors import ConfigError, OtelSlaError

EXIT_FAILED = 1
EXIT_USAGE = 2

_Function = TypeVar("_Function", bound=Callable[..., Any])
_UsageError: Any = typer.BadParameter.__mro__[1]  # Of typer's own, or of click in versions before; it exports neither.
_OWN_PHRASES = re.compile(r"^Invalid value for '?([^:']+)'?: (?:Value error, )?")


class Command(TyperCommand):
    """A command."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:  # noqa: ANN401 - as the base has it.
        super().__init__(*arguments, **settings)
        for param in self.params:
            if isinstance(param, TyperArgument):
                param.display_type_rich = lambda ctx: None  # type: ignore[method-assign] # noqa: ARG005

    def collect_usage_pieces(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Give what follows the command's name in its usage."""
        return [piece.strip("{}").replace("}...", "...") for piece in super().collect_usage_pieces(ctx)]

    def get_short_help_str(self, limit: int = 0) -> str:  # noqa: ARG002 - as the base has it.
        """Give the first sentence, whole, with its full stop."""
        return (self.help or "").strip().split("\n\n")[0].split(". ")[0].rstrip(".").replace("\n", " ") + "."


class LazyCommand(Command):
    """Stands for a command in help and completion; its module is imported when it runs or is asked for help.

    The module has `commands`: one command, or several of a group. `summary` is the first sentence of its help.
    """

    def __init__(self, name: str, module: str, summary: str) -> None:
        super().__init__(name, help=summary)
        self._module = module

    def load(self) -> Any:  # noqa: ANN401 - typer's own or click's, by typer's version.
        """Import the command itself."""
        command = typer.main.get_command(import_module(self._module).commands)
        command.help = command.help or self.help  # A group has no function whose docstring would say it.
        return command

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:  # noqa: ANN401
        """Give the command itself, with its arguments read."""
        return self.load().make_context(info_name, args, parent=parent, **extra)


class Group(TyperGroup):
    """Commands under one name; prints what went wrong in any of them, without a traceback."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Read the options before the command's name."""
        with _printing_errors():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # noqa: ANN401 - as the base has it.
        """Run a command."""
        with _printing_errors():
            return super().invoke(ctx)


class Commands(typer.Typer):
    """Collects commands, each of the class above; of a group too that has but one command."""

    def __init__(self, name: str, *, is_group: bool = False, **settings: Any) -> None:  # noqa: ANN401 - as the base has it.
        super().__init__(
            **{"name": name, "cls": Group, "add_completion": False, **settings},
            no_args_is_help=True,
            pretty_exceptions_enable=False,
            rich_markup_mode=None,
            context_settings={"help_option_names": ["-h", "--help"]},
            callback=(lambda: None) if is_group else None,
        )

    def command(self, name: str | None = None, **settings: Any) -> Callable[[_Function], _Function]:  # noqa: ANN401
        """Register a function."""
        return super().command(name, cls=Command, **settings)


@contextmanager
def _printing_errors() -> Iterator[None]:
    try:
        yield
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        command = error.ctx.command_path if error.ctx else "otel-sla"
        _print_error(_OWN_PHRASES.sub(r"\1: ", error.format_message()), f"{command} --help")
        raise typer.Exit(EXIT_USAGE) from error
    except OtelSlaError as error:
        _print_error(str(error), error.hint)
        raise typer.Exit(EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED) from error


def _print_error(message: str, hint: str) -> None:
    for line in message.splitlines():
        typer.echo(f"otel-sla: error: {line}", err=True)
    if hint:
        typer.echo(f"otel-sla: hint: {hint}", err=True)
