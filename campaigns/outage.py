"""Stops otel-sla for ten minutes under load behind the real Collector's gateway configuration, and starts it again.

The same spans go to a second otel-sla that is never stopped. In the end both have counted each span sent, and their
reports of the month, by the minute, are the same bytes.

`make outage` takes 14 minutes; `--minutes 1` is a shorter form. Needs the Collector (`make parts`).
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("campaigns", "tests", "tests/acceptance")]


import beside
import grpc
import parts
from beside import Backend
from progress import say

from otel_sla.ledger.reader import LedgerReader

REQUESTS_PER_S = 10
PAIRS = 25  # Of a server and a client span, in each request.
FAILED_EVERY = 7  # Requests with failures, so that some minutes are down and others are not.
CONFIG = """\
page: null
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "{listen}"}}}}}}}}
exporters: {{debug: {{}}}}
ledger: {{url: "sqlite:///{ledger}"}}
agreements:
  - name: everything
    group_by: [service.name]
"""
COUNTED_WITHIN_S = 300.0


class Counting:
    """A real `otel-sla run` that can be stopped and started again on its ledger and port."""

    def __init__(self, folder: Path, name: str) -> None:
        self.listen = f"127.0.0.1:{parts.free_ports(1)[0]}"
        self._ledger = folder / f"{name}.db"
        self._config = folder / f"{name}.yaml"
        self._config.write_text(CONFIG.format(listen=self.listen, ledger=self._ledger))
        self._command = [sys.executable, "-m", "otel_sla"]
        self.process = parts.LoggedProcess([*self._command, "run", "--config", str(self._config)])

    def start(self) -> None:
        """Return when it serves."""
        self.process = parts.LoggedProcess([*self._command, "run", "--config", str(self._config)])
        self.process.start()
        self.process.wait_for("action=serving", timeout_s=120)

    def counted(self) -> int:
        """All requests in the ledger."""
        with closing(LedgerReader.open(f"sqlite:///{self._ledger}")) as reader:
            return int(reader.counts(0, 1 << 40).counts.sum())

    def report(self, month: str, *options: str) -> bytes:
        """What `otel-sla report` writes."""
        command = [*self._command, "report", "--config", str(self._config), "--month", month, *options]
        return subprocess.run(command, check=True, capture_output=True).stdout


@dataclass
class Load:
    """What was sent, to both."""

    server_spans: int = 0
    is_over: bool = False

    async def send(self, *endpoints: str) -> None:
        """Send at a steady rate until it is over; each request goes to every endpoint, and is acknowledged by it."""
        channels = [grpc.aio.insecure_channel(endpoint) for endpoint in endpoints]
        calls = [channel.unary_unary(beside.EXPORT) for channel in channels]
        started_s, number = time.monotonic(), 0
        while not self.is_over:
            minute = time.time_ns() // beside.MINUTE_NANOS
            body = beside.body_of(minute, PAIRS, 2 if number % FAILED_EVERY == minute % FAILED_EVERY else 1)
            await asyncio.gather(*(call(body, timeout=60) for call in calls))
            self.server_spans += PAIRS
            number += 1
            await _wait(started_s + number / REQUESTS_PER_S - time.monotonic())
        for channel in channels:
            await channel.close()


async def _wait(seconds: float) -> None:
    never = asyncio.Event()
    try:
        await asyncio.wait_for(never.wait(), max(seconds, 0))
    except TimeoutError:
        return


async def _play(collector: parts.CollectorProcess, gone: Counting, stays: Counting, minutes: float) -> Load:
    load = Load()
    sending = asyncio.create_task(load.send(collector.endpoints["OTLP_ENDPOINT"], stays.listen))
    await _wait(60)
    say(f"stopped after {load.server_spans} server spans, exit code {await asyncio.to_thread(gone.process.stop)}")
    await _wait(minutes * 60)
    say(f"started again after {load.server_spans}; {await asyncio.to_thread(gone.counted)} are counted")
    await asyncio.to_thread(gone.start)
    started_s = time.monotonic()
    await _wait(60)
    load.is_over = True
    await sending
    deadline_s = time.monotonic() + COUNTED_WITHIN_S
    while gone.counted() < load.server_spans and time.monotonic() < deadline_s:
        await _wait(0.5)
    say(f"{gone.counted()} counted {time.monotonic() - started_s:.0f} s after the start")
    # Both have to have closed the last minute before they are compared; a minute is open for `processor.grace`.
    await _wait(0 if minutes < 1 else 120)
    return load


def main() -> int:
    """Play it, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long otel-sla is away")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Backend.listening() as backend:
        folder = Path(name)
        gone, stays = Counting(folder, "gone"), Counting(folder, "stays")
        variables = {"OTEL_SLA_ENDPOINT": gone.listen, "QUEUE_FOLDER": str(folder / "queue")}
        variables["BACKEND_ENDPOINT"] = backend.endpoint
        binary = parts.find_part(parts.collector_path())
        ports = ("OTLP_ENDPOINT", "HEALTH_ENDPOINT")
        gone.start()
        stays.start()
        try:
            with parts.CollectorProcess(binary, beside.CONFIGS / "gateway.yaml", ports, variables) as collector:
                load = asyncio.run(_play(collector, gone, stays, arguments.minutes))
            now = datetime.now(tz=UTC)
            options = ("--generated-at", now.isoformat(timespec="seconds"), "--format")
            forms = (("json",), ("csv", "--rows", "minutes"), ("csv", "--rows", "periods"))
            month = f"{now:%Y-%m}"
            same = all(gone.report(month, *options, *form) == stays.report(month, *options, *form) for form in forms)
            counted = (gone.counted(), stays.counted())
        finally:
            gone.process.kill()
            stays.process.kill()
    say(f"{load.server_spans} server spans sent; counted {counted[0]}, and {counted[1]} without an outage")
    say("the reports are the same bytes" if same else "the reports differ")
    return 0 if same and counted == (load.server_spans, load.server_spans) else 1


if __name__ == "__main__":
    sys.exit(main())
