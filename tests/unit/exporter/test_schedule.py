"""When a delivery is due, and what is logged of its failures."""

import asyncio
import logging

import pytest
from exporter_parts import Time

from otel_sla.errors import LedgerUnavailable
from otel_sla.exporter.refusal import Blame, Refused
from otel_sla.exporter.schedule import NEVER, Schedule, Timing
from otel_sla.self_metrics import SignalCounts

BUSY = Refused("busy", Blame.BACKEND)


class Outcomes:
    """A delivery that fails with the given errors, then works."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self) -> None:
        """Deliver once."""
        self.calls += 1
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error


def make_schedule(time: Time, outcomes: Outcomes, interval_s: float = 0.0) -> Schedule:
    """A schedule in the test's own time, without chance."""
    return Schedule("otlp", SignalCounts("events"), outcomes, interval_s, time.timing())


def test_nothing_is_due_until_there_is_something_new() -> None:
    """A schedule that was not woken is never due; woken, it is due now; having gone, never again."""
    schedule = make_schedule(Time(), Outcomes())
    assert schedule.due_s == NEVER
    schedule.wake()
    assert schedule.is_due()
    asyncio.run(schedule.go())
    assert schedule.due_s == NEVER


def test_interval_counts_from_start_to_start() -> None:
    """Woken early, a schedule is due when its interval is over, however often it is woken."""
    time = Time()
    schedule = make_schedule(time, Outcomes(), interval_s=60)
    schedule.wake()
    asyncio.run(schedule.go())
    time.now += 20
    schedule.wake()
    schedule.wake()
    assert not schedule.is_due()
    assert schedule.due_s == time.now + 40


def test_woken_while_it_goes_it_goes_again() -> None:
    """A wake-up while a delivery is under way is not forgotten."""
    time = Time()

    async def deliver() -> None:
        schedule.wake()

    schedule = Schedule("otlp", SignalCounts("events"), deliver, 0.0, time.timing())
    asyncio.run(schedule.go())
    assert schedule.is_due()


def test_back_off_doubles_to_a_minute_and_starts_anew() -> None:
    """The pauses after failures are 1, 2, 4 … 60 s, and 1 s again after a success."""
    time = Time()
    schedule = make_schedule(time, Outcomes(*[BUSY] * 8, None, BUSY))
    pauses = []
    for _ in range(10):
        asyncio.run(schedule.go())
        pauses.append(schedule.due_s - time.now)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, NEVER, 1]


def test_new_events_do_not_cut_a_back_off_short() -> None:
    """A schedule that is backing off stays so when it is woken."""
    time = Time()
    schedule = make_schedule(time, Outcomes(BUSY, BUSY))
    for pause_s in (1.0, 2.0):
        asyncio.run(schedule.go())
        schedule.wake()
        assert schedule.due_s == time.now + pause_s


def test_a_backend_that_is_back_is_tried_at_once_and_once() -> None:
    """Another schedule's success ends a back-off: once per outage, and not before the pause that was asked for."""
    time = Time()
    schedule = make_schedule(time, Outcomes(*[BUSY] * 5, Refused("busy", Blame.BACKEND, 100.0), BUSY))
    for _ in range(4):
        asyncio.run(schedule.go())
    schedule.note_backend(is_well=True)
    assert schedule.is_due()
    asyncio.run(schedule.go())
    schedule.note_backend(is_well=True)
    assert schedule.due_s == time.now + 16
    asyncio.run(schedule.go())
    schedule.note_backend(is_well=False)
    schedule.note_backend(is_well=True)
    assert schedule.due_s == time.now + 100


def test_a_schedule_without_a_back_off_is_left_as_it_is() -> None:
    """Another schedule's success changes nothing for one that does not fail."""
    schedule = make_schedule(Time(), Outcomes())
    schedule.note_backend(is_well=True)
    assert schedule.due_s == NEVER


@pytest.mark.parametrize(("jitter", "pause_s"), [(0.0, 8.0), (0.5, 6.0), (0.999, 4.004)])
def test_jitter_shortens_by_up_to_a_half(jitter: float, pause_s: float) -> None:
    """Chance spreads the attempts of several pipelines over half of the pause."""
    assert Time().timing(jitter).back_off_s(4, BUSY) == pytest.approx(pause_s)


@pytest.mark.parametrize(("asked_s", "pause_s"), [(None, 1.0), (0.2, 1.0), (7.0, 7.0), (86_400.0, 300.0)])
def test_a_backend_may_ask_for_a_longer_pause(asked_s: float | None, pause_s: float) -> None:
    """RetryInfo and Retry-After lengthen a pause, up to a limit."""
    assert Timing(jitter=lambda: 0.0).back_off_s(1, Refused("busy", Blame.BACKEND, asked_s)) == pause_s


def test_a_million_failures_are_no_overflow() -> None:
    """The pause after ever so many failures is a minute."""
    assert Timing(jitter=lambda: 0.0).back_off_s(10**6, None) == 60.0


def test_one_line_when_it_fails_and_one_when_it_works(caplog: pytest.LogCaptureFixture) -> None:
    """Of an hour of failures the log has the first and the end."""
    caplog.set_level(logging.INFO)
    time = Time()
    schedule = make_schedule(time, Outcomes(*[BUSY] * 50))
    for _ in range(52):
        asyncio.run(schedule.go())
        time.now += 60
    assert [record.action for record in caplog.records] == ["export_failed", "export_works_again"]
    assert "busy" in caplog.messages[0]
    assert "after 3000 s and 50 attempts" in caplog.messages[1]


@pytest.mark.parametrize(
    ("error", "actions"),
    [(LedgerUnavailable("locked"), ["ledger_failed"]), (ZeroDivisionError(), ["export_error", "export_failed"])],
)
def test_other_errors_do_not_end_the_delivery(
    error: Exception, actions: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A ledger that cannot be read, or a mistake of ours, is logged and tried again."""
    time = Time()
    outcomes = Outcomes(error)
    schedule = make_schedule(time, outcomes)
    asyncio.run(schedule.go())
    assert schedule.due_s == time.now + 1
    assert schedule.counts.failed_attempts == {"ledger" if isinstance(error, LedgerUnavailable) else "internal": 1}
    assert [record.action for record in caplog.records] == actions
    asyncio.run(schedule.go())
    assert outcomes.calls == 2


def test_real_waiting_ends_by_time_and_by_event() -> None:
    """The waiting that is used in earnest returns when the time is over, and at once when the event is set."""

    async def scenario() -> None:
        event = asyncio.Event()
        await Timing().wait(event, 0.0)
        assert not event.is_set()
        event.set()
        await Timing().wait(event, None)

    asyncio.run(asyncio.wait_for(scenario(), 10))
