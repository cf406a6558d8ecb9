"""What the real Collector's exporters send in each of their compressions, against what docs/collector.md says of it."""

import asyncio
import re
from pathlib import Path

import builders
import grpc
import parts
import pytest
from beside import EXPORT
from receiver_parts import FakeAccountant

from otel_sla.receiver.grpc.server import GrpcServer
from otel_sla.receiver.http.app import HttpApp, Probes
from otel_sla.receiver.http.server import HttpServer
from otel_sla.receiver.limits.memory import InFlight
from otel_sla.receiver.refusals import Refusals
from otel_sla.receiver.responses import Readiness
from otel_sla.receiver.settings import GrpcServerSettings, HttpServerSettings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "collector.md"
CONFIG = """
receivers: {otlp: {protocols: {grpc: {endpoint: "${env:OTLP_ENDPOINT}"}}}}
exporters:
  otlp_grpc:
    {endpoint: "${env:GRPC}", compression: COMPRESSION, tls: {insecure: true}, sending_queue: {enabled: false}}
  otlp_http: {endpoint: "http://${env:HTTP}", compression: COMPRESSION, sending_queue: {enabled: false}}
  otlp_http/json:
    {endpoint: "http://${env:HTTP}", compression: COMPRESSION, encoding: json, sending_queue: {enabled: false}}
service:
  pipelines: {traces: {receivers: [otlp], exporters: [EXPORTER]}}
  telemetry: {metrics: {level: none}}
"""
REFUSED = "Permanent error: rpc error: code = Internal desc = Error parsing 'grpc-encoding' metadata"
COLUMNS = ("otlp_grpc", "otlp_http", "otlp_http/json")


def cells_of_the_page() -> list[tuple[str, str, str]]:
    """Compression, exporter and what the page says of them."""
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (\S+) \| (\S+) \| (\S+) \|", PAGE.read_text(), re.MULTILINE)
    return [(row[0], *cell) for row in rows for cell in zip(COLUMNS, row[1:], strict=True) if cell[1] != "-"]


def test_the_page_speaks_of_every_compression() -> None:
    """All that `configcompression` knows are there, and nothing else."""
    found = {compression for compression, _, _ in cells_of_the_page()}
    assert found == {"none", "gzip", "zstd", "zlib", "deflate", "snappy", "x-snappy-framed", "lz4"}


@pytest.mark.collector
@pytest.mark.parametrize(("compression", "exporter", "said"), cells_of_the_page())
def test_each_compression_does_what_the_page_says(
    collector_binary: Path, tmp_path: Path, compression: str, exporter: str, said: str
) -> None:
    """What a Collector passes on arrives whole; gRPC's snappy and zstd are refused for good, as the Collector logs."""
    config = tmp_path / "collector.yaml"
    config.write_text(CONFIG.replace("COMPRESSION", compression).replace("EXPORTER", exporter))
    body = builders.realistic_request(200, 1)

    async def scenario() -> tuple[list[int], str]:
        told = ""
        accountant, in_flight = FakeAccountant(), InFlight(2**28)
        grpc_server = GrpcServer(GrpcServerSettings(endpoint="127.0.0.1:0"), accountant, in_flight, Refusals())
        probes = Probes(readiness=Readiness)
        http_server = HttpServer(
            HttpApp(HttpServerSettings(endpoint="127.0.0.1:0"), accountant, in_flight, probes, Refusals())
        )
        ports = {"GRPC": await grpc_server.start(), "HTTP": await http_server.start()}
        variables = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        collector = parts.CollectorProcess(collector_binary, config, ("OTLP_ENDPOINT",), variables)
        await asyncio.to_thread(collector.start)
        try:
            async with grpc.aio.insecure_channel(collector.endpoints["OTLP_ENDPOINT"]) as channel:
                await channel.unary_unary(EXPORT)(body, timeout=20)
        except grpc.aio.AioRpcError as error:
            told = str(error.details()).removeprefix("not retryable error: ")
        finally:
            await asyncio.to_thread(collector.stop)
            await grpc_server.stop(0)
            await http_server.stop(0)
        return [each.count(b"/v1/") for each in accountant.bodies], told

    expected = {"yes": ([body.count(b"/v1/")], ""), "**lost**": ([], REFUSED)}[said]
    assert asyncio.run(scenario()) == expected
