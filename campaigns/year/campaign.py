"""The days of a year, one after the other: what happens on each, and what has to be so at its end."""

import gzip
import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import builders
import grpc

from otel_sla.ledger.reader import LedgerReader
from otel_sla.sla.agreement import Agreement, ExclusionReason, ExclusionWindow
from year import alerts
from year.backend import YearBackend
from year.clock import FakedClock
from year.disk import SmallDisk
from year.flat import problems_of_sizes
from year.service import Service
from year.traffic import DAY_S, Sending, draw_day
from year.twin import Twin

FORMER = Path(__file__).parents[2] / "tests" / "data" / "ledgers" / "schema-5.db.gz"  # Written until 2026-11-03T11:15Z.
FIRST_DAY = datetime(2026, 11, 4, tzinfo=UTC)
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
    """How long, and how often something happens; days are counted from 0."""

    days: int
    spots: int = 3
    seed: int = 0
    has_figures: bool = True  # Of every minute, to the backend; most of the work.
    settle_every: int = 1  # Days; judging waits meanwhile.
    kill_every: int = 7
    restart_every: int = 31
    late_every: int = 17
    outage_every: int = 40  # Of the backend,
    outage_days: int = 3
    full_every: int = 60  # The disk.
    exclude_every: int = 9
    terms_every: int = 95
    silent_every: int = 23


class Campaign:
    """One run, from the former version's ledger on.

    Args:
        folder: An empty one.
        plan: What happens when.
        say: Told how it goes on.
    """

    def __init__(self, folder: Path, plan: Plan, say: Callable[[str], None] = lambda _: None) -> None:
        self._plan = plan
        self._say = say
        self._folder = folder
        self._randomness = random.Random(plan.seed)
        self._clock = FakedClock(folder / "clock", FIRST_DAY.timestamp())
        self._disk = SmallDisk(folder / "disk")
        self._ledger = self._disk.folder / "ledger.db"
        self._url = f"sqlite:///{self._ledger}"
        self._ledger.write_bytes(gzip.decompress(FORMER.read_bytes()))
        self._twin = Twin()
        self._twin.load(self._url)
        self._backend = YearBackend()
        self._service = Service(folder, self._settings(), self._clock)
        self._held: list[Sending] = []  # Sent later.
        self._outages: list[tuple[int, int]] = []  # Of services, not yet excluded.
        self._events_to = self._last_event()  # Up to which one the backend was asked; it is new to this ledger.
        self._reports: dict[str, tuple[Agreement, ...]] = {}  # Month -> the terms that closed it.
        self.happened: Counter[str] = Counter()
        self.sizes: list[dict[str, int]] = []  # At the end of each settled day.
        self.problems: list[str] = []

    def _settings(self) -> dict[str, Any]:
        here = {"endpoint": "127.0.0.1:0"}
        return {
            "agreements": [{**each, "downtime": dict(each.get("downtime", {}))} for each in AGREEMENTS],
            "page": None,
            "receivers": {"otlp": {"protocols": {"grpc": here, "http": here}}},
            "exporters": self._backend.settings(["metrics", "logs"] if self._plan.has_figures else ["logs"]),
            "ledger": {"url": self._url, "retention": "100d", "create": False},
        }

    def _last_event(self) -> int:
        with closing(LedgerReader.open(self._url)) as reader:
            return max(stored.event_id for stored in reader.events_after(0, 1_000_000))

    def run(self) -> list[str]:
        """Live through all days; gives what was not as it has to be."""
        try:
            if not any("action=ledger_migrated" in line for line in self._service.start()):
                self.problems.append("the former ledger was not migrated")
            for number in range(self._plan.days):
                self._live(number, FIRST_DAY + timedelta(days=number))
            if not self._backend.is_there:
                self._backend.come()
            if code := self._service.stop():
                self.problems.append(f"the last stop ended with {code}")
            self._ask_for_events()
        finally:
            self._service.kill()
            self._backend.go()
            self._disk.close()
        self.problems.extend(problems_of_sizes(self.sizes))
        return self.problems

    # One day

    def _live(self, number: int, day: datetime) -> None:
        start_s, plan = int(day.timestamp()), self._plan
        if number % plan.outage_every == plan.outage_every - plan.outage_days:
            self._backend.go()
            self.happened["outage of the backend"] += 1
        if number and number % plan.outage_every == 0:
            self._backend.come()
        silent = "chat-2" if _is_day(number, plan.silent_every) else ""
        drawn = draw_day(self._randomness, start_s, plan.spots, silent)
        self._outages.extend(drawn.outages)
        self._held = sorted((*self._held, *drawn.sendings), key=lambda sending: sending.at_s)
        half = len([1 for sending in self._held if sending.at_s < start_s + DAY_S - 1500]) // 2
        for at in range(half * 2):
            if at == half:
                self._disturb(number)
            sending = self._held.pop(0)
            self._clock.move_to(sending.at_s)
            self._send(sending.body)
        if number % plan.settle_every == 0 or day.day == 3:
            self._end_day(number, day, start_s)

    def _disturb(self, number: int) -> None:
        """What happens in the middle of a day."""
        plan = self._plan
        if _is_day(number, plan.kill_every):
            self._kill()
        elif _is_day(number, plan.restart_every):
            self._restart("restart")
        if _is_day(number, plan.full_every) and self._disk.is_small:
            self._fill_disk()
        if _is_day(number, plan.exclude_every):
            self._exclude()
        if _is_day(number, plan.terms_every):
            self._change_terms(number)

    def _send(self, body: bytes) -> None:
        """As a Collector does: again and again until it is taken."""
        for _ in range(20):
            try:
                self._service.send(body)
            except grpc.RpcError as error:
                self.happened[f"refused: {error.code().name}"] += 1  # type: ignore[attr-defined]
            else:
                self._twin.acknowledge(body, self._clock.now_s(), self._service.config.agreements)
                return
        self.problems.append(f"not taken after 20 attempts; its log: {self._service.log[-5:]}")

    def _end_day(self, number: int, day: datetime, start_s: int) -> None:
        is_there, plan = self._backend.is_there, self._plan
        self._clock.move_to(start_s + DAY_S - 1020)
        before = self._service.settled(is_backend_there=is_there)
        expected = set() if is_there else {"OtelSlaExporterStuck"}
        if _is_day(number, plan.late_every):
            self._send(_body_of(self._randomness, start_s - DAY_S))
            self.happened["spans too late"] += 1
            expected.add("OtelSlaSpansRejected")
        self._clock.move_to(start_s + DAY_S - 120)
        now = self._service.settled(is_backend_there=is_there)
        if (found := alerts.firing(before, now)) != expected:
            self.problems.append(f"{day:%Y-%m-%d}: {sorted(found)} fire, not {sorted(expected)}")
        self.happened.update(f"alert {name}" for name in found)
        self._backend.digest()
        if is_there:
            self._ask_for_events()
        self._back_up(day)
        self.sizes.append(
            {
                "day": number,
                "rss": self._service.rss_bytes(),
                "ledger": self._ledger.stat().st_size - self._bytes_kept_for_ever(),
                "log": self._ledger.with_name("ledger.db-wal").stat().st_size,
            }
        )
        if day.day == 3:  # All zones' months are closed: the last one ended 43 h ago.
            self._compare_closed(f"{day - timedelta(days=3):%Y-%m}")
        if day.day == 28 and self._plan.has_figures:
            self._compare_running(f"{day:%Y-%m}")

    def _bytes_kept_for_ever(self) -> int:
        """What no retention takes: events, and what closed months were closed with."""
        with closing(sqlite3.connect(f"file:{self._ledger}?mode=ro", uri=True)) as connection:
            columns = {
                table: [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
                for table in ("events", "closed_months")
            }
            return sum(
                connection.execute(f"SELECT coalesce(sum(length({column})), 0) FROM {table}").fetchone()[0]  # noqa: S608
                for table, names in columns.items()
                for column in names
            )

    # What happens

    def _kill(self) -> None:
        """SIGKILL while a request is under way; it is sent again, as nobody knows."""
        body = _body_of(self._randomness, int(self._clock.now_s()) - 60)
        self._service.send_and_kill(body)
        self._service.start()
        self._send(body)
        self.happened["kill"] += 1

    def _restart(self, why: str) -> None:
        if code := self._service.stop():
            self.problems.append(f"a stop ended with {code}")
        self._service.start()
        self.happened[why] += 1

    def _fill_disk(self) -> None:
        """It ends with exit code 1 and all that it acknowledged; there is room again, and it goes on.

        Where retention has freed pages of the ledger it goes on without room.
        """
        self._disk.fill()
        if "OtelSlaDiskNearlyFull" not in alerts.firing({}, self._service.scrape()):
            self.problems.append("the disk is full, and no alert says so")
        for _ in range(1000):
            body = _body_of(self._randomness, int(self._clock.now_s()) - 60)
            try:
                self._service.send(body)
            except grpc.RpcError:
                break
            self._twin.acknowledge(body, self._clock.now_s(), self._service.config.agreements)
        else:
            self._disk.make_room()
            self.happened["full disk, but room in the ledger"] += 1
            return
        code = self._service.wait()
        if code != 1:
            self.problems.append(f"on a full disk it ended with {code}")
        self._disk.make_room()
        self._service.start()
        self._send(body)
        self.happened["full disk"] += 1

    def _exclude(self) -> None:
        """Exclude a drawn outage from one agreement, of the running month or the one before it."""
        if not self._outages:
            return
        start_s, stop_s = self._outages.pop(self._randomness.randrange(len(self._outages)))
        self._outages = [each for each in self._outages if each[0] > start_s - 20 * DAY_S]
        agreement = self._randomness.choice(("default", "shop", "berlin", "new-york"))
        start, stop = (datetime.fromtimestamp(each, UTC) for each in (start_s, stop_s - 60))
        self._twin.record(
            agreement, ExclusionWindow(ExclusionReason.FORCE_MAJEURE, start, stop, None, None, "a flood", "ops", stop)
        )
        times = ("--start", start.isoformat(), "--stop", stop.isoformat())
        why = ("--reason", "force_majeure", "--note", "a flood", "--by", "ops")
        self._service.command("exclusion", "add", "--agreement", agreement, *why, *times)
        self.happened["exclusion"] += 1

    def _change_terms(self, number: int) -> None:
        """From now on another error rate is downtime, and the running month is judged by it as a whole."""
        limits = ("10%", "3%", "5%", "8%")
        limit = limits[number // self._plan.terms_every % len(limits)]
        for agreement in self._service.settings["agreements"][:3]:
            agreement["downtime"]["error_rate_above"] = limit
        self._restart("changed terms")

    # What has to be so

    def _compare_closed(self, month: str) -> None:
        """The month that was just closed by the command's report, and those before it as they were closed."""
        agreements = self._service.config.agreements
        self._reports[month] = agreements
        found = self._twin.closed_differences(month, self._service.report(month), agreements)
        for former, terms in self._reports.items():
            if former != month:
                found += self._twin.closed_differences(former, self._service.report(former), terms)
                self.happened["report of a month before"] += 1
        self.problems.extend(found)
        self.happened["month"] += 1
        self._say(
            f"{month}: {len(found)} differences in {len(self._reports)} months; {self._twin.spans} spans,"
            f" {self.sizes[-1]}, {dict(self.happened)}"
        )

    def _compare_running(self, month: str) -> None:
        """The running month's report; and who has seen its figures alone knows what is breached."""
        report = self._service.report(month)
        self.problems.extend(self._twin.differences(month, report, self._service.config.agreements))
        if not self._backend.is_there:
            return
        for section in report["agreements"]:
            for series in section["series"]:
                budget = self._backend.budget(section["name"], series["group"])
                if budget is None or (budget < 0) != series["breached"]:
                    self.problems.append(f"{month}: {section['name']} {series['group']}: budget {budget}, {series}")
                self.happened["alert SlaBreached"] += series["breached"]

    def _ask_for_events(self) -> None:
        """Each event that the ledger has is one that the backend took."""
        self._backend.digest()
        with closing(LedgerReader.open(self._url)) as reader:
            stored = reader.events_after(self._events_to, 1_000_000)
        missing = [each.event.uid for each in stored if each.event.uid not in self._backend.uids]
        if missing:
            self.problems.append(f"{len(missing)} events were not delivered")
        self._events_to = stored[-1].event_id if stored else self._events_to
        self.happened["event"] += len(stored)

    def _back_up(self, day: datetime) -> None:
        """A copy beside it is whole; the command makes it once a month, the same code on the other days."""
        path = self._folder / "backup.db"
        path.unlink(missing_ok=True)
        if day.day == 1:
            self._service.command("ledger", "backup", str(path))
        else:
            with closing(LedgerReader.open(self._url)) as reader:
                reader.backup(path)
        with closing(LedgerReader.open(f"sqlite:///{path}")) as copy:
            self.problems.extend(f"{day:%Y-%m-%d}: the backup: {each}" for each in copy.check())
        self.happened["backup"] += 1


def _is_day(number: int, every: int) -> bool:
    """Whether it is the last of so many days."""
    return number % every == every - 1


def _body_of(randomness: random.Random, end_s: int) -> bytes:
    span = builders.make_span(
        {"http.response.status_code": 200}, end_time_unix_nano=end_s * 10**9, span_id=randomness.randbytes(8)
    )
    return builders.make_request_of(span, resource=builders.realistic_resource("chat-1"))
