"""Stories: whoever adds up the events has the report, however the past was revised."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sla_parts import MINUTE, judged_world, make_agreement, make_counts, make_series, told_nothing

from otel_sla.sla.agreement import DowntimeTerms, NoData
from otel_sla.sla.downtime import JudgedSeries, MinuteState, SeriesCounts
from otel_sla.sla.downtime_events import Cause, tell
from otel_sla.sla.events import Event, Severity, Subject
from otel_sla.sla.figures_text import minute_text
from otel_sla.sla.month_events import Promise, tell_breach, tell_month_closed
from otel_sla.sla.months import MinuteRange, Month, month_range
from otel_sla.sla.periods import list_periods
from otel_sla.sla.uptime import month_figures

SUBJECT = Subject(make_series(), make_agreement())
NANOS = 60_000_000_000


def world_of(minutes: str, *, excluded: str = "", period_minutes_min: int = 1, start: int = MINUTE) -> JudgedSeries:
    """A world written minute by minute: `x` fails, `.` succeeds, a space is silent; `excluded` marks with `e`."""
    rows = {"x": (10, 10, 0), "X": (10, 30, 0), ".": (20, 0, 0), " ": (0, 0, 0)}
    counts = np.array([rows[sign] for sign in minutes], dtype=np.int64).reshape(-1, 3)
    terms = DowntimeTerms(Fraction(1, 20), 1, period_minutes_min, NoData.UP)
    mask = np.array([sign == "e" for sign in excluded.ljust(len(minutes))], dtype=np.bool_)
    return judged_world(SeriesCounts(start, counts, None, start), terms, mask)


NOTHING = told_nothing(MINUTE)


def names(events: Iterable[Event]) -> list[str]:
    """The events as `name@minute`, `sla.` left out, minutes counted from the start of the world."""
    return [f"{event.name[4:]}@{event.time_unix_nano // NANOS - MINUTE}" for event in events]


@dataclass
class Told:
    """One stretch as a reader of the events knows it."""

    start: str
    counts: bool
    state: str
    stop: str | None = None
    duration: int = 0
    valid: int = 0
    failed: int = 0


def add_up(events: Iterable[Event]) -> dict[str, Told]:
    """The rule of docs/events.md: the stretches that stand after all the events, by `sla.downtime.id`."""
    standing: dict[str, Told] = {}
    for event in events:
        kind, _, what = event.name.rpartition(".")
        if kind not in ("sla.downtime", "sla.excluded_downtime"):
            continue
        told = event.attributes
        key = str(told["sla.downtime.id"])
        if what == "withdrawn":
            del standing[key]
            continue
        standing[key] = Told(str(told["sla.downtime.start"]), kind == "sla.downtime", str(told["sla.minute.state"]))
        if what == "ended":
            standing[key].stop = str(told["sla.downtime.stop"])
            standing[key].duration = int(told["sla.downtime.duration"])
            standing[key].valid = int(told["sla.downtime.requests.valid"])
            standing[key].failed = int(told["sla.downtime.requests.failed"])
    return standing


def minutes_told(events: Iterable[Event], world: JudgedSeries) -> tuple[set[int], set[int], set[int]]:
    """Down minutes that count, all raw ones, and excluded raw ones, by the events alone; an open stretch goes on."""
    texts = {minute_text(minute): minute for minute in range(world.judged.start_minute, world.judged.stop_minute + 1)}
    sets: tuple[set[int], set[int], set[int]] = (set(), set(), set())
    for told in add_up(events).values():
        stop = world.judged.stop_minute if told.stop is None else texts[told.stop]
        minutes = set(range(texts[told.start], stop))
        assert not sets[1] & minutes, "stretches do not overlap"
        sets[1].update(minutes)
        if told.counts:
            sets[0].update(minutes)
        if told.state == "excluded":
            sets[2].update(minutes)
    return sets


def assert_told(events: list[Event], world: JudgedSeries) -> None:
    """The events add up to the world: minutes, and the report's periods with their requests."""
    judged = world.judged
    down, raw, excluded = minutes_told(events, world)

    def minutes_where(is_so: np.ndarray) -> set[int]:
        return set((np.flatnonzero(is_so) + judged.start_minute).tolist())

    assert down == minutes_where(judged.adjusted == MinuteState.DOWN)
    assert raw == minutes_where(judged.raw == MinuteState.DOWN)
    assert excluded == minutes_where((judged.adjusted == MinuteState.EXCLUDED) & (judged.raw == MinuteState.DOWN))
    everything = MinuteRange(judged.start_minute, judged.stop_minute)
    closed = [told for told in add_up(events).values() if told.stop is not None]
    for period in list_periods(everything, world):
        if period.stop_minute == judged.stop_minute:
            continue
        inside = [
            told for told in closed if minute_text(period.start_minute) <= told.start < minute_text(period.stop_minute)
        ]
        assert sum(told.duration for told in inside) == 60 * period.minutes
        assert sum(told.valid for told in inside) == period.valid
        assert sum(told.failed for told in inside) == period.failed


def told_through(worlds: list[JudgedSeries], cause: Cause = Cause.LATE_SPANS) -> list[Event]:
    """All events of a series that went through these worlds."""
    events: list[Event] = []
    old, revision = NOTHING, 0
    for new in worlds:
        story = tell(SUBJECT, old, new, cause, revision)
        events.extend(story.events)
        old, revision = new, story.revision
    return events


def test_a_period_starts_and_ends() -> None:
    """An outage seen minute by minute is told at its first minute and at its last boundary."""
    events = told_through([world_of("..x"), world_of("..xX"), world_of("..xX.")])
    assert names(events) == ["downtime.started@2", "downtime.ended@4"]
    started, ended = events
    assert started.severity is Severity.ERROR
    assert ended.attributes == {
        "service.name": "chat-1",
        "sla.agreement.name": "chat",
        "sla.downtime.id": started.attributes["sla.downtime.id"],
        "sla.downtime.start": minute_text(MINUTE + 2),
        "sla.downtime.stop": minute_text(MINUTE + 4),
        "sla.downtime.duration": 120,
        "sla.downtime.requests.valid": 60,
        "sla.downtime.requests.failed": 40,
        "sla.downtime.peak_error_rate": 0.75,
        "sla.minute.state": "down",
        "sla.revision.number": 0,
    }


def test_nothing_new_is_nothing_told() -> None:
    """A world that is told twice gives no second event; one without downtime gives none at all."""
    assert names(told_through([world_of("..xx"), world_of("..xx")])) == ["downtime.started@2"]
    assert told_through([world_of(".. ."), world_of(".. ...")]) == []


def test_clause_7_a_run_is_told_when_it_is_long_enough() -> None:
    """A run of fewer minutes than a period needs is not told; then it starts at its first minute, without revision."""
    short = [world_of(minutes, period_minutes_min=3) for minutes in (".x", ".xx", ".xx.")]
    assert told_through(short) == []
    long = [world_of(minutes, period_minutes_min=3) for minutes in (".x", ".xx", ".xxx", ".xxxx", ".xxxx.")]
    events = told_through(long)
    assert names(events) == ["downtime.started@1", "downtime.ended@5"]
    assert {event.attributes["sla.revision.number"] for event in events} == {0}


def test_a_period_without_data_has_no_peak() -> None:
    """Silence that counts as down has no error rate."""
    terms = DowntimeTerms(Fraction(1, 20), 1, 1, NoData.DOWN)
    counts = make_counts([(1, 0, 0), (0, 0, 0), (1, 0, 0)])
    new = judged_world(SeriesCounts(MINUTE, counts, None, MINUTE), terms, np.zeros(3, dtype=np.bool_))
    ended = tell(SUBJECT, NOTHING, new, Cause.LATE_SPANS, 0).events[-1]
    assert ended.name == "sla.downtime.ended"
    assert "sla.downtime.peak_error_rate" not in ended.attributes


def test_clause_16_a_period_shrinks_at_its_end() -> None:
    """Late spans take the last minute of an ended period back: it is ended again, earlier, under the same id."""
    events = told_through([world_of(".xxx."), world_of(".xx..")])
    assert names(events) == ["downtime.started@1", "downtime.ended@4", "verdict.revised@3", "downtime.ended@3"]
    revised = events[2].attributes
    assert revised["sla.minute.start"] == minute_text(MINUTE + 3)
    assert (revised["sla.minute.previous_state"], revised["sla.minute.state"]) == ("down", "up")
    assert (revised["sla.revision.cause"], revised["sla.revision.number"]) == ("late_spans", 1)
    assert len({event.attributes["sla.downtime.id"] for event in (events[0], events[1], events[3])}) == 1


def test_clause_16_a_period_splits_and_merges() -> None:
    """A period that falls apart and grows together again is told as two and as one."""
    events = told_through([world_of(".xxx."), world_of(".x.x."), world_of(".xxx.")])
    assert names(events)[2:] == [
        "verdict.revised@2",
        "downtime.ended@2",
        "downtime.started@3",
        "downtime.ended@4",
        "verdict.revised@2",
        "downtime.ended@4",
        "downtime.withdrawn@3",
    ]
    assert_told(events, world_of(".xxx."))


def test_clause_16_a_period_resumes() -> None:
    """A period that had ended goes on when the minute after it turns out to be down."""
    events = told_through([world_of(".xx."), world_of(".xxx"), world_of(".xxxx.")])
    assert names(events)[2:] == ["verdict.revised@3", "downtime.started@1", "downtime.ended@5"]
    assert_told(events, world_of(".xxxx."))


def test_clause_16_only_requests_changed() -> None:
    """Late spans that change no state still change what an ended period says of its requests."""
    events = told_through([world_of(".x."), world_of(".X.")])
    assert names(events)[2:] == ["downtime.ended@2"]
    assert events[2].attributes["sla.downtime.requests.failed"] == 30
    assert events[2].attributes["sla.revision.number"] == 1


def test_clause_13_an_exclusion_recorded_later() -> None:
    """A period that is excluded afterwards is withdrawn and told as excluded downtime; withdrawn, it is back."""
    plain, excluded = world_of(".xx."), world_of(".xx.", excluded=".ee.")
    first = tell(SUBJECT, NOTHING, plain, Cause.LATE_SPANS, 0)
    second = tell(SUBJECT, plain, excluded, Cause.EXCLUSION_ADDED, first.revision)
    third = tell(SUBJECT, excluded, plain, Cause.EXCLUSION_WITHDRAWN, second.revision)
    assert names(second.events) == [
        "verdict.revised@1",
        "downtime.withdrawn@1",
        "excluded_downtime.started@1",
        "excluded_downtime.ended@3",
    ]
    assert second.events[0].attributes["sla.minute.count"] == 2
    assert second.events[0].attributes["sla.minute.raw_state"] == "down"
    assert second.events[2].severity is Severity.INFO
    assert names(third.events) == [
        "verdict.revised@1",
        "excluded_downtime.withdrawn@1",
        "downtime.started@1",
        "downtime.ended@3",
    ]
    assert {event.attributes.get("sla.revision.cause") for event in third.events} == {"exclusion_withdrawn"}
    events = [*first.events, *second.events, *third.events]
    assert len({event.uid for event in events}) == len(events), "told again is another event"
    assert_told(events, plain)


def test_clause_7_a_remnant_beside_an_exclusion() -> None:
    """What an exclusion leaves of a period and is too short to count is told apart, until it has grown."""
    parts = [world_of("xxxx"[:n] + "x" * max(0, n - 4), excluded="eee", period_minutes_min=3) for n in (3, 4, 5, 6)]
    events = told_through(parts)
    assert names(events) == [
        "excluded_downtime.started@0",
        "excluded_downtime.ended@3",
        "excluded_downtime.started@3",
        "excluded_downtime.withdrawn@3",
        "downtime.started@3",
    ]
    assert events[2].attributes["sla.minute.state"] == "up"
    assert {event.attributes["sla.revision.number"] for event in events} == {0}
    assert_told(events, parts[-1])


def test_a_pending_run_that_is_cut_is_a_revision() -> None:
    """Late spans that cut a told run are a revision even while it grows at its end."""
    old, new = world_of(".xxxx", period_minutes_min=3), world_of(".xx.xx", period_minutes_min=3)
    events = told_through([old, new])
    assert names(events) == ["downtime.started@1", "verdict.revised@1", "downtime.withdrawn@1"]
    assert events[1].attributes["sla.minute.count"] == 4
    assert_told(events, new)


def test_clause_16_the_same_fact_has_the_same_uid() -> None:
    """Told again from the same worlds, each event has its uid; another series' events have others."""
    worlds = [world_of(".xx."), world_of(".x..")]
    assert [event.uid for event in told_through(worlds)] == [event.uid for event in told_through(worlds)]
    other = Subject(make_series(group=(("service.name", b"chat-2"),)), SUBJECT.agreement)
    theirs = tell(other, NOTHING, worlds[0], Cause.LATE_SPANS, 0).events
    assert not {event.uid for event in theirs} & {event.uid for event in told_through(worlds)}


def test_groups_that_only_look_alike_have_their_own_uids() -> None:
    """Two groups of which one writes out how the other's bytes are shown have the same text and still are two."""
    subjects = [
        Subject(make_series(group=(("service.name", value),)), SUBJECT.agreement) for value in (b"\xff", b"\\xff")
    ]
    one, two = (tell(subject, NOTHING, world_of("x"), Cause.LATE_SPANS, 0).events[0] for subject in subjects)
    assert one.attributes["service.name"] == two.attributes["service.name"]
    assert one.uid != two.uid
    assert one.attributes["sla.downtime.id"] != two.attributes["sla.downtime.id"]


def test_an_agreement_without_groups_has_a_name() -> None:
    """A series without a group is named by its agreement alone."""
    subject = Subject(make_series(group=()), SUBJECT.agreement)
    assert subject.name == "chat"
    assert SUBJECT.name == "chat (service.name=chat-1)"


@st.composite
def histories(draw: st.DrawFn) -> list[JudgedSeries]:
    """Worlds of one series: minutes come, counts and exclusions of told ones change, the terms change too."""
    minutes: list[str] = []
    excluded: list[str] = []
    worlds = []
    period_minutes_min = draw(st.integers(1, 4))
    for _ in range(draw(st.integers(1, 7))):
        for _ in range(draw(st.integers(0, 5))):
            minutes.append(draw(st.sampled_from("xxX. ")))
            excluded.append(draw(st.sampled_from("..e")))
        for _ in range(draw(st.integers(0, 3)) if minutes else 0):
            at = draw(st.integers(0, len(minutes) - 1))
            minutes[at] = draw(st.sampled_from("xX. "))
            excluded[at] = draw(st.sampled_from(".e"))
        if draw(st.integers(0, 9)) == 0:
            period_minutes_min = draw(st.integers(1, 4))
        worlds.append(world_of("".join(minutes), excluded="".join(excluded), period_minutes_min=period_minutes_min))
    return worlds


@given(histories())
@settings(max_examples=400, derandomize=True, deadline=None)
def test_clause_16_events_alone_add_up_to_the_last_world(worlds: list[JudgedSeries]) -> None:
    """Whatever a series went through, its events add up to the report's minutes and periods, and all differ."""
    events = told_through(worlds)
    assert_told(events, worlds[-1])
    assert len({event.uid for event in events}) == len(events)


@given(histories())
@settings(max_examples=200, derandomize=True, deadline=None)
def test_clause_16_every_told_minute_that_changed_is_named(worlds: list[JudgedSeries]) -> None:
    """A reader that keeps states minute by minute and follows the revisions has the told states."""
    for old, new in pairwise(worlds):
        states = old.judged.adjusted.tolist()
        for event in tell(SUBJECT, old, new, Cause.LATE_SPANS, 0).events:
            first = event.time_unix_nano // NANOS - MINUTE
            told = event.attributes
            if event.name == "sla.verdict.revised":
                for at in range(first, first + int(told["sla.minute.count"])):
                    assert MinuteState(states[at]).wire_name == told["sla.minute.previous_state"]
                    states[at] = MinuteState[str(told["sla.minute.state"]).upper()]
            if event.name == "sla.downtime.started":
                # A run that has grown: its start alone tells that its first minutes are down.
                states[first : len(states)] = new.judged.adjusted[first : len(states)].tolist()
        assert states == new.judged.adjusted[: len(states)].tolist()


NOVEMBER = month_range(Month(2026, 11), "UTC")
PROMISE = Promise.of(SUBJECT.agreement, Month(2026, 11))


def november(minutes: str, **kwargs: int) -> JudgedSeries:
    """A world that starts with the month."""
    return world_of(minutes, start=NOVEMBER.start_minute, **kwargs)


def test_clause_9_the_breach_is_told_once() -> None:
    """The 44th down minute of a month of 43,200 breaks 99.9 %: told once, at that minute's end."""
    start = told_nothing(NOVEMBER.start_minute)
    at_limit, broken = november("x" * 43), november("x" * 44)
    assert tell_breach(SUBJECT, start, at_limit, PROMISE, 0).events == ()
    story = tell_breach(SUBJECT, at_limit, broken, PROMISE, 0)
    assert [event.name for event in story.events] == ["sla.target.breached"]
    assert story.revision == 0
    (event,) = story.events
    assert event.severity is Severity.ERROR
    assert event.time_unix_nano == (NOVEMBER.start_minute + 44) * NANOS
    assert event.attributes["sla.month.downtime_minutes_allowed"] == 43
    assert event.attributes["sla.month.breached_at"] == "2026-11-01T00:44:00Z"
    assert tell_breach(SUBJECT, broken, november("x" * 50), PROMISE, 0).events == ()


def test_clause_9_another_promise_breaks_or_keeps_the_same_month() -> None:
    """With the target changed, the same minutes break a month that was kept, and keep one that was broken."""
    world = november("x" * 44)
    lower = replace(PROMISE, target=Fraction("0.99"))
    story = tell_breach(SUBJECT, world, world, PROMISE, 3, was_promised=lower)
    assert [(event.name, event.attributes["sla.month.target"]) for event in story.events] == [
        ("sla.target.breached", "0.999")
    ]
    assert story.revision == 4
    story = tell_breach(SUBJECT, world, world, lower, 4, was_promised=PROMISE)
    assert [event.name for event in story.events] == ["sla.target.breach_withdrawn"]
    assert tell_breach(SUBJECT, world, world, PROMISE, 5, was_promised=PROMISE).events == ()


def test_clause_15_a_breach_is_taken_back() -> None:
    """An exclusion recorded later makes the month possible again, and its withdrawal breaks it again."""
    broken, saved = november("x" * 44), november("x" * 44, excluded="e")
    story = tell_breach(SUBJECT, broken, saved, PROMISE, 0)
    assert [event.name for event in story.events] == ["sla.target.breach_withdrawn"]
    again = tell_breach(SUBJECT, saved, broken, PROMISE, story.revision)
    assert [event.name for event in again.events] == ["sla.target.breached"]
    first = tell_breach(SUBJECT, told_nothing(NOVEMBER.start_minute), broken, PROMISE, 0)
    assert again.events[0].uid != first.events[0].uid


def test_clause_16_a_breach_that_only_moved_is_no_alarm() -> None:
    """Late spans that move the breaking minute tell it again, quietly."""
    story = tell_breach(SUBJECT, november("x" * 44 + "."), november("." + "x" * 44), PROMISE, 0)
    assert [(event.name, event.severity) for event in story.events] == [("sla.target.breached", Severity.INFO)]
    assert story.revision == 1


def test_clause_7_a_breach_in_the_next_month_is_its_own() -> None:
    """Down minutes outside the month do not break it."""
    outside = world_of("x" * 60, start=NOVEMBER.start_minute - 60)
    assert tell_breach(SUBJECT, told_nothing(NOVEMBER.start_minute - 60), outside, PROMISE, 0).events == ()


def test_a_month_is_closed_and_closed_again() -> None:
    """The figures are told at the month's end; told again they name the event that they replace."""
    counts = np.zeros((NOVEMBER.n_minutes, 3), dtype=np.int64)
    counts[:44] = (10, 10, 1)
    counts[44:, 0] = 7
    series_counts = SeriesCounts(NOVEMBER.start_minute, counts, None, NOVEMBER.start_minute)
    terms = SUBJECT.agreement.downtime
    events = []
    for n_excluded in (0, 4):
        excluded = np.arange(NOVEMBER.n_minutes) < n_excluded
        judged = judged_world(series_counts, terms, excluded)
        figures = month_figures(NOVEMBER, judged, SUBJECT.agreement.target)
        supersedes = events[0].uid if events else None
        events.append(tell_month_closed(SUBJECT, Month(2026, 11), figures, len(events), supersedes))
    first, second = events
    assert first.time_unix_nano == NOVEMBER.stop_minute * NANOS
    assert (first.severity, second.severity) == (Severity.WARN, Severity.INFO)
    assert first.body == "chat (service.name=chat-1): 2026-11 closed with 99.89814 %, 44 minutes of downtime"
    assert first.attributes["sla.month.uptime"] == "0.99898148"
    assert first.attributes["sla.month.is_breached"] is True
    assert second.attributes["sla.month.downtime_minutes"] == 40
    assert second.attributes["sla.month.raw_downtime_minutes"] == 44
    assert second.attributes["sla.revision.supersedes"] == first.uid
