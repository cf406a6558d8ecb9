"""A process that is told to stop before it serves."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from pipeline_parts import make_config

from otel_sla.front import Front
from otel_sla.serving import run_until_stopped


def test_sigterm_ends_a_start_that_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While kernels are compiled the process can be stopped: what was opened is closed, and no port is opened."""
    ended: list[str] = []

    async def compile_for_ever(_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("compiling")

    async def serve(_: object) -> None:
        ended.append("served")

    monkeypatch.setattr("otel_sla.pipeline.warm_up", compile_for_ever)
    monkeypatch.setattr(Front, "start", serve)
    run_until_stopped(make_config(tmp_path))
    assert ended == ["compiling"]
    assert [file.name for file in tmp_path.iterdir() if not file.name.endswith("-lock")] == ["ledger.db"]
