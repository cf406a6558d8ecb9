"""A process that a signal stops before it serves."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline_parts import make_config

from otel_sla.receiver.servers import Servers
from otel_sla.serving.run import run_until_stopped

TESTS = Path(__file__).resolve().parents[1]
NEVER_STOPS = """
import asyncio, sys
from pathlib import Path
import otel_sla.serving.pipeline
from pipeline_parts import make_config
from otel_sla.serving.run import run_until_stopped

async def compile_for_ever(_):
    print("begun", flush=True)
    while True:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            print("stopping", flush=True)

otel_sla.serving.pipeline.warm_up = compile_for_ever
run_until_stopped(make_config(Path(sys.argv[1])))
"""

TELLS_WHAT_IS_FROZEN = """
import gc, logging, os, signal, sys
from pathlib import Path
from pipeline_parts import make_config
from otel_sla.serving.run import run_until_stopped

class StopWhenServing(logging.Handler):
    def emit(self, record):
        if getattr(record, "action", "") == "serving":
            os.kill(os.getpid(), signal.SIGTERM)

logging.basicConfig(level=logging.INFO, handlers=[StopWhenServing()])
run_until_stopped(make_config(Path(sys.argv[1])))
print(gc.get_freeze_count(), flush=True)
"""


def test_a_collection_of_garbage_does_not_look_through_the_modules(tmp_path: Path) -> None:
    """Once it serves, the objects of its start are left out: no request waits for hundreds of thousands of them."""
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}"}
    command = [sys.executable, "-c", TELLS_WHAT_IS_FROZEN, str(tmp_path)]
    completed = subprocess.run(command, stdout=subprocess.PIPE, env=environment, timeout=120, check=True)
    assert int(completed.stdout) > 50_000


SAYS_WHAT_IS_LOGGED = """
import logging, os, signal, sys
from pathlib import Path
from otel_sla.ledger import connection
from pipeline_parts import make_config
from otel_sla.serving.run import run_until_stopped

class Print(logging.Handler):
    def emit(self, record):
        print(getattr(record, "action", ""), flush=True)
        if getattr(record, "action", "") == "sqlite_version":
            os.kill(os.getpid(), signal.SIGTERM)

connection.SQLITE_VERSION_SOUND = (99, 0, 0)
logging.basicConfig(level=logging.INFO, handlers=[Print()])
run_until_stopped(make_config(Path(sys.argv[1])))
"""


def test_a_start_says_first_what_it_serves(tmp_path: Path) -> None:
    """The note on SQLite's version, which most starts have, stands behind the line that says where it listens."""
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}"}
    command = [sys.executable, "-c", SAYS_WHAT_IS_LOGGED, str(tmp_path)]
    logged = subprocess.run(command, stdout=subprocess.PIPE, env=environment, timeout=120, check=True, text=True)
    actions = logged.stdout.split()
    assert actions[actions.index("serving") + 1] == "sqlite_version"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_process_at_once(tmp_path: Path, number: signal.Signals) -> None:
    """A stop that does not end, whatever the reason, is cut short by asking again."""
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}"}
    command = [sys.executable, "-c", NEVER_STOPS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stdout is not None
            for line in (b"begun\n", b"stopping\n"):
                assert process.stdout.readline() == line
                process.send_signal(number)
            assert process.wait(20) == -number
        finally:
            process.kill()


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

    monkeypatch.setattr("otel_sla.serving.pipeline.warm_up", compile_for_ever)
    monkeypatch.setattr(Servers, "start", serve)
    run_until_stopped(make_config(tmp_path))
    assert ended == ["compiling"]
    assert [file.name for file in tmp_path.iterdir() if not file.name.endswith("-lock")] == ["ledger.db"]
