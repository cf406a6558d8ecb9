"""Kills a loaded pipeline again and again, and counts what it had acknowledged.

A sender keeps several requests under way; the pipeline is killed right after some acknowledgement. Then it is started
again and every request that was not acknowledged is sent anew, and some that were. In the end each span was counted
once, whether it was acknowledged before the kill, after it, or both.

`make crash` does it a thousand times, the test (tests/acceptance/test_crash.py) a few.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).parent / "acceptance"))

import parts
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pipeline_parts import EXPORT

from otel_sla.ledger.reader import LedgerReader

SPANS_PER_REQUEST = 20
REQUESTS_PER_ROUND = 60
UNDER_WAY = 8
_LATENCY_MINUTES = 3  # Some spans are of minutes that are judged already.

CONFIG = """
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{port}"}}}}}}}}
ledger: {{url: "sqlite:///{ledger}"}}
processor: {{grace: 1s}}
"""


class Sender:
    """Sends requests and knows which were acknowledged."""

    def __init__(self, rng: random.Random, port: int) -> None:
        self._rng = rng
        self._port = port
        self.acknowledged: list[bytes] = []
        self.unanswered: list[bytes] = []
        self.sent_spans = 0

    def make_bodies(self) -> list[bytes]:
        """New requests: ResourceSpans of two services each, spans of the last minutes."""
        bodies = []
        for _ in range(REQUESTS_PER_ROUND):
            request = ExportTraceServiceRequest()
            for name in ("chat", "search"):
                resource_spans = request.resource_spans.add()
                resource_spans.resource.attributes.add(key="service.name").value.string_value = name
                spans = resource_spans.scope_spans.add().spans
                for _ in range(SPANS_PER_REQUEST // 2):
                    age_s = self._rng.randrange(60 * _LATENCY_MINUTES)
                    spans.add(
                        trace_id=self._rng.randbytes(16),
                        span_id=self._rng.randbytes(8),
                        kind=2,
                        end_time_unix_nano=time.time_ns() - age_s * 10**9,
                    )
            bodies.append(request.SerializeToString())
        self.sent_spans += REQUESTS_PER_ROUND * SPANS_PER_REQUEST
        return bodies

    async def send(self, bodies: list[bytes], kill: Callable[[], None] | None, kill_after: int) -> None:
        """Send with several requests under way; calls `kill` after so many acknowledgements."""
        waiting = list(bodies)
        self.unanswered = []
        n_acknowledged = 0

        async def send_some(call: "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]") -> None:
            nonlocal n_acknowledged
            while waiting:
                body = waiting.pop()
                try:
                    await call(body, timeout=30)
                except grpc.aio.AioRpcError:
                    self.unanswered.append(body)
                    continue
                self.acknowledged.append(body)
                n_acknowledged += 1
                if kill is not None and n_acknowledged == kill_after:
                    kill()

        async with grpc.aio.insecure_channel(f"127.0.0.1:{self._port}") as channel:
            call = channel.unary_unary(EXPORT)
            await asyncio.gather(*(send_some(call) for _ in range(UNDER_WAY)))


def counted_spans(ledger: Path) -> int:
    """All requests in the ledger."""
    with closing(LedgerReader.open(f"sqlite:///{ledger}")) as reader:
        return int(reader.counts(0, 1 << 40).counts.sum())


def crash_rounds(n_rounds: int, seed: int, folder: Path, tell: Callable[[str], object]) -> None:
    """Kill and start again so many times; AssertionError if a span was lost or counted twice."""
    rng = random.Random(seed)
    (port,) = parts.free_ports(1)
    ledger, config = folder / "ledger.db", folder / "otel-sla.yaml"
    config.write_text(CONFIG.format(port=port, ledger=ledger))
    process = parts.LoggedProcess([sys.executable, "-m", "otel_sla", "run", "--config", str(config)])
    sender = Sender(rng, port)
    try:
        for number in range(n_rounds):
            process.start()
            process.wait_for("action=serving", timeout_s=120)
            kill_after = rng.randrange(1, REQUESTS_PER_ROUND)
            asyncio.run(sender.send(sender.make_bodies(), process.kill, kill_after))
            counted = counted_spans(ledger)
            acknowledged = len(sender.acknowledged) * SPANS_PER_REQUEST
            assert counted >= acknowledged, f"round {number}, seed {seed}: {acknowledged} acknowledged, {counted} kept"
            process.start()
            process.wait_for("action=serving", timeout_s=120)
            again = rng.sample(sender.acknowledged, min(10, len(sender.acknowledged)))
            asyncio.run(sender.send([*sender.unanswered, *again], None, 0))
            assert not sender.unanswered, f"round {number}, seed {seed}: refused after the restart"
            sender.acknowledged = list(dict.fromkeys(sender.acknowledged))
            assert process.stop() == 0, "a clean end"
            counted = counted_spans(ledger)
            assert counted == sender.sent_spans, (
                f"round {number}, seed {seed}: {sender.sent_spans} sent, {counted} kept"
            )
            tell(f"round {number + 1}: killed after {kill_after} acknowledgements, {counted} spans counted once")
    finally:
        process.kill()


def main() -> None:
    """Run many rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        crash_rounds(arguments.rounds, arguments.seed, Path(folder), print)


if __name__ == "__main__":
    main()
