"""OpenTelemetry's own SDKs of other languages as senders: what they send is counted, and what was refused once."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from pipeline_parts import make_config, run, running

from otel_sla.config import Config
from otel_sla.ledger.reader import LedgerReader
from otel_sla.receiver.settings import GrpcServerSettings, HttpServerSettings, ReceiverSettings
from otel_sla.serving.pipeline import Pipeline

SPANS = 250  # Three batches; every tenth failed.
COUNTED = [225, 25, 0]  # Succeeded, failed, invalid.
PROTOCOLS = ("grpc", "grpc-gzip", "http", "http-gzip")


def config_in(folder: Path) -> Config:
    """The defaults, on free ports for both protocols."""
    receiver = ReceiverSettings(
        grpc=GrpcServerSettings(endpoint="127.0.0.1:0"), http=HttpServerSettings(endpoint="127.0.0.1:0")
    )
    return replace(make_config(folder), receiver=receiver)


async def run_sender(command: tuple[str, ...], protocols: Sequence[str], pipeline: Pipeline) -> None:
    """Send by each protocol at the same time; nothing must have been given up."""
    ports = {"grpc": pipeline.grpc_port, "http": pipeline.http_port}
    ways = [f"{protocol}=127.0.0.1:{ports[protocol.partition('-')[0]]}" for protocol in protocols]
    sender = await asyncio.create_subprocess_exec(
        *command,
        str(SPANS),
        *ways,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await sender.communicate()
    assert sender.returncode == 0, output.decode()


def counted(config: Config) -> dict[str, list[int]]:
    """Requests in the ledger by service: succeeded, failed, invalid."""
    with closing(LedgerReader.open(config.ledger.url)) as reader:
        names = {series.series_id: series.group_text["service.name"] for series in reader.series()}
        rows = reader.counts(0, 1 << 40)
        return {name: rows.outcomes[rows.series_id == number].sum(axis=0).tolist() for number, name in names.items()}


def check_counted(folder: Path, command: tuple[str, ...], language: str, protocols: Sequence[str]) -> None:
    """Send and compare what was counted."""
    config = config_in(folder)

    async def scenario() -> None:
        async with running(config, time.time_ns) as (pipeline, _):
            await run_sender(command, protocols, pipeline)

    run(scenario)
    assert counted(config) == {f"{language}-{protocol}": COUNTED for protocol in protocols}


def check_sent_again(folder: Path, command: tuple[str, ...], language: str, protocols: Sequence[str]) -> None:
    """Send to a pipeline that is full until it has refused each protocol; all must come again and count once."""
    config = config_in(folder)
    n_grpc = sum(protocol.startswith("grpc") for protocol in protocols)

    async def scenario() -> None:
        async with running(config, time.time_ns) as (pipeline, _):
            servers = pipeline._servers
            in_flight = servers.in_flight
            full = in_flight.hold(in_flight.size_bytes_max)
            sender = asyncio.create_task(run_sender(command, protocols, pipeline))

            def has_refused_each() -> bool:
                is_grpc_refused = servers._grpc.answers["UNAVAILABLE"] >= n_grpc
                return is_grpc_refused and servers._http.app.answers[503] >= len(protocols) - n_grpc

            while not has_refused_each() and not sender.done():
                await asyncio.wait((sender,), timeout=0.01)
            full.release()
            await sender
            assert has_refused_each()
            assert pipeline.metrics.totals()["overloaded_requests"] >= len(protocols)

    run(scenario)
    assert counted(config) == {f"{language}-{protocol}": COUNTED for protocol in protocols}


def test_go_sdk_is_counted(go_sender: tuple[str, ...], tmp_path: Path) -> None:
    """Go's exporters, gRPC and HTTP, plain and compressed, at the same time: every span is counted once."""
    check_counted(tmp_path, go_sender, "go", PROTOCOLS)


def test_go_sdk_sends_again(go_sender: tuple[str, ...], tmp_path: Path) -> None:
    """Refused with UNAVAILABLE and 503 by a full pipeline, Go's exporters send again; every span is counted once."""
    check_sent_again(tmp_path, go_sender, "go", ("grpc", "http"))


def test_java_sdk_is_counted(java_sender: tuple[str, ...], tmp_path: Path) -> None:
    """Java's exporters, gRPC and HTTP, plain and compressed, at the same time: every span is counted once."""
    check_counted(tmp_path, java_sender, "java", PROTOCOLS)


def test_java_sdk_sends_again(java_sender: tuple[str, ...], tmp_path: Path) -> None:
    """Refused with UNAVAILABLE and 503 by a full pipeline, Java's exporters send again; every span is counted once."""
    check_sent_again(tmp_path, java_sender, "java", ("grpc", "http"))


def test_javascript_sdk_is_counted(node_sender: tuple[str, ...], tmp_path: Path) -> None:
    """JavaScript's exporters, gRPC, HTTP with protobuf and with JSON, at the same time: every span is counted once."""
    check_counted(tmp_path, node_sender, "node", (*PROTOCOLS, "http-json"))


def test_javascript_sdk_sends_again(node_sender: tuple[str, ...], tmp_path: Path) -> None:
    """Refused with 503 by a full pipeline, JavaScript's HTTP exporters send again; every span is counted once.

    Its gRPC exporter never sends again, whatever it is answered.
    """
    check_sent_again(tmp_path, node_sender, "node", ("http", "http-json"))
