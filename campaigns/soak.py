"""Loads a pipeline for an hour and more: every span counted, memory flat, acknowledgements quick.

Three phases, after a warm-up of eight minutes (until all filters of single minutes are there): *steady*, 10,000 spans/s
in batches of 100; *full*, as much as it takes from sixteen senders at once; *half*, half of that. Steady and half are
open loops: a request is sent when it is due, whatever became of those before, and its latency counts from then. The
sender steps back for the pipeline (`nice`).

`make soak` takes 83 minutes; `--warm-up 60 --steady 360 --full 60 --half 60` is a shorter form.
"""

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("campaigns", "tests", "tests/acceptance")]


import builders
import grpc
import plot
from hostile.target import MIB, Target
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pipeline_parts import EXPORT
from progress import say

SPANS_PER_REQUEST = 100
STEADY_SPANS_PER_S = 10_000
SENDERS = 16
ACK_P99_MS_MAX = 20.0
RSS_GROWTH_MAX = 0.05
_TEMPLATES = 64
_END_TIME = builders.START_UNIX_NANO


class Bodies:
    """Requests that differ, made by writing the time and new span ids into some made before."""

    def __init__(self) -> None:
        self._templates = [self._make_template(seed) for seed in range(_TEMPLATES)]
        self.count = 0

    @staticmethod
    def _make_template(seed: int) -> tuple[bytearray, list[int], list[int]]:
        body = builders.realistic_request(SPANS_PER_REQUEST, seed, duration_nano=1)
        request = ExportTraceServiceRequest.FromString(body)
        ids = [of_resource.scope_spans[0].spans[0].span_id for of_resource in request.resource_spans]
        end_time = _END_TIME.to_bytes(8, "little")
        times = [at for at in range(len(body)) if body.startswith(b"\x41" + end_time, at)]
        assert len(times) == SPANS_PER_REQUEST
        return bytearray(body), [at + 1 for at in times], [body.index(b"\x12\x08" + span_id) + 2 for span_id in ids]

    def next(self) -> bytes:
        """A request that no other is like; its spans end now."""
        body, times, ids = self._templates[self.count % _TEMPLATES]
        self.count += 1
        now, unique = time.time_ns().to_bytes(8, "little"), self.count.to_bytes(8, "big")
        for at in times:
            body[at : at + 8] = now
        for at in ids:
            body[at : at + 8] = unique
        return bytes(body)


@dataclass
class Phase:
    """What one phase showed."""

    name: str
    seconds: float = 0.0
    spans: int = 0
    refused: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    rss_mib: list[tuple[float, float]] = field(default_factory=list)  # (s since the beginning of all, MiB)
    cpu_s: float = 0.0
    load: float = 0.0  # The machine's, at the end of the phase: above its cores, latencies say more about others.

    def quantile_ms(self, ratio: float) -> float:
        """A quantile of the latencies."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(ratio * len(ordered)))] if ordered else 0.0

    def rss_growth(self) -> float:
        """The last tenth's mean over the first tenth's, less one."""
        sizes = [size for _, size in self.rss_mib]
        tenth = max(1, len(sizes) // 10)
        return sum(sizes[-tenth:]) / sum(sizes[:tenth]) - 1

    def figures(self) -> dict[str, object]:
        """The figures, for people and machines."""
        sizes = [size for _, size in self.rss_mib]
        return {
            "name": self.name,
            "seconds": round(self.seconds, 1),
            "spans": self.spans,
            "spans_per_s": round(self.spans / self.seconds),
            "refused_requests": self.refused,
            "ack_ms": {name: round(self.quantile_ms(ratio), 2) for name, ratio in _QUANTILES},
            "cpu_cores": round(self.cpu_s / self.seconds, 3),
            "machine_load": round(self.load, 1),
            "rss_mib": {"first": round(sizes[0], 1), "max": round(max(sizes), 1), "last": round(sizes[-1], 1)},
            "rss_growth": round(self.rss_growth(), 4),
        }


_QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0))
Send = Callable[[bytes], Awaitable[bytes]]


class Soak:
    """The phases, on one running pipeline."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._bodies = Bodies()
        self._started_s = time.monotonic()
        self.phases: list[Phase] = []

    async def open_loop(self, send: Send, name: str, seconds: float, requests_per_s: float) -> Phase:
        """Send at a rate, whatever the answers."""
        phase = Phase(name)
        under_way: set[asyncio.Task[None]] = set()

        async def send_all() -> None:
            start_s = time.monotonic()
            for index in range(int(seconds * requests_per_s)):
                due_s = start_s + index / requests_per_s
                if (wait_s := due_s - time.monotonic()) > 0:
                    await _pause(wait_s)
                task = asyncio.create_task(self._send(send, phase, due_s))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.gather(*under_way)

        return await self._watched(phase, send_all)

    async def closed_loop(self, send: Send, name: str, seconds: float) -> Phase:
        """Send as much as is taken."""
        phase = Phase(name)
        stop_s = time.monotonic() + seconds

        async def send_some() -> None:
            while (now_s := time.monotonic()) < stop_s:
                await self._send(send, phase, now_s)

        async def send_all() -> None:
            await asyncio.gather(*(send_some() for _ in range(SENDERS)))

        return await self._watched(phase, send_all)

    async def _send(self, send: Send, phase: Phase, due_s: float) -> None:
        try:
            await send(self._bodies.next())
        except grpc.aio.AioRpcError:
            phase.refused += 1
            return
        phase.latencies_ms.append((time.monotonic() - due_s) * 1000)
        phase.spans += SPANS_PER_REQUEST

    async def _watched(self, phase: Phase, send_all: Callable[[], Awaitable[None]]) -> Phase:
        """Sample the memory while it runs."""
        start_s, cpu_start_s = time.monotonic(), self._target.cpu_s()
        sending = asyncio.ensure_future(send_all())
        while not sending.done():
            phase.rss_mib.append((time.monotonic() - self._started_s, self._target.rss_bytes() / MIB))
            await asyncio.wait((sending,), timeout=1.0)
        sending.result()
        phase.seconds = time.monotonic() - start_s
        phase.cpu_s = self._target.cpu_s() - cpu_start_s
        phase.load = os.getloadavg()[0]
        self.phases.append(phase)
        say(json.dumps(phase.figures()))
        return phase


async def _pause(seconds: float) -> None:
    waiting = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(seconds, lambda: waiting.done() or waiting.set_result(None))
    await waiting


async def _run_phases(soak: Soak, port: int, arguments: argparse.Namespace) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(EXPORT)

        async def send(body: bytes) -> bytes:
            return bytes(await call(body, timeout=30))

        await soak.closed_loop(send, "warm-up", arguments.warm_up)
        await soak.open_loop(send, "steady", arguments.steady, STEADY_SPANS_PER_S / SPANS_PER_REQUEST)
        full = await soak.closed_loop(send, "full", arguments.full)
        rate = full.spans / full.seconds / SPANS_PER_REQUEST
        await soak.open_loop(send, "half", arguments.half, rate / 2)


def problems_of(soak: Soak, counted: int) -> list[str]:
    """What did not hold."""
    sent = sum(phase.spans for phase in soak.phases)
    problems = [] if sent == counted else [f"{sent} spans were acknowledged, {counted} are counted"]
    for phase in soak.phases:
        if phase.refused:
            problems.append(f"{phase.name}: {phase.refused} requests were refused")
        if phase.name in ("steady", "full") and phase.rss_growth() > RSS_GROWTH_MAX:
            problems.append(f"{phase.name}: memory grew by {phase.rss_growth():.1%}")
        if phase.name in ("steady", "half") and phase.quantile_ms(0.99) > ACK_P99_MS_MAX:
            problems.append(f"{phase.name}: p99 of the acknowledgement is {phase.quantile_ms(0.99):.1f} ms")
    return problems


def main() -> int:
    """Run the phases, write JSON and a plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warm-up", type=float, default=480, help="seconds")
    parser.add_argument("--steady", type=float, default=3600, help="seconds")
    parser.add_argument("--full", type=float, default=600, help="seconds")
    parser.add_argument("--half", type=float, default=300, help="seconds")
    parser.add_argument("--nice", type=int, default=10, help="how far the sender steps back for the pipeline")
    parser.add_argument("--output", type=Path, default=Path("soak"), help="folder for soak.json and soak.svg")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Target(Path(folder)) as target:
        os.nice(arguments.nice)
        before = target.counted()
        soak = Soak(target)
        asyncio.run(_run_phases(soak, target.grpc_port, arguments))
        counted = target.counted() - before
        exit_code = target.stop()
    problems = problems_of(soak, counted)
    if exit_code:
        problems.append(f"the pipeline ended with {exit_code}")
    result = {
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()},
        "spans_per_request": SPANS_PER_REQUEST,
        "counted_spans": counted,
        "phases": [phase.figures() for phase in soak.phases],
        "problems": problems,
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "soak.json").write_text(json.dumps(result, indent=2) + "\n")
    (arguments.output / "soak.svg").write_text(
        plot.line_chart(
            "Memory of the pipeline, MiB, over seconds",
            {phase.name: phase.rss_mib for phase in soak.phases},
        )
    )
    say("\n".join(problems) or f"{counted} spans, each counted once")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
