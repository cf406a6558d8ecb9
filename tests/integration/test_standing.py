"""What the judge remembers of series in trouble changes no event: one that remembers nothing tells the same."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from history_parts import EDGE, N_SERIES, History
from test_changed_terms import random_rows, random_terms

from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import StoredEvent
from otel_sla.sla.agreement import Agreement


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
def test_what_comes_between_two_snapshots_of_a_look_is_told_once(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests for minutes that are not sealed, counted while the judge looks: the fold is the report all the same."""
    monkeypatch.setattr("otel_sla.judging.look._SERIES_AT_ONCE", 1)
    rng, states, between = random.Random(seed), dict[int, str](), list[int]()
    history = History(tmp_path, random_terms(rng))

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
