"""What people are sent: the messages' text, and which shares of a downtime budget are found to be used."""

import random
from fractions import Fraction
from pathlib import Path

import pytest
from exporter_parts import make_figures
from history_parts import NOVEMBER, OCTOBER, History
from sla_parts import MINUTE, make_agreement, make_terms

from otel_sla.exporter.apprise_services import open_services
from otel_sla.exporter.backlog import FigureReading
from otel_sla.exporter.notification import SHARES, NotificationSender, UsedShare, find_used_shares
from otel_sla.exporter.settings import NotificationSettings, Topic
from otel_sla.sla.events import Event, Severity
from otel_sla.sla.months import MinuteRange, Month, month_range
from otel_sla.sla.series import Series
from otel_sla.sla.uptime import downtime_minutes_allowed

UP, DOWN = (9, 0, 0), (0, 9, 0)
MONTH_MINUTES = 30 * 1440  # Of June, whose figures `make_figures` gives.


def make_sender(
    *, agreements: tuple[str, ...] = (), on: frozenset[Topic] = frozenset(Topic), public_url: str | None = None
) -> NotificationSender:
    """A target of one webhook that nothing is sent to."""
    settings = NotificationSettings(target="ops", urls=("json://localhost:1/",), agreements=agreements, on=on)
    return NotificationSender(settings, [make_agreement()], public_url)


def make_event(name: str, body: str, *, severity: Severity = Severity.INFO, agreement: str = "chat") -> Event:
    """An event of 22 June 2026, or one of that month."""
    attributes = {"sla.agreement.name": agreement}
    if name.startswith("sla.month."):
        attributes["sla.month.name"] = "2026-05"
    return Event("uid", name, MINUTE * 60_000_000_000, severity, body, attributes)


def shares_of(states: str, *, allowed: int, known: dict[Series, tuple[MinuteRange, int]] | None = None) -> list[str]:
    """The shares that are found in a month that begins so, `d` being a down minute."""
    agreement = make_agreement(target=1 - Fraction(allowed, MONTH_MINUTES))
    figures = make_figures([DOWN if state == "d" else UP for state in states], agreement=agreement)
    return [f"{used.percent}: {used.down}/{used.allowed}" for used in find_used_shares(figures, known or {})]


def test_one_message_of_a_batch() -> None:
    """Lines in the order of the events; the worst decides title and severity; the months' pages are linked."""
    events = [
        make_event("sla.month.closed", "chat: 2026-05 closed with 99.99 %, 3 minutes of downtime"),
        make_event("sla.downtime.started", "chat (service.name=a): downtime started at 12:00", severity=Severity.ERROR),
        make_event("sla.downtime.ended", "chat (service.name=a): downtime of 12:00 ended after 2 min"),
    ]
    message = make_sender(public_url="https://status.example.com/").write(events, [])
    assert message is not None
    assert (message.title, message.severity) == ("chat: downtime started (and 2 more)", Severity.ERROR)
    assert message.body.splitlines() == [
        *(event.body for event in events),
        "",
        "https://status.example.com/agreements/chat/2026-05",
        "https://status.example.com/agreements/chat/2026-06",
    ]


def test_a_share_of_the_budget_is_a_line() -> None:
    """It says how many minutes are used of how many; without a page there is no link."""
    june = month_range(Month(2026, 6), "UTC")
    series = Series(0, "chat", (("service.name", b"a"),), is_overflow=False)
    message = make_sender().write([], [UsedShare(series, june, 50, 22, 43)])
    assert message is not None
    assert message.title == "chat: 50 % of the budget used"
    assert message.body == ("chat (service.name=a): 50 % of the downtime budget of 2026-06 is used (22 of 43 minutes)")
    assert message.severity is Severity.INFO


def test_only_what_is_asked_for_is_sent() -> None:
    """Other agreements, other topics, and downtime that does not count are left out; of nothing there is no message."""
    started = make_event("sla.downtime.started", "chat: downtime started")
    excluded = make_event("sla.excluded_downtime.started", "chat: excluded downtime started")
    breached = make_event("sla.target.breached", "chat: breached")
    other = make_event("sla.target.breached", "search: breached", agreement="search")
    everything = make_sender().write([started, excluded, breached, other], [])
    assert everything is not None
    assert everything.body.splitlines() == [started.body, breached.body, other.body]
    sender = make_sender(agreements=("chat",), on=frozenset({Topic.BREACH}))
    some = sender.write([started, excluded, breached, other], [])
    assert some is not None
    assert some.body == "chat: breached"
    assert make_sender().write([excluded], []) is None


def test_a_period_that_ends_with_its_month_is_linked_there() -> None:
    """Its end is the first minute of the next month; the page that has it is the one before."""
    july = month_range(Month(2026, 7), "UTC").start_minute
    event = Event("uid", "sla.downtime.ended", july * 60_000_000_000, Severity.INFO, "e", {"sla.agreement.name": "a/b"})
    message = make_sender(public_url="https://x").write([event], [])
    assert message is not None
    assert message.body == "e\n\nhttps://x/agreements/a%2Fb/2026-06"


def test_long_and_hostile_messages_are_bounded() -> None:
    """A thousand events with a kilobyte of control signs each: some lines, each short, and how many more there are."""
    bodies = [f"chat: {number}\n\x1b[31m\u202e" + "x" * 1000 for number in range(1000)]
    message = make_sender().write([make_event("sla.downtime.started", body) for body in bodies], [])
    assert message is not None
    lines = message.body.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "\N{HORIZONTAL ELLIPSIS} and 980 more"
    assert max(map(len, lines)) <= 300
    assert not any(sign in message.body for sign in "\x1b\u202e")
    assert make_sender().write([], []) is None


def test_a_service_gets_long_messages_in_parts() -> None:
    """It would refuse them for ever; where the URL says what is to be done with them, that is done."""
    urls = ("json://localhost", "json://localhost?overflow=truncate")
    services = open_services(NotificationSettings(target="ops", urls=urls))
    assert [plugin.overflow_mode.value for service in services for plugin in service] == ["split", "truncate"]


@pytest.mark.parametrize(
    ("states", "allowed", "expected"),
    [
        ("uduududu", 44, []),
        ("d" * 21, 44, []),
        ("d" * 22, 44, ["50: 22/44"]),
        ("d" * 23, 43, ["50: 23/43"]),
        ("d" * 36, 44, ["80: 36/44"]),
        ("d" * 44 + "u", 44, ["100: 44/44"]),
        ("d" * 60, 44, ["100: 60/44"]),
        ("d", 1, ["100: 1/1"]),
        ("d", 2, ["50: 1/2"]),
        ("ud", 0, ["100: 1/0"]),
        ("u", 0, []),
    ],
)
def test_a_share_is_used_from_some_minute_on(states: str, allowed: int, expected: list[str]) -> None:
    """At and above the exact share; the largest of several; a budget of nothing is used up by one minute."""
    assert shares_of(states, allowed=allowed) == expected


def test_each_share_is_found_once_as_minutes_come_one_by_one() -> None:
    """Fifty minutes of an outage, each a batch of its own, with nothing remembered between them."""
    agreement = make_agreement(target=1 - Fraction(44, MONTH_MINUTES))
    figures = make_figures([DOWN] * 50, agreement=agreement)
    found = [used for minute in figures for used in find_used_shares([minute], {})]
    assert [(used.percent, used.down) for used in found] == [(50, 22), (80, 36), (100, 44)]


@pytest.mark.parametrize("seed", range(8))
def test_random_histories_lose_no_share(seed: int, tmp_path: Path) -> None:
    """Outages, late spans, exclusions, restarts, over the edge of two months: each share that is crossed is found at
    the latest with the next minute, and none that is not used.
    """
    rng = random.Random(seed)
    terms, allowed = make_terms(period_minutes_min=rng.choice([1, 1, 2, 4])), rng.choice([0, 1, 2, 5, 10, 20])
    history = History(tmp_path, make_agreement(downtime=terms, target=1 - Fraction(allowed, 31 * 1440)))
    history.judge()
    reading, known = make_reading(history)
    before: set[tuple[Month, str, int]] = set()
    owed: set[tuple[Month, str, int]] = set()
    for _ in range(25):
        start, history.now = history.now, history.now + rng.choice([1, 1, 1, 2, 5, 9])
        history.count((minute, n, *rng.choice([UP, DOWN])) for minute in range(start, history.now) for n in range(2))
        if rng.random() < 0.3:  # Late spans that fail, or that make good.
            late = rng.sample(range(start - 50, start), 3)
            history.count((minute, rng.randrange(2), *rng.choice([(0, 99, 0), (9999, 0, 0)])) for minute in late)
        if rng.random() < 0.1:
            history.exclude(start - rng.randint(1, 40), rng.randint(1, 40))
        history.judge()
        if rng.random() < 0.2:
            reading, known = make_reading(history)
        found = drain(history, reading, known, rng.choice([1, 7]))
        covered = {(month, name, percent) for month, name, most in found for percent in SHARES if percent <= most}
        reached = set()
        for month in (OCTOBER, NOVEMBER):
            allowed = downtime_minutes_allowed(month_range(month, "UTC").n_minutes, history.agreement.target)
            for name, series in history.report(month).items():
                down = series["minutes"]["down"]  # type: ignore[index]
                used = {
                    (month, name, percent) for percent in SHARES if down >= max(1, Fraction(percent, 100) * allowed)
                }
                reached |= used
        assert found <= reached
        assert covered >= owed & reached
        owed, before = reached - before - covered, reached
    history.stop()


def make_reading(history: History) -> tuple[FigureReading, dict[Series, tuple[MinuteRange, int]]]:
    """What a target begins with at a start."""
    reading = FigureReading("notifications/ops", (history.agreement,), first_minutes_max=10**6, ends_with_newest=True)
    return reading, {}


def drain(
    history: History, reading: FigureReading, known: dict[Series, tuple[MinuteRange, int]], minutes_max: int
) -> set[tuple[Month, str, int]]:
    """Read all batches behind the cursor, and give the shares in them."""
    found = set()
    while (batch := reading.next_batch(history.reader, minutes_max)) is not None:
        for used in find_used_shares(batch.figures, known):
            month = next(one for one in (OCTOBER, NOVEMBER) if month_range(one, "UTC") == used.month)
            found.add((month, used.series.group_text["service.name"], used.percent))
        history.ledger.advance_cursor(
            "notifications/ops", exported_before=batch.exported_before, replacement_id=batch.replacement_id
        )
    return found
