"""The JSON API: the month's report, what happens now, and downtime periods.

Whoever has no token sees a series' name and neither its group nor the terms, which name resource attributes.
"""

import asyncio
import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction

import numpy as np
import orjson
from starlette.exceptions import HTTPException

from otel_sla.arrays import Int64Array
from otel_sla.errors import CountsExpired
from otel_sla.judging.month_report import judge_section, put_together
from otel_sla.judging.terms_versions import find_basis
from otel_sla.ledger.reader import LedgerReader
from otel_sla.page.app import Content, View
from otel_sla.page.figures import AgreementMonths
from otel_sla.page.live import LIVE_MINUTES, LiveState
from otel_sla.page.parameters import AGREEMENT, CURSOR, FORMAT, FROM, LIMIT, MONTH, TO, Object, refuse
from otel_sla.report.csv import render_csv
from otel_sla.report.document import AgreementReport, ExclusionReport, Report, SeriesReport
from otel_sla.report.json import object_text, period_object, report_object
from otel_sla.sla.agreement import Outcome
from otel_sla.sla.counts import N_OUTCOMES
from otel_sla.sla.figures_text import minute_text, moment_text, ratio_text
from otel_sla.sla.months import EPOCH, Month, month_of, months_between
from otel_sla.sla.series import Series
from otel_sla.sla.uptime import DowntimePeriod

_JSON = "application/json"
_PERIODS = 100  # In one answer, unless the request says how many.
_DAYS_MAX = 400  # From the first period to the last that one request may ask for.
_YEAR = timedelta(days=365)


async def report(view: View) -> Content:
    """`/api/v1/report`: the bytes of `otel-sla report` of the moment that it says."""
    is_csv = FORMAT.of(view.request) == "csv"
    if is_csv and view.is_public:
        raise HTTPException(401, "format=csv needs a token", {"WWW-Authenticate": 'Basic realm="otel-sla"'})
    agreements = chosen_agreements(view)
    month = MONTH.of(view.request) or running_month(view, agreements)
    sections = await month_sections(view, agreements, month)
    try:
        document = put_together(month, view.moment, sections)
    except CountsExpired as error:
        raise HTTPException(410, f"{error}; {error.hint}") from error
    # A thousand series take half a second: on a thread, others are answered meanwhile.
    if is_csv:
        return Content((await asyncio.to_thread(render_csv, document)).encode(), "text/csv")
    text = await asyncio.to_thread(lambda: object_text(_object_of(view, document)))
    return Content(text.encode(), _JSON)


async def live(view: View) -> Content:
    """`/api/v1/live`: the running minute and the last ones, as the ring holds them; nothing of it is judged."""
    agreements = [each for each in chosen_agreements(view) if each.is_configured]
    state = view.live
    if state is None:
        raise HTTPException(503, "the pipeline does not answer", {"Retry-After": "1"})
    readiness = state.readiness
    said = {} if view.is_public else {"reason": readiness.reason, "notice": readiness.notice}
    answer = {
        "at": moment_text(EPOCH + timedelta(microseconds=state.now_unix_nano // 1000)),
        "is_judged": False,
        "pipeline": {"is_ready": not readiness.reason, **said},
        "agreements": [_live_agreement(view, state, each.agreement.name) for each in agreements],
    }
    return Content(orjson.dumps(answer), _JSON)


async def periods(view: View) -> Content:
    """`/api/v1/periods`: downtime periods, the newest first; `next` is the `cursor` of what follows."""
    agreements = chosen_agreements(view)
    stop = TO.of(view.request) or view.moment
    start = FROM.of(view.request) or max(EPOCH, stop - _YEAR)
    if not start < stop <= start + timedelta(days=_DAYS_MAX):
        raise refuse("from", f"must be before to, by at most {_DAYS_MAX} days; to is {moment_text(stop)}")
    n_wanted, cursor = LIMIT.of(view.request) or _PERIODS, CURSOR.of(view.request)
    sections = await _sections_of(view, agreements, _minute_of(start), _minute_of(stop))
    each_period = (
        each
        for each in _each_period(sections)
        if _is_between(each[2], start, stop) and (cursor is None or each[0] > (-cursor[0], cursor[1]))
    )
    some = await asyncio.to_thread(heapq.nsmallest, n_wanted + 1, each_period, lambda each: each[0])
    found = [_period_object(view, series, period) for _, series, period in some[:n_wanted]]
    last = some[n_wanted - 1][0] if len(some) > n_wanted else None
    answer = {
        "judged_before": minute_text(view.figures.judged_before),
        "periods": found,
        "next": None if last is None else f"{-last[0]}-{last[1]}",
    }
    return Content(orjson.dumps(answer), _JSON)


def chosen_agreements(view: View) -> tuple[AgreementMonths, ...]:
    """Give the agreement that the query names; all that may be seen where it names none.

    Raises:
        HTTPException: There is none of this name.
    """
    name = AGREEMENT.of(view.request)
    chosen = tuple(each for each in view.agreements if name in (None, each.agreement.name))
    if name is not None and not chosen:
        names = ", ".join(repr(each.agreement.name) for each in view.agreements)
        raise refuse(AGREEMENT.name, f"must be one of {names}, not {name!r}")
    return chosen


def running_month(view: View, agreements: Sequence[AgreementMonths]) -> Month:
    """Give the month that runs, as `otel-sla report` does: by UTC where time zones differ."""
    configured = [each for each in agreements if each.is_configured]
    zones = {each.agreement.time_zone for each in configured or agreements}
    return month_of(_minute_of(view.moment), zones.pop() if len(zones) == 1 else "UTC")


async def month_sections(view: View, agreements: Sequence[AgreementMonths], month: Month) -> list[AgreementReport]:
    """Give a month of some agreements; one that is not among the figures is judged now, up to the same minute.

    Raises:
        HTTPException: The ledger cannot be read.
    """
    figures = view.figures
    missing = [each.agreement for each in agreements if month not in each.months]

    def judge(reader: LedgerReader) -> dict[str, AgreementReport]:
        with reader.snapshot():
            records = reader.exclusions()
            return {
                each.name: judge_section(reader, find_basis(reader, each, month), month, figures.judged_before, records)
                for each in missing
            }

    judged = await view.read(judge) if missing else {}
    sections = (
        judged[each.agreement.name] if each.agreement.name in judged else each.months[month].report
        for each in agreements
    )
    return [replace(section, configured=each.is_configured) for section, each in zip(sections, agreements, strict=True)]


def _object_of(view: View, document: Report) -> Object:
    """Give the report as this view may have it."""
    if not view.is_public:
        return report_object(document)
    sections = [
        replace(
            section,
            series=tuple(_public_series(view, each) for each in section.series),
            exclusions=tuple(map(_public_exclusion, section.exclusions)),
            counted_by=(),
        )
        for section in document.agreements
    ]
    found = report_object(replace(document, agreements=tuple(sections)))
    for section in found["agreements"]:
        section["terms"] = []
    return found


def _public_series(view: View, report: SeriesReport) -> SeriesReport:
    name = (("name", view.name_of(report.series).encode()),)
    return replace(
        report,
        series=replace(report.series, group=name),
        exclusions=tuple(map(_public_exclusion, report.exclusions)),
    )


def _public_exclusion(report: ExclusionReport) -> ExclusionReport:
    """Leave out who recorded it, and who took it back."""
    return replace(report, window=replace(report.window, recorded_by="", recorded_at=None), withdrawn=None)


def _live_agreement(view: View, state: LiveState, name: str) -> Object:
    minutes, all_series = state.minutes, view.figures.series
    first = minutes.newest_minute - LIVE_MINUTES + 1
    counts: dict[int, Int64Array] = {}
    rows = zip(minutes.series_id.tolist(), minutes.epoch_minute.tolist(), minutes.outcomes, strict=True)
    for series_id, minute, outcomes in rows:
        # One that the ledger does not hold yet has no name.
        if series_id < len(all_series) and all_series[series_id].agreement == name:
            of_series = counts.setdefault(series_id, np.zeros((LIVE_MINUTES, N_OUTCOMES), dtype=np.int64))
            of_series[minute - first] = outcomes
    newest = state.newest_span_unix_s.get(name)
    return {
        "name": name,
        "newest_span": None if newest is None else moment_text(EPOCH + timedelta(seconds=newest)),
        "minutes": _live_minutes(sum(counts.values(), np.zeros((LIVE_MINUTES, N_OUTCOMES), dtype=np.int64)), first),
        "series": [
            {**_series_object(view, all_series[series_id]), "minutes": _live_minutes(of_series, first)}
            for series_id, of_series in sorted(counts.items())
        ],
    }


def _live_minutes(counts: Int64Array, first_minute: int) -> list[Object]:
    """Write minutes, the running one last."""
    found = []
    for minute, row in enumerate(counts.tolist(), first_minute):
        valid, failed = row[Outcome.SUCCEEDED] + row[Outcome.FAILED], row[Outcome.FAILED]
        found.append(
            {
                "start": minute_text(minute),
                "valid": valid,
                "failed": failed,
                "invalid": row[Outcome.INVALID],
                "error_rate": ratio_text(Fraction(failed, valid)) if valid else None,
            }
        )
    return found


async def _sections_of(
    view: View, agreements: Sequence[AgreementMonths], start_minute: int, stop_minute: int
) -> list[AgreementReport]:
    """Give the months that some minutes touch, the newest first."""
    sections = []
    for each in agreements:
        months = months_between(
            start_minute, min(stop_minute, view.figures.judged_before) + 1, each.agreement.time_zone
        )
        for month in sorted(months, reverse=True):
            sections += await month_sections(view, [each], month)
    return sections


def _each_period(
    sections: Iterable[AgreementReport],
) -> Iterator[tuple[tuple[int, int], SeriesReport, DowntimePeriod]]:
    """Go through the periods, each with its place in the order; one of two months once, as the newer one has it."""
    seen: set[tuple[int, int]] = set()
    for section in sections:
        for series in section.series:
            for period in series.figures.downtime_periods:
                place = -period.start_minute, series.series.series_id
                if place not in seen:
                    seen.add(place)
                    yield place, series, period


def _is_between(period: DowntimePeriod, start: datetime, stop: datetime) -> bool:
    return period.stop_minute * 60 > start.timestamp() and period.start_minute * 60 < stop.timestamp()


def _period_object(view: View, series: SeriesReport, period: DowntimePeriod) -> Object:
    found = {
        "agreement": series.series.agreement,
        "series": _series_object(view, series.series),
        **period_object(period),
        "is_open": period.stop_minute == view.figures.judged_before,
    }
    del found["minutes_in_month"]
    return found


def _series_object(view: View, series: Series) -> Object:
    group = {} if view.is_public else {"group": series.group_text}
    return {"id": series.series_id, "name": view.name_of(series), **group}


def _minute_of(moment: datetime) -> int:
    return max(0, (moment - EPOCH) // timedelta(minutes=1))


def _object(required: Iterable[str], **properties: object) -> Object:
    return {"type": "object", "required": list(required), "properties": properties}


_TEXT, _COUNT, _FLAG = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
_TIME = {"type": "string", "format": "date-time"}
_OPTIONAL = {"type": ["string", "null"]}
_SERIES = _object(
    ("id", "name"), id=_COUNT, name=_TEXT, group={"type": "object", "additionalProperties": {"type": "string"}}
)
_MINUTES = {
    "description": "The running minute last.",
    "type": "array",
    "items": _object(
        ("start", "valid", "failed", "invalid", "error_rate"),
        start=_TIME,
        valid=_COUNT,
        failed=_COUNT,
        invalid=_COUNT,
        error_rate=_OPTIONAL,
    ),
}
REPORT_CONTENTS: dict[str, Object] = {
    _JSON: {"type": "object", "description": "Schema otel-sla.report/v1."},
    "text/csv": {"type": "string", "description": "A line for each series, as otel-sla report --format csv."},
}
LIVE_CONTENTS: dict[str, Object] = {
    _JSON: _object(
        ("at", "is_judged", "pipeline", "agreements"),
        at=_TIME,
        is_judged={"const": False, "description": "Nothing here is judged; later spans of these minutes may come."},
        pipeline=_object(("is_ready",), is_ready=_FLAG, reason=_TEXT, notice=_TEXT),
        agreements={
            "type": "array",
            "items": _object(
                ("name", "newest_span", "minutes", "series"),
                name=_TEXT,
                newest_span=_OPTIONAL,
                minutes=_MINUTES,
                series={
                    "description": "Those with requests in these minutes.",
                    "type": "array",
                    "items": _object(("id", "name", "minutes"), **_SERIES["properties"], minutes=_MINUTES),
                },
            ),
        },
    )
}
PERIODS_CONTENTS: dict[str, Object] = {
    _JSON: _object(
        ("judged_before", "periods", "next"),
        judged_before=_TIME,
        periods={
            "description": "The newest first. Periods before exclusions: excluded_minutes of them do not count.",
            "type": "array",
            "items": _object(
                ("agreement", "series", "start", "stop", "minutes", "excluded_minutes", "valid", "failed", "is_open"),
                agreement=_TEXT,
                series=_SERIES,
                start=_TIME,
                stop=_TIME,
                minutes=_COUNT,
                excluded_minutes=_COUNT,
                valid=_COUNT,
                failed=_COUNT,
                is_open=_FLAG,
            ),
        },
        next={"type": ["string", "null"], "description": "The cursor of the next answer; null: there is none."},
    )
}
