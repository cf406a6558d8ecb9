"""A whole pipeline with its ledger, whose backend is away while it runs, and there after a restart."""

from pathlib import Path

import pytest
from builders import make_request_of, make_span
from capture import PROTOCOLS, backend
from pipeline_parts import Clock, events_of, make_config, run, running

MINUTE_NANOS = 60_000_000_000
START = 29_701_440 * MINUTE_NANOS  # 2026-06-22T00:00:00Z.


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_events_outlive_a_restart(protocol: str, tmp_path: Path) -> None:
    """What happened while the backend was away is delivered by the next process, in order, with the same uids."""
    with backend(protocol) as gone:
        settings = gone.settings(interval_s=0.001, timeout_s=2)
    config = make_config(tmp_path, exporters=(settings,))
    clock = Clock(START)

    async def outage() -> None:
        async with running(config, clock) as (pipeline, send):
            for minute in range(6):
                status = 500 if minute in {1, 2, 4} else 200
                clock.now = START + minute * MINUTE_NANOS
                await send(
                    make_request_of(make_span({"http.response.status_code": status}, end_time_unix_nano=clock.now))
                )
                await pipeline.tick()
            clock.now += 3 * MINUTE_NANOS
            await pipeline.tick()

    run(outage)
    published = events_of(config)
    assert [event.name for event in published] == ["sla.downtime.started", "sla.downtime.ended"] * 2

    with backend(protocol, port=int(gone.address.rpartition(":")[2])) as there:

        async def restart() -> None:
            async with running(config, clock):
                pass

        run(restart)
    assert there.uids() == [event.uid for event in published]
    assert [record.time_unix_nano for record in there.captured.log_records()] == [
        event.time_unix_nano for event in published
    ]
    rates = {point.time_unix_nano: point.as_double for point in there.captured.points("sla.error_rate")}
    assert rates == {START + (n + 1) * MINUTE_NANOS: float(n in {1, 2, 4}) for n in range(6)}
    instances = {
        pair.value.string_value
        for request in there.captured.requests
        for of_resource in (*getattr(request, "resource_logs", ()), *getattr(request, "resource_metrics", ()))
        for pair in of_resource.resource.attributes
        if pair.key == "service.instance.id"
    }
    assert len(instances) == 1
