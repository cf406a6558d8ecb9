"""A long past is judged in bounded pieces: the same events and figures as in one go, in the memory of one piece."""

import random
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest
from history_parts import EDGE, NOVEMBER, OCTOBER, History
from ledger_parts import count_rows, make_series
from sla_parts import make_agreement, make_terms
from test_changed_terms import random_rows, random_terms

from otel_sla.judging.clock import MinuteMarks
from otel_sla.judging.judge import Judge
from otel_sla.judging.terms_versions import record_versions
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Closing, Commit
from otel_sla.ledger.writer import Ledger
from otel_sla.sla.agreement import Agreement

N_SERIES, N_MINUTES, PIECE = 100, 2000, 10_000


def judged(folder: Path, terms: Agreement, seed: int, piece_minutes_max: int) -> History:
    """Two hours across the months' edge, judged at once when they are over, by pieces of a size."""
    folder.mkdir()
    history = History(folder, terms, piece_minutes_max=piece_minutes_max)
    history.count(random_rows(random.Random(seed), EDGE - 55, EDGE + 60))
    history.now, history.sealed_before = EDGE + 60, EDGE + 20
    history.judge(closings_max=10_000)
    return history


@pytest.mark.parametrize("seed", range(8))
def test_any_size_of_pieces_gives_the_same_events(seed: int, tmp_path: Path) -> None:
    """Cut at any minutes, the same is told, month by month and closing by closing."""
    rng = random.Random(seed)
    terms = random_terms(rng)
    expected = judged(tmp_path / "at-once", terms, seed, 1_000_000)
    told = {stored.event.uid for stored in expected.reader.events_after(0, 100_000)}
    for size in (1, rng.randint(2, 30), rng.randint(30, 200)):
        found = judged(tmp_path / f"pieces-{size}", terms, seed, size)
        assert found.told_down() == expected.told_down(), size
        for month in (OCTOBER, NOVEMBER):
            assert found.report(month) == expected.report(month), size
            assert found.told_breached(month) == expected.told_breached(month), size
            assert found.told_closed(month) == expected.told_closed(month), size
        if terms.downtime.period_minutes_min == 1:
            assert {stored.event.uid for stored in found.reader.events_after(0, 100_000)} == told, size
        found.stop()
    expected.stop()


def test_the_first_judging_of_a_long_past_takes_the_memory_of_a_piece(tmp_path: Path) -> None:
    """200,000 minutes of series at once would take 50 MB; each piece of 10,000 is committed as it goes."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    agreement = make_agreement(downtime=make_terms())
    with closing(Ledger.open(url)) as ledger, closing(LedgerReader.open(url)) as reader:
        ledger.commit(Commit(tuple(make_series(number) for number in range(N_SERIES)), count_rows([]), ()))
        for start in range(EDGE, EDGE + N_MINUTES, 200):
            minutes = range(start, start + 200)
            rows = [(minute, number, 9, minute % 500 == number, 0) for minute in minutes for number in range(N_SERIES)]
            ledger.commit(Commit((), count_rows(rows), ()))
        while ledger.seal(EDGE, pack_before=EDGE + N_MINUTES):
            pass
        recorded = record_versions(ledger, (agreement,), EDGE)
        closer = Judge(reader, (agreement,), recorded.versions, piece_minutes_max=PIECE)
        ledger.close_minutes(Closing(judged_before=EDGE + N_MINUTES, sealed_before=None))
        told = []
        tracemalloc.start()
        while (found := closer.find(MinuteMarks(EDGE + N_MINUTES, EDGE))) is not None:
            told.append(found.published_before)
            ledger.close_minutes(found)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert told == [EDGE + PIECE // N_SERIES * piece for piece in range(1, N_MINUTES * N_SERIES // PIECE + 1)]
        assert peak_bytes < 25e6  # 11 to 17 MB, by what else is loaded meanwhile.
