"""The real parts as fixtures: a test that asks for one is skipped, with the reason, where it is not built."""

import os
from pathlib import Path

import parts
import pytest


def _require(path: Path) -> Path:
    try:
        return parts.find_part(path)
    except parts.PartUnavailable as problem:
        if os.environ.get(parts.REQUIRED_VARIABLE):
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
