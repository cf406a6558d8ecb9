"""Calls on the disk fail under a pipeline; `make iofaults` tries every one of them."""

import errno
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from disk.calls import Refusal, watching, why_unreachable
from disk.faults import Fault
from disk.process import try_process
from disk.record import Record
from io_faults import io_faults
from ledger_parts import make_commit

from otel_sla.errors import LedgerUnavailable
from otel_sla.ledger.records import LedgerLimits
from otel_sla.ledger.writer import Ledger

pytestmark = pytest.mark.skipif(bool(why_unreachable()), reason=why_unreachable() or "reachable")


@pytest.mark.parametrize("fault", [Fault("EIO"), Fault("ENOSPC", lasts=True), Fault("short")], ids=str)
def test_acknowledged_spans_survive_a_failing_disk(fault: Fault) -> None:
    """Whichever call fails, all that was acknowledged is there on a healthy disk, also after a power cut, and once."""
    told: list[str] = []
    sums = io_faults(told.append, step=90, faults=(fault,), power_cuts=1)
    assert told == []
    assert sums["tried"] >= 3


def test_a_process_whose_disk_fails_ends_with_one_line(tmp_path: Path) -> None:
    """A call fails while it serves: exit code 1, one line, no traceback; the next start has what was acknowledged."""
    assert try_process(Fault("EIO", lasts=True), 300, tmp_path) == (1, "")


class Refusing(Record):
    """A disk that refuses one kind of call on one file, once it is told to."""

    def __init__(self) -> None:
        super().__init__({})
        self.refused: tuple[str, str] | None = None
        self.n_refused = 0

    def refusal(self, call: str, name: str) -> Refusal | None:
        """Refuse what was said."""
        if (call, name) != self.refused:
            return None
        self.n_refused += 1
        return Refusal(errno.EIO)


def open_ledger(folder: Path, log_pages_max: int) -> Ledger:
    """A new ledger whose log is long with so many pages."""
    return Ledger.open(f"sqlite:///{folder}/ledger.db", limits=LedgerLimits(log_pages_max=log_pages_max))


def test_a_failed_sync_of_the_file_ends_the_ledger(tmp_path: Path) -> None:
    """The log cannot be moved into the file, which SQLite by itself keeps quiet about: nothing is written after it."""
    with watching(tmp_path, disk := Refusing()), closing(open_ledger(tmp_path, log_pages_max=1)) as ledger:
        ledger.commit(make_commit([], new_series=1))
        disk.refused = ("fsync", "ledger.db")
        with pytest.raises(LedgerUnavailable, match="disk I/O error") as caught:
            ledger.commit(make_commit([(1, 0, 1, 0, 0)], [(1, 1)]))
        assert disk.n_refused == 1
        assert "check the disk" in caught.value.hint
        disk.refused = None
        with pytest.raises(LedgerUnavailable, match="disk I/O error"):
            ledger.commit(make_commit([(2, 0, 1, 0, 0)]))


def test_a_folder_that_cannot_be_synced_holds_no_ledger(tmp_path: Path) -> None:
    """A name that may be lost with the power: the pipeline does not start, whoever was told that it is not durable."""
    Ledger.open(f"sqlite:///{tmp_path}/ledger.db").close()
    disk = Refusing()
    disk.opened(0, "ledger.db", is_new=True)
    disk.refused = ("fsync of the folder", "")
    with watching(tmp_path, disk), pytest.raises(LedgerUnavailable, match="cannot open the ledger") as caught:
        Ledger.open(f"sqlite:///{tmp_path}/ledger.db")
    assert disk.n_refused == 1
    assert "check the disk" in caught.value.hint


def test_the_log_is_moved_when_it_is_long(tmp_path: Path) -> None:
    """The file takes over what the log holds, again and again, and the log starts anew: it stays short."""
    with closing(open_ledger(tmp_path, log_pages_max=20)) as ledger:
        ledger.commit(make_commit([], new_series=1))
        sizes = []
        for number in range(200):
            ledger.commit(make_commit([(number, 0, 1, 0, 0)], [(number, number)]))
            sizes.append((tmp_path / "ledger.db-wal").stat().st_size)
        assert max(sizes) < 2 * 20 * 4120
        assert (tmp_path / "ledger.db").stat().st_size > 10 * 4096


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("open", "unable to open database file"),
        ("read", "disk I/O error"),
        ("write", "disk I/O error"),
        ("fsync", "disk I/O error"),
    ],
)
def test_a_refused_call_is_what_sqlite_sees(tmp_path: Path, call: str, message: str) -> None:
    """The disk stands under the very SQLite that Python's sqlite3 runs on."""
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
    disk = Refusing()
    disk.opened(0, "a.db", is_new=True)
    disk.refused = (call, "a.db")
    with watching(tmp_path, disk), pytest.raises(sqlite3.OperationalError, match=message):
        insert(tmp_path / "a.db")
    assert disk.n_refused > 0


def insert(path: Path) -> None:
    """Write one row."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO t VALUES (1)")
