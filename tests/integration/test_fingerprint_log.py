"""Fingerprints on their way from the log to their table: never lost, never twice, wherever it stops."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from ledger_parts import fingerprint, make_commit

from otel_sla.counting.repeats.fingerprint import RecentFingerprints
from otel_sla.errors import LedgerError
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import LedgerLimits, Position
from otel_sla.ledger.writer import Ledger

MINUTE = 100


def all_of(first: int, stop: int) -> list[tuple[int, int]]:
    """(minute, number) of some messages; each minute has every third."""
    return [(MINUTE + number % 3, number) for number in range(first, stop)]


def rows_in(path: Path, table: str) -> int:
    """How many rows a table has."""
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608


def found(reader: LedgerReader | Ledger, numbers: list[tuple[int, int]], *, in_log: bool = True) -> int:
    """How many of them are counted."""
    return sum(reader.is_counted(minute, fingerprint(number), in_log=in_log) for minute, number in numbers)


# Ten at once, and a log that is long with forty.
SMALL_PIECES = LedgerLimits(fingerprints_due=40, fingerprints_piece=10, fingerprints_slice=16)


def test_a_commit_is_found_at_once_and_moves_when_the_log_is_long(tmp_path: Path) -> None:
    """Appended to the log, then in the table piece by piece; found all the time, and told when the table has it."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    with closing(Ledger.open(url, limits=SMALL_PIECES)) as ledger, closing(LedgerReader.open(url)) as reader:
        moved = []
        for start in range(0, 100, 10):
            moved.append(ledger.commit(make_commit([], all_of(start, start + 10))))
            assert found(reader, all_of(0, start + 10)) == start + 10
            assert found(reader, all_of(0, 10 * moved[-1]), in_log=False) == 10 * moved[-1], "what is told is there"
        assert found(reader, all_of(100, 120)) == 0
        assert moved[:4] == [0, 0, 0, 0]
        assert moved[-1] >= 4
        while ledger.seal(MINUTE):
            pass
        assert rows_in(ledger.path, "fingerprint_log") == 0
        assert found(reader, all_of(0, 100), in_log=False) == 100
        assert reader.fingerprint_minutes() == (MINUTE, MINUTE + 2)


@pytest.mark.parametrize("pieces", range(7))
def test_a_move_that_was_cut_off_is_done_again(tmp_path: Path, pieces: int) -> None:
    """A process that ended after some pieces: the next one finds everything in the table, each once."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    with closing(Ledger.open(url, limits=SMALL_PIECES)) as ledger:
        for start in range(0, 60, 15):
            ledger.commit(make_commit([], all_of(start, start + 15)))
        for _ in range(pieces):
            with ledger._writing("move"):
                ledger._fingerprint_log.move_some()
    with closing(Ledger.open(url, limits=SMALL_PIECES)) as again:
        assert rows_in(again.path, "fingerprint_log") == 0
        assert rows_in(again.path, "fingerprints") == 60
        assert found(again, all_of(0, 60), in_log=False) == 60
        assert again.commit(make_commit([], all_of(60, 70))) == 0, "told are commits of this process"


@pytest.mark.parametrize("pieces", range(5))
def test_a_message_is_never_counted_twice(tmp_path: Path, pieces: int) -> None:
    """A known fingerprint refuses the commit wherever it is: in the log, on its way, in the table, beside itself."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    for number, repeated in enumerate(([(MINUTE, 0)], [(MINUTE + 1, 31)], [(MINUTE + 2, 98), (MINUTE + 2, 98)])):
        with closing(Ledger.open(url, limits=SMALL_PIECES)) as ledger:
            if number == 0:
                ledger.commit(make_commit([], all_of(0, 32)))
                for _ in range(pieces):
                    with ledger._writing("move"):
                        ledger._fingerprint_log.move_some()
            with pytest.raises(LedgerError, match="counted twice"):
                ledger.commit(make_commit([], [(MINUTE, 99), *repeated]))
    with closing(LedgerReader.open(url)) as reader:
        assert found(reader, [(MINUTE, 99), (MINUTE + 2, 98)]) == 0


def test_a_sealed_minute_is_moved_once_a_minute(tmp_path: Path) -> None:
    """Many calls of `seal` within a minute move the log once, so that pages are written for many at a time."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    with closing(Ledger.open(url)) as ledger:
        ledger.commit(make_commit([], all_of(0, 5)))
        assert ledger.seal(MINUTE - 10, pack_before=MINUTE)
        ledger.commit(make_commit([], all_of(5, 10)))
        assert not ledger.seal(MINUTE - 10, pack_before=MINUTE)
        assert rows_in(ledger.path, "fingerprint_log") == 1
        assert ledger.seal(MINUTE - 10, pack_before=MINUTE + 1)
        assert rows_in(ledger.path, "fingerprint_log") == 0


def test_what_is_remembered_goes_when_the_table_has_it() -> None:
    """Commits are let go of in their order, those without fingerprints do not count."""
    recent = RecentFingerprints()
    commits = [[(MINUTE, bytes([number, at])) for at in range(3)] for number in range(4)]
    for commit in commits:
        recent.add(commit, 0)
        recent.add([], 0)
    assert all(one in recent for commit in commits for one in commit)
    recent.add([], 3)
    assert [one in recent for commit in commits for one in commit] == [False] * 9 + [True] * 3


def test_what_is_remembered_goes_bit_by_bit_and_stays_bounded() -> None:
    """A long queue of small commits goes in pieces, and large ones behind it do not pile up meanwhile."""
    recent = RecentFingerprints()
    for number in range(5_000):
        recent.add([(MINUTE, number.to_bytes(4))], 0)
    sizes = []
    for number in range(20):
        recent.add([(MINUTE + 1, bytes([number, at // 256, at % 256])) for at in range(1_000)], 5_000 + number)
        sizes.append(len(recent._all))
    assert sizes[0] == 5_000 + 1_000 - (1_000 + 1_024), "not all at once"
    assert sizes[-1] <= 2_000


def test_a_commit_may_move_its_own(tmp_path: Path) -> None:
    """One that is larger than the log may get is in the table when it returns, and says that it is."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    with closing(Ledger.open(url, limits=SMALL_PIECES)) as ledger:
        assert ledger.commit(make_commit([], all_of(0, 50))) == 1
        assert rows_in(ledger.path, "fingerprint_log") == 0
        assert found(ledger, all_of(0, 50), in_log=False) == 50
    recent = RecentFingerprints()
    recent.add([(MINUTE, b"1")], 1)
    assert (MINUTE, b"1") not in recent


def test_the_log_stays_short_however_large_the_commits_are(tmp_path: Path) -> None:
    """Each moves more than it brings, in slices if need be."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    with closing(Ledger.open(url, limits=SMALL_PIECES)) as ledger:
        for start in range(0, 900, 30):
            ledger.commit(make_commit([], all_of(start, start + 30)))
            assert rows_in(ledger.path, "fingerprint_log") <= 5
        assert found(ledger, all_of(0, 900)) == 900


def test_a_commit_that_fails_after_the_move_leaves_nothing(tmp_path: Path) -> None:
    """A position that is not where it should be: nothing counted or moved, the earlier ones there once."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    wrong = Position("file", before=7, after=8)
    with closing(Ledger.open(url, limits=SMALL_PIECES)) as ledger:
        ledger.commit(make_commit([], all_of(0, 30)))
        with pytest.raises(LedgerError, match="file"):
            ledger.commit(replace(make_commit([], all_of(30, 60)), positions=(wrong,)))
    with closing(Ledger.open(url, limits=SMALL_PIECES)) as again:
        assert rows_in(again.path, "fingerprints") == 30
        assert found(again, all_of(0, 60)) == 30
