"""`otel-sla report` of a closed month whose agreement is configured otherwise since, and each format of it."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cli_parts import invoke, ledger_url, lines_of, open_ledger, write_config
from sla_parts import make_agreement

from otel_sla.cli.options import running_month
from otel_sla.config import load_config
from otel_sla.ledger.agreement_json import terms_of
from otel_sla.ledger.records import ClosedMonth, Closing
from otel_sla.ledger.writer import Ledger

MINUTE = 29_365_920  # 2025-11-01T00:00:00Z.
STRICT = "  - {name: chat, downtime: {error_rate_above: 5%}}\n"
LENIENT = "  - {name: chat, downtime: {error_rate_above: 50%}, monthly_uptime: {target: 99%}}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Write a ledger with ten minutes of ten per cent errors, and the configuration that it was counted under."""
    open_ledger(tmp_path, [b"chat-1"], [(MINUTE + n, 0, 90, 10, 0) for n in range(10)]).close()
    return write_config(tmp_path, STRICT)


def record(config: Path) -> int:
    """Record the configured agreement as a pipeline does when it starts; give its version."""
    (agreement,) = load_config(config, {}).agreements
    with closing(Ledger.open(ledger_url(config.parent))) as ledger:
        return ledger.record_agreement("chat", terms_of(agreement), MINUTE)


def close_month(config: Path, version: int, revision: int = 0) -> None:
    """Close November 2025 by a version."""
    closed = ClosedMonth("chat", 0, "2025-11", revision, version, {"uid": "x"}, 1)
    with closing(Ledger.open(ledger_url(config.parent))) as ledger:
        ledger.close_minutes(Closing(None, None, closed_months=(closed,)))


def report(config: Path, *options: object, report_format: str = "json") -> str:
    """Give November's report."""
    result = invoke("report", "-c", config, "--month", "2025-11", "--format", report_format, *options)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout_bytes.decode()  # As it was written: `stdout` changes line ends.


def agreement_of(config: Path, *options: object) -> dict[str, Any]:
    """Give the agreement's part of November's JSON."""
    (agreement,) = json.loads(report(config, *options))["agreements"]
    return dict(agreement)


def figures(config: Path, *options: object) -> tuple[object, ...]:
    """What changes between versions."""
    agreement = agreement_of(config, *options)
    (series,) = agreement["series"]
    return (
        agreement["version"],
        agreement["closed_by_version"],
        agreement["error_rate_above"],
        agreement["target"],
        series["minutes"]["down"],
    )


def test_a_closed_month_keeps_the_terms_that_closed_it(config: Path) -> None:
    """The limit and the target change after the month was closed: it is judged as before, unless asked otherwise."""
    assert figures(config) == (None, None, "0.05", "0.999", 10)
    assert record(config) == 1
    assert figures(config) == (1, None, "0.05", "0.999", 10)
    close_month(config, 1)
    assert figures(config) == (1, 1, "0.05", "0.999", 10)
    write_config(config.parent, LENIENT)
    assert figures(config) == (1, 1, "0.05", "0.999", 10)
    assert figures(config, "--as-configured") == (None, 1, "0.5", "0.99", 0)
    assert record(config) == 2
    assert figures(config) == (1, 1, "0.05", "0.999", 10)
    assert figures(config, "--as-configured") == (2, 1, "0.5", "0.99", 0)


def test_an_open_month_is_judged_as_configured(config: Path) -> None:
    """The limit changes while the month is open: it is judged by the new one, whose version is named."""
    record(config)
    write_config(config.parent, LENIENT)
    record(config)
    assert figures(config) == (2, None, "0.5", "0.99", 0)


def test_a_month_closed_again_is_judged_by_its_last_closing(config: Path) -> None:
    """A month that was closed a second time by later terms: those hold."""
    close_month(config, record(config))
    write_config(config.parent, LENIENT)
    close_month(config, record(config), revision=1)
    write_config(config.parent, STRICT)
    assert figures(config) == (2, 2, "0.5", "0.99", 0)


def test_a_month_closed_by_no_known_version_is_judged_as_configured(config: Path) -> None:
    """A ledger that closed the month without a version: as configured, and no version is claimed."""
    close_month(config, 0)
    assert figures(config) == (None, None, "0.05", "0.999", 10)


def test_the_table_names_the_version(config: Path) -> None:
    """Table and HTML name the version that a closed month is judged by, and that it is another one if asked for."""
    close_month(config, record(config))
    said = "Judged by version 1 of the agreement, which closed the month"
    assert f"{said}." in report(config, report_format="table").splitlines()
    assert said in report(config, report_format="html")
    write_config(config.parent, LENIENT)
    now = "Judged by the terms as they are configured now; the month was closed by version 1"
    assert f"{now}." in " ".join(report(config, "--as-configured", report_format="table").split())
    assert now in report(config, "--as-configured", report_format="html")


def test_an_agreement_that_is_gone_can_be_reported(config: Path) -> None:
    """An agreement that is not configured any more: by name, its months are there by its own last terms."""
    close_month(config, record(config))
    write_config(config.parent, "  - name: search\n")
    assert figures(config, "--agreement", "chat") == (1, 1, "0.05", "0.999", 10)
    (running,) = json.loads(invoke("report", "-c", config, "--agreement", "chat", "--format", "json").stdout)[
        "agreements"
    ]
    assert (running["version"], running["closed_by_version"]) == (1, None)


def table_of(text: str) -> Sequence[dict[str, str]]:
    """Read CSV."""
    assert text.endswith("\r\n")
    return list(csv.DictReader(text.splitlines()))


def test_a_report_is_written_as_csv(config: Path, tmp_path: Path) -> None:
    """`--format csv` with each kind of `--rows`: the same figures; to a file the same bytes as to standard output."""
    moment = ("--generated-at", "2025-12-01T00:00:00Z")
    (row,) = table_of(report(config, report_format="csv"))
    assert (row["group.service.name"], row["minutes_down"]) == ("chat-1", "10")
    (period,) = table_of(report(config, "--rows", "periods", report_format="csv"))
    assert period["minutes"] == "10"
    assert table_of(report(config, "--rows", "exclusions", report_format="csv")) == []
    minutes = table_of(report(config, "--rows", "minutes", report_format="csv"))
    assert len(minutes) == 30 * 1440
    assert [minute["state"] for minute in minutes[9:11]] == ["down", "no_data"]
    for kind in ("series", "minutes"):
        path = tmp_path / f"{kind}.csv"
        options = ("--rows", kind, *moment)
        assert report(config, *options, "--output", path, report_format="csv") == ""
        assert path.read_bytes().decode() == report(config, *options, report_format="csv")


def test_minutes_are_those_of_the_version(config: Path) -> None:
    """`--rows minutes` of a closed month is judged by what closed it, too."""
    close_month(config, record(config))
    write_config(config.parent, LENIENT)
    minutes = table_of(report(config, "--rows", "minutes", report_format="csv"))
    assert {minute["state"] for minute in minutes[:10]} == {"down"}
    assert {(minute["version"], minute["closed_by_version"]) for minute in minutes} == {("1", "1")}
    now = table_of(report(config, "--rows", "minutes", "--as-configured", report_format="csv"))
    assert {minute["state"] for minute in now[:10]} == {"up"}


def test_a_report_is_written_as_html(config: Path) -> None:
    """`--format html`: one document, with the calendar of the series."""
    text = report(config, report_format="html")
    assert text.startswith("<!DOCTYPE html>")
    assert "<svg" in text


def test_rows_are_for_csv_only(config: Path) -> None:
    """`--rows` with another format: exit code 2."""
    result = invoke("report", "-c", config, "--rows", "minutes")
    assert result.exit_code == 2
    assert "is for --format csv" in result.stderr


def test_an_exclusion_of_a_closed_month_is_judged_by_its_version(config: Path) -> None:
    """Recorded after the terms changed: the figures before and after are those of the version that closed the month."""
    close_month(config, record(config))
    write_config(config.parent, LENIENT)
    lines = lines_of(
        invoke(
            *("exclusion", "add", "-c", config, "--agreement", "chat", "--reason", "third_party", "--by", "ops"),
            *("--start", "2025-11-01T00:00", "--stop", "2025-11-01T00:04", "--note", "x"),
        )
    )
    assert lines[4] == (
        "  month 2025-11, closed, by version 1 of the agreement: 1 series gets another uptime, 0 keep theirs"
    )
    assert "downtime 10 -> 6 min" in lines[5]
    with closing(Ledger.open(ledger_url(config.parent))) as ledger:
        (kept,) = ledger.exclusions()
    before: Any = kept.figures_before
    assert before["months"][0]["version"] == 1
    assert figures(config) == (1, 1, "0.05", "0.999", 6)


def test_csv_says_by_which_version(config: Path) -> None:
    """The version that a month is judged by, and the one that closed it, stand in each series' row."""
    version = record(config)
    (row,) = csv.DictReader(report(config, report_format="csv").splitlines())
    assert (row["version"], row["closed_by_version"]) == (str(version), "")
    close_month(config, version)
    (row,) = csv.DictReader(report(config, report_format="csv").splitlines())
    assert (row["version"], row["closed_by_version"]) == (str(version), str(version))


def test_acceptance_is_printed_by_the_terms_that_closed_the_month(tmp_path: Path) -> None:
    """A holiday that is configured later makes the notice too short: not for the closed month, and that is said."""
    open_ledger(tmp_path, [b"chat-1"], [(MINUTE + n, 0, 0, 10, 0) for n in range(60)]).close()
    agreement = "  - {{name: chat, downtime: {{no_data: up}}, exclusions: {{holidays: [{}]}}}}\n"
    config = write_config(tmp_path, agreement.format(""))
    close_month(config, record(config))
    write_config(tmp_path, agreement.format("2025-10-29, 2025-10-30"))
    added = lines_of(
        invoke(
            *("exclusion", "add", "-c", config, "--agreement", "chat", "--reason", "scheduled_maintenance"),
            *("--announced-at", "2025-10-28T12:00Z", "--start", "2025-11-01T00:00Z", "--stop", "2025-11-01T00:30Z"),
            *("--by", "ops", "--note", "database upgrade"),
        )
    )
    assert "  not accepted, excludes nothing: notice too short" in added
    assert "  in 2025-11, by version 1 that closed it: accepted" in added
    assert any("downtime 60 -> 30 min" in line for line in added)
    assert "  accepted" in lines_of(invoke("exclusion", "list", "-c", config))
    assert [one["accepted"] for one in agreement_of(config)["series"][0]["exclusions"]] == [True]


@pytest.mark.parametrize("rows", ["series", "minutes"])
def test_a_byte_order_mark_is_for_spreadsheets(config: Path, rows: str) -> None:
    """`--bom` puts three bytes before the same CSV; other formats have none."""
    plain = report(config, "--rows", rows, "--generated-at", "2025-12-01T00:00Z", report_format="csv")
    assert report(config, "--rows", rows, "--generated-at", "2025-12-01T00:00Z", "--bom", report_format="csv") == (
        f"\ufeff{plain}"
    )
    refused = invoke("report", "-c", config, "--bom")
    assert (refused.exit_code, "--bom: is for --format csv" in refused.stderr) == (2, True)


@pytest.mark.parametrize("options", [(), ("--rows", "minutes"), ("--output", "/dev/full")])
def test_a_full_disk_is_one_line(config: Path, options: tuple[str, ...]) -> None:
    """Standard output and files that cannot be written end in one line and exit code 1, minutes too."""
    command = [sys.executable, "-m", "otel_sla", "report", "-c", str(config), "--month", "2025-11", "--format", "csv"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*command, *options], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    place = "/dev/full" if "--output" in options else "standard output"
    assert (done.returncode, done.stderr) == (
        1,
        f"otel-sla: error: {place} cannot be written: No space left on device\n",
    )


def test_the_running_month_is_the_agreements() -> None:
    """Where a month has begun already, or not yet, by the agreement's clock; with several zones UTC decides."""
    moment = datetime(2026, 10, 31, 12, tzinfo=UTC)
    auckland, berlin = (make_agreement(time_zone=zone) for zone in ("Pacific/Auckland", "Europe/Berlin"))
    assert str(running_month([auckland], moment)) == "2026-11"
    assert str(running_month([auckland, berlin], moment)) == "2026-10"
    assert str(running_month([], moment)) == "2026-10"


@pytest.mark.parametrize("rows", [[], [(MINUTE, 0, 90, 10, 0)]])
def test_an_exclusion_of_no_series_is_in_every_format(
    tmp_path: Path, rows: list[tuple[int, int, int, int, int]]
) -> None:
    """A window for a service that sent nothing, in a month with requests of others and in one without any."""
    open_ledger(tmp_path, [b"chat-1", b"search"], rows).close()
    config = write_config(tmp_path, STRICT)
    added = ("exclusion", "add", "-c", config, "--agreement", "chat", "--reason", "scheduled_maintenance")
    times = ("--announced-at", "2025-10-31T12:00Z", "--start", "2025-11-01T00:00Z", "--stop", "2025-11-01T00:30Z")
    lines_of(invoke(*added, *times, "--group", "service.name=search", "--by", "ops", "--note", "moved"))
    (exclusion,) = agreement_of(config)["exclusions"]
    assert (exclusion["accepted"], exclusion["refusal"], exclusion["minutes_saved"]) == (False, "notice_too_short", 0)
    text = report(config, report_format="table")
    assert "Exclusions that are meant for no series of the month" in text
    assert "excludes nothing: notice too short; moved" in text
    assert "meant for no series of the month" in report(config, report_format="html")
    (row,) = csv.DictReader(report(config, "--rows", "exclusions", report_format="csv").splitlines())
    assert (row["agreement"], row["group.service.name"], row["refusal"]) == ("chat", "", "notice_too_short")


@pytest.mark.parametrize("report_format", ["table", "json", "csv", "html"])
def test_a_report_is_its_owners(config: Path, tmp_path: Path, report_format: str) -> None:
    """A report's file is readable by its owner alone, whatever the umask; one that is there keeps its mode."""
    path = tmp_path / "report"
    before = os.umask(0)
    try:
        report(config, "--output", path, report_format=report_format)
        assert path.stat().st_mode & 0o777 == 0o600
        path.chmod(0o644)
        report(config, "--output", path, report_format=report_format)
        assert path.stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)
