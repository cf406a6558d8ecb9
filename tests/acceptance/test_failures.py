"""What an operator sees when otel-sla cannot start or go on: one clear line, the right exit code, no traceback."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import builders
import grpc
import parts
import pytest
from pipeline_parts import EXPORT

from otel_sla.ledger.writer import Ledger

CONFIG = """
page: null
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{port}"}}}}}}}}
ledger: {{url: "sqlite:///{ledger}"}}
"""


def run_otel_sla(folder: Path, *, port: int = 0, ledger: Path | None = None, text: str = "") -> tuple[int, list[str]]:
    """Start `otel-sla run`, which is expected to end by itself; its exit code and the lines of its standard error."""
    config = folder / "otel-sla.yaml"
    config.write_text(text or CONFIG.format(port=port, ledger=ledger or folder / "ledger.db"))
    done = subprocess.run(
        [sys.executable, "-m", "otel_sla", "run", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.returncode, [line for line in done.stderr.splitlines() if "otel-sla: " in line]


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that somebody else listens on."""
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_bad_configuration_ends_with_2(tmp_path: Path) -> None:
    """A misspelt key: one line that names it and the nearest known one."""
    code, lines = run_otel_sla(tmp_path, text="ledgr: {url: x}")
    assert code == 2
    assert len(lines) == 1
    assert "ledgr" in lines[0]
    assert "'ledger'" in lines[0]


def test_taken_port_ends_with_1(tmp_path: Path, taken_port: int) -> None:
    """Another process has the port: one line with the endpoint and the reason."""
    code, lines = run_otel_sla(tmp_path, port=taken_port)
    assert code == 1
    assert f"127.0.0.1:{taken_port}" in lines[0]
    assert "in use" in lines[0].lower()


def test_unwritable_ledger_ends_with_1(tmp_path: Path) -> None:
    """The ledger's folder does not exist: one line with the file, and what to do."""
    code, lines = run_otel_sla(tmp_path, ledger=tmp_path / "nowhere" / "ledger.db")
    assert code == 1
    assert str(tmp_path / "nowhere") in lines[0]


def test_corrupt_ledger_ends_with_1(tmp_path: Path) -> None:
    """The file is no database: one line with the file; it is left as it is."""
    ledger = tmp_path / "ledger.db"
    ledger.write_bytes(b"no database at all" * 1000)
    code, lines = run_otel_sla(tmp_path, ledger=ledger)
    assert code == 1
    assert str(ledger) in lines[0]
    assert ledger.read_bytes() == b"no database at all" * 1000


def test_newer_ledger_ends_with_1(tmp_path: Path) -> None:
    """A newer otel-sla wrote the ledger: one line with both versions."""
    ledger = tmp_path / "ledger.db"
    Ledger.open(f"sqlite:///{ledger}").close()
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("PRAGMA user_version = 99")
    code, lines = run_otel_sla(tmp_path, ledger=ledger)
    assert code == 1
    assert "99" in lines[0]


def test_second_pipeline_on_a_ledger_ends_with_1(tmp_path: Path) -> None:
    """Another pipeline has the ledger: one line with the file and its process."""
    ledger = tmp_path / "ledger.db"
    with closing(Ledger.open(f"sqlite:///{ledger}")):
        code, lines = run_otel_sla(tmp_path, ledger=ledger)
    assert code == 1
    assert str(os.getpid()) in lines[0]


def test_ledger_lost_while_running_ends_with_1(tmp_path: Path) -> None:
    """The file is taken away under a running pipeline: what is sent is refused for now, and the pipeline ends."""
    (port,) = parts.free_ports(1)
    ledger, config = tmp_path / "ledger.db", tmp_path / "otel-sla.yaml"
    config.write_text(CONFIG.format(port=port, ledger=ledger))
    process = parts.LoggedProcess([sys.executable, "-m", "otel_sla", "run", "--config", str(config)])
    process.start()
    try:
        process.wait_for("action=serving", timeout_s=120)
        ledger.rename(tmp_path / "elsewhere.db")
        body = builders.realistic_request(10, 1, start_unix_nano=time.time_ns())
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(EXPORT)(body, timeout=20)
        # The pipeline may have found it out by itself and be closing: gRPC cancels what arrives just then.
        assert refused.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        assert process.wait() == 1
        assert not any("Traceback" in line for line in process.lines)
    finally:
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopping_is_clean(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C: totals in the last line, exit code 0."""
    (port,) = parts.free_ports(1)
    config = tmp_path / "otel-sla.yaml"
    config.write_text(CONFIG.format(port=port, ledger=tmp_path / "ledger.db"))
    process = parts.LoggedProcess([sys.executable, "-m", "otel_sla", "run", "--config", str(config)])
    process.start()
    process.wait_for("action=serving", timeout_s=120)
    body = builders.realistic_request(10, 1, start_unix_nano=time.time_ns(), duration_nano=1)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        channel.unary_unary(EXPORT)(body, timeout=20)
    os.kill(process.pid, number)
    assert process.wait() == 0
    assert "accepted_spans 10" in process.wait_for("action=stopped")
