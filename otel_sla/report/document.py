"""The month's report as a value: what all formats are made of.

The caller judges; here the judged month is put in order. Whoever writes the report out adds nothing and leaves
nothing out.

Dimensions:
    n_minutes: elapsed minutes of the month.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from otel_sla.sla.agreement import Agreement, ExclusionWindow
from otel_sla.sla.downtime import JudgedMinutes
from otel_sla.sla.exclusions import Refusal, find_refusal, is_in_scope, minutes_saved
from otel_sla.sla.months import MinuteRange, Month, month_range
from otel_sla.sla.series import Series
from otel_sla.sla.uptime import MonthFigures
from otel_sla.spans.columns import Int64Array


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Who took a recorded window back, when and why (clause 15)."""

    by: str
    at: datetime  # Aware.
    why: str


@dataclass(frozen=True, slots=True)
class RecordedWindow:
    """A window that was recorded at run time."""

    exclusion_id: int
    window: ExclusionWindow
    withdrawn: Withdrawn | None


@dataclass(frozen=True, slots=True)
class ExclusionReport:
    """What became of one window in this month."""

    window: ExclusionWindow
    refusal: Refusal | None
    minutes_saved: int  # Of this month's elapsed minutes; 0 if refused.
    exclusion_id: int | None = None  # None: from the configuration.
    withdrawn: Withdrawn | None = None


@dataclass(frozen=True, slots=True)
class SeriesReport:
    """One series in the month."""

    series: Series
    figures: MonthFigures
    exclusions: tuple[ExclusionReport, ...]  # Those that touch the month, in time order.
    states: JudgedMinutes | None = None  # The elapsed minutes one by one; only where a format draws them.


@dataclass(frozen=True, slots=True)
class SeriesMinutes:
    """One series' elapsed minutes of the month, one by one. Too much to keep for many series: they pass by."""

    series: Series
    states: JudgedMinutes
    counts: Int64Array  # int64[n_minutes, 3], requests. Columns as in agreement.Outcome.


@dataclass(frozen=True, slots=True)
class AgreementReport:
    """One agreement in the month."""

    agreement: Agreement
    minutes: MinuteRange
    series: tuple[SeriesReport, ...]  # Sorted by group.
    version: int | None = None  # Of the terms it is judged by; None: the ledger does not have them.
    closed_version: int | None = None  # Of the terms that closed the month; None: it is open.


@dataclass(frozen=True, slots=True)
class Report:
    """The month of all agreements, in the order of the configuration."""

    month: Month
    generated_at: datetime  # Aware.
    agreements: tuple[AgreementReport, ...]


def series_report(
    series: Series,
    agreement: Agreement,
    figures: MonthFigures,
    judged: JudgedMinutes,
    recorded: Iterable[RecordedWindow] = (),
) -> SeriesReport:
    """Put one series in order.

    Args:
        series: Whose month this is.
        agreement: Its agreement.
        figures: `uptime.month_figures` of the month.
        judged: What the figures were made from.
        recorded: All windows that were recorded for the agreement besides its own ones, accepted or not, whatever
            their group and time.
    """
    elapsed = MinuteRange(figures.minutes.start_minute, figures.minutes.start_minute + figures.elapsed)
    windows: list[_Entry] = [(window, None) for window in agreement.exclusions.windows]
    windows += [(record.window, record) for record in recorded]
    return SeriesReport(
        series=series,
        figures=figures,
        exclusions=tuple(
            _exclusion_report(window, record, agreement, judged, elapsed)
            for window, record in sorted(windows, key=_window_order)
            if is_in_scope(window, series.group_text) and _touches(window, figures.minutes)
        ),
    )


def by_badness(report: SeriesReport) -> tuple[int, int, int, tuple[tuple[str, bytes], ...]]:
    """Sort key that puts the series first that people ask about first: most downtime, then least data."""
    figures = report.figures
    return (-figures.down, -figures.down_raw, figures.with_data, report.series.group)


def draw_worst(reports: Sequence[SeriesReport], drawn_max: int) -> list[SeriesReport]:
    """Keep the single minutes of the worst series, `drawn_max` of them, and drop those of the others."""
    worst = {report.series.series_id for report in sorted(reports, key=by_badness)[:drawn_max]}
    return [
        report if report.states is None or report.series.series_id in worst else replace(report, states=None)
        for report in reports
    ]


def agreement_report(agreement: Agreement, month: Month, series: Iterable[SeriesReport]) -> AgreementReport:
    """Put one agreement's series in order."""
    return AgreementReport(
        agreement=agreement,
        minutes=month_range(month, agreement.time_zone),
        series=tuple(sorted(series, key=lambda report: report.series.group)),
    )


def build_report(month: Month, generated_at: datetime, agreements: Sequence[AgreementReport]) -> Report:
    """Put the whole report together."""
    return Report(month=month, generated_at=generated_at, agreements=tuple(agreements))


_Entry = tuple[ExclusionWindow, RecordedWindow | None]


def _exclusion_report(
    window: ExclusionWindow,
    record: RecordedWindow | None,
    agreement: Agreement,
    judged: JudgedMinutes,
    elapsed: MinuteRange,
) -> ExclusionReport:
    withdrawn = None if record is None else record.withdrawn
    refusal: Refusal | None = Refusal.WITHDRAWN
    if withdrawn is None:
        refusal = find_refusal(window, agreement.exclusions, agreement.time_zone)
    return ExclusionReport(
        window=window,
        refusal=refusal,
        minutes_saved=minutes_saved(window, judged, elapsed) if refusal is None else 0,
        exclusion_id=None if record is None else record.exclusion_id,
        withdrawn=withdrawn,
    )


def _window_order(entry: _Entry) -> tuple[datetime, datetime, str]:
    # In UTC: two times of one zone compare by the clock on the wall, which the end of summer time sets back.
    window, _ = entry
    return (window.start.astimezone(UTC), window.stop.astimezone(UTC), window.reason.value)


def _touches(window: ExclusionWindow, minutes: MinuteRange) -> bool:
    """Whether the window shares any time with the month, be it less than a minute."""
    start = datetime.fromtimestamp(minutes.start_minute * 60, tz=UTC)
    stop = datetime.fromtimestamp(minutes.stop_minute * 60, tz=UTC)
    return window.start.astimezone(UTC) < stop and window.stop.astimezone(UTC) > start
