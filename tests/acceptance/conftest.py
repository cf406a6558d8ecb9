"""The real parts as fixtures: a test that asks for one is skipped, with the reason, where it is not built."""

import os
from pathlib import Path

import parts
import pytest


def _require(path: Path, *, may_be_missing: bool = False) -> Path:
    try:
        return parts.find_part(path)
    except parts.PartUnavailable as problem:
        if os.environ.get(parts.REQUIRED_VARIABLE) and not may_be_missing:
            pytest.fail(str(problem))
        pytest.skip(str(problem))


@pytest.fixture(scope="session")
def collector_binary() -> Path:
    """The real OpenTelemetry Collector."""
    return _require(parts.collector_path())


@pytest.fixture(scope="session")
def telemetrygen_binary() -> Path:
    """OpenTelemetry's own load generator."""
    return _require(parts.telemetrygen_path())


@pytest.fixture(scope="session")
def prometheus_binary() -> Path:
    """Prometheus, 3 or newer."""
    return _require(parts.prometheus_path())


@pytest.fixture(scope="session")
def promtool_binary() -> Path:
    """Prometheus' own check of rules."""
    return _require(parts.promtool_path())


@pytest.fixture(scope="session")
def victoriametrics_binary() -> Path:
    """VictoriaMetrics, the single server."""
    return _require(parts.victoriametrics_path())


@pytest.fixture(scope="session")
def go_sender() -> tuple[str, ...]:
    """The command of the sender with OpenTelemetry's SDK for Go."""
    return (str(_require(parts.go_sender_path())),)


@pytest.fixture(scope="session")
def node_sender() -> tuple[str, ...]:
    """The command of the sender with OpenTelemetry's SDK for JavaScript; needs Node, which may be missing anywhere."""
    folder = _require(parts.node_sender_path(), may_be_missing=not parts.is_node_there())
    return ("node", str(folder / "send.mjs"))


@pytest.fixture(scope="session")
def axe_script() -> str:
    """axe-core, to be run in a page; npm gets it, which may be missing anywhere."""
    return _require(parts.axe_path(), may_be_missing=not parts.is_node_there()).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def java_sender() -> tuple[str, ...]:
    """The command of the sender with OpenTelemetry's SDK for Java; needs a JDK, which may be missing anywhere."""
    folder = _require(parts.java_sender_path(), may_be_missing=not parts.is_java_there())
    return ("java", "-XX:TieredStopAtLevel=1", "-cp", f"{folder}:{folder}/*", "Sender")
