"""A minute whose succeeded and failed requests are each as many as the ledger can hold (clause 19)."""

import csv
from dataclasses import replace
from pathlib import Path

from history_parts import EDGE, OCTOBER, History
from ledger_parts import count_rows
from sla_parts import make_agreement, make_terms

from otel_sla.judging.month_report import each_series_minutes
from otel_sla.ledger.records import Commit
from otel_sla.report.csv import each_minute_line
from otel_sla.sla.agreement import Counting, NoData
from otel_sla.sla.counts import COUNT_MAX, PARTS_PER_REQUEST


def largest_minute(folder: Path) -> History:
    """Adjusted counts, each of which has room in an int64 and their sum has not; then silence, which is down."""
    terms = replace(make_agreement(downtime=make_terms(no_data=NoData.DOWN)), counting=Counting.ADJUSTED)
    history = History(folder, terms)
    row = (history.now, 0, 1, 1, 0, 0, 2, 2, COUNT_MAX, COUNT_MAX, 0)
    history.ledger.commit(Commit((), count_rows([row]), (), versions=history.recorded.versions))
    return history


def test_clause_19_the_largest_minute_is_told_once(tmp_path: Path) -> None:
    """Told with the silence behind it, tick by tick: one downtime, and nothing is revised that nobody changed."""
    history = largest_minute(tmp_path)
    for _ in range(4):
        history.now += 2
        history.judge()
    names = [stored.event.name for stored in history.reader.events_after(0, 100) if "chat-0" in stored.event.body]
    assert names == ["sla.downtime.started"]
    history.assert_adds_up("the largest minute")
    history.stop()


def test_clause_19_the_largest_minute_stands_in_the_table_of_minutes(tmp_path: Path) -> None:
    """`--rows minutes`: both outcomes in whole requests, and their sum."""
    history = largest_minute(tmp_path)
    history.now += 2
    minutes = each_series_minutes(history.reader, history.configured, OCTOBER, EDGE - 58)
    rows = csv.DictReader(each_minute_line(history.configured, minutes))
    row = next(row for row in rows if row["minute"] == "2026-10-31T23:00:00Z")
    excess = COUNT_MAX // PARTS_PER_REQUEST
    assert (row["state"], int(row["valid"]), int(row["failed"])) == ("down", 2 * excess + 3, excess + 1)
    history.stop()
