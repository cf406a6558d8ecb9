"""Exclusions recorded beside a running pipeline, and readers beside it."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ledger_parts import listed, make_commit, make_window

from otel_sla.errors import LedgerError, LedgerUnavailable
from otel_sla.ledger.exclusion_writer import ExclusionWriter
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Closing
from otel_sla.ledger.writer import Ledger
from otel_sla.sla.exclusions import Withdrawal

AT = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Where no ledger is yet."""
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """A new ledger with one series."""
    opened = Ledger.open(url)
    opened.commit(make_commit([], new_series=1))
    yield opened
    opened.close()


def test_an_exclusion_is_recorded_while_the_pipeline_runs(ledger: Ledger, url: str) -> None:
    """What another process records is read by the pipeline, as it was given, and its commits go on."""
    with closing(ExclusionWriter.open(url)) as writer:
        number = writer.record_exclusion("chat", make_window(), {"monthly_uptime": "0.99"})
        ledger.commit(make_commit([(1, 0, 1, 0, 0)]))
        assert listed(writer.counts(0, 9)) == [(1, 0, 1, 0, 0)]
    (record,) = ledger.exclusions()
    assert (record.exclusion_id, record.change, record.agreement) == (number, 1, "chat")
    assert record.window == make_window()
    assert record.window.start.isoformat() == "2026-11-06T20:00:00+05:30"
    assert record.figures_before == {"monthly_uptime": "0.99"}
    assert record.withdrawal is None


def test_a_withdrawal_deletes_nothing(ledger: Ledger, url: str) -> None:
    """The record stays and says who withdrew it, when and why; changes are numbered through."""
    with closing(ExclusionWriter.open(url)) as writer:
        first = writer.record_exclusion("chat", make_window("one"))
        writer.withdraw_exclusion(
            first, withdrawn_by="legal", withdrawn_at=AT, why="no notice", figures_before={"a": 1}
        )
        writer.record_exclusion("chat", make_window("two"))
    one, two = ledger.exclusions()
    assert one.withdrawal == Withdrawal(2, "legal", AT, "no notice", {"a": 1})
    assert (one.change, two.change, two.withdrawal) == (1, 3, None)


@pytest.mark.parametrize(
    ("exclusion_id", "message"), [(1, "was withdrawn at 2026-11-23T08:30:00"), (2, "no exclusion 2")]
)
def test_what_cannot_be_withdrawn(ledger: Ledger, url: str, exclusion_id: int, message: str) -> None:
    """A second withdrawal and one of nothing are refused; nothing changes, and the writer can go on."""
    with closing(ExclusionWriter.open(url)) as writer:
        writer.withdraw_exclusion(
            writer.record_exclusion("chat", make_window()), withdrawn_by="a", withdrawn_at=AT, why=""
        )
        before = ledger.exclusions()
        with pytest.raises(LedgerError, match=message):
            writer.withdraw_exclusion(exclusion_id, withdrawn_by="b", withdrawn_at=AT, why="")
        assert writer.exclusions() == before


def test_commits_and_exclusions_wait_for_each_other(ledger: Ledger, url: str) -> None:
    """Where commits meet another process's exclusions, each waits for the other, and nothing is lost."""
    ids: list[int] = []

    def record_many() -> None:
        with closing(ExclusionWriter.open(url)) as writer:
            ids.extend(writer.record_exclusion("chat", make_window(f"{number}")) for number in range(40))

    recording = threading.Thread(target=record_many)
    recording.start()
    for minute in range(40):
        ledger.commit(make_commit([(minute, 0, 1, 0, 0)], [(minute, minute)]))
    recording.join(60)
    assert [record.exclusion_id for record in ledger.exclusions()] == ids == list(range(1, 41))
    assert len(ledger.counts(0, 99)) == 40


def test_a_writer_that_never_ends_raises_an_error(ledger: Ledger, url: str) -> None:
    """After the time to wait is over, the commit fails with one line that names the file."""
    ledger._sqlite.execute("PRAGMA busy_timeout = 1")
    with closing(ExclusionWriter.open(url)) as writer:
        writer._sqlite.execute("PRAGMA busy_timeout = 1")
        with closing(sqlite3.connect(ledger.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LedgerUnavailable, match="database is locked"):
                writer.record_exclusion("chat", make_window())
            with pytest.raises(LedgerUnavailable, match="database is locked") as caught:
                ledger.commit(make_commit([(1, 0, 1, 0, 0)]))
    assert "another program" in caught.value.hint


def test_the_exclusion_writer_leaves_the_log_to_the_pipeline(ledger: Ledger, url: str) -> None:
    """The second writer never moves the write-ahead log into the file."""
    with closing(ExclusionWriter.open(url)) as writer:
        assert writer._sqlite.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
        assert writer._sqlite.execute("PRAGMA synchronous").fetchone() == (2,)
    assert ledger._sqlite.execute("PRAGMA synchronous").fetchone() == (2,)
    assert ledger._sqlite.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_snapshot_sees_one_commit(ledger: Ledger, url: str) -> None:
    """All that is read in a snapshot is as of one commit, whatever is written meanwhile."""
    ledger.commit(make_commit([(1, 0, 1, 0, 0)]))
    with closing(LedgerReader.open(url)) as reader:
        with reader.snapshot():
            assert reader.watermarks().judged_before is None
            ledger.commit(make_commit([(1, 0, 1, 0, 0)]))
            ledger.close_minutes(Closing(5, None))
            assert listed(reader.counts(0, 9)) == [(1, 0, 1, 0, 0)]
            assert reader.watermarks().judged_before is None
        assert listed(reader.counts(0, 9)) == [(1, 0, 2, 0, 0)]


def test_many_series_are_read_as_of_one_commit(ledger: Ledger, url: str) -> None:
    """A month read series by series is not torn by what is committed and packed meanwhile."""
    ledger.commit(make_commit([(1, 0, 1, 0, 0)]))
    with closing(LedgerReader.open(url)) as reader:
        each = reader.each_month_counts([0, 0], 0, 3)
        first = next(each)
        ledger.commit(make_commit([(1, 0, 7, 0, 0)]))
        while ledger.seal(99):
            pass
        second = next(each)
        each.close()
        assert first[1].tolist() == second[1].tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
        assert reader.month_counts(0, 1, 2).tolist() == [[8, 0, 0]]


def test_readers_cannot_write(ledger: Ledger, url: str) -> None:
    """A reading connection refuses to write, whoever asks."""
    assert ledger.path.exists()
    with closing(LedgerReader.open(url)) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._sqlite.execute("DELETE FROM counts")
