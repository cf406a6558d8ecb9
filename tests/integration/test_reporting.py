"""What formats need beyond figures, from a real ledger: single minutes, of all series or of the worst."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ledger_parts import count_rows
from sla_parts import make_agreement, make_terms

from otel_sla.judging.month_report import each_series_minutes, load_report
from otel_sla.judging.series_judge import History, Terms
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Commit
from otel_sla.ledger.writer import Ledger
from otel_sla.report.csv import each_minute_line
from otel_sla.sla.agreement import NoData
from otel_sla.sla.downtime import MinuteState
from otel_sla.sla.months import Month, month_range
from otel_sla.sla.series import Series

NOVEMBER = Month(2026, 11)
MINUTES = month_range(NOVEMBER, "UTC")
NOW = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A ledger of four series; the third is down for an hour that begins in October."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    ledger = Ledger.open(url)
    series = [Series(n, "chat", (("service.name", b"%d" % (9 - n)),), is_overflow=False) for n in range(4)]
    rows = [(MINUTES.start_minute + n, 2, 0, 5, 1) for n in range(-30, 30)]
    rows += [(MINUTES.start_minute + n, series_id, 5, 0, 0) for series_id in (0, 1) for n in range(100)]
    rows += [(MINUTES.start_minute - 5, 3, 5, 0, 0)]
    ledger.commit(Commit(tuple(series), count_rows(rows), ()))
    ledger.close()
    return url


def test_each_series_minutes_are_the_elapsed_ones_of_the_month(url: str) -> None:
    """Series come in the report's order, cut to the month though a run reaches out of it; one without requests is not
    there.
    """
    reader = LedgerReader.open(url)
    found = list(each_series_minutes(reader, [make_agreement()], NOVEMBER, MINUTES.start_minute + 200))
    assert [minutes.series.series_id for minutes in found] == [2, 1, 0]
    for minutes in found:
        assert (minutes.states.start_minute, len(minutes.states.raw)) == (MINUTES.start_minute, 200)
        assert len(minutes.counts.counts) == 200
    assert (found[0].states.adjusted[:30] == int(MinuteState.DOWN)).all()
    assert found[0].counts.counts.sum(axis=0).tolist() == [0, 150, 30]
    lines = list(each_minute_line([make_agreement()], found))
    assert len(lines) == 1 + 3 * 200
    assert lines[1].startswith("chat,7,false,2026-11-01T00:00:00Z,2026-11-01T00:00:00+00:00,down,down,5,5,1,")
    reader.close()


def test_minutes_are_read_a_few_series_at_a_time(url: str) -> None:
    """The order is that of the report; what is counted between two readings is in those that follow."""
    with closing(LedgerReader.open(url)) as reader, closing(Ledger.open(url)) as ledger:
        each = each_series_minutes(reader, [make_agreement()], NOVEMBER, MINUTES.start_minute + 200, series_at_once=2)
        found = [next(each)]
        ledger.commit(
            Commit((), count_rows([(MINUTES.start_minute, series_id, 100, 0, 0) for series_id in range(3)]), ())
        )
        found += each
    assert [(minutes.series.series_id, int(minutes.counts.counts[0, 0])) for minutes in found] == [
        (2, 0),
        (1, 105),
        (0, 105),
    ]


def test_a_month_to_come_has_no_minutes(url: str) -> None:
    """Of a month of which nothing has elapsed there is no minute, and no series."""
    reader = LedgerReader.open(url)
    assert list(each_series_minutes(reader, [make_agreement()], NOVEMBER, MINUTES.start_minute)) == []
    reader.close()


@pytest.mark.parametrize(("drawn_max", "drawn"), [(0, []), (1, [2]), (2, [2, 1]), (9, [2, 1, 0])])
def test_the_worst_series_keep_their_minutes(url: str, drawn_max: int, drawn: list[int]) -> None:
    """As many series as are asked for keep their states; those with the most downtime first, then by group."""
    reader = LedgerReader.open(url)
    report = load_report(reader, [make_agreement()], NOVEMBER, MINUTES.stop_minute, NOW, drawn_max=drawn_max)
    series = report.agreements[0].series
    assert [entry.series.series_id for entry in series] == [2, 1, 0]
    assert [entry.series.series_id for entry in series if entry.states is not None] == drawn
    reader.close()


def test_all_series_at_once_are_judged_as_one_by_one(tmp_path: Path) -> None:
    """Of 150 series, packed, half packed and open, in any order and with gaps, each is judged as it is by itself."""
    url = f"sqlite:///{tmp_path}/many.db"
    series = [Series(n, "chat", (("service.name", b"%d" % n),), is_overflow=False) for n in range(150)]
    first = MINUTES.start_minute
    with closing(Ledger.open(url)) as ledger:
        ledger.commit(Commit(tuple(series), count_rows([]), ()))
        for hour in (-1, 0, 5, 30, 31, 60):
            minutes = range(first + 60 * hour, first + 60 * hour + 60, 7)
            rows = [(m, n, 3, (m + n) % 9 == 0 or n == 77, n % 2) for m in minutes for n in range(150) if n % 10 != 3]
            ledger.commit(Commit((), count_rows(rows), ()))
        while ledger.seal(first + 1440, pack_before=first + 1440 + 31 * 60):
            pass
    agreement = make_agreement(downtime=make_terms(no_data=NoData.CARRY))
    elapsed_stop = first + 3 * 1440
    with closing(LedgerReader.open(url)) as reader, reader.snapshot():
        history = History.of(reader)
        for chosen in (series, series[::-1], series[::40], []):
            terms = Terms(agreement, ())
            found = list(history.each_judged(chosen, terms, MINUTES, elapsed_stop))
            assert [entry for entry, _ in found] == chosen
            for entry, judged in found:
                alone = history.judged(entry, terms, MINUTES, elapsed_stop)
                assert judged.judged.start_minute == alone.judged.start_minute
                assert (judged.counts.counts == alone.counts.counts).all()
                assert (judged.judged.adjusted == alone.judged.adjusted).all()
