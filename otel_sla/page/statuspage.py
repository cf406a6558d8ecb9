"""A summary as clients of Atlassian's Statuspage read it (its public API, version 2).

An agreement without groups is a component; one with groups is a component group, and each series a component in it.
An incident is a downtime that goes on, a scheduled maintenance an accepted exclusion of that reason.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import orjson

from otel_sla.page.app import Content, View
from otel_sla.page.figures import AgreementMonths
from otel_sla.page.now import newest_months, series_now
from otel_sla.page.parameters import Object
from otel_sla.report.document import ExclusionReport, SeriesReport, decide_windows
from otel_sla.report.wording import printable
from otel_sla.sla.agreement import Agreement, ExclusionReason
from otel_sla.sla.downtime import MinuteState
from otel_sla.sla.events import Subject, make_id
from otel_sla.sla.exclusions import ExclusionRecord, is_in_scope
from otel_sla.sla.figures_text import minute_text, moment_text
from otel_sla.sla.months import MinuteRange

_UP, _DOWN, _PARTLY, _MAINTAINED = "operational", "major_outage", "partial_outage", "under_maintenance"
_AHEAD_MINUTES = 366 * 1440  # How far ahead maintenance is listed.


@dataclass(frozen=True, slots=True)
class _Component:
    """One series as it is now, and the downtime that goes on."""

    report: SeriesReport
    status: str
    down_from: int | None  # Epoch minute; None: it is not down.


async def summary(view: View) -> Content:
    """`/api/v2/summary.json`."""
    instance_id, records = await view.read(lambda reader: (reader.instance_id, reader.exclusions()))
    return Content(orjson.dumps(_Summary(view, instance_id, records).to_object()), "application/json")


class _Summary:
    """Writes one summary."""

    def __init__(self, view: View, instance_id: str, records: Iterable[ExclusionRecord]) -> None:
        self._view, self._records = view, tuple(records)
        self._page_id = _short_id(instance_id)
        self._at = moment_text(view.moment.replace(microsecond=0))

    def to_object(self) -> Object:
        """Give the whole."""
        components: list[Object] = []
        incidents: list[Object] = []
        maintenances: list[Object] = []
        wholes: list[str] = []
        for each in self._view.agreements:
            if not each.is_configured:
                continue
            found = [self._component(each, report) for report in _newest_reports(each)]
            wholes.append(_status_of_all([one.status for one in found]))
            written = list(self._components(each, found, wholes[-1], len(wholes)))
            components += written
            own = written[1:] if each.agreement.group_by else written * len(found)
            by_series = dict(zip([one.report.series.series_id for one in found], own, strict=True))
            incidents += [
                self._incident(each.agreement, one, by_series[one.report.series.series_id], wholes[-1])
                for one in found
                if one.down_from is not None
            ]
            for window in self._maintenance_windows(each.agreement):
                meant = [
                    by_series[one.report.series.series_id]
                    for one in found
                    if is_in_scope(window.window, one.report.series.group_text)
                ]
                maintenances.append(self._maintenance(each.agreement, window, meant))
        return {
            "page": {
                "id": self._page_id,
                "name": self._view.settings.title,
                "url": self._view.url,
                "time_zone": "Etc/UTC",
                "updated_at": self._at,
            },
            "components": components,
            "incidents": incidents,
            "scheduled_maintenances": maintenances,
            "status": _overall(wholes),
        }

    def _component(self, agreement: AgreementMonths, report: SeriesReport) -> _Component:
        now = series_now(agreement, report.series.series_id, self._view.figures.judged_before)
        if any(window.reason is ExclusionReason.SCHEDULED_MAINTENANCE for window in now.windows):
            return _Component(report, _MAINTAINED, None)
        return _Component(report, _UP if now.down_from is None else _DOWN, now.down_from)

    def _components(
        self, agreement: AgreementMonths, found: list[_Component], status: str, place: int
    ) -> Iterator[Object]:
        name, group_by = agreement.agreement.name, agreement.agreement.group_by
        first = agreement.months[min(agreement.months)].report.minutes.start_minute
        own_id = _short_id(f"agreement {name}")
        common = {
            "created_at": minute_text(first),
            "updated_at": self._at,
            "description": None,
            "showcase": True,
            "start_date": None,
            "page_id": self._page_id,
            "only_show_if_degraded": False,
        }
        whole = {"id": own_id, "name": printable(name), "status": status, "position": place, **common, "group_id": None}
        if not group_by:
            yield {**whole, "group": False}
            return
        ids = [_short_id(f"series {one.report.series.series_id}") for one in found]
        yield {**whole, "group": True, "components": ids}
        for position, (one, component_id) in enumerate(zip(found, ids, strict=True), 1):
            yield {
                "id": component_id,
                "name": self._view.name_of(one.report.series),
                "status": one.status,
                "position": position,
                **common,
                "group_id": own_id,
                "group": False,
            }

    def _incident(self, agreement: Agreement, one: _Component, component: Object, status: str) -> Object:
        assert one.down_from is not None, "it is down"
        series = one.report.series
        start = minute_text(one.down_from)
        name = f"{agreement.name}, {self._view.name_of(series)}" if agreement.group_by else agreement.name
        return self._incident_object(
            make_id(Subject(series, agreement), MinuteState.DOWN.wire_name, one.down_from),
            name=f"{name}: downtime",
            status="investigating",
            impact="critical" if status == _DOWN else "major",
            started_at=start,
            body=f"Downtime since {start}.",
            components=[component],
        )

    def _maintenance(self, agreement: Agreement, report: ExclusionReport, components: list[Object]) -> Object:
        window = report.window
        start = moment_text(window.start)
        has_begun = window.start <= self._view.moment
        incident_id = f"{agreement.name} {report.exclusion_id} {start} {moment_text(window.stop)} {window.group}"
        found = self._incident_object(
            _short_id(incident_id),
            name=f"{agreement.name}: scheduled maintenance",
            status="in_progress" if has_begun else "scheduled",
            impact="maintenance",
            started_at=start,
            body=window.note,
            components=components,
            created_at=window.announced_at,
        )
        return {**found, "scheduled_for": start, "scheduled_until": moment_text(window.stop)}

    def _incident_object(  # noqa: PLR0913 - each is a field.
        self,
        incident_id: str,
        *,
        name: str,
        status: str,
        impact: str,
        started_at: str,
        body: str,
        components: list[Object],
        created_at: datetime | None = None,
    ) -> Object:
        created = started_at if created_at is None else moment_text(created_at)
        update = {
            "id": _short_id(f"{incident_id} {status}"),
            "incident_id": incident_id,
            "status": status,
            "body": printable(body, besides="\n"),
            "created_at": created,
            "updated_at": created,
            "display_at": created,
            "affected_components": [
                {"code": each["id"], "name": each["name"], "old_status": _UP, "new_status": each["status"]}
                for each in components
            ],
            "deliver_notifications": False,
        }
        return {
            "id": incident_id,
            "name": printable(name),
            "status": status,
            "created_at": created,
            "updated_at": created,
            "monitoring_at": None,
            "resolved_at": None,
            "impact": impact,
            "shortlink": f"{self._view.url}/",
            "started_at": started_at,
            "page_id": self._page_id,
            "incident_updates": [update],
            "components": components,
        }

    def _maintenance_windows(self, agreement: Agreement) -> list[ExclusionReport]:
        """Give the accepted maintenance that is not over."""
        now = self._view.moment
        minute = int(now.timestamp()) // 60
        ahead = decide_windows(agreement, MinuteRange(minute, minute + _AHEAD_MINUTES), self._records)
        return [
            each
            for each in ahead
            if each.refusal is None
            and each.window.reason is ExclusionReason.SCHEDULED_MAINTENANCE
            and each.window.stop > now
        ]


def _newest_reports(agreement: AgreementMonths) -> list[SeriesReport]:
    """Give each series as the newest month has it; in a month that has just begun few have any minute."""
    found: dict[int, SeriesReport] = {}
    for months in newest_months(agreement):
        for report in months.report.series:
            if not report.former:
                found.setdefault(report.series.series_id, report)
    return sorted(found.values(), key=lambda each: each.series.group)


def _status_of_all(statuses: list[str]) -> str:
    if not statuses or set(statuses) == {_UP}:
        return _UP
    if len(set(statuses)) == 1:
        return statuses[0]
    return _PARTLY if _DOWN in statuses else _UP


def _overall(statuses: list[str]) -> Object:
    if statuses and set(statuses) == {_DOWN}:
        return {"indicator": "critical", "description": "Major System Outage"}
    if _DOWN in statuses:
        return {"indicator": "major", "description": "Partial System Outage"}
    if _PARTLY in statuses:
        return {"indicator": "minor", "description": "Minor Service Outage"}
    if _MAINTAINED in statuses:
        return {"indicator": "maintenance", "description": "Service Under Maintenance"}
    return {"indicator": "none", "description": "All Systems Operational"}


def _short_id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
