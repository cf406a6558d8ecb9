"""What Prometheus and VictoriaMetrics show of otel-sla's figures, asked for as a user asks: docs/backends.md."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import beside
import pytest
from backends import BackendProcess, prometheus, victoriametrics

pytestmark = pytest.mark.slow

# (requests, failed among them) of consecutive minutes; the third is silent.
TRAFFIC = ((20, 0), (20, 0), (0, 0), (20, 20), (20, 1))
OWN = '{service_name="chat-1"}'
PROMETHEUS_NAMES = {
    "sla_error_rate_ratio",
    "sla_requests_total",
    "sla_minute_status",
    "sla_monthly_uptime_ratio",
    "sla_monthly_uptime_raw_ratio",
    "sla_monthly_uptime_target_ratio",
    "sla_downtime_seconds",
    "sla_downtime_budget_seconds",
    "sla_coverage_ratio",
}
VICTORIAMETRICS_NAMES = PROMETHEUS_NAMES - {"sla_minute_status"} | {"sla_minute_status_ratio"}
STATUS = '__name__=~"sla_minute_status(_ratio)?"'  # As the dashboard asks.
OTLP_NAMES = {
    "sla.error_rate",
    "sla.requests",
    "sla.minute.status",
    "sla.monthly_uptime",
    "sla.monthly_uptime.raw",
    "sla.monthly_uptime.target",
    "sla.downtime",
    "sla.downtime.budget",
    "sla.coverage",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """A backend, otel-sla and the Collector between them; minutes are counted from the traffic's first."""

    stack: beside.Beside
    backend: BackendProcess

    def line(self, query: str, stop: int) -> dict[int, float]:
        """One line of a graph over the first minutes, each minute by its own point alone."""
        first = self.stack.first_minute
        found = self.backend.line(f"last_over_time({query}[1m])", range(first, first + stop))
        return {minute - first: value for minute, value in found.items()}

    async def until_line(self, query: str, expected: dict[int, float], stop: int) -> None:
        """Wait until a line is as expected."""
        close = pytest.approx(expected)
        await beside.until(lambda: self.line(query, stop) == close, f"{query} is {expected}")

    async def tell_story(self) -> None:
        """Have TRAFFIC counted and judged minute by minute."""
        counted = 0
        for number, (requests, failed) in enumerate(TRAFFIC):
            if requests:
                await self.stack.send(beside.body_of(self.stack.first_minute + number, requests, failed))
            counted += requests
            await self.stack.until_counted(counted)
            await self.stack.pass_minutes(1)
        await self.stack.pass_minutes(beside.GRACE_MINUTES)

    async def revise(self, minute: int, requests: int, failed: int = 0) -> None:
        """Have late requests for a minute counted, told of, and the next minute judged."""
        counted = self.stack.counted()
        await self.stack.send(beside.body_of(self.stack.first_minute + minute, requests, failed))
        await self.stack.until_counted(counted + requests)
        await self.stack.pass_minutes(0)
        await self.stack.pass_minutes(1)


def show(collector: Path, backend: BackendProcess, folder: Path, scenario: Callable[[Seen], Awaitable[None]]) -> None:
    """Run a backend, the Collector's configuration for it and otel-sla, and look."""
    name = "to-prometheus" if "prometheus" in Path(backend.command[0]).name else "to-victoriametrics"

    async def with_all() -> None:
        urls = {"PROMETHEUS_URL": backend.url, "VICTORIAMETRICS_URL": backend.url}
        environment = {**urls, "EVENTS_FILE": str(folder / "events.json")}
        async with beside.beside(collector, name, folder, environment) as stack:
            await scenario(Seen(stack, backend))

    with backend:
        beside.run(with_all)


async def gap_and_restart(seen: Seen) -> None:
    """A silent minute is a gap, not a line drawn on; a pause of otel-sla leaves neither a hole nor a second series."""
    await seen.tell_story()
    await seen.until_line(f"sla_error_rate_ratio{OWN}", {0: 0, 1: 0, 3: 1, 4: 0.05}, 6)
    await seen.stack.stop()
    await seen.stack.pass_minutes(2)
    await seen.stack.start()
    await seen.until_line(f"sla_downtime_seconds{OWN}", dict(enumerate([0, 0, 0, 60, 60, 60, 60])), 9)
    # 43,200 or so minutes: one of them down.
    uptime = float(seen.stack.report()["series"][0]["monthly_uptime"])
    await seen.until_line(f"sla_monthly_uptime_ratio{OWN}", dict(enumerate([1, 1, 1, *[uptime] * 4])), 9)
    for state, of_minutes in {"down": [0, 0, 0, 1, 0, 0, 0], "no_data": [0, 0, 1, 0, 0, 1, 1]}.items():
        await seen.until_line(f'{{{STATUS}, sla_minute_state="{state}"}}', dict(enumerate(of_minutes)), 9)
    failed = dict(enumerate([0, 0, 0, 20, 21, 21, 21]))
    await seen.until_line('sla_requests_total{sla_request_outcome="failed"}', failed, 9)


async def revision(seen: Seen) -> None:
    """Late failures make a minute down: its rate changes at its own time, the month's figures when it was known."""
    await seen.revise(1, 20, 20)
    await seen.until_line(f"sla_error_rate_ratio{OWN}", {0: 0, 1: 0.5, 3: 1, 4: 0.05}, 9)
    await seen.until_line(f"sla_downtime_seconds{OWN}", dict(enumerate([0, 0, 0, 60, 60, 60, 60, 120])), 9)
    requests = list(seen.line('sla_requests_total{sla_request_outcome="failed"}', 9).values())
    assert requests == sorted(requests), "a counter that goes back would be taken for a restart"


@pytest.mark.collector
def test_prometheus_shows_gap_restart_and_revision(
    collector_binary: Path, prometheus_binary: Path, tmp_path: Path
) -> None:
    """Prometheus, by its own names and at the minutes' own times: a gap, a pause, a revision; not a second revision."""

    async def scenario(seen: Seen) -> None:
        await gap_and_restart(seen)
        assert seen.backend.names() >= PROMETHEUS_NAMES
        (labels,) = seen.backend.query_range("sla_downtime_seconds", range(seen.stack.first_minute, seen.stack.minute))
        assert {("job", "otel-sla"), ("sla_agreement_name", "chat"), ("service_name", "chat-1")} <= labels
        await revision(seen)
        down = seen.line(f'{{{STATUS}, sla_minute_state="down"}}', 9)
        assert {minute for minute, value in down.items() if value} == {1, 3}
        await seen.revise(1, 960)
        # Down by 20 of 1,000 no more. Of points that come late Prometheus keeps the first for each time stamp.
        await seen.until_line(f"sla_downtime_seconds{OWN}", dict(enumerate([0, 0, 0, 60, 60, 60, 60, 120, 60])), 10)
        assert seen.line(f"sla_error_rate_ratio{OWN}", 2) == {0: 0, 1: 0.5}

    show(collector_binary, prometheus(prometheus_binary, tmp_path), tmp_path, scenario)


@pytest.mark.collector
def test_prometheus_without_the_window_shows_no_revision(
    collector_binary: Path, prometheus_binary: Path, tmp_path: Path
) -> None:
    """Without `out_of_order_time_window` a revised minute stays as it was; the month's figures are right.

    A `service.name` of resources that is promoted to a label leaves the judged service's own in its place.
    """
    (tmp_path / "prometheus.yml").write_text("otlp: {promote_resource_attributes: [service.name]}\n")

    async def scenario(seen: Seen) -> None:
        await seen.tell_story()
        await seen.until_line(f"sla_downtime_seconds{OWN}", dict(enumerate([0, 0, 0, 60, 60])), 6)
        await seen.revise(1, 20, 20)
        await seen.until_line(f"sla_downtime_seconds{OWN}", dict(enumerate([0, 0, 0, 60, 60, 120])), 7)
        await beside.until(
            lambda: any("otlp_http/prometheus" in line and "Dropping" in line for line in seen.stack.collector.lines),
            "the refusal in the Collector's log",
        )
        assert seen.line(f"sla_error_rate_ratio{OWN}", 6) == {0: 0, 1: 0, 3: 1, 4: 0.05}

    backend = prometheus(prometheus_binary, tmp_path, tmp_path / "prometheus.yml")
    show(collector_binary, backend, tmp_path, scenario)


@pytest.mark.collector
def test_victoriametrics_shows_gap_restart_and_revision(
    collector_binary: Path, victoriametrics_binary: Path, tmp_path: Path
) -> None:
    """VictoriaMetrics with names like Prometheus' but for one: a gap, a pause, a revision at the minutes' own times."""

    async def scenario(seen: Seen) -> None:
        await gap_and_restart(seen)
        assert seen.backend.names() >= VICTORIAMETRICS_NAMES
        (labels,) = seen.backend.query_range("sla_downtime_seconds", range(seen.stack.first_minute, seen.stack.minute))
        assert {("sla_agreement_name", "chat"), ("service_name", "chat-1")} <= labels
        await revision(seen)

    options = ("-opentelemetry.usePrometheusNaming", "-dedup.minScrapeInterval=1ms")
    show(collector_binary, victoriametrics(victoriametrics_binary, tmp_path, *options), tmp_path, scenario)


@pytest.mark.collector
def test_victoriametrics_as_it_comes_has_otlp_names(
    collector_binary: Path, victoriametrics_binary: Path, tmp_path: Path
) -> None:
    """Without an option the names are OTLP's own, dots and all, and are asked for in quotes."""

    async def scenario(seen: Seen) -> None:
        await seen.tell_story()
        await seen.until_line('{"sla.error_rate", "service.name"="chat-1"}', {0: 0, 1: 0, 3: 1, 4: 0.05}, 6)
        await seen.until_line('{"sla.downtime", "service.name"="chat-1"}', dict(enumerate([0, 0, 0, 60, 60])), 6)
        assert seen.backend.names() >= OTLP_NAMES

    show(collector_binary, victoriametrics(victoriametrics_binary, tmp_path), tmp_path, scenario)
