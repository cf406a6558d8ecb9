"""A closed month whose counts are dropped: the report has the figures that it was closed with, in every format."""

import csv
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest
from history_parts import EDGE, EPOCH, NOVEMBER, OCTOBER, History
from ledger_parts import make_window
from sla_parts import make_agreement, make_terms

from otel_sla.errors import CountsExpired, LedgerCorrupt
from otel_sla.judging.month_report import each_series_minutes, load_report
from otel_sla.ledger.exclusion_writer import ExclusionWriter
from otel_sla.report.csv import Rows, render_csv
from otel_sla.report.document import Report
from otel_sla.report.html.page import render_html
from otel_sla.report.json import render_json
from otel_sla.report.notes import each_note
from otel_sla.report.table import Screen, render_table
from otel_sla.sla.agreement import Counting, ExclusionReason, NoData
from otel_sla.sla.exclusions import Refusal
from otel_sla.sla.months import Month, expire_before
from otel_sla.sla.uptime import SpanCounts

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs" / "report.schema.json").read_text(encoding="utf-8"))
FORCE_MAJEURE = ExclusionReason.FORCE_MAJEURE
RECORD_AT = EDGE - 9 * 1440
MOMENT = EPOCH + timedelta(minutes=EDGE + 100)


def eventful(folder: Path, counting: Counting = Counting.REQUESTS) -> History:
    """October with periods, one of them over its end, an accepted, a refused and a withdrawn window, then closed."""
    start = EPOCH + timedelta(minutes=RECORD_AT)
    refused = replace(make_window(), start=start, stop=start + timedelta(hours=1), group=None, announced_at=None)
    agreement = make_agreement(downtime=make_terms(no_data=NoData.DOWN, period_minutes_min=5))
    exclusions = replace(agreement.exclusions, windows=(refused,))
    agreement = replace(agreement, exclusions=exclusions, counting=counting)
    history = History(folder, agreement)
    # Of each minute something is spared and sampled, too, and stands for more than itself.
    history.count([(RECORD_AT + minute, 0, 7, 5, 1, 2, 3, 4, 1 << 20, 3 << 19, 5) for minute in range(700)])
    history.count([(EDGE - 20 + minute, 1, 0, 3, 0) for minute in range(40)])
    with closing(ExclusionWriter.open(history.url)) as notebook:
        for group, minutes in ((None, 30), ((("service.name", "chat-0"),), 60)):
            start = EPOCH + timedelta(minutes=RECORD_AT + 100)
            stop = start + timedelta(minutes=minutes)
            window = replace(make_window(), reason=FORCE_MAJEURE, start=start, stop=stop, group=group)
            notebook.record_exclusion("chat", window)
        notebook.withdraw_exclusion(2, withdrawn_by="ops", withdrawn_at=MOMENT, why="mistaken")
    history.now = history.sealed_before = EDGE + 100
    history.judge()
    return history


def read(history: History, month: Month = OCTOBER, *, drawn_max: int = 0, as_configured: bool = False) -> Report:
    """The report as `otel-sla report` makes it."""
    return load_report(
        history.reader,
        (history.agreement,),
        month,
        history.now,
        MOMENT,
        drawn_max=drawn_max,
        as_configured=as_configured,
    )


def drop_counts(history: History) -> None:
    """Retention takes October."""
    while history.ledger.expire(expire_before(EDGE + 5 * 1440)):
        pass


def without_notes(text: str, report: Report) -> str:
    """The text of a format without the sentence that the counts are gone."""
    note = next(each_note(report.agreements[0]))
    assert "these are the figures that it was closed with" in note
    return text.replace(f"<p>{note}</p>\n", "").replace(f"{note}\n", "")


@pytest.mark.parametrize("counting", Counting)
def test_every_format_gives_what_the_month_was_closed_with(tmp_path: Path, counting: Counting) -> None:
    """Figures, periods, exclusions and calendars are those from before the counts were dropped; each format says so."""
    history = eventful(tmp_path, counting)
    before = read(history, drawn_max=50)
    drop_counts(history)
    after = read(history, drawn_max=50)
    assert len(after.agreements[0].series) == 3
    assert after.agreements[0].is_as_closed
    assert not after.agreements[0].has_later_exclusions
    fates = [(window.refusal, window.minutes_saved) for window in after.agreements[0].series[0].exclusions]
    assert fates == [(Refusal.NOTICE_TOO_SHORT, 0), (None, 30), (Refusal.WITHDRAWN, 0)]
    marked = replace(before, agreements=(replace(before.agreements[0], is_as_closed=True),))
    assert render_json(after) == render_json(marked)
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(render_json(after)))
    for rows in (Rows.SERIES, Rows.PERIODS, Rows.EXCLUSIONS):
        assert render_csv(after, rows) == render_csv(marked, rows)
    assert "true" in render_csv(after)
    for render in (render_html, lambda report: render_table(report, Screen(400))):
        assert render(after) != render(before)
        assert without_notes(render(after), after) == render(before)
    history.stop()


def test_what_the_counts_alone_can_say_is_refused(tmp_path: Path) -> None:
    """Single minutes' requests and other terms: the error says what there is instead."""
    history = eventful(tmp_path)
    drop_counts(history)
    with pytest.raises(CountsExpired, match="2026-10 are kept no longer") as expired:
        read(history, as_configured=True)
    assert "without --as-configured" in expired.value.hint
    with pytest.raises(CountsExpired) as expired:
        list(each_series_minutes(history.reader, (history.agreement,), OCTOBER, history.now))
    assert "without --rows minutes" in expired.value.hint
    with pytest.raises(CountsExpired, match="2026-09") as expired:
        read(history, OCTOBER.previous)
    assert "a backup" in expired.value.hint
    other = replace(history.agreement, name="other")
    beside = load_report(history.reader, (history.agreement, other), OCTOBER, history.now, MOMENT)
    assert [len(section.series) for section in beside.agreements] == [3, 0]
    assert "it was not closed" in render_table(beside, Screen(400))
    assert "it was not closed" in render_html(beside)
    assert list(each_series_minutes(history.reader, (history.agreement,), NOVEMBER, history.now))
    history.stop()


def test_exclusions_that_come_after_the_counts_are_gone(tmp_path: Path) -> None:
    """They change no figure, and the report says that they do not."""
    history = eventful(tmp_path)
    drop_counts(history)
    before = read(history)
    with closing(ExclusionWriter.open(history.url)) as notebook:
        notebook.withdraw_exclusion(1, withdrawn_by="ops", withdrawn_at=MOMENT, why="too late")
    after = read(history)
    assert after.agreements[0].has_later_exclusions
    assert "Exclusions were recorded or withdrawn since" in render_table(after, Screen(400))
    figures = [[series.figures for series in report.agreements[0].series] for report in (before, after)]
    assert figures[0] == figures[1]
    history.stop()


def rewrite_closings(history: History, change: str) -> None:
    """Change what the ledger has of closings, by SQL."""
    with closing(sqlite3.connect(history.ledger.path)) as connection:
        connection.execute(f"UPDATE closed_months SET figures = {change}")  # noqa: S608 - the test's own
        connection.commit()


def test_a_month_that_an_earlier_version_closed(tmp_path: Path) -> None:
    """Its figures are there; that neither periods nor single exclusions were kept is said, not shown as none."""
    history = eventful(tmp_path)
    before = read(history)
    rewrite_closings(history, "json_remove(figures, '$.kept')")
    drop_counts(history)
    after = read(history)
    for one, other in zip(before.agreements[0].series, after.agreements[0].series, strict=True):
        counted = SpanCounts(one.figures.spans.total)  # It knew no other spans.
        assert replace(one.figures, downtime_periods=(), spans=counted) == other.figures
        assert not other.is_complete
    assert "An earlier otel-sla closed it" in render_table(after, Screen(400))
    assert "Downtime periods" not in render_html(after)
    row = next(csv.DictReader(render_csv(after).splitlines()))
    assert (row["downtime_periods"], row["exclusions_accepted"], row["complete"]) == ("", "", "false")
    history.stop()


def test_a_closing_that_cannot_be_read(tmp_path: Path) -> None:
    """It is told as damage, with the series and the month."""
    history = eventful(tmp_path)
    rewrite_closings(history, "json_set(figures, '$.kept.states', 'AAAA')")
    drop_counts(history)
    with pytest.raises(LedgerCorrupt, match=r"what 2026-10 was closed with cannot be read \(series 0"):
        read(history)
    history.stop()
