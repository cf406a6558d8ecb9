"""The dashboard and the alerts, by the real Prometheus."""

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import time_ns
from typing import Any

import beside
import builders
import make_dashboard
import pytest
import queries
from backends import BackendProcess, prometheus
from demo_hour import MINUTES, tell_demo_hour
from pipeline_parts import Clock, make_config, running

from otel_sla.exporter.settings import DebugSettings
from otel_sla.receiver.settings import HttpServerSettings
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
    own = {query for lines in queries.OWN.values() for _, query in lines}
    asking = [part for part in _objects(json.loads(DASHBOARD.read_text())) if part.get("expr", "") not in {"", *own}]
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
    """The month's figures, the minutes down and the limit are those of the traffic."""
    assert _now(hour, queries.UPTIME_LOWEST) == {frozenset(): 99.944}
    assert _now(hour, queries.TARGET_LOWEST) == {frozenset(): 99.95}
    assert _now(hour, queries.DOWNTIME_HIGHEST) == {frozenset(): 24}
    assert _now(hour, queries.BUDGET_LOWEST) == {frozenset(): -3}
    (checkout,) = (
        line
        for labels, line in hour.query_range(_filled(queries.MINUTE_STATES), MINUTES).items()
        if ("service_name", "checkout") in labels
    )
    states = [checkout[minute] for minute in MINUTES]
    assert [states.count(queries.STATES[state]) for state in ("up", "down", "no_data")] == [31, 24, 5]
    (error_rate,) = (
        line
        for labels, line in hour.query_range(_filled(queries.ERROR_RATE), MINUTES).items()
        if ("service_name", "checkout") in labels
    )
    assert max(error_rate.values()) == 0.6
    assert len(error_rate) == 55, "minutes without data are gaps"


@pytest.mark.collector
def test_scraped_as_advised_the_own_panels_and_alerts_have_what_they_ask_for(
    prometheus_binary: Path, tmp_path: Path
) -> None:
    """A pipeline, and Prometheus told what the README says: each line of the panels has data, each metric of the
    alerts is there, and all rules can be evaluated.
    """
    advised = re.search(r"```yaml\n(rule_files.*?)```", (DASHBOARDS / "README.md").read_text(), re.DOTALL)
    assert advised
    config = make_config(tmp_path, exporters=(DebugSettings(name="debug", interval_s=0.01),))
    config = replace(config, receiver=replace(config.receiver, http=HttpServerSettings(endpoint="127.0.0.1:0")))

    async def scrape() -> None:
        clock = Clock(time_ns())
        async with running(config, clock) as (pipeline, send):
            await send(builders.make_request_of(builders.make_span({}, end_time_unix_nano=clock.now)))
            clock.now += 3 * beside.MINUTE_NANOS
            await pipeline.tick()
            text = advised[1].replace("localhost:4318", f"127.0.0.1:{pipeline.http_port}").replace("30s", "1s")
            path = tmp_path / "prometheus.yaml"
            path.write_text(text.replace("[alerts.yaml]", f"[{DASHBOARDS / 'alerts.yaml'}]"))
            with prometheus(prometheus_binary, tmp_path, path) as backend:
                await beside.until(lambda: not _missing(backend), "all that is asked for in Prometheus")
                answer = backend.call("/api/v1/rules", {})
                rules = [rule for group in answer["data"]["groups"] for rule in group["rules"]]
                assert len(rules) == DASHBOARDS.joinpath("alerts.yaml").read_text().count("expr:")
                assert not [rule for rule in rules if rule.get("lastError")]

    asyncio.run(asyncio.wait_for(scrape(), 2 * beside.WAIT_S))


def _missing(backend: BackendProcess) -> list[str]:
    """What has no data yet of all that is asked of otel-sla's own metrics."""
    rules = re.sub(r"#.*", "", (DASHBOARDS / "alerts.yaml").read_text()).partition("otel-sla-itself")[2]
    names = set(re.findall(r"\b(?:otelcol|sla|process)_\w+|\bup\b(?={)", rules))
    asked = [*sorted(names), *(query for lines in queries.OWN.values() for _, query in lines)]
    found = {query: backend.call("/api/v1/query", {"query": _filled(query)}) for query in asked}
    return [query for query, answer in found.items() if not answer["data"]["result"]]


@pytest.mark.collector
def test_alerts_pass_their_own_tests(promtool_binary: Path) -> None:
    """Promtool finds the rules well-formed, and their tests pass."""
    for arguments in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts.test.yaml"]):
        done = subprocess.run(
            [promtool_binary, *arguments], cwd=DASHBOARDS, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
