"""The report for people: what it says, in the columns there are."""

from dataclasses import replace

import pytest
from report_parts import eventful_month, make_report
from sla_parts import make_agreement, make_terms

from otel_sla.report.document import Report
from otel_sla.report.table import render_table
from otel_sla.sla.agreement import NoData
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


@pytest.mark.parametrize("width", [0, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """Whatever names senders choose, lines fit, and a name too long for its column is there whole."""
    name = b"a-name-of-one-piece-that-no-terminal-has-room-for" * 5
    for group_value in (b"chat-1", b"a name of many words " * 12, name):
        text = render_table(report_of(group_value), width)
        assert max(len(line) for line in text.splitlines()) <= max(80, width)
    assert name.decode() in "".join(line.strip() for line in text.splitlines())


def test_names_cannot_steer_the_terminal() -> None:
    """An escape sequence in a group's value comes out as visible text."""
    text = render_table(report_of(b"chat\x1b[2J\r\n\xff"))
    assert "\x1b" not in text
    assert "\r" not in text
    assert "service.name=chat\ufffd[2J\ufffd\ufffd\\xff" in text


def test_clause_10_a_running_month_shows_its_elapsed_part_beside() -> None:
    """In a running month the uptime of the elapsed part stands beside the month's, and the promise is kept so far."""
    text = render_table(report_of(b"chat-1"))
    assert "elapsed part" in text
    assert "99.99305 %" in text
    assert "97.00000 %" in text
    assert "kept so far" in text
    # The moment that the figures speak of, which is not that of the report's making.
    assert "minutes\nof which 100 have elapsed, until 2026-11-01T01:40:00Z\n" in text


def test_clause_10_nothing_elapsed() -> None:
    """Where no minute has elapsed there is no figure of it."""
    text = render_table(report_of(b"chat-1", elapsed=0, start=START - 60, n_down=0, no_data=NoData.DOWN))
    (line,) = [line for line in text.splitlines() if "kept so far" in line]
    assert line.split()[-1] == "-"


def test_clause_7_a_period_across_the_edge_says_what_falls_to_the_month() -> None:
    """A period that began in the month before says how many of its minutes count here."""
    text = render_table(report_of(b"chat-1", start=START - 4, n_down=6))
    assert "2026-10-31T23:56Z  2026-11-01T00:02Z        6" in text
    assert "2 of these minutes fall to this month" in text


@pytest.mark.parametrize(
    ("no_data", "phrase"),
    [(NoData.UP, "silence is no downtime"), (NoData.DOWN, "silence is downtime"), (NoData.CARRY, "silence goes on as")],
)
def test_clause_6_the_terms_are_all_said(no_data: NoData, phrase: str) -> None:
    """Each term that changes what a figure means is in the agreement's line."""
    text = " ".join(render_table(report_of(b"chat-1", no_data=no_data), 500).split())
    assert phrase in text
    assert "an error rate above 5 % of at least 2 requests a minute for at least 3 minutes" in text


def test_an_agreement_without_requests() -> None:
    """An agreement that nothing was counted for is there and says so."""
    report = eventful_month()
    empty = replace(report, agreements=(replace(report.agreements[0], series=()),))
    assert render_table(empty).endswith("\n  no requests\n")


EVENTFUL = """\
Month 2026-11, generated at 2026-12-02T08:00:00Z

chat: at least 99.9 % uptime; downtime is an error rate above 5 %; silence is no
downtime; months in UTC
Status: An HTTP status from 400 on decides. One below 400 says only that the
transport worked: a gRPC status beside it decides (outcome rules, version 2).
Valid requests: All but those that the client is to blame for: HTTP 400-499, and
gRPC codes other than OK, UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL,
UNAVAILABLE or DATA_LOSS.
Failed requests: HTTP 500-599; gRPC UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED,
INTERNAL, UNAVAILABLE or DATA_LOSS; without a status code, a span status ERROR
or an error.type.
Counting: Each span that was received counts as one request; sampled traces are
not extrapolated.
2026-11-01T00:00:00Z to 2026-12-01T00:00:00Z, 43200 minutes

  series                           uptime    target  downtime, allowed  coverage
  service.name=chat-1          99.88425 %  BREACHED       50 of 43 min   50.06 %
    before exclusions 99.86111 %, 60 min of downtime
  service.name=chat-2         100.00000 %      kept        0 of 43 min   50.00 %

  service.name=chat-1
    downtime from      to                 minutes  excluded  failed of valid
    2026-11-06T19:50Z  2026-11-06T20:50Z       60        10  540 of 600
    exclusion from        to                    reason
    2026-11-06T20:00:00Z  2026-11-06T20:10:00Z  scheduled_maintenance
      excludes nothing: notice too short; told too late
    2026-11-06T20:00:00Z  2026-11-06T20:10:00Z  scheduled_maintenance
      accepted, saved 10 min; database upgrade
    2026-11-20T00:00:00Z  2026-11-20T00:00:30Z  force_majeure
      accepted, saved 0 min

  service.name=chat-2
    exclusion from        to                    reason
    2026-11-06T20:00:00Z  2026-11-06T20:10:00Z  scheduled_maintenance
      excludes nothing: notice too short; told too late
    2026-11-06T20:00:00Z  2026-11-06T20:10:00Z  scheduled_maintenance
      accepted, saved 0 min; database upgrade
"""
