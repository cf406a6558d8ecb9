"""The month's report as a value: what all formats are made of.

The caller judges; here the judged month is put in order. The formats add nothing and leave nothing out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from otel_sla.sla.agreement import Agreement, ExclusionWindow
from otel_sla.sla.downtime import JudgedMinutes, SeriesCounts
from otel_sla.sla.exclusions import ExclusionRecord, Refusal, Withdrawal, find_refusal, is_in_scope, minutes_saved
from otel_sla.sla.months import MinuteRange, Month, month_range
from otel_sla.sla.series import Series
from otel_sla.sla.uptime import MonthFigures


@dataclass(frozen=True, slots=True)
class ExclusionReport:
    """What became of one window in this month, for one series or for all."""

    window: ExclusionWindow
    exclusion_id: int | None = None  # Its number in the ledger; None: from the configuration.
    withdrawn: Withdrawal | None = None  # Who took it back; None if nobody did.
    refusal: Refusal | None = None  # Why it excludes nothing, by `decide_windows`; None if it was accepted.
    minutes_saved: int = 0  # Of this month's elapsed minutes, for one series; 0 if refused.


@dataclass(frozen=True, slots=True)
class SeriesReport:
    """One series in the month."""

    series: Series
    figures: MonthFigures
    exclusions: tuple[ExclusionReport, ...]  # Those that touch the month, in time order.
    former: bool = False  # Of a grouping that is not that of the terms it is judged by (clause 22).
    states: JudgedMinutes | None = None  # The elapsed minutes one by one; only where a format draws them.
    is_complete: bool = True  # False: of a closing that kept no downtime periods and nothing of single exclusions.


@dataclass(frozen=True, slots=True)
class SeriesMinutes:
    """One series' elapsed minutes of the month, one by one. Too much to keep for many series: they pass by."""

    series: Series
    states: JudgedMinutes
    counts: SeriesCounts  # Of the same minutes.
    version: int | None = None  # As in AgreementReport, as the next one.
    closed_version: int | None = None


@dataclass(frozen=True, slots=True)
class CountedBy:
    """Minutes of the month whose requests were counted by one version of the terms (clause 22)."""

    agreement: Agreement  # In that version.
    version: int
    minutes: MinuteRange  # From the first of them to the last; late spans are counted by a later version.
    is_derived: bool  # From when versions were recorded: an earlier otel-sla counted.


@dataclass(frozen=True, slots=True)
class Absence:
    """What the ledger has of an agreement that has no series in the month; it has one or the other."""

    requests: int  # In minutes of the month that have not elapsed.
    judged_at: datetime  # When the first of these is judged; aware.
    others: tuple[str, ...]  # Agreements with counts, where it has none of any that is configured.


@dataclass(frozen=True, slots=True)
class AgreementReport:
    """One agreement in the month."""

    agreement: Agreement
    minutes: MinuteRange
    series: tuple[SeriesReport, ...]  # Sorted by group.
    version: int | None = None  # Of the terms it is judged by; None: the ledger does not have them.
    closed_version: int | None = None  # Of the terms that closed the month; None: it is open.
    exclusions: tuple[ExclusionReport, ...] = ()  # Those of no series that is in the month, in time order.
    absence: Absence | None = None  # Only where there are no series.
    is_as_closed: bool = False  # Its counts are dropped: these are the figures that it was closed with.
    has_later_exclusions: bool = False  # Exclusions have changed since that closing; the figures have not.
    configured: bool = True  # False: the agreement was renamed or removed since.
    counted_by: tuple[CountedBy, ...] = ()  # In the order of time; versions that count alike are one.
    elapsed: int | None = None  # Minutes of the month that have elapsed; None: the month is over.

    @property
    def breached(self) -> bool:
        """Whether any series broke the promise, those of former groupings too."""
        return any(series.figures.is_breached for series in self.series)

    @property
    def is_running(self) -> bool:
        """Whether the figures of any series speak of a part of the month only."""
        return any(series.figures.elapsed < series.figures.total for series in self.series)


@dataclass(frozen=True, slots=True)
class Report:
    """The month of all agreements, in the order of the configuration."""

    month: Month
    generated_at: datetime  # Aware.
    agreements: tuple[AgreementReport, ...]


def decide_windows(
    agreement: Agreement, minutes: MinuteRange, records: Iterable[ExclusionRecord] = ()
) -> tuple[ExclusionReport, ...]:
    """Decide on an agreement's windows, once for all series: those that touch the month's minutes, in time order.

    The windows are those of the configuration and those of `records`, of which other agreements' are left out.
    """
    recorded = (record for record in records if record.agreement == agreement.name)
    entries = (
        *map(ExclusionReport, agreement.exclusions.windows),
        *(ExclusionReport(record.window, record.exclusion_id, record.withdrawal) for record in recorded),
    )
    month_start, month_stop = 60 * minutes.start_minute, 60 * minutes.stop_minute
    decided = []
    for entry in entries:
        window = entry.window
        # By any time, be it less than a minute.
        if window.start.timestamp() < month_stop and window.stop.timestamp() > month_start:
            refused = find_refusal(window, agreement.exclusions, agreement.time_zone)
            decided.append(replace(entry, refusal=Refusal.WITHDRAWN if entry.withdrawn else refused))
    return tuple(sorted(decided, key=_window_order))


def series_report(
    series: Series, figures: MonthFigures, judged: JudgedMinutes, decided: Iterable[ExclusionReport]
) -> SeriesReport:
    """Put one series in order, with those of its agreement's decided windows that are meant for it."""
    elapsed = MinuteRange(figures.minutes.start_minute, figures.minutes.start_minute + figures.elapsed)
    meant = [entry for entry in decided if is_in_scope(entry.window, series.group_text)]
    saved = iter(minutes_saved((entry.window for entry in meant if entry.refusal is None), judged, elapsed))
    exclusions = (replace(entry, minutes_saved=next(saved)) if entry.refusal is None else entry for entry in meant)
    return SeriesReport(series, figures, tuple(exclusions))


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


def exclusions_alone(
    decided: Iterable[ExclusionReport], reports: Iterable[SeriesReport]
) -> tuple[ExclusionReport, ...]:
    """Give the windows that no series of the month shows: they excluded nothing, and are kept all the same."""
    groups = [report.series.group_text for report in reports]
    return tuple(entry for entry in decided if not any(is_in_scope(entry.window, group) for group in groups))


def _window_order(decided: ExclusionReport) -> tuple[datetime, datetime, str]:
    # In UTC: two times of one zone compare by the clock on the wall, which the end of summer time sets back.
    window = decided.window
    return (window.start.astimezone(UTC), window.stop.astimezone(UTC), window.reason.value)
