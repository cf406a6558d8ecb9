"""A case's months as the status page, its API and badges show them, beside reports and gauges of the same minute."""

import asyncio
import html
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from fractions import Fraction
from urllib.parse import quote

import httpx
from page_api_parts import make_page
from random_months import MonthCase

from otel_sla.exporter.backlog import FigureReading
from otel_sla.judging.month_report import elapsed_stop_minute, load_report
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.records import Closing
from otel_sla.ledger.writer import Ledger
from otel_sla.page.app import Page
from otel_sla.page.figures import AgreementMonths, Figures
from otel_sla.report.csv import render_csv
from otel_sla.report.document import Report
from otel_sla.report.json import render_json
from otel_sla.report.wording import percent
from otel_sla.sla.exclusions import last_change
from otel_sla.sla.months import EPOCH, Month, month_of


def page_differences(case: MonthCase, url: str) -> list[str]:
    """Where the page's figures of a ledger differ from the report's and the gauges', as of one pass of the judge."""
    judged_before = elapsed_stop_minute(case.moment, case.grace)
    moment = EPOCH + timedelta(minutes=judged_before) + case.grace  # As the page has it: when this minute had elapsed.
    with closing(Ledger.open(url)) as ledger:
        change = last_change(ledger.exclusions())
        ledger.close_minutes(Closing(judged_before, None, exclusion_change=change, published_before=judged_before))
    with closing(LedgerReader.open(url)) as reader:
        page = make_page(url, case.agreements, grace=case.grace)
        reports = [
            load_report(reader, case.agreements, Month.parse(month), judged_before, moment) for month in case.months
        ]
        found = [*_of_figures(page.figures, reports), *_of_gauges(case, page.figures, reader)]
    return [f"{case.source}: {each}" for each in (*found, *asyncio.run(_of_api(page, reports)))]


def _of_figures(figures: Figures, reports: list[Report]) -> Iterator[str]:
    for report in reports:
        for section in report.agreements:
            months = _months_of(figures, section.agreement.name)
            if report.month in months.months and months.months[report.month].report != section:
                yield f"page and report differ in {report.month} of {section.agreement.name}"


def _months_of(figures: Figures, agreement: str) -> AgreementMonths:
    return next(each for each in figures.agreements if each.agreement.name == agreement)


def _of_gauges(case: MonthCase, figures: Figures, reader: LedgerReader) -> Iterator[str]:
    """The newest minute's gauges, of the month that it lies in."""
    batch = FigureReading("campaign", case.agreements, 1).next_batch(reader, 1)
    for each in () if batch is None else batch.figures:
        months = _months_of(figures, each.series.agreement)
        month = month_of(each.epoch_minute, months.agreement.time_zone)
        report = months.months[month].series.get(each.series.series_id)
        if report is None:  # Silent in this month, and not in its report.
            continue
        shown = report.figures
        of_page = (shown.monthly_uptime, shown.monthly_uptime_raw, shown.coverage, 60 * shown.down, shown.counts)
        of_gauge = (
            each.monthly_uptime,
            each.monthly_uptime_raw,
            each.coverage,
            each.downtime_s,
            each.so_far.counts,
        )
        if of_page != of_gauge:
            yield f"page and gauges differ in {month} of {each.series}: {of_page}, {of_gauge}"


async def _of_api(page: Page, reports: list[Report]) -> list[str]:
    found = []
    async with httpx.AsyncClient(transport=httpx.ASGITransport(page.app), base_url="http://page") as client:
        for report in reports:
            answer = await client.get(f"/api/v1/report?month={report.month}")
            as_csv = await client.get(f"/api/v1/report?month={report.month}&format=csv")
            if answer.content != render_json(report).encode():
                found.append(f"API and report differ in {report.month}")
            if as_csv.content != render_csv(report).encode():
                found.append(f"CSV of API and report differ in {report.month}")
            for section in report.agreements:
                path = f"/badge/{quote(section.agreement.name, safe='')}"
                uptimes = {each.series.series_id: each.figures.monthly_uptime for each in section.series}
                for series_id, uptime in uptimes.items():
                    found += await _of_badge(client, f"{path}/{series_id}.svg?month={report.month}", uptime)
                found += await _of_badge(
                    client, f"{path}.svg?month={report.month}", min(uptimes.values(), default=None)
                )
    await page.close()
    return found


async def _of_badge(client: httpx.AsyncClient, path: str, uptime: Fraction | None) -> list[str]:
    answer = await client.get(path)
    title = re.search("<title>uptime: (.*?)</title>", answer.text)
    expected = "no data" if uptime is None else percent(uptime, 3)
    if title is not None and html.unescape(title[1]).partition(",")[0] == expected:
        return []
    return [f"{path} has not {expected}: {answer.status_code} {answer.text[:300]}"]
