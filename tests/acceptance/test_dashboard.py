"""The dashboard and the alerts, by the real Prometheus."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import make_dashboard
import pytest
import queries
from backends import BackendProcess, prometheus
from demo_hour import MINUTES, tell_demo_hour

from otel_sla.sla.downtime import MinuteState

DASHBOARDS = Path(make_dashboard.__file__).parent
DASHBOARD = DASHBOARDS / "otel-sla.json"
END_S = 60 * MINUTES.stop
VARIABLES = {"$agreement": ".*", "$group": ".*", "$limit": "0.05", "$__interval": "1m", "$__rate_interval": "4m"}


@pytest.fixture(scope="module")
def hour(prometheus_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """Prometheus with the demo's hour."""
    folder = tmp_path_factory.mktemp("hour")
    with prometheus(prometheus_binary, folder) as backend:
        tell_demo_hour(backend, folder)
        yield backend


def _filled(query: str) -> str:
    return re.sub("|".join(map(re.escape, sorted(VARIABLES, reverse=True))), lambda name: VARIABLES[name[0]], query)


def _now(backend: BackendProcess, query: str) -> dict[frozenset[tuple[str, str]], float]:
    answer = backend.call("/api/v1/query", {"query": _filled(query), "time": str(END_S)})
    return {frozenset(found["metric"].items()): float(found["value"][1]) for found in answer["data"]["result"]}


def _objects(tree: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401  JSON values
    if isinstance(tree, dict):
        yield tree
    for branch in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _objects(branch)


def test_dashboard_is_what_its_code_makes() -> None:
    """The file that users import is not older than the code that makes it."""
    assert DASHBOARD.read_text() == make_dashboard.make_dashboard()


def test_dashboard_draws_every_state() -> None:
    """Each state that a minute can have is drawn as one."""
    assert set(queries.STATES) == {state.wire_name for state in MinuteState}


@pytest.mark.collector
def test_each_query_of_the_dashboard_returns_data(hour: BackendProcess) -> None:
    """What any panel, annotation or variable asks Prometheus has an answer for the demo's hour."""
    asking = [part for part in _objects(json.loads(DASHBOARD.read_text())) if "expr" in part]
    asked_of_prometheus = [part for part in asking if part.get("datasource", {}).get("type") != "loki"]
    for part in asked_of_prometheus:
        query = _filled(part["expr"])
        assert "$" not in query
        assert _now(hour, query) if part.get("instant") else hour.query_range(query, MINUTES), query
    assert len(asked_of_prometheus) == len(asking) - 1
    for query in (queries.AGREEMENTS, queries.GROUPS):
        _, metric, label = re.split(r"label_values\((.+), (\w+)\)", _filled(query))[:3]
        assert hour.call(f"/api/v1/label/{label}/values", {"match[]": metric})["data"], query


@pytest.mark.collector
def test_the_dashboard_shows_the_hour_as_the_demo_does(hour: BackendProcess) -> None:
    """The month's figures, the minutes down and the limit are those of the story."""
    assert _now(hour, queries.UPTIME_LOWEST) == {frozenset(): 99.944}
    assert _now(hour, queries.TARGET_LOWEST) == {frozenset(): 99.95}
    assert _now(hour, queries.DOWNTIME_HIGHEST) == {frozenset(): 24}
    assert _now(hour, queries.BUDGET_LOWEST) == {frozenset(): -3}
    (checkout,) = (
        line
        for labels, line in hour.query_range(_filled(queries.MINUTE_STATES), MINUTES).items()
        if ("service_name", "checkout") in labels
    )
    story = [checkout[minute] for minute in MINUTES]
    assert [story.count(queries.STATES[state]) for state in ("up", "down", "no_data")] == [31, 24, 5]
    (error_rate,) = (
        line
        for labels, line in hour.query_range(_filled(queries.ERROR_RATE), MINUTES).items()
        if ("service_name", "checkout") in labels
    )
    assert max(error_rate.values()) == 0.6
    assert len(error_rate) == 55, "minutes without data are gaps"


@pytest.mark.collector
def test_alerts_pass_their_own_tests(promtool_binary: Path) -> None:
    """Promtool finds the rules well-formed, and their tests pass."""
    for arguments in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts.test.yaml"]):
        done = subprocess.run(
            [promtool_binary, *arguments], cwd=DASHBOARDS, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
