"""The Atom feed (RFC 4287): downtimes that started and ended, broken promises and closed months."""

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, tostring  # Only writes.

from otel_sla.ledger.records import StoredEvent
from otel_sla.page.app import Content, View
from otel_sla.report.wording import printable
from otel_sla.sla.counts import NANOS_PER_MINUTE
from otel_sla.sla.events import Event
from otel_sla.sla.figures_text import moment_text
from otel_sla.sla.months import EPOCH, month_of
from otel_sla.sla.series import Series

_ENTRIES_MAX = 100
_LOOKED_AT_MAX = 10_000  # Newest events: to find none among millions would take seconds.
_EVENTS = (
    *("sla.downtime.started", "sla.downtime.ended", "sla.downtime.withdrawn"),
    *("sla.target.breached", "sla.target.breach_withdrawn", "sla.month.closed"),
)


async def feed(view: View) -> Content:
    """`/feed.atom`: the newest events first, as the outbox has them."""
    names = [each.agreement.name for each in view.agreements]
    instance_id, stored = await view.read(
        lambda reader: (reader.instance_id, reader.newest_events(names, _EVENTS, _ENTRIES_MAX, _LOOKED_AT_MAX))
    )
    root = Element("feed", xmlns="http://www.w3.org/2005/Atom")
    SubElement(root, "id").text = f"urn:uuid:{instance_id}"
    SubElement(root, "title").text = printable(view.settings.title)
    SubElement(root, "link", rel="self", href=f"{view.url}/feed.atom")
    SubElement(root, "link", rel="alternate", href=f"{view.url}/")
    SubElement(SubElement(root, "author"), "name").text = printable(view.settings.title)
    events = [each.event for each in stored]
    newest = max((each.time_unix_nano for each in events), default=0)
    SubElement(root, "updated").text = _time_text(newest)
    series_by_name = _series_by_name(view, stored)
    for event in events:
        _add_entry(root, view, event, _title(view, event, series_by_name))
    return Content(tostring(root, encoding="utf-8", xml_declaration=True), "application/atom+xml", max_age_s=30)


def _add_entry(root: Element, view: View, event: Event, title: str) -> None:
    name = str(event.attributes["sla.agreement.name"])
    agreement = view.agreement(name)
    month = event.attributes.get("sla.month.name") or month_of(
        event.time_unix_nano // NANOS_PER_MINUTE, agreement.agreement.time_zone
    )
    entry = SubElement(root, "entry")
    SubElement(entry, "id").text = f"urn:uuid:{event.uid}"
    SubElement(entry, "title").text = printable(title)
    SubElement(entry, "updated").text = _time_text(event.time_unix_nano)
    SubElement(entry, "category", term=event.name)
    SubElement(entry, "link", rel="alternate", href=f"{view.url}/agreements/{quote(name, safe='')}/{month}")


def _series_by_name(view: View, stored: Iterable[StoredEvent]) -> dict[str, Series]:
    """Give the series of the events' agreements by the names that events begin with."""
    names = {str(each.event.attributes["sla.agreement.name"]) for each in stored}
    return {series.phrase: series for series in view.figures.series if series.agreement in names}


def _title(view: View, event: Event, series_by_name: Mapping[str, Series]) -> str:
    """Give what happened, with the series as this view may name it."""
    # The longest name: a group's value may end as a shorter one does.
    ends = [found.start() for found in re.finditer(": ", event.body) if event.body[: found.start()] in series_by_name]
    if not ends:
        return str(event.attributes["sla.agreement.name"]) if view.is_public else event.body
    series = series_by_name[event.body[: ends[-1]]]
    name = f"{series.agreement}, {view.name_of(series)}" if series.group else series.agreement
    return f"{name}{event.body[ends[-1] :]}"


def _time_text(unix_nano: int) -> str:
    return moment_text(EPOCH + timedelta(microseconds=unix_nano // 1000))
