"""The pipeline's own metrics at a real backend."""

from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from builders import make_request_of, make_span
from capture import BUSY, PROTOCOLS, Script, backend
from pipeline_parts import Clock, make_config, run, running

from otel_sla.config.settings import MetricsSettings
from otel_sla.exporter.settings import DebugSettings

NOW = 29_701_440 * 60_000_000_000  # 2026-06-22T00:00:00Z.


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_last_figures_arrive_at_the_stop(protocol: str, tmp_path: Path) -> None:
    """A pipeline that took two requests and refused one says so at its stop, under the ledger's instance."""
    with backend(protocol) as there:
        settings = there.settings()
        config = make_config(tmp_path, exporters=(DebugSettings(name="debug"),))
        config = replace(config, metrics=MetricsSettings(exporter=settings, interval_s=3600))

        async def scenario() -> None:
            async with running(config, Clock(NOW)) as (_, send):
                for status in (200, 500):
                    await send(
                        make_request_of(make_span({"http.response.status_code": status}, end_time_unix_nano=NOW))
                    )
                with pytest.raises(grpc.aio.AioRpcError):
                    await send(b"\xff")

        run(scenario)
    (accepted,) = there.captured.points("otelcol_receiver_accepted_spans")
    assert accepted.as_int == 2
    requests = {
        tuple(sorted((pair.key, pair.value.string_value) for pair in point.attributes)): point.as_int
        for point in there.captured.points("otelcol_receiver_requests")
    }
    assert requests == {
        (("outcome", "success"), ("receiver", "otlp"), ("transport", "grpc")): 2,
        (("outcome", "refused"), ("receiver", "otlp"), ("transport", "grpc")): 1,
        (("outcome", "failure"), ("receiver", "otlp"), ("transport", "grpc")): 0,
    }
    (request,) = there.captured.requests
    resource = {pair.key: pair.value.string_value for pair in request.resource_metrics[0].resource.attributes}
    assert resource["service.name"] == "otel-sla"
    assert resource["service.instance.id"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_backend_that_is_busy_gets_them_later(protocol: str, tmp_path: Path) -> None:
    """Sent at each interval; what one attempt does not bring the next one does, as sums go on."""
    with backend(protocol, Script(BUSY)) as there:
        config = make_config(tmp_path, exporters=(DebugSettings(name="debug"),))
        config = replace(config, metrics=MetricsSettings(exporter=there.settings(), interval_s=0.01))

        async def scenario() -> None:
            async with running(config, Clock(NOW)) as (_, send):
                await send(make_request_of(make_span({}, end_time_unix_nano=NOW)))
                for _ in range(100):
                    await send(b"")

        run(scenario)
    assert there.script.asked >= 2
    assert there.captured.points("otelcol_receiver_accepted_spans")[-1].as_int == 1


def test_a_mistake_of_ours_is_a_failure(tmp_path: Path) -> None:
    """Spans that an internal error lost are failed ones, neither accepted nor refused."""

    async def scenario() -> None:
        async with running(make_config(tmp_path), Clock(NOW)) as (pipeline, send):
            pipeline.counts.filter = None  # Something that should be there is not.
            with pytest.raises(grpc.aio.AioRpcError, match="INTERNAL"):
                await send(make_request_of(make_span({}, end_time_unix_nano=NOW)))
            metrics = pipeline.metrics
            assert (metrics.failed_spans, metrics.refused_spans, metrics.accepted_spans) == (1, 0, 0)

    run(scenario)
