"""Measures otel-sla on this machine, in about ten minutes: `make bench`.

Parts: `side-by-side` with other receivers, `grid` of codings, sizes and connections, `repeats`, `stages` by themselves,
`growth` with what there is to grow. Tables go to the terminal, JSON and plots to a folder. benchmarks/README.md tells
how to read them.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import edge
import growth
import psutil
import stages
import subjects
from sender import Load, Sender
from traffic import Shape

PARTS = ("side-by-side", "grid", "repeats", "stages", "growth")
_ROUTES = 25  # Of each of four services: 100 series.


class Bench:
    """One run.

    Args:
        options: Of the command.
        output: Where JSON and plots go.
    """

    def __init__(self, options: argparse.Namespace, output: Path) -> None:
        self._options = options
        self._output = output
        self.results: dict[str, Any] = {"machine": describe_machine(), "seconds_a_cell": options.seconds}
        collector = options.collector or subjects.find_collector()
        self._collector = None if options.no_collector else collector
        if self._collector is None:
            say("no Collector to compare with: `make parts` builds one, or --collector PATH")

    def run(self, parts: Iterable[str]) -> None:
        """Measure the parts, and write what was found after each."""
        measures: dict[str, Callable[[Sender], None]] = {
            "side-by-side": self._side_by_side,
            "grid": self._grid,
            "repeats": self._repeats,
            "stages": self._stages,
            "growth": self._growth,
        }
        with Sender() as sender:
            for part in parts:
                started_s = time.monotonic()
                say(f"\n# {part}\n")
                measures[part](sender)
                say(f"\n({time.monotonic() - started_s:.0f} s)")
                (self._output / "results.json").write_text(json.dumps(self.results, indent=1) + "\n")
        self._draw()

    def _side_by_side(self, sender: Sender) -> None:
        options = self._options
        with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder, ExitStack() as running:
            compared = [subjects.otel_sla(Path(folder))]
            if options.beside is not None:
                of_beside = Path(folder, "beside")
                of_beside.mkdir()
                compared.append(subjects.otel_sla_of(options.beside, of_beside))
            compared += [subjects.receiver("discard"), subjects.receiver("loop")]
            if self._collector is not None:
                compared += subjects.collectors(Path(folder), self._collector)
            for subject in compared:
                running.enter_context(subject)
            turns = edge.side_by_side(compared, sender, rounds=options.rounds, seconds=options.seconds, routes=_ROUTES)
            found = []
            for measured in turns:
                found.append(measured)
                if len(found) % (options.rounds * len(compared)) == 0:
                    self._show_cell(found[-options.rounds * len(compared) :], compared)
        self.results["side_by_side"] = [measured.figures() for measured in found]
        self.results["ratios"] = {
            other.name: {
                cell: dict(zip(("median", "min", "max"), (round(value, 2) for value in values), strict=True))
                for cell, values in edge.ratios(found, "otel-sla", other.name).items()
            }
            for other in compared[1:]
        }

    def _show_cell(self, found: list[edge.Measured], compared: list[subjects.Subject]) -> None:
        say(f"{found[0].cell()}")
        for subject in compared:
            own = [measured for measured in found if measured.subject == subject.name]
            figures = sorted(own, key=lambda measured: measured.spans_per_cpu_s)[len(own) // 2]
            ratio = ""
            if subject.name != "otel-sla":
                ((median, least, most),) = edge.ratios(found, "otel-sla", subject.name).values()
                ratio = f"   otel-sla takes {median:5.2f} x as much ({least:.2f} to {most:.2f})"
            say(
                f"  {subject.name:22} {figures.spans_per_cpu_s / 1e6:6.3f} M spans/CPU-s"
                f" {figures.spans_per_s / 1e6:6.3f} M/s {figures.rss_mib:5.0f} MiB{ratio}"
            )

    def _grid(self, sender: Sender) -> None:
        rows = []
        head = f"{'':28} {'conn.':>5} {'M/CPU-s':>8} {'M/s':>7} {'MiB':>5}   half load: {'p50':>7} {'p99':>7}"
        say(head + f" {'p99.9':>7} ms")
        with (
            tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder,
            subjects.otel_sla(Path(folder)) as subject,
        ):
            edge.warm_up([subject], sender, Shape(routes=_ROUTES))
            for full, half in edge.grid(subject, sender, seconds=self._options.seconds, routes=_ROUTES):
                rows += [full.figures(), half.figures()]
                quantiles = "".join(f" {half.ack_ms[name]:7.1f}" for name in ("p50", "p99", "p99.9"))
                say(
                    f"{full.cell():28} {full.load.connections:5} {full.spans_per_cpu_s / 1e6:8.3f}"
                    f" {full.spans_per_s / 1e6:7.3f} {full.rss_mib:5.0f}   {'':10}{quantiles}"
                )
        self.results["grid"] = rows

    def _repeats(self, sender: Sender) -> None:
        rows = []
        with (
            tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder,
            subjects.otel_sla(Path(folder)) as subject,
        ):
            for protocol in ("grpc", "http"):
                load = Load(protocol, 0, Shape(routes=_ROUTES), self._options.seconds, connections=4, in_flight=16)
                for what, of_load in (("new", load), ("repeated", replace(load, repeat=True))):
                    found = edge.measure(subject, sender, of_load)
                    rows.append({"requests": what, **found.figures()})
                    say(f"{found.cell():28} {what:10} {found.spans_per_cpu_s / 1e6:6.3f} M spans/CPU-s")
        self.results["repeats"] = rows

    def _stages(self, _: Sender) -> None:
        shape = Shape(spans=512, routes=_ROUTES)
        found = stages.measure_stages(shape, rounds=9)
        found += stages.measure_counting(rounds=9)
        found += [stages.measure_commit(shape, rounds=9), *stages.measure_judging(rounds=9)]
        for stage in found:
            rate = "" if stage.gb_per_s is None else f"{stage.gb_per_s:7.2f} GB/s"
            say(f"{stage.name:34} {stage.ns:9.1f} ns a {stage.unit:20} {rate}")
        self.results["stages"] = [stage.figures() for stage in found]

    def _growth(self, sender: Sender) -> None:
        rows: list[dict[str, Any]] = []
        for dimension in growth.cases(full=self._options.full):
            for row in growth.grow(sender, dimension, rounds=2, seconds=self._options.seconds):
                rows.append(row)
                say(
                    f"{row['dimension']:28} {row['value']:>12,} {row['ns_per_span']:7} ns a span"
                    f"  {row['times_the_smallest']:6.2f} x"
                )
        for row in growth.report_times(full=self._options.full):
            rows.append(row)
            say(f"{row['dimension']:28} {row['value']:>12,} {row['seconds']:7.3f} s for a month's JSON")
        self.results["growth"] = rows

    def _draw(self) -> None:
        import drawing  # Half a second, and nobody needs it before.

        results, output = self.results, self._output
        if "side_by_side" in results:
            drawing.draw_side_by_side(results["side_by_side"], output / "side-by-side.svg")
        if "grid" in results:
            drawing.draw_latency(results["grid"], output / "latency.svg")
        if "stages" in results and "side_by_side" in results:
            of_cell = [row for row in results["side_by_side"] if _is_the_usual(row)]
            whole_ns = sorted(1e9 / row["spans_per_cpu_s"] for row in of_cell)[len(of_cell) // 2]
            drawing.draw_stages(results["stages"], whole_ns, output / "stages.svg")
        if "growth" in results:
            drawing.draw_growth(results["growth"], output / "growth.svg")


def _is_the_usual(row: dict[str, Any]) -> bool:
    found = (row["server"], row["protocol"], row["encoding"], row["spans_per_request"])
    return found == ("otel-sla", "grpc", "identity", 512)


def describe_machine() -> dict[str, Any]:
    """What the figures depend on."""
    model = platform.processor() or "unknown"
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        lines = [line for line in cpus.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": platform.python_version(),
    }


def _checkout(text: str) -> Path:
    checkout = Path(text).resolve()
    command = subjects.command_of(checkout)
    if not command.exists():
        raise argparse.ArgumentTypeError(f"{command} does not exist: `make .venv/.installed` in {checkout} makes it")
    return checkout


def say(line: str) -> None:
    """Write a line at once."""
    print(line, flush=True)


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, prog="make bench")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part alone; may be given again")
    parser.add_argument("--seconds", type=float, default=1.2, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="turns of the side by side")
    parser.add_argument("--full", action="store_true", help="20 million fingerprints, reports of 10,000 series: longer")
    parser.add_argument("--collector", type=Path, help="a Collector's binary, with nop exporter and spanmetrics")
    parser.add_argument("--no-collector", action="store_true", help="leave the Collector out")
    parser.add_argument(
        "--beside", type=_checkout, metavar="CHECKOUT", help="another checkout, whose otel-sla is compared side by side"
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "latest")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    machine = describe_machine()
    say(f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, Python {machine['python']}")
    started_s = time.monotonic()
    Bench(options, options.output).run(options.only or PARTS)
    say(f"\n{time.monotonic() - started_s:.0f} s; JSON and plots in {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
