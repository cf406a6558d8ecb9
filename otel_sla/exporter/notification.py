"""Sends people messages of what happened, through the services that Apprise knows: mail, chats, webhooks.

A target has one schedule and one cursor for both, events and figures: what waits of both becomes one message, and the
cursor moves when all services of the target have taken it. A message goes out at once, unless one did within the
target's interval: what happens meanwhile is in the next one.

That a share of the downtime budget is used is no event of the ledger. It is found in the figures, from nothing but
them, so that a restart neither loses nor invents it (`find_used_shares`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple
from urllib.parse import quote

from otel_sla.exporter.apprise_services import open_services
from otel_sla.exporter.backlog import FigureBatch, LedgerBacklog
from otel_sla.exporter.delivery import ScheduledDelivery, call_in_daemon_thread, next_minutes_max
from otel_sla.exporter.refusal import Blame, Refused, one_line
from otel_sla.exporter.schedule import Schedule, Timing
from otel_sla.exporter.settings import NotificationSettings, Topic
from otel_sla.ledger.records import StoredEvent
from otel_sla.report.wording import printable
from otel_sla.self_metrics import ExporterCounts
from otel_sla.sla.agreement import Agreement
from otel_sla.sla.counts import NANOS_PER_MINUTE
from otel_sla.sla.downtime import MinuteState
from otel_sla.sla.events import Event, Severity
from otel_sla.sla.figures_text import counted
from otel_sla.sla.months import MinuteRange, month_of
from otel_sla.sla.series import Series
from otel_sla.sla.uptime import MinuteFigures, downtime_minutes_allowed

EVENTS_MAX = 1_000  # In one message, most of them only counted.
LINES_MAX = 20
LINKS_MAX = 5
SHARES = {50: Severity.INFO, 80: Severity.WARN, 100: Severity.WARN}  # Percent of the downtime budget.

_NOTIFY_TYPES = {Severity.INFO: "info", Severity.WARN: "warning", Severity.ERROR: "failure"}  # Apprise's.
_TOPICS = {
    "sla.downtime.": Topic.DOWNTIME,
    "sla.verdict.": Topic.DOWNTIME,
    "sla.target.": Topic.BREACH,
    "sla.month.": Topic.MONTH_CLOSED,
}  # By the beginning of an event's name; nobody is woken by excluded downtime.


class Line(NamedTuple):
    """One line of a message."""

    topic: Topic | None  # None: nothing that people are notified of.
    agreement: str
    month: str  # YYYY-MM.
    severity: Severity
    what: str  # `downtime started`.
    text: str


@dataclass(frozen=True, slots=True)
class Message:
    """What a service is to show."""

    title: str
    body: str
    severity: Severity


class NotificationSender:
    """Writes messages for one target, and sends them.

    Args:
        settings: What the configuration says.
        agreements: All that are judged.
        public_url: Where people reach the status page; None: messages have no links.

    Raises:
        ConfigError: Apprise is not installed, or cannot use a URL.
    """

    def __init__(
        self, settings: NotificationSettings, agreements: Iterable[Agreement], public_url: str | None = None
    ) -> None:
        self._settings = settings
        self._agreements = {agreement.name: agreement for agreement in agreements}
        self._public_url = public_url and public_url.rstrip("/")
        self._services = open_services(settings)
        self._taken: set[int] = set()  # Services, by their place, that have the message under way.

    def write(self, events: Sequence[Event], shares: Sequence["UsedShare"]) -> Message | None:
        """Make one message of what the target is to know; None: it is to know none of it."""
        lines = [*map(self._event_line, events), *map(self._share_line, shares)]
        return self._message([line for line in lines if self._is_wanted(line)])

    def send(self, message: Message) -> None:
        """Send to each service that has not taken this message in an earlier attempt; blocks.

        Raises:
            Refused: Not all took it; it is to be sent once more.
        """
        for index, service in enumerate(self._services):
            if index not in self._taken and service.notify(
                body=message.body,
                title=message.title,
                notify_type=_NOTIFY_TYPES[message.severity],
                body_format="text",
            ):
                self._taken.add(index)
        missing = [f"urls[{index}]" for index in range(len(self._services)) if index not in self._taken]
        if missing:
            raise Refused(f"a message was not taken by {', '.join(missing)}", Blame.BACKEND)
        self._taken.clear()

    def _is_wanted(self, line: Line) -> bool:
        wanted = self._settings
        return line.topic in wanted.on and (not wanted.agreements or line.agreement in wanted.agreements)

    def _event_line(self, event: Event) -> Line:
        topic = next((topic for start, topic in _TOPICS.items() if event.name.startswith(start)), None)
        agreement, month = str(event.attributes["sla.agreement.name"]), event.attributes.get("sla.month.name")
        # The end of a period that reaches to the month's end is the next month's first minute.
        minute = event.time_unix_nano // NANOS_PER_MINUTE - event.name.endswith(".ended")
        what = event.name.removeprefix("sla.").replace(".", " ").replace("_", " ")
        return Line(topic, agreement, str(month or self._month_of(minute, agreement)), event.severity, what, event.body)

    def _share_line(self, used: "UsedShare") -> Line:
        name = used.series.agreement
        month = self._month_of(used.month.start_minute, name)
        allowed = counted(used.allowed, "minute")
        budget = f"{used.percent} % of the downtime budget of {month} is used ({used.down:,} of {allowed})"
        text = f"{used.series.phrase}: {budget}"
        return Line(Topic.BUDGET, name, month, SHARES[used.percent], f"{used.percent} % of the budget used", text)

    def _month_of(self, epoch_minute: int, agreement: str) -> str:
        known = self._agreements.get(agreement)
        return str(month_of(epoch_minute, known.time_zone if known else "UTC"))

    def _message(self, lines: Sequence[Line]) -> Message | None:
        if not lines:
            return None
        worst = max(lines, key=lambda line: line.severity)
        more = f" (and {len(lines) - 1:,} more)" if len(lines) > 1 else ""
        body = [one_line(printable(line.text)) for line in lines[:LINES_MAX]]
        if len(lines) > LINES_MAX:
            body.append(f"\N{HORIZONTAL ELLIPSIS} and {len(lines) - LINES_MAX:,} more")
        if self._public_url is not None:
            pages = dict.fromkeys(f"{quote(line.agreement, safe='')}/{line.month}" for line in lines)
            body += ["", *(f"{self._public_url}/agreements/{page}" for page in list(pages)[:LINKS_MAX])]
        title = one_line(printable(f"{worst.agreement}: {worst.what}{more}"))
        return Message(title, "\n".join(body), worst.severity)


class UsedShare(NamedTuple):
    """A share of a month's downtime budget that is used up."""

    series: Series
    month: MinuteRange
    percent: int  # One of SHARES.
    down: int  # Minutes of the month so far.
    allowed: int


def find_used_shares(
    figures: Iterable[MinuteFigures], known: dict[Series, tuple[MinuteRange, int]]
) -> Iterator[UsedShare]:
    """Find which shares of a downtime budget have been used up by the minutes of one batch.

    The n-th down minute of a month uses up a share that is n minutes. New minutes are in order, so a batch of them
    uses up what lies between its first down minute and its last. A revised minute that is down moves all down minutes
    after it: what lies between it and the month's newest minute is used up since then, or was before. Of several
    shares of one month the largest is given. A budget of no minute is used up by the first one.

    Args:
        figures: Of each series and month, minutes in their order, at last one with the month's sums (`has_month`).
        known: Each series' month and the share that was given last, kept up to date: saves repeats, and may be empty.
    """
    first_down: dict[tuple[Series, MinuteRange], int] = {}
    newest: dict[tuple[Series, MinuteRange], MinuteFigures] = {}
    for minute in figures:
        key = minute.series, minute.month
        if minute.state is MinuteState.DOWN:
            first_down.setdefault(key, minute.so_far.down)
        if minute.has_month:
            newest[key] = minute
    for (series, month), last in newest.items():
        first, (known_month, known_percent) = first_down.get((series, month)), known.get(series, (month, 0))
        if first is None and (known_percent == 0 or known_month != month):
            continue
        allowed, down = downtime_minutes_allowed(month.n_minutes, last.target), last.so_far.down
        used_at = {percent: max(1, -(-percent * allowed // 100)) for percent in SHARES}
        percent = max((percent for percent, minutes in used_at.items() if minutes <= down), default=0)
        is_new = percent > (known_percent if known_month == month else 0)
        if first is not None and percent and is_new and used_at[percent] >= first:
            known[series] = month, percent
            yield UsedShare(series, month, percent, down, allowed)
        elif percent < known_percent and known_month == month:  # A revision: what comes is new again.
            known[series] = month, percent


class _Unsent(NamedTuple):
    """What is behind the cursor, and what is to be said of it."""

    events: Sequence[StoredEvent]
    batch: FigureBatch | None
    message: Message | None


class NotificationDelivery(ScheduledDelivery):
    """The delivery of one target.

    Args:
        name: The component id, `notifications/NAME`.
        sender: Speaks to its services.
        backlog: What there is to send.
        interval_s: Between two messages, at least.
        counts: Its part of the pipeline's own metrics.
        timing: Time and chance.
    """

    def __init__(
        self,
        name: str,
        sender: NotificationSender,
        backlog: LedgerBacklog,
        interval_s: float,
        counts: ExporterCounts | None = None,
        timing: Timing | None = None,
    ) -> None:
        counts, timing = counts or ExporterCounts(), timing or Timing()
        self._schedule = Schedule(name, counts.events, self._deliver, 0.0, timing)
        self._call = partial(call_in_daemon_thread, f"exporter-{name}")
        self._sender, self._interval_s = sender, interval_s
        self._not_before_s = timing.clock()
        self._minutes_max = 1
        self._known_shares: dict[Series, tuple[MinuteRange, int]] = {}
        self._unsent: _Unsent | None = None  # Kept while not all services have taken its message.
        super().__init__(name, backlog, counts, timing, schedules=[self._schedule])

    async def _deliver(self) -> bool:
        """Send messages until nothing is left or the next one has to wait, or raise `Refused` or LedgerError."""
        while self._timing.clock() >= self._not_before_s:
            if self._unsent is None:
                self._unsent = await self._read()
            unsent = self._unsent
            if unsent is None:
                return False
            if unsent.message is not None:
                await self._call(partial(self._sender.send, unsent.message))
                self._unsent = unsent._replace(message=None)  # Sent, also if the ledger cannot be written now.
                self._not_before_s = self._timing.clock() + self._interval_s
                self._counts.events.note_success(len(unsent.events))
            if unsent.events:
                await self._backlog.delivered_events(unsent.events[-1].event_id)
            if unsent.batch is not None:
                await self._backlog.delivered_figures(unsent.batch, None)
                self._minutes_max = next_minutes_max(self._minutes_max, len(unsent.batch.figures))
            self._unsent = None
        self._schedule.due_s = self._not_before_s
        return False

    async def _read(self) -> _Unsent | None:
        events = await self._backlog.events(EVENTS_MAX)
        batch = await self._backlog.figures(self._minutes_max)
        if not events and batch is None:
            return None
        shares = list(find_used_shares(batch.figures, self._known_shares)) if batch is not None else []
        return _Unsent(events, batch, self._sender.write([stored.event for stored in events], shares))
