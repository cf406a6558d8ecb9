"""OpenTelemetry's own SDKs of other languages as senders: what they send is counted, and what was refused once."""

import asyncio
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from pipeline_parts import make_config, run, running

from otel_sla.config import Config
from otel_sla.ledger.reader import LedgerReader
from otel_sla.pipeline import Pipeline
from otel_sla.receiver.settings import GrpcServerSettings, HttpServerSettings, ReceiverSettings

SPANS = 250  # Three batches; every tenth failed.
COUNTED = [225, 25, 0]  # Succeeded, failed, invalid.
GO_PROTOCOLS = ("grpc", "grpc-gzip", "http", "http-gzip")
NODE_PROTOCOLS = ("grpc", "grpc-gzip", "http", "http-gzip", "http-json")


def config_in(folder: Path) -> Config:
    """The defaults, on free ports for both protocols."""
    receiver = ReceiverSettings(
        grpc=GrpcServerSettings(endpoint="127.0.0.1:0"), http=HttpServerSettings(endpoint="127.0.0.1:0")
    )
    return replace(make_config(folder), receiver=receiver)


async def start_sender(command: tuple[str, ...], protocol: str, pipeline: Pipeline) -> asyncio.subprocess.Process:
    """One sender at work."""
    port = pipeline.grpc_port if protocol.startswith("grpc") else pipeline.http_port
    return await asyncio.create_subprocess_exec(
        *command,
        protocol,
        f"127.0.0.1:{port}",
        str(SPANS),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def finish(sender: asyncio.subprocess.Process) -> None:
    """Wait for its end; it must not have given up a span."""
    output, _ = await sender.communicate()
    assert sender.returncode == 0, output.decode()
    assert output.decode().endswith(f"sent {SPANS}\n")


def counted(config: Config) -> dict[str, list[int]]:
    """Requests in the ledger by service: succeeded, failed, invalid."""
    with closing(LedgerReader.open(config.ledger.url)) as reader:
        names = {series.series_id: series.group_text["service.name"] for series in reader.series()}
        rows = reader.counts(0, 1 << 40)
        return {name: rows.counts[rows.series_id == number].sum(axis=0).tolist() for number, name in names.items()}


def check_all_protocols(folder: Path, command: tuple[str, ...], language: str, protocols: Iterable[str]) -> None:
    """Let a sender for each protocol send at the same time and compare what was counted."""
    config = config_in(folder)

    async def scenario() -> None:
        async with running(config, time.time_ns) as (pipeline, _):
            senders = [await start_sender(command, protocol, pipeline) for protocol in protocols]
            await asyncio.gather(*map(finish, senders))

    run(scenario)
    assert counted(config) == {f"{language}-{protocol}": COUNTED for protocol in protocols}


def check_retry(folder: Path, command: tuple[str, ...], language: str, protocol: str) -> None:
    """Have a pipeline that is full at first, then not; what was refused must be sent again and be counted once."""
    config = config_in(folder)

    async def scenario() -> None:
        async with running(config, time.time_ns) as (pipeline, _):
            in_flight = pipeline._servers[0]._in_flight
            full = in_flight.hold(in_flight.size_bytes_max)
            sender = asyncio.create_task(finish(await start_sender(command, protocol, pipeline)))
            while not in_flight.refused_count and not sender.done():
                await asyncio.wait((sender,), timeout=0.01)
            full.release()
            await sender
            grpc_server, http_server = pipeline._servers
            refused_count = grpc_server.answers["UNAVAILABLE"] + http_server.app.answers[503]
            assert refused_count == in_flight.refused_count > 0

    run(scenario)
    assert counted(config) == {f"{language}-{protocol}": COUNTED}


def test_go_sdk_is_counted(go_sender: tuple[str, ...], tmp_path: Path) -> None:
    """Go's exporters, gRPC and HTTP, plain and compressed, at the same time: every span is counted once."""
    check_all_protocols(tmp_path, go_sender, "go", GO_PROTOCOLS)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_go_sdk_sends_again(go_sender: tuple[str, ...], tmp_path: Path, protocol: str) -> None:
    """Refused with UNAVAILABLE or 503 by a full pipeline, Go's exporters send again; every span is counted once."""
    check_retry(tmp_path, go_sender, "go", protocol)


def test_javascript_sdk_is_counted(node_sender: tuple[str, ...], tmp_path: Path) -> None:
    """JavaScript's exporters, gRPC, HTTP with protobuf and with JSON, at the same time: every span is counted once."""
    check_all_protocols(tmp_path, node_sender, "node", NODE_PROTOCOLS)


@pytest.mark.parametrize("protocol", ["http", "http-json"])
def test_javascript_sdk_sends_again(node_sender: tuple[str, ...], tmp_path: Path, protocol: str) -> None:
    """Refused with 503 by a full pipeline, JavaScript's exporters send again; every span is counted once."""
    check_retry(tmp_path, node_sender, "node", protocol)
