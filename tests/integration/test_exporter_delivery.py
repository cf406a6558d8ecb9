"""Deliveries to real backends on loopback: away, refusing, failing and coming back."""

import asyncio
import logging
import re
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import astuple
from itertools import pairwise

import capture
import grpc
import pytest
from capture import BAD_ITEM, BUSY, NOT_YOU, PROTOCOLS, UNCLEAR, ExportRequest, Reply, Script, backend, uids_in
from exporter_parts import TIMEOUT_S, MemoryBacklog, Time, deliver, make_events, make_figures
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_sla.exporter.backlog import FigureBatch
from otel_sla.exporter.delivery import EVENTS_MAX, FIGURES_MAX, Delivery
from otel_sla.exporter.otlp import OtlpSender
from otel_sla.exporter.refusal import Answer, Blame, Refused
from otel_sla.exporter.schedule import RETRY_AFTER_MAX_S
from otel_sla.exporter.settings import Signal
from otel_sla.self_metrics import ExporterCounts
from otel_sla.sla.uptime import MinuteFigures

both = pytest.mark.parametrize("protocol", PROTOCOLS)


def is_logs(request: ExportRequest) -> bool:
    """Whether a request is one of events."""
    return isinstance(request, ExportLogsServiceRequest)


def poison(reply: Reply, *uids: str) -> Script:
    """A backend that gives `reply` to each request that holds one of these events."""
    return Script(rule=lambda request: reply if set(uids).intersection(uids_in(request)) else None)


@both
def test_events_and_figures_are_delivered(protocol: str) -> None:
    """Everything that waits is delivered: events in order, each minute's points once, and the cursors behind them."""
    backlog = MemoryBacklog(make_events(3), make_figures([(9, 1, 0)] * 5))
    with backend(protocol) as there:
        sender = OtlpSender(there.settings(), "ledger-1")
        deliver(sender, backlog, is_done=lambda: backlog.exported == 5)
    assert there.uids() == ["e0", "e1", "e2"]
    assert [point.time_unix_nano for point in there.captured.points("sla.error_rate")] == [
        (minute.epoch_minute + 1) * 60_000_000_000 for minute in backlog.minutes
    ]
    assert (backlog.cursor, backlog.aside) == (3, {})


@both
def test_backend_down_then_up(protocol: str, caplog: pytest.LogCaptureFixture) -> None:
    """While the backend is away nothing is lost; when it is back all comes in order, and the log has two lines each."""
    caplog.set_level(logging.INFO, logger="otel_sla")
    backlog = MemoryBacklog(make_events(7), make_figures([(9, 1, 0)] * 3))
    time = Time()
    with backend(protocol) as gone:
        settings = gone.settings()
    with ExitStack() as later:
        back: list[capture.Backend] = []

        def come_back() -> None:
            if len(time.pauses) == 5:
                back.append(later.enter_context(backend(protocol, port=int(gone.address.rpartition(":")[2]))))

        time.on_pause = come_back
        deliver(OtlpSender(settings, "ledger-1"), backlog, is_done=lambda: backlog.exported == 3, time=time)
    assert back[0].uids() == [f"e{n}" for n in range(7)]
    assert len(back[0].captured.points("sla.coverage")) == 3
    actions = [record.action for record in caplog.records]
    assert sorted(actions) == ["export_failed", "export_failed", "export_works_again", "export_works_again"]
    assert "nothing is lost" in caplog.messages[0]


@both
def test_events_do_not_wait_while_figures_flow(protocol: str) -> None:
    """A backend that is back takes figures first, as their turn comes: events follow at once, not after their pause."""
    taken = threading.Event()

    def rule(request: ExportRequest) -> Reply | None:
        if is_logs(request):
            return None if taken.is_set() else BUSY
        taken.set()
        return None

    backlog, time = MemoryBacklog(make_events(3), make_figures([(9, 1, 0)] * 3)), Time()
    with backend(protocol, Script(rule=rule)) as there:
        deliver(OtlpSender(there.settings(), "id"), backlog, is_done=lambda: backlog.cursor == 3, time=time)
    assert there.uids() == ["e0", "e1", "e2"]
    assert time.now == 1000, "no time has passed"


CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
TAKES_BACK = {grpc.StatusCode.INVALID_ARGUMENT}


@pytest.mark.parametrize("code", [code for code in CODES if code not in TAKES_BACK])
def test_every_grpc_code_for_a_while_loses_nothing(code: grpc.StatusCode) -> None:
    """A backend that answers everything with any code, and recovers, gets every event, in order."""
    is_over = threading.Event()
    script = Script(rule=lambda _: None if is_over.is_set() else Reply(code))
    backlog = MemoryBacklog(make_events(4), make_figures([(1, 0, 0)]))
    time = Time()
    time.on_pause = lambda: is_over.set() if len(time.pauses) == 4 else None
    with backend("grpc", script) as there:
        deliver(OtlpSender(there.settings(), "id"), backlog, is_done=lambda: backlog.exported == 1, time=time)
    assert there.uids() == ["e0", "e1", "e2", "e3"]
    assert len(there.captured.points("sla.coverage")) == 1
    assert backlog.aside == {}


@pytest.mark.parametrize("status", [302, 401, 403, 404, 405, 408, 415, 418, 429, 500, 501, 502, 503, 504])
def test_every_http_status_for_a_while_loses_nothing(status: int) -> None:
    """The same over HTTP, redirects and pages that are not there included."""
    is_over = threading.Event()
    script = Script(rule=lambda _: None if is_over.is_set() else Reply(http_status=status))
    backlog = MemoryBacklog(make_events(4), make_figures([(1, 0, 0)]))
    time = Time()
    time.on_pause = lambda: is_over.set() if len(time.pauses) == 4 else None
    with backend("http", script) as there:
        deliver(OtlpSender(there.settings(), "id"), backlog, is_done=lambda: backlog.exported == 1, time=time)
    assert there.uids() == ["e0", "e1", "e2", "e3"]
    assert len(there.captured.points("sla.coverage")) == 1
    assert backlog.aside == {}


@both
@pytest.mark.parametrize("reply", [BAD_ITEM, UNCLEAR], ids=["bad", "unclear"])
@pytest.mark.parametrize("places", [(0,), (6,), (11,), (0, 1, 2, 10)])
def test_poisonous_events_are_set_aside(
    protocol: str, reply: Reply, places: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """Events that the backend never takes are set aside with its reason; all others arrive, once and in order."""
    poisonous = [f"e{n}" for n in places]
    backlog = MemoryBacklog(make_events(12))
    counts = ExporterCounts()
    with backend(protocol, poison(reply, *poisonous)) as there:
        sender = OtlpSender(there.settings(), "id")

        async def scenario() -> None:
            delivery = Delivery("otlp", sender, backlog, 60, counts, Time().timing())
            await delivery.start()
            # An event that is refused for no clear reason needs another one that is taken.
            backlog.add(make_events(13)[12:])
            delivery.wake()
            while backlog.cursor < 13:  # noqa: ASYNC110 - what is waited for has no event of its own.
                await asyncio.sleep(0)
            await delivery.drain(TIMEOUT_S)

        asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_S))
    # The probe comes again and again.
    assert list(dict.fromkeys(there.uids())) == [f"e{n}" for n in range(13) if n not in places]
    assert list(backlog.aside) == poisonous
    assert all("said so" in reason for reason in backlog.aside.values())
    assert (counts.events.n_sent, counts.events.n_refused) == (13 - len(places), len(places))
    assert (counts.events.n_waiting, counts.events.oldest_unix_nano) == (0, None)
    assert [record.action for record in caplog.records if record.levelname == "ERROR"] == ["event_set_aside"] * len(
        places
    )


HOUR_S = 3600.0
# What says that the backend is away, or does not know us; a firewall or a proxy says it of one body too.
# The pause that is asked for makes the attempts of hours few.
NOT_THE_ITEM = [
    pytest.param("grpc", Reply(code, retry_after_s=RETRY_AFTER_MAX_S), id=code.name)
    for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED)
] + [
    pytest.param("http", Reply(http_status=status, retry_after_s=RETRY_AFTER_MAX_S), id=str(status))
    for status in (403, 502)
]


@pytest.mark.parametrize(("protocol", "reply"), NOT_THE_ITEM)
@pytest.mark.parametrize(("place", "taken_before"), [(2, 0), (2, 2)])
def test_an_event_that_is_refused_for_hours_while_others_are_taken(
    protocol: str, reply: Reply, place: int, taken_before: int
) -> None:
    """What is said of one event only, for hours, holds up the others no longer, after a restart neither."""
    backlog = MemoryBacklog(make_events(6))
    backlog.cursor = taken_before  # By a former process.
    time = Time()
    with backend(protocol, poison(reply, f"e{place}")) as there:
        deliver(OtlpSender(there.settings(), "id"), backlog, is_done=lambda: backlog.cursor == 6, time=time)
    first = max(0, taken_before - 1)  # The last one that was taken is asked for again.
    assert list(dict.fromkeys(there.uids())) == [f"e{n}" for n in range(first, 6) if n != place]
    assert list(backlog.aside) == [f"e{place}"]
    assert re.search(r": said so \(for 3\.\d hours, in which it took others\)$", backlog.aside[f"e{place}"])
    assert 3.5 * HOUR_S < time.now - Time().now < 6 * HOUR_S


@both
def test_a_minute_that_is_refused_for_hours_while_others_are_taken(protocol: str) -> None:
    """The same of figures, of which any other minute is asked for: the first one that there is is set aside, too."""
    minutes = make_figures([(1, 0, 0)] * 3)
    poisonous_end = (minutes[0].epoch_minute + 1) * 60_000_000_000
    replies = {"grpc": NOT_THE_ITEM[0].values[1], "http": NOT_THE_ITEM[2].values[1]}
    script = Script(
        rule=lambda request: (
            replies[protocol] if poisonous_end in {point.time_unix_nano for point in make_points(request)} else None
        )
    )
    backlog = MemoryBacklog(figures=minutes)
    with backend(protocol, script) as there:
        deliver(OtlpSender(there.settings(), "id"), backlog, is_done=lambda: backlog.exported == 3)
    assert {point.time_unix_nano for point in there.captured.points("sla.coverage")} == {
        (minute.epoch_minute + 1) * 60_000_000_000 for minute in minutes[1:]
    }


@pytest.mark.parametrize(("protocol", "reply"), NOT_THE_ITEM[:2])
def test_a_backend_that_is_away_for_a_day_costs_no_event(protocol: str, reply: Reply) -> None:
    """Refused for a day, before anything was taken and after it, are all: none is set aside, all come in order."""
    backlog = MemoryBacklog(make_events(6))
    time = Time()
    away_until = time.now + 24 * HOUR_S
    script = Script(rule=lambda request: reply if is_logs(request) and time.now < away_until else None)

    def is_done() -> bool:
        nonlocal away_until
        if backlog.cursor == 6 and len(backlog.stored) == 6:
            away_until = time.now + 24 * HOUR_S
            backlog.add(make_events(12)[6:])
            delivery_of_all.wake()
        return backlog.cursor == 12

    with backend(protocol, script) as there:
        delivery_of_all = Delivery("otlp", OtlpSender(there.settings(), "id"), backlog, 60, timing=time.timing())

        async def scenario() -> None:
            await delivery_of_all.start()
            while not is_done():  # noqa: ASYNC110 - what is waited for has no event of its own.
                await asyncio.sleep(0)
            await delivery_of_all.drain(TIMEOUT_S)

        asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_S))
    assert time.now - Time().now >= 48 * HOUR_S
    assert there.uids() == [f"e{n}" for n in range(12)]
    assert backlog.aside == {}


@both
def test_a_backend_that_fails_over_all_events_gets_its_metrics(protocol: str) -> None:
    """A backend without logs (Prometheus answers 404) gets every minute's points; the events go on waiting."""
    replies = {"grpc": Reply(grpc.StatusCode.UNIMPLEMENTED), "http": Reply(http_status=404)}
    script = Script(rule=lambda request: replies[protocol] if is_logs(request) else None)
    backlog = MemoryBacklog(make_events(4), make_figures([(1, 0, 0)] * 3))
    with backend(protocol, script) as there:
        deliver(OtlpSender(there.settings(), "id"), backlog, is_done=lambda: backlog.exported == 3)
    assert len(there.captured.points("sla.coverage")) == 3
    assert there.uids() == []
    assert (backlog.cursor, backlog.aside) == (0, {})


@both
def test_a_moment_of_errors_does_not_change_the_order(protocol: str) -> None:
    """A backend that fails a few times in a row over anything gets each event first in its turn, and all of them."""
    backlog = MemoryBacklog(make_events(4))
    with backend(protocol, Script(*[UNCLEAR] * 3)) as there:
        deliver(OtlpSender(there.settings(), "id"), backlog, is_done=lambda: backlog.cursor == 4)
    uids = there.uids()
    assert [uids[uids.index("e0") :].index(f"e{n}") for n in range(4)] == sorted(
        uids[uids.index("e0") :].index(f"e{n}") for n in range(4)
    )
    assert set(uids) == {"e0", "e1", "e2", "e3"}
    assert backlog.aside == {}


@both
def test_a_poisonous_minute_of_the_only_series(protocol: str) -> None:
    """Of one series, the first minute is never taken, for no clear reason: later minutes are not stuck behind it."""
    minutes = make_figures([(1, 0, 0)] * 3)
    poisonous_end = (minutes[0].epoch_minute + 1) * 60_000_000_000

    def rule(request: ExportRequest) -> Reply | None:
        return UNCLEAR if poisonous_end in {point.time_unix_nano for point in make_points(request)} else None

    backlog = MemoryBacklog(figures=minutes)
    with backend(protocol, Script(rule=rule)) as there:
        deliver(OtlpSender(there.settings(), "id"), backlog, is_done=lambda: backlog.exported == 3)
    assert {point.time_unix_nano for point in there.captured.points("sla.coverage")} == {
        (minute.epoch_minute + 1) * 60_000_000_000 for minute in minutes[1:]
    }


def test_a_backend_that_takes_every_third_request() -> None:
    """A batch of many requests goes on where the backend broke off; it is not begun again."""
    minutes = make_figures([(1, 0, 0)] * 5 * FIGURES_MAX)
    backlog = MemoryBacklog(figures=minutes)

    async def all_at_once(_: int) -> FigureBatch | None:
        return await MemoryBacklog.figures(backlog, len(minutes))

    backlog.figures = all_at_once  # type: ignore[method-assign]
    sent: list[MinuteFigures] = []

    class EveryThird:
        n_calls = 0

        def send_events(self, events: object) -> Answer:
            raise AssertionError(events)

        def send_figures(self, figures: Sequence[MinuteFigures]) -> Answer:
            self.n_calls += 1
            if self.n_calls % 3:
                raise Refused("busy", Blame.BACKEND)
            sent.extend(figures)
            return Answer()

        def close(self) -> None:
            """Nothing is open."""

    deliver(EveryThird(), backlog, is_done=lambda: backlog.exported == len(minutes))
    assert [figures.epoch_minute for figures in sent] == [figures.epoch_minute for figures in minutes]


def test_a_backend_that_is_slow_with_many() -> None:
    """A backend that is in time with three events at most gets them in smaller requests, each once."""
    backlog = MemoryBacklog(make_events(40))
    script = Script(rule=lambda request: BUSY if len(uids_in(request)) > 3 else None)
    with backend("grpc", script) as there:
        deliver(OtlpSender(there.settings(), "id"), backlog, is_done=lambda: backlog.cursor == 40)
    assert there.uids() == [f"e{n}" for n in range(40)]


@both
def test_an_outage_of_errors_is_not_hammered(protocol: str) -> None:
    """A backend that took events and then fails over everything is asked twice at each attempt, not once per event."""
    backlog = MemoryBacklog(make_events(100))
    is_over = threading.Event()
    script = Script()
    with backend(protocol, script) as there:
        sender = OtlpSender(there.settings(), "id")
        time = Time()
        asked: list[int] = []

        def on_pause() -> None:
            asked.append(script.asked)
            if len(asked) == 5:
                is_over.set()

        async def scenario() -> None:
            delivery = Delivery("otlp", sender, backlog, 60, timing=time.timing())
            await delivery.start()
            while backlog.cursor < 100:  # noqa: ASYNC110 - what is waited for has no event of its own.
                await asyncio.sleep(0)
            script.rule = lambda _: None if is_over.is_set() else UNCLEAR
            backlog.add(make_events(200)[100:])
            time.on_pause = on_pause
            delivery.wake()
            while backlog.cursor < 200:  # noqa: ASYNC110 - what is waited for has no event of its own.
                await asyncio.sleep(0)
            await delivery.drain(TIMEOUT_S)

        asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_S))
    assert [after - before for before, after in pairwise(asked[:5])] == [2, 2, 2, 2]
    assert backlog.aside == {}


@both
def test_an_expired_token_costs_no_event(protocol: str) -> None:
    """A backend that knows us no more refuses us, not the events; they are delivered when it does again."""
    backlog = MemoryBacklog(make_events(5))
    with backend(protocol, Script(*[NOT_YOU] * 3)) as there:
        deliver(OtlpSender(there.settings(), "id"), backlog, is_done=lambda: backlog.cursor == 5)
    assert there.uids() == ["e0", "e1", "e2", "e3", "e4"]


@both
def test_partial_success_is_not_sent_again(protocol: str, caplog: pytest.LogCaptureFixture) -> None:
    """Of three events one was rejected, which OTLP forbids to retry: each is listed, none is sent again."""
    backlog = MemoryBacklog(make_events(3))
    counts = ExporterCounts()
    with backend(protocol, Script(Reply(rejected=1))) as there:
        sender = OtlpSender(there.settings(), "id")

        async def scenario() -> None:
            delivery = Delivery("otlp", sender, backlog, 60, counts, Time().timing())
            await delivery.start()
            await delivery.drain(TIMEOUT_S)

        asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_S))
    assert there.uids() == ["e0", "e1", "e2"]
    assert there.script.asked == 1
    assert set(backlog.aside.values()) == {"1 of 3 events, perhaps this one, rejected by the backend: said so"}
    assert (counts.events.n_sent, counts.events.n_refused) == (2, 1)
    assert [record.action for record in caplog.records] == ["events_rejected"]


@both
@pytest.mark.parametrize("signal", Signal)
def test_only_the_signals_that_are_asked_for_are_sent(protocol: str, signal: Signal) -> None:
    """The other signal never reaches the backend, is not counted as sent, and does not pile up either."""
    backlog = MemoryBacklog(make_events(3), make_figures([(1, 0, 0)] * 2))
    counts = ExporterCounts()
    with backend(protocol) as there:
        sender = OtlpSender(there.settings(signals=frozenset({signal})), "id")

        async def scenario() -> None:
            delivery = Delivery("otlp", sender, backlog, 60, counts, Time().timing())
            await delivery.start()
            await delivery.drain(TIMEOUT_S)

        asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_S))
    assert {is_logs(request) for request in there.captured.requests} == {signal is Signal.LOGS}
    assert bool(counts.events.n_sent) == (signal is Signal.LOGS)
    assert bool(counts.figures.n_sent) == (signal is Signal.METRICS)
    assert (backlog.cursor, backlog.exported) == (3, 2)


@both
def test_rejected_points_are_counted(protocol: str, caplog: pytest.LogCaptureFixture) -> None:
    """Points that were rejected, or refused with a whole minute, are counted, logged and kept; later minutes follow."""
    late = make_figures([(1, 0, 0)] * 4)
    refused_end = (late[2].epoch_minute + 1) * 60_000_000_000

    def rule(request: ExportRequest) -> Reply | None:
        times = {point.time_unix_nano for metric in metrics_of(request) for point in metric.gauge.data_points}
        return BAD_ITEM if refused_end in times else None

    backlog = MemoryBacklog(figures=late)
    counts = ExporterCounts()
    with backend(protocol, Script(Reply(rejected=4), rule=rule)) as there:
        sender = OtlpSender(there.settings(), "id")

        async def scenario() -> None:
            delivery = Delivery("otlp", sender, backlog, 60, counts, Time().timing())
            await delivery.start()
            await delivery.drain(TIMEOUT_S)

        asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_S))
    assert backlog.exported == 4
    assert len(there.captured.points("sla.coverage")) == 3
    assert (counts.figures.n_sent, counts.figures.n_refused) == (4 * 15 - 4 - 15, 4 + 15)
    assert {record.action for record in caplog.records} == {"points_refused"}
    first, third = late[0].epoch_minute, late[2].epoch_minute
    assert [astuple(refused)[:3] for refused in backlog.refused] == [(4, first, first), (15, third, third)]
    assert "4 of 15 points were rejected" in backlog.refused[0].reason


def metrics_of(request: ExportRequest) -> list[capture.Metric]:
    """The metrics of one request; none in one of events."""
    captured = capture.Captured()
    captured.requests.append(request)
    return list(captured.metrics())


@both
def test_a_long_backlog_stays_in_bounds(protocol: str) -> None:
    """After a day away, requests and what is read at once are bounded, and every event is delivered once."""
    n_events, n_minutes = 2 * EVENTS_MAX + 1, 2 * FIGURES_MAX
    sizes: list[int] = []

    def rule(request: ExportRequest) -> None:
        sizes.append(len(uids_in(request)) or len(make_points(request)))

    backlog = MemoryBacklog(make_events(n_events), make_figures([(1, 0, 0)] * n_minutes))
    with backend(protocol, Script(rule=rule)) as there:
        deliver(OtlpSender(there.settings(), "id"), backlog, is_done=lambda: backlog.exported == n_minutes)
    assert there.uids() == [f"e{n}" for n in range(n_events)]
    assert len(there.captured.points("sla.coverage")) == n_minutes
    assert max(sizes) <= max(EVENTS_MAX, FIGURES_MAX)
    assert backlog.largest <= EVENTS_MAX


def make_points(request: ExportRequest) -> list[capture.NumberDataPoint]:
    """The points of coverage, one for each minute of a request."""
    return [
        point for metric in metrics_of(request) if metric.name == "sla.coverage" for point in metric.gauge.data_points
    ]


@both
def test_drain_does_not_wait_for_a_slow_backend(protocol: str, caplog: pytest.LogCaptureFixture) -> None:
    """A backend that does not answer holds up the end no longer than it may; what was not delivered stays."""
    never = threading.Event()
    backlog = MemoryBacklog(make_events(2))
    with backend(protocol, Script(Reply(until=never))) as there:

        async def scenario() -> None:
            delivery = Delivery("otlp", OtlpSender(there.settings(), "id"), backlog, 60)
            await delivery.start()
            while not there.script.asked:  # noqa: ASYNC110 - what is waited for has no event of its own.
                await asyncio.sleep(0)
            await delivery.drain(0.05)
            never.set()

        asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_S))
    assert backlog.cursor == 0
    assert [record.action for record in caplog.records] == ["export_unfinished"]


def test_drain_tries_at_once_what_was_backing_off() -> None:
    """At the end a pause that is under way is cut short for one last try."""
    backlog = MemoryBacklog(make_events(2))
    with backend("grpc", Script(BUSY)) as there:

        async def scenario() -> None:
            delivery = Delivery("otlp", OtlpSender(there.settings(), "id"), backlog, 60)
            await delivery.start()
            while not there.script.asked:  # noqa: ASYNC110 - what is waited for has no event of its own.
                await asyncio.sleep(0)
            await delivery.drain(TIMEOUT_S)

        asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_S))
    assert there.uids() == ["e0", "e1"]
    assert backlog.cursor == 2


def test_drain_without_start() -> None:
    """A delivery that was never started can be ended."""
    with backend("grpc") as there:
        sender = OtlpSender(there.settings(), "id")

        async def scenario() -> None:
            await Delivery("otlp", sender, MemoryBacklog(make_events(1)), 60).drain(1)

        asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_S))
    assert there.uids() == []


def test_new_events_go_out_at_once() -> None:
    """Woken, a delivery sends new events without waiting for the figures' interval."""
    backlog = MemoryBacklog()
    with backend("grpc") as there:

        async def scenario() -> None:
            delivery = Delivery("otlp", OtlpSender(there.settings(), "id"), backlog, 3600)
            await delivery.start()
            for n in range(3):
                backlog.add(make_events(n + 1)[n:])
                delivery.wake()
                while backlog.cursor <= n:  # noqa: ASYNC110 - what is waited for has no event of its own.
                    await asyncio.sleep(0)
            await delivery.drain(TIMEOUT_S)

        asyncio.run(asyncio.wait_for(scenario(), TIMEOUT_S))
    assert there.uids() == ["e0", "e1", "e2"]
