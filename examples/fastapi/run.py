"""FastAPI -> otel-sla -> Prometheus, with an outage: starts all three, sends orders, shows what came of it.

Everything listens on the loopback interface, and everything that was started is stopped at the end.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import httpx
from event_backend import EventBackend
from processes import ROOT, ExampleError, Process, find_prometheus, is_listening, usable_port

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
CONFIG = HERE / "otel-sla.yaml"
PROMETHEUS_CONFIG = ROOT / "collector-config" / "prometheus.yaml"

QUICK_MINUTES, QUICK_PER_MINUTE, QUICK_OUTAGE = 20, 20, range(8, 13)
PER_SECOND, OUTAGE_MINUTES = 10, 2
EVENT_S_MAX = 90.0
QUERIES = {
    "uptime of the month": "sla_monthly_uptime_ratio",
    "what was promised": "sla_monthly_uptime_target_ratio",
    "downtime so far, minutes": "sla_downtime_seconds / 60",
    "left until the breach, minutes": "sla_downtime_budget_seconds / 60",
    "worst minute's error rate": "max_over_time(sla_error_rate_ratio[1h])",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything is."""

    folder: Path
    shop: str  # URL
    otlp: str  # host:port
    prometheus: str | None  # URL, if there is one
    time_zone: str  # Of the agreement.
    is_quick: bool


def say(line: str = "") -> None:
    """One line for the person, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def clock(minute: int) -> str:
    """A minute's start as a person reads it."""
    return f"{datetime.fromtimestamp(60 * minute, tz=UTC):%H:%M} UTC"


def run_quick(shop: httpx.Client) -> int:
    """Send twenty minutes in some seconds, by spans that say they are older; gives the outage's first minute."""
    first = int(time.time()) // 60 - QUICK_MINUTES - 1
    for index in range(QUICK_MINUTES):
        shop.put(f"/outage/{'on' if index in QUICK_OUTAGE else 'off'}")
        for _ in range(QUICK_PER_MINUTE):
            shop.post("/orders", headers={"x-minutes-ago": str(int(time.time()) // 60 - first - index)})
    outage = first + QUICK_OUTAGE.start
    say(f"sent {QUICK_MINUTES * QUICK_PER_MINUTE} orders as of the last {QUICK_MINUTES} minutes;")
    say(f"from {clock(outage)} to {clock(first + QUICK_OUTAGE.stop)} every second one failed with a 503")
    return outage


def run_live(shop: httpx.Client) -> int:
    """Send orders as time goes by: up to the next full minute, through the outage, and until it is over."""
    outage = int(time.time()) // 60 + 1
    stop = outage + OUTAGE_MINUTES
    say(
        f"{PER_SECOND} orders a second. The outage is from {clock(outage)} to {clock(stop)}; done at {clock(stop + 1)}."
    )
    phases = (
        (outage, "off", "all is well"),
        (stop, "on", "every second order fails with a 503"),
        (stop + 1, "off", "mended"),
    )
    for phase_stop, state, what in phases:
        shop.put(f"/outage/{state}")
        say(f"  {datetime.now(tz=UTC):%H:%M:%S}  {what}")
        while time.time() < 60 * phase_stop:
            shop.post("/orders")
            time.sleep(1 / PER_SECOND)
    return outage


def month_of(minute: int, time_zone: str) -> str:
    """The month as `otel-sla report --month` takes it."""
    return f"{datetime.fromtimestamp(60 * minute, tz=ZoneInfo(time_zone)):%Y-%m}"


def choose_time_zone(now: datetime) -> str:
    """UTC; in the first hour of a month a zone where it has not begun, as the story would be torn in two."""
    return "Etc/GMT+2" if now.day == 1 and now.hour == 0 else "UTC"


def print_event(name: str, text: str) -> None:
    """Show an event as it comes in."""
    say(f"  event {name}\n        {text}")


def shop_process(place: Place) -> Process:
    """The application: one service name and one endpoint are all that it needs."""
    port = place.shop.rpartition(":")[2]
    environment = {
        "OTEL_SERVICE_NAME": "checkout",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{place.otlp}",
        # A sender that waits has all its spans in one request, when it stops; one that does not sends each second.
        "OTEL_BSP_SCHEDULE_DELAY": "3600000" if place.is_quick else "1000",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2048" if place.is_quick else "512",
        **({"SHOP_QUICK": "1"} if place.is_quick else {}),
    }
    command = [sys.executable, "-m", "uvicorn", "shop:app", "--port", port, "--log-level", "warning"]
    return Process("shop", command, place.folder, environment, lambda: is_listening(int(port)))


def otel_sla_environment(place: Place, events_url: str) -> dict[str, str]:
    """What `otel-sla.yaml` asks the environment for."""
    metrics = f"{place.prometheus}/api/v1/otlp" if place.prometheus else events_url
    return {
        "OTEL_SLA_ENDPOINT": place.otlp,
        "LEDGER_FILE": str(place.folder / "otel-sla.db"),
        "METRICS_URL": f"{metrics}/v1/metrics",
        "EVENTS_URL": f"{events_url}/v1/logs",
        "TIME_ZONE": place.time_zone,
    }


def otel_sla_process(place: Place, environment: dict[str, str]) -> Process:
    """otel-sla, which takes the shop's spans."""
    port = int(place.otlp.rpartition(":")[2])
    command = [str(BIN / "otel-sla"), "run", "--config", str(CONFIG)]
    return Process("otel-sla", command, place.folder, environment, lambda: is_listening(port))


def prometheus_process(place: Place, binary: Path, url: str) -> Process:
    """Prometheus, which takes otel-sla's figures."""
    address = url.removeprefix("http://")
    command = [
        str(binary),
        f"--config.file={PROMETHEUS_CONFIG}",
        "--web.enable-otlp-receiver",
        f"--web.listen-address={address}",
        f"--storage.tsdb.path={place.folder / 'prometheus'}",
    ]

    def is_ready() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{url}/-/ready", trust_env=False).status_code == 200
        return False

    return Process("prometheus", command, place.folder, {}, is_ready)


def ask_prometheus(url: str, query: str) -> float | None:
    """The value of a query that has one, now."""
    answer = httpx.get(f"{url}/api/v1/query?{urlencode({'query': query})}", trust_env=False)
    result = answer.raise_for_status().json()["data"]["result"]
    return float(result[0]["value"][1]) if result else None


def read_downtime(log: Path) -> list[str]:
    """What the debug exporter wrote of downtime; it delivers by itself, and may be later than the events' backend."""
    deadline = time.monotonic() + EVENT_S_MAX
    while time.monotonic() < deadline:
        lines = [line for line in log.read_text().splitlines() if "action=downtime_" in line]
        if any("action=downtime_ended" in line for line in lines):
            return lines
        time.sleep(0.1)
    raise ExampleError(f"the log has no end of a downtime after {EVENT_S_MAX:g} s; otel-sla said:\n{log.read_text()}")


def show_figures(place: Place) -> None:
    """What Prometheus says, by the queries that a person would type; without it, what the debug exporter wrote."""
    if place.prometheus is None:
        lines = read_downtime(place.folder / "otel-sla.log")
        say("\nWhat otel-sla's debug exporter wrote:\n")
        # The line up to its attributes.
        say("\n".join(f"  {line.partition(' service.name=')[0]}" for line in lines))
        return
    deadline = time.monotonic() + EVENT_S_MAX
    while not ask_prometheus(place.prometheus, "sla_downtime_seconds > 0"):
        if time.monotonic() > deadline:
            raise ExampleError(f"Prometheus has no downtime after {EVENT_S_MAX:g} s")
        time.sleep(0.2)
    say("\nWhat Prometheus says:\n")
    for what, query in QUERIES.items():
        value = ask_prometheus(place.prometheus, query)
        say(
            f"  {what:<32}{'no data' if value is None else f'{value:g}' if value > 1 else f'{value:.8f}':>12}   {query}"
        )


def show_report(month: str, environment: dict[str, str]) -> None:
    """The month, from the ledger."""
    say(f"\n$ otel-sla report --config otel-sla.yaml --month {month}\n")
    command = [str(BIN / "otel-sla"), "report", "--config", str(CONFIG), "--month", month]
    subprocess.run(command, env={**os.environ, **environment}, check=True)


def run(place: Place, prometheus: Path | None, *, stays: bool) -> None:
    """The whole of it, from starting to stopping."""
    with contextlib.ExitStack() as stack:
        events = stack.enter_context(EventBackend(print_event))
        environment = otel_sla_environment(place, events.url)
        say("starting otel-sla, the shop" + (" and Prometheus" if place.prometheus else ""))
        if prometheus and place.prometheus:
            stack.enter_context(prometheus_process(place, prometheus, place.prometheus))
        otel_sla = stack.enter_context(otel_sla_process(place, environment))
        shop = stack.enter_context(shop_process(place))
        with httpx.Client(base_url=place.shop, trust_env=False) as client:
            outage = run_quick(client) if place.is_quick else run_live(client)
        if place.is_quick:
            shop.stop()  # It sends all that it has.
        if not events.wait_for("sla.downtime.ended", EVENT_S_MAX):
            raise ExampleError(f"no end of a downtime was published; otel-sla said:\n{otel_sla.log.read_text()}")
        show_figures(place)
        show_report(month_of(outage, place.time_zone), environment)
        if stays:
            say(f"\nEverything stays until Ctrl-C. Prometheus: {place.prometheus or 'none'}; logs: {place.folder}")
            with contextlib.suppress(KeyboardInterrupt):
                while True:
                    time.sleep(3600)


def parse_arguments() -> argparse.Namespace:
    """What can be chosen."""
    parser = argparse.ArgumentParser(description="A FastAPI application, otel-sla and Prometheus, with an outage.")
    parser.add_argument("--quick", action="store_true", help="back-dated spans: some seconds instead of four minutes")
    parser.add_argument("--stay", action="store_true", help="leave all running at the end, until Ctrl-C")
    parser.add_argument("--shop-port", type=int, default=8000, help="of the application; 0 takes a free one (8000)")
    parser.add_argument("--otlp-port", type=int, default=4317, help="of otel-sla (4317)")
    parser.add_argument("--prometheus-port", type=int, default=9090, help="(9090)")
    parser.add_argument("--prometheus", metavar="FILE", help="Prometheus 3 or newer, where it is not on the path")
    parser.add_argument("--no-prometheus", action="store_true", help="do without, as if there were none")
    return parser.parse_args()


def main() -> int:
    """Run the example; exit code 1 if something did not come to pass."""
    arguments = parse_arguments()
    # As Ctrl-C: what was started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        prometheus = None if arguments.no_prometheus else find_prometheus(arguments.prometheus)
        if prometheus is None:
            say("No Prometheus 3 or newer: figures go to otel-sla's log. To see them in Prometheus, put it on the path")
            say("(https://prometheus.io/download), name it by --prometheus FILE, or `make parts`, which needs Go.\n")
        shop_port = usable_port(arguments.shop_port, "--shop-port")
        otlp_port = usable_port(arguments.otlp_port, "--otlp-port")
        prometheus_port = usable_port(arguments.prometheus_port, "--prometheus-port") if prometheus else 0
        with tempfile.TemporaryDirectory(prefix="otel-sla-example-") as folder:
            place = Place(
                folder=Path(folder),
                shop=f"http://127.0.0.1:{shop_port}",
                otlp=f"127.0.0.1:{otlp_port}",
                prometheus=f"http://127.0.0.1:{prometheus_port}" if prometheus else None,
                time_zone=choose_time_zone(datetime.now(tz=UTC)),
                is_quick=arguments.quick,
            )
            run(place, prometheus, stays=arguments.stay)
    except (ExampleError, httpx.HTTPError) as problem:
        sys.stderr.write(f"the example did not work: {problem}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
