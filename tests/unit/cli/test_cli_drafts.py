"""Commands that write a first configuration: `init` and `import openslo`."""

import os
import pty
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from cli_parts import invoke

from otel_sla.config import load_config
from otel_sla.sla.agreement import Agreement, Condition, Scope

SLO = """
apiVersion: openslo/v1
kind: SLO
metadata: {name: "we\\"b: *${x}"}
spec:
  service: "*$web"
  timeWindow: [{duration: 1M, calendar: {timeZone: Asia/Kolkata}}]
  budgetingMethod: Timeslices
  objectives: [{target: 0.9995, timeSliceTarget: 1, timeSliceWindow: 1m}]
"""


def agreement_in(path: Path) -> Agreement:
    """The one agreement of a configuration."""
    (agreement,) = load_config(path, {}).agreements
    return agreement


def test_init_writes_a_configuration_of_the_defaults(tmp_path: Path) -> None:
    """Without a terminal and without options: the contract's own terms, readable by `validate`."""
    path = tmp_path / "otel-sla.yaml"
    result = invoke("init", "--output", path)
    assert result.exit_code == 0, result.output
    assert f"otel-sla run --config {path}" in result.stdout
    assert agreement_in(path) == load_config(None, {}).agreements[0]
    assert invoke("validate", "--config", path).exit_code == 0


def test_init_takes_every_option(tmp_path: Path) -> None:
    """All given: each stands in the configuration, exactly."""
    path = tmp_path / "sla.yaml"
    options = ["--agreement", "chat: 1", "--service", "chat-*", "--service", "bot", "--error-rate-above", "2.5%"]
    options += ["--target", "0.9995", "--time-zone", "Australia/Lord_Howe", "--backend", "collector:4317"]
    assert invoke("init", "-o", path, *options).exit_code == 0
    config, agreement = load_config(path, {}), agreement_in(path)
    assert agreement.name == "chat: 1"
    assert agreement.covered_service == (Condition(Scope.RESOURCE, "service.name", ("chat-*", "bot")),)
    assert agreement.downtime.error_rate_above == Fraction(1, 40)
    assert agreement.target == Fraction(1999, 2000)
    assert agreement.time_zone == "Australia/Lord_Howe"
    assert [exporter.name for exporter in config.exporters] == ["otlp_grpc"]


def test_init_beside_a_collector_takes_another_port(tmp_path: Path) -> None:
    """With the Collector of this machine as the backend, 4317 is its own, and otel-sla listens at 14417."""
    path = tmp_path / "otel-sla.yaml"
    assert invoke("init", "-o", path, "--backend", "localhost:4317").exit_code == 0
    grpc = load_config(path, {}).receiver.grpc
    assert grpc is not None
    assert grpc.endpoint == "localhost:14417"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--target", "much"),
        ("--error-rate-above", "200%"),
        ("--time-zone", "Mars"),
        ("--target", "0"),
        ("--backend", ""),
    ],
)
def test_init_refuses_what_no_configuration_may_say(tmp_path: Path, option: str, value: str) -> None:
    """A ratio, zone or endpoint that cannot be: exit code 2, and no file."""
    result = invoke("init", "-o", tmp_path / "x.yaml", option, value)
    assert result.exit_code == 2, result.output
    assert list(tmp_path.iterdir()) == []


def test_init_asks_on_a_terminal(tmp_path: Path) -> None:
    """A person is asked for what no option gave, again after an answer that cannot be, and may just press return."""
    path = tmp_path / "otel-sla.yaml"
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "otel_sla", "init", "-o", str(path), "--target", "99%"]
    with subprocess.Popen(command, stdin=end, stdout=end, stderr=end) as process:
        os.write(terminal, b"shop\nshop-*, cart\n7 percent\n7%\n\n")
        assert process.wait(60) == 0
    os.close(end)
    os.close(terminal)
    agreement = agreement_in(path)
    assert (agreement.name, agreement.time_zone) == ("shop", "UTC")
    assert agreement.covered_service == (Condition(Scope.RESOURCE, "service.name", ("shop-*", "cart")),)
    assert agreement.downtime.error_rate_above == Fraction(7, 100)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A file that is there stays as it is; the error names it."""
    path, slo = tmp_path / "otel-sla.yaml", tmp_path / "slo.yaml"
    path.write_text("mine")
    slo.write_text(SLO)
    for command in (["init"], ["import", "openslo", slo]):
        result = invoke(*command, "--output", path)
        assert result.exit_code == 2
        assert f"{path}: exists already" in result.stderr
        assert path.read_text() == "mine"


def test_import_writes_an_agreement_and_says_what_it_took(tmp_path: Path) -> None:
    """Odd names survive the way through YAML; each field is listed on stderr."""
    slo, path = tmp_path / "slo.yaml", tmp_path / "otel-sla.yaml"
    slo.write_text(SLO)
    result = invoke("import", "openslo", slo, "--output", path)
    assert result.exit_code == 0, result.output
    agreement = agreement_in(path)
    assert agreement.name == 'we"b: *${x}'
    assert agreement.covered_service == (Condition(Scope.RESOURCE, "service.name", ("*$web",)),)
    assert (agreement.downtime.error_rate_above, agreement.target) == (0, Fraction(1999, 2000))
    assert "taken      spec.objectives[0].target: monthly_uptime.target: 99.95%" in result.stderr
    assert result.stdout == ""


def test_import_writes_to_stdout(tmp_path: Path) -> None:
    """Without --output the configuration alone is on stdout, to be piped."""
    slo, path = tmp_path / "slo.yaml", tmp_path / "piped.yaml"
    slo.write_text(SLO)
    result = invoke("import", "openslo", slo)
    path.write_text(result.stdout)
    assert agreement_in(path).time_zone == "Asia/Kolkata"


def test_import_refuses_with_the_place(tmp_path: Path) -> None:
    """An SLO of requests, and a file that is not there: exit code 2 and one line each."""
    slo = tmp_path / "slo.yaml"
    slo.write_text(SLO.replace("Timeslices", "Occurrences"))
    result = invoke("import", "openslo", slo)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{slo}: document 1" in result.stderr
    assert "spec.budgetingMethod" in result.stderr
    result = invoke("import", "openslo", tmp_path / "gone.yaml")
    assert result.exit_code == 2
    assert "cannot be read" in result.stderr
