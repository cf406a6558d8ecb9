"""Draws README's pictures: the status page, the dashboard's panels from real queries to a real Prometheus, the report.

`make pictures`. Prometheus is the one that `make parts` builds; a headless Chromium photographs page and report.
"""

import shutil
import subprocess
import sys
import time
from contextlib import closing
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

import matplotlib as mpl
import queries
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, PercentFormatter

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "acceptance")]

import parts  # noqa: E402  the tests' way to Prometheus, after the path to it
from backends import BackendProcess, prometheus  # noqa: E402
from demo_hour import MINUTES, ShownHour, tell_demo_hour  # noqa: E402
from pipeline_parts import make_config  # noqa: E402

from otel_sla.cli.demo.traffic import HOUR_MINUTES, START, TRAFFIC  # noqa: E402
from otel_sla.config import load_config  # noqa: E402
from otel_sla.judging.month_report import elapsed_stop_minute, load_report  # noqa: E402
from otel_sla.ledger.reader import LedgerReader  # noqa: E402
from otel_sla.report.html.page import SECTIONS_MAX, render_html  # noqa: E402
from otel_sla.sla.months import Month  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
SERVICES = tuple(TRAFFIC)
_GRACE = timedelta(minutes=1)
_PAGE_S = 60.0  # For the page's process to start and to read the ledger.
_LINES = ("#d1603d", "#4a90c2")  # Told apart in light and dark, and by those who see no red.
_INKS = {"light": ("#24292f", "#d8dee4"), "dark": ("#d8dee4", "#444c56")}
_STATES = {  # How a minute is drawn: colour, hatching, so that it can be read without colours too.
    "up": ("#57a773", ""),
    "no_data": ("#9aa0a6", "//"),
    "low_traffic": ("#e0b341", "--"),
    "excluded": ("#8a6fb0", "\\\\"),
    "down": ("#c8372d", "xxxx"),
}
_FILLED = {"$agreement": ".*", "$group": ".*", "$limit": "0.05", "$__interval": "1m"}


def main() -> None:
    """Draw all pictures into `docs/pictures`."""
    PICTURES.mkdir(exist_ok=True)
    binary = parts.find_part(parts.prometheus_path())
    with TemporaryDirectory() as name, prometheus(binary, Path(name)) as backend:
        tell_demo_hour(backend, Path(name))
        for theme in _INKS:
            _draw_dashboard(backend, theme)
        _photograph_report(Path(name))
    with TemporaryDirectory() as name, ShownHour.shown(Path(name)) as hour:
        _photograph_page(hour)


def _ask(backend: BackendProcess, query: str) -> dict[str, list[float | None]]:
    """Give each service's line, minute by minute; None where it has a gap."""
    for variable, value in _FILLED.items():
        query = query.replace(variable, value)
    lines = backend.query_range(query, MINUTES)
    by_service = {dict(labels).get("service_name", ""): line for labels, line in lines.items()}
    return {service: [line.get(minute) for minute in MINUTES] for service, line in by_service.items()}


def _draw_dashboard(backend: BackendProcess, theme: str) -> None:
    ink, grid = _INKS[theme]
    style = {
        "font.size": 9,
        "text.color": ink,
        "axes.labelcolor": ink,
        "axes.edgecolor": grid,
        "xtick.color": ink,
        "ytick.color": ink,
        "grid.color": grid,
        "hatch.linewidth": 0.6,
        "svg.hashsalt": "otel-sla",  # The same picture for the same figures, byte by byte.
        "svg.fonttype": "none",
        "font.family": "sans-serif",
    }
    with mpl.rc_context(style):
        figure, axes = plt.subplots(
            4, 1, figsize=(9, 7.2), sharex=True, height_ratios=(1, 2, 2, 2), layout="constrained"
        )
        _draw_states(axes[0], _ask(backend, queries.MINUTE_STATES))
        _draw_lines(axes[1], "Error rate of a minute, and the limit", _ask(backend, queries.ERROR_RATE))
        axes[1].axhline(0.05, color=ink, linestyle="--", linewidth=1)
        axes[1].annotate("limit 5 %", (HOUR_MINUTES, 0.05), (0, 3), textcoords="offset points", ha="right")
        axes[1].yaxis.set_major_formatter(PercentFormatter(1))
        _draw_lines(axes[2], "Monthly uptime, and the target", _ask(backend, queries.UPTIME))
        target = next(value for value in _ask(backend, queries.TARGET)[SERVICES[0]] if value is not None)
        axes[2].axhline(target, color=ink, linestyle="--", linewidth=1)
        axes[2].annotate(f"target {target:.2%}", (0, target), (3, 3), textcoords="offset points")
        axes[2].yaxis.set_major_formatter(PercentFormatter(1, decimals=2))
        _draw_lines(axes[3], "Budget left, minutes; below zero the promise is broken", _ask(backend, queries.BUDGET))
        axes[3].axhline(0, color=ink, linestyle="--", linewidth=1)
        axes[3].xaxis.set_major_formatter(
            FuncFormatter(lambda minute, _: "{:02.0f}:{:02.0f}".format(*divmod(minute, 60)))
        )
        axes[3].set_xlim(0, HOUR_MINUTES)
        figure.savefig(PICTURES / f"dashboard-{theme}.svg", transparent=True, metadata={"Date": None})
        plt.close(figure)


def _draw_states(axes: Axes, states: dict[str, list[float | None]]) -> None:
    drawn = set()
    names = {number: state for state, number in queries.STATES.items()}
    for row, service in enumerate(SERVICES):
        start = 0
        for number, run in groupby(states[service]):
            left, start = start, start + len(list(run))
            if number is None:
                continue
            state = names[int(number)]
            colour, hatch = _STATES[state]
            label = state.replace("_", " ") if state not in drawn else None
            drawn.add(state)
            look = {"color": colour, "hatch": hatch, "edgecolor": "white", "linewidth": 0.3}
            axes.barh(row, start - left, left=left, height=0.7, align="center", label=label, **look)
    axes.set_yticks(range(len(SERVICES)), SERVICES)
    axes.invert_yaxis()
    axes.set_title("Minutes", loc="left", fontsize=10)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(_STATES), frameon=False)
    axes.spines[:].set_visible(False)


def _draw_lines(axes: Axes, title: str, lines: dict[str, list[float | None]]) -> None:
    for service, colour in zip(SERVICES, _LINES, strict=True):
        values = [float("nan") if value is None else value for value in lines[service]]
        axes.stairs(values, range(HOUR_MINUTES + 1), baseline=None, color=colour, label=service, linewidth=1.6)
    axes.set_title(title, loc="left", fontsize=10)
    axes.legend(loc="best", frameon=False)
    axes.grid(visible=True, linewidth=0.5)


def _photograph_report(folder: Path) -> None:
    """Take a picture of the hour's month as `otel-sla report --format html` gives it."""
    config = make_config(folder, load_config(folder / "agreement.yaml", {}).agreements)
    now = START + timedelta(minutes=HOUR_MINUTES + 1)
    with closing(LedgerReader.open(config.ledger.url)) as reader:
        month = Month(START.year, START.month)
        elapsed_stop = elapsed_stop_minute(now, _GRACE)
        report = load_report(reader, config.agreements, month, elapsed_stop, now, drawn_max=SECTIONS_MAX)
    (folder / "report.html").write_text(render_html(report), encoding="utf-8")
    _photograph((folder / "report.html").as_uri(), "report.png", "--window-size=1000,1400")


def _photograph_page(hour: ShownHour) -> None:
    """Take pictures of the status page, light and dark, while the hour's last minute is running."""
    for index in range(HOUR_MINUTES - 1):
        hour.send_minute(index)
        hour.end_minute()
    hour.send_minute(HOUR_MINUTES - 1)
    deadline_s = time.monotonic() + _PAGE_S
    while b"24 of 21 min used" not in urlopen(hour.url, timeout=_PAGE_S).read():  # noqa: S310  our own page
        if time.monotonic() > deadline_s:
            raise TimeoutError("the page does not have the hour's figures")
        time.sleep(0.2)
    for name, preferred in (("page.png", 1), ("page-dark.png", 0)):
        _photograph(hour.url, name, "--window-size=1280,740", f"--blink-settings=preferredColorScheme={preferred}")


def _photograph(address: str, name: str, *options: str) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.stderr.write(f"no Chromium: {name} stays as it is\n")
        return
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *options]
    command += [f"--screenshot={PICTURES / name}", address]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603


if __name__ == "__main__":
    main()
