"""A ledger under the processor: what a restart keeps, and what becomes of an application whose ledger fails."""

import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sdk_parts import MINUTE_NANOS, START, Clock, make_config, running

from otel_sla.errors import LedgerInUse, LedgerUnavailable
from otel_sla.judging.month_report import elapsed_stop_minute, load_report
from otel_sla.ledger.exclusion_writer import ExclusionWriter
from otel_sla.ledger.reader import LedgerReader
from otel_sla.sdk import SlaSpanProcessor
from otel_sla.sla.agreement import ExclusionReason, ExclusionWindow
from otel_sla.sla.months import Month

TESTS = Path(__file__).parents[1]


def test_a_restart_keeps_the_month(tmp_path: Path) -> None:
    """Downtime from before the restart stands in the gauges, in the ledger's report, and is not counted twice."""
    config = make_config("agreements: [{name: chat, downtime: {no_data: carry}}]")
    path = tmp_path / "app.db"
    with running(config, ledger=path) as app:
        app.request(500)
        app.pass_minutes(1)
        app.request(200)
    with running(config, ledger=f"sqlite:///{path}", clock=app.clock) as again:
        again.request(500)
        again.pass_minutes(3)
        assert again.values("sla.downtime") == [180]  # The first two minutes and the silent one after them.
        assert again.requests() == {"succeeded": 0, "failed": 1, "invalid": 0}
        now = datetime.fromtimestamp(again.clock.now / 1e9, UTC)
    reader = LedgerReader.open(f"sqlite:///{path}")
    elapsed_stop = elapsed_stop_minute(now, timedelta(minutes=1))
    report = load_report(reader, config.agreements, Month(2026, 6), elapsed_stop, now)
    figures = report.agreements[0].series[0].figures
    reader.close()
    assert (figures.down, figures.counts) == (3, (1, 2, 0))


def test_a_recorded_exclusion_is_in_the_gauges(tmp_path: Path) -> None:
    """What is agreed later and recorded in the ledger lifts the uptime with the next minute."""
    path = tmp_path / "app.db"
    with running(ledger=path) as app:
        app.request(500)
        app.pass_minutes(2)
        assert app.values("sla.downtime") == [60]
        start = datetime.fromtimestamp(START / 1e9, UTC)
        window = ExclusionWindow(
            ExclusionReason.FORCE_MAJEURE, start, start + timedelta(minutes=1), None, None, "flood", "ada", start
        )
        notebook = ExclusionWriter.open(f"sqlite:///{path}")
        notebook.record_exclusion("default", window)
        notebook.close()
        app.pass_minutes(1)
        assert app.values("sla.downtime") == [0]
        assert app.values("sla.monthly_uptime.raw") == [(43_200 - 1) / 43_200]


def test_a_ledger_has_one_process(tmp_path: Path) -> None:
    """A second processor on the same file, and one on no file, are refused when they are made."""
    path = tmp_path / "app.db"
    with running(ledger=path) as app:
        app.pass_minutes(1)
        with pytest.raises(LedgerInUse):
            SlaSpanProcessor(ledger=path)
    with pytest.raises(LedgerUnavailable):
        SlaSpanProcessor(ledger=tmp_path / "nowhere" / "app.db")


def test_a_series_whose_first_span_fails_reaches_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its span is met and then not counted: the ledger has the series all the same, before counts need it."""
    path = tmp_path / "app.db"

    def failing(*_: object) -> None:
        raise MemoryError

    with running(ledger=path) as app:
        assert app.processor.force_flush()
        with monkeypatch.context() as patch:
            patch.setattr("otel_sla.counting.minute_ring.MinuteRing.add", failing)
            app.request()
            assert app.processor.force_flush()
        app.request()
        app.pass_minutes(2)
        assert app.requests()["succeeded"] == 1
    with closing(LedgerReader.open(f"sqlite:///{path}")) as reader:
        assert len(reader.series()) == 1
        assert len(reader.counts(0, 1 << 40)) == 1


def test_counting_goes_on_when_the_ledger_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The file is moved away under it: that is told once, and the figures stay whole in memory."""
    path = tmp_path / "app.db"
    with running(ledger=path) as app:
        app.request(500)
        app.pass_minutes(1)
        path.rename(tmp_path / "gone.db")
        app.request(500)
        app.pass_minutes(1)
        app.request(500)
        app.pass_minutes(3)
        assert app.values("sla.downtime") == [180]
    assert [record.action for record in caplog.records] == ["ledger_failed"]


def test_the_next_month_begins_anew_and_the_counter_goes_on(tmp_path: Path) -> None:
    """At the end of the month its gauges start again; the requests, a counter, never fall."""
    clock = Clock(START + 9 * 1440 * MINUTE_NANOS - MINUTE_NANOS)
    with running(ledger=tmp_path / "app.db", clock=clock) as app:
        app.request(500)
        app.pass_minutes(2)
        assert (app.values("sla.downtime"), app.requests()["failed"]) == ([60], 1)
        app.request(200)
        app.pass_minutes(2)
        assert (app.values("sla.downtime"), app.requests()["failed"], app.requests()["succeeded"]) == ([0], 1, 1)


def test_forked_processes_count_for_themselves(tmp_path: Path) -> None:
    """Forks at once and while counting: each process has its own figures, the ledger stays with the first."""
    script = [sys.executable, str(TESTS / "sdk_forking.py"), str(tmp_path / "app.db")]
    subprocess.run(script, check=True, timeout=60)
