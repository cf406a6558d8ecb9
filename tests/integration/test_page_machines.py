"""A running pipeline's page, read over HTTP by machines that others wrote, beside the command line."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import builders
import feedparser
import httpx
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from pipeline_parts import Clock, make_config, run, running

from otel_sla.page.settings import PageSettings

ANSWER_S = 60.0  # For the page's process to start on a machine that has much to do.
MINUTE = builders.MINUTE_NANOS
# Prints what a published client of Statuspage makes of a page's summary.
CLIENT = """
import json, sys
from statuspage_prometheus_exporter.service_checker import check_service_status
print(json.dumps(check_service_status("page", {"url": sys.argv[1]})))
"""


def test_a_downtime_as_machines_read_it(tmp_path: Path) -> None:
    """A failing service: live at once, then judged; report, Statuspage's client and feed readers have the same."""
    config = replace(make_config(tmp_path, grace_s=0.0), page=PageSettings(endpoint="127.0.0.1:0"))
    (tmp_path / "otel-sla.yaml").write_text(
        f"ledger: {{url: '{config.ledger.url}'}}\nprocessor: {{grace: 0s}}\n", encoding="utf-8"
    )
    clock = Clock(builders.START_UNIX_NANO + 30 * 10**9)

    async def scenario() -> None:
        async with running(config, clock) as (pipeline, send):
            url = f"http://127.0.0.1:{pipeline.page.addresses[0].port}"
            async with httpx.AsyncClient(base_url=url, timeout=ANSWER_S) as client:
                failing = builders.make_span(end_time_unix_nano=clock.now, status_code=Status.STATUS_CODE_ERROR)
                await send(builders.make_request_of(failing))
                live = await until(client, "/api/v1/live", lambda found: bool(found["agreements"][0]["series"]))
                minutes = live["agreements"][0]["minutes"]
                assert (minutes[-1]["failed"], minutes[-1]["error_rate"], live["is_judged"]) == (1, "1.00000000", False)
                clock.now += MINUTE
                await pipeline.tick()
                periods = await until(client, "/api/v1/periods", lambda found: bool(found["periods"]))
                assert periods["periods"][0]["is_open"]
                report = await client.get("/api/v1/report")
                moment = report.json()["generated_at"]
                command = (
                    *("-m", "otel_sla", "report", "--config", str(tmp_path / "otel-sla.yaml"), "--format", "json"),
                    *("--generated-at", moment),
                )
                assert await printed(tmp_path, *command) == report.content
                read = json.loads(await printed(tmp_path, "-c", CLIENT, f"{url}/api/v2/summary.json"))
                feed = feedparser.parse((await client.get("/feed.atom")).content)
        assert (read["success"], read["raw_status"]) == (True, "critical")
        assert read["component_metadata"][1] == {
            "name": "service.name=chat-1",
            "status": "major_outage",
            "status_value": 0,
        }
        (incident,) = read["incident_metadata"]
        assert (incident["started_at"], incident["status"]) == ("2026-06-22T00:00:00Z", "investigating")
        assert incident["affected_components"] == ["service.name=chat-1"]
        assert [entry.title for entry in feed.entries] == [
            "default, service.name=chat-1: downtime started at 2026-06-22T00:00:00Z"
        ]
        assert feed.entries[0].link == f"{url}/agreements/default/2026-06"

    run(scenario, timeout_s=200)


async def until(
    client: httpx.AsyncClient, path: str, is_there: Callable[[dict[str, object]], bool]
) -> dict[str, object]:
    """Ask again and again until an answer has what is waited for."""
    deadline = asyncio.get_running_loop().time() + ANSWER_S
    while True:
        answer = await client.get(path)
        if answer.status_code == 200 and is_there(answer.json()):
            return dict(answer.json())
        assert asyncio.get_running_loop().time() < deadline, answer.text


async def printed(folder: Path, *arguments: str) -> bytes:
    """What a program of this interpreter prints; it runs in a folder of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output, complaints = await process.communicate()
    assert process.returncode == 0, complaints.decode()
    return output
