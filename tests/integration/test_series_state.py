"""What the judge remembers of series in trouble changes no event: one that remembers nothing tells the same."""

import random
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from history_parts import EDGE, N_SERIES, History
from sla_parts import make_agreement, make_terms
from test_changed_terms import random_rows, random_terms

from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Closing, StoredEvent
from otel_sla.sla.agreement import Agreement, NoData


def told(history: History) -> list[StoredEvent]:
    """Every event, in the order of writing."""
    return list(history.reader.events_after(0, 1_000_000))


def long_rows(
    rng: random.Random, start: int, stop: int, states: dict[int, str]
) -> list[tuple[int, int, int, int, int]]:
    """Traffic whose outages and silences last for many looks."""
    rows = []
    for minute in range(start, stop):
        for series_id in range(N_SERIES):
            if rng.random() < 0.06:
                states[series_id] = rng.choice(["up", "down", "silent", "few", "invalid"])
            succeeded, failed, invalid = {
                "up": (9, 0, 0),
                "down": (3, 7, 1),
                "silent": (0, 0, 0),
                "few": (rng.choice([0, 1]), rng.choice([0, 1]), 0),
                "invalid": (0, 0, 2),
            }[states.get(series_id, "up")]
            if succeeded + failed + invalid:
                rows.append((minute, series_id, succeeded, failed, invalid))
    return rows


def story(folder: Path, terms: Agreement, seed: int, *, is_forgetful: bool) -> History:
    """Two hours across the months' edge, told minute by minute, with late spans, exclusions and other terms."""
    folder.mkdir()
    history, rng, states = History(folder, terms), random.Random(seed), dict[int, str]()
    while history.now < EDGE + 70:
        step = rng.choice([1, 1, 1, 1, 2, 5])
        history.count(long_rows(rng, history.now, history.now + step, states))
        history.now += step
        if rng.random() < 0.1:
            late_from = max(history.sealed_before, history.now - 30)
            history.count(
                rng.sample(rows, len(rows) // 9) if (rows := random_rows(rng, late_from, history.now)) else []
            )
        if rng.random() < 0.05:
            history.exclude(history.now + rng.randint(-20, 10), rng.randint(1, 15))
        if rng.random() < 0.02:
            history.restart(replace(random_terms(rng), time_zone=terms.time_zone))
        if rng.random() < 0.3:
            history.sealed_before = max(history.sealed_before, history.now - 40)
        if is_forgetful:
            history.forget()
        history.judge()
    return history


@pytest.mark.parametrize("seed", range(12))
def test_a_judge_that_remembers_tells_what_one_without_memory_tells(seed: int, tmp_path: Path) -> None:
    """Outages of many looks, under any terms: the same events, in the same order."""
    terms = random_terms(random.Random(seed))
    remembering = story(tmp_path / "remembering", terms, seed, is_forgetful=False)
    forgetful = story(tmp_path / "forgetful", terms, seed, is_forgetful=True)
    assert told(remembering) == told(forgetful)
    assert any(stored.event.name == "sla.downtime.ended" for stored in told(remembering))
    remembering.assert_adds_up(f"seed {seed}")
    remembering.stop()
    forgetful.stop()


@pytest.mark.parametrize("seed", range(6))
def test_what_comes_between_two_snapshots_of_a_pass_is_published_once(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests for minutes that are not sealed, counted while the judge works: the fold is the report all the same."""
    rng, states, between = random.Random(seed), dict[int, str](), list[int]()
    history = History(tmp_path, random_terms(rng), series_per_snapshot_max=1)

    def renew() -> None:
        between.append(history.now)
        if rng.random() < 0.3 and len(between) < 200:
            late = random_rows(rng, max(history.sealed_before, history.now - 30), history.now)
            history.count(rng.sample(late, len(late) // 6))
        LedgerReader.renew_snapshot(history.reader)

    while history.now < EDGE + 70:
        step = rng.choice([1, 2, 5, 11])
        history.count(long_rows(rng, history.now, history.now + step, states))
        history.now += step
        if rng.random() < 0.1:
            history.exclude(history.now + rng.randint(-20, 10), rng.randint(1, 15))
        if rng.random() < 0.1:
            history.restart(replace(random_terms(rng), time_zone=history.agreement.time_zone))
        if rng.random() < 0.3:
            history.sealed_before = max(history.sealed_before, history.now - 40)
        monkeypatch.setattr(history.reader, "renew_snapshot", renew)
        history.judge()
    history.judge()
    history.assert_adds_up(f"seed {seed}")
    assert len(between) > 50
    history.stop()


Play = Callable[[History, Callable[[str], None]], None]
# Succeeded and failed requests of a minute: up, down, 1 in 5 failed, too few of them, no request.
MINUTES = {"u": (9, 0), "d": (0, 9), "f": (8, 2), "l": (1, 0), ".": (0, 0)}


def told_alike(folder: Path, terms: Agreement, play: Play) -> History:
    """Play it before a judge that remembers and before one that forgets; gives what the first one told, which is right.

    `play` gets a history of one service and what tells it minute by minute, by the signs of `MINUTES`.
    """
    histories = []
    for is_forgetful in (False, True):
        (folder / str(is_forgetful)).mkdir()
        history = History(folder / str(is_forgetful), replace(terms, group_by=()))

        def tell(story: str, history: History = history, is_forgetful: bool = is_forgetful) -> None:  # noqa: FBT001
            for sign in story:
                history.count([(history.now, 0, *MINUTES[sign], 0)] if sign != "." else [])
                history.now += 1
                if is_forgetful:
                    history.forget()
                history.judge()

        history.now += 1
        play(history, tell)
        histories.append(history)
    remembering, forgetful = histories
    assert told(remembering) == told(forgetful)
    forgetful.stop()
    return remembering


def breaches(history: History) -> list[int]:
    """When promises were broken, by minutes behind the months' edge."""
    return [
        stored.event.time_unix_nano // 60_000_000_000 - EDGE
        for stored in told(history)
        if stored.event.name == "sla.target.breached"
    ]


ALLOWS_10 = replace(make_agreement(), target=1 - Fraction(10, 43_200))  # Minutes of either month.


@pytest.mark.parametrize("story", ["ddl....u", "ddlll...u", "ddl.l..lu", "uul....u", "dd.l.l..dd"])
def test_low_traffic_does_not_end_what_is_carried(story: str, tmp_path: Path) -> None:
    """Down, then too few requests, then silence: down again, also where nobody had to look at the few."""
    terms = make_agreement(downtime=make_terms(valid_requests_min=2, no_data=NoData.CARRY))
    history = told_alike(tmp_path, terms, lambda _, tell: tell(story))
    start = EDGE - 59
    down, is_carried = set(), False
    for minute, sign in enumerate(story, start):
        is_carried = {"d": True, "u": False}.get(sign, is_carried)
        down |= {minute} if sign != "l" and is_carried else set()
    assert set().union(*history.told_down().values()) == down
    history.assert_adds_up("in the end")
    history.stop()


@pytest.mark.parametrize(
    ("october", "november", "breached"),
    [
        ("d" * 8 + "u" * 51, "uuu" + "d" * 12, [14]),  # Ended, and nobody looked at it across the edge.
        ("u" * 51 + "d" * 8, "d" * 12, [11]),  # Going on across it.
        ("d" * 8 + "u" * 49 + "du", "uud" * 12, [33]),
        ("d" * 12 + "u" * 47, "d" * 12, [-48, 11]),
    ],
)
def test_a_month_begins_with_no_minute_down(october: str, november: str, breached: list[int], tmp_path: Path) -> None:
    """What is remembered of October breaks no promise of November."""
    history = told_alike(tmp_path, ALLOWS_10, lambda _, tell: tell(october + november))
    assert breaches(history) == breached
    history.assert_adds_up("in the end")
    history.stop()


def test_a_look_across_the_edge_leaves_october_behind(tmp_path: Path) -> None:
    """The last down minute of October and the first ones of November in one look."""

    def play(history: History, tell: Callable[[str], None]) -> None:
        tell("ddddd" + "u" * 51)
        history.count([(EDGE - 2, 0, 0, 9, 0), (EDGE - 1, 0, 9, 0, 0), (EDGE, 0, 9, 0, 0)])
        history.now = EDGE
        tell("u" + "d" * 12)

    history = told_alike(tmp_path, ALLOWS_10, play)
    assert breaches(history) == [12]
    history.assert_adds_up("in the end")
    history.stop()


def test_where_no_minute_may_be_down_the_first_of_a_month_breaks_its_promise(tmp_path: Path) -> None:
    """An outage that goes on across the edge, of a target of 100 %, with one look for the minutes on both sides."""

    def play(history: History, tell: Callable[[str], None]) -> None:
        tell("u" * 50 + "d" * 7)
        history.count([(EDGE - 2, 0, 0, 9, 0), (EDGE - 1, 0, 0, 9, 0)])
        history.now = EDGE
        tell("dd")

    history = told_alike(tmp_path, replace(ALLOWS_10, target=Fraction(1)), play)
    assert breaches(history) == [-8, 1]
    history.assert_adds_up("in the end")
    history.stop()


@pytest.mark.parametrize("lost", range(14))
def test_a_closing_that_was_not_written_is_not_remembered(lost: int, tmp_path: Path) -> None:
    """Whichever look's closing is lost, the next one tells all of it."""

    def play(history: History, tell: Callable[[str], None]) -> None:
        for place, sign in enumerate("uuddd.dduu..du"):
            if place != lost:
                tell(sign)
                continue
            history.count([(history.now, 0, *MINUTES[sign], 0)] if sign != "." else [])
            history.now += 1
            history.ledger.close_minutes(Closing(judged_before=history.now, sealed_before=None))
            history.find()
        tell("uu")

    history = told_alike(tmp_path, replace(ALLOWS_10, target=1 - Fraction(4, 43_200)), play)
    assert len(breaches(history)) == 1
    history.assert_adds_up("in the end")
    history.stop()


def test_what_closed_months_terms_judged_is_not_counted_twice(tmp_path: Path) -> None:
    """October was closed in a zone where it ends 8 hours later, by a limit of 50 %; now it is 5 %, in UTC.

    What fails to a fifth was up by the former terms, and is down by those of today, which judge the outage behind it.
    """
    former = replace(ALLOWS_10, time_zone="Etc/GMT+8", downtime=make_terms(Fraction(1, 2)))
    edge = EDGE + 8 * 60

    def play(history: History, tell: Callable[[str], None]) -> None:
        history.now = edge - 20
        tell("u" * 8 + "dddffff" + "ddddd")
        history.sealed_before = edge
        tell("d")
        history.restart(replace(former, group_by=(), time_zone="UTC", downtime=make_terms()))
        tell("dddduud" + "uudd")

    history = told_alike(tmp_path, former, play)
    assert breaches(history) == [8 * 60 + 3]
    history.stop()
