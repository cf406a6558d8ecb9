"""Months judged the way a caller has to do it, for the tests of reports."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from sla_parts import make_agreement, make_series, make_terms

from otel_sla.report.document import Report, agreement_report, decide_windows, series_report
from otel_sla.sla.agreement import Agreement, ExclusionReason, ExclusionTerms, ExclusionWindow, NoData
from otel_sla.sla.counts import parts_of
from otel_sla.sla.downtime import (
    JudgedSeries,
    MinuteState,
    SeriesCounts,
    judge_minutes,
    judged_state,
    needs_minutes_after,
    needs_minutes_before,
)
from otel_sla.sla.exclusions import accepted_windows, excluded_minutes
from otel_sla.sla.months import Month, month_range
from otel_sla.sla.series import Series
from otel_sla.sla.uptime import is_in_month, month_figures

GENERATED_AT = datetime(2026, 12, 2, 8, 0, 0, 250_000, tzinfo=UTC)

MinuteCounts = Mapping[int, Sequence[int]]  # Epoch minute -> succeeded, failed, invalid.


def counts_between(minutes: MinuteCounts, agreement: Agreement, start_minute: int, stop_minute: int) -> SeriesCounts:
    """The counts of a range with what its past hands on."""
    counts = np.zeros((max(0, stop_minute - start_minute), 3), dtype=np.int64)
    parts = parts_of(agreement.counting)  # Nothing is sampled here: each request is as many.
    carried: MinuteState | None = None
    for minute in sorted(minutes):
        succeeded, failed, invalid = minutes[minute]
        if minute < start_minute:
            state = judged_state((succeeded * parts, failed * parts, invalid * parts), agreement.downtime, parts)
            carried = carried if state is None else state
        elif minute < stop_minute:
            counts[minute - start_minute] = (succeeded, failed, invalid)
    first = min((minute for minute, (ok, failed, _) in minutes.items() if ok + failed), default=None)
    return SeriesCounts(start_minute, counts * parts, carried, first, parts=parts)


def judge_month(
    minutes: MinuteCounts,
    agreement: Agreement,
    series: Series,
    month: Month,
    elapsed_stop: int,
    windows: Iterable[ExclusionWindow],
) -> JudgedSeries:
    """Judge a month with as many minutes around it as its runs need, each time twice as many more."""
    calendar = month_range(month, agreement.time_zone)
    start, step = calendar.start_minute, 3
    if agreement.downtime.no_data is NoData.CARRY:  # What is carried after exclusions may lie anywhere.
        start = min([start, *minutes])
    while needs_minutes_before(counts_between(minutes, agreement, start, start + 1), agreement.downtime):
        start, step = start - step, 2 * step
    stop = max(start, min(calendar.stop_minute, elapsed_stop))
    accepted = accepted_windows(windows, agreement.exclusions, agreement.time_zone)
    step = 3
    while True:
        counts = counts_between(minutes, agreement, start, stop)
        excluded = excluded_minutes(accepted, series.group_text, start, stop)
        judged = judge_minutes(counts, agreement.downtime, excluded)
        if not needs_minutes_after(judged, elapsed_stop):
            return JudgedSeries(counts, judged)
        stop, step = min(elapsed_stop, stop + step), 2 * step


def make_report(
    agreements: Sequence[Agreement],
    counted: Mapping[tuple[str, tuple[tuple[str, bytes], ...]], MinuteCounts],
    month: Month,
    elapsed_stop: int,
    generated_at: datetime = GENERATED_AT,
    *,
    is_drawn: bool = False,
) -> Report:
    """The whole report of what was counted; with every minute's state if it is to be drawn."""
    reports = []
    for agreement in agreements:
        of_agreement = []
        windows = agreement.exclusions.windows
        for number, ((name, group), minutes) in enumerate(counted.items()):
            series = Series(number, name, group, is_overflow=False)
            calendar = month_range(month, agreement.time_zone)
            if name != agreement.name:
                continue
            judged = judge_month(minutes, agreement, series, month, elapsed_stop, windows)
            if is_in_month(calendar, judged.counts, agreement.downtime.no_data):
                figures = month_figures(calendar, judged, agreement.target)
                report = series_report(series, figures, judged.judged, decide_windows(agreement, calendar))
                of_agreement.append(replace(report, states=judged.judged) if is_drawn else report)
        reports.append(agreement_report(agreement, month, of_agreement))
    return Report(month, generated_at, tuple(reports))


def eventful_month(*, is_drawn: bool = False) -> Report:
    """November 2026 of one service that broke its promise, with a window of each fate, and of one that did not."""
    november = Month(2026, 11)
    start = month_range(november, "UTC").start_minute
    friday = datetime(2026, 11, 6, 20, 0, tzinfo=UTC)
    maintenance = ExclusionWindow(
        reason=ExclusionReason.SCHEDULED_MAINTENANCE,
        start=friday,
        stop=friday.replace(minute=10),
        group=None,
        announced_at=datetime(2026, 11, 2, 9, 0, tzinfo=UTC),
        note="database upgrade",
        recorded_by="",
        recorded_at=None,
    )
    refused = replace(maintenance, announced_at=datetime(2026, 11, 5, 9, 0, tzinfo=UTC), note="told too late")
    later = replace(
        maintenance,
        reason=ExclusionReason.FORCE_MAJEURE,
        start=datetime(2026, 11, 20, 0, 0, tzinfo=UTC),
        stop=datetime(2026, 11, 20, 0, 0, 30, tzinfo=UTC),
        group=(("service.name", "chat-1"),),
        announced_at=None,
        recorded_by="ops@example.com",
        recorded_at=datetime(2026, 11, 21, 12, 0, tzinfo=UTC),
        note="",
    )
    agreement = make_agreement(
        downtime=make_terms(),
        exclusions=ExclusionTerms(3, (), (later, refused, maintenance)),
    )
    quiet = {start + n: (9, 0, 1) for n in range(0, 43_200, 2)}
    outage = start + 5 * 1440 + 20 * 60 - 10
    broken = quiet | {outage + n: (1, 9, 0) for n in range(60)}
    counted = {
        ("chat", (("service.name", b"chat-2"),)): quiet,
        ("chat", make_series().group): broken,
    }
    return make_report([agreement], counted, november, start + 43_200, is_drawn=is_drawn)
