"""From a URL to a file."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from otel_sla.errors import LedgerUnavailable
from otel_sla.ledger.connection import ledger_path, use_wal


def test_relative_and_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three slashes are relative to the working directory, four absolute; links lead to the one real file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    assert ledger_path("sqlite:///real.db") == tmp_path / "real.db"
    assert ledger_path(f"sqlite:///{tmp_path}/link.db") == tmp_path / "real.db"
    assert ledger_path("sqlite:///what?mode=memory #1.db") == tmp_path / "what?mode=memory #1.db"


@pytest.mark.parametrize(
    "url", ["", "sqlite://", "sqlite:///", "sqlite:///:memory:", "postgresql://host/db", "otel.db"]
)
def test_other_urls(url: str) -> None:
    """What is no file's URL is refused in one line that shows a good one."""
    with pytest.raises(LedgerUnavailable, match="not the URL of a file") as caught:
        ledger_path(url)
    assert "sqlite:///otel-sla.db" in caught.value.hint


def test_missing_directory(tmp_path: Path) -> None:
    """A missing directory is named; it is not made."""
    with pytest.raises(LedgerUnavailable, match=f"there is no directory {tmp_path}/none"):
        ledger_path(f"sqlite:///{tmp_path}/none/ledger.db")


def test_no_write_ahead_log_possible() -> None:
    """Where SQLite cannot keep a write-ahead log, the ledger does not start without one."""
    with (
        closing(sqlite3.connect(":memory:")) as connection,
        pytest.raises(LedgerUnavailable, match=r"no write-ahead log \(memory\)"),
    ):
        use_wal(connection, Path("ledger.db"))
