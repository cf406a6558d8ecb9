"""`otel-sla exclusion`: beside a pipeline that has the ledger open, and without one."""

import csv
import getpass
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cli_parts import invoke, ledger_url, lines_of, open_ledger, write_config
from ledger_parts import listed, make_commit

from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.writer import Ledger
from otel_sla.sla.months import Month, month_range

# October 2025 in Berlin: its clocks are put back on the 26th, after minutes of 02:00 to 03:00 have happened twice.
OCTOBER = month_range(Month(2025, 10), "Europe/Berlin")
# 20:00 on Friday, the 10th.
OUTAGE = OCTOBER.start_minute + 9 * 1440 + 20 * 60
AGREEMENTS = """
  - name: chat
    monthly_uptime: {time_zone: Europe/Berlin}
    exclusions:
      holidays: [2025-10-08]
      windows: [{reason: third_party, start: 2025-10-01T00:00, stop: 2025-10-01T00:01, note: configured}]
  - name: search
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Write a configuration of two agreements."""
    return write_config(tmp_path, AGREEMENTS)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Hold a ledger open as a pipeline does: chat-1 was down for an hour, chat-2 never."""
    rows = [(OUTAGE + n, 0, 0, 10, 0) for n in range(60)] + [(OUTAGE + n, 1, 10, 0, 0) for n in range(60)]
    with closing(open_ledger(tmp_path, [b"chat-1", b"chat-2"], rows)) as opened:
        yield opened


def add(config: Path, *options: object, **changed: str) -> Any:  # noqa: ANN401 - typer's Result.
    """Run `exclusion add` for half an hour of the outage, options by name changed."""
    named = {
        "agreement": "chat",
        "reason": "force_majeure",
        "start": "2025-10-10T20:00",
        "stop": "2025-10-10T20:30",
        "note": "flood",
        "by": "ops",
        **changed,
    }
    given = [part for name, value in named.items() for part in (f"--{name.replace('_', '-')}", value)]
    return invoke("exclusion", "add", "-c", config, *given, *options)


def report(config: Path, *options: object) -> dict[str, Any]:
    """Give the JSON report of October."""
    result = invoke("report", "-c", config, "--month", "2025-10", "--agreement", "chat", "--format", "json", *options)
    assert result.exit_code == 0, result.output
    (agreement,) = json.loads(result.stdout)["agreements"]
    return dict(agreement)


def test_clause_15_an_exclusion_is_added_beside_a_pipeline(config: Path, ledger: Ledger) -> None:
    """Half an hour of force majeure, in local time: said back with its offset, what it changes, and kept so."""
    lines = lines_of(add(config))
    assert lines == [
        "exclusion 1 of agreement chat is recorded by ops",
        "  force majeure, all series: flood",
        "  from 2025-10-10 20:00 +02:00 to 2025-10-10 20:30 +02:00",
        "  accepted",
        "  month 2025-10: 1 series gets another uptime, 1 keeps its",
        "    service.name=chat-1: uptime 99.86577 % -> 99.93288 %, downtime 60 -> 30 min (raw 60 min), coverage 0.13 %",
    ]
    (record,) = ledger.exclusions()
    assert (record.agreement, record.window.note, record.window.recorded_by) == ("chat", "flood", "ops")
    assert record.window.start.isoformat() == "2025-10-10T20:00:00+02:00"
    assert record.figures_before is not None
    (month,) = record.figures_before["months"]  # type: ignore[misc]
    assert (month["month"], month["version"]) == ("2025-10", None)
    assert [series["group"] for series in month["series"]] == [{"service.name": "chat-1"}, {"service.name": "chat-2"}]
    assert month["series"][0]["minutes"]["down"] == month["series"][0]["downtime_minutes_raw"] == 60
    assert month["series"][0]["monthly_uptime"] == "0.99865771"


def test_clause_15_a_withdrawal_gives_the_figures_back(config: Path, ledger: Ledger) -> None:
    """Added and withdrawn while no pipeline runs: reports follow, and show the withdrawn one with who and why."""
    ledger.close()
    before = report(config)
    lines_of(add(config))
    with_window = report(config)
    assert with_window["series"][0]["minutes"]["down"] == 30
    entry = with_window["series"][0]["exclusions"][1]
    assert (entry["id"], entry["accepted"], entry["minutes_saved"]) == (1, True, 30)
    assert (entry["recorded_by"], entry["note"]) == ("ops", "flood")
    lines = lines_of(invoke("exclusion", "withdraw", "1", "-c", config, "--why", "it was no flood", "--by", "legal"))
    assert lines == [
        "exclusion 1 of agreement chat is withdrawn by legal: it was no flood",
        "  month 2025-10: 1 series gets another uptime, 1 keeps its",
        "    service.name=chat-1: uptime 99.93288 % -> 99.86577 %, downtime 30 -> 60 min (raw 60 min), coverage 0.13 %",
    ]
    after = report(config)
    withdrawn = after["series"][0]["exclusions"].pop(1)
    assert (withdrawn["accepted"], withdrawn["refusal"], withdrawn["minutes_saved"]) == (False, "withdrawn", 0)
    assert (withdrawn["withdrawn_by"], withdrawn["withdrawn_why"]) == ("legal", "it was no flood")
    after["series"][1]["exclusions"].pop(1)
    assert after == before
    table = invoke("report", "-c", config, "--month", "2025-10").stdout
    assert "exclusion 1 by ops: excludes nothing: withdrawn by legal" in table
    page = invoke("report", "-c", config, "--month", "2025-10", "--format", "html").stdout
    assert "withdrawn by legal, " in page
    rows = invoke("report", "-c", config, "--month", "2025-10", "--format", "csv", "--rows", "exclusions").stdout
    of_window = [row for row in csv.DictReader(rows.splitlines()) if row["exclusion_id"] == "1"]
    assert [(row["accepted"], row["withdrawn_by"], row["withdrawn_why"]) for row in of_window] == [
        ("false", "legal", "it was no flood")
    ] * 2
    with closing(LedgerReader.open(ledger_url(config.parent))) as reader:
        (record,) = reader.exclusions()
    assert record.withdrawal is not None
    figures: Any = record.withdrawal.figures_before
    assert figures["months"][0]["series"][0]["minutes"]["down"] == 30


@pytest.mark.usefixtures("ledger")
def test_clause_14_too_short_a_notice_is_told_with_the_latest_date(config: Path) -> None:
    """Maintenance announced two business days before, a holiday between: kept, printed, and it changes nothing."""
    lines = lines_of(add(config, reason="scheduled_maintenance", announced_at="2025-10-07T12:00"))
    assert lines[3:] == [
        "  announced at 2025-10-07 12:00 +02:00",
        "  not accepted, excludes nothing: notice too short",
        "  the latest date to announce it was 2025-10-06, 3 business days before",
        "  month 2025-10: 0 series get another uptime, 2 keep theirs",
    ]
    in_time = lines_of(add(config, reason="scheduled_maintenance", announced_at="2025-10-06T23:59"))
    assert in_time[4:6] == ["  accepted", "  month 2025-10: 1 series gets another uptime, 1 keeps its"]


@pytest.mark.usefixtures("ledger")
def test_an_exclusion_of_one_group(config: Path) -> None:
    """`--group`: only that series is touched, and only its figures are kept."""
    lines = lines_of(add(config, "--group", "service.name=chat-2"))
    assert lines[1] == "  force majeure, service.name=chat-2: flood"
    assert lines[4:] == ["  month 2025-10: 0 series get another uptime, 1 keeps its"]
    with closing(LedgerReader.open(ledger_url(config.parent))) as reader:
        (record,) = reader.exclusions()
    assert record.window.group == (("service.name", "chat-2"),)


@pytest.mark.usefixtures("ledger")
def test_a_time_to_come_changes_no_figure_yet(config: Path) -> None:
    """A window in the future is recorded, and no figure changes yet; who is the user of the system by default."""
    result = invoke(
        *("exclusion", "add", "-c", config, "--agreement", "chat", "--reason", "third_party"),
        *("--start", "2999-01-01T00:00Z", "--stop", "2999-01-01T01:00:00+01:00", "--note", "later"),
    )
    assert result.exit_code == 2  # In UTC it stops where it starts.
    lines = lines_of(
        invoke(
            *("exclusion", "add", "-c", config, "--agreement", "chat", "--reason", "third_party"),
            *("--start", "2999-01-01T00:00Z", "--stop", "2999-01-01T00:00:30Z", "--note", "later"),
        )
    )
    assert lines[0] == f"exclusion 1 of agreement chat is recorded by {getpass.getuser()}"
    assert lines[2] == "  from 2999-01-01 01:00 +01:00 to 2999-01-01 01:00:30 +01:00"
    assert lines[4:] == [
        "  it covers no whole minute, so it excludes nothing",
        "  no whole minute of it has elapsed in a month with data: no figure changes now",
    ]


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"agreement": "chut"}, "there is no agreement 'chut'; did you mean 'chat'?"),
        ({"reason": "bad_luck"}, "'bad_luck' is not one of 'scheduled_maintenance'"),
        ({"start": "2025-10-26T02:30"}, "happens twice in Europe/Berlin, where clocks are put back then; add +02:00"),
        ({"stop": "2026-03-29T02:30"}, "does not exist in Europe/Berlin, where clocks are put forward then"),
        ({"start": "yesterday"}, "must be a time such as 2026-11-06T20:00:00Z"),
        ({"stop": "2025-10-10T20:00"}, "2025-10-10 20:00 +02:00 is not after 2025-10-10 20:00 +02:00"),
        ({"reason": "scheduled_maintenance"}, "is required for scheduled_maintenance"),
        (
            {"group": "service.names=chat-1"},
            "'service.names' is no attribute of group_by; did you mean 'service.name'?",
        ),
        ({"group": "service.name=chat-3"}, "the ledger knows no series 'service.name=chat-3'; did you mean"),
        ({"group": "chat-1"}, "'chat-1' must be written key=value"),
        ({"note": " "}, "must say something"),
        ({"by": ""}, "must name somebody"),
    ],
)
def test_what_cannot_be_recorded_is_an_error(config: Path, changed: dict[str, str], said: str) -> None:
    """A mistake in any option: exit code 2, what is wrong and the nearest right one; nothing is recorded."""
    result = add(config, **changed)
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.stderr.split()), result.stderr
    assert lines_of(invoke("exclusion", "list", "-c", config, "--month", "2025-11")) == ["no exclusions"]
    with closing(LedgerReader.open(ledger_url(config.parent))) as reader:
        assert reader.exclusions() == ()


@pytest.mark.usefixtures("ledger")
def test_exclusions_are_listed(config: Path) -> None:
    """Configured and recorded ones in their zones, of an agreement or a month; withdrawn ones only when asked for."""
    lines_of(add(config))
    lines_of(add(config, agreement="search", start="2025-10-01T00:00:00+02:00", stop="2025-10-01T00:00:00Z"))
    lines_of(invoke("exclusion", "withdraw", 2, "-c", config, "--why", "not ours", "--by", "legal"))
    lines = lines_of(invoke("exclusion", "list", "-c", config))
    assert lines[:3] == [
        "configured: chat, all series, third party",
        "  from 2025-10-01 00:00 +02:00 to 2025-10-01 00:01 +02:00",
        "  note: configured",
    ]
    assert lines[4] == "exclusion 1: chat, all series, force majeure"
    assert not any("search" in line for line in lines)
    assert "  accepted" in lines
    everything = invoke("exclusion", "list", "-c", config, "--all").stdout
    assert "exclusion 2: search, all series, force majeure" in everything
    assert ": not ours\n" in everything
    assert "  from 2025-09-30 22:00 UTC to 2025-10-01 00:00 UTC\n" in everything
    of_search = invoke("exclusion", "list", "-c", config, "--all", "--agreement", "search", "--format", "json")
    document = json.loads(of_search.stdout)
    assert document["schema"] == "otel-sla.exclusions/v1"
    (entry,) = document["exclusions"]
    assert (entry["id"], entry["accepted"], entry["refusal"]) == (2, False, "withdrawn")
    assert (entry["start"], entry["withdrawn_by"]) == ("2025-09-30T22:00:00Z", "legal")
    # September of UTC, which is search's zone, and not of Berlin, which is chat's.
    in_september = invoke("exclusion", "list", "-c", config, "--all", "--month", "2025-09", "--format", "json")
    assert [entry["id"] for entry in json.loads(in_september.stdout)["exclusions"]] == [2]


@pytest.mark.usefixtures("ledger")
def test_what_cannot_be_withdrawn_is_an_error(config: Path) -> None:
    """A number that is none, and one that was withdrawn already: exit code 1 and one line each, nothing changes."""
    nothing = invoke("exclusion", "withdraw", "7", "-c", config, "--why", "x")
    assert (nothing.exit_code, nothing.stdout) == (1, "")
    assert "has no exclusion 7\notel-sla: hint: none was recorded" in nothing.stderr
    lines_of(add(config))
    lines_of(invoke("exclusion", "withdraw", "1", "-c", config, "--why", "x", "--by", "legal"))
    again = invoke("exclusion", "withdraw", "1", "-c", config, "--why", "y")
    assert again.exit_code == 1
    assert "exclusion 1 was withdrawn at" in again.stderr
    assert "by legal" in again.stderr
    other = invoke("exclusion", "withdraw", "2", "-c", config, "--why", "y")
    assert "it has 1 to 1: see otel-sla exclusion list --all" in other.stderr


@pytest.mark.usefixtures("ledger")
def test_an_agreement_that_is_gone_keeps_its_exclusions(config: Path) -> None:
    """An exclusion of an agreement of which nothing else is known any more: listed, and can be withdrawn."""
    lines_of(add(config))
    write_config(config.parent, "  - name: search\n")
    lines = lines_of(invoke("exclusion", "list", "-c", config, "--agreement", "chat"))
    assert lines[0] == "exclusion 1: chat, all series, force majeure"
    assert lines[-1] == "  neither the configuration nor the ledger has terms of this agreement"
    assert lines_of(invoke("exclusion", "withdraw", "1", "-c", config, "--why", "x", "--by", "me")) == [
        "exclusion 1 of agreement chat is withdrawn by me: x",
        "  no whole minute of it has elapsed in a month with data: no figure changes now",
    ]


def test_without_a_ledger_nothing_is_recorded(config: Path) -> None:
    """No ledger yet: one line and what to do, exit code 1, and no file is made."""
    result = add(config)
    assert result.exit_code == 1
    assert "there is no ledger" in result.stderr
    assert not (config.parent / "ledger.db").exists()


def test_an_exclusion_reaches_as_far_as_a_run(tmp_path: Path) -> None:
    """A window at the month's start cuts a run short that began in the month before: that month is printed too."""
    start = month_range(Month(2025, 11), "UTC").start_minute
    rows = [(start + n, 0, 0, 9, 0) for n in range(-3, 3)]
    open_ledger(tmp_path, [b"chat-1"], rows).close()
    config = write_config(tmp_path, "  - {name: chat, downtime: {period_minutes_min: 5}}\n")
    lines = lines_of(add(config, start="2025-11-01T00:00", stop="2025-11-01T00:03"))
    assert lines[4:] == [
        "  month 2025-10: 1 series gets another uptime, 0 keep theirs",
        "    service.name=chat-1: uptime 99.99327 % -> 100.00000 %, downtime 3 -> 0 min (raw 3 min), coverage 0.00 %",
        "  month 2025-11: 1 series gets another uptime, 0 keep theirs",
        "    service.name=chat-1: uptime 99.99305 % -> 100.00000 %, downtime 3 -> 0 min (raw 3 min), coverage 0.00 %",
    ]


def test_another_process_leaves_the_log_of_a_running_pipeline_alone(config: Path, ledger: Ledger) -> None:
    """A process with a writer and a reader, as a pipeline is; another process records and ends: both go on.

    SQLite's locks are the process's, and closing any file handle on the ledger would drop them all: then the other
    process would believe to be the last one, and delete the write-ahead log.
    """
    with closing(LedgerReader.open(ledger_url(config.parent))) as reader:
        arguments = ["--agreement", "chat", "--reason", "third_party", "--note", "x", "--by", "ops"]
        times = ["--start", "2025-10-10T20:00", "--stop", "2025-10-10T20:30"]
        command = [sys.executable, "-m", "otel_sla", "exclusion", "add", "-c", str(config), *arguments, *times]
        subprocess.run(command, capture_output=True, check=True)
        ledger.commit(make_commit([(OUTAGE + 60, 0, 1, 0, 0)]))
        assert ledger.path.with_name(f"{ledger.path.name}-wal").exists()
        assert len(reader.exclusions()) == 1
        assert listed(reader.counts(OUTAGE + 60, OUTAGE + 61)) == [(OUTAGE + 60, 0, 1, 0, 0)]
