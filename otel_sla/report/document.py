"""The month's report as a value: what all formats are made of.

The caller judges; here the judged month is put in order. Whoever writes the report out adds nothing and leaves
nothing out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from otel_sla.sla.agreement import Agreement, ExclusionWindow
from otel_sla.sla.downtime import JudgedMinutes
from otel_sla.sla.exclusions import Refusal, find_refusal, is_in_scope, minutes_saved
from otel_sla.sla.months import MinuteRange, Month, month_range
from otel_sla.sla.series import Series
from otel_sla.sla.uptime import MonthFigures


@dataclass(frozen=True, slots=True)
class ExclusionReport:
    """What became of one window in this month."""

    window: ExclusionWindow
    refusal: Refusal | None
    minutes_saved: int  # Of this month's elapsed minutes; 0 if refused.


@dataclass(frozen=True, slots=True)
class SeriesReport:
    """One series in the month."""

    series: Series
    figures: MonthFigures
    exclusions: tuple[ExclusionReport, ...]  # Those that touch the month, in time order.


@dataclass(frozen=True, slots=True)
class AgreementReport:
    """One agreement in the month."""

    agreement: Agreement
    minutes: MinuteRange
    series: tuple[SeriesReport, ...]  # Sorted by group.


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
    windows: Iterable[ExclusionWindow],
) -> SeriesReport:
    """Put one series in order.

    Args:
        series: Whose month this is.
        agreement: Its agreement.
        figures: `uptime.month_figures` of the month.
        judged: What the figures were made from.
        windows: All windows of the agreement, accepted or not, whatever their group and time.
    """
    elapsed = MinuteRange(figures.minutes.start_minute, figures.minutes.start_minute + figures.elapsed)
    return SeriesReport(
        series=series,
        figures=figures,
        exclusions=tuple(
            _exclusion_report(window, agreement, judged, elapsed)
            for window in sorted(windows, key=_window_order)
            if is_in_scope(window, series.group_text) and _touches(window, figures.minutes)
        ),
    )


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


def _exclusion_report(
    window: ExclusionWindow, agreement: Agreement, judged: JudgedMinutes, elapsed: MinuteRange
) -> ExclusionReport:
    refusal = find_refusal(window, agreement.exclusions, agreement.time_zone)
    saved = minutes_saved(window, judged, elapsed) if refusal is None else 0
    return ExclusionReport(window=window, refusal=refusal, minutes_saved=saved)


def _window_order(window: ExclusionWindow) -> tuple[datetime, datetime, str]:
    # In UTC: two times of one zone compare by the clock on the wall, which the end of summer time sets back.
    return (window.start.astimezone(UTC), window.stop.astimezone(UTC), window.reason.value)


def _touches(window: ExclusionWindow, minutes: MinuteRange) -> bool:
    """Whether the window shares any time with the month, be it less than a minute."""
    start = datetime.fromtimestamp(minutes.start_minute * 60, tz=UTC)
    stop = datetime.fromtimestamp(minutes.stop_minute * 60, tz=UTC)
    return window.start.astimezone(UTC) < stop and window.stop.astimezone(UTC) > start
