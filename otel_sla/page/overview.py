"""What `/` shows of each agreement: its month, its budget, what happens now, and its series, the worst first."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction

import numpy as np

from otel_sla.arrays import Int64Array
from otel_sla.page.app import View
from otel_sla.page.drawing import DrawnBudget, draw_bars, draw_budget, write_days
from otel_sla.page.figures import N_COLUMNS, AgreementMonths
from otel_sla.page.live import LIVE_MINUTES, LiveMinutes
from otel_sla.page.now import newest_months, series_now
from otel_sla.report.document import AgreementReport, SeriesReport, by_badness
from otel_sla.sla.agreement import Agreement, Outcome
from otel_sla.sla.counts import N_OUTCOMES
from otel_sla.sla.downtime import MinuteState
from otel_sla.sla.months import Month, day_ranges, local_date
from otel_sla.sla.series import Series

DAYS_SHOWN = 90
SERIES_SHOWN = 50  # Of one agreement, on one page;
SERIES_OF_ALL = 200  # and of all agreements together, where there are many.


@dataclass(frozen=True, slots=True)
class LiveMinute:
    """Requests of one minute that is not judged yet."""

    epoch_minute: int
    valid: int
    failed: int
    is_running: bool

    @property
    def error_rate(self) -> Fraction | None:
        """Share of failed among the valid requests; None without any."""
        return Fraction(self.failed, self.valid) if self.valid else None

    def is_above(self, agreement: Agreement) -> bool:
        """Whether the minute would be down if it ended like this; exclusions apart."""
        terms = agreement.downtime
        return self.valid >= max(1, terms.valid_requests_min) and self.failed > self.valid * terms.error_rate_above


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """One series."""

    series: Series
    name: str
    report: SeriesReport | None  # Of the newest month; None: nothing of the series is judged in it.
    bars: dict[str, str]
    days_text: str  # `drawing.write_days`.
    n_down: int  # Minutes, in all days shown, as the next one.
    n_excluded: int
    live: tuple[LiveMinute, ...]  # Oldest first; nothing without an answer of the pipeline.

    @property
    def first_live(self) -> int | None:
        """The first of the newest minutes that has a valid request; None: none has."""
        return next((minute.epoch_minute for minute in self.live if minute.valid), None)


@dataclass(frozen=True, slots=True)
class Overview:
    """One agreement."""

    agreement: Agreement
    is_configured: bool
    zone: str  # By which the month is judged; a change of the configuration's may be for the next one.
    month: Month
    section: AgreementReport | None  # None: no minute was judged yet.
    down_since: tuple[int, ...]  # Of each series whose newest judged minute is down: since when, ascending.
    worst: SeriesReport | None
    worst_name: str
    budget: DrawnBudget | None  # Of the worst series.
    live: tuple[LiveMinute, ...]  # Of all series.
    above: Mapping[int, int]  # By epoch minute of `live`: how many series are above the limit.
    rows: tuple[SeriesRow, ...]  # Of this page.
    n_series: int
    n_found: int  # Of them, by the search.
    page: int  # From 1.
    n_pages: int
    last_day: date  # Of the bars, local.


def overviews(view: View, *, only: str | None, query: str, page: int) -> list[Overview]:
    """Put together what `/` shows.

    Args:
        view: Of whoever asks.
        only: Name of the one agreement to show; None: all.
        query: Part of the names of the series to show.
        page: From 1; of each agreement.
    """
    shown = [each for each in view.agreements if only is None or each.agreement.name == only]
    shown = [each for each in shown if each.is_configured or each.newest.report.series]
    series_max = max(1, min(SERIES_SHOWN, SERIES_OF_ALL // max(1, len(shown))))
    return [_overview(view, months, query, page, series_max) for months in shown]


def _overview(view: View, months: AgreementMonths, query: str, page: int, series_max: int) -> Overview:
    agreement, newest = months.agreement, months.newest
    judged_before = view.figures.judged_before
    zone = newest.report.agreement.time_zone
    last_day = local_date(max(0, judged_before - 1), zone)
    places = _bar_places(months, last_day)
    live = view.live.minutes if view.live is not None else None
    reports = sorted(newest.report.series, key=by_badness)
    known = newest.series
    others = [each for each in view.figures.series if each.agreement == agreement.name and each.series_id not in known]
    live_ids = set() if live is None else set(live.series_id.tolist())
    others = [each for each in others if each.series_id in live_ids or _has_days(places, each.series_id)]
    candidates = [(each.series, _named(view, each.series, each)) for each in reports]
    candidates += [(each, _named(view, each, None)) for each in others]
    found = [(series, name) for series, name in candidates if query.casefold() in name.casefold()]
    n_pages = max(1, -(-len(found) // series_max))
    page = min(max(1, page), n_pages)
    worst = reports[0] if reports else None
    judged_ids = {series_id for month in newest_months(months) for series_id in month.series}
    starts = (series_now(months, series_id, judged_before).down_from for series_id in judged_ids)
    own_ids = {series.series_id for series, _ in candidates}
    return Overview(
        agreement=agreement,
        is_configured=months.is_configured,
        zone=zone,
        month=max(months.months),
        section=newest.report if judged_before else None,
        down_since=tuple(sorted(start for start in starts if start is not None)),
        worst=worst,
        worst_name=_named(view, worst.series, worst) if worst is not None else "",
        budget=_budget(months, worst),
        live=_live_minutes(live, own_ids),
        above=_above(live, own_ids, agreement),
        rows=tuple(
            _row(series, name, known.get(series.series_id), places, live)
            for series, name in found[(page - 1) * series_max : page * series_max]
        ),
        n_series=len(candidates),
        n_found=len(found),
        page=page,
        n_pages=n_pages,
        last_day=last_day,
    )


def _named(view: View, series: Series, report: SeriesReport | None) -> str:
    return f"{view.name_of(series)} (former)" if report is not None and report.former else view.name_of(series)


def _budget(months: AgreementMonths, worst: SeriesReport | None) -> DrawnBudget | None:
    days = months.newest.days.get(worst.series.series_id) if worst is not None else None
    if worst is None or days is None:
        return None
    n_days = len(day_ranges(max(months.months), months.newest.report.agreement.time_zone))
    return draw_budget(days[:, MinuteState.DOWN], n_days, worst.figures.downtime_minutes_allowed)


_Places = list[tuple[dict[int, Int64Array], Int64Array]]  # Of a month: days by series_id, and the bar of each day.


def _bar_places(months: AgreementMonths, last_day: date) -> _Places:
    first_day = last_day - timedelta(days=DAYS_SHOWN - 1)
    found: _Places = []
    for month, of_month in sorted(months.months.items())[-4:]:
        days = [(day - first_day).days for day, _ in day_ranges(month, of_month.report.agreement.time_zone)]
        found.append((dict(of_month.days), np.array(days, dtype=np.int64)))
    return found


def _has_days(places: _Places, series_id: int) -> bool:
    return any(series_id in days for days, _ in places)


def days_of(places: _Places, series_id: int) -> Int64Array:
    """Give one series' days: int64[DAYS_SHOWN, N_COLUMNS], the newest last, 0 where nothing is known."""
    found = np.zeros((DAYS_SHOWN, N_COLUMNS), dtype=np.int64)
    for days, bars in places:
        figures = days.get(series_id)
        if figures is not None:
            bars_of_days = bars[: len(figures)]
            is_shown = (bars_of_days >= 0) & (bars_of_days < DAYS_SHOWN)
            found[bars_of_days[is_shown]] = figures[is_shown]
    return found


def _row(
    series: Series, name: str, report: SeriesReport | None, places: _Places, live: LiveMinutes | None
) -> SeriesRow:
    days = days_of(places, series.series_id)
    allowed = report.figures.downtime_minutes_allowed if report is not None else 0
    return SeriesRow(
        series=series,
        name=name,
        report=report,
        bars=draw_bars(days, allowed),
        days_text=write_days(days),
        n_down=int(days[:, MinuteState.DOWN].sum()),
        n_excluded=int(days[:, MinuteState.EXCLUDED].sum()),
        live=_live_minutes(live, {series.series_id}),
    )


def _live_minutes(live: LiveMinutes | None, series_ids: set[int]) -> tuple[LiveMinute, ...]:
    if live is None:
        return ()
    minutes = np.zeros((LIVE_MINUTES, N_OUTCOMES), dtype=np.int64)
    is_meant = np.isin(live.series_id, list(series_ids))
    np.add.at(minutes, live.epoch_minute[is_meant] - live.newest_minute + LIVE_MINUTES - 1, live.outcomes[is_meant])
    first = live.newest_minute - LIVE_MINUTES + 1
    return tuple(_live_minute(live, first + n, row) for n, row in enumerate(minutes.tolist()))


def _live_minute(live: LiveMinutes, minute: int, row: Sequence[int]) -> LiveMinute:
    valid, failed = row[Outcome.SUCCEEDED] + row[Outcome.FAILED], row[Outcome.FAILED]
    return LiveMinute(minute, valid, failed, minute == live.newest_minute)


def _above(live: LiveMinutes | None, series_ids: set[int], agreement: Agreement) -> Counter[int]:
    """Count the series above the limit, by minute."""
    if live is None:
        return Counter()
    has_failed = live.outcomes[:, Outcome.FAILED] > 0
    rows = zip(
        *(column[has_failed].tolist() for column in (live.series_id, live.epoch_minute, live.outcomes)), strict=True
    )
    return Counter(
        minute
        for series_id, minute, row in rows
        if series_id in series_ids and _live_minute(live, minute, row).is_above(agreement)
    )
