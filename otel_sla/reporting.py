"""Reads a month from the ledger, judges it and puts it in order as a report."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from otel_sla.history import History, Terms, series_of
from otel_sla.ledger.reader import LedgerReadings
from otel_sla.report.document import AgreementReport, Report, agreement_report, build_report, series_report
from otel_sla.sla.agreement import Agreement
from otel_sla.sla.months import Month, month_range
from otel_sla.sla.series import Series
from otel_sla.sla.uptime import is_in_month, month_figures

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def elapsed_stop_minute(now: datetime, grace: timedelta) -> int:
    """Give the first minute that has not elapsed: whose end is not yet `grace` ago (clause 17)."""
    return (now - grace - _EPOCH) // timedelta(minutes=1)


def load_report(
    reader: LedgerReadings, agreements: Sequence[Agreement], month: Month, elapsed_stop: int, generated_at: datetime
) -> Report:
    """Judge the month of each agreement, as one state of the ledger has it.

    Args:
        reader: Its snapshot is taken here.
        agreements: In the order of the report.
        month: Local to each agreement's time zone.
        elapsed_stop: `elapsed_stop_minute` of the moment that the report speaks of.
        generated_at: Aware; only shown.

    Raises:
        LedgerError: It cannot be read.
    """
    with reader.snapshot():
        history = History(reader, reader.first_data_minutes())
        all_series = reader.series()
        sections = [
            _section(history, Terms(agreement, agreement.exclusions.windows), month, all_series, elapsed_stop)
            for agreement in agreements
        ]
    return build_report(month, generated_at, sections)


def _section(
    history: History, terms: Terms, month: Month, all_series: Sequence[Series], elapsed_stop: int
) -> AgreementReport:
    agreement = terms.agreement
    minutes = month_range(month, agreement.time_zone)
    reports = []
    for series in series_of(agreement, all_series):
        judged = history.judged(series, terms, minutes, elapsed_stop)
        if is_in_month(minutes, judged.counts, agreement.downtime.no_data):
            figures = month_figures(minutes, judged.judged, judged.counts, agreement.target)
            reports.append(series_report(series, agreement, figures, judged.judged, terms.windows))
    return agreement_report(agreement, month, reports)
