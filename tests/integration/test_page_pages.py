"""The page of a running pipeline, as a browser gets it: what arrives is seen at once, what is judged when it is."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import builders
import httpx
from pipeline_parts import Clock, make_config, run, running

from otel_sla.page.settings import PageSettings

MINUTE = 60 * 10**9
START = 1_795_000_020 * 10**9 // MINUTE * MINUTE  # Some minute of 2026-11.
DEADLINE_S = 90.0  # The page's process is started, and loads what it needs.


def test_a_span_is_seen_before_and_after_it_is_judged(tmp_path: Path) -> None:
    """An empty page says where to send; a span that comes is on it, marked as not judged; then its downtime is."""
    config = make_config(tmp_path, grace_s=0.0)
    config = replace(config, page=PageSettings(endpoint="127.0.0.1:0"))
    clock = Clock(START)

    async def scenario() -> None:
        async with running(config, clock) as (pipeline, send), httpx.AsyncClient() as client:
            assert pipeline.page is not None
            url = str(pipeline.page.url)

            async def seen(path: str, is_shown: Callable[[str], bool]) -> str:
                deadline, page = time.monotonic() + DEADLINE_S, ""
                while time.monotonic() < deadline:
                    answer = await client.get(url + path, timeout=DEADLINE_S)
                    page = answer.text
                    if answer.status_code == 200 and is_shown(page):
                        return page
                raise AssertionError(page)

            empty = await seen("", lambda page: "Send spans" in page)
            assert f"OTLP/gRPC: 127.0.0.1:{pipeline.grpc_port}" in empty
            span = builders.make_span(end_time_unix_nano=START + 1, attributes={"http.response.status_code": 503})
            await send(builders.make_request(builders.make_resource_spans([span], {"service.name": "cart"})))
            arrived = await seen("", lambda page: "100.00\u00a0% ▲" in page)
            assert "no minute of this month is judged yet" in arrived
            clock.now += MINUTE
            await pipeline.tick()
            judged = await seen("", lambda page: "1 of 43 min used" in page)
            assert 'data-days="' in judged
            day = await seen(
                f"agreements/{config.agreements[0].name}/series/0", lambda page: "minute by minute" in page
            )
            assert '<span class="breached">down</span>' in day
            await seen("pipeline", lambda page: "Spans are taken" in page)

    run(scenario, timeout_s=300)
