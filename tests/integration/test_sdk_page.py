"""`docs/sdk.md` does what it says: its application runs, and its gauges appear."""

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from sdk_parts import MINUTE_NANOS, RunningClock

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sdk.md"


def run_block(language: str) -> str:
    """The page's block of a language that is marked as run."""
    (found,) = re.findall(
        rf"^<!-- tests/integration/test_sdk_page.py runs this. -->\n```{language}\n(.*?)^```$",
        PAGE.read_text(),
        re.MULTILINE | re.DOTALL,
    )
    return str(found)


def test_the_pages_application_has_gauges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands there, but for the clock and where the metrics go: a request is counted, a health probe is not."""
    monkeypatch.chdir(tmp_path)
    Path("otel-sla.yaml").write_text(run_block("yaml"))
    code = run_block("python")
    code = code.replace("PeriodicExportingMetricReader(OTLPMetricExporter())", "reader")
    code = code.replace("meter_provider=meters, ledger", "clock=clock, meter_provider=meters, ledger")
    clock, reader = RunningClock(), InMemoryMetricReader()
    names: dict[str, Any] = {"clock": clock, "reader": reader}
    exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102 - the page's own.

    async def ask() -> None:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(names["app"]), base_url="http://chat.test"
        ) as client:
            assert (await client.get("/v1/messages/7")).json() == {"message": 7}
            assert (await client.get("/health")).status_code == 200

    try:
        asyncio.run(ask())
        assert names["tracers"].force_flush()
        clock.ahead = 3 * MINUTE_NANOS
        assert names["tracers"].force_flush()
        metrics = {
            metric.name: metric
            for resource in reader.get_metrics_data().resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }
        counts = {
            point.attributes["sla.request.outcome"]: point.value for point in metrics["sla.requests"].data.data_points
        }
        assert counts == {"succeeded": 1, "failed": 0, "invalid": 1}
        assert Path("chat-sla.db").exists()
    finally:
        names["tracers"].shutdown()
        names["meters"].shutdown()
