"""Pages for people: each handler puts together what its template shows."""

import asyncio
import math
from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TypeVar
from urllib.parse import quote, urlencode

from jinja2 import ChoiceLoader, PackageLoader
from starlette.exceptions import HTTPException

from otel_sla.errors import CountsExpired
from otel_sla.judging.month_report import each_series_minutes
from otel_sla.ledger.reader import LedgerReader
from otel_sla.page.app import Content, View
from otel_sla.page.day import day_page
from otel_sla.page.drawing import BARS, BUDGET_HEIGHT, BUDGET_WIDTH, RATE_HEIGHT
from otel_sla.page.figures import AgreementMonths, MonthDays
from otel_sla.page.overview import DAYS_SHOWN, SERIES_SHOWN, overviews
from otel_sla.page.pipeline_state import pipeline_state
from otel_sla.report.document import SeriesMinutes, SeriesReport, by_badness, decide_windows
from otel_sla.report.html.page import TEMPLATES
from otel_sla.sla.agreement import Agreement
from otel_sla.sla.figures_text import minute_text, term_percent_text
from otel_sla.sla.months import YEAR_MAX, MinuteRange, Month, month_range
from otel_sla.sla.series import Series

_HTML = "text/html"
_CALENDARS_MAX = 10  # Of one month's page; each takes milliseconds to read. Others are on their series' pages.
_PERIODS_MAX = 200
_Row = TypeVar("_Row")
_ALWAYS = MinuteRange(0, month_range(Month(YEAR_MAX, 12), "UTC").stop_minute)

_TEMPLATES = TEMPLATES.overlay(
    loader=ChoiceLoader([PackageLoader("otel_sla.page"), PackageLoader("otel_sla.report.html", "")])
)
_TEMPLATES.globals = {
    **TEMPLATES.globals,
    "BARS": BARS,
    "BUDGET_HEIGHT": BUDGET_HEIGHT,
    "BUDGET_WIDTH": BUDGET_WIDTH,
    "DAYS_SHOWN": DAYS_SHOWN,
    "RATE_HEIGHT": RATE_HEIGHT,
    "minute_text": minute_text,
    "term_percent_text": term_percent_text,
}


async def _render(name: str, view: View, **values: object) -> Content:
    # Of a thousand series it takes a second: on a thread, others are answered meanwhile.
    text = await asyncio.to_thread(
        _TEMPLATES.get_template(name).render,
        view=view,
        settings=view.settings,
        now=datetime.fromtimestamp(view.live.now_unix_nano // 10**9, tz=UTC) if view.live is not None else None,
        agreement_url=agreement_url,
        series_url=series_url,
        **values,
    )
    return Content(text.encode(), _HTML)


def agreement_url(agreement: Agreement, rest: object) -> str:
    """Give the address of something of an agreement."""
    return f"/agreements/{quote(agreement.name)}/{rest}"


def series_url(series: Series, month: Month | None = None, day: date | None = None) -> str:
    """Give the address of a series' page."""
    asked = {name: value for name, value in (("month", month), ("day", day)) if value is not None}
    return f"/agreements/{quote(series.agreement)}/series/{series.series_id}{'?' if asked else ''}{urlencode(asked)}"


async def overview(view: View) -> Content:
    """`/`: each agreement's verdict, its budget, what happens now, and the days of its series."""
    asked = view.request.query_params
    query, only = asked.get("q", "")[:200], asked.get("agreement")
    if only is not None:
        view.agreement(only)
    shown = await asyncio.to_thread(overviews, view, only=only, query=query, page=_number(asked.get("page", "1")))

    def page_urls(agreement: Agreement) -> Callable[[int], str]:
        return lambda page: "/?" + urlencode({"agreement": agreement.name, "q": query, "page": page})

    has_search = bool(query) or any(each.n_series > SERIES_SHOWN or each.n_pages > 1 for each in shown)
    points = view.live.points if view.live is not None else ()
    n_spans = sum(int(value) for name, _, value in points if name == "otelcol_receiver_accepted_spans")
    return await _render(
        "overview.html.j2",
        view,
        overviews=shown,
        query=query,
        only=only,
        page_urls=page_urls,
        has_search=has_search,
        n_spans=n_spans,
        grace_minutes=math.ceil(view.page.task.grace_s / 60),
        judged_before=view.figures.judged_before,
    )


async def report(view: View) -> Content:
    """`/agreements/{name}/{YYYY-MM}`: the month's report."""
    months, month, days = _asked_month(view, view.request.path_params["month"])
    section = days.report
    rows, page, n_pages = _page_of(view, sorted(section.series, key=by_badness))
    worst = rows[:_CALENDARS_MAX]
    drawn = await _minutes(view, months.agreement, month, {each.series.series_id for each in worst})
    worst = [
        replace(each, states=drawn[each.series.series_id].states) if each.series.series_id in drawn else each
        for each in worst
    ]
    return await _render(
        "report.html.j2",
        view,
        months=months,
        section=section,
        month=month,
        worst=worst,
        rows=rows,
        page=page,
        n_pages=n_pages,
        page_url=lambda number: "?" + urlencode({"page": number}),
        **_beside(months, month),
        report_url=lambda month: agreement_url(months.agreement, month),
        report_name=_report_name(view),
        address_of=lambda series: series_url(series.series, month),
        periods_max=_PERIODS_MAX,
    )


async def series(view: View) -> Content:
    """`/agreements/{name}/series/{id}`: a month of one series, and one day of it minute by minute."""
    months, month, days = _asked_month(view, view.request.query_params.get("month"))
    series_id = view.request.path_params["series_id"]
    all_series = view.figures.series
    if not 0 <= series_id < len(all_series) or all_series[series_id].agreement != months.agreement.name:
        raise HTTPException(404, "there is no such series")
    found = days.series.get(series_id)
    asked_day = view.request.query_params.get("day")
    minutes = (await _minutes(view, months.agreement, month, {series_id})).get(series_id)
    if found is not None and minutes is not None:
        found = replace(found, states=minutes.states)
    return await _render(
        "series_page.html.j2",
        view,
        months=months,
        section=days.report,
        month=month,
        series=all_series[series_id],
        found=found,
        **_beside(months, month),
        month_url=lambda month: series_url(all_series[series_id], month),
        day=day_page(days.report.agreement, month, days.days.get(series_id), minutes, asked_day),
        has_notes=found is not None and _has_excluded_period(found),
        report_name=_report_name(view),
        periods_max=_PERIODS_MAX,
    )


async def history(view: View) -> Content:
    """`/agreements/{name}/history`: a year at a glance."""
    months = view.agreement(view.request.path_params["name"])
    query = view.request.query_params.get("q", "")[:200]
    shown = sorted((month for month, days in months.months.items() if days.series), reverse=True)[:12]
    known = {number: each.series for month in shown for number, each in months.months[month].series.items()}
    found = [each for each in known.values() if query.casefold() in view.name_of(each).casefold()]
    rows = [(each, [(month, months.months[month].series.get(each.series_id)) for month in shown]) for each in found]
    rows.sort(key=lambda row: (-sum(cell.figures.is_breached for _, cell in row[1] if cell), row[0].group))
    some, page, n_pages = _page_of(view, rows)
    return await _render(
        "history.html.j2",
        view,
        months=months,
        shown=shown,
        rows=some,
        n_found=len(rows),
        n_series=len(known),
        query=query,
        page=page,
        n_pages=n_pages,
        page_url=lambda number: "?" + urlencode({"q": query, "page": number}),
    )


async def exclusions(view: View) -> Content:
    """`/exclusions`: all that were recorded or configured, and what became of them."""
    records = await view.read(LedgerReader.exclusions)
    decided = [
        (months.agreement, each)
        for months in view.agreements
        for each in decide_windows(months.agreement, _ALWAYS, records)
    ]
    decided.sort(key=lambda pair: pair[1].window.start, reverse=True)
    return await _render("exclusions.html.j2", view, decided=decided)


async def pipeline(view: View) -> Content:
    """`/pipeline`: whether spans arrive, and what becomes of them."""
    return await _render(
        "pipeline.html.j2", view, state=pipeline_state(view.live), rate=view.page.accepted.per_second(view.live)
    )


def _asked_month(view: View, text: str | None) -> tuple[AgreementMonths, Month, MonthDays]:
    months = view.agreement(view.request.path_params["name"])
    try:
        month = max(months.months) if text is None else Month.parse(text)
    except ValueError as error:
        raise HTTPException(404, str(error)) from error
    if month not in months.months:
        raise HTTPException(404, f"the page has the months {min(months.months)} to {max(months.months)}")
    return months, month, months.months[month]


def _beside(months: AgreementMonths, month: Month) -> dict[str, Month | None]:
    """Give the months before and behind that have any series."""
    shown = [each for each, days in months.months.items() if days.series]
    return {
        "before": max((each for each in shown if each < month), default=None),
        "behind": min((each for each in shown if each > month), default=None),
    }


async def _minutes(
    view: View, agreement: Agreement, month: Month, series_ids: Container[int]
) -> dict[int, SeriesMinutes]:
    """Read the single minutes of some series, as they are judged in the figures."""

    def read(reader: LedgerReader) -> dict[int, SeriesMinutes]:
        judged_before = view.figures.judged_before
        try:
            each = each_series_minutes(reader, [agreement], month, judged_before, series_ids=series_ids)
            return {minutes.series.series_id: minutes for minutes in each}
        except CountsExpired:
            return {}

    return await view.read(read)


def _has_excluded_period(report: SeriesReport) -> bool:
    windows = [each.window.minutes for each in report.exclusions]
    return any(
        window.start_minute < period.stop_minute and period.start_minute < window.stop_minute
        for period in report.figures.downtime_periods
        for window in windows
    )


def _report_name(view: View) -> Callable[[SeriesReport], str]:
    def name(each: SeriesReport) -> str:
        return f"{view.name_of(each.series)} (former)" if each.former else view.name_of(each.series)

    return name


def _page_of(view: View, rows: Sequence[_Row]) -> tuple[Sequence[_Row], int, int]:
    """Give the rows of the page that is asked for, its number and how many pages there are."""
    n_pages = max(1, -(-len(rows) // SERIES_SHOWN))
    page = min(_number(view.request.query_params.get("page", "1")), n_pages)
    return rows[(page - 1) * SERIES_SHOWN : page * SERIES_SHOWN], page, n_pages


def _number(text: str) -> int:
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 7 else 1
