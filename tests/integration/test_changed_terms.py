"""An agreement whose terms change while its ledger goes on: the events still add up to the reports."""

import random
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from history_parts import EDGE, EPOCH, N_SERIES, OCTOBER, History
from ledger_parts import make_window
from sla_parts import make_agreement, make_terms

from otel_sla.ledger.reader import LedgerReader
from otel_sla.sla.agreement import Agreement, Counting, ExclusionReason, ExclusionTerms, NoData
from otel_sla.sla.counts import COUNT_MAX


def random_terms(rng: random.Random) -> Agreement:
    """Terms of which few are alike, on requests or adjusted counts; a target that some of the histories miss."""
    downtime = make_terms(
        rng.choice([Fraction(1, 20), Fraction(1, 10), Fraction(1, 2)]),
        valid_requests_min=rng.choice([1, 1, 4]),
        period_minutes_min=rng.choice([1, 1, 2, 5]),
        no_data=rng.choice(list(NoData)),
    )
    start = EPOCH + timedelta(minutes=EDGE + rng.randint(-50, 50))
    window = replace(
        make_window(),
        reason=ExclusionReason.FORCE_MAJEURE,
        start=start,
        stop=start + timedelta(minutes=rng.randint(1, 30)),
        group=None,
    )
    exclusions = ExclusionTerms(3, (), (window,) if rng.random() < 0.3 else ())
    target = 1 - Fraction(rng.choice([2, 10, 40]), 43_200)
    return replace(
        make_agreement(downtime=downtime, target=target, exclusions=exclusions), counting=rng.choice(list(Counting))
    )


def random_rows(rng: random.Random, start: int, stop: int) -> list[tuple[int, ...]]:
    """Traffic with outages of all lengths and silences; in some minutes it stands for more, up to what can be kept."""
    rows = []
    for series_id in range(N_SERIES):
        failed = 0
        for minute in range(start, stop):
            if rng.random() < 0.3:
                failed = rng.choice([0, 0, 1, 5])
            if rng.random() < 0.8:
                succeeded = rng.choice([0, 3, 10])
                sampled = min(succeeded + failed, 2)
                succeeded_excess = rng.choice([0, 0, 15 << 20, 1 << 40, COUNT_MAX]) if succeeded else 0
                failed_excess = rng.choice([0, 0, 3 << 20, 1 << 38, COUNT_MAX]) if failed else 0
                excess = (succeeded_excess, failed_excess, 0)
                rows.append((minute, series_id, succeeded, failed, 0, 0, sampled, sampled, *excess))
    return rows


@pytest.mark.parametrize("seed", range(15))
def test_events_add_up_to_the_reports_through_changed_terms(seed: int, tmp_path: Path) -> None:
    """Terms that change in open months and beside closed ones, late spans and crashes: the fold is the report."""
    rng = random.Random(seed)
    history = History(tmp_path, random_terms(rng))
    while history.now < EDGE + 60:
        step = rng.randint(1, 25)
        history.count(random_rows(rng, history.now, history.now + step))
        history.now += step
        late_from = max(history.sealed_before, history.now - 30)
        if rng.random() < 0.4:
            history.count(rng.sample(late := random_rows(rng, late_from, history.now), min(3, len(late))))
        if rng.random() < 0.4:
            history.sealed_before = max(history.sealed_before, history.now - rng.choice([0, 5, 40]))
        history.judge(closings_max=rng.choice([0, 1, 100]))
        if rng.random() < 0.4:
            history.restart(random_terms(rng))
        history.judge()
        history.assert_adds_up(f"seed {seed}, minute {history.now - EDGE}")
    history.assert_gauges_agree(f"seed {seed}")
    history.stop()


@pytest.mark.parametrize("seed", range(15))
def test_events_add_up_through_regrouping_removal_and_return(seed: int, tmp_path: Path) -> None:
    """The agreement goes, comes back and is grouped otherwise, with crashes between: the fold is the report."""
    rng = random.Random(1000 + seed)
    history = History(tmp_path, random_terms(rng), piece_minutes_max=rng.choice([3, 20, 250_000]))
    while history.now < EDGE + 90:
        step = rng.randint(1, 25)
        history.count(random_rows(rng, history.now, history.now + step))
        history.now += step
        if rng.random() < 0.4:
            late_from = max(history.sealed_before, history.now - 30)
            history.count(rng.sample(late := random_rows(rng, late_from, history.now), min(3, len(late))))
        if rng.random() < 0.4:
            history.sealed_before = max(history.sealed_before, history.now - rng.choice([0, 5, 40]))
        history.judge(closings_max=rng.choice([0, 1, 2, 100]))
        if rng.random() < 0.2:
            history.exclude(history.now + rng.randint(-60, 20), rng.randint(1, 30))
        if rng.random() < 0.5:
            terms = random_terms(rng) if rng.random() < 0.3 else history.agreement
            keys = rng.choice([("service.name",), ("service.name",), ("host.name",), ()])
            terms = replace(terms, group_by=keys, counting=rng.choice(list(Counting)))
            history.restart(None if rng.random() < 0.4 else terms)
            history.judge(closings_max=rng.choice([0, 1, 2, 100]))
        if rng.random() < 0.7:
            history.judge()
            history.assert_adds_up(f"seed {seed}, minute {history.now - EDGE}")
    history.judge()
    history.assert_adds_up(f"seed {seed}, end")
    history.assert_gauges_agree(f"seed {seed}")
    history.stop()


def outage(folder: Path) -> History:
    """Three minutes of which every tenth request failed, told by the limit of 5 %."""
    history = History(folder, make_agreement())
    history.count([(history.now + n, 0, 9, 1, 0) for n in range(1, 4)])
    history.now += 10
    history.judge()
    assert len(history.told_down()["chat-0"]) == 3
    return history


def test_a_changed_limit_is_told_once_with_its_cause(tmp_path: Path) -> None:
    """By 20 % the minutes are up: the period is withdrawn, the cause is the configuration, and that is told once."""
    history = outage(tmp_path)
    history.restart(make_agreement(downtime=make_terms(Fraction(1, 5))))
    history.judge()
    assert history.told_down()["chat-0"] == set()
    assert history.causes() == ["configuration"]
    n_told = len(history.reader.events_after(0, 1000))
    history.restart(history.agreement)
    history.judge()
    assert len(history.reader.events_after(0, 1000)) == n_told
    assert history.reader.published_versions() == {"chat": 2}
    history.stop()


def test_a_closed_month_keeps_what_was_told_of_it(tmp_path: Path) -> None:
    """The month was closed by 5 %: another limit changes neither its report nor its events."""
    history = outage(tmp_path)
    history.now = history.sealed_before = EDGE + 10
    history.judge()
    before = history.report(OCTOBER)
    history.restart(make_agreement(downtime=make_terms(Fraction(1, 5)), target=Fraction(1, 2)))
    history.judge()
    assert history.report(OCTOBER) == before
    assert len(history.told_down()["chat-0"]) == 3
    assert history.causes() == []
    history.stop()


def test_an_outage_under_another_grouping_is_ended(tmp_path: Path) -> None:
    """Grouped by other keys from now on: what is down by the old ones does not stay down for ever."""
    history = History(tmp_path, make_agreement())
    history.count([(history.now + n, 0, 0, 1, 0) for n in range(1, 5)])
    history.now += 5
    history.judge()
    history.restart(replace(history.agreement, group_by=("host.name",)))
    history.judge()
    history.now += 100
    history.judge()
    assert history.told_down()["chat-0"] == set(range(EDGE - 59, EDGE - 55))
    with closing(LedgerReader.open(history.url)) as reader:
        names = [stored.event.name for stored in reader.events_after(0, 10)]
    assert names == ["sla.downtime.started", "sla.downtime.ended"]
    history.stop()
