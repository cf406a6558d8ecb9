"""What can be wrong with a ledger: one clear line each, and never a word of success."""

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from ledger_parts import listed, make_commit, make_event

from otel_sla.errors import LedgerCorrupt, LedgerError, LedgerInUse, LedgerSchemaNewer, LedgerUnavailable
from otel_sla.ledger.connection import SQLITE_VERSION_SOUND, check_pages, sqlite_warning
from otel_sla.ledger.exclusion_writer import ExclusionWriter
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Closing
from otel_sla.ledger.schema import SCHEMA_VERSION
from otel_sla.ledger.writer import Ledger

NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where no ledger is yet."""
    return tmp_path / "ledger.db"


def url_of(path: Path) -> str:
    """The URL of an absolute path."""
    return f"sqlite:///{path}"


def make_ledger(path: Path, *, n_minutes: int = 10) -> None:
    """A ledger with some counts, closed."""
    with closing(Ledger.open(url_of(path))) as ledger:
        rows = [(minute, series_id, 1, 2, 3) for minute in range(n_minutes) for series_id in range(20)]
        ledger.commit(make_commit(rows, [(1, number) for number in range(100)], new_series=20))


@contextmanager
def unprivileged() -> Iterator[Path]:
    """Give a directory and act as a user who may do nothing special; the tests may run as the superuser."""
    with tempfile.TemporaryDirectory() as name:
        is_superuser = os.geteuid() == 0
        if is_superuser:
            os.chown(name, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            if is_superuser:
                os.seteuid(0)
            Path(name).chmod(0o700)


def assert_one_line(error: LedgerError, *parts: str) -> None:
    """The message is one line with these parts, and there is a hint."""
    assert "\n" not in str(error)
    assert all(part in str(error) for part in parts), str(error)
    assert error.hint


def assert_refused(path: Path, kind: type[LedgerError], *parts: str) -> None:
    """Neither pipeline nor reader nor exclusion writer opens it, and each says why; the pipeline leaves no lock."""
    for opening in (Ledger, LedgerReader, ExclusionWriter):
        with pytest.raises(kind) as caught:
            opening.open(url_of(path))
        assert_one_line(caught.value, *parts)
    with pytest.raises(kind):
        Ledger.open(url_of(path))


def test_missing_directory(path: Path) -> None:
    """A ledger in no directory is refused, with the directory's name."""
    assert_refused(path / "ledger.db", LedgerUnavailable, f"no directory {path}")


def test_a_directory_is_no_ledger(path: Path) -> None:
    """A directory where the file should be is refused."""
    path.mkdir()
    assert_refused(path, LedgerUnavailable, str(path), "Is a directory")


def test_a_hard_link_is_no_second_ledger(path: Path) -> None:
    """Two names of one file have two locks: the file is refused by either, until one name is removed."""
    Ledger.open(f"sqlite:///{path}").close()
    other = path.with_name("other.db")
    other.hardlink_to(path)
    for name in (path, other):
        with pytest.raises(LedgerUnavailable) as refused:
            Ledger.open(f"sqlite:///{name}")
        assert_one_line(refused.value, str(name), "hard link")
    other.unlink()
    Ledger.open(f"sqlite:///{path}").close()


def test_readers_make_no_ledger(path: Path) -> None:
    """Reading what is not there says so and makes nothing; so does an empty file."""
    for opening in (LedgerReader, ExclusionWriter):
        with pytest.raises(LedgerUnavailable, match="there is no ledger") as caught:
            opening.open(url_of(path))
        assert_one_line(caught.value, str(path))
    assert not path.exists()
    path.touch()
    with pytest.raises(LedgerUnavailable, match="is empty") as caught:
        LedgerReader.open(url_of(path))
    assert_one_line(caught.value, str(path))


def test_an_empty_file_becomes_a_ledger(path: Path) -> None:
    """A start that was cut off before the tables were made is made good by the next one."""
    path.touch()
    make_ledger(path)
    assert path.stat().st_size > 0


def test_unwritable_directory() -> None:
    """Where the lock file cannot be made, the pipeline does not start."""
    with unprivileged() as folder:
        folder.chmod(0o500)
        with pytest.raises(LedgerUnavailable, match="Permission denied") as caught:
            Ledger.open(url_of(folder / "ledger.db"))
        assert_one_line(caught.value, str(folder))


def test_unwritable_and_unreadable_file() -> None:
    """A file of somebody else is refused for writing, and read where it may be read."""
    with unprivileged() as folder:
        path = folder / "ledger.db"
        make_ledger(path)
        path.chmod(0o400)
        with pytest.raises(LedgerUnavailable, match=r"readonly|unable to open") as caught:
            Ledger.open(url_of(path))
        assert_one_line(caught.value, str(path))
        path.chmod(0o000)
        with pytest.raises(LedgerUnavailable, match="Permission denied"):
            LedgerReader.open(url_of(path))


def test_reading_in_a_read_only_place() -> None:
    """A ledger that was laid down where nothing can be written is read all the same, if no log is missing from it."""
    with unprivileged() as folder:
        path = folder / "ledger.db"
        make_ledger(path)
        folder.chmod(0o500)
        with closing(LedgerReader.open(url_of(path))) as reader:
            assert len(reader.counts(0, 99)) == 200
        folder.chmod(0o700)
        with closing(Ledger.open(url_of(path))) as ledger:
            ledger.commit(make_commit([(99, 0, 1, 0, 0)]))
            copied = folder / "copied"
            copied.mkdir()
            for name in ("ledger.db", "ledger.db-wal"):
                shutil.copy(folder / name, copied / name)
        copied.chmod(0o500)
        with pytest.raises(LedgerUnavailable, match=r"unable to open|readonly") as caught:
            LedgerReader.open(url_of(copied / "ledger.db"))
        assert_one_line(caught.value, str(copied))
        copied.chmod(0o700)


def test_no_database(path: Path) -> None:
    """A file of another kind is refused and not touched."""
    path.write_bytes(b"receivers:\n  otlp: {}\n" * 50)
    before = path.read_bytes()
    assert_refused(path, LedgerCorrupt, str(path), "is not a ledger")
    assert path.read_bytes() == before


def test_database_of_another_program(path: Path) -> None:
    """An SQLite file that is no ledger is refused and not touched."""
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE notes (text)")
    before = path.read_bytes()
    assert_refused(path, LedgerCorrupt, str(path), "another program")
    assert path.read_bytes() == before


def test_newer_schema(path: Path) -> None:
    """A ledger of a newer otel-sla is refused with both versions."""
    make_ledger(path)
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 7")
    assert_refused(path, LedgerSchemaNewer, str(path), "schema 7", f"knows {SCHEMA_VERSION}")


def test_missing_table(path: Path) -> None:
    """A ledger that lost a table is refused with its name."""
    make_ledger(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE fingerprints")
    assert_refused(path, LedgerCorrupt, str(path), "lacks its table fingerprints")


def test_lost_identity(path: Path) -> None:
    """A ledger without its secret would count repeats twice, so it is refused."""
    make_ledger(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("DELETE FROM ledger")
        other.commit()
    assert_refused(path, LedgerCorrupt, str(path), "lost its identity")


@pytest.mark.parametrize(
    ("offset", "what"),
    [(0, "start"), (60, "header"), (100, "schema"), (4096 * 3, "first tables"), (-4000, "last page")],
)
def test_damaged_pages(path: Path, offset: int, what: str) -> None:
    """Damage anywhere in a small file is found at start: the pipeline does not go on with it."""
    make_ledger(path, n_minutes=100)
    content = bytearray(path.read_bytes())
    start = offset % len(content)
    content[start : start + 512] = b"\xa5" * len(content[start : start + 512])
    path.write_bytes(content)
    with pytest.raises(LedgerCorrupt) as caught:
        Ledger.open(url_of(path))
    assert_one_line(caught.value, str(path))
    assert what


def test_truncated_file(path: Path) -> None:
    """A file that lost its end is found at start."""
    make_ledger(path, n_minutes=300)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(LedgerCorrupt) as caught:
        Ledger.open(url_of(path))
    assert_one_line(caught.value, str(path))


def test_large_file_is_checked_at_its_ends(path: Path) -> None:
    """A large file is not read whole at start; a sound one passes, one whose tables cannot be walked does not."""
    make_ledger(path, n_minutes=300)
    with closing(sqlite3.connect(path)) as connection:
        check_pages(connection, path, size_bytes_max=0)
    content = path.read_bytes()
    path.write_bytes(content[: 4096 * 2] + b"\xa5" * (len(content) - 4096 * 2))
    with closing(sqlite3.connect(path)) as connection, pytest.raises(LedgerCorrupt):
        check_pages(connection, path, size_bytes_max=0)


def test_damage_found_while_running(path: Path) -> None:
    """A packed day that cannot be read raises an error with the file's name, by reading and by sealing."""
    with closing(Ledger.open(url_of(path))) as ledger:
        ledger.commit(make_commit([(5, 0, 1, 0, 0)], new_series=1))
        while ledger.seal(0, pack_before=1440):
            pass
        ledger._sqlite.execute("UPDATE packing SET counts = x'00'")
        with pytest.raises(LedgerCorrupt, match="packed day") as caught:
            ledger.month_counts(0, 0, 10)
        assert_one_line(caught.value, str(path))
        with pytest.raises(LedgerCorrupt, match="packed day"):
            ledger.seal(1440)


def test_one_pipeline_per_ledger(path: Path) -> None:
    """A second pipeline is refused, with the number of the process that has the ledger, also by another name for it."""
    alias = path.with_name("alias.db")
    alias.symlink_to(path)
    with closing(Ledger.open(url_of(path))):
        for name in (path, alias):
            with pytest.raises(LedgerInUse) as caught:
                Ledger.open(url_of(name))
            assert_one_line(caught.value, str(path), f"process {os.getpid()}")
    make_ledger(alias)


def test_another_process_has_the_ledger(path: Path) -> None:
    """The lock holds between processes, and is gone with the process, however it ends."""
    code = f"""
import sys
from otel_sla.ledger.writer import Ledger
ledger = Ledger.open({url_of(path)!r})
print("open", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(LedgerInUse, match=f"process {other.pid}$"):
            Ledger.open(url_of(path))
        other.kill()
        other.wait()
    make_ledger(path)


def test_a_lock_file_that_is_a_link_is_not_followed(path: Path) -> None:
    """Who may write to the folder makes no root truncate another file, or give it away."""
    other = path.with_name("other")
    other.write_text("theirs")
    path.with_name("ledger.db-lock").symlink_to(other)
    with pytest.raises(LedgerUnavailable, match=r"cannot take .*ledger\.db-lock of the ledger"):
        Ledger.open(url_of(path))
    assert other.read_text() == "theirs"


def test_unwritable_lock_file(path: Path) -> None:
    """A lock file that cannot be opened raises an error."""
    path.with_name("ledger.db-lock").mkdir()
    with pytest.raises(LedgerUnavailable, match=r"cannot take .*ledger\.db-lock of the ledger") as caught:
        Ledger.open(url_of(path))
    assert_one_line(caught.value, str(path))


def assert_closed_for_good(ledger: Ledger, message: str) -> None:
    """After a failed commit every call fails, with the reason of the first."""
    for call in (
        lambda: ledger.commit(make_commit([])),
        lambda: ledger.close_minutes(Closing(1, 1)),
        lambda: ledger.seal(1),
        lambda: ledger.expire(1),
        lambda: ledger.advance_cursor("otlp", event_id=1),
        lambda: ledger.record_agreement("chat", {}, 0),
        lambda: ledger.counts(0, 1),
        lambda: ledger.is_counted(0, b""),
    ):
        with pytest.raises(LedgerUnavailable, match=message):
            call()


def test_full_disk(path: Path) -> None:
    """A commit that finds no room is not durable: it raises, nothing of it is there later, nothing more is taken."""
    ledger = Ledger.open(url_of(path))
    ledger.commit(make_commit([(1, 0, 1, 0, 0)], new_series=1))
    pages = ledger._sqlite.execute("PRAGMA page_count").fetchone()[0]
    ledger._sqlite.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LedgerUnavailable, match="full") as caught:
        ledger.commit(make_commit([(minute, 0, 1, 0, 0) for minute in range(1000)]))
    assert_one_line(caught.value, str(path))
    assert "free some space" in caught.value.hint
    assert_closed_for_good(ledger, "full")
    ledger.close()
    with closing(Ledger.open(url_of(path))) as again:
        assert listed(again.counts(0, 9999)) == [(1, 0, 1, 0, 0)]


def test_failing_write(path: Path) -> None:
    """A write that the system refuses in the middle of a commit: not acknowledged, not there, nothing more is taken."""
    ledger = Ledger.open(url_of(path))
    ledger.commit(make_commit([(1, 0, 1, 0, 0)], new_series=1))
    log_size = path.with_name("ledger.db-wal").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log_size + 5000, limits[1]))
    try:
        with pytest.raises(LedgerUnavailable, match=r"disk I/O error|full") as caught:
            ledger.commit(make_commit([(minute, 0, 1, 0, 0) for minute in range(5000)]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_one_line(caught.value, str(path))
    assert_closed_for_good(ledger, "disk I/O error|full")
    ledger.close()
    with closing(Ledger.open(url_of(path))) as again:
        assert listed(again.counts(0, 9999)) == [(1, 0, 1, 0, 0)]


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
@pytest.mark.parametrize("is_replaced", [False, True])
def test_removed_file(path: Path, suffix: str, is_replaced: bool) -> None:  # noqa: FBT001 - a case, no option.
    """What is written to a file that was removed or replaced is not acknowledged."""
    ledger = Ledger.open(url_of(path))
    ledger.commit(make_commit([(1, 0, 1, 0, 0)], new_series=1))
    removed = path.with_name(f"{path.name}{suffix}")
    removed.rename(removed.with_name("elsewhere"))
    if is_replaced:
        removed.touch()
    with pytest.raises(LedgerUnavailable) as caught:
        ledger.commit(make_commit([(2, 0, 1, 0, 0)]))
    assert_one_line(caught.value, str(path))
    assert_closed_for_good(ledger, "ledger")
    ledger.close()


def test_rollback_that_fails_too(path: Path) -> None:
    """When not even taking back works, the ledger is closed to all all the same."""
    ledger = Ledger.open(url_of(path))
    # Beginning is all that is allowed: BEGIN and ROLLBACK are the same action to an authorizer.
    actions: list[str | None] = []
    ledger._sqlite.set_authorizer(
        lambda _, what, *__: (actions.append(what), sqlite3.SQLITE_OK if what == "BEGIN" else sqlite3.SQLITE_DENY)[1]
    )
    with pytest.raises(LedgerUnavailable, match=r"not authorized|prohibited"):
        ledger.close_minutes(Closing(1, 1))
    assert "ROLLBACK" in actions
    with pytest.raises(LedgerUnavailable, match=r"not authorized|prohibited"):
        ledger.series()
    ledger.close()


def test_look_up_after_closing(path: Path) -> None:
    """A look-up that fails says so; it never reads as `not counted`."""
    make_ledger(path)
    reader = LedgerReader.open(url_of(path))
    reader.close()
    with pytest.raises(LedgerUnavailable, match="cannot read"):
        reader.is_counted(1, b"")
    with pytest.raises(LedgerUnavailable, match="cannot read"):
        reader.series()


def test_backup_and_check(path: Path) -> None:
    """A backup made while the pipeline runs is a ledger of that moment, for its owner only; it overwrites nothing."""
    make_ledger(path)
    target = path.with_name("backup.db")
    with closing(Ledger.open(url_of(path))) as ledger, closing(LedgerReader.open(url_of(path))) as reader:
        reader.backup(target)
        ledger.commit(make_commit([(500, 0, 1, 0, 0)]))
        assert reader.check() == ()
        with pytest.raises(LedgerUnavailable, match="it exists"):
            reader.backup(target)
        with pytest.raises(LedgerUnavailable, match="cannot write the backup"):
            reader.backup(path / "no" / "directory.db")
    assert target.stat().st_mode & 0o777 == 0o600
    with closing(Ledger.open(url_of(target))) as restored:
        assert len(restored.counts(0, 999)) == 200
        restored._sqlite.execute("PRAGMA foreign_keys = OFF")
        restored._sqlite.execute("DELETE FROM series WHERE series_id = 3")
        assert "counts: a row refers to nothing" in restored.check()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("INSERT INTO packed VALUES (7, x'0001')", "packed: 1970-01-01, series 7: a packed day"),
        ("UPDATE packing SET counts = substr(counts, 1, 90)", "packing: 1970-01-01, series 0: a packed day"),
        ("UPDATE events SET attributes = '{'", "events: "),
        ("UPDATE agreement_versions SET terms = 'x'", "agreement_versions: "),
    ],
)
def test_check_reads_what_reports_read(path: Path, damage: str, message: str) -> None:
    """What SQLite finds sound and no report can read is damage as well, and is named by table, day and series."""
    with closing(Ledger.open(url_of(path))) as ledger:
        ledger.commit(make_commit([(minute, 0, minute % 7, 1, 0) for minute in range(90)], new_series=1))
        ledger.close_minutes(Closing(judged_before=90, sealed_before=None, events=(make_event("a"),)))
        while ledger.seal(90, pack_before=90):
            pass
        ledger._sqlite.execute("INSERT INTO agreement_versions VALUES ('chat', 1, '{}', 0)")
        assert ledger.check() == ()
        assert ledger._sqlite.execute(damage).rowcount > 0
        (line,) = ledger.check()
    assert line.startswith(message)


def test_a_failed_backup_leaves_nothing(path: Path) -> None:
    """What a full disk has of a copy is removed, and the error speaks of the copy."""
    make_ledger(path, n_minutes=300)
    target = path.with_name("backup.db")
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    with closing(LedgerReader.open(url_of(path))) as reader:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, former[1]))
        try:
            with pytest.raises(LedgerUnavailable, match="cannot write the backup /") as caught:
                reader.backup(target)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert_one_line(caught.value, str(target))
    assert list(path.parent.glob("backup.db*")) == []


def test_check_finds_damage(path: Path) -> None:
    """The whole check names damage that a large ledger's start would not have met."""
    make_ledger(path, n_minutes=300)
    reader = LedgerReader.open(url_of(path))
    content = path.read_bytes()
    path.write_bytes(content[:-6000] + b"\xa5" * 3000 + content[-3000:])
    try:
        found = reader.check()
    except LedgerCorrupt as error:
        found = (str(error),)
    reader.close()
    assert found


def test_warning_of_an_unsound_sqlite() -> None:
    """An SQLite with the known defect is named, for the log; a sound one is not."""
    is_sound = sqlite3.sqlite_version_info >= SQLITE_VERSION_SOUND
    assert sqlite_warning() is None if is_sound else sqlite3.sqlite_version in str(sqlite_warning())
