"""The report for people: what it says, in the columns there are."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from report_parts import eventful_month, make_report
from rich.cells import cell_len
from sla_parts import make_agreement, make_terms

from otel_sla.report.document import Report
from otel_sla.report.table import Screen, render_table
from otel_sla.sla.agreement import ExclusionReason, ExclusionTerms, NoData
from otel_sla.sla.months import Month, month_range

NOVEMBER = Month(2026, 11)
START = month_range(NOVEMBER, "UTC").start_minute


def report_of(
    group_value: bytes, *, n_down: int = 3, elapsed: int = 100, start: int = START, no_data: NoData = NoData.UP
) -> Report:
    """A running November of one series that begins with downtime."""
    counts = {start + n: (0, 5, 0) if n < n_down else (5, 0, 0) for n in range(50)}
    agreement = make_agreement(downtime=make_terms(valid_requests_min=2, period_minutes_min=3, no_data=no_data))
    return make_report([agreement], {("chat", (("service.name", group_value),)): counts}, NOVEMBER, START + elapsed)


def test_an_eventful_month() -> None:
    """The table says all that a person asks first: terms, uptime and verdict, downtime, exclusions and their fate."""
    assert render_table(eventful_month()) == EVENTFUL


NAMES = (
    b"chat-1",
    b"a name of many words " * 12,
    b"a-name-of-one-piece-that-no-terminal-has-room-for" * 5,
    "\u652f".encode() * 99,
)


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("group_value", NAMES)
def test_a_series_is_one_line_that_fits_the_terminal(width: int, group_value: bytes) -> None:
    """Whatever name a sender chose, its line ends at the terminal's edge, wide signs counted as two columns."""
    lines = render_table(report_of(group_value, n_down=0), Screen(width)).splitlines()
    assert max(map(cell_len, lines)) <= width
    (line,) = [line for line in lines if "min  " in line and "%" in line]
    assert ("\u2026" in line) == (len(group_value) > 6)


def test_periods_fit_80_columns() -> None:
    """Times with an offset and tens of thousands of requests: a period's line fits the usual terminal."""
    agreement = make_agreement(time_zone="Asia/Kolkata")
    start = month_range(NOVEMBER, "Asia/Kolkata").start_minute
    counted = {("chat", (("service.name", b"a"),)): {start: (0, 45_678, 0), start + 1: (50_000, 45_678, 0)}}
    lines = render_table(make_report([agreement], counted, NOVEMBER, start + 9), Screen(80)).splitlines()
    assert "    down from (+05:30)  to                min             failed" in lines
    assert "    2026-11-01 00:00    2026-11-01 00:02    2  91,356 of 141,356" in lines
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("time_zone", ["UTC", "Asia/Kolkata", "Europe/Berlin"])
@pytest.mark.parametrize("width", [60, 70, 80, 120])
def test_every_table_fits_the_terminal(width: int, time_zone: str) -> None:
    """A running month with exclusions and periods across its edge, of which Berlin's has two offsets: no line is wider
    than the terminal, and which columns are left out for that is said.
    """
    month = Month(2026, 10)
    start, stop = month_range(month, time_zone)
    window = replace(
        eventful_month().agreements[0].agreement.exclusions.windows[0],
        start=datetime(2026, 10, 1, 0, 0, 15, tzinfo=ZoneInfo(time_zone)),
        stop=datetime(2026, 10, 27, 0, 2, 30, tzinfo=ZoneInfo(time_zone)),
        reason=ExclusionReason.SCHEDULED_MAINTENANCE,
        announced_at=datetime(2026, 9, 1, tzinfo=UTC),
        group=None,
    )
    agreement = make_agreement(time_zone=time_zone, exclusions=ExclusionTerms(3, (), (window,)))
    down = {start + n: (0, 1_234_567, 0) for n in (*range(-5, 3), *range(37_000, 43_000))}
    counted = {("chat", (("service.name", b"chat-1"),)): down}
    report = make_report([agreement], counted, month, stop - 900)
    text = render_table(report, Screen(width))
    assert max(map(cell_len, text.splitlines())) <= width
    assert "scheduled maintenance" in text
    assert ("Too narrow for: elapsed" in text) == (width < 90)
    whole = render_table(report, Screen())
    for column in ("raw", "elapsed", "coverage", "in this month", "excluded", "failed"):
        assert f"  {column}" in whole
        assert (f"  {column}" in text) or f"{column}" in text[text.index("Too narrow for") :]


@pytest.mark.parametrize("group_value", NAMES)
def test_a_pipe_gets_whole_names(group_value: bytes) -> None:
    """In a pipe a series is one line, too, with its whole name; prose has 80 columns."""
    lines = render_table(report_of(group_value)).splitlines()
    assert any(line.startswith(f"  {group_value.decode()}".rstrip()) and "kept so far" in line for line in lines)
    assert max(len(line) for line in lines if "min  " not in line and "coverage" not in line) <= 80


def test_the_middle_of_a_long_name_is_left_out() -> None:
    """Names that differ at their ends can be told apart in a narrow terminal, which says that they are shortened."""
    counts = {START: (5, 0, 0)}
    names = [f"payments-of-the-european-region-{end}" for end in ("west", "east")]
    counted = {("chat", (("service.name", name.encode()),)): counts for name in names}
    text = render_table(make_report([make_agreement()], counted, NOVEMBER, START + 9), Screen(80))
    assert "\u2026on-west " in text
    assert "\u2026on-east " in text
    assert "Names are shortened to the terminal's width" in text


def test_colours_are_for_terminals_that_show_them() -> None:
    """A breached target is red where there are colours; without them the same words stand there."""
    report = report_of(b"chat-1", n_down=50)  # More than the 43 that are allowed.
    coloured, plain = render_table(report, Screen(80, has_colours=True)), render_table(report, Screen(80))
    assert "\x1b[1;31mBREACHED\x1b[0m" in coloured
    assert "\x1b" not in plain
    assert [line.rstrip() for line in re.sub("\x1b[^m]*m", "", coloured).splitlines()] == plain.splitlines()


def test_names_cannot_steer_the_terminal() -> None:
    """An escape sequence in a group's value comes out as visible text."""
    text = render_table(report_of(b"chat\x1b[2J\r\n\xff"))
    assert "\x1b" not in text
    assert "\r" not in text
    assert "service.name=chat\ufffd[2J\ufffd\ufffd\\xff" in text


def test_a_group_without_a_value_is_called_alike_everywhere() -> None:
    """An empty value, which no cell can show, is written as `--group` takes it, in lines and headings."""
    text = render_table(report_of(b""))
    assert text.count("  service.name=\n") == 1
    assert text.count("  service.name=  ") == 1


def test_clause_10_a_running_month_shows_its_elapsed_part_beside() -> None:
    """In a running month the uptime of the elapsed part stands beside the month's, and the promise is kept so far."""
    text = render_table(report_of(b"chat-1"))
    assert "elapsed" in text
    assert "99.99305 %" in text
    assert "97.00000 %" in text
    assert "kept so far" in text
    # The moment that the figures speak of, which is not that of the report's making.
    assert "of which 100 have elapsed, until 2026-11-01 01:40 UTC." in " ".join(text.split())


def test_clause_10_nothing_elapsed() -> None:
    """Where no minute has elapsed there is no figure of it."""
    text = render_table(report_of(b"chat-1", elapsed=0, start=START - 60, n_down=0, no_data=NoData.DOWN))
    (line,) = [line for line in text.splitlines() if "min  " in line]
    assert line.split()[-1] == "\u2013"


def test_clause_7_a_period_across_the_edge_says_what_falls_to_the_month() -> None:
    """A period that began in the month before says how many of its minutes count here."""
    text = render_table(report_of(b"chat-1", start=START - 4, n_down=6))
    assert "2026-10-31 23:56  2026-11-01 00:02    6  30 of 30              2" in text
    assert "in this month" in text


@pytest.mark.parametrize(
    ("no_data", "phrase"),
    [(NoData.UP, "silence is no downtime"), (NoData.DOWN, "silence is downtime"), (NoData.CARRY, "silence goes on as")],
)
def test_clause_6_the_terms_are_all_said(no_data: NoData, phrase: str) -> None:
    """Each term that changes what a figure means is in the agreement's line."""
    text = " ".join(render_table(report_of(b"chat-1", no_data=no_data), Screen(500)).split())
    assert phrase in text
    assert "an error rate above 5 % of at least 2 requests a minute for at least 3 minutes" in text


def test_an_agreement_without_requests() -> None:
    """An agreement that nothing was counted for is there and says so."""
    report = eventful_month()
    empty = replace(report, agreements=(replace(report.agreements[0], series=()),))
    assert "\n\n  No request was counted in this month.\n\n" in render_table(empty)


EVENTFUL = """\
November 2026, generated at 2026-12-02 08:00 UTC

chat
✗ The target of 99.9 % monthly uptime is BREACHED by 1 of 2 series
Agreed: at least 99.9 % uptime; downtime is an error rate above 5 %; silence is
no downtime; months in UTC.
2026-11-01 00:00 UTC to 2026-12-01 00:00 UTC: 43,200 minutes.

  service.name       uptime          raw    target      downtime  coverage
  chat-1         99.88425 %   99.86111 %  BREACHED  50 of 43 min   50.06 %
  chat-2        100.00000 %  100.00000 %      kept   0 of 43 min   50.00 %

  service.name=chat-1
    Before exclusions 99.86111 %, 60 min of downtime.
    down from (UTC)   to                min      failed  excluded
    2026-11-06 19:50  2026-11-06 20:50   60  540 of 600        10
    excluded from (UTC)  to                   reason
    2026-11-06 20:00     2026-11-06 20:10     scheduled maintenance
      excludes nothing: notice too short; told too late
    2026-11-06 20:00     2026-11-06 20:10     scheduled maintenance
      accepted, saved 10 min; database upgrade
    2026-11-20 00:00     2026-11-20 00:00:30  force majeure
      accepted, saved 0 min

  service.name=chat-2
    excluded from (UTC)  to                reason
    2026-11-06 20:00     2026-11-06 20:10  scheduled maintenance
      excludes nothing: notice too short; told too late
    2026-11-06 20:00     2026-11-06 20:10  scheduled maintenance
      accepted, saved 0 min; database upgrade

  Status: An HTTP status from 400 on decides. One below 400 says only that the
  transport worked: a gRPC status beside it decides (outcome rules, version 2).
  Valid requests: All but those that the client is to blame for: HTTP 400-499,
  and gRPC codes other than OK, UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED,
  INTERNAL, UNAVAILABLE or DATA_LOSS.
  Failed requests: HTTP 500-599; gRPC UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED,
  INTERNAL, UNAVAILABLE or DATA_LOSS; without a status code, a span status ERROR
  or an error.type.
  Counting: Each span that was received counts as one request; sampled traces
  are not extrapolated.
"""
