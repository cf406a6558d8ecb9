"""The three bounds that are made of the clock, and clocks that are set while the pipeline runs."""

import logging
import random

import pytest

from otel_sla.config import ProcessorSettings, load_config
from otel_sla.judging.clock import STEP_NANOS_MAX, STEP_STANDS_NANOS, JudgingClock, TrustedClock, steady_clock
from otel_sla.ledger.records import Watermarks
from otel_sla.sla.counts import NANOS_PER_MINUTE

NOON = 29_701_440 * NANOS_PER_MINUTE
HOUR = 60 * NANOS_PER_MINUTE
NO_MARKS = Watermarks(judged_before=None, sealed_before=None, exclusion_change=0, published_before=None)


class Hand:
    """A clock that the test moves."""

    def __init__(self, now: int = 0) -> None:
        self.now = now

    def __call__(self) -> int:
        """Tell the time, ns."""
        return self.now


class Machine:
    """A wall clock that may be set, and a steady one beside it."""

    def __init__(self) -> None:
        self.wall, self.steady = Hand(NOON), Hand(7)
        self.trusted = TrustedClock(self.wall, self.steady)

    def pass_time(self, nanos: int) -> int:
        """Let time pass on both, and tell the trusted one."""
        self.wall.now += nanos
        self.steady.now += nanos
        return self.trusted()

    def set_clock(self, nanos: int) -> int:
        """Set the wall clock by so much, and tell the trusted one."""
        self.wall.now += nanos
        return self.trusted()


def processor() -> ProcessorSettings:
    """The defaults: 60 s of grace, spans up to 24 h late and 5 min early."""
    return load_config(None, {}).processor


def actions(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged."""
    return [record.action for record in caplog.records]


def test_clause_16_and_17_bounds_follow_the_clock() -> None:
    """A minute is judged a grace after its end, and sealed after the latest that a span may come."""
    clock = Hand(NOON)
    judging_clock = JudgingClock(processor(), clock, clock, NO_MARKS)
    minute = NOON // NANOS_PER_MINUTE
    assert judging_clock.progress() == (progress := judging_clock.progress())
    assert (progress.judged_before, progress.sealed_before) == (minute - 1, minute - 1440)
    assert judging_clock.window().future_after_unix_nano == NOON + 5 * NANOS_PER_MINUTE
    assert judging_clock.newest_minute() == minute + 5
    clock.now += NANOS_PER_MINUTE - 1
    assert judging_clock.progress() == progress
    clock.now += 1
    assert judging_clock.progress().judged_before == minute


def test_bounds_never_step_back() -> None:
    """With any clock, and whatever the ledger was left with, no minute is judged twice or opened again."""
    rng = random.Random(1)
    clock = Hand(NOON)
    marks = Watermarks(
        judged_before=NOON // NANOS_PER_MINUTE + 90, sealed_before=5, exclusion_change=0, published_before=5
    )
    judging_clock = JudgingClock(processor(), clock, clock, marks)
    judged, sealed = marks.judged_before or 0, 5
    for _ in range(200):
        clock.now = max(0, clock.now + rng.randint(-3, 3) * HOUR)
        progress = judging_clock.progress()
        assert progress.judged_before >= judged
        assert progress.sealed_before >= sealed
        assert judging_clock.window().sealed_before_minute >= progress.sealed_before
        judged, sealed = progress.judged_before, progress.sealed_before


def test_a_correction_is_followed_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """A clock that is corrected by a little is just a clock."""
    machine = Machine()
    for step in (STEP_NANOS_MAX, -STEP_NANOS_MAX, 1, -1):
        assert machine.set_clock(step) == machine.wall.now
    assert actions(caplog) == []


def test_a_step_ahead_that_is_taken_back_judges_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Set to next year by mistake, and back after five minutes: time went on as if nothing had been."""
    machine = Machine()
    with caplog.at_level(logging.WARNING):
        assert machine.set_clock(365 * 24 * HOUR) == NOON
        for minute in range(1, 6):
            assert machine.pass_time(NANOS_PER_MINUTE) == NOON + minute * NANOS_PER_MINUTE
        assert machine.set_clock(-365 * 24 * HOUR) == NOON + 5 * NANOS_PER_MINUTE
    assert actions(caplog) == ["clock_ahead", "clock_returned"]


def test_a_step_ahead_that_stands_is_believed(caplog: pytest.LogCaptureFixture) -> None:
    """A machine that woke with an old clock is set right: judging follows ten minutes later."""
    machine = Machine()
    machine.set_clock(24 * HOUR)
    assert machine.pass_time(STEP_STANDS_NANOS - 1) == NOON + STEP_STANDS_NANOS - 1
    assert machine.pass_time(1) == machine.wall.now
    assert machine.pass_time(5) == machine.wall.now
    assert actions(caplog) == ["clock_ahead", "clock_believed"]


def test_a_second_step_does_not_inherit_how_long_the_first_has_stood(caplog: pytest.LogCaptureFixture) -> None:
    """An hour ahead, and 30 years ahead nine and a half minutes later: that has to stand for ten minutes of its own."""
    machine = Machine()
    machine.set_clock(HOUR)
    machine.pass_time(STEP_STANDS_NANOS - 30 * 10**9)
    assert machine.set_clock(30 * 365 * 24 * HOUR) == NOON + STEP_STANDS_NANOS - 30 * 10**9
    assert machine.pass_time(30 * 10**9) == NOON + STEP_STANDS_NANOS
    assert machine.set_clock(STEP_NANOS_MAX) == NOON + STEP_STANDS_NANOS, "a correction of it is no other step"
    assert machine.pass_time(STEP_STANDS_NANOS - 31 * 10**9) < machine.wall.now
    assert machine.pass_time(10**9) == machine.wall.now
    assert actions(caplog) == ["clock_ahead", "clock_ahead", "clock_believed"]


@pytest.mark.parametrize(
    ("judged", "sealed", "told"), [(5, 0, ""), (6, 0, "judged"), (7, 5, "judged"), (7, 6, "sealed")]
)
def test_a_ledger_that_is_ahead_of_the_clock_is_told(judged: int, sealed: int, told: str) -> None:
    """By more than senders may be ahead, until the clock is there. Only what is sealed keeps spans out: red by that."""
    noon = NOON // NANOS_PER_MINUTE
    clock = Hand(NOON)
    marks = Watermarks(judged_before=noon + judged, sealed_before=noon + sealed, exclusion_change=0, published_before=5)
    judging_clock = JudgingClock(processor(), clock, clock, marks)
    at_start = judging_clock.ahead_at_start()
    assert (f"the ledger has {told} minutes" in at_start) == bool(told) == bool(at_start)
    assert judging_clock.why_ahead() == (at_start if told == "sealed" else "")
    clock.now += (judged - 5) * NANOS_PER_MINUTE
    assert judging_clock.ahead_at_start() == ""
    clock.now += 365 * 24 * HOUR
    judging_clock.progress()
    assert judging_clock.why_ahead() == ""
    clock.now = NOON
    assert "the ledger has sealed minutes" in judging_clock.why_ahead()


def test_a_step_back_lets_judging_wait(caplog: pytest.LogCaptureFixture) -> None:
    """Set back by two hours: it is said once, and no bound moves until the clock is there again."""
    machine = Machine()
    judging_clock = JudgingClock(processor(), machine.wall, machine.trusted, NO_MARKS)
    before = judging_clock.progress()
    machine.set_clock(-2 * HOUR)
    machine.pass_time(HOUR)
    assert judging_clock.progress() == before
    machine.pass_time(HOUR + NANOS_PER_MINUTE)
    assert judging_clock.progress().judged_before == before.judged_before + 1
    assert actions(caplog) == ["clock_back"]


def test_spans_are_taken_by_the_clock_that_stamps_them() -> None:
    """While a step ahead is not believed yet, spans of before and after it are both accepted."""
    machine = Machine()
    judging_clock = JudgingClock(processor(), machine.trusted.latest, machine.trusted, NO_MARKS)
    machine.set_clock(48 * HOUR)
    window = judging_clock.window()
    assert window.sealed_before_minute == NOON // NANOS_PER_MINUTE - 1440
    assert window.future_after_unix_nano == NOON + 48 * HOUR + 5 * NANOS_PER_MINUTE


def test_spans_of_others_are_taken_while_the_clock_stands_back() -> None:
    """Set back by hours, twice: what others stamp with the right time is accepted for ten minutes, then no more."""
    machine = Machine()
    judging_clock = JudgingClock(processor(), machine.trusted.latest, machine.trusted, NO_MARKS)
    future = 5 * NANOS_PER_MINUTE
    machine.set_clock(-2 * HOUR)
    assert judging_clock.window().future_after_unix_nano == NOON + future
    machine.pass_time(NANOS_PER_MINUTE)
    machine.set_clock(-2 * HOUR)
    assert judging_clock.window().future_after_unix_nano == NOON + NANOS_PER_MINUTE + future
    machine.pass_time(STEP_STANDS_NANOS - 1)
    assert judging_clock.window().future_after_unix_nano == NOON + NANOS_PER_MINUTE + STEP_STANDS_NANOS - 1 + future
    machine.pass_time(1)
    assert judging_clock.window().future_after_unix_nano == machine.wall.now + future


def test_a_step_back_that_is_taken_back_is_forgotten() -> None:
    """Set back by two hours and right again five minutes later: the newest accepted time never changed its course."""
    machine = Machine()
    machine.set_clock(-2 * HOUR)
    machine.pass_time(5 * NANOS_PER_MINUTE)
    assert machine.trusted.latest() == NOON + 5 * NANOS_PER_MINUTE
    machine.set_clock(2 * HOUR)
    assert machine.trusted.latest() == NOON + 5 * NANOS_PER_MINUTE
    machine.pass_time(HOUR)
    assert machine.trusted.latest() == machine.trusted() == NOON + HOUR + 5 * NANOS_PER_MINUTE


def test_the_steady_clock_goes_on() -> None:
    """It never steps back, and counts nanoseconds."""
    readings = [steady_clock() for _ in range(1000)]
    assert readings == sorted(readings)
    assert readings[0] < readings[-1] < readings[0] + 3600 * 10**9
