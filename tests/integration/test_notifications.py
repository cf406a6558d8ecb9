"""Notifications through Apprise to a real HTTP server: order, outages, restarts, the interval between messages."""

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from builders import make_request_of, make_span
from exporter_parts import TIMEOUT_S, MemoryBacklog, Time, make_events, make_figures
from pipeline_parts import Clock, events_of, make_config, run, running
from sla_parts import make_agreement

from otel_sla.config import Config
from otel_sla.exporter.notification import NotificationDelivery, NotificationSender
from otel_sla.exporter.schedule import Timing
from otel_sla.exporter.settings import NotificationSettings
from otel_sla.ledger.reader import LedgerReader
from otel_sla.self_metrics import ExporterCounts
from otel_sla.sla.events import Event

DOWN = (0, 9, 0)
MINUTE_NANOS = 60_000_000_000
START = 29_701_440 * MINUTE_NANOS  # 2026-06-22T00:00:00Z.
SECRET = "hunter2"  # noqa: S105 - none of anybody's.


@dataclass
class Webhook:
    """What Apprise's json:// service posts to."""

    port: int = 0
    bodies: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)  # Of the next requests; then 200.
    n_requests: int = 0
    is_called: threading.Event = field(default_factory=threading.Event)
    may_answer: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Apprise's URL, with a secret in each of its parts."""
        return f"json://user:{SECRET}@127.0.0.1:{self.port}/{SECRET}?-token={SECRET}"

    def settings(self, *more: str, interval_s: float = 0.001) -> NotificationSettings:
        """A target that has this service, and perhaps others."""
        return NotificationSettings(target="ops", urls=(self.url, *more), interval_s=interval_s)

    @property
    def lines(self) -> list[str]:
        """All lines of the messages that were taken."""
        return [line for body in self.bodies for line in body.splitlines()]


@contextmanager
def webhook(port: int = 0) -> Iterator[Webhook]:
    """A server on loopback."""
    hook = Webhook()
    hook.may_answer.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = hook.statuses.pop(0) if hook.statuses else 200
            if status == 200:
                hook.bodies.append(message["message"])
                hook.titles.append(message["title"])
            hook.n_requests += 1
            hook.is_called.set()
            hook.may_answer.wait(TIMEOUT_S)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        hook.port = server.server_address[1]
        try:
            yield hook
        finally:
            server.shutdown()
            thread.join()


def deliver(
    settings: NotificationSettings,
    backlog: MemoryBacklog,
    timing: Timing,
    *,
    is_done: Callable[[], bool],
    counts: ExporterCounts | None = None,
) -> None:
    """Run a delivery until `is_done`, then drain it."""

    async def scenario() -> None:
        sender = NotificationSender(settings, [make_agreement()])
        delivery = NotificationDelivery(settings.name, sender, backlog, settings.interval_s, counts, timing)
        await delivery.start()
        while not is_done():  # noqa: ASYNC110 - what is waited for has no event of its own.
            await asyncio.sleep(0)
        await delivery.drain(TIMEOUT_S)

    asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_S))


def chat_events(first: int, stop: int) -> list[Event]:
    """Events of the agreement `chat`."""
    return [replace(event, attributes={"sla.agreement.name": "chat"}) for event in make_events(stop)[first:]]


def test_events_and_budget_are_one_message() -> None:
    """What waits at the start, of both kinds, is one message; the cursors are behind it."""
    agreement = make_agreement(target=1 - Fraction(2, 30 * 1440))
    backlog = MemoryBacklog(chat_events(0, 3), make_figures([DOWN], agreement=agreement))
    counts = ExporterCounts()
    with webhook() as hook:
        deliver(hook.settings(), backlog, Time().timing(), is_done=lambda: backlog.exported == 1, counts=counts)
    (body,) = hook.bodies
    assert body.splitlines() == [
        "chat 0",
        "chat 1",
        "chat 2",
        "chat (service.name=chat-1): 50 % of the downtime budget of 2026-06 is used (1 of 2 minutes)",
    ]
    assert hook.titles == ["chat: downtime started (and 3 more)"]
    assert (backlog.cursor, backlog.exported) == (3, 1)
    assert (counts.events.n_sent, counts.events.n_requests_taken, counts.events.n_waiting) == (3, 1, 0)


def test_an_outage_of_the_target_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Refused ten times, then taken: each event once, in order; the pauses grow; no secret is logged."""
    caplog.set_level(logging.DEBUG)
    backlog, time = MemoryBacklog(chat_events(0, 2)), Time()
    time.on_pause = lambda: backlog.add(chat_events(len(backlog.stored), len(backlog.stored) + 1))
    with webhook() as hook:
        hook.statuses = [500] * 10
        deliver(hook.settings(), backlog, time.timing(), is_done=lambda: len(hook.lines) >= 12)
    assert hook.lines == [event.event.body for event in backlog.stored]
    assert len(hook.bodies) <= 4
    assert time.pauses[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    failed = [record for record in caplog.records if getattr(record, "action", "") == "export_failed"]
    assert [record.getMessage() for record in failed] == [
        "exporter notifications/ops: events wait, nothing is lost: a message was not taken by urls[0]"
    ]
    assert SECRET not in caplog.text


def test_a_service_that_took_a_message_does_not_get_it_again() -> None:
    """Of two services one fails three times: the other has each message once, and the order is the same for both."""
    with webhook() as well, webhook() as failing:
        failing.statuses = [500] * 3
        backlog = MemoryBacklog(chat_events(0, 3))
        deliver(well.settings(failing.url), backlog, Time().timing(), is_done=lambda: backlog.cursor == 3)
    assert well.bodies == failing.bodies == ["chat 0\nchat 1\nchat 2"]
    assert (well.n_requests, failing.n_requests) == (1, 4)


def test_one_message_an_interval() -> None:
    """The first goes out at once; what comes within the interval, events and budget, is in the next one."""
    time, figures = Time(), make_figures([DOWN] * 3, agreement=make_agreement(target=1 - Fraction(3, 30 * 1440)))
    backlog = MemoryBacklog(chat_events(0, 1))

    def go_on() -> None:
        if figures:
            backlog.add(chat_events(len(backlog.stored), len(backlog.stored) + 5))
            backlog.minutes.append(figures.pop(0))

    time.on_pause = go_on
    with webhook() as hook:
        settings = hook.settings(interval_s=60)
        deliver(settings, backlog, time.timing(), is_done=lambda: len(hook.bodies) == 4)
    assert [len(body.splitlines()) for body in hook.bodies] == [1, 5, 6, 6]  # One down minute of three is no half.
    assert set(time.pauses) == {60}


def test_a_stop_leaves_what_came_within_the_interval_to_the_next_start() -> None:
    """A stop sends nothing before its time, and does not wait; the next start sends it at once."""

    async def wait(event: asyncio.Event, _: float | None) -> None:
        await event.wait()

    timing, backlog = Timing(clock=lambda: 1000.0, wait=wait), MemoryBacklog(chat_events(0, 1))

    def is_one_sent() -> bool:
        if backlog.cursor == 1:
            backlog.add(chat_events(1, 2))
        return backlog.cursor == 1

    with webhook() as hook:
        deliver(hook.settings(interval_s=60), backlog, timing, is_done=is_one_sent)
        assert hook.lines == ["chat 0"]
        deliver(hook.settings(interval_s=60), backlog, timing, is_done=lambda: backlog.cursor == 2)
        assert hook.lines == ["chat 0", "chat 1"]


def test_a_service_that_hangs_does_not_hold_up_the_end() -> None:
    """A service that does not answer: the drain gives up in time, and the message is kept."""
    backlog = MemoryBacklog(chat_events(0, 1))

    async def scenario() -> None:
        sender = NotificationSender(hook.settings(), [make_agreement()])
        delivery = NotificationDelivery("notifications/ops", sender, backlog, 60)
        await delivery.start()
        while not hook.is_called.is_set():  # noqa: ASYNC110 - another thread sets it.
            await asyncio.sleep(0)
        await delivery.drain(0.01)

    with webhook() as hook:
        hook.may_answer.clear()
        asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_S))
        hook.may_answer.set()
    assert backlog.cursor == 0


async def send_minutes(config: Config, clock: Clock, statuses: Sequence[int]) -> None:
    """Run a pipeline for some minutes of one request each, all of them judged."""
    async with running(config, clock) as (pipeline, send):
        for status in statuses:
            await send(make_request_of(make_span({"http.response.status_code": status}, end_time_unix_nano=clock.now)))
            clock.now += MINUTE_NANOS
            await pipeline.tick()
        clock.now += 2 * MINUTE_NANOS
        await pipeline.tick()
        assert 'otelcol_exporter_queue_size{exporter="notifications/' in pipeline.metrics.prometheus_text()


def notified(folder: Path, *targets: NotificationSettings) -> Config:
    """A pipeline with targets, on a ledger in `folder`."""
    return replace(make_config(folder), notifications=targets)


def test_messages_outlive_a_restart(tmp_path: Path) -> None:
    """What happened while the target was away is sent by the next process, in order, each line once."""
    with webhook() as gone:
        config = notified(tmp_path, gone.settings())
    clock = Clock(START)
    run(lambda: send_minutes(config, clock, [200, 500, 200, 500, 500, 200]))
    bodies = [event.body for event in events_of(config)]
    assert len(bodies) == 4
    with webhook(gone.port) as there:
        run(lambda: send_minutes(config, clock, [200]))
    assert there.lines == bodies
    with webhook(gone.port) as again:
        run(lambda: send_minutes(config, clock, [200]))
    assert again.n_requests == 0


def test_a_target_that_is_new_to_an_old_ledger_does_not_send_the_past(tmp_path: Path) -> None:
    """A ledger with an outage, then a target: it is sent what happens from then on, the budget included."""
    clock = Clock(START)
    agreement = replace(make_config(tmp_path).agreements[0], target=1 - Fraction(8, 30 * 1440))
    with webhook() as hook:
        config = replace(make_config(tmp_path, [agreement]), notifications=(hook.settings(),))
        other = replace(hook.settings(), target="other", agreements=("none",))
        before = replace(config, notifications=(other,))
        run(lambda: send_minutes(before, clock, [200, 500, 500, 500, 500, 200]))
        run(lambda: send_minutes(config, clock, [200]))
        assert hook.n_requests == 0
        run(lambda: send_minutes(config, clock, [500, 500, 500, 200]))
    assert [line for line in hook.lines if "budget" in line] == [
        "default (service.name=chat-1): 80 % of the downtime budget of 2026-06 is used (7 of 8 minutes)"
    ]
    assert sum("started" in line for line in hook.lines) == 1
    reader = LedgerReader.open(config.ledger.url)
    assert "notifications/ops" in reader.exporters()
    reader.close()
