"""What operators meet in a year: full disks, files that are gone, closed descriptors, low limits, long copies."""

import asyncio
import http.client
import os
import re
import resource
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import builders
import naive
import pytest
import trustme
from ledger_parts import listed, make_commit, make_event, make_window
from pipeline_parts import Clock, make_config, running
from receiver_parts import until

from otel_sla.errors import LedgerUnavailable
from otel_sla.exporter.settings import DebugSettings
from otel_sla.judging import series_judge
from otel_sla.ledger import reader
from otel_sla.ledger.agreement_json import window_row
from otel_sla.ledger.compacting import compact_ledger
from otel_sla.ledger.exclusion_writer import ExclusionWriter
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Closing, LedgerLimits
from otel_sla.ledger.writer import Ledger
from otel_sla.sla.agreement import ExclusionReason, ExclusionWindow
from otel_sla.sla.events import Event

ROOT = Path(__file__).resolve().parents[2]
MINUTE = 29_701_440
COMMAND = [sys.executable, "-m", "otel_sla"]
CONFIG = """
page: null
agreements: [{{name: chat, group_by: [service.name]}}]
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:0"{grpc}}}, http: {{endpoint: "127.0.0.1:0"}}}}}}}}
ledger: {{url: "sqlite:///{folder}/ledger.db"}}
"""
GUARDED = """
page: null
receivers:
  otlp:
    protocols:
      http:
        endpoint: 127.0.0.1:0
        tls: {{cert_file: "{folder}/cert.pem", key_file: "{folder}/key.pem", reload_interval: 1h}}
        auth: {{tokens_file: "{folder}/tokens", reload_interval: 1h}}
ledger: {{url: "sqlite:///{folder}/ledger.db"}}
"""
WITHOUT_STANDARD_FILES = "import os, sys; os.closerange(0, 3); os.execv(sys.executable, sys.argv[1:])"
COPIES_BESIDE_COMMITS = """
import sys
from contextlib import closing
from pathlib import Path
from otel_sla.ledger.reader import LedgerReader
with closing(LedgerReader.open(sys.argv[1])) as reader:
    reader.backup(Path(sys.argv[2]))
"""

# After so many steps of SQLite's, or when all is written to the log.
COMPACTS_UNTIL_KILLED = """
import itertools, os, signal, sys
from otel_sla.ledger import compacting

steps, moves = itertools.count(1), itertools.count(1)
connect, move_log = compacting.connect_writer, compacting._move_log

def kill_if(is_due):
    if is_due:
        os.kill(os.getpid(), signal.SIGKILL)

def connect_and_count(*arguments, **options):
    connection = connect(*arguments, **options)
    connection.set_progress_handler(lambda: kill_if(next(steps) == int(sys.argv[2])), 1_000)
    return connection

def move_the_first(*arguments):
    kill_if(next(moves) == 2)
    move_log(*arguments)

compacting.connect_writer, compacting._move_log = connect_and_count, move_the_first
compacting.compact_ledger(sys.argv[1])
"""

HANGS_UP_AT_THE_START = """
import os, signal
from otel_sla import cli
from otel_sla.cli import commands

def import_module(_):
    os.kill(os.getpid(), signal.SIGHUP)
    raise SystemExit(0)

commands.import_module = import_module
cli.main()
"""
HANGS_UP_AT_THE_END = """
import os, signal, sys
from pathlib import Path
from otel_sla.serving import pipeline
from pipeline_parts import make_config
from otel_sla.serving.run import run_until_stopped

async def stop_at_once(_):
    os.kill(os.getpid(), signal.SIGTERM)

pipeline.warm_up = stop_at_once
run_until_stopped(make_config(Path(sys.argv[1])))
os.kill(os.getpid(), signal.SIGHUP)
"""
# The last argument is the signal that comes while it copies.
IS_ENDED_WHILE_IT_COPIES = """
import os, sqlite3, sys
from pathlib import Path
from otel_sla import cli

number, connect = int(sys.argv.pop()), sqlite3.connect

def connect_and_be_ended(name, **options):
    if str(name).endswith(".partial"):
        assert Path(name).exists()
        os.kill(os.getpid(), number)
    return connect(name, **options)

sqlite3.connect = connect_and_be_ended
cli.main()
"""


def environment() -> dict[str, str]:
    """Of a process that runs this checkout, wherever it is started."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def write_config(folder: Path, grpc: str = "") -> Path:
    """A pipeline on free ports, with its ledger in the folder."""
    path = folder / "otel-sla.yaml"
    path.write_text(CONFIG.format(folder=folder, grpc=grpc))
    return path


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own that is soon full."""
    folder.mkdir()
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounting.returncode:
        pytest.skip(f"no small disk can be mounted here (mount -t tmpfs, as root): {mounting.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave no room on a disk; gives the file that takes it."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return path


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """One command, to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, env=environment(), timeout=120, check=False
    )


def test_a_backup_ends_beside_commits(tmp_path: Path) -> None:
    """The copy is of the moment at which it began: commits that go on meanwhile do not make it begin anew."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    with closing(Ledger.open(url)) as ledger:
        ledger.commit(make_commit([(minute, 0, 1, 0, 0) for minute in range(200_000)], new_series=1))
        with subprocess.Popen(
            [sys.executable, "-c", COPIES_BESIDE_COMMITS, url, str(tmp_path / "copy.db")], env=environment()
        ) as copying:
            n_commits = 0
            while copying.poll() is None:  # Commits without a pause, for as long as it takes.
                ledger.commit(make_commit([(300_000 + n_commits, 0, 1, 0, 0)]))
                n_commits += 1
            assert copying.returncode == 0
    with closing(LedgerReader.open(f"sqlite:///{tmp_path}/copy.db")) as copy:
        assert copy.check() == ()
        assert 200_000 <= len(copy.counts(0, 1 << 40)) < 200_000 + n_commits, "as of the moment at which it began"


def test_a_backup_that_is_ended_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM in the middle of a copy: the command ends with an error, and no partial file keeps the disk full."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    with closing(Ledger.open(url)) as ledger:
        ledger.commit(make_commit([(minute, 0, 1, 0, 0) for minute in range(200_000)], new_series=1))
    connect = sqlite3.connect

    def connect_and_be_ended(*arguments: object, **options: object) -> sqlite3.Connection:
        signal.raise_signal(signal.SIGTERM)
        return connect(*arguments, **options)  # type: ignore[call-overload, no-any-return]

    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        with closing(LedgerReader.open(url)) as reader:
            monkeypatch.setattr(sqlite3, "connect", connect_and_be_ended)
            with pytest.raises(SystemExit):
                reader.backup(tmp_path / "copy.db")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert sorted(path.name for path in tmp_path.glob("copy*")) == []


@pytest.mark.parametrize("is_empty", [False, True])
def test_no_new_ledger_beside_a_log(tmp_path: Path, *, is_empty: bool) -> None:
    """A log without its file holds acknowledged counts: nothing starts, and the log is left as it is."""
    url, log = f"sqlite:///{tmp_path}/ledger.db", tmp_path / "ledger.db-wal"
    with closing(Ledger.open(url)) as ledger:
        ledger.commit(make_commit([(1, 0, 1, 0, 0)], new_series=1))
        held = log.read_bytes()
    log.write_bytes(held)
    (tmp_path / "ledger.db").rename(tmp_path / "elsewhere.db")
    if is_empty:
        (tmp_path / "ledger.db").touch()
    with pytest.raises(LedgerUnavailable, match=r"its log .* is there") as refused:
        Ledger.open(url)
    assert "beside its log" in refused.value.hint
    assert log.read_bytes() == held
    assert (tmp_path / "ledger.db").exists() is is_empty


def test_a_new_ledger_is_logged_and_can_be_forbidden(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever expects an old ledger reads that a new one was made, or has the start refused."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    with pytest.raises(LedgerUnavailable, match=r"ledger\.create is false"):
        Ledger.open(url, may_create=False)
    assert not (tmp_path / "ledger.db").exists()
    caplog.set_level("INFO", "otel_sla")
    Ledger.open(url).close()
    assert [record.action for record in caplog.records] == ["ledger_made"]  # type: ignore[attr-defined]
    Ledger.open(url, may_create=False).close()
    assert len(caplog.records) == 1


def test_an_empty_file_is_no_ledger(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What a first start that was killed leaves becomes the ledger; where none is to be made, it is refused."""
    url, path = f"sqlite:///{tmp_path}/ledger.db", tmp_path / "ledger.db"
    path.touch()
    with pytest.raises(LedgerUnavailable, match=r"an empty file, and ledger\.create is false"):
        Ledger.open(url, may_create=False)
    assert path.stat().st_size == 0
    caplog.set_level("INFO", "otel_sla")
    with closing(Ledger.open(url)) as ledger:
        assert ledger.is_new
    assert [record.action for record in caplog.records] == ["ledger_made"]  # type: ignore[attr-defined]


def test_a_replaced_file_is_not_mixed_with_a_log(tmp_path: Path) -> None:
    """A backup put in place while the former ledger's log lies there: refused, again and again, and nothing is written.

    Without that log, and with both moved back, it is taken.
    """
    url, path, log = f"sqlite:///{tmp_path}/ledger.db", tmp_path / "ledger.db", tmp_path / "ledger.db-wal"
    ledger = Ledger.open(url)
    ledger.commit(make_commit([(1, 0, 1, 0, 0)], new_series=1))
    with closing(LedgerReader.open(url)) as reader:
        reader.backup(tmp_path / "copy.db")
    ledger.commit(make_commit([(2, 0, 1, 0, 0)]))
    shutil.copy(path, tmp_path / "killed.db")  # As a kill leaves both.
    held = log.read_bytes()
    ledger.close()
    path.rename(tmp_path / "former.db")
    (tmp_path / "copy.db").rename(path)
    log.write_bytes(held)
    for opening in (Ledger.open, Ledger.open, compact_ledger):
        with pytest.raises(
            LedgerUnavailable, match=r"the file .* was replaced, and a log of the former one"
        ) as refused:
            opening(url)
        assert f"move {log} away" in refused.value.hint
        assert log.read_bytes() == held
    log.rename(tmp_path / "former.db-wal")
    with closing(Ledger.open(url)) as restored:
        assert len(restored.counts(0, 1 << 40)) == 1
    shutil.copy(tmp_path / "killed.db", tmp_path / "moved.db")
    (tmp_path / "moved.db").rename(path)
    log.write_bytes(held)
    (tmp_path / "ledger.db-lock").unlink()  # As the hint says of who moved both.
    with closing(Ledger.open(url)) as both:
        assert len(both.counts(0, 1 << 40)) == 2


def test_a_lock_that_root_made_is_the_owners(tmp_path: Path) -> None:
    """A restore or compaction as root leaves the lock to the owner of the ledger, else of the folder."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a file for somebody else")
    url = f"sqlite:///{tmp_path}/ledger.db"
    lock = tmp_path / "ledger.db-lock"
    os.chown(tmp_path, 1234, 1235)
    ledger = Ledger.open(url)
    assert (lock.stat().st_uid, lock.stat().st_gid) == (1234, 1235)
    ledger.close()
    os.chown(tmp_path / "ledger.db", 1236, 1237)
    compact_ledger(url)
    assert (lock.stat().st_uid, lock.stat().st_gid) == (1236, 1237)
    lock.unlink()
    lock.mkdir()
    with pytest.raises(LedgerUnavailable, match=r"ledger\.db-lock"):
        Ledger.open(url)


def test_a_stop_on_a_full_disk_says_what_belongs_together(tmp_path: Path) -> None:
    """The log cannot be moved into its file: the stop fails and names both files; with room again nothing is lost."""
    with small_disk(tmp_path / "disk", "2m") as disk:
        url = f"sqlite:///{disk}/ledger.db"
        ledger = Ledger.open(url)
        ledger.commit(make_commit([(minute, 0, 1, 0, 0) for minute in range(20_000)], new_series=1))
        filler = fill(disk)
        with pytest.raises(LedgerUnavailable, match=r"ledger\.db-wal") as refused:
            ledger.close()
        assert "keep both files together" in refused.value.hint
        filler.unlink()
        with closing(Ledger.open(url)) as again:
            assert len(again.counts(0, 1 << 40)) == 20_000


def test_a_pipeline_that_stops_on_a_full_disk_fails(tmp_path: Path) -> None:
    """What it could not write is its failure, and so exit code 1."""

    async def scenario(folder: Path) -> str:
        clock = Clock((MINUTE * 60 + 30) * 10**9)
        async with running(make_config(folder), clock) as (pipeline, send):
            for minute in range(20):
                end = (MINUTE - minute) * naive.NANOS_PER_MINUTE
                await send(builders.make_request_of(builders.make_span(end_time_unix_nano=end)))
            fill(folder)
        return str(pipeline.failure)

    with small_disk(tmp_path / "disk", "2m") as disk:
        assert "database or disk is full" in asyncio.run(scenario(disk))


@pytest.mark.parametrize("command", ["report", "check", "backup"])
def test_reading_on_a_full_disk(tmp_path: Path, command: str) -> None:
    """With the pipeline stopped, reports, checks and backups to another disk need no room beside the ledger."""
    with small_disk(tmp_path / "disk", "2m") as disk:
        config = write_config(disk)
        with closing(Ledger.open(f"sqlite:///{disk}/ledger.db")) as ledger:
            ledger.commit(make_commit([(minute, 0, 1, 0, 0) for minute in range(2_000)], new_series=1))
        fill(disk)
        arguments = {
            "report": ("report", "--format", "json"),
            "check": ("ledger", "check"),
            "backup": ("ledger", "backup", str(tmp_path / "copy.db")),
        }[command]
        done = run_command(*arguments, "--config", str(config))
        assert (done.returncode, done.stderr) == (0, "")


def start(arguments: list[str], **options: object) -> subprocess.Popen[str]:
    """A pipeline in a process of its own; what it logs can be read."""
    return subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=environment(), **options)  # type: ignore[call-overload, no-any-return]


def lines_until(process: "subprocess.Popen[str]", action: str) -> list[str]:
    """What it logs up to a line with this action."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if f"action={action}" in line:
            return lines
    raise AssertionError(f"no {action} in {lines}")


def test_closed_standard_files(tmp_path: Path) -> None:
    """A supervisor that closes input, output and errors: the pipeline serves, and stops with exit code 0."""
    config = write_config(tmp_path)
    arguments = [*COMMAND, "run", "--config", str(config)]
    with subprocess.Popen([sys.executable, "-c", WITHOUT_STANDARD_FILES, *arguments], env=environment()) as process:
        try:
            # It makes the ledger's lock file before it listens, and takes the signal from then on.
            wait_for_lock(tmp_path / "ledger.db-lock", process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()


def wait_for_lock(path: Path, process: "subprocess.Popen[bytes]") -> None:
    """Until the process holds its ledger; it has no output that could be read."""
    while not (path.exists() and path.read_text().strip()):
        assert process.poll() is None, "it has ended"
        os.sched_yield()


def test_too_low_a_limit_of_open_files_is_logged(tmp_path: Path) -> None:
    """A limit below what connections_max allows is said at start, and a flood of connections ends nothing."""
    config = write_config(tmp_path)
    limit = 192
    limited = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))  # noqa: E731
    with start([*COMMAND, "run", "--config", str(config)], preexec_fn=limited) as process:
        try:
            serving = lines_until(process, "serving")
            assert any(f"may open {limit} files" in line and "connections_max" in line for line in serving)
            port = int(serving[-1].split("HTTP ")[1].split(",")[0])
            with ExitStack() as connections:
                for _ in range(limit):
                    connections.enter_context(socket.create_connection(("127.0.0.1", port)))
            while not is_ready(port):  # Until it has seen that those are closed.
                assert process.poll() is None, "it has ended"
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()


def is_ready(port: int) -> bool:
    """Whether a connection is taken, and answered."""
    with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: here\r\n\r\n")
        return connection.recv(100).startswith(b"HTTP/1.1 200")
    return False


def test_no_start_without_room_for_connections(tmp_path: Path) -> None:
    """A limit of open files that leaves none for a connection ends the start, before a flood would end the process."""
    limited = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))  # noqa: E731
    with start([*COMMAND, "run", "--config", str(write_config(tmp_path))], preexec_fn=limited) as process:
        try:
            _, printed = process.communicate(timeout=60)
            assert (process.returncode, "may open 128 files" in printed, "LimitNOFILE" in printed) == (1, True, True)
        finally:
            process.kill()


def test_a_log_that_a_reader_holds_back_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A snapshot that stays open makes the log grow: the pipeline says so, and again when it has doubled."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    limits = LedgerLimits(log_pages_max=8, held_pages_min=64)
    with closing(Ledger.open(url, limits=limits)) as ledger, closing(LedgerReader.open(url)) as reader:
        ledger.commit(make_commit([], new_series=1))
        caplog.clear()
        with reader.snapshot():
            reader.series()
            for start in range(0, 60_000, 2_000):
                ledger.commit(make_commit([(minute, 0, 1, 0, 0) for minute in range(start, start + 2_000)]))
    logged = [record for record in caplog.records if record.action == "log_grows"]  # type: ignore[attr-defined]
    assert len(logged) in range(2, 6), "at each doubling, not at each commit"
    assert "ledger.db-wal" in logged[0].message


def test_a_stop_beside_a_reader_says_what_belongs_together(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A snapshot holds the newest counts back in the log: the stop says so, and so does a check of what is left."""
    config, url = write_config(tmp_path), f"sqlite:///{tmp_path}/ledger.db"
    ledger = Ledger.open(url)
    ledger.commit(make_commit([(1, 0, 1, 0, 0)], new_series=1))
    with closing(LedgerReader.open(url)) as reader, reader.snapshot():
        reader.series()
        ledger.commit(make_commit([(2, 0, 1, 0, 0)]))
        ledger.close()
    (logged,) = [record for record in caplog.records if record.action == "left_in_log"]  # type: ignore[attr-defined]
    assert f"{tmp_path}/ledger.db " in logged.message
    assert f"{tmp_path}/ledger.db-wal" in logged.message
    assert f"together with its log {tmp_path}/ledger.db-wal" in run_command("ledger", "check", "-c", str(config)).stdout
    caplog.clear()
    Ledger.open(url).close()
    assert not caplog.records
    assert run_command("ledger", "check", "-c", str(config)).stdout.endswith("is sound\n")


def days_of_a_year(ledger: Ledger, n_days: int, kept_days: int) -> Iterator[int]:
    """Count, pack and forget day after day; gives the file's pages after each."""
    for day in range(n_days):
        start = day * 1440
        rows = [(start + 97 * minute, series_id, 9, minute % 2, 1) for minute in range(14) for series_id in range(9)]
        ledger.commit(make_commit(rows, [(start, 100 * day + n) for n in range(20)], new_series=9 * (day == 0)))
        stop = start + 1440
        ledger.close_minutes(Closing(stop, stop, events=(make_event(f"event-{day}", start),)))
        while ledger.seal(stop):
            pass
        while ledger.expire(stop - kept_days * 1440):
            pass
        yield ledger._sqlite.execute("PRAGMA page_count").fetchone()[0]


def test_what_retention_frees_is_used_again(tmp_path: Path) -> None:
    """A year passes with a retention of a month: the file has its size after two months and keeps it."""
    with closing(Ledger.open(f"sqlite:///{tmp_path}/ledger.db")) as ledger:
        ledger._sqlite.execute("PRAGMA synchronous = OFF")  # Some thousand commits, of which none has to last.
        pages = list(days_of_a_year(ledger, 365, kept_days=30))
    assert max(pages[60:]) <= max(pages[:60]), "it grows no more"


def test_compacting_gives_free_pages_back(tmp_path: Path) -> None:
    """After a retention that was shortened: the file is smaller, holds the same, and a pipeline goes on with it."""
    config, url, path = write_config(tmp_path), f"sqlite:///{tmp_path}/ledger.db", tmp_path / "ledger.db"
    with closing(Ledger.open(url)) as ledger:
        ledger.commit(make_commit([(minute, 0, 1, 0, 0) for minute in range(20_000)], new_series=1))
        while ledger.expire(15_000):
            pass
        refused = run_command("ledger", "compact", "--config", str(config))
        assert (refused.returncode, refused.stdout) == (1, "")
        assert f"is in use by process {os.getpid()}" in refused.stderr
        assert "stop that process" in refused.stderr
        held = listed(ledger.counts(0, 1 << 40))
    size, owner = path.stat().st_size, (path.stat().st_ino, path.stat().st_mode)
    done = run_command("ledger", "compact", "--config", str(config))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"from {size} to {path.stat().st_size} bytes" in done.stdout
    assert path.stat().st_size < size / 2
    assert (path.stat().st_ino, path.stat().st_mode) == owner
    assert sorted(each.name for each in tmp_path.glob("ledger.db*")) == ["ledger.db", "ledger.db-lock"]
    assert "no free pages" in run_command("ledger", "compact", "--config", str(config)).stdout
    with closing(Ledger.open(url)) as ledger:
        assert listed(ledger.counts(0, 1 << 40)) == held
        assert ledger.check() == ()


@pytest.mark.parametrize("step", [1, 12, 10**9])
def test_compacting_that_is_killed(tmp_path: Path, step: int) -> None:
    """Kill -9 at its start, in its midst, and before what it wrote is moved from the log: the ledger holds the same."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    with closing(Ledger.open(url)) as ledger:
        ledger.commit(make_commit([(minute, 0, 1, 0, 0) for minute in range(20_000)], new_series=1))
        while ledger.expire(15_000):
            pass
        held = listed(ledger.counts(0, 1 << 40))
    arguments = [sys.executable, "-c", COMPACTS_UNTIL_KILLED, url, str(step)]
    killed = subprocess.run(arguments, env=environment(), timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    with closing(Ledger.open(url)) as ledger:
        assert listed(ledger.counts(0, 1 << 40)) == held
        assert ledger.check() == ()
    compact_ledger(url)
    with closing(LedgerReader.open(url)) as reader:
        assert listed(reader.counts(0, 1 << 40)) == held


def test_compacting_without_room(tmp_path: Path) -> None:
    """The error comes before anything is written, and the ledger is as it was."""
    with small_disk(tmp_path / "disk", "3m") as disk:
        url = f"sqlite:///{disk}/ledger.db"
        with closing(Ledger.open(url)) as ledger:
            ledger.commit(make_commit([(minute, 0, 1, 0, 0) for minute in range(20_000)], new_series=1))
            while ledger.expire(5_000):
                pass
        os.truncate(fill(disk), 0)
        (disk / "filler").write_bytes(b"x" * (shutil.disk_usage(disk).free - (256 << 10)))
        with pytest.raises(LedgerUnavailable, match=r"takes \d MiB in .* 0 MiB are free"):
            compact_ledger(url)
        with closing(LedgerReader.open(url)) as reader:
            assert len(reader.counts(0, 1 << 40)) == 15_000


def test_compacting_beside_a_reader(tmp_path: Path) -> None:
    """A snapshot that stays open keeps the file long: that is logged, nothing is lost, and later it works."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    with closing(Ledger.open(url)) as ledger:
        ledger.commit(make_commit([(minute, 0, 1, 0, 0) for minute in range(20_000)], new_series=1))
        while ledger.expire(15_000):
            pass
        with closing(LedgerReader.open(url)) as reader, reader.snapshot():
            reader.series()
            ledger.close()
            with pytest.raises(LedgerUnavailable, match="a reader keeps an old state"):
                compact_ledger(url, busy_timeout_ms=0)
    done = compact_ledger(url)
    assert done.size_after_bytes < done.size_before_bytes / 2


def test_a_report_that_is_paged_holds_no_snapshot(tmp_path: Path) -> None:
    """`report --rows minutes | less`, left open: what is committed meanwhile is moved from the log into the file."""
    config = write_config(tmp_path)
    with closing(Ledger.open(f"sqlite:///{tmp_path}/ledger.db")) as ledger:
        ledger.commit(make_commit([(MINUTE, 0, 1, 0, 0)], new_series=1))
        arguments = ["report", "--month", "2026-06", "--format", "csv", "--rows", "minutes", "--config", str(config)]
        with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, env=environment()) as paging:
            try:
                assert paging.stdout is not None
                assert paging.stdout.readline().startswith(b"agreement,")
                ledger.commit(make_commit([(minute, 0, 1, 0, 0) for minute in range(2_000)]))
                _, n_pages, n_moved = ledger._sqlite.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                assert n_pages == n_moved > 0
                assert paging.poll() is None, "it waits for its reader"
            finally:
                paging.kill()


def answer_to(port: int, authority: trustme.CA, token: str) -> tuple[int, bytes | None]:
    """Status of an empty request with this token, and the server's certificate."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=60)
    with closing(connection):
        headers = {"content-type": "application/x-protobuf", "authorization": f"Bearer {token}"}
        connection.request("POST", "/v1/traces", b"\x0a\x00", headers)
        certificate = connection.sock.getpeercert(binary_form=True)
        return connection.getresponse().status, certificate


def test_a_hangup_has_certificates_and_tokens_read_again(tmp_path: Path) -> None:
    """SIGHUP: what was rotated holds at once; the next SIGTERM ends it cleanly."""
    authority, tokens = trustme.CA(), tmp_path / "tokens"

    def rotate(token: str) -> None:
        tokens.write_text(token)
        certificate = authority.issue_cert("127.0.0.1")
        certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")

    rotate("first")
    config = tmp_path / "otel-sla.yaml"
    config.write_text(GUARDED.format(folder=tmp_path))
    with start([*COMMAND, "run", "--config", str(config)]) as process:
        try:
            port = int(lines_until(process, "serving")[-1].split("HTTP ")[1].split(",")[0])
            status, certificate = answer_to(port, authority, "first")
            assert status == 200
            rotate("second")
            process.send_signal(signal.SIGHUP)
            assert process.stderr is not None
            waited = ["tls_reloaded", "tokens_reloaded"]
            while waited:
                (action,) = re.findall(r"action=(\S+)", process.stderr.readline())
                assert not action.endswith("not_reloaded")
                if action in waited:
                    waited.remove(action)
            assert answer_to(port, authority, "first")[0] == 401
            status, other = answer_to(port, authority, "second")
            assert (status, other != certificate) == (200, True)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()


def run_script(script: str, *arguments: str) -> int:
    """Its exit code; a hangup ends it unless it says otherwise, whatever the tests ignore."""
    search = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    hears = lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)  # noqa: E731
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(
        command, env={**os.environ, **search}, preexec_fn=hears, capture_output=True, timeout=120, check=False
    ).returncode


def test_a_hangup_before_and_after_serving_ends_nothing(tmp_path: Path) -> None:
    """SIGHUP while the command is imported, and when the pipeline has stopped: the exit code is that of the run."""
    assert run_script(HANGS_UP_AT_THE_START, "run") == 0
    assert run_script(HANGS_UP_AT_THE_END, str(tmp_path)) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_backup_whose_process_is_ended_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """A stop, Ctrl-C, a terminal that goes away: the command fails, and no partial file keeps the disk full."""
    config = write_config(tmp_path)
    Ledger.open(f"sqlite:///{tmp_path}/ledger.db").close()
    arguments = ["ledger", "backup", str(tmp_path / "copy.db"), "-c", str(config), str(int(number))]
    assert run_script(IS_ENDED_WHILE_IT_COPIES, *arguments) == 128 + number
    assert sorted(path.name for path in tmp_path.glob("copy*")) == []


def window_of(minute: int) -> ExclusionWindow:
    """One that excludes a minute of all groups."""
    start = datetime.fromtimestamp(minute * 60, UTC)
    window = replace(make_window(), reason=ExclusionReason.FORCE_MAJEURE, group=None, start=start)
    return replace(window, stop=start + timedelta(minutes=1))


def test_many_exclusions_are_published_at_once(tmp_path: Path) -> None:
    """Sixty windows of a minute each, recorded one by one: one revision of sixty minutes, in one look."""
    config = make_config(tmp_path)

    async def scenario() -> list[Event]:
        clock = Clock(MINUTE * naive.NANOS_PER_MINUTE)
        async with running(config, clock) as (pipeline, send):
            for minute in range(MINUTE - 60, MINUTE):
                end = minute * naive.NANOS_PER_MINUTE
                failed = builders.make_span({"http.response.status_code": 500}, end_time_unix_nano=end)
                await send(builders.make_request_of(failed))
            clock.now += 10 * naive.NANOS_PER_MINUTE
            await pipeline.tick()
            with closing(ExclusionWriter.open(config.ledger.url)) as writer:
                for minute in range(MINUTE - 60, MINUTE):
                    writer.record_exclusion("default", window_of(minute))
            await pipeline.tick()
        with closing(LedgerReader.open(config.ledger.url)) as reader:
            assert reader.watermarks().exclusion_change == 60
            return [stored.event for stored in reader.events_after(0, 1_000)]

    causes = [event for event in asyncio.run(scenario()) if "sla.revision.cause" in event.attributes]
    (revised,) = (event for event in causes if event.name == "sla.verdict.revised" and "excluded" in event.body)
    assert revised.attributes["sla.minute.count"] == 60


def test_exclusions_are_read_when_they_change(tmp_path: Path) -> None:
    """A reader gives the same object until one is recorded or withdrawn, so that nothing is worked out anew."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    with closing(Ledger.open(url)) as ledger, closing(LedgerReader.open(url)) as reader:
        with closing(ExclusionWriter.open(url)) as writer:
            number = writer.record_exclusion("chat", make_window())
            known = reader.exclusions()
            ledger.commit(make_commit([(1, 0, 1, 0, 0)], new_series=1))
            assert reader.exclusions() is known
            withdrawn_at = datetime(2026, 11, 3, tzinfo=UTC)
            writer.withdraw_exclusion(number, withdrawn_by="ops", withdrawn_at=withdrawn_at, why="a mistake")
        assert reader.exclusions()[0].withdrawal is not None


def test_ten_thousand_exclusions_cost_an_idle_pipeline_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read again only when one comes: once by the judge and once by the exporter, and nothing is published."""
    done: Counter[str] = Counter()

    def count(owner: object, name: str) -> None:
        real = getattr(owner, name)

        def counted(*arguments: object, **options: object) -> object:
            done[name] += 1
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, counted)

    for owner, name in ((reader, "read_exclusions"), (series_judge, "accepted_windows"), (Ledger, "close_minutes")):
        count(owner, name)
    config = make_config(tmp_path, exporters=(DebugSettings(name="debug", interval_s=0.001),))
    Ledger.open(config.ledger.url).close()
    windows = [window_of(minute) for minute in range(MINUTE - 9_990, MINUTE + 10)]
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection, connection:  # One by one it would take 20 s.
        connection.executemany(
            "INSERT INTO exclusions (agreement, change, reason, start, stop, group_values, announced_at, note,"
            " recorded_by, recorded_at) VALUES ('default', ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(change, *window_row(window)) for change, window in enumerate(windows, 1)],
        )

    async def scenario() -> None:
        clock = Clock(MINUTE * naive.NANOS_PER_MINUTE)
        with closing(LedgerReader.open(config.ledger.url)) as reader:
            async with running(config, clock) as (pipeline, send):

                async def after(minutes: int) -> Counter[str]:
                    """Do what is due by then, and all that five more ticks find."""
                    clock.now += minutes * naive.NANOS_PER_MINUTE
                    await pipeline.tick()
                    await until(lambda: reader.cursor("debug").exported_before == reader.watermarks().published_before)
                    due = done.copy()
                    for _ in range(5):
                        await pipeline.tick()
                    assert done == due
                    done.clear()
                    return due

                await send(builders.make_request_of(builders.make_span({}, end_time_unix_nano=clock.now)))
                assert (await after(10))["read_exclusions"] == 2
                assert reader.watermarks().exclusion_change == 10_000
                assert (await after(1)).keys() == {"close_minutes"}
                with closing(ExclusionWriter.open(config.ledger.url)) as writer:
                    writer.record_exclusion("default", window_of(MINUTE))
                due = await after(1)
                assert reader.watermarks().exclusion_change == 10_001
                assert due["read_exclusions"] == 2
                assert due["accepted_windows"] <= 4, "without it and with it"
                assert (await after(1)).keys() == {"close_minutes"}

    asyncio.run(asyncio.wait_for(scenario(), 120))
