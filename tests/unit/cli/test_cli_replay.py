"""`otel-sla replay`: what it prints, where, and the exit code."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from builders import MINUTE_NANOS, START_UNIX_NANO, realistic_request
from replay_parts import counts_in, json_lines, make_metrics, prefixed, to_json
from sla_parts import make_agreement
from typer.testing import CliRunner, Result

from otel_sla.cli import app
from otel_sla.cli.replaying import Display, open_display, totals_lines
from otel_sla.counting.classify.notes import Notes
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Closing
from otel_sla.ledger.writer import Ledger
from otel_sla.replay.counting import Totals
from otel_sla.replay.replay import Progress
from otel_sla.sla.agreement import CodeRule, Outcome, WhenAbsent

BODIES = [realistic_request(40, seed, start_unix_nano=START_UNIX_NANO + seed * 5 * MINUTE_NANOS) for seed in range(10)]


def invoke(*arguments: str | Path, stdin: bytes | None = None) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, ["replay", *map(str, arguments)], input=stdin, prog_name="otel-sla")


def write(path: Path, content: bytes) -> Path:
    """Write a file and give its path."""
    path.write_bytes(content)
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with a ledger of its own that is not there yet."""
    return write(tmp_path / "otel-sla.yaml", b"ledger: {url: 'sqlite:///%s'}\n" % os.fsencode(tmp_path / "ledger.db"))


def url_of(config: Path) -> str:
    """The ledger of the configuration."""
    return f"sqlite:///{config.parent / 'ledger.db'}"


def test_files_are_counted_and_totals_printed(config: Path, tmp_path: Path) -> None:
    """Files of several formats are counted in one command; a second one counts nothing more."""
    first = write(tmp_path / "a.json", json_lines(BODIES[:4]))
    second = write(tmp_path / "b.zst", zstandard.compress(prefixed([make_metrics(), *BODIES[4:], BODIES[2]])))
    result = invoke("--config", config, first, second)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("counted 440 spans of 11 records in ")
    assert lines[1].startswith("  default: ")
    assert lines[2:] == [
        "  40 spans counted before: their sender repeated them",
        "  1 record skipped: metrics, logs or profiles",
    ]
    again = invoke("--config", config, second, first)
    assert again.stdout.splitlines()[0].startswith("counted 0 spans of 0 records in ")
    assert again.stdout.splitlines()[1:] == ["  12 records counted by an earlier replay"]


@pytest.mark.parametrize("content", [b"no JSON\n", b"", b"{}\n"])
def test_a_failed_replay_leaves_no_new_ledger(config: Path, content: bytes) -> None:
    """A file that is no recording: an error, and no ledger that a report would find empty; one that is there stays."""
    result = invoke("-c", config, "-", stdin=content)
    assert (config.parent / "ledger.db").exists() == (result.exit_code == 0)
    assert result.exit_code == (1 if content == b"no JSON\n" else 0)
    assert invoke("-c", config, "-", stdin=json_lines(BODIES[:1])).exit_code == 0
    assert invoke("-c", config, "-", stdin=b"no JSON\n").exit_code == 1
    with closing(LedgerReader.open(url_of(config))) as reader:
        assert counts_in(reader)


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_a_replay_that_covered_nothing_says_so(
    tmp_path: Path, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No span of an agreement: the totals say it, name the services that were seen, and what decides it."""
    monkeypatch.chdir(tmp_path)  # `make run` may have left a ledger in the folder of the tests.
    text = "agreements: [{name: a, covered_service: {resource: {service.name: none-such}}}]\n"
    config = write(tmp_path / "otel-sla.yaml", text.encode())
    result = invoke("-c", config, "-", *options, stdin=json_lines(BODIES))
    assert result.exit_code == 0
    said = result.stderr if options else result.stdout
    assert "  none is a request of an agreement: " in said
    assert "server spans, of service.name 'chat-1', 'chat-2', 'chat-3'; " in said
    assert "see covered_service and entry_spans_only" in said
    if options:
        assert result.stdout == "No request of an agreement was found, so there is no month to report.\n"


def test_a_dry_run_without_a_month_is_no_json(tmp_path: Path) -> None:
    """Nothing was covered and JSON is asked for: no document, and one line that says why."""
    text = "agreements: [{name: a, covered_service: {resource: {service.name: none-such}}}]\n"
    config = write(tmp_path / "otel-sla.yaml", text.encode())
    result = invoke("-c", config, "-", "--dry-run", "--report-format", "json", stdin=json_lines(BODIES))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--month: is needed for JSON: no month with requests of an agreement is found" in result.stderr


def test_standard_input_is_counted(config: Path) -> None:
    """`-` is standard input, compressed or not."""
    result = invoke("-c", config, "-", stdin=zstandard.compress(json_lines(BODIES)))
    assert (result.exit_code, result.stdout.startswith("counted 400 spans of 10 records")) == (0, True)


@pytest.mark.parametrize("report_format", ["table", "json"])
def test_dry_run_says_what_the_real_run_would(config: Path, tmp_path: Path, report_format: str) -> None:
    """A dry run prints the report that a real run and `report` give, and makes no ledger."""
    file = write(tmp_path / "spans", prefixed(BODIES))
    dry = invoke("-c", config, file, "--dry-run", "--report-format", report_format)
    assert dry.exit_code == 0
    assert dry.stderr.startswith("counted 400 spans of 10 records")
    assert not (tmp_path / "ledger.db").exists()
    assert invoke("-c", config, file).exit_code == 0
    real = CliRunner().invoke(app, ["report", "-c", str(config), "--month", "2026-06", "--format", report_format])
    assert real.exit_code == 0
    assert _untimed(dry.stdout) == _untimed(real.stdout)


def _untimed(report: str) -> str:
    """A report without its time, version and validity, that only the ledger of a pipeline has."""
    if not report.startswith("{"):
        return "\n".join(line for line in report.splitlines() if ", generated at " not in line)
    document = json.loads(report)
    del document["generated_at"]
    return json.dumps(document)


def test_dry_run_shows_each_month_that_it_finds(config: Path, tmp_path: Path) -> None:
    """Without --month every month with requests is shown, oldest first; with it that one, found or not."""
    later = realistic_request(40, 99, start_unix_nano=START_UNIX_NANO + 60 * 1440 * MINUTE_NANOS)
    file = write(tmp_path / "spans", prefixed([later, *BODIES]))
    found = [line for line in invoke("-c", config, file, "--dry-run").stdout.splitlines() if ", generated at " in line]
    assert [line.partition(",")[0] for line in found] == ["June 2026", "August 2026"]
    asked = invoke("-c", config, file, "--dry-run", "--month", "2026-07")
    assert asked.stdout.startswith("July 2026, ")
    as_json = ("-c", config, file, "--dry-run", "--report-format", "json")
    refused = invoke(*as_json)
    assert (refused.exit_code, refused.stdout) == (2, ""), "two documents behind each other are no JSON"
    assert "several months" in refused.stderr
    fixed = [invoke(*as_json, "--month", "2026-06", "--generated-at", "2026-07-01T00:00:00Z").stdout for _ in range(2)]
    assert fixed[0] == fixed[1]
    assert json.loads(fixed[0])["generated_at"] == "2026-07-01T00:00:00Z"


@pytest.mark.parametrize("option", ["--month=2026-06", "--report-format=json", "--generated-at=2026-07-01T00:00:00Z"])
def test_what_is_for_a_dry_run_is_refused_without_one(config: Path, tmp_path: Path, option: str) -> None:
    """An option that would do nothing is an error, and nothing is counted."""
    refused = invoke("-c", config, write(tmp_path / "spans", prefixed(BODIES)), option)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "is for --dry-run" in refused.stderr


def test_broken_line_is_named_and_fatal_or_skipped(config: Path, tmp_path: Path) -> None:
    """A broken line ends the command with its file and number after what was counted; --on-error skip goes on."""
    lines = [to_json(body) for body in BODIES]
    file = write(tmp_path / "spans.json", b"\n".join([*lines[:3], b"{oops}", *lines[3:]]))
    stopped = invoke("-c", config, file)
    assert stopped.exit_code == 1
    assert stopped.stdout.startswith("counted 120 spans of 3 records")
    assert f"error: {file}, line 4: not an OTLP trace request in JSON" in stopped.stderr
    assert "--on-error skip" in stopped.stderr
    dry = invoke("-c", config, file, "--dry-run")
    assert (dry.exit_code, dry.stdout) == (1, "")
    skipped = invoke("-c", config, file, "--on-error", "skip")
    assert skipped.exit_code == 0
    assert f"warning: {file}, line 4: not an OTLP" in skipped.stderr
    assert skipped.stdout.startswith("counted 280 spans of 7 records")
    assert "  1 record skipped: broken" in skipped.stdout


def test_a_ledger_in_use_is_an_error(config: Path, tmp_path: Path) -> None:
    """While another process has the ledger nothing is counted, and what to do is said."""
    file = write(tmp_path / "spans", prefixed(BODIES))
    with closing(Ledger.open(url_of(config))):
        result = invoke("-c", config, file)
        assert invoke("-c", config, file, "--dry-run").exit_code == 0
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is in use by process" in result.stderr
    assert "hint: stop that process" in result.stderr


def test_sealed_minutes_are_printed(config: Path, tmp_path: Path) -> None:
    """Requests of minutes that a pipeline has sealed are counted, and the totals warn that it may be twice."""
    with closing(Ledger.open(url_of(config))) as ledger:
        minute = START_UNIX_NANO // MINUTE_NANOS + 10_000
        ledger.close_minutes(Closing(judged_before=minute, sealed_before=minute))
    result = invoke("-c", config, write(tmp_path / "spans", prefixed(BODIES)))
    assert "  400 spans of sealed minutes" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.json"], "missing.json does not exist"),
        (["."], ". is a directory"),
        (["-", "--month", "2026-06"], "--dry-run"),
        (["-", "--dry-run", "--month", "June"], "YYYY-MM"),
        (["-", "--on-error", "hope"], "'stop'"),
        ([], "FILE"),
    ],
)
def test_wrong_usage_is_an_error(arguments: list[str], said: str) -> None:
    """Wrong arguments end with code 2 before anything is counted."""
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


class _Shown(Display):
    def __init__(self) -> None:
        super().__init__(0, every_s=0.0)
        self.shown: list[object] = []

    def print(self, line: str) -> None:
        self.shown.append(line)

    def move(self, name: str, size_bytes: int, spans: int) -> None:
        self.shown.append((name, size_bytes, spans))


def test_progress_goes_over_all_files() -> None:
    """Bytes add up over files, and after some broken records the others are only counted."""
    display = _Shown()
    for name in ("a", "b"):
        display.begin_file()
        for size in (10, 30):
            display.show(Progress(name, size, size * 100))
    assert display.shown == [("a", 10, 1000), ("a", 30, 3000), ("b", 40, 1000), ("b", 60, 3000)]
    display.shown.clear()
    for number in range(50):
        display.warn(f"line {number}")
    assert len(display.shown) == 21
    assert display.shown[19:] == [
        "otel-sla: warning: line 19",
        "otel-sla: warning: there are more; the totals count them",
    ]


def test_a_line_of_progress_counts_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no terminal a line says how far it is, one span in the singular."""
    with open_display(1000) as display:
        display.move("a", 10, 1)
        display.move("a", 500, 1234)
    assert capsys.readouterr().err == (
        "otel-sla: a: 1 span, 1 % of all files\notel-sla: a: 1,234 spans, 50 % of all files\n"
    )


def test_everything_left_out_has_a_line() -> None:
    """Each total that is not zero is printed, none is that is."""
    totals = Totals()
    assert len(list(totals_lines(totals, (), 1.0))) == 1
    counts = ("unknown_parent_spans", "sampled_spans", "unusable_threshold_spans", "spared_requests")
    places = [(totals.notes, name) for name in counts]
    places += [(totals, name) for name in Totals.__slots__ if name not in {"records", "spans", "requests", "notes"}]
    for number, (place, name) in enumerate(places, start=101):
        setattr(place, name, number)
    lines = list(totals_lines(totals, (), 1.0))
    numbers = [int(line.split()[0]) for line in lines[1:]]
    assert sorted(numbers) == list(range(101, 101 + len(places)))


def test_what_was_seen_on_spans_has_a_line() -> None:
    """Statuses by key with a value, parents, sampling and spared requests; a code that failed none is noted."""
    agreement = replace(make_agreement(), code=CodeRule("error.type", ("Internal Error",), WhenAbsent.FAILED))
    seen = Notes(Counter({"http.status_code": 1}), {"http.status_code": "99"}, 2, 3, 4, 5, {agreement.name: {"'500'"}})
    totals = Totals(notes=seen)
    _, *lines = totals_lines(totals, [agreement], 1.0)
    assert [line.split()[0] for line in lines] == ["1", "3", "4", "2", "5", "agreement"]
    assert "1 span without a status code in http.status_code, but 99" in lines[0]
    assert "of error.type it has seen '500'" in lines[-1]
    totals.requests[agreement.name, Outcome.FAILED] = 1
    assert not any(line.split()[0] == "agreement" for line in totals_lines(totals, [agreement], 1.0))


def start(config: Path, *arguments: str, stderr: int) -> "subprocess.Popen[bytes]":
    """Start the command as a process of its own that reads standard input."""
    return subprocess.Popen(
        [sys.executable, "-m", "otel_sla", "replay", "-c", str(config), *arguments, "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
    )


def test_terminal_gets_a_bar(config: Path) -> None:
    """On a terminal progress is a bar, which is gone when the totals are printed."""
    ours, theirs = pty.openpty()
    with start(config, stderr=theirs) as process:
        os.close(theirs)
        stdout, _ = process.communicate(prefixed(BODIES))
    shown = os.read(ours, 65536)
    os.close(ours)
    assert process.returncode == 0
    assert b"\x1b[" in shown
    assert stdout.startswith(b"counted 400 spans")


@pytest.mark.skipif("NUMBA_DISABLE_JIT" in os.environ, reason="256,000 spans, an hour without the compiler")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_replay_goes_on(config: Path, number: signal.Signals) -> None:
    """A replay that is killed or interrupted in the middle goes on where it stopped; each span counts once."""
    bodies = [realistic_request(512, seed) for seed in range(20)]
    # Other ids make other messages of the same length; 480 of them are more than two commits.
    content = prefixed(body.replace(b"chat.example.com", b"chat.%07d.com" % n) for n in range(25) for body in bodies)
    process = start(config, stderr=subprocess.DEVNULL)
    assert process.stdin is not None
    # The pipe holds less than a commit: when all of this is taken, the first commit is done.
    process.stdin.write(content[: 90 << 20])
    process.stdin.flush()
    process.send_signal(number)
    stdout, _ = process.communicate()
    with closing(LedgerReader.open(url_of(config))) as reader:
        before = sum(counts[0] for minutes in counts_in(reader).values() for counts in minutes.values())
    assert before > 0
    if number == signal.SIGINT:
        assert process.returncode == 1
        assert stdout.startswith(b"counted ")
    result = invoke("-c", config, "-", stdin=content)
    assert result.exit_code == 0
    assert "records counted by an earlier replay" in result.stdout
    with closing(LedgerReader.open(url_of(config))) as reader:
        total = sum(sum(counts) for minutes in counts_in(reader).values() for counts in minutes.values())
    assert total == 25 * 20 * 512
