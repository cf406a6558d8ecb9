"""`docs/collector.md` does what it says: its lines are added to its Collector, and figures arrive."""

import re
import subprocess
from pathlib import Path

import beside
import grpc
import pytest
from beside import Backend

from otel_sla.config import load_config

PAGE = Path(__file__).resolve().parents[2] / "docs" / "collector.md"
LINES_MAX = 6


def block(language: str) -> str:
    """The page's only fenced block of a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return str(found)


def page_config() -> str:
    """The Collector's configuration with the lines that the page adds to it."""
    return "".join(line[1:] for line in block("diff").splitlines(keepends=True))


def placed(config: str) -> str:
    """A configuration whose addresses the test gives, and with a backend in plain text."""
    config = config.replace("backend.example.net:4317", "${env:BACKEND_ENDPOINT}\n    tls: {insecure: true}")
    places = {"4317": "OTLP_ENDPOINT", "4318": "HEALTH_ENDPOINT", "14417": "OTEL_SLA_ENDPOINT"}
    return re.sub(r"localhost:(\d+)", lambda place: f'"${{env:{places[place[1]]}}}"', config)


def test_six_lines_are_added() -> None:
    """Nothing of the user's configuration is changed or taken away, and six lines are new."""
    marks = [line[:1] for line in block("diff").splitlines() if line]
    assert set(marks) == {" ", "+"}
    assert marks.count("+") == LINES_MAX


def test_otel_slas_side_is_valid(tmp_path: Path) -> None:
    """The page's configuration of otel-sla itself is one, and fits the Collector's."""
    (tmp_path / "otel-sla.yaml").write_text(block("yaml"))
    config = load_config(tmp_path / "otel-sla.yaml", {})
    assert config.receiver.grpc is not None
    assert config.receiver.grpc.endpoint in page_config()


@pytest.mark.collector
def test_page_is_valid_as_it_is(collector_binary: Path, tmp_path: Path) -> None:
    """The Collector's own `validate` has nothing to say about the page's configuration."""
    (tmp_path / "collector.yaml").write_text(page_config())
    command = [str(collector_binary), "validate", "--config", "collector.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.collector
def test_page_brings_figures_to_the_backend(collector_binary: Path, tmp_path: Path) -> None:
    """With the page's lines spans go to the backend as before, and the gauges of their minute after them."""
    (tmp_path / "collector.yaml").write_text(placed(page_config()))

    async def scenario() -> None:
        with Backend.listening() as backend:
            environment = {"BACKEND_ENDPOINT": backend.endpoint}
            async with beside.beside(collector_binary, str(tmp_path / "collector"), tmp_path, environment) as stack:
                await stack.send(beside.body_of(stack.first_minute, 20, 5))
                await stack.until_counted(20)
                await stack.pass_minutes(1 + beside.GRACE_MINUTES)
                await beside.until(lambda: bool(backend.points("sla.error_rate")), "gauges in the backend")
                assert backend.points("sla.error_rate")[stack.first_minute].as_double == 0.25
                await beside.until(lambda: len(backend.spans()) == 40, "spans in the backend")

    beside.run(scenario)


@pytest.mark.collector
def test_a_full_queue_is_told_to_the_sender(collector_binary: Path, tmp_path: Path) -> None:
    """What the page warns of: with otel-sla away and the queue full, spans that are refused are in the backend."""
    (tmp_path / "collector.yaml").write_text(
        placed(page_config().replace("queue_size: 20_000_000", "queue_size: 10_000"))
    )

    async def scenario() -> None:
        with Backend.listening() as backend:
            environment = {"BACKEND_ENDPOINT": backend.endpoint}
            async with beside.beside(collector_binary, str(tmp_path / "collector"), tmp_path, environment) as stack:
                await stack.stop()
                with pytest.raises(grpc.RpcError, match="sending queue is full"):
                    await stack.send(*(beside.body_of(stack.first_minute, 20) for _ in range(3)))
                await beside.until(lambda: len(backend.spans()) == 120, "the refused spans in the backend")

    beside.run(scenario)
