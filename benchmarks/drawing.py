"""The benchmark's plots, as SVG."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

_COLOURS = {"otel-sla": "#c0562f", "discard": "#b8b8b8", "loop": "#8a8a8a"}
_MORE_COLOURS = ("#3b6ea5", "#7fa8d0", "#4f8a4b", "#8a5ea8")
mpl.rcParams.update({"font.size": 9, "svg.hashsalt": "otel-sla", "axes.spines.top": False, "axes.spines.right": False})


def draw_side_by_side(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Spans for a CPU-second of each server, in each cell; the bar is the median, the line goes over all turns."""
    cells = list(dict.fromkeys(_cell(row) for row in rows))
    servers = list(dict.fromkeys(row["server"] for row in rows))
    figure, axes = plt.subplots(figsize=(11, 4.2), layout="constrained")
    width = 0.8 / len(servers)
    for at, server in enumerate(servers):
        found = [
            [row["spans_per_cpu_s"] / 1e6 for row in rows if row["server"] == server and _cell(row) == cell]
            for cell in cells
        ]
        middle = [float(np.median(of_cell)) for of_cell in found]
        spread = [
            [value - min(of_cell) for value, of_cell in zip(middle, found, strict=True)],
            [max(of_cell) - value for value, of_cell in zip(middle, found, strict=True)],
        ]
        colour = _COLOURS.get(server, _MORE_COLOURS[at % len(_MORE_COLOURS)])
        places = np.arange(len(cells)) + (at - (len(servers) - 1) / 2) * width
        axes.bar(places, middle, width, yerr=spread, color=colour, label=server, error_kw={"elinewidth": 0.8})
    axes.set_xticks(range(len(cells)), cells)
    axes.set_ylabel("million spans for a CPU-second")
    axes.set_title("What a second of the server's CPU takes, by protocol and spans in a request", loc="left")
    figure.legend(frameon=False, ncols=len(servers), loc="outside lower center")
    _save(figure, path)


def draw_latency(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Time to the durable answer at half of what the server takes."""
    figure, axes = plt.subplots(figsize=(11, 4.2), layout="constrained")
    rows = [row for row in rows if row["requests_per_s_wanted"]]
    names = [f"{_cell(row)} / {row['connections']}".replace("\n", " ") for row in rows]
    for quantile, colour in (("p99.9", "#e6c3b3"), ("p99", "#d58a68"), ("p50", "#c0562f")):
        axes.bar(range(len(rows)), [row["ack_ms"][quantile] for row in rows], color=colour, label=quantile)
    axes.set_xticks(range(len(rows)), names, rotation=90, fontsize=6)
    axes.set_yscale("log")
    axes.set_ylabel("ms")
    axes.set_title("Time to the durable answer at half of the full load, by spans a request / connections", loc="left")
    axes.legend(frameon=False)
    _save(figure, path)


def draw_stages(stages: Sequence[dict[str, Any]], whole_ns: float, path: Path) -> None:
    """Where the time of a span goes, over gRPC."""
    names = ("decode", "fingerprint", "classify", "ring")
    parts = {stage["stage"]: stage["ns"] for stage in stages if stage["stage"] in names}
    parts["durable commit"] = next(stage["ns"] for stage in stages if stage["stage"].startswith("durable commit"))
    parts["receiving, answering, waiting for one another"] = max(0.0, whole_ns - sum(parts.values()))
    figure, axes = plt.subplots(figsize=(11, 2.6), layout="constrained")
    left = 0.0
    colours = ("#c0562f", "#d58a68", "#e6c3b3", "#f2dfd6", "#3b6ea5", "#b8b8b8")
    for (name, ns), colour in zip(parts.items(), colours, strict=True):
        axes.barh(0, ns, left=left, color=colour, label=f"{name} {ns:.0f} ns")
        left += ns
    axes.set_yticks([])
    axes.set_xlabel("ns of CPU time for a span")
    axes.set_title("Where the time of a span goes: gRPC, 512 spans a request", loc="left")
    figure.legend(frameon=False, ncols=3, loc="outside lower center")
    _save(figure, path)


def draw_growth(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """How the cost of a span grows, one panel for each dimension."""
    dimensions = list(dict.fromkeys(row["dimension"] for row in rows))
    figure, panels = plt.subplots(1, len(dimensions), figsize=(2.4 * len(dimensions), 2.6), layout="constrained")
    for axes, dimension in zip(np.atleast_1d(panels), dimensions, strict=True):
        of_dimension = [row for row in rows if row["dimension"] == dimension]
        places = range(len(of_dimension))
        axes.set_xticks(places, [f"{row['value']:,}" for row in of_dimension], rotation=30, fontsize=7)
        key = "seconds" if "seconds" in of_dimension[0] else "ns_per_span"
        axes.plot(places, [row[key] for row in of_dimension], color="#c0562f", marker="o", markersize=4)
        axes.set_ylim(bottom=0)
        axes.set_title(dimension, fontsize=8)
        axes.set_ylabel("s for a month's JSON" if key == "seconds" else "ns a span", fontsize=8)
    _save(figure, path)


def _cell(row: dict[str, Any]) -> str:
    coding = "" if row["encoding"] == "identity" else f" {row['encoding']}"
    return f"{row['protocol']}{coding}\n{row['spans_per_request']:,}"


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
