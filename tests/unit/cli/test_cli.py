"""The commands: what they print, where, and the exit code."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from ledger_parts import rows_of_outcomes
from typer.testing import CliRunner, Result

from otel_sla import __version__
from otel_sla.cli import COMMANDS, app
from otel_sla.cli.commands import LazyCommand
from otel_sla.ledger.records import Commit
from otel_sla.ledger.writer import Ledger
from otel_sla.sla.series import Series

NOVEMBER_2025 = 29_365_920  # Epoch minute at which it begins, UTC.


def invoke(*arguments: str | Path) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="otel-sla")


def write(path: Path, text: str) -> Path:
    """Write a file and give its path."""
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Give a configuration whose ledger holds two minutes of November 2025: 100 requests of which 6 failed, and 10."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = Ledger.open(url)
    try:
        rows = rows_of_outcomes(
            series_id=np.array([0, 0], dtype=np.int64),
            epoch_minute=np.array([NOVEMBER_2025 + 10, NOVEMBER_2025 + 11], dtype=np.int64),
            outcomes=np.array([[94, 6, 0], [10, 0, 2]], dtype=np.int64),
        )
        series = Series(0, "default", (("service.name", b"chat"),), is_overflow=False)
        ledger.commit(Commit(new_series=(series,), rows=rows, fingerprints=()))
    finally:
        ledger.close()
    return write(tmp_path / "otel-sla.yaml", f"ledger: {{url: '{url}'}}\n")


def test_the_version_is_shown() -> None:
    """`--version` and `-V`: name and version, exit code 0."""
    for option in ("--version", "-V"):
        result = invoke(option)
        assert (result.exit_code, result.stdout) == (0, f"otel-sla {__version__}\n")


@pytest.mark.parametrize("command", ["run", "validate", "report", "demo", "replay"])
def test_every_command_has_help(command: str) -> None:
    """`--help` and `-h` of each command: what it does, exit code 0."""
    for option in ("--help", "-h"):
        result = invoke(command, option)
        assert result.exit_code == 0
        assert result.stdout.startswith(f"Usage: otel-sla {command} [OPTIONS]")
        assert not re.search(r"[{}]|Path|list\[", result.stdout)


def test_the_summaries_of_commands_are_whole() -> None:
    """`otel-sla --help`: no command's sentence ends in dots, and each, of a group too, in a full stop."""
    _, _, listed = invoke("--help").stdout.partition("Commands:\n")
    assert "..." not in listed
    summaries = re.split(r"\n(?=  \w)", listed.rstrip())
    assert len(summaries) == len(COMMANDS)
    assert all(summary.endswith(".") for summary in summaries)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_a_summary_is_the_first_sentence_of_a_commands_help(name: str) -> None:
    """What `otel-sla --help` says without importing a command is what the command says itself."""
    module, summary = COMMANDS[name]
    command = LazyCommand(name, f"otel_sla.cli.{module}", summary).load()
    assert command.name == name
    assert command.help.replace("\n", " ").startswith(summary)


def test_a_shell_completes_commands_and_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """What bash asks: the names of commands, of options, and the values of an option."""
    monkeypatch.setenv("_OTEL_SLA_COMPLETE", "complete_bash")
    for words, wanted in (
        ("otel-sla rep", "report"),
        ("otel-sla report --fo", "--format"),
        ("otel-sla report --format h", "html"),
    ):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
        assert wanted in invoke().stdout.split()


@pytest.mark.parametrize(
    "arguments",
    [
        ("serve",),
        ("run", "--port", "1"),
        ("validate", "extra"),
        ("report", "--format", "pdf"),
        ("report", "--month", "2025-13"),
        ("exclusion", "withdraw", "first", "--why", "a mistake"),
        ("replay",),
        ("report", "--month", "November"),
        ("report", "--generated-at", "2025-12-01T00:00:00"),
        ("report", "--generated-at", "today"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    """Unknown commands, options and values: exit code 2, nothing on standard output, no traceback."""
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    first, last = result.stderr.splitlines()
    assert first.startswith("otel-sla: error: ")
    assert last.startswith("otel-sla: hint: ")
    assert not re.search(r"Value error|Input should|Invalid value|[{}<>]", result.stderr)
    assert "Traceback" not in result.stderr


def test_validate_prints_what_is_in_effect(tmp_path: Path) -> None:
    """A file with one setting: all settings as YAML on standard output, secrets masked."""
    text = "processor: {grace: 90s}\nexporters: {otlp: {headers: {authorization: s3cret}}}\n"
    result = invoke("validate", "--config", write(tmp_path / "a.yaml", text))
    assert (result.exit_code, result.stderr) == (0, "")
    effective = yaml.safe_load(result.stdout)
    assert effective["processor"]["grace"] == "1m30s"
    assert effective["exporters"]["otlp"]["headers"]["authorization"] == "****"
    assert effective["agreements"][0]["monthly_uptime"]["target"] == "99.9%"


def test_validate_needs_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """No `--config`: the defaults, with what the environment says."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:14317")
    result = invoke("validate")
    assert result.exit_code == 0
    assert list(yaml.safe_load(result.stdout)["exporters"]) == ["otlp_grpc"]


@pytest.mark.parametrize("command", ["run", "validate"])
def test_exporting_to_oneself_is_a_wrong_configuration(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """Neither serves nor validates with the environment of an SDK that means the Collector; exit code 2."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317")
    result = invoke(command)
    assert result.exit_code == 2
    assert "is where otel-sla itself receives" in result.stderr


@pytest.mark.parametrize("command", ["run", "validate", "report"])
def test_a_wrong_configuration_exits_with_2(tmp_path: Path, command: str) -> None:
    """Two mistakes in a file: one line each on standard error, exit code 2, no traceback."""
    path = write(tmp_path / "bad.yaml", "processor: {series_max: 0}\nreceiverz: {}\n")
    result = invoke(command, "--config", path)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"otel-sla: error: {path}: processor.series_max: must be at least 1, not 0 (line 1)",
        f"otel-sla: error: {path}: receiverz: unknown key; did you mean 'receivers'? (line 2)",
    ]


def as_json(config: Path) -> tuple[object, ...]:
    """A month's report in JSON, generated at a given time."""
    month = ("--month", "2025-11", "--generated-at", "2025-12-01T00:00Z")
    return ("report", "-c", config, "--format", "json", *month)


def test_a_report_is_written_as_json(config: Path) -> None:
    """A month with one minute of downtime: the report's JSON, the same bytes twice with `--generated-at`."""
    arguments = as_json(config)
    result = invoke(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    assert document["month"] == "2025-11"
    assert document["generated_at"] == "2025-12-01T00:00:00Z"
    (series,) = document["agreements"][0]["series"]
    assert series["minutes"]["down"] == 1
    requests = series["requests"]
    assert (requests["valid"], requests["failed"], requests["invalid"], requests["spans"]) == (110, 6, 2, 112)
    assert invoke(*arguments).stdout == result.stdout


def test_a_report_is_written_as_a_table(config: Path) -> None:
    """The same month for people: it names the series and its uptime."""
    result = invoke("report", "-c", config, "--month", "2025-11")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "chat" in result.stdout
    assert "99.99" in result.stdout


def test_a_report_goes_to_a_file(config: Path, tmp_path: Path) -> None:
    """`--output`: the file has what standard output would have had."""
    arguments = as_json(config)
    path = tmp_path / "report.json"
    result = invoke(*arguments, "--output", path)
    assert (result.exit_code, result.stdout) == (0, "")
    assert path.read_text(encoding="utf-8") == invoke(*arguments, "--output", "-").stdout


def test_a_file_that_cannot_be_written_is_an_error(config: Path, tmp_path: Path) -> None:
    """`--output` into a folder that is not there: one line, exit code 1."""
    path = tmp_path / "none" / "report.json"
    result = invoke("report", "-c", config, "--format", "json", "--output", path)
    assert result.exit_code == 1
    assert result.stderr == f"otel-sla: error: {path} cannot be written: No such file or directory\n"


def test_an_error_names_the_nearest_agreement(config: Path) -> None:
    """A misspelt agreement: exit code 2 and the one that was meant; a far one: those that there are."""
    near = invoke("report", "-c", config, "--agreement", "defaultt")
    assert near.exit_code == 2
    assert "there is no agreement 'defaultt'; did you mean 'default'?" in near.stderr
    far = invoke("report", "-c", config, "--agreement", "zzz")
    assert "there is no agreement 'zzz'; the agreements are 'default'" in far.stderr


def test_one_agreement_can_be_asked_for(tmp_path: Path, config: Path) -> None:
    """Two agreements, `--agreement` with one: only that one is in the report."""
    url = yaml.safe_load(config.read_text(encoding="utf-8"))["ledger"]["url"]
    both = write(tmp_path / "two.yaml", f"ledger: {{url: '{url}'}}\nagreements: [{{name: default}}, {{name: other}}]\n")
    result = invoke("report", "-c", both, "--agreement", "other", "--format", "json")
    assert [agreement["name"] for agreement in json.loads(result.stdout)["agreements"]] == ["other"]


def test_a_missing_ledger_is_an_error_with_a_hint(tmp_path: Path) -> None:
    """No ledger yet: one line and a hint, exit code 1."""
    path = tmp_path / "none.db"
    result = invoke("report", "-c", write(tmp_path / "a.yaml", f"ledger: {{url: 'sqlite:///{path}'}}"))
    assert result.exit_code == 1
    first, second = result.stderr.splitlines()
    assert first == f"otel-sla: error: there is no ledger {path}"
    assert second.startswith("otel-sla: hint: ")


@pytest.mark.parametrize(
    ("arguments", "code"), [(("validate",), 0), (("validate", "-c", "none.yaml"), 2), (("report",), 1)]
)
def test_the_process_exits_with_the_code(tmp_path: Path, arguments: tuple[str, ...], code: int) -> None:
    """`python -m otel_sla` as a process: the exit code, errors on standard error only, no traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "otel_sla", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert bool(done.stdout) == (code == 0)
    assert all(line.startswith("otel-sla: ") for line in done.stderr.splitlines())
    assert bool(done.stderr) == (code != 0)


def test_help_and_validate_start_without_the_heavy_parts() -> None:
    """Commands that neither count nor serve: numba, grpc and OpenTelemetry are not even imported."""
    program = (
        "import sys; from typer.testing import CliRunner; from otel_sla.cli import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "assert 'otel_sla.config' not in sys.modules\n"
        "assert CliRunner().invoke(app, ['validate']).exit_code == 0\n"
        "print(sorted({'numba', 'grpc', 'opentelemetry', 'numpy', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
