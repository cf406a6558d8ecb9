"""Which configuration a command takes, and where its ledger is."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from otel_sla.config.load import choose_config, load_config
from otel_sla.errors import ConfigError


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_what_is_given_comes_first_and_the_defaults_last() -> None:
    """`--config`, then OTEL_SLA_CONFIG, then the folder's otel-sla.yaml, then none; an empty variable names nothing."""
    named = {"OTEL_SLA_CONFIG": "named.yaml"}
    assert choose_config(None, {}).path is None
    Path("otel-sla.yaml").touch()
    assert choose_config(None, {}).path == Path("otel-sla.yaml")
    assert choose_config(None, {"OTEL_SLA_CONFIG": ""}).path == Path("otel-sla.yaml")
    assert choose_config(None, named).path == Path("named.yaml")
    assert choose_config(Path("given.yaml"), named).path == Path("given.yaml")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///a.db", "sqlite:///conf/a.db"),
        ("sqlite:///../a.db", "sqlite:///conf/../a.db"),
        ("sqlite:////var/lib/a.db", "sqlite:////var/lib/a.db"),
    ],
)
def test_a_relative_ledger_starts_at_the_configurations_folder(url: str, expected: str) -> None:
    """The same ledger from whatever folder a command is run in; an absolute path stays."""
    Path("conf").mkdir()
    Path("conf/otel-sla.yaml").write_text(f"ledger: {{url: '{url}'}}\n")
    assert load_config(Path("conf/otel-sla.yaml"), {}).ledger.url == expected


def test_a_configuration_from_a_pipe_has_its_ledger_in_the_working_directory(tmp_path: Path) -> None:
    """A pipe has no folder, nor has a device: `--config /dev/stdin` makes no /dev/otel-sla.db."""
    command = [sys.executable, "-m", "otel_sla", "report", "--config", "/dev/stdin"]
    Path("given.yaml").write_text("ledger: {url: 'sqlite:///mine.db'}\n")
    piped = subprocess.run(command, input=Path("given.yaml").read_bytes(), capture_output=True, check=False, timeout=60)
    with Path("given.yaml").open("rb") as file:
        redirected = subprocess.run(command, stdin=file, capture_output=True, check=False, timeout=60)
    for each in (piped, redirected):
        assert f"{tmp_path}/mine.db" in each.stderr.decode()
        assert "/dev/mine.db" not in each.stderr.decode()


def test_a_ledger_that_was_left_in_the_working_directory_is_refused(tmp_path: Path) -> None:
    """Earlier versions had it there: an error names both places and the line, rather than an empty ledger begins."""
    Path("conf").mkdir()
    Path("conf/otel-sla.yaml").write_text("ledger:\n  url: sqlite:///a.db\n")
    Path("a.db").touch()
    with pytest.raises(ConfigError) as caught:
        load_config(Path("conf/otel-sla.yaml"), {}, begins_ledger=True)
    (problem,) = caught.value.problems
    assert problem.path == "ledger.url"
    assert f"conf/a.db does not exist, and {tmp_path}/a.db does" in problem.message
    assert problem.message.endswith("(line 2)")
    Path("a.db").rename("conf/a.db")
    assert load_config(Path("conf/otel-sla.yaml"), {}, begins_ledger=True).ledger.url == "sqlite:///conf/a.db"
    Path("a.db").touch()
    assert load_config(Path("conf/otel-sla.yaml"), {}, begins_ledger=True).ledger.url == "sqlite:///conf/a.db"


def _stderr_on_a_terminal(*arguments: str) -> str:
    """Run a command whose standard error is a terminal, and give what it showed there."""
    ours, theirs = pty.openpty()
    try:
        command = [sys.executable, "-m", "otel_sla", *arguments]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=theirs, check=False, timeout=60)
        os.set_blocking(ours, False)
        return os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_terminal_shows_which_configuration_is_taken() -> None:
    """On a terminal a line on standard error names file and reason; in a pipe there is none."""
    shown = _stderr_on_a_terminal("validate")
    assert shown == "otel-sla: configuration: the defaults (no otel-sla.yaml in this folder)\r\n"
    Path("otel-sla.yaml").touch()
    assert _stderr_on_a_terminal("validate") == "otel-sla: configuration: otel-sla.yaml (in this folder)\r\n"
    command = [sys.executable, "-m", "otel_sla", "validate"]
    piped = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert piped.stderr == b""
