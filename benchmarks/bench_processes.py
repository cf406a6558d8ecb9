"""What several processes that receive cost and bring, beside one: `processor.processes`.

One process cannot be loaded beyond its core and the sender needs one too, so on two cores the answer is in CPU time:
with cores enough the busiest process is the bound, with few the sum of all. Run: python benchmarks/bench_processes.py.
"""

import argparse
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from edge import COMPARED_CONNECTIONS, measure, warm_up
from sender import Load, Sender
from subjects import Subject, otel_sla
from traffic import Shape

CELLS = (("grpc", 100), ("grpc", 512), ("grpc", 8192), ("http", 100), ("http", 512), ("http", 8192))


def turn(subject: Subject, sender: Sender, load: Load) -> tuple[float, float]:
    """Microseconds of CPU for a request: of all processes, and of the busiest."""
    before = subject.cpu_s_each()
    found = measure(subject, sender, load)
    each = [cpu_s - before.get(pid, 0.0) for pid, cpu_s in subject.cpu_s_each().items()]
    all_us = load.shape.spans / found.spans_per_cpu_s * 1e6
    return all_us, all_us * max(each) / sum(each)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.2)
    options = parser.parse_args()
    many = options.processes
    print(
        f"| Protocol, spans a request | 1: all | {many}: all | {many}: busiest"
        f" | times one, {many} cores | times one, cores enough |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder, ExitStack() as running:
        subjects = []
        for number in (1, many):
            own = Path(folder) / str(number)
            own.mkdir()
            made = otel_sla(own, name=f"{number}", settings={"processor": {"processes": number}})
            subjects.append(running.enter_context(made))
        sender = running.enter_context(Sender())
        for protocol, size in CELLS:
            shape = Shape(spans=size)
            warm_up(subjects, sender, shape)
            load = Load(protocol, 0, shape, options.seconds, "identity", COMPARED_CONNECTIONS, COMPARED_CONNECTIONS)
            turns = [[turn(subject, sender, load) for subject in subjects] for _ in range(options.rounds)]
            one, all_us, busiest = (
                statistics.median(column)
                for column in zip(*((first[0], *second) for first, second in turns), strict=True)
            )
            few = statistics.median(min(many * one[0] / two[0], one[0] / two[1]) for one, two in turns)
            enough = statistics.median(one[0] / two[1] for one, two in turns)
            name = {"grpc": "gRPC", "http": "HTTP"}[protocol]
            print(
                f"| {name}, {size:,} | {one:,.0f} | {all_us:,.0f} | {busiest:,.0f} | {few:.2f} | {enough:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
