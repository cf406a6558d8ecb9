"""What a report says of an agreement that has no figures yet, or none in this ledger."""

from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli_parts import ledger_url, open_ledger
from ledger_parts import Row
from sla_parts import make_agreement

from otel_sla.judging.month_report import elapsed_stop_minute, explain_absences, load_report
from otel_sla.ledger.reader import LedgerReader
from otel_sla.report.document import Report
from otel_sla.report.html.page import render_html
from otel_sla.report.table import render_table
from otel_sla.sla.months import Month, month_range

NOVEMBER = Month(2026, 11)
START = month_range(NOVEMBER, "UTC").start_minute
GRACE = timedelta(minutes=1)
NOW = datetime(2026, 11, 1, 0, 10, 30, tzinfo=UTC)


def report_at(
    now: datetime, folder: Path, rows: Iterable[Row], *, counted_for: str = "chat", zone: str = "UTC"
) -> Report:
    """The month of the agreement `chat`, of a ledger with these rows."""
    open_ledger(folder, [b"checkout"], rows, agreement=counted_for).close()
    elapsed_stop = elapsed_stop_minute(now, GRACE)
    with closing(LedgerReader.open(ledger_url(folder))) as reader:
        report = load_report(reader, [make_agreement(time_zone=zone)], NOVEMBER, elapsed_stop, now)
        return explain_absences(reader, report, elapsed_stop, GRACE)


@pytest.mark.parametrize(("zone", "at"), [("UTC", "2026-11-01 00:12 UTC"), ("Europe/Kyiv", "2026-11-01 02:12 +02:00")])
def test_a_first_report_says_what_is_counted_and_when_it_is_judged(tmp_path: Path, zone: str, at: str) -> None:
    """Within the first minute: so many requests, and the moment from which they are in the figures; in both formats."""
    report = report_at(NOW, tmp_path, [(START + 10, 0, 5, 1, 1), (START + 11, 0, 1, 0, 0)], zone=zone)
    said = "8 requests are counted so far, in minutes that cannot be judged yet: the first minute is judged at "
    assert said + at in " ".join(render_table(report).split())
    assert said + at in render_html(report)


def test_the_moment_that_is_named_holds(tmp_path: Path) -> None:
    """A second before the moment that the first report names there are no figures; at that moment there are."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    rows = [(START + 10, 0, 5, 0, 0)]
    moment = report_at(NOW, tmp_path, rows).agreements[0].absence
    assert moment is not None
    assert not report_at(moment.judged_at - timedelta(seconds=1), tmp_path / "a", rows).agreements[0].series
    assert report_at(moment.judged_at, tmp_path / "b", rows).agreements[0].series


def test_one_request_is_counted(tmp_path: Path) -> None:
    """One request is no "requests"."""
    assert "1 request is counted so far" in render_table(report_at(NOW, tmp_path, [(START + 10, 0, 1, 0, 0)]))


def test_a_ledger_of_other_agreements_says_so(tmp_path: Path) -> None:
    """A report by the defaults of another configuration's ledger names what the ledger holds, and what to do."""
    report = report_at(NOW, tmp_path, [(START, 0, 5, 0, 0)], counted_for="shop")
    text = " ".join(render_table(report).split())
    assert "No requests were counted for it. The ledger holds those of 1 other agreement: 'shop'." in text
    assert "Is this the right configuration? See --config." in text


def test_a_month_without_requests_says_so(tmp_path: Path) -> None:
    """The agreement has requests, in another month: this one has none, and nothing else is claimed."""
    report = report_at(NOW, tmp_path, [(START - 50_000, 0, 5, 0, 0)])
    assert "\n\n  No request was counted in this month.\n\n" in render_table(report)
