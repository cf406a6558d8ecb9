"""The report as CSV: RFC 4180, and the same figures as everywhere."""

import csv
import io
import re
from dataclasses import replace
from datetime import datetime
from fractions import Fraction

import pytest
from report_parts import eventful_month, judge_month, make_report
from sla_parts import make_agreement, make_series

from otel_sla.report.csv import Rows, each_minute_line, render_csv
from otel_sla.report.document import Report, SeriesMinutes
from otel_sla.report.json import report_object
from otel_sla.report.terms import each_term
from otel_sla.sla.months import Month, month_range

NOVEMBER = Month(2026, 11)
TABLES = [rows for rows in Rows if rows is not Rows.MINUTES]


def table_of(text: str) -> list[dict[str, str]]:
    """Rows by their names, as a strict reader sees them; every line has as many cells as there are names."""
    lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def report_of(value: bytes) -> Report:
    """A month of one series whose group a sender chose."""
    start = month_range(NOVEMBER, "UTC").start_minute
    counted = {("chat", (("service.name", value),)): {start: (1, 0, 0)}}
    return make_report([make_agreement()], counted, NOVEMBER, start + 43_200)


def test_series_have_the_figures_of_the_json() -> None:
    """Each figure of a series in the JSON is a cell of its row."""
    report = eventful_month()
    rows = table_of(render_csv(report))
    for row, entry in zip(rows, report_object(report)["agreements"][0]["series"], strict=True):
        assert row["group.service.name"] == entry["group"]["service.name"]
        for prefix in ("minutes", "requests"):
            for key, value in entry[prefix].items():
                assert row[f"{prefix}_{key}"] == str(value)
        for key in ("monthly_uptime", "monthly_uptime_raw", "elapsed_uptime", "coverage"):
            assert row[key] == entry[key]
        assert row["breached"] == str(entry["breached"]).lower()
        assert row["minutes_down_raw"] == str(entry["downtime_minutes_raw"])


def test_clause_4_and_19_the_terms_stand_beside_the_figures() -> None:
    """Outcome rules, failing sets, code rule and basis: in each row of each table, in the words of other formats."""
    report = eventful_month()
    section = replace(report.agreements[0], version=7, closed_version=6)
    report = replace(report, agreements=(section,))
    said = {heading: words for _, heading, words in each_term(section.agreement)}
    for row in (row for rows in TABLES for row in table_of(render_csv(report, rows))):
        assert (row["version"], row["closed_by_version"], row["counting"]) == ("7", "6", "requests")
        assert row["terms_status"] == said["Status"]
        assert row["terms_valid"] == said["Valid requests"]
        assert row["terms_failed"] == said["Failed requests"]


def test_clause_11_ratios_are_exact_beside_their_truncated_decimals() -> None:
    """The decimal is what the exact numerator and denominator give, cut after 8 places."""
    for row in table_of(render_csv(eventful_month())):
        for key in ("monthly_uptime", "monthly_uptime_raw", "elapsed_uptime", "coverage"):
            exact = Fraction(int(row[f"{key}_numerator"]), int(row[f"{key}_denominator"]))
            assert 0 <= exact - Fraction(row[key]) < Fraction(1, 10**8)
        assert row["monthly_uptime_denominator"] == "43200"


@pytest.mark.parametrize(("rows", "key"), [(Rows.PERIODS, "downtime_periods"), (Rows.EXCLUSIONS, "exclusions")])
def test_periods_and_exclusions_are_those_of_the_json(rows: Rows, key: str) -> None:
    """There is a row for each of them, in the order of series and time."""
    report = eventful_month()
    entries = [entry for series in report_object(report)["agreements"][0]["series"] for entry in series[key]]
    found = table_of(render_csv(report, rows))
    assert [(row["start"], row["stop"]) for row in found] == [(entry["start"], entry["stop"]) for entry in entries]
    assert len(found) > 0


def test_an_exclusion_says_what_became_of_it() -> None:
    """A refused window, an accepted one and one of a single group each have their fate."""
    first, second, third, *_ = table_of(render_csv(eventful_month(), Rows.EXCLUSIONS))
    assert (first["accepted"], first["refusal"], first["minutes_saved"]) == ("false", "notice_too_short", "0")
    assert (second["accepted"], second["refusal"], second["minutes_saved"]) == ("true", "", "10")
    assert (third["scope"], third["announced_at"], third["recorded_by"]) == ("group", "", "ops@example.com")


@pytest.mark.parametrize("rows", TABLES)
def test_lines_end_with_cr_lf(rows: Rows) -> None:
    """Every line ends as RFC 4180 has it, the last one too."""
    text = render_csv(eventful_month(), rows)
    assert text.endswith("\r\n")
    assert not re.search(r"(?<!\r)\n", text)


@pytest.mark.parametrize("rows", TABLES)
def test_no_series_leaves_the_names(rows: Rows) -> None:
    """A month without a series has the same columns as any."""
    agreement = make_agreement()
    start = month_range(NOVEMBER, "UTC").start_minute
    empty = render_csv(make_report([agreement], {}, NOVEMBER, start), rows)
    assert empty == render_csv(eventful_month(), rows).partition("\r\n")[0] + "\r\n"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"plain", "plain"),
        (b'a,"b"\r\nc', 'a,"b"\r\nc'),
        (b"=1+1", "'=1+1"),
        (b"@sum", "'@sum"),
        (b"-1", "'-1"),
        (b"+1", "'+1"),
        (b"\t=1", "'\t=1"),
        (b"\n=1+1", "'\n=1+1"),
        *((f"{sign}1+1".encode(), f"'{sign}1+1") for sign in "\uff1d\uff0b\uff0d\uff20"),
        (b"\x1b[2Jx\x00", "\ufffd[2Jx\ufffd"),
        (b"\xff", r"\xff"),
        (b"", ""),
        ("größe".encode(), "größe"),
    ],
)
def test_what_senders_chose_is_text(value: bytes, shown: str) -> None:
    """Commas, quotes and line ends are quoted, formulas are none, and escape sequences do not reach a terminal."""
    (row,) = table_of(render_csv(report_of(value)))
    assert row["group.service.name"] == shown


def test_minutes_are_the_months() -> None:
    """There is a line for each elapsed minute, in both times, with the states and requests that were judged."""
    agreement = make_agreement(time_zone="Australia/Lord_Howe")
    minutes = month_range(Month(2026, 10), agreement.time_zone)
    counted = {minutes.start_minute + 1: (0, 3, 1), minutes.start_minute + 2: (4, 0, 0)}
    series = make_series(group=(("service.name", b"a,b"),))
    elapsed_stop = minutes.start_minute + 10_000
    judged = judge_month(counted, agreement, series, Month(2026, 10), elapsed_stop, ())
    lines = list(each_minute_line([agreement], [SeriesMinutes(series, judged.judged, judged.counts, 7, None)]))
    rows = table_of("".join(lines))
    assert len(rows) == 10_000
    assert rows[1] == {
        "agreement": "chat",
        "group.service.name": "a,b",
        "is_overflow": "false",
        "minute": "2026-09-30T13:31:00Z",
        "minute_local": "2026-10-01T00:01:00+10:30",
        "state_raw": "down",
        "state": "down",
        "valid": "3",
        "failed": "3",
        "invalid": "1",
        "version": "7",
        "closed_by_version": "",
        "counting": "requests",
    }
    assert [row["state"] for row in rows[:4]] == ["no_data", "down", "up", "no_data"]
    for row in rows[::97]:
        assert datetime.fromisoformat(row["minute"]) == datetime.fromisoformat(row["minute_local"])


def test_the_same_month_gives_the_same_bytes() -> None:
    """Written twice, each table is the same bytes."""
    for rows in TABLES:
        assert len({render_csv(eventful_month(), rows) for _ in range(2)}) == 1
