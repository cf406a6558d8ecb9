"""Which configuration a command takes, and where its ledger is."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from otel_sla.config.load import choose_config, load_config


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


def test_a_terminal_is_told_which_configuration_is_taken() -> None:
    """On a terminal a line on standard error names file and reason; in a pipe there is none."""
    shown = _stderr_on_a_terminal("validate")
    assert shown == "otel-sla: configuration: the defaults (no otel-sla.yaml in this folder)\r\n"
    Path("otel-sla.yaml").touch()
    assert _stderr_on_a_terminal("validate") == "otel-sla: configuration: otel-sla.yaml (in this folder)\r\n"
    command = [sys.executable, "-m", "otel_sla", "validate"]
    piped = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert piped.stderr == b""
