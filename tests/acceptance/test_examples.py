"""The example in `examples/fastapi`, run as its page says, in the quick mode."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parents[2] / "examples" / "fastapi" / "run.py"
PORTS = ("--shop-port", "0", "--otlp-port", "0", "--prometheus-port", "0")


def run_example(*options: str) -> str:
    """What it prints; the environment's word on OTLP is not heard."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, str(RUN), "--quick", *PORTS, *options],
        env={**environment, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # The clock may strike a minute while an order is under way: that one then counts in the minute after its own.
    counts = r"(49|50) of (99|100|101)"
    assert re.search(rf"event sla\.downtime\.ended\n.* ended after 5 min, {counts} requests failed", done.stdout)
    assert re.search(rf"\d\d:\d\d +5 +{counts}$", done.stdout, re.MULTILINE), done.stdout
    return done.stdout


def test_example_without_prometheus() -> None:
    """Five of twenty minutes fail, by real spans of a real FastAPI; the log has what a backend would show."""
    said = run_example("--no-prometheus")
    assert "No Prometheus 3 or newer" in said
    assert re.search(r"ERROR +shop \(service\.name=checkout\): downtime started", said)


@pytest.mark.collector
def test_example_with_prometheus(prometheus_binary: Path) -> None:
    """Prometheus has uptime and downtime by the names that the example, and docs/backends.md, ask for."""
    said = run_example("--prometheus", str(prometheus_binary))
    lines = re.findall(r"^  [a-z].{31} *([\d.]+)   (.+)$", said, re.MULTILINE)
    value_of = {query: float(value) for value, query in lines}
    assert value_of["sla_downtime_seconds / 60"] == 5
    assert 0.999 < value_of["sla_monthly_uptime_ratio"] < 1
    assert value_of["sla_monthly_uptime_target_ratio"] == 0.999
    assert value_of["sla_downtime_budget_seconds / 60"] > 0
    assert value_of["max_over_time(sla_error_rate_ratio[1h])"] == pytest.approx(0.5, abs=0.03)
