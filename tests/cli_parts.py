"""Commands run in the tests' process, on a real ledger."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from ledger_parts import Row, count_rows
from typer.testing import CliRunner, Result

from otel_sla.cli import app
from otel_sla.ledger.records import Commit
from otel_sla.ledger.writer import Ledger
from otel_sla.sla.series import Series


def invoke(*arguments: object) -> Result:
    """Run a command."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="otel-sla")


def lines_of(result: Result) -> list[str]:
    """What a command that went well wrote, line by line."""
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout.splitlines()


def ledger_url(folder: Path) -> str:
    """Where the tests' ledger is."""
    return f"sqlite:///{folder / 'ledger.db'}"


def open_ledger(folder: Path, names: Sequence[bytes], rows: Iterable[Row], agreement: str = "chat") -> Ledger:
    """Give a new ledger of one series for each name, open for writing as a pipeline has it."""
    ledger = Ledger.open(ledger_url(folder))
    series = [Series(n, agreement, (("service.name", name),), is_overflow=False) for n, name in enumerate(names)]
    ledger.commit(Commit(tuple(series), count_rows(rows), ()))
    return ledger


def write_config(folder: Path, agreements: str) -> Path:
    """Write a configuration with that ledger and these agreements."""
    path = folder / "otel-sla.yaml"
    path.write_text(f"ledger: {{url: '{ledger_url(folder)}'}}\nagreements:\n{agreements}", encoding="utf-8")
    return path
