"""What the status page costs. Run: python benchmarks/bench_page.py [--ledger FILE] [--only pages|flood].

`pages`: a thousand series over thirteen months. How long until the figures are complete, and what each page takes at
the server when it is warm: made anew for other figures, not taken from the cache; and its size. `flood`: what a sender
gets through while the page is asked as fast as it answers, in turns with and without.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("tests", "tests/acceptance", "campaigns", "benchmarks")]

import bench_report  # noqa: E402
from hostile.page import ask, compute, run_client  # noqa: E402
from sender import Load, Sender  # noqa: E402
from subjects import Subject, otel_sla  # noqa: E402
from traffic import Shape  # noqa: E402

from otel_sla.config import load_config  # noqa: E402
from otel_sla.ledger.reader import LedgerReader  # noqa: E402
from otel_sla.ledger.records import Closing  # noqa: E402
from otel_sla.ledger.writer import Ledger  # noqa: E402
from otel_sla.page.app import Page  # noqa: E402
from otel_sla.page.figures import FiguresReader  # noqa: E402
from otel_sla.page.live import LiveState  # noqa: E402
from otel_sla.page.routes import ROUTES  # noqa: E402
from otel_sla.page.settings import PageSettings, PageTask  # noqa: E402
from otel_sla.sla.counts import MINUTES_PER_DAY  # noqa: E402
from otel_sla.sla.months import month_range  # noqa: E402

MONTHS = 13
_NAME, _MONTH = bench_report.AGREEMENT, bench_report.MONTH
PATHS = (
    "/",
    "/?page=2",
    "/pipeline",
    f"/agreements/{_NAME}/{_MONTH}",
    f"/agreements/{_NAME}/{_MONTH.next}",
    f"/agreements/{_NAME}/history",
    f"/agreements/{_NAME}/series/7?month={_MONTH}",
    f"/agreements/{_NAME}/series/7?month={_MONTH}&day={_MONTH}-05",
    "/exclusions",
    f"/api/v1/report?month={_MONTH}&agreement={_NAME}",
    "/api/v1/live",
    f"/api/v1/periods?from={_MONTH}-01T00:00:00Z&to={_MONTH}-08T00:00:00Z",
    "/api/v2/summary.json",
    f"/badge/{_NAME}.svg",
    "/feed.atom",
)
N_TIMES = 7
ROUNDS = 7
CONNECTIONS = 16  # Of those who ask the page.


def measure_pages(url: str) -> None:
    """Print what each page takes."""
    agreements = load_config(None, {}).agreements
    with closing(Ledger.open(url)) as ledger:  # As a pipeline that has published all that is judged.
        judged_before = month_range(_MONTH, "UTC").stop_minute + MINUTES_PER_DAY
        ledger.close_minutes(Closing(judged_before, None, published_before=judged_before))
    config = load_config(None, {})

    async def no_live() -> LiveState | None:
        return None

    task = PageTask(
        settings=PageSettings(),
        listening=(),
        ledger_url=url,
        agreements=agreements,
        grace_s=0.0,
        logs=config.logs,
        receivers=(),
    )
    page = Page(task, no_live, ROUTES)
    with closing(LedgerReader.open(url)) as reader:
        started_s = time.perf_counter()
        figures = FiguresReader(reader, agreements)
        figures.step()
        say(f"{'the newest month':40} {time.perf_counter() - started_s:8.2f} s")
        while figures.step():
            pass
        page.figures = figures.figures
        say(f"{f'all {MONTHS} months':40} {time.perf_counter() - started_s:8.2f} s")
    say(f"{'memory':40} {psutil.Process().memory_info().rss / 2**20:8.0f} MiB")
    asyncio.run(_ask_all(page))


async def _ask_all(page: Page) -> None:
    transport = httpx.ASGITransport(page.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://page.test", timeout=600) as client:
        for path in PATHS:
            times_ms = []
            for _ in range(1 + N_TIMES):
                # Other figures, so that nothing comes from the cache.
                page.figures = replace(page.figures, generation=page.figures.generation + 1)
                started_s = time.perf_counter()
                answer = await client.get(path)
                times_ms.append(1000 * (time.perf_counter() - started_s))
            median_ms = statistics.median(times_ms[1:])
            say(f"{path:60} {answer.status_code} {median_ms:8.1f} ms {len(answer.content) / 1024:8.0f} KiB")


def measure_flood(seconds: float, series: int) -> None:
    """Print what a sender gets through beside a flood of the page, over what it gets through alone.

    And beside two processes that only compute at the page's priority: that much is the machine's, whose cores share
    what they have.
    """
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder, Sender() as sender:
        subject = otel_sla(Path(folder), settings={"page": {"endpoint": "127.0.0.1:0"}, "processor": {"grace": "0s"}})
        with subject:
            load = Load("grpc", subject.ports["grpc"], Shape(spans=100, routes=series // 4), seconds)
            sender.send(load)
            rates: dict[str, list[float]] = {"alone": [], "beside a flood": [], "beside others": []}
            for number in range(ROUNDS):
                for at in range(len(rates)):  # Each time another one is first.
                    what = list(rates)[(at + number) % len(rates)]
                    rates[what].append(_turn(subject, sender, load, what))
                say(" ".join(f"{what}: {found[-1]:6.0f} acks/s;" for what, found in rates.items()))
            for what in ("beside a flood", "beside others"):
                ratios = [found / alone for found, alone in zip(rates[what], rates["alone"], strict=True)]
                say(f"{what}: {statistics.median(ratios):.3f} of alone")
            pairs = zip(rates["beside a flood"], rates["beside others"], strict=True)
            say(f"a flood of the page, over others: {statistics.median(one / other for one, other in pairs):.3f}")


def _turn(subject: Subject, sender: Sender, load: Load, what: str) -> float:
    with ExitStack() as running:
        if what == "beside a flood":
            running.enter_context(run_client(ask, subject.page_port, CONNECTIONS))
        elif what == "beside others":
            for _ in range(2):
                running.enter_context(run_client(compute))
        answer = sender.send(load)
    return float(answer["requests"] / answer["seconds"])


def say(line: str) -> None:
    """Print at once."""
    print(line, flush=True)


def main() -> None:
    """Measure the pages of a ledger, and the flood."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--months", type=int, default=MONTHS)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn of the flood")
    parser.add_argument("--ledger", help="a file to fill, or to measure if it is there; a temporary one by default")
    parser.add_argument("--only", choices=["pages", "flood"])
    options = parser.parse_args()
    if options.only != "flood":
        with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
            path = Path(options.ledger or f"{folder}/ledger.db").resolve()
            if not path.exists():
                bench_report.fill(f"sqlite:///{path}", options.series, options.months, 300)
            measure_pages(f"sqlite:///{path}")
    if options.only != "pages":
        measure_flood(options.seconds, options.series)


if __name__ == "__main__":
    main()
