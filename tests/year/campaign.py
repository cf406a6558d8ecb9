"""The days of a year, one after the other: what happens on each, and what has to be so at its end."""

import gzip
import random
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from year.clock import FakedClock
from year.service import Service
from year.traffic import DAY_S, Sending, draw_day
from year.twin import Twin

FORMER = Path(__file__).parents[1] / "data" / "ledgers" / "schema-5.db.gz"  # Written until 2026-11-03T11:15Z.
FIRST_DAY = datetime(2026, 11, 4, tzinfo=UTC)
MIB = 1 << 20
# The first two as the former ledger was configured; the others are new.
AGREEMENTS: list[dict[str, Any]] = [
    {"name": "default", "monthly_uptime": {"target": "99.95%"}},
    {
        "name": "shop",
        "monthly_uptime": {"time_zone": "Asia/Kolkata"},
        "downtime": {"no_data": "carry", "period_minutes_min": 2},
    },
    {
        "name": "berlin",
        "covered_service": {"resource": {"service.name": ["chat-*"]}},
        "monthly_uptime": {"time_zone": "Europe/Berlin"},
        "downtime": {"valid_requests_min": 3},
    },
    {
        "name": "new-york",
        "group_by": [],
        "monthly_uptime": {"time_zone": "America/New_York", "target": "99%"},
        "downtime": {"error_rate_above": "20%"},
    },
]


@dataclass(frozen=True)
class Plan:
    """How long, and what is drawn."""

    days: int
    spots: int = 3
    seed: int = 0


class Campaign:
    """One run, from the former version's ledger on."""

    def __init__(self, folder: Path, plan: Plan, say: Callable[[str], None] = lambda _: None) -> None:
        self._plan = plan
        self._say = say
        self._randomness = random.Random(plan.seed)
        self._clock = FakedClock(folder / "clock", FIRST_DAY.timestamp())
        self._ledger = folder / "ledger.db"
        self._ledger.write_bytes(gzip.decompress(FORMER.read_bytes()))
        self._twin = Twin()
        self._twin.load(f"sqlite:///{self._ledger}")
        here = {"endpoint": "127.0.0.1:0"}
        settings = {
            "agreements": [dict(each) for each in AGREEMENTS],
            "receivers": {"otlp": {"protocols": {"grpc": here, "http": here}}},
            "ledger": {"url": f"sqlite:///{self._ledger}", "retention": "100d", "create": False},
            "telemetry": {"logs": {"level": "info"}},
        }
        self._service = Service(folder, settings, self._clock)
        self._held: list[Sending] = []  # Sent later.
        self._problems: list[str] = []

    def run(self) -> list[str]:
        """Live through all days; gives what was not as it has to be."""
        started = self._service.start()
        if not any("action=ledger_migrated" in line for line in started):
            self._problems.append("the former ledger was not migrated")
        try:
            for number in range(self._plan.days):
                self._live(FIRST_DAY + timedelta(days=number))
            code = self._service.stop()
        finally:
            self._service.kill()
        if code:
            self._problems.append(f"the last stop ended with {code}")
        return self._problems

    def _live(self, day: datetime) -> None:
        start_s = int(day.timestamp())
        end_s = start_s + DAY_S - 120
        drawn = draw_day(self._randomness, start_s, self._plan.spots)
        self._held = sorted((*self._held, *drawn.sendings), key=lambda sending: sending.at_s)
        while self._held and self._held[0].at_s < end_s:
            sending = self._held.pop(0)
            self._clock.move_to(sending.at_s)
            self._send(sending.body)
        self._clock.move_to(end_s)
        self._service.settled(is_backend_there=False)
        if day.day == 3:  # All zones' months are closed: the last one ended 43 h ago.
            self._compare(f"{day - timedelta(days=3):%Y-%m}")

    def _send(self, body: bytes) -> None:
        self._service.send(body)
        self._twin.acknowledge(body, self._clock.now_s(), self._service.config.agreements)

    def _compare(self, month: str) -> None:
        found = self._twin.differences(
            month, self._service.report(month), self._clock.now_s(), self._service.config.agreements
        )
        self._problems.extend(found)
        self._say(f"{month}: {len(found)} differences, {self._twin.spans} spans")
