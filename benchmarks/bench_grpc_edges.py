"""What other engines bring to the gRPC edge: spans for a CPU-second of the server, discarding and counting.

    python benchmarks/bench_grpc_edges.py --rounds 5

Each engine is served twice: before something that forgets the bytes, and before the real accountant with a durable
ledger (synchronous=FULL). `grpcio` is the edge as otel-sla serves it; the others do less than it does, see
`grpc_engines.py`, so their figures are upper bounds. What is not installed is left out, with a line that says so; for
all of them: pip install pyvoy pygrpc-native hypercorn zttp grpclib.

All run at the same time and are measured in turns, with requests that never repeat; a ratio is that of a turn. What the
ledgers hold in the end is compared with what was acknowledged.
"""

import argparse
import importlib.util
import itertools
import json
import socket
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import yaml
from edge import SIZES, in_flight
from grpc_engines import CONFIG_VARIABLE, ENGINES, PORT_VARIABLE
from sender import Load, Sender
from subjects import Subject, agreement, parts
from traffic import Shape

from otel_sla.ledger.reader import LedgerReader

BASE = "grpcio"
CONNECTIONS = 4  # As `Load` has it.
_WARM_UP_S = 1.0


class Turn(NamedTuple):
    """What one turn of one server showed."""

    spans_per_cpu_s: float
    cpu_us: float  # For a request.
    ack_ms: float  # Median.
    rss_mib: float  # Afterwards.
    refused: int  # Requests that were answered with an error, or not at all.


class Server(Subject):
    """One engine, before an accountant with a ledger in `folder`, or before one that forgets."""

    def __init__(self, name: str, folder: Path | None) -> None:
        self.sent_spans = self.refused_spans = 0
        self.ledger = None if folder is None else f"sqlite:///{folder}/ledger.db"
        with socket.create_server(("127.0.0.1", 0)) as free:
            variables = {PORT_VARIABLE: str(free.getsockname()[1]), CONFIG_VARIABLE: ""}
        if folder is not None:
            config = folder / "otel-sla.yaml"
            config.write_text(yaml.safe_dump({"ledger": {"url": self.ledger}, "agreements": [agreement()]}))
            variables[CONFIG_VARIABLE] = str(config)
        command = [sys.executable, str(Path(__file__).with_name("grpc_engines.py")), name]
        super().__init__(name, parts.LoggedProcess(command, {**variables, **ENGINES[name].environment}))

    @property
    def sink(self) -> str:
        """What is behind it."""
        return "discard" if self.ledger is None else "count"

    def measure(self, sender: Sender, load: Load) -> Turn:
        """Send as much as it takes."""
        before_s = self.cpu_s()
        answer = sender.send(replace(load, port=self.ports["grpc"]))
        cpu_s = self.cpu_s() - before_s
        self.sent_spans += answer["spans"]
        self.refused_spans += answer["refused"] * load.shape.spans
        return Turn(
            answer["spans"] / cpu_s,
            cpu_s / answer["requests"] * 1e6,
            answer["ack_ms"]["p50"],
            self.rss_mib(),
            answer["refused"],
        )

    def check(self) -> None:
        """Compare the ledger's counts with what was acknowledged."""
        if self.ledger is None:
            return
        with closing(LedgerReader.open(self.ledger)) as reader:
            counted = int(reader.counts(0, 1 << 40).counts.sum())
        assert 0 <= counted - self.sent_spans <= self.refused_spans, (
            f"{self.name}: {self.sent_spans} spans acknowledged, {self.refused_spans} refused, {counted} counted"
        )


Turns = dict[tuple[str, int, str], list[Turn]]  # By sink, spans in a request, and engine; one for each round.


def run(servers: Sequence[Server], loads: Sequence[Load], rounds: int) -> Turns:
    """All servers in turns."""
    turns: Turns = defaultdict(list)
    with Sender() as sender:
        for server, load in itertools.product(servers, loads):
            server.measure(sender, replace(load, seconds=_WARM_UP_S))
        for number, load, sink in itertools.product(range(rounds), loads, ("discard", "count")):
            among = [server for server in servers if server.sink == sink]
            # Each time another one is first: what runs after a pause may find a cooler, faster machine.
            for at in range(len(among)):
                server = among[(at + number) % len(among)]
                turns[sink, load.shape.spans, server.name].append(server.measure(sender, load))
    return turns


def table(turns: Turns) -> str:
    """A table in Markdown: medians, and the ratio to `BASE` within a turn with its smallest and largest."""
    lines = [
        "| Behind it | Spans | Engine | M spans/CPU-s | Ratio | CPU µs a request | Ack p50 ms | RSS MiB | Refused |",
        "| --- | ---: | --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for (sink, size, name), of_one in turns.items():
        speed, cpu_us, ack_ms, rss_mib, _ = (statistics.median(column) for column in zip(*of_one, strict=True))
        base = turns[sink, size, BASE]
        ratios = sorted(one.spans_per_cpu_s / other.spans_per_cpu_s for one, other in zip(of_one, base, strict=True))
        refused = sum(one.refused for one in of_one)
        lines.append(
            f"| {sink} | {size} | {name} | {speed / 1e6:.2f} | {statistics.median(ratios):.2f}"
            f" ({ratios[0]:.2f}-{ratios[-1]:.2f}) | {cpu_us:.0f} | {ack_ms:.1f} | {rss_mib:.0f} | {refused} |"
        )
    return "\n".join(lines)


def installed(names: Iterable[str]) -> list[str]:
    """Those that can be served here, and a line for each that cannot."""
    found = []
    for name in names:
        module = ENGINES[name].needs
        if importlib.util.find_spec(module) is None:
            print(f"{name}: left out, {module} is not installed", file=sys.stderr)
        else:
            found.append(name)
    return found


def main() -> None:
    """Measure, print the table, write all turns as JSON where that is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each turn")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="spans in a request")
    parser.add_argument("--in-flight", type=int, help="requests at a time; by default as memory allows, up to 8")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=tuple(ENGINES))
    parser.add_argument("--json", type=Path, help="a file for all turns")
    options = parser.parse_args()
    loads = [
        Load("grpc", 0, shape, options.seconds, in_flight=options.in_flight or in_flight(shape, CONNECTIONS))
        for shape in (Shape(spans=size) for size in options.sizes)
    ]
    names = installed(dict.fromkeys((BASE, *options.engines)))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = []
        for number, name in enumerate(names):
            (of_one := folder / str(number)).mkdir()
            servers += [stack.enter_context(Server(name, None)), stack.enter_context(Server(name, of_one))]
        turns = run(servers, loads, options.rounds)
        print(table(turns))
        if options.json is not None:
            rows = [(*key, *turn) for key, of_one in turns.items() for turn in of_one]
            options.json.write_text(json.dumps({"columns": ["sink", "spans", "engine", *Turn._fields], "rows": rows}))
        for server in servers:
            server.check()


if __name__ == "__main__":
    main()
