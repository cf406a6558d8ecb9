"""What the page keeps in memory, brought up to date step by step, is what a first look at the ledger finds."""

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from history_parts import EDGE, EPOCH, N_SERIES, OCTOBER, History
from page_api_parts import read_all
from sla_parts import make_agreement, make_terms

from otel_sla.ledger.exclusion_writer import ExclusionWriter
from otel_sla.ledger.reader import LedgerReader
from otel_sla.page.figures import Figures, FiguresReader
from otel_sla.sla.agreement import NoData
from otel_sla.sla.counts import MINUTES_PER_DAY

LATE_MINUTES = 2 * MINUTES_PER_DAY  # How long a minute stays open.


def assert_same(kept: Figures, fresh: Figures) -> None:
    """The same months, reports and days."""
    assert kept.judged_before == fresh.judged_before
    assert kept.series == fresh.series
    assert [each.agreement for each in kept.agreements] == [each.agreement for each in fresh.agreements]
    for one, other in zip(kept.agreements, fresh.agreements, strict=True):
        assert list(one.months) == list(other.months)
        for month in one.months:
            assert one.months[month].report == other.months[month].report, month
            assert one.months[month].days.keys() == other.months[month].days.keys()
            for series_id, days in one.months[month].days.items():
                np.testing.assert_array_equal(days, other.months[month].days[series_id])


def random_changes(history: History, draw: random.Random) -> Iterator[Callable[[], object]]:
    """Spans of now and of before, time that passes, exclusions that come and go, and a backend that is quick."""
    excluded, numbers = list[int](), count(1)
    while True:
        oldest = max(history.sealed_before, history.now - LATE_MINUTES)
        minutes = [draw.randrange(oldest, history.now + 1) for _ in range(draw.randrange(1, 12))]
        rows = [(minute, draw.randrange(N_SERIES), draw.randrange(4), draw.randrange(4), 0) for minute in minutes]
        passing = draw.choice((1, 3, 700, MINUTES_PER_DAY, 9 * MINUTES_PER_DAY))

        def pass_time(passing: int = passing) -> None:
            history.now += passing
            history.sealed_before = max(history.sealed_before, history.now - LATE_MINUTES)
            history.judge()

        def exclude() -> None:
            history.exclude(history.now - draw.randrange(1, 60_000), draw.randrange(1, 3000))
            excluded.append(next(numbers))

        def withdraw() -> None:
            if excluded:
                number = excluded.pop(draw.randrange(len(excluded)))
                with closing(ExclusionWriter.open(history.url)) as writer:
                    writer.withdraw_exclusion(number, withdrawn_by="anna", withdrawn_at=EPOCH, why="ours")

        def deliver() -> None:
            replacement_id, event_id = history.reader.last_ids()
            history.ledger.advance_cursor(
                "quick", event_id=event_id, exported_before=history.now, replacement_id=replacement_id
            )

        yield draw.choice(
            (lambda rows=rows: history.count(rows), pass_time, pass_time, exclude, withdraw, history.judge, deliver)
        )


@pytest.mark.parametrize("seed", range(6))
def test_step_by_step_is_what_a_first_look_finds(tmp_path: Path, seed: int) -> None:
    """Late spans over a month's edge, exclusions, closings, deliveries: after each pass of the judge both agree."""
    draw = random.Random(seed)
    no_data = draw.choice(tuple(NoData))
    terms = make_terms(no_data=no_data, period_minutes_min=draw.choice((1, 3, 2000)))
    history = History(tmp_path, make_agreement(downtime=terms))
    history.judge()
    changes = random_changes(history, draw)
    with closing(LedgerReader.open(history.url)) as reader, closing(LedgerReader.open(history.url)) as other:
        kept = FiguresReader(reader, history.configured)
        for _ in range(60):
            next(changes)()
            if draw.random() < 0.3:
                kept.step()  # It may be in the midst of its work when the next change comes.
            if draw.random() < 0.3:
                history.judge()
                while kept.step():
                    pass
                assert_same(kept.figures, read_all(other, history.configured))
    history.stop()


@pytest.mark.parametrize(
    ("was", "now"), [("UTC", "Europe/Berlin"), ("UTC", "America/New_York"), ("Europe/Berlin", "UTC")]
)
def test_a_closed_month_keeps_the_days_of_its_own_zone(tmp_path: Path, was: str, now: str) -> None:
    """The agreement has another zone since October was closed: its days are those of the terms that closed it."""
    agreement = replace(make_agreement(downtime=make_terms()), time_zone=was)
    history = History(tmp_path, agreement)
    history.count([(EDGE - 700 + minute, 0, 3, 7, 1) for minute in range(10)])
    history.now, history.sealed_before = EDGE + 2 * MINUTES_PER_DAY, EDGE + MINUTES_PER_DAY
    history.judge()
    history.restart(replace(agreement, time_zone=now))
    history.now += 5
    history.judge()
    figures = read_all(history.reader, history.configured)
    october = figures.agreements[0].months[OCTOBER]
    assert october.report.agreement.time_zone == was
    days, found = october.days[0], october.series[0].figures
    assert days[:, :5].sum() == found.elapsed
    assert days[:, 1].sum() == found.down == 10
    history.stop()
