"""Any order of commits, closings, sealing and crashes against a plain model of what must be there."""

import shutil
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from ledger_parts import Row, fingerprint, listed, make_commit, make_event

from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Closing, LedgerLimits, Reopened
from otel_sla.ledger.writer import Ledger
from otel_sla.sla.counts import COUNT_MAX, N_COUNTS, CountsBeside

N_SERIES = 4
STOP = 3 * 1440
# Ends and beginnings of hours and days, where packing changes over.
MINUTES = st.sampled_from([0, 1, 59, 60, 61, 119, 1380, 1439, 1440, 1441, 1500, 2879, 2880, 4000])
COUNTS = st.sampled_from([0, 1, 2, 15, 16, 255, 256, 70_000])
# What is counted beside outcomes: nothing of most, and sums that end at COUNT_MAX.
BESIDE = st.just((0,) * 6) | st.tuples(*[COUNTS] * 3, *[st.sampled_from([0, 1, 2**20, 2**61, 2**62])] * 3)
ROWS = st.lists(
    st.builds(
        lambda minute, series_id, outcomes, beside: (minute, series_id, *outcomes, *beside),
        MINUTES,
        st.integers(0, N_SERIES - 1),
        st.tuples(COUNTS, COUNTS, COUNTS),
        BESIDE,
    ),
    max_size=8,
    unique_by=lambda row: row[:2],
)


# Fingerprints move with the commits: from two on, two at once.
SHORT_LOG = LedgerLimits(fingerprints_due=2, fingerprints_piece=1)


def reopened_of(key: tuple[int, int], counts: tuple[int, ...]) -> Reopened:
    """A re-opened minute that held these counts."""
    return Reopened(*key, counts[:3], CountsBeside(*counts[3:]))  # type: ignore[arg-type]


class LedgerMachine(RuleBasedStateMachine):
    """Drives a real ledger and a model of it; a crash is what the files hold at that moment, without the process."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "ledger.db"
        self.ledger = Ledger.open(f"sqlite:///{self.path}", limits=SHORT_LOG)
        self.totals: dict[tuple[int, int], tuple[int, ...]] = defaultdict(lambda: (0,) * N_COUNTS)
        self.first: dict[int, int] = {}
        self.first_data: dict[int, int] = {}
        self.fingerprints: dict[int, int] = {}  # Its number: its newest minute.
        self.forgotten: set[int] = set()
        self.reopened: dict[tuple[int, int], tuple[int, ...]] = {}
        self.judged_before: int | None = None
        self.sealed_before: int | None = None
        self.event_uids: list[str] = []
        self.cursor = 0

    @initialize()
    def add_series(self) -> None:
        """All series are new with the first commit."""
        self.ledger.commit(make_commit([], new_series=N_SERIES))

    @rule(rows=ROWS, newest=MINUTES, number=st.integers(0, 30))
    def commit(self, rows: list[Row], newest: int, number: int) -> None:
        """A message is counted unless its fingerprint is known; a replayed one is not."""
        newest = self.fingerprints.get(number, newest)
        is_counted = self.ledger.is_counted(newest, fingerprint(number))
        assert is_counted == (number in self.fingerprints and number not in self.forgotten)
        if number in self.fingerprints:
            return
        self.ledger.commit(make_commit(rows, [(newest, number)]))
        self.fingerprints[number] = newest
        for minute, series_id, *counts in rows:
            before = self.totals[minute, series_id]
            if self.judged_before is not None and minute < self.judged_before:
                self.reopened.setdefault((series_id, minute), before)
            self.totals[minute, series_id] = tuple(min(a + b, COUNT_MAX) for a, b in zip(before, counts, strict=True))
            self.first[series_id] = min(minute, self.first.get(series_id, minute))
            if counts[0] + counts[1]:
                self.first_data[series_id] = min(minute, self.first_data.get(series_id, minute))

    @rule(judged=st.none() | MINUTES, sealed=st.none() | MINUTES, uid=st.sampled_from("abcdefgh"), settle=st.booleans())
    def close_minutes(self, judged: int | None, sealed: int | None, uid: str, *, settle: bool) -> None:
        """Watermarks grow, an event is written once, reopened minutes are settled."""
        settled = tuple(self.reopened) if settle else ()
        told = tuple(reopened_of(key, self.totals[key[::-1]]) for key in settled)
        self.ledger.close_minutes(Closing(judged, sealed, (make_event(uid),), told))
        for key in settled:
            del self.reopened[key]
        self.judged_before = max((m for m in (self.judged_before, judged) if m is not None), default=None)
        self.sealed_before = max((m for m in (self.sealed_before, sealed) if m is not None), default=None)
        if uid not in self.event_uids:
            self.event_uids.append(uid)

    @rule(
        before=MINUTES,
        pack_before=st.none() | MINUTES,
        pieces=st.integers(1, 6),
        rows_max=st.sampled_from([1, 60, 999]),
    )
    def seal(self, before: int, pack_before: int | None, pieces: int, rows_max: int) -> None:
        """Some pieces of packing; what is forgotten is only what is older than asked for."""
        for _ in range(pieces):
            if not self.ledger.seal(before, pack_before=pack_before, rows_max=rows_max):
                break
        for number, newest in self.fingerprints.items():
            if number not in self.forgotten and not self.ledger.is_counted(newest, fingerprint(number)):
                assert newest < before
                self.forgotten.add(number)

    @rule(event_id=st.integers(0, 9))
    def advance(self, event_id: int) -> None:
        """An exporter's cursor."""
        self.ledger.advance_cursor("otlp", event_id=event_id)
        self.cursor = max(self.cursor, event_id)

    @rule()
    def crash(self) -> None:
        """Go on from the files as they are, with nothing closed or moved."""
        survived = Path(tempfile.mkdtemp(dir=self.folder)) / "ledger.db"
        for suffix in ("", "-wal"):
            shutil.copy(f"{self.path}{suffix}", f"{survived}{suffix}")
        self.ledger.close()
        self.path = survived
        self.ledger = Ledger.open(f"sqlite:///{survived}", limits=SHORT_LOG)

    @rule()
    def reopen(self) -> None:
        """An orderly end and a new start."""
        self.ledger.close()
        self.ledger = Ledger.open(f"sqlite:///{self.path}", limits=SHORT_LOG)

    @invariant()
    def pipeline_and_reader_see_the_model(self) -> None:
        """Both connections give what the model holds."""
        reader = LedgerReader.open(f"sqlite:///{self.path}")
        for readings in (self.ledger, reader):
            self.assert_counts(readings)
            assert readings.first_minutes() == self.first
            assert readings.first_data_minutes() == self.first_data
            assert readings.reopened() == tuple(reopened_of(key, self.reopened[key]) for key in sorted(self.reopened))
            assert readings.watermarks().judged_before == self.judged_before
            assert readings.watermarks().sealed_before == self.sealed_before
            assert [item.event.uid for item in readings.events_after(0, 99)] == self.event_uids
            assert readings.cursor("otlp").event_id == self.cursor
        reader.close()

    def assert_counts(self, readings: Ledger | LedgerReader) -> None:
        """Each way of reading counts gives the same."""
        expected = sorted((*key, *counts) for key, counts in self.totals.items() if any(counts))
        found = [row for row in listed(readings.counts(0, STOP)) if any(row[2:])]
        assert found == [row if any(row[5:]) else row[:5] for row in expected]
        beside: dict[int, tuple[int, ...]] = {}
        for _, owner, *row in expected:
            beside[owner] = tuple(a + b for a, b in zip(beside.get(owner, (0,) * 6), row[3:], strict=True))
        assert readings.counts_beside(0, STOP) == {owner: sums for owner, sums in beside.items() if any(sums)}
        for series_id, counts in readings.each_month_counts(range(N_SERIES), 30, STOP, N_COUNTS):
            dense = np.zeros((STOP - 30, N_COUNTS), dtype=np.int64)
            for minute, owner, *row in expected:
                if owner == series_id and minute >= 30:
                    dense[minute - 30] = row
            assert (counts == dense).all()
            assert (readings.month_counts(series_id, 30, STOP, N_COUNTS) == dense).all()
            assert (readings.month_counts(series_id, 30, STOP) == dense[:, :3]).all()
            of_series = [row for row in expected if row[1] == series_id and row[0] < 2880]
            valid = [row for row in of_series if row[2] + row[3] >= 2]
            last = readings.last_data_minute(series_id, 2880, 2)
            assert last == ((valid[-1][0], valid[-1][2:5]) if valid else None)
            adjusted = [
                row for row in of_series if row[2] + row[3] and (row[2] + row[3] << 20) + row[8] + row[9] >= 2 << 20
            ]
            last = readings.last_data_minute(series_id, 2880, 2, is_adjusted=True)
            assert last == ((adjusted[-1][0], adjusted[-1][2:]) if adjusted else None)

    def teardown(self) -> None:
        """The last state is sound, to the last page."""
        assert self.ledger.check() == ()
        self.ledger.close()
        shutil.rmtree(self.folder)


LedgerMachine.TestCase.settings = settings(derandomize=True, max_examples=25, stateful_step_count=25, deadline=None)
TestLedgerModel = LedgerMachine.TestCase
