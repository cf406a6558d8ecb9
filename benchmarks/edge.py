"""End to end: what a server takes, what it costs, how soon it answers; beside others, in the same run.

What counts is spans for a CPU-second of the server, all its threads and children: the sender works on the same machine,
and how fast the clock runs there says little. Servers are measured in turns, so that a busy neighbour meets each alike,
and compared by the ratio within a turn.
"""

import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sender import Load, Sender
from subjects import Subject
from traffic import Shape

SIZES = (100, 512, 8192)
CONNECTIONS = (1, 4, 64)
CODINGS = (("grpc", "identity"), ("grpc", "gzip"), ("http", "identity"), ("http", "gzip"), ("http", "zstd"))
COMPARED = tuple(
    [("grpc", "identity", size) for size in SIZES]
    + [("http", "identity", size) for size in SIZES]
    + [("http", "gzip", size) for size in SIZES]
    + [("grpc", "gzip", 512)]
)
COMPARED_CONNECTIONS = 16  # With one request at a time each: over HTTP/1.1 a connection has no more.
_IN_FLIGHT_BYTES_MAX = 96 * 2**20
_WARM_UP_S = 0.6


@dataclass(frozen=True, slots=True)
class Measured:
    """One server under one load.

    Attributes:
        subject: The server's name.
        load: What was sent.
        spans_per_s: Taken, by the clock.
        spans_per_cpu_s: Taken, for a second of the server's CPU time.
        cores: CPU time over time.
        rss_mib: Afterwards, physical memory.
        refused: Requests.
        ack_ms: Quantiles of the time to the answer.
    """

    subject: str
    load: Load
    spans_per_s: float
    spans_per_cpu_s: float
    cores: float
    rss_mib: float
    refused: int
    ack_ms: dict[str, float]

    def cell(self) -> str:
        """What was sent, in words."""
        return f"{self.load.protocol} {self.load.encoding}, {self.load.shape.spans} spans"

    def figures(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "server": self.subject,
            "protocol": self.load.protocol,
            "encoding": self.load.encoding,
            "spans_per_request": self.load.shape.spans,
            "connections": self.load.connections,
            "requests_per_s_wanted": round(self.load.rate, 1) or None,
            "spans_per_s": round(self.spans_per_s),
            "spans_per_cpu_s": round(self.spans_per_cpu_s),
            "cores": round(self.cores, 2),
            "rss_mib": round(self.rss_mib, 1),
            "refused_requests": self.refused,
            "ack_ms": {name: round(value, 2) for name, value in self.ack_ms.items()},
        }


def measure(subject: Subject, sender: Sender, load: Load) -> Measured:
    """Send a load to a server that is idle otherwise."""
    load = replace(load, port=subject.ports[load.protocol])
    before_s = subject.cpu_s()
    answer = sender.send(load)
    cpu_s = subject.cpu_s() - before_s
    return Measured(
        subject=subject.name,
        load=load,
        spans_per_s=answer["spans"] / answer["seconds"],
        spans_per_cpu_s=answer["spans"] / cpu_s,
        cores=cpu_s / answer["seconds"],
        rss_mib=subject.rss_mib(),
        refused=answer["refused"],
        ack_ms=answer["ack_ms"],
    )


def in_flight(shape: Shape, connections: int) -> int:
    """How many requests at a time: two for each connection, as memory allows, and never fewer than keep it busy."""
    return max(4, connections, min(16, 2 * connections, _IN_FLIGHT_BYTES_MAX // (shape.spans * 600)))


def warm_up(subjects: Sequence[Subject], sender: Sender, shape: Shape) -> None:
    """Let each server see the traffic once: what it compiles or learns is not what is measured."""
    for subject, protocol in itertools.product(subjects, ("grpc", "http")):
        measure(subject, sender, Load(protocol, 0, shape, seconds=_WARM_UP_S))


def side_by_side(
    subjects: Sequence[Subject], sender: Sender, *, rounds: int, seconds: float, routes: int
) -> Iterator[Measured]:
    """All servers in turns, in each cell of `COMPARED`, `rounds` times."""
    for protocol, encoding, size in COMPARED:
        shape = Shape(spans=size, routes=routes)
        load = Load(protocol, 0, shape, seconds, encoding, COMPARED_CONNECTIONS, COMPARED_CONNECTIONS)
        warm_up(subjects, sender, shape) if encoding == "identity" and protocol == "grpc" else None
        for number in range(rounds):
            # Each time another one is first: what runs after a pause may find a cooler, faster machine.
            for at in range(len(subjects)):
                yield measure(subjects[(at + number) % len(subjects)], sender, load)


def grid(subject: Subject, sender: Sender, *, seconds: float, routes: int) -> Iterator[tuple[Measured, Measured]]:
    """One server in every coding, size and number of connections: as much as it takes, and at half of that."""
    for (protocol, encoding), size, connections in itertools.product(CODINGS, SIZES, CONNECTIONS):
        shape = Shape(spans=size, routes=routes)
        load = Load(protocol, 0, shape, seconds, encoding, connections, in_flight(shape, connections))
        full = measure(subject, sender, load)
        half = full.spans_per_s / size / 2
        yield full, measure(subject, sender, replace(load, rate=max(half, 2 / seconds)))


def ratios(measured: Sequence[Measured], subject: str, other: str) -> dict[str, tuple[float, float, float]]:
    """How many times the spans for a CPU-second `subject` takes of what `other` does.

    Returns:
        For each cell the median over the turns, the smallest and the largest.
    """
    found = {}
    for cell in dict.fromkeys(one.cell() for one in measured):
        pairs = zip(
            (one.spans_per_cpu_s for one in measured if one.cell() == cell and one.subject == subject),
            (one.spans_per_cpu_s for one in measured if one.cell() == cell and one.subject == other),
            strict=True,
        )
        of_cell = [ours / theirs for ours, theirs in pairs]
        if of_cell:
            found[cell] = (statistics.median(of_cell), min(of_cell), max(of_cell))
    return found
