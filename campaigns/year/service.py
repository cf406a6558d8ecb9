"""A real `otel-sla run` under a faked clock: what is sent to it, what it shows, and the commands beside it."""

import json
import math
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import parts
import yaml
from pipeline_parts import EXPORT

from otel_sla.config import Config, load_config
from year.clock import FakedClock

WAIT_S = 60.0  # For what the process does; never reached unless something is wrong.
_COMMAND = [sys.executable, "-m", "otel_sla"]
Samples = Mapping[str, float]  # Name with labels, as /metrics has it -> value.


class Service:
    """The process, from start to start on one ledger.

    Args:
        folder: For the configuration.
        settings: The configuration; the agreements among them may be changed between starts.
        clock: What the process and the commands see.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], clock: FakedClock) -> None:
        self.settings = settings
        self._clock = clock
        self._path = folder / "otel-sla.yaml"
        self._process = parts.LoggedProcess([*_COMMAND, "run", "--config", str(self._path)], clock.environment())
        self._channel: grpc.Channel | None = None
        self._http_port = 0
        self._turn = threading.Event()
        self.config: Config

    def start(self) -> list[str]:
        """Start it with the settings as they are now; gives what it logged until it served."""
        self._path.write_text(yaml.safe_dump(self.settings))
        self.config = load_config(self._path, {})
        self._process.start()
        serving = self._process.wait_for("action=serving", timeout_s=WAIT_S)
        found = re.search(r"gRPC (\d+), HTTP (\d+)", serving)
        assert found is not None, serving
        self._http_port = int(found[2])
        self._channel = grpc.insecure_channel(f"127.0.0.1:{found[1]}")
        return list(self._process.lines)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self._disconnect()
        return self._process.stop(timeout_s=WAIT_S)

    def wait(self) -> int:
        """The exit code of a process that ends by itself."""
        self._disconnect()
        return self._process.wait(timeout_s=WAIT_S)

    def kill(self) -> None:
        """SIGKILL."""
        self._disconnect()
        self._process.kill()

    def _disconnect(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def send(self, body: bytes) -> None:
        """Send one request; grpc.RpcError where it is not acknowledged."""
        assert self._channel is not None, "not started"
        self._channel.unary_unary(EXPORT)(body, timeout=WAIT_S)

    def send_and_kill(self, body: bytes) -> None:
        """Send one request and kill the process meanwhile: whether it was taken nobody knows."""
        assert self._channel is not None, "not started"
        under_way = self._channel.unary_unary(EXPORT).future(body, timeout=WAIT_S)
        self._process.kill()
        under_way.cancel()
        self._disconnect()

    @property
    def log(self) -> list[str]:
        """What it has logged since its start."""
        return list(self._process.lines)

    def rss_bytes(self) -> int:
        """Its physical memory."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"(?m)^VmRSS:\s+(\d+) kB$", status)
        assert found is not None
        return int(found[1]) * 1024

    def scrape(self) -> dict[str, float]:
        """Its own metrics, but for the buckets of histograms."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._http_port}/metrics", timeout=WAIT_S) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#") and "_bucket{" not in line)
        return {name: float(value) for name, _, value in pairs}

    def settled(self, *, is_backend_there: bool) -> dict[str, float]:
        """Its metrics once all that has elapsed is judged and, where there is a backend, told.

        A scrape wakes it, so that it sees that its clock was moved.
        """
        fewest, deadline = math.inf, 0.0
        while True:
            samples = self.scrape()
            waits = total(samples, "otelcol_exporter_queue_size") if is_backend_there else 0
            if samples.get("sla_judge_lag_seconds") == 0 and not waits:
                return samples
            if waits < fewest:  # Three days of figures take a while.
                fewest, deadline = waits, time.monotonic() + WAIT_S
            if time.monotonic() > deadline:
                log = "\n".join(self.log[-20:])
                raise AssertionError(f"not settled, nor nearer to it in {WAIT_S} s: {samples}; its log:\n{log}")
            self._turn.wait(0.05)

    def command(self, *arguments: str) -> str:
        """One command beside it, under the same clock; gives its output."""
        done = subprocess.run(
            [*_COMMAND, *arguments, "--config", str(self._path)],
            capture_output=True,
            text=True,
            env=self._clock.environment(),
            timeout=WAIT_S,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stderr}"
        return done.stdout

    def report(self, month: str) -> dict[str, Any]:
        """A month's report, as the command gives it."""
        found: dict[str, Any] = json.loads(self.command("report", "--format", "json", "--month", month))
        return found


def total(samples: Samples, name: str) -> float:
    """All samples of one name together."""
    return sum(value for key, value in samples.items() if key.partition("{")[0] == name)


def largest(samples: Samples, name: str) -> float:
    """The largest sample of one name; 0 if there is none."""
    return max((value for key, value in samples.items() if key.partition("{")[0] == name), default=0.0)
