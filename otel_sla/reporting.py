"""Reads a month from the ledger, judges it and puts it in order as a report."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from otel_sla.history import History, JudgedSeries, Terms, series_of
from otel_sla.ledger.reader import LedgerReadings
from otel_sla.report.document import (
    AgreementReport,
    Report,
    SeriesMinutes,
    SeriesReport,
    agreement_report,
    build_report,
    draw_worst,
    series_report,
)
from otel_sla.sla.agreement import Agreement
from otel_sla.sla.months import Month, month_range
from otel_sla.sla.series import Series
from otel_sla.sla.uptime import is_in_month, month_figures

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def elapsed_stop_minute(now: datetime, grace: timedelta) -> int:
    """Give the first minute that has not elapsed: whose end is not yet `grace` ago (clause 17)."""
    return (now - grace - _EPOCH) // timedelta(minutes=1)


def load_report(
    reader: LedgerReadings,
    agreements: Sequence[Agreement],
    month: Month,
    elapsed_stop: int,
    generated_at: datetime,
    *,
    drawn_max: int = 0,
) -> Report:
    """Judge the month of each agreement, as one state of the ledger has it.

    Args:
        reader: Its snapshot is taken here.
        agreements: In the order of the report.
        month: Local to each agreement's time zone.
        elapsed_stop: `elapsed_stop_minute` of the moment that the report speaks of.
        generated_at: Aware; only shown.
        drawn_max: Of so many of each agreement's series, the worst, the report keeps every minute's state.

    Raises:
        LedgerError: It cannot be read.
    """
    with reader.snapshot():
        history = History(reader, reader.first_data_minutes())
        all_series = reader.series()
        sections = []
        for agreement in agreements:
            terms = Terms(agreement, agreement.exclusions.windows)
            judged = _each_judged(history, terms, month, all_series, elapsed_stop)
            sections.append(_section(terms, month, judged, drawn_max))
    return build_report(month, generated_at, sections)


def each_series_minutes(
    reader: LedgerReadings, agreements: Sequence[Agreement], month: Month, elapsed_stop: int
) -> Iterator[SeriesMinutes]:
    """Judge as `load_report` does, and give each series' elapsed minutes one by one, in the report's order.

    The snapshot lasts until the last one was taken.
    """
    with reader.snapshot():
        history = History(reader, reader.first_data_minutes())
        all_series = reader.series()
        for agreement in agreements:
            terms = Terms(agreement, agreement.exclusions.windows)
            minutes = month_range(month, agreement.time_zone)
            for series, judged in _each_judged(history, terms, month, all_series, elapsed_stop):
                stop_minute = max(minutes.start_minute, min(minutes.stop_minute, judged.judged.stop_minute))
                states = judged.judged.part(minutes.start_minute, stop_minute)
                first = minutes.start_minute - judged.counts.start_minute
                yield SeriesMinutes(series, states, judged.counts.counts[first : first + len(states.raw)])


def _each_judged(
    history: History, terms: Terms, month: Month, all_series: Sequence[Series], elapsed_stop: int
) -> Iterator[tuple[Series, JudgedSeries]]:
    """Judge the series that the month's report names, in its order."""
    agreement = terms.agreement
    minutes = month_range(month, agreement.time_zone)
    for series in sorted(series_of(agreement, all_series), key=lambda series: series.group):
        judged = history.judged(series, terms, minutes, elapsed_stop)
        if is_in_month(minutes, judged.counts, agreement.downtime.no_data):
            yield series, judged


def _section(
    terms: Terms, month: Month, each_judged: Iterator[tuple[Series, JudgedSeries]], drawn_max: int
) -> AgreementReport:
    agreement = terms.agreement
    minutes = month_range(month, agreement.time_zone)
    reports: list[SeriesReport] = []
    for series, judged in each_judged:
        figures = month_figures(minutes, judged.judged, judged.counts, agreement.target)
        report = series_report(series, agreement, figures, judged.judged, terms.windows)
        reports.append(replace(report, states=judged.judged) if drawn_max else report)
        if len(reports) % max(256, drawn_max) == 0:  # Never many more states in memory than are drawn.
            reports = draw_worst(reports, drawn_max)
    return agreement_report(agreement, month, draw_worst(reports, drawn_max))
