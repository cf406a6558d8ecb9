"""Stories: whoever adds up the events has the report, however the past was revised."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sla_parts import MINUTE, judge_series, make_agreement, make_counts, make_series, nothing_published

from otel_sla.sla.agreement import DowntimeTerms, NoData
from otel_sla.sla.downtime import JudgedSeries, MinuteState, SeriesCounts
from otel_sla.sla.downtime_events import Cause, change_events
from otel_sla.sla.events import Event, Severity, Subject
from otel_sla.sla.figures_text import minute_text
from otel_sla.sla.month_events import Promise, breach_event, month_closed_event
from otel_sla.sla.months import MinuteRange, Month, month_range
from otel_sla.sla.uptime import list_periods, month_figures

SUBJECT = Subject(make_series(), make_agreement())
NANOS = 60_000_000_000


def judged_of(minutes: str, *, excluded: str = "", period_minutes_min: int = 1, start: int = MINUTE) -> JudgedSeries:
    """A judgement written minute by minute: `x` fails, `.` succeeds, a space is silent; `excluded` marks with `e`."""
    rows = {"x": (10, 10, 0), "X": (10, 30, 0), ".": (20, 0, 0), " ": (0, 0, 0)}
    counts = np.array([rows[sign] for sign in minutes], dtype=np.int64).reshape(-1, 3)
    terms = DowntimeTerms(Fraction(1, 20), 1, period_minutes_min, NoData.UP)
    mask = np.array([sign == "e" for sign in excluded.ljust(len(minutes))], dtype=np.bool_)
    return judge_series(SeriesCounts(start, counts, None, start), terms, mask)


NOTHING = nothing_published(MINUTE)


def names(events: Iterable[Event]) -> list[str]:
    """The events as `name@minute`, `sla.` left out, minutes counted from the start of the series."""
    return [f"{event.name[4:]}@{event.time_unix_nano // NANOS - MINUTE}" for event in events]


@dataclass
class Published:
    """One stretch as a reader of the events knows it."""

    start: str
    counts: bool
    state: str
    stop: str | None = None
    duration: int = 0
    valid: int = 0
    failed: int = 0


def add_up(events: Iterable[Event]) -> dict[str, Published]:
    """The rule of docs/events.md: the stretches that stand after all the events, by `sla.downtime.id`."""
    standing: dict[str, Published] = {}
    for event in events:
        kind, _, what = event.name.rpartition(".")
        if kind not in ("sla.downtime", "sla.excluded_downtime"):
            continue
        attributes = event.attributes
        key = str(attributes["sla.downtime.id"])
        if what == "withdrawn":
            del standing[key]
            continue
        standing[key] = Published(
            str(attributes["sla.downtime.start"]), kind == "sla.downtime", str(attributes["sla.minute.state"])
        )
        if what == "ended":
            standing[key].stop = str(attributes["sla.downtime.stop"])
            standing[key].duration = int(attributes["sla.downtime.duration"])
            standing[key].valid = int(attributes["sla.downtime.requests.valid"])
            standing[key].failed = int(attributes["sla.downtime.requests.failed"])
    return standing


def minutes_published(events: Iterable[Event], series: JudgedSeries) -> tuple[set[int], set[int], set[int]]:
    """Down minutes that count, all raw ones, and excluded raw ones, by the events alone; an open stretch goes on."""
    texts = {minute_text(minute): minute for minute in range(series.judged.start_minute, series.judged.stop_minute + 1)}
    sets: tuple[set[int], set[int], set[int]] = (set(), set(), set())
    for published in add_up(events).values():
        stop = series.judged.stop_minute if published.stop is None else texts[published.stop]
        minutes = set(range(texts[published.start], stop))
        assert not sets[1] & minutes, "stretches do not overlap"
        sets[1].update(minutes)
        if published.counts:
            sets[0].update(minutes)
        if published.state == "excluded":
            sets[2].update(minutes)
    return sets


def assert_adds_up(events: list[Event], series: JudgedSeries) -> None:
    """The events add up to the series: minutes, and the report's periods with their requests."""
    judged = series.judged
    down, raw, excluded = minutes_published(events, series)

    def minutes_where(is_so: np.ndarray) -> set[int]:
        return set((np.flatnonzero(is_so) + judged.start_minute).tolist())

    assert down == minutes_where(judged.adjusted == MinuteState.DOWN)
    assert raw == minutes_where(judged.raw == MinuteState.DOWN)
    assert excluded == minutes_where((judged.adjusted == MinuteState.EXCLUDED) & (judged.raw == MinuteState.DOWN))
    everything = MinuteRange(judged.start_minute, judged.stop_minute)
    closed = [published for published in add_up(events).values() if published.stop is not None]
    for period in list_periods(everything, series):
        if period.stop_minute == judged.stop_minute:
            continue
        inside = [
            published
            for published in closed
            if minute_text(period.start_minute) <= published.start < minute_text(period.stop_minute)
        ]
        assert sum(published.duration for published in inside) == 60 * period.minutes
        assert sum(published.valid for published in inside) == period.valid
        assert sum(published.failed for published in inside) == period.failed


def events_of(states: list[JudgedSeries], cause: Cause = Cause.LATE_SPANS) -> list[Event]:
    """All events of a series that went through these states."""
    events: list[Event] = []
    old, revision = NOTHING, 0
    for new in states:
        found = change_events(SUBJECT, old, new, cause, revision)
        events.extend(found.events)
        old, revision = new, found.revision
    return events


def test_a_period_starts_and_ends() -> None:
    """An outage seen minute by minute is published at its first minute and at its last boundary."""
    events = events_of([judged_of("..x"), judged_of("..xX"), judged_of("..xX.")])
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
    """A judgement that is published twice gives no second event; one without downtime gives none at all."""
    assert names(events_of([judged_of("..xx"), judged_of("..xx")])) == ["downtime.started@2"]
    assert events_of([judged_of(".. ."), judged_of(".. ...")]) == []


def test_clause_7_a_run_is_published_when_it_is_long_enough() -> None:
    """A run shorter than a period is not published; then it starts at its first minute, without revision."""
    short = [judged_of(minutes, period_minutes_min=3) for minutes in (".x", ".xx", ".xx.")]
    assert events_of(short) == []
    long = [judged_of(minutes, period_minutes_min=3) for minutes in (".x", ".xx", ".xxx", ".xxxx", ".xxxx.")]
    events = events_of(long)
    assert names(events) == ["downtime.started@1", "downtime.ended@5"]
    assert {event.attributes["sla.revision.number"] for event in events} == {0}


def test_a_period_without_data_has_no_peak() -> None:
    """Silence that counts as down has no error rate."""
    terms = DowntimeTerms(Fraction(1, 20), 1, 1, NoData.DOWN)
    counts = make_counts([(1, 0, 0), (0, 0, 0), (1, 0, 0)])
    new = judge_series(SeriesCounts(MINUTE, counts, None, MINUTE), terms, np.zeros(3, dtype=np.bool_))
    ended = change_events(SUBJECT, NOTHING, new, Cause.LATE_SPANS, 0).events[-1]
    assert ended.name == "sla.downtime.ended"
    assert "sla.downtime.peak_error_rate" not in ended.attributes


def test_clause_16_a_period_shrinks_at_its_end() -> None:
    """Late spans take the last minute of an ended period back: it is ended again, earlier, under the same id."""
    events = events_of([judged_of(".xxx."), judged_of(".xx..")])
    assert names(events) == ["downtime.started@1", "downtime.ended@4", "verdict.revised@3", "downtime.ended@3"]
    revised = events[2].attributes
    assert revised["sla.minute.start"] == minute_text(MINUTE + 3)
    assert (revised["sla.minute.previous_state"], revised["sla.minute.state"]) == ("down", "up")
    assert (revised["sla.revision.cause"], revised["sla.revision.number"]) == ("late_spans", 1)
    assert len({event.attributes["sla.downtime.id"] for event in (events[0], events[1], events[3])}) == 1


def test_clause_16_a_period_splits_and_merges() -> None:
    """A period that falls apart and grows together again is published as two and as one."""
    events = events_of([judged_of(".xxx."), judged_of(".x.x."), judged_of(".xxx.")])
    assert names(events)[2:] == [
        "verdict.revised@2",
        "downtime.ended@2",
        "downtime.started@3",
        "downtime.ended@4",
        "verdict.revised@2",
        "downtime.ended@4",
        "downtime.withdrawn@3",
    ]
    assert_adds_up(events, judged_of(".xxx."))


def test_clause_16_a_period_resumes() -> None:
    """A period that had ended goes on when the minute after it turns out to be down."""
    events = events_of([judged_of(".xx."), judged_of(".xxx"), judged_of(".xxxx.")])
    assert names(events)[2:] == ["verdict.revised@3", "downtime.started@1", "downtime.ended@5"]
    assert_adds_up(events, judged_of(".xxxx."))


def test_clause_16_only_requests_changed() -> None:
    """Late spans that change no state still change what an ended period says of its requests."""
    events = events_of([judged_of(".x."), judged_of(".X.")])
    assert names(events)[2:] == ["downtime.ended@2"]
    assert events[2].attributes["sla.downtime.requests.failed"] == 30
    assert events[2].attributes["sla.revision.number"] == 1


def test_clause_13_an_exclusion_recorded_later() -> None:
    """A period that is excluded afterwards is withdrawn and published as excluded downtime; withdrawn, it is back."""
    plain, excluded = judged_of(".xx."), judged_of(".xx.", excluded=".ee.")
    first = change_events(SUBJECT, NOTHING, plain, Cause.LATE_SPANS, 0)
    second = change_events(SUBJECT, plain, excluded, Cause.EXCLUSION_ADDED, first.revision)
    third = change_events(SUBJECT, excluded, plain, Cause.EXCLUSION_WITHDRAWN, second.revision)
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
    assert len({event.uid for event in events}) == len(events), "published again is another event"
    assert_adds_up(events, plain)


def test_clause_7_a_remnant_beside_an_exclusion() -> None:
    """What an exclusion leaves of a period and is too short to count is published apart, until it has grown."""
    parts = [judged_of("xxxx"[:n] + "x" * max(0, n - 4), excluded="eee", period_minutes_min=3) for n in (3, 4, 5, 6)]
    events = events_of(parts)
    assert names(events) == [
        "excluded_downtime.started@0",
        "excluded_downtime.ended@3",
        "excluded_downtime.started@3",
        "excluded_downtime.withdrawn@3",
        "downtime.started@3",
    ]
    assert events[2].attributes["sla.minute.state"] == "up"
    assert {event.attributes["sla.revision.number"] for event in events} == {0}
    assert_adds_up(events, parts[-1])


def test_a_pending_run_that_is_cut_is_a_revision() -> None:
    """Late spans that cut a published run are a revision even while it grows at its end."""
    old, new = judged_of(".xxxx", period_minutes_min=3), judged_of(".xx.xx", period_minutes_min=3)
    events = events_of([old, new])
    assert names(events) == ["downtime.started@1", "verdict.revised@1", "downtime.withdrawn@1"]
    assert events[1].attributes["sla.minute.count"] == 4
    assert_adds_up(events, new)


def test_clause_16_the_same_fact_has_the_same_uid() -> None:
    """Published again from the same states, each event has its uid; another series' events have others."""
    states = [judged_of(".xx."), judged_of(".x..")]
    assert [event.uid for event in events_of(states)] == [event.uid for event in events_of(states)]
    other = Subject(make_series(group=(("service.name", b"chat-2"),)), SUBJECT.agreement)
    theirs = change_events(other, NOTHING, states[0], Cause.LATE_SPANS, 0).events
    assert not {event.uid for event in theirs} & {event.uid for event in events_of(states)}


def test_groups_that_only_look_alike_have_their_own_uids() -> None:
    """Two groups of which one writes out how the other's bytes are shown have the same text and still are two."""
    subjects = [
        Subject(make_series(group=(("service.name", value),)), SUBJECT.agreement) for value in (b"\xff", b"\\xff")
    ]
    one, two = (change_events(subject, NOTHING, judged_of("x"), Cause.LATE_SPANS, 0).events[0] for subject in subjects)
    assert one.attributes["service.name"] == two.attributes["service.name"]
    assert one.uid != two.uid
    assert one.attributes["sla.downtime.id"] != two.attributes["sla.downtime.id"]


def test_an_agreement_without_groups_has_a_name() -> None:
    """A series without a group is named by its agreement alone."""
    subject = Subject(make_series(group=()), SUBJECT.agreement)
    assert subject.series.phrase == "chat"
    assert SUBJECT.series.phrase == "chat (service.name=chat-1)"


@st.composite
def histories(draw: st.DrawFn) -> list[JudgedSeries]:
    """States of one series: minutes come, counts and exclusions of published ones change, the terms change too."""
    minutes: list[str] = []
    excluded: list[str] = []
    states = []
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
        states.append(judged_of("".join(minutes), excluded="".join(excluded), period_minutes_min=period_minutes_min))
    return states


@given(histories())
@settings(max_examples=400, derandomize=True, deadline=None)
def test_clause_16_events_alone_add_up_to_the_last_state(states: list[JudgedSeries]) -> None:
    """Whatever a series went through, its events add up to the report's minutes and periods, and all differ."""
    events = events_of(states)
    assert_adds_up(events, states[-1])
    assert len({event.uid for event in events}) == len(events)


@given(histories())
@settings(max_examples=200, derandomize=True, deadline=None)
def test_clause_16_every_published_minute_that_changed_is_named(states: list[JudgedSeries]) -> None:
    """A reader that keeps states minute by minute and follows the revisions has the published states."""
    for old, new in pairwise(states):
        states = old.judged.adjusted.tolist()
        for event in change_events(SUBJECT, old, new, Cause.LATE_SPANS, 0).events:
            first = event.time_unix_nano // NANOS - MINUTE
            attributes = event.attributes
            if event.name == "sla.verdict.revised":
                for at in range(first, first + int(attributes["sla.minute.count"])):
                    assert MinuteState(states[at]).wire_name == attributes["sla.minute.previous_state"]
                    states[at] = MinuteState[str(attributes["sla.minute.state"]).upper()]
            if event.name == "sla.downtime.started":
                # A run that has grown: its start alone tells that its first minutes are down.
                states[first : len(states)] = new.judged.adjusted[first : len(states)].tolist()
        assert states == new.judged.adjusted[: len(states)].tolist()


NOVEMBER = month_range(Month(2026, 11), "UTC")
PROMISE = Promise.of(SUBJECT.agreement, Month(2026, 11))


def november(minutes: str, **kwargs: int) -> JudgedSeries:
    """A judgement that starts with the month."""
    return judged_of(minutes, start=NOVEMBER.start_minute, **kwargs)


def test_clause_9_the_breach_is_published_once() -> None:
    """The 44th down minute of a month of 43,200 breaks 99.9 %: published once, at that minute's end."""
    start = nothing_published(NOVEMBER.start_minute)
    at_limit, broken = november("x" * 43), november("x" * 44)
    assert breach_event(SUBJECT, start, at_limit, PROMISE, 0).events == ()
    found = breach_event(SUBJECT, at_limit, broken, PROMISE, 0)
    assert [event.name for event in found.events] == ["sla.target.breached"]
    assert found.revision == 0
    (event,) = found.events
    assert event.severity is Severity.ERROR
    assert event.time_unix_nano == (NOVEMBER.start_minute + 44) * NANOS
    assert event.attributes["sla.month.downtime_minutes_allowed"] == 43
    assert event.attributes["sla.month.breached_at"] == "2026-11-01T00:44:00Z"
    assert breach_event(SUBJECT, broken, november("x" * 50), PROMISE, 0).events == ()


def test_clause_9_another_promise_breaks_or_keeps_the_same_month() -> None:
    """With the target changed, the same minutes break a month that was kept, and keep one that was broken."""
    series = november("x" * 44)
    lower = replace(PROMISE, target=Fraction("0.99"))
    found = breach_event(SUBJECT, series, series, PROMISE, 3, was_promised=lower)
    assert [(event.name, event.attributes["sla.month.target"]) for event in found.events] == [
        ("sla.target.breached", "0.999")
    ]
    assert found.revision == 4
    found = breach_event(SUBJECT, series, series, lower, 4, was_promised=PROMISE)
    assert [event.name for event in found.events] == ["sla.target.breach_withdrawn"]
    assert breach_event(SUBJECT, series, series, PROMISE, 5, was_promised=PROMISE).events == ()


def test_clause_15_a_breach_is_taken_back() -> None:
    """An exclusion recorded later makes the month possible again, and its withdrawal breaks it again."""
    broken, saved = november("x" * 44), november("x" * 44, excluded="e")
    found = breach_event(SUBJECT, broken, saved, PROMISE, 0)
    assert [event.name for event in found.events] == ["sla.target.breach_withdrawn"]
    again = breach_event(SUBJECT, saved, broken, PROMISE, found.revision)
    assert [event.name for event in again.events] == ["sla.target.breached"]
    first = breach_event(SUBJECT, nothing_published(NOVEMBER.start_minute), broken, PROMISE, 0)
    assert again.events[0].uid != first.events[0].uid


def test_clause_16_a_breach_that_only_moved_is_no_alarm() -> None:
    """Late spans that move the breaking minute tell it again, quietly."""
    found = breach_event(SUBJECT, november("x" * 44 + "."), november("." + "x" * 44), PROMISE, 0)
    assert [(event.name, event.severity) for event in found.events] == [("sla.target.breached", Severity.INFO)]
    assert found.revision == 1


def test_clause_7_a_breach_in_the_next_month_is_its_own() -> None:
    """Down minutes outside the month do not break it."""
    outside = judged_of("x" * 60, start=NOVEMBER.start_minute - 60)
    assert breach_event(SUBJECT, nothing_published(NOVEMBER.start_minute - 60), outside, PROMISE, 0).events == ()


def test_a_month_is_closed_and_closed_again() -> None:
    """The figures are published at the month's end; published again they name the event that they replace."""
    counts = np.zeros((NOVEMBER.n_minutes, 3), dtype=np.int64)
    counts[:44] = (10, 10, 1)
    counts[44:, 0] = 7
    series_counts = SeriesCounts(NOVEMBER.start_minute, counts, None, NOVEMBER.start_minute)
    terms = SUBJECT.agreement.downtime
    events = []
    for n_excluded in (0, 4):
        excluded = np.arange(NOVEMBER.n_minutes) < n_excluded
        judged = judge_series(series_counts, terms, excluded)
        figures = month_figures(NOVEMBER, judged, SUBJECT.agreement.target)
        supersedes = events[0].uid if events else None
        events.append(month_closed_event(SUBJECT, Month(2026, 11), figures, len(events), supersedes))
    first, second = events
    assert first.time_unix_nano == NOVEMBER.stop_minute * NANOS
    assert (first.severity, second.severity) == (Severity.WARN, Severity.INFO)
    assert first.body == "chat (service.name=chat-1): 2026-11 closed with 99.89814 %, 44 minutes of downtime"
    assert first.attributes["sla.month.uptime"] == "0.99898148"
    assert first.attributes["sla.month.is_breached"] is True
    assert second.attributes["sla.month.downtime_minutes"] == 40
    assert second.attributes["sla.month.raw_downtime_minutes"] == 44
    assert second.attributes["sla.revision.supersedes"] == first.uid
