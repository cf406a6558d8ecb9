"""Closed months are told again when something beside them changes them, and never judged by a part of their counts."""

from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from history_parts import EDGE, EPOCH, N_SERIES, NOVEMBER, OCTOBER, History
from ledger_parts import make_window
from sla_parts import make_agreement, make_terms

from otel_sla.judging.exclusion_effect import effects_of, figures_before
from otel_sla.ledger.exclusion_writer import ExclusionWriter
from otel_sla.sla.agreement import ExclusionReason
from otel_sla.sla.months import Month, expire_before, month_range

FIVE_IN_A_ROW = make_agreement(downtime=make_terms(period_minutes_min=5))


def _closings(history: History) -> list[tuple[str, str, int, int]]:
    """What months were closed with: month, service, minutes of downtime, number of the revision."""
    keys = ("sla.month.name", "service.name", "sla.month.downtime_minutes", "sla.revision.number")
    events = [stored.event for stored in history.reader.events_after(0, 1_000_000)]
    return [
        tuple(event.attributes[key] for key in keys)  # type: ignore[misc]
        for event in events
        if event.name == "sla.month.closed"
    ]


def _downtime(history: History, month: Month) -> int:
    return cast(dict[str, int], history.report(month)["chat-0"]["minutes"])["down"]


def test_an_exclusion_beside_a_closed_month_closes_it_again(tmp_path: Path) -> None:
    """What is left of a run in November is too short once October's part is excluded: both months are closed again."""
    history = History(tmp_path, FIVE_IN_A_ROW)
    history.count([(EDGE + minute, 0, 0, 5, 0) for minute in range(-3, 3)])
    history.now = history.sealed_before = month_range(NOVEMBER.next, "UTC").start_minute + 10
    history.judge()
    start, stop = EPOCH + timedelta(minutes=EDGE - 3), EPOCH + timedelta(minutes=EDGE)
    window = replace(make_window(), reason=ExclusionReason.FORCE_MAJEURE, start=start, stop=stop, group=None)
    with closing(ExclusionWriter.open(history.url)) as notebook:
        notebook.record_exclusion("chat", window, {})
    history.judge()
    assert [(closed[0], *closed[2:]) for closed in _closings(history) if closed[1] == "chat-0"] == [
        ("2026-10", 3, 0),
        ("2026-11", 3, 0),
        ("2026-10", 0, 1),
        ("2026-11", 0, 1),
    ]
    assert _downtime(history, NOVEMBER) == 0
    history.stop()


def test_late_spans_beside_a_closed_month_close_it_again(tmp_path: Path) -> None:
    """October's last minutes are downtime with November's first ones, of which one turns out to be up."""
    history = History(tmp_path, FIVE_IN_A_ROW)
    history.count([(EDGE + minute, 0, 0, 5, 0) for minute in range(-3, 2)])
    history.now, history.sealed_before = EDGE + 60, EDGE
    history.judge()
    history.count([(EDGE + 1, 0, 1000, 0, 0)])
    history.judge()
    assert [closed[2:] for closed in _closings(history) if closed[1] == "chat-0"] == [(3, 0), (0, 1)]
    assert _downtime(history, OCTOBER) == 0
    history.stop()


def test_a_month_that_ended_in_another_time_zone_is_closed(tmp_path: Path) -> None:
    """By the new zone October was over before anybody looked, by the old one it never was: it is closed once."""
    history = History(tmp_path, make_agreement())
    history.count([(EDGE - 20 * 60, 0, 0, 5, 0)])
    history.now = history.sealed_before = EDGE - 50
    history.judge()
    history.restart(replace(make_agreement(), time_zone="Asia/Tokyo"))
    for _ in range(2):
        history.now, history.sealed_before = history.now + 3 * 1440, history.now + 2 * 1440
        history.judge()
    assert _closings(history) == [("2026-10", "chat-0", 1, 0)]
    history.stop()


def test_a_month_that_ended_while_the_agreement_was_left_out_is_closed(tmp_path: Path) -> None:
    """The agreement comes back in November: its October is closed then, once."""
    history = History(tmp_path, make_agreement())
    history.now = history.sealed_before = EDGE - 30
    history.judge()
    history.restart(replace(make_agreement(), name="other"))
    history.now = history.sealed_before = EDGE + 100
    history.judge()
    history.restart(make_agreement())
    for _ in range(2):
        history.now = history.sealed_before = history.now + 50
        history.judge()
    assert _closings(history) == [("2026-10", f"chat-{number}", 0, 0) for number in range(N_SERIES)]
    history.stop()


def test_a_month_whose_counts_are_dropped_is_not_judged_again(tmp_path: Path) -> None:
    """The retention goes by whole months: what a month was closed with stays what it is, and the report says so."""
    history = History(tmp_path, make_agreement())
    history.count([(EDGE - 9 * 1440 + minute, 0, 0, 5, 0) for minute in range(700)])
    history.now = history.sealed_before = EDGE + 100
    history.judge()
    told = _closings(history)
    history.ledger.expire(expire_before(EDGE - 5 * 1440))
    assert _downtime(history, OCTOBER) == 700, "a month of which a day has to be kept stays whole"
    history.ledger.expire(expire_before(EDGE + 5 * 1440))
    assert _downtime(history, OCTOBER) == 700, "what it was closed with"
    window = replace(make_window(), start=EPOCH + timedelta(minutes=EDGE - 9 * 1440), group=None)
    with closing(ExclusionWriter.open(history.url)) as notebook:
        records = notebook.exclusions()
        (october, *_) = effects_of(notebook, history.agreement, window, (records, records), history.now)
        assert not october.is_kept
        assert figures_before((october,)) == {"months": []}
        notebook.record_exclusion("chat", window, {})
    history.judge()
    history.restart(history.agreement)
    history.now = history.sealed_before = history.now + 50
    history.judge()
    assert _closings(history) == told
    history.stop()


@pytest.mark.parametrize(("time_zone", "at_minute"), [("America/New_York", 60), ("Asia/Tokyo", -120)])
def test_a_closed_month_keeps_its_promise_in_another_time_zone(
    tmp_path: Path, time_zone: str, at_minute: int, caplog: pytest.LogCaptureFixture
) -> None:
    """An hour of downtime beside the edge: October was closed with it or without it, and its breach stays that.

    Which minutes are in no month, or in two, is said once.
    """
    history = History(tmp_path, make_agreement())
    history.count([(EDGE + at_minute + minute, 0, 0, 5, 0) for minute in range(50)])
    history.now = history.sealed_before = EDGE + 700
    history.judge()
    was = history.told_breached(OCTOBER)["chat-0"]
    assert was is (at_minute < 0)
    history.restart(replace(make_agreement(), time_zone=time_zone))
    for _ in range(2):
        history.judge()
        history.now += 60
    assert history.told_breached(OCTOBER)["chat-0"] is was
    assert history.report(OCTOBER)["chat-0"]["breached"] is was
    (said,) = [record.getMessage() for record in caplog.records if "months begin in" in record.getMessage()]
    edge = {
        "America/New_York": "the 240 minutes from 2026-11-01T00:00:00Z to 2026-11-01T04:00:00Z are in the report of no"
        " month, as 2026-10 is closed",
        "Asia/Tokyo": "the 540 minutes from 2026-10-31T15:00:00Z to 2026-11-01T00:00:00Z are in 2026-10, which is"
        " closed, and 2026-11",
    }
    assert said.endswith(edge[time_zone])
    history.stop()
