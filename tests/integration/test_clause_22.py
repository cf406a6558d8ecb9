"""Clause 22: downtime never leaves a month by an edit of the configuration, and each format says who counted what."""

import csv
import json
import random
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest
from cli_parts import invoke, ledger_url, lines_of, write_config
from history_parts import EDGE, EPOCH, NOVEMBER, OCTOBER, History, minute_of
from sla_parts import make_agreement, make_terms

from otel_sla.config import load_config
from otel_sla.judging.month_report import load_report
from otel_sla.ledger.agreement_json import agreement_of
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.writer import Ledger
from otel_sla.report.csv import Rows, render_csv
from otel_sla.report.html.page import render_html
from otel_sla.report.table import render_table
from otel_sla.sla.agreement import NoData

FIFTY = 50  # More than a month of 99.9 % bears.


def fifty_minutes_down(folder: Path, *, no_data: NoData = NoData.UP) -> History:
    """A service that was down for fifty minutes of October, told and over."""
    history = History(folder, make_agreement(downtime=make_terms(no_data=no_data)))
    history.count([(EDGE - 59 + n, 0, 0, 5, 0) for n in range(FIFTY)] + [(EDGE - 9, 0, 5, 0, 0)])
    history.now = EDGE - 8
    history.judge()
    assert history.told_breached(OCTOBER)["chat-0"]
    return history


def close_october(history: History) -> None:
    """Time goes on until October is sealed."""
    history.now = history.sealed_before = EDGE + 30
    history.judge()


def test_clause_22_a_changed_grouping_keeps_the_months_downtime(tmp_path: Path) -> None:
    """Fifty down minutes, then `group_by` changes: report, verdict, events and the closed month still have them."""
    history = fifty_minutes_down(tmp_path)
    history.restart(replace(history.agreement, group_by=("host.name",)))
    history.count([(EDGE - 7, 0, 5, 0, 0)])
    close_october(history)
    (section,) = history.document(OCTOBER)["agreements"]
    listed = {str(series["group"]): series for series in section["series"]}
    former, now = listed["{'service.name': 'chat-0'}"], listed["{'host.name': 'chat-0'}"]
    assert (former["former"], former["minutes"]["down"], former["breached"]) == (True, FIFTY, True)
    assert (now["former"], now["minutes"]["down"], now["breached"]) == (False, 0, False)
    assert section["breached"], "the former series counts for the verdict"
    assert history.told_closed(OCTOBER)["chat-0"] == FIFTY
    assert history.told_breached(OCTOBER)["chat-0"], "the breach stands"
    history.assert_adds_up("regrouped")
    history.assert_gauges_agree("regrouped")
    assert not history.document(NOVEMBER)["agreements"][0]["series"], "without counts it is in no later month"
    history.stop()


@pytest.mark.parametrize("renamed", [False, True])
def test_clause_22_a_removed_agreement_stays_in_its_months(tmp_path: Path, renamed: bool) -> None:  # noqa: FBT001
    """Removed, or given another name: its month is reported and closed by its last terms, marked, and not the next."""
    history = fifty_minutes_down(tmp_path)
    history.restart(replace(history.agreement, name="other") if renamed else None)
    close_october(history)
    *_, section = history.document(OCTOBER)["agreements"]
    assert (section["name"], section["configured"], section["breached"]) == ("chat", False, True)
    assert {series["minutes"]["down"] for series in section["series"]} == {0, FIFTY}
    assert history.told_closed(OCTOBER)["chat-0"] == FIFTY
    assert not any(each["series"] for each in history.document(NOVEMBER)["agreements"])
    history.assert_adds_up("removed")
    history.assert_gauges_agree("removed")
    history.stop()


@pytest.mark.parametrize("no_data", [NoData.DOWN, NoData.CARRY])
def test_clause_22_an_agreement_that_comes_back_is_told_of_the_time_between(tmp_path: Path, no_data: NoData) -> None:
    """Removed in an outage under `no_data: down` or `carry` and brought back: what is told is the report."""
    history = History(tmp_path, make_agreement(downtime=make_terms(no_data=no_data)))
    history.count([(EDGE - 59 + n, 0, 0, 5, 0) for n in range(3)])
    history.now = EDGE - 56
    history.judge()
    terms = history.agreement
    history.restart(None)
    history.now = EDGE - 2
    history.judge()
    history.assert_adds_up("away")
    assert len(history.told_down()["chat-0"]) == 3, "the silence of who is not counted is nobody's"
    history.restart(terms)
    history.judge()
    assert len(history.told_down()["chat-0"]) == 57, "it was down all the time"
    assert history.told_breached(OCTOBER)["chat-0"]
    history.count([(EDGE - 2, 0, 5, 0, 0)])
    history.now = EDGE
    history.judge()
    history.assert_adds_up("back")
    assert len(history.told_down()["chat-0"]) == 57 + (no_data is NoData.DOWN)
    history.stop()


def test_clause_22_each_format_says_which_version_counted_what(tmp_path: Path) -> None:
    """HTTP 503 was a failure and then was none: every format names the versions, their times and their terms."""
    history = fifty_minutes_down(tmp_path)
    history.restart(replace(history.agreement, failed_http_status=frozenset({500})))
    history.count([(EDGE - 7, 0, 5, 0, 0)])
    close_october(history)
    moment = EPOCH + timedelta(minutes=history.now)
    document = load_report(history.reader, history.configured, OCTOBER, history.now, moment)
    (section,) = history.document(OCTOBER)["agreements"]
    first, second = section["counted_by"]
    assert (first["version"], first["start"], first["stop"]) == (1, "2026-10-31T23:00:00Z", "2026-10-31T23:52:00Z")
    assert (second["version"], second["start"], second["stop"]) == (2, "2026-10-31T23:53:00Z", "2026-10-31T23:54:00Z")
    failed = [
        next(term["text"] for term in each["terms"] if term["heading"].startswith("Failed")) for each in (first, second)
    ]
    assert "500-599" in failed[0]
    assert "500-599" not in failed[1]
    row = next(csv.DictReader(StringIO(render_csv(document, Rows.SERIES))))
    assert row["counted_by"].startswith("1: 2026-10-31T23:00:00Z/2026-10-31T23:52:00Z; 2: ")
    for text in (render_table(document), render_html(document)):
        assert "Version 1 from 2026-10-31 23:00 UTC to 2026-10-31 23:52 UTC" in " ".join(text.split())
        assert "Version 2 from 2026-10-31 23:53 UTC" in " ".join(text.split())
    history.stop()


def test_clause_22_versions_that_count_alike_are_one(tmp_path: Path) -> None:
    """Another limit judges the month anew as a whole; nothing was counted otherwise."""
    history = fifty_minutes_down(tmp_path)
    history.restart(replace(history.agreement, downtime=make_terms(Fraction(1, 2))))
    history.count([(EDGE - 7, 0, 5, 0, 0)])
    close_october(history)
    (section,) = history.document(OCTOBER)["agreements"]
    (counted,) = section["counted_by"]
    assert (counted["version"], counted["stop"]) == (2, "2026-10-31T23:54:00Z")
    history.stop()


@pytest.mark.parametrize("seed", range(4))
def test_clause_22_days_that_several_versions_counted_alternate_nowhere(tmp_path: Path, seed: int) -> None:
    """Terms that go and come back, and late spans of days ago: each version is named once, with all that it counted."""
    rng = random.Random(seed)
    history = History(tmp_path, make_agreement())
    strict = history.agreement
    lenient = replace(strict, failed_http_status=frozenset({500}))
    every = (strict, lenient, replace(strict, downtime=make_terms(Fraction(1, 2))))
    first_minute = history.now
    counted = {1: [first_minute]}  # By version.
    for _ in range(8):
        minutes = sorted({history.now - rng.randrange(5 * 1440) for _ in range(rng.randint(0, 20))})
        history.count([(minute, 0, 5, 0, 0) for minute in minutes])
        counted.setdefault(history.recorded.versions["chat"], []).extend(minutes)
        history.restart(rng.choice(every))
    terms = {one.version: agreement_of(one.terms) for one in history.reader.agreement_versions("chat")}
    (section,) = history.document(OCTOBER)["agreements"]
    shown = [(one["version"], minute_of(one["start"]), minute_of(one["stop"])) for one in section["counted_by"]]
    statuses = [terms[version].failed_http_status for version, _, _ in shown]
    assert all(one != other for one, other in pairwise(statuses)), "neighbours count otherwise"
    assert [start for _, start, _ in shown] == sorted(start for _, start, _ in shown)
    assert len({version for version, _, _ in shown}) == len(shown), "no version is named twice"
    for version, minutes in counted.items():
        alike = [
            range(start, stop)
            for (_, start, stop), status in zip(shown, statuses, strict=True)
            if status == terms[version].failed_http_status
        ]
        assert not minutes or any(min(minutes) in one and max(minutes) in one for one in alike), f"version {version}"
    history.stop()


def test_a_period_across_a_closed_months_edge_is_listed_by_each_months_terms(tmp_path: Path) -> None:
    """A tenth failed over the edge; October was closed by 5 %, November is judged by 20 %: it ends with October."""
    history = History(tmp_path, make_agreement())
    history.count([(EDGE + n, 0, 9, 1, 0) for n in range(-5, 5)])
    history.now = history.sealed_before = EDGE + 10
    history.judge()
    assert history.report(OCTOBER)["chat-0"]["downtime_periods"][0]["minutes"] == 10  # type: ignore[index]
    history.restart(make_agreement(downtime=make_terms(Fraction(1, 5))))
    history.judge()
    (period,) = history.report(OCTOBER)["chat-0"]["downtime_periods"]  # type: ignore[misc]
    assert (period["minutes"], period["stop"]) == (5, "2026-11-01T00:00:00Z")  # type: ignore[index]
    assert history.report(NOVEMBER)["chat-0"]["downtime_periods"] == []
    history.assert_adds_up("across the edge")
    history.stop()


def test_a_series_of_invalid_requests_alone_is_alike_in_report_and_gauges(tmp_path: Path) -> None:
    """A series without a valid request is listed, and its gauges go out from its first request on."""
    history = History(tmp_path, make_agreement())
    history.count([(EDGE - 50, 7, 0, 0, 3)])
    history.now = EDGE - 40
    history.judge()
    assert history.report(OCTOBER)["chat-7"]["requests"]["invalid"] == 3  # type: ignore[index]
    assert {group for group, _ in history.gauges()} == {"chat-0", "chat-1", "chat-2", "chat-7"}
    history.stop()


def test_failures_in_accepted_maintenance_are_not_carried_into_the_silence_behind(tmp_path: Path) -> None:
    """Clause 6, `carry`: down in the window, silent behind it; raw it goes on, after exclusions it does not, in October
    nor in November.
    """
    history = History(tmp_path, make_agreement(downtime=make_terms(no_data=NoData.CARRY)))
    history.count([(EDGE - 30 + n, 0, 0, 5, 0) for n in range(10)])
    history.exclude(EDGE - 31, 12)
    history.now = EDGE + 20
    history.judge()
    october, november = (history.report(month)["chat-0"] for month in (OCTOBER, NOVEMBER))
    assert (october["downtime_minutes_raw"], october["minutes"]["down"]) == (30, 0)  # type: ignore[index]
    assert (november["downtime_minutes_raw"], november["minutes"]["down"]) == (20, 0)  # type: ignore[index]
    history.assert_adds_up("carried")
    history.stop()


def _run(folder: Path, *options: object) -> str:
    result = invoke("report", "-c", folder / "otel-sla.yaml", *options)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout_bytes.decode()


def test_report_shows_a_removed_agreement_behind_the_configured_ones(tmp_path: Path) -> None:
    """Without --agreement it follows in its months; with it, it alone is shown in any month."""
    fifty_minutes_down(tmp_path).stop()
    write_config(tmp_path, "  - {name: other}\n")
    names = [
        each["name"] for each in json.loads(_run(tmp_path, "--month", "2026-10", "--format", "json"))["agreements"]
    ]
    assert names == ["other", "chat"]
    (alone,) = json.loads(_run(tmp_path, "--month", "2026-10", "--agreement", "chat", "--format", "json"))["agreements"]
    assert (alone["name"], alone["configured"], alone["breached"]) == ("chat", False, True)
    (empty,) = json.loads(_run(tmp_path, "--month", "2026-09", "--agreement", "chat", "--format", "json"))["agreements"]
    assert (empty["name"], empty["series"]) == ("chat", [])
    assert "no longer configured" in _run(tmp_path, "--month", "2026-10", "--agreement", "chat")
    rows = list(csv.DictReader(StringIO(_run(tmp_path, "--month", "2026-10", "--format", "csv"))))
    assert {row["configured"] for row in rows} == {"false"}
    minutes = _run(tmp_path, "--month", "2026-10", "--agreement", "chat", "--format", "csv", "--rows", "minutes")
    assert minutes.count(",down,down,") == FIFTY


def test_clause_22_a_configured_window_of_a_group_outlives_the_grouping(tmp_path: Path) -> None:
    """`group_by` changes and the window stays as it is written: what it excludes in the open month stays excluded."""
    text = """  - name: chat
    group_by: [%s]
    exclusions:
      windows:
        - {reason: third_party, start: 2026-10-31T23:00Z, stop: 2026-10-31T23:31Z, group: {service.name: chat-0}}
"""
    before, after = (
        load_config(write_config(tmp_path, text % key), {}).agreements[0] for key in ("service.name", "host.name")
    )
    history = History(tmp_path, before)
    history.count([(EDGE - 59 + n, 0, 0, 5, 0) for n in range(FIFTY)])
    history.now = EDGE - 8
    history.judge()
    assert len(history.told_down()["chat-0"]) == 20
    history.restart(after)
    close_october(history)
    assert history.told_closed(OCTOBER)["chat-0"] == 20
    history.assert_adds_up("regrouped")
    history.stop()


@pytest.mark.parametrize("renamed", [False, True])
def test_clause_22_a_removed_agreements_exclusions_are_recorded_as_any(tmp_path: Path, *, renamed: bool) -> None:
    """Removed or renamed: `exclusion` adds, lists and withdraws, says what that changes, and the events follow."""
    history = fifty_minutes_down(tmp_path)
    history.restart(replace(history.agreement, name="other") if renamed else None)
    config = write_config(tmp_path, "  - {name: other}\n")
    times = ("--start", "2026-10-31T23:00:00Z", "--stop", "2026-10-31T23:31:00Z")
    added = lines_of(
        invoke(
            *("exclusion", "add", "-c", config, "--agreement", "chat", "--reason", "force_majeure", *times),
            *("--group", "service.name=chat-0", "--note", "flood", "--by", "ops"),
        )
    )
    what = "month 2026-10, by version 1 of the agreement: 1 series gets another uptime, 0 keep theirs"
    assert added[3:5] == ["  accepted", f"  {what}"]
    assert "downtime 50 -> 20 min" in added[5]
    history.judge()
    history.assert_adds_up("added")
    assert len(history.told_down()["chat-0"]) == 20
    assert lines_of(invoke("exclusion", "list", "-c", config, "--agreement", "chat"))[-1] == "  accepted"
    withdrawn = lines_of(invoke("exclusion", "withdraw", "1", "-c", config, "--why", "no flood", "--by", "legal"))
    assert "downtime 20 -> 50 min" in withdrawn[2]
    history.judge()
    history.assert_adds_up("withdrawn")
    assert len(history.told_down()["chat-0"]) == FIFTY
    history.stop()


def test_a_past_month_whose_silence_goes_on_gives_the_same_bytes(tmp_path: Path) -> None:
    """`no_data: down`, silent since: the period's end is that of --generated-at, not of the command."""
    history = fifty_minutes_down(tmp_path, no_data=NoData.DOWN)
    history.stop()
    write_config(tmp_path, "  - {name: chat, group_by: [service.name], downtime: {no_data: down}}\n")
    moment = EPOCH + timedelta(minutes=EDGE + 1000)
    assert moment < datetime.now(UTC), "this test is of the past"
    said = _run(tmp_path, "--month", "2026-10", "--generated-at", moment.isoformat(), "--format", "json")
    (section,) = json.loads(said)["agreements"]
    stops = {series["downtime_periods"][-1]["stop"] for series in section["series"]}
    assert stops == {"2026-11-01T16:39:00Z"}, "grace before the moment"


def test_future_and_empty_months_say_so(tmp_path: Path) -> None:
    """A month that has not begun, and one in which nothing was counted."""
    fifty_minutes_down(tmp_path).stop()
    write_config(tmp_path, "  - {name: chat, group_by: [service.name]}\n")
    assert "it begins at 2999-01-01" in " ".join(_run(tmp_path, "--month", "2999-01").split())
    assert "No request was counted in this month" in " ".join(_run(tmp_path, "--month", "2026-09").split())


def test_what_an_earlier_version_counted_is_known_by_when_terms_were_recorded(tmp_path: Path) -> None:
    """A ledger of schema 5: its counts are of the versions that it recorded, and the report says so."""
    history = fifty_minutes_down(tmp_path)
    history.stop()
    with closing(Ledger.open(ledger_url(tmp_path))) as ledger, ledger._writing("test") as connection:
        connection.execute("DELETE FROM counted_days")
        connection.execute("INSERT INTO counted_days VALUES ('chat', 1, -1, 0, ?)", (EDGE - 9,))
    history.restart(replace(history.agreement, failed_http_status=frozenset({500})))
    history.count([(EDGE - 7, 0, 5, 0, 0)])
    (section,) = history.document(OCTOBER)["agreements"]
    first, second = section["counted_by"]
    assert (first["version"], first["stop"], first["derived"]) == (1, "2026-10-31T23:52:00Z", True)
    assert (second["version"], second["start"], "derived" in second) == (2, "2026-10-31T23:53:00Z", False)
    with closing(LedgerReader.open(ledger_url(tmp_path))) as reader:
        assert [day.is_derived for day in reader.counted_days("chat")] == [True, False]
    history.stop()
