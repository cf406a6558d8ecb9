"""Writes a run's tables into README.md and docs/performance.md, so that no figure there is typed by hand.

    python benchmarks/tables.py             the published run, into the documents
    python benchmarks/tables.py --check     fails if they say something else
    python benchmarks/tables.py --print results.json

Each table stands between `<!-- table: NAME -->` and `<!-- end -->`.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = ROOT / "benchmarks" / "results" / "published" / "results.json"
DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "performance.md")
_TABLE = re.compile(r"(<!-- table: ([a-z-]+) -->\n).*?(<!-- end -->\n)", re.DOTALL)
_TIMES, _TO = "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"
_OTHERS = ("discard", "loop", "collector nop", "collector spanmetrics")

Results = dict[str, Any]
_Row = Sequence[str]


def side_by_side(results: Results) -> str:
    """Each load beside every other server."""
    names = [name for name in _OTHERS if name in results["ratios"]]
    head = ["Protocol, spans a request", "otel-sla", *(f"{name} (otel-sla takes)" for name in names)]
    rows = []
    for cell in results["ratios"][names[0]]:
        row = [_cell_name(cell), f"{1e3 / _ns_per_span(results, 'otel-sla', cell):.2f}"]
        for name in names:
            found = results["ratios"][name][cell]
            taken = f"{found['median']:.2f} {_TIMES}, {found['min']:.2f}{_TO}{found['max']:.2f}"
            row.append(f"{1e3 / _ns_per_span(results, name, cell):.2f} ({taken})")
        rows.append(row)
    return _table(head, rows)


def short(results: Results) -> str:
    """What README shows of it."""
    names = {"loop": "protobuf and a loop", "collector spanmetrics": "Collector, spanmetrics"}
    rows = []
    for cell in results["ratios"]["loop"]:
        row = [_cell_name(cell), f"{1e3 / _ns_per_span(results, 'otel-sla', cell):.2f}"]
        for name in names:
            ratio = results["ratios"][name][cell]["median"]
            row.append(f"{1e3 / _ns_per_span(results, name, cell):.2f} ({ratio:.1f} {_TIMES})")
        rows.append(row)
    return _table(["Protocol, spans a request", "otel-sla", *names.values()], rows)


def stages(results: Results) -> str:
    """Each stage by itself."""
    rows = []
    for stage in results["stages"]:
        rate = "" if stage["gb_per_s"] is None else f"{stage['gb_per_s']:.2f} GB/s"
        rows.append([stage["stage"], f"{stage['ns']:,.1f} ns a {stage['unit']}", rate])
    return _table(["Stage", "CPU time", "Bytes"], rows)


def grid(results: Results) -> str:
    """Codings, sizes and connections: as much as is taken, and the latency at half of it."""
    rows = []
    for full, half in zip(results["grid"][::2], results["grid"][1::2], strict=True):
        latency = ", ".join(f"{half['ack_ms'][name]:.1f}" for name in ("p50", "p99", "p99.9"))
        cell = f"{full['protocol']} {full['encoding']}, {full['spans_per_request']} spans"
        figures = f"{full['spans_per_cpu_s'] / 1e6:.2f}", f"{full['spans_per_s'] / 1e6:.2f}", f"{full['rss_mib']:.0f}"
        rows.append([_cell_name(cell), str(full["connections"]), *figures, latency])
    quantiles = "p50, p99, p99.9 at half load, ms"
    return _table(["Protocol, spans a request", "Connections", "M spans/CPU-s", "M spans/s", "MiB", quantiles], rows)


def repeats(results: Results) -> str:
    """New requests beside one that is sent again and again."""
    rows = []
    for new, repeated in zip(results["repeats"][::2], results["repeats"][1::2], strict=True):
        cell = f"{new['protocol']} {new['encoding']}, {new['spans_per_request']} spans"
        rows.append([_cell_name(cell), *(f"{found['spans_per_cpu_s'] / 1e6:.2f}" for found in (new, repeated))])
    return _table(["Protocol, spans a request", "New, M spans/CPU-s", "Repeated, M spans/CPU-s"], rows)


def growth(results: Results) -> str:
    """What a span costs as something grows."""
    rows = []
    for row in results["growth"]:
        if "seconds" in row:
            rows.append(
                [row["dimension"], f"{row['value']:,}", f"{1e3 * row['seconds']:.0f} ms for a month's JSON", ""]
            )
        else:
            times = f"{row['times_the_smallest']:.2f}"
            rows.append([row["dimension"], f"{row['value']:,}", f"{row['ns_per_span']:,} ns", times])
    return _table(["What grows", "Value", "Cost of a span", "Times the smallest"], rows)


def machine(results: Results) -> str:
    """Where it was measured."""
    what = results["machine"]
    return (
        f"The machine: {what['cpu']}, {what['cores']} virtual cores that are shared with others,"
        f" {what['memory_gib']} GiB, {what['system']}, Python {what['python']}.\n"
    )


def words(results: Results) -> str:
    """The speed of counting, in a sentence."""
    counting, loop = (_stage_ns(results, name) for name in ("decode, classify and ring", "protobuf and a Python loop"))
    return (
        f"From bytes to counts one thread takes {1e3 / counting:.1f} million spans/s ({counting:.0f} ns each),"
        f" {loop / counting:.0f} times the loop; the rest is receiving and the disk.\n"
    )


TABLES: dict[str, Callable[[Results], str]] = {
    "side-by-side": side_by_side,
    "short": short,
    "stages": stages,
    "grid": grid,
    "repeats": repeats,
    "growth": growth,
    "machine": machine,
    "words": words,
}


def filled(text: str, results: Results) -> str:
    """A document with its tables of this run."""
    return _TABLE.sub(lambda found: f"{found[1]}{TABLES[found[2]](results)}{found[3]}", text)


def _cell_name(cell: str) -> str:
    protocol, encoding, spans = re.fullmatch(r"(\w+) (\w+), (\d+) spans", cell).groups()  # type: ignore[union-attr]
    coding = "" if encoding == "identity" else f" {encoding}"
    return f"{'gRPC' if protocol == 'grpc' else 'HTTP'}{coding}, {int(spans):,}"


def _ns_per_span(results: Results, server: str, cell: str) -> float:
    of_cell = [
        1e9 / row["spans_per_cpu_s"]
        for row in results["side_by_side"]
        if row["server"] == server and cell == f"{row['protocol']} {row['encoding']}, {row['spans_per_request']} spans"
    ]
    return median(of_cell)


def _stage_ns(results: Results, name: str) -> float:
    found = [float(stage["ns"]) for stage in results["stages"] if stage["stage"] == name]
    assert found, f"this run has not measured {name!r}: it is of an older version"
    return found[0]


def _table(head: _Row, rows: Sequence[_Row]) -> str:
    columns = list(zip(*rows, strict=True))
    is_number = [any(map(str.isdigit, "".join(cells))) for cells in columns]
    rule = ["---:" if place > 0 and is_number[place] else "---" for place in range(len(head))]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, rule, *rows))


def main() -> int:
    """Write, check or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing, fail if something would change")
    parser.add_argument("--print", type=Path, metavar="FILE", help="print the tables of another run")
    options = parser.parse_args()
    if options.print:
        results = json.loads(options.print.read_text())
        print("\n".join(table(results) for table in TABLES.values()))
        return 0
    results, is_stale = json.loads(PUBLISHED.read_text()), False
    for document in DOCUMENTS:
        text = document.read_text()
        new = filled(text, results)
        is_stale |= new != text
        if not options.check:
            document.write_text(new)
    if options.check and is_stale:
        print("the documents do not show the published run: python benchmarks/tables.py")
    return int(options.check and is_stale)


if __name__ == "__main__":
    sys.exit(main())
