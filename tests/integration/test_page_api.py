"""The page's API for machines, over a real ledger that the judge has judged."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

import feedparser
import httpx
import jsonschema
import numpy as np
import pytest
from history_parts import EDGE, EPOCH, NOVEMBER, OCTOBER, History
from ledger_parts import count_rows, make_window
from openapi_spec_validator import OpenAPIV31SpecValidator
from page_api_parts import KNOWN, ask, guarded, make_page
from sla_parts import make_agreement, make_terms

from otel_sla.judging.month_report import load_report
from otel_sla.ledger.exclusion_writer import ExclusionWriter
from otel_sla.ledger.records import Commit
from otel_sla.page.app import Content, Page, PageRoute, View
from otel_sla.page.live import LiveMinutes, LiveState
from otel_sla.page.parameters import Object
from otel_sla.page.settings import PageSettings
from otel_sla.receiver.responses import Readiness
from otel_sla.report.csv import render_csv
from otel_sla.report.json import render_json
from otel_sla.sla.agreement import ExclusionReason
from otel_sla.sla.months import expire_before
from otel_sla.sla.series import Series

MACHINES = (
    "/api/v1/report",
    "/api/v1/report?month=2026-10",
    "/api/v1/live",
    "/api/v1/periods",
    "/api/v2/summary.json",
    "/api/openapi.json",
    "/badge/chat.svg",
    "/badge/chat/1.svg",
    "/feed.atom",
)
OUTAGE = EDGE - 20  # Of chat-1, across the edge of two months and up to the newest judged minute.
PUBLIC_URL = "https://status.example.com"


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    """Three services; one was down for a while, one is; and exclusions, one of them planned."""
    history = History(tmp_path, make_agreement(downtime=make_terms()))
    history.count([(EDGE - 50 + minute, 0, 3, 7, 1) for minute in range(10)])
    history.count([(OUTAGE + minute, 1, 0, 5, 0) for minute in range(40)])
    history.count([(EDGE + 10, number, 5, 0, 0) for number in (0, 2)])
    start = EPOCH + timedelta(minutes=EDGE + 5 * 1440)
    with closing(ExclusionWriter.open(history.url)) as writer:
        outside = replace(
            make_window("a cable was cut"),
            reason=ExclusionReason.FORCE_MAJEURE,
            start=EPOCH + timedelta(minutes=EDGE - 45),
            stop=EPOCH + timedelta(minutes=EDGE - 43),
        )
        planned = replace(
            make_window("new <disks>"),
            start=start,
            stop=start + timedelta(hours=2),
            group=None,
            announced_at=start - timedelta(days=10),
        )
        for window in (replace(outside, group=(("service.name", "chat-0"),)), planned):
            writer.record_exclusion("chat", window)
    history.now, history.sealed_before = EDGE + 20, EDGE
    history.judge()
    yield history
    history.stop()


def page_of(history: History, settings: PageSettings | None = None, live: LiveState | None = None) -> Page:
    """The page of what was judged."""
    return make_page(history.url, history.configured, settings, live=live)


def live_of(history: History) -> LiveState:
    """Two services in the running minute, one in the one before; and a series that the ledger does not hold yet."""
    return LiveState(
        minutes=LiveMinutes(
            history.now,
            np.array([0, 0, 1, 9]),
            np.array([history.now - 1, history.now, history.now, history.now]),
            np.array([[9, 1, 0], [1, 2, 3], [4, 0, 0], [1, 0, 0]]),
        ),
        now_unix_nano=history.now * 60_000_000_000 + 5_000_000_000,
        readiness=Readiness(notice="clocks of resources differ"),
        newest_span_unix_s={"chat": history.now * 60 + 3.0},
    )


def schema_of(document: Object, path: str) -> Object:
    """What the OpenAPI document says of an answer."""
    found: Object = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    return found


def test_report_is_that_of_the_command(history: History) -> None:
    """JSON and CSV of both months, of all agreements and of one: the bytes of a report of the same moment."""
    moment = EPOCH + timedelta(minutes=history.now)
    paths = [f"/api/v1/report?month={month}{rest}" for month in (OCTOBER, NOVEMBER) for rest in ("", "&agreement=chat")]
    answers = ask(page_of(history), *paths, *(f"{path}&format=csv" for path in paths), "/api/v1/report")
    reports = [
        load_report(history.reader, history.configured, month, history.now, moment) for month in (OCTOBER, NOVEMBER)
    ]
    expected = [render_json(reports[index // 2]) for index in range(4)]
    expected += [render_csv(reports[index // 2]) for index in range(4)]
    assert [answer.text for answer in answers] == [*expected, render_json(reports[1])]
    assert {answer.headers["content-type"] for answer in answers[:4]} == {"application/json"}
    assert {answer.headers["content-type"] for answer in answers[4:8]} == {"text/csv; charset=utf-8"}


def test_an_old_month_is_read_from_the_ledger(history: History) -> None:
    """A month that is not kept in memory is judged when it is asked for; one of the future has nothing."""
    page = page_of(history)
    page.figures = replace(page.figures, agreements=tuple(replace(each, months={}) for each in page.figures.agreements))
    october, future = ask(page, "/api/v1/report?month=2026-10", "/api/v1/report?month=2031-01")
    moment = EPOCH + timedelta(minutes=history.now)
    assert october.text == render_json(load_report(history.reader, history.configured, OCTOBER, history.now, moment))
    assert future.json()["agreements"][0]["series"] == []


def test_a_month_without_counts_is_as_it_was_closed_or_gone(history: History) -> None:
    """The counts of October are dropped: the figures of its closing; those of a month that was not closed are gone."""
    history.now = history.sealed_before = EDGE + 100
    history.judge()
    while history.ledger.expire(expire_before(EDGE + 5 * 1440)):
        pass
    closed, gone = ask(page_of(history), "/api/v1/report?month=2026-10", "/api/v1/report?month=2026-09")
    assert closed.json()["agreements"][0]["as_closed"]
    assert len(closed.json()["agreements"][0]["series"]) == 3
    assert gone.status_code == 410
    assert gone.json()["error"].startswith("the counts of 2026-09 are kept no longer")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/api/v1/report?month=2026-13", ["month", "YYYY-MM", "2026-13"]),
        ("/api/v1/report?month=2026-11&month=2026-10", ["month", "once"]),
        ("/api/v1/report?mnth=2026-11", ["'mnth'", "month, agreement, format"]),
        ("/api/v1/report?agreement=chta", ["agreement", "'chat'", "'chta'"]),
        ("/api/v1/report?format=xml", ["format", "json or csv", "xml"]),
        ("/api/v1/periods?from=yesterday", ["from", "2026-12-01T00:00:00Z", "yesterday"]),
        ("/api/v1/periods?to=2026-11-01T00:00:00", ["to", "offset"]),
        ("/api/v1/periods?from=1999-01-01T00:00:00Z", ["from", "400 days"]),
        ("/api/v1/periods?limit=0", ["limit", "1 to 1000"]),
        ("/api/v1/periods?limit=" + "9" * 500, ["limit", "1 to 1000"]),
        ("/api/v1/periods?cursor=../x", ["cursor", "next", "../x"]),
        ("/api/v1/live?agreement=", ["agreement", "'chat'"]),
    ],
)
def test_a_wrong_parameter_is_named(history: History, path: str, words: list[str]) -> None:
    """What cannot be used is answered 400, with the parameter and what is right."""
    (answer,) = ask(page_of(history), path)
    assert answer.status_code == 400
    assert all(word in answer.json()["error"] for word in words), answer.text


def test_large_answers_do_not_fill_the_memory(history: History) -> None:
    """What is kept of answers is bounded by their size as well as by their number."""

    async def give(_view: View) -> Content:
        return Content(b"x" * (5 << 20), "text/plain")

    page = page_of(history)
    page = Page(page.task, page._ask_live, [PageRoute("/large", give)])
    ask(page, *(f"/large?number={number}" for number in range(10)))
    assert len(page._cached) == 6


def test_an_offset_in_a_query_may_be_plain(history: History) -> None:
    """A + that was not escaped comes as a blank, and means an offset all the same."""
    (answer,) = ask(page_of(history), "/api/v1/periods?from=2026-10-01T05:30:00+05:30&to=2026-11-02T00:00:00+00:00")
    assert len(answer.json()["periods"]) == 2


def test_periods_by_time_and_in_pages(history: History) -> None:
    """Newest first, each once although two months have it; page by page the same; by time and agreement."""
    page = page_of(history)
    whole, one, none, before = ask(
        page,
        "/api/v1/periods",
        "/api/v1/periods?limit=1&agreement=chat",
        "/api/v1/periods?from=2026-11-01T00:20:00Z&to=2026-11-20T00:00:00Z",
        "/api/v1/periods?to=2026-10-31T23:30:00Z",
    )
    going_on, past = whole.json()["periods"]
    assert going_on == {
        "agreement": "chat",
        "series": {"id": 1, "name": "service.name=chat-1", "group": {"service.name": "chat-1"}},
        "start": "2026-10-31T23:40:00Z",
        "stop": "2026-11-01T00:20:00Z",
        "minutes": 40,
        "excluded_minutes": 0,
        "valid": 200,
        "failed": 200,
        "is_open": True,
    }
    assert (past["start"], past["minutes"], past["excluded_minutes"]) == ("2026-10-31T23:10:00Z", 10, 2)
    assert not past["is_open"]
    assert whole.json()["next"] is None
    assert one.json()["periods"] == [going_on]
    (rest,) = ask(page_of(history), f"/api/v1/periods?limit=1&cursor={one.json()['next']}")
    assert (rest.json()["periods"], rest.json()["next"]) == ([past], None)
    assert none.json()["periods"] == []
    assert before.json()["periods"] == [past]


def test_live_minutes_are_those_of_the_ring(history: History) -> None:
    """Running and last minutes by agreement and series, marked as not judged; what is not known yet waits."""
    (answer,) = ask(page_of(history, live=live_of(history)), "/api/v1/live")
    found = answer.json()
    assert (found["is_judged"], found["at"]) == (False, "2026-11-01T00:20:05Z")
    assert found["pipeline"] == {"is_ready": True, "reason": "", "notice": "clocks of resources differ"}
    (agreement,) = found["agreements"]
    assert (agreement["name"], agreement["newest_span"]) == ("chat", "2026-11-01T00:20:03Z")
    running = {"start": "2026-11-01T00:20:00Z", "valid": 7, "failed": 2, "invalid": 3, "error_rate": "0.28571428"}
    assert agreement["minutes"][-1] == running
    assert [minute["valid"] for minute in agreement["minutes"]] == [0, 0, 0, 10, 7]
    assert agreement["minutes"][0]["error_rate"] is None
    assert [series["name"] for series in agreement["series"]] == ["service.name=chat-0", "service.name=chat-1"]
    assert agreement["series"][1]["minutes"][-1]["valid"] == 4
    (silent,) = ask(page_of(history), "/api/v1/live")
    assert (silent.status_code, silent.json()["error"]) == (503, "the pipeline does not answer")


def test_the_openapi_document_is_valid_and_true(history: History) -> None:
    """Others' validator takes it; it names each address that machines have; the answers are as it says."""
    page = page_of(history, PageSettings(public_url=PUBLIC_URL), live_of(history))
    answers = dict(zip(MACHINES, ask(page, *MACHINES), strict=True))
    document = answers["/api/openapi.json"].json()
    OpenAPIV31SpecValidator(document).validate()
    assert document["servers"] == [{"url": PUBLIC_URL}]
    assert set(document["paths"]) == {
        *("/api/v1/report", "/api/v1/live", "/api/v1/periods", "/api/v2/summary.json", "/api/openapi.json"),
        *("/badge/{agreement}.svg", "/badge/{agreement}/{series_id}.svg", "/feed.atom"),
    }
    for path in ("/api/v1/live", "/api/v1/periods", "/api/v2/summary.json", "/api/v1/report"):
        jsonschema.validate(answers[path].json(), schema_of(document, path))
    (refused,) = ask(page_of(history), "/api/v1/report?month=x")
    jsonschema.validate(refused.json(), document["components"]["schemas"]["Error"])


def test_answers_are_cached_by_their_content(history: History) -> None:
    """An answer bears an ETag by which it is not sent again, and how long it may be used."""
    for path in MACHINES:
        page = page_of(history, live=live_of(history))
        (answer,) = ask(page, path)
        (again,) = ask(page, path, headers={"If-None-Match": answer.headers["etag"]})
        assert (answer.status_code, again.status_code, again.content) == (200, 304, b""), path
        assert answer.headers["cache-control"] in ("no-cache", *(f"public, max-age={age}" for age in (30, 60, 300)))


def test_summary_is_what_statuspage_clients_read(history: History) -> None:
    """A service is down: its component, its incident and the indicator say so; what is planned is listed."""
    (answer,) = ask(page_of(history, PageSettings(title="Chat", public_url=PUBLIC_URL)), "/api/v2/summary.json")
    found = answer.json()
    jsonschema.validate(found, SUMMARY_SCHEMA)
    assert found["page"]["name"] == "Chat"
    assert found["page"]["url"] == PUBLIC_URL
    assert found["status"] == {"indicator": "minor", "description": "Minor Service Outage"}
    whole, *parts = found["components"]
    assert (whole["name"], whole["group"], whole["status"]) == ("chat", True, "partial_outage")
    assert [(part["name"], part["status"]) for part in parts] == [
        ("service.name=chat-0", "operational"),
        ("service.name=chat-1", "major_outage"),
        ("service.name=chat-2", "operational"),
    ]
    assert whole["components"] == [part["id"] for part in parts]
    assert {part["group_id"] for part in parts} == {whole["id"]}
    (incident,) = found["incidents"]
    assert (incident["status"], incident["started_at"]) == ("investigating", "2026-10-31T23:40:00Z")
    downtime_ids = {
        stored.event.attributes["sla.downtime.id"]
        for stored in history.reader.events_after(0, 1000)
        if stored.event.name == "sla.downtime.started"
    }
    assert incident["id"] in downtime_ids
    assert incident["components"] == [parts[1]]
    (planned,) = found["scheduled_maintenances"]
    assert (planned["status"], planned["scheduled_for"], planned["scheduled_until"]) == (
        "scheduled",
        "2026-11-06T00:00:00Z",
        "2026-11-06T02:00:00Z",
    )
    assert planned["incident_updates"][0]["body"] == "new <disks>"
    assert planned["components"] == parts


def test_summary_during_maintenance_and_after_the_outage(history: History) -> None:
    """In the planned hours the components are under maintenance; afterwards nothing is listed any more."""
    history.now = EDGE + 5 * 1440 + 30
    history.judge()
    (during,) = ask(page_of(history), "/api/v2/summary.json")
    assert during.json()["status"]["indicator"] == "maintenance"
    assert {each["status"] for each in during.json()["components"]} == {"under_maintenance"}
    assert during.json()["incidents"] == []
    assert during.json()["scheduled_maintenances"][0]["status"] == "in_progress"
    history.now = EDGE + 5 * 1440 + 121
    history.judge()
    (after,) = ask(page_of(history), "/api/v2/summary.json")
    assert after.json()["status"] == {"indicator": "none", "description": "All Systems Operational"}
    assert (after.json()["incidents"], after.json()["scheduled_maintenances"]) == ([], [])


def test_an_agreement_without_groups_is_one_component(tmp_path: Path) -> None:
    """Without `group_by` the agreement itself is the component, and down with all it has; its badge has one figure."""
    history = History(tmp_path, replace(make_agreement(downtime=make_terms()), group_by=()))
    history.count([(EDGE + minute, 0, 0, 1, 0) for minute in range(3)])
    history.now = EDGE + 3
    history.judge()
    summary, feed = ask(page_of(history), "/api/v2/summary.json", "/feed.atom")
    jsonschema.validate(summary.json(), SUMMARY_SCHEMA)
    (component,) = summary.json()["components"]
    assert (component["name"], component["status"], component["group"]) == ("chat", "major_outage", False)
    assert summary.json()["status"]["indicator"] == "critical"
    (incident,) = summary.json()["incidents"]
    assert (incident["name"], incident["impact"]) == ("chat: downtime", "critical")
    assert titles_of(feed) == ["chat: downtime started at 2026-11-01T00:00:00Z"]
    history.stop()


def test_an_agreement_that_was_removed_is_in_its_months(history: History) -> None:
    """It is no longer configured: its month, badge and events stay; it is no component of today."""
    history.restart(None)
    history.judge()
    page = make_page(history.url, ())
    report, summary, badge, feed, periods = ask(
        page, "/api/v1/report?month=2026-10", "/api/v2/summary.json", "/badge/chat.svg", "/feed.atom", "/api/v1/periods"
    )
    moment = EPOCH + timedelta(minutes=history.now)
    expected = load_report(history.reader, (), OCTOBER, history.now, moment, removed=history.recorded.removed)
    assert report.text == render_json(expected)
    assert not report.json()["agreements"][0]["configured"]
    assert (summary.json()["components"], summary.json()["status"]["indicator"]) == ([], "none")
    assert title_of(badge).startswith("uptime: 9")
    assert titles_of(feed)
    assert periods.json()["periods"]


def test_the_feed_has_the_events(history: History) -> None:
    """Others' parser finds the newest events first, with ids that stay and links to the months."""
    (answer,) = ask(page_of(history, PageSettings(title="Chat & more", public_url=PUBLIC_URL)), "/feed.atom")
    found = feedparser.parse(answer.content, response_headers=dict(answer.headers))
    assert not found.bozo, found.get("bozo_exception")
    assert found.version == "atom10"
    assert (found.feed.title, found.feed.id) == ("Chat & more", f"urn:uuid:{history.reader.instance_id}")
    events = [stored.event for stored in history.reader.events_after(0, 1000)]
    wanted = [event for event in events if event.name.startswith(("sla.downtime.", "sla.target.", "sla.month."))]
    assert [entry.id for entry in found.entries] == [f"urn:uuid:{event.uid}" for event in reversed(wanted)]
    assert {"sla.downtime.started", "sla.downtime.ended", "sla.month.closed"} <= {
        entry.tags[0].term for entry in found.entries
    }
    started = next(entry for entry in found.entries if "chat-1: downtime started" in entry.title)
    assert started.title == "chat, service.name=chat-1: downtime started at 2026-10-31T23:40:00Z"
    assert started.link == f"{PUBLIC_URL}/agreements/chat/2026-10"
    assert started.updated == "2026-10-31T23:40:00Z"
    closed = next(entry for entry in found.entries if entry.tags[0].term == "sla.month.closed")
    assert closed.link == f"{PUBLIC_URL}/agreements/chat/2026-10"


def test_what_senders_put_into_names_is_text(tmp_path: Path) -> None:
    """Markup, quotes, controls, broken UTF-8, marks of direction, a kilobyte: each answer is well-formed."""
    values = [
        *(
            b"<script>alert('1')</script>",
            b'"><svg onload="x">',
            b"\x00\x1b[2J\r\n",
            b"\xff\xfe",
            "\u202eabc\u0660".encode(),
        ),
        *(b"x" * 1024, b"a): chat (service.name=b", b"", b"]]>&amp;&#0;"),
    ]
    agreement = replace(make_agreement(downtime=make_terms()), name="a/b?c=<&>\"'%2F")
    history = History(tmp_path, agreement)
    series = tuple(
        Series(number, agreement.name, (("service.name", value),), is_overflow=False)
        for number, value in enumerate(values, 3)
    )
    rows = [(EDGE - 30 + minute, each.series_id, 0, 4, 0) for minute in range(5) for each in series]
    history.ledger.commit(Commit(series, count_rows(rows), (), versions=history.recorded.versions))
    history.count([(EDGE - 20, 0, 1, 0, 0)])
    history.now = EDGE + 20
    history.judge()
    name = quote(agreement.name, safe="")
    feed, summary, periods, badge, label = ask(
        page_of(history),
        "/feed.atom",
        "/api/v2/summary.json",
        "/api/v1/periods",
        f"/badge/{name}/5.svg?month=2026-10",
        f"/badge/{name}.svg?label={quote('<a href=x> & ' + chr(0) + chr(0x202E))}",
    )
    found = feedparser.parse(feed.content)
    assert not found.bozo
    assert len(found.entries) == 2 * len(values)
    assert {f"/agreements/{name}/" in entry.link for entry in found.entries} == {True}
    assert sum("<script>alert('1')</script>: downtime" in title for title in titles_of(feed)) == 2
    assert len({each["name"] for each in summary.json()["components"]}) >= len(values)
    assert len(periods.json()["periods"]) == len(values)
    assert title_of(badge).startswith("uptime: 99.98")
    assert title_of(label).startswith("<a href=x> & \ufffd\ufffd: ")
    history.stop()


def test_the_feed_is_bounded(history: History) -> None:
    """However much happened, the newest hundred are listed."""
    history.count([(EDGE + 30 + 2 * n, 0, int(n % 2), int(not n % 2), 0) for n in range(150)])
    history.now = EDGE + 400
    history.judge()
    (answer,) = ask(page_of(history), "/feed.atom")
    assert len(feedparser.parse(answer.content).entries) == 100


def test_the_feed_does_not_look_far_back(history: History) -> None:
    """Only the newest events of the outbox are looked at, whatever they are."""
    names = [event.event.name for event in history.reader.events_after(0, 1000)]
    assert len(history.reader.newest_events(["chat"], names, 100, 1000)) == len(names) > 1
    assert len(history.reader.newest_events(["chat"], names, 100, 1)) == 1


def test_a_badge_of_a_name_that_ends_like_a_series(history: History) -> None:
    """The agreement `chat/0` has a badge, which goes before that of the series 0 of `chat`."""
    page = make_page(history.url, (*history.configured, replace(make_agreement(), name="chat/0")))
    whole, series = ask(page, "/badge/chat/0.svg", "/badge/chat/2.svg")
    assert title_of(whole) == "uptime: no data"
    assert title_of(series).startswith("uptime: 100")


def test_badges(history: History) -> None:
    """Uptime and verdict of the worst series, of one, and of a month; label and colours; well-formed."""
    whole, one, past, named, none = ask(
        page_of(history),
        "/badge/chat.svg",
        "/badge/chat/0.svg",
        "/badge/chat/0.svg?month=2026-10",
        "/badge/chat.svg?label=%3Cb%3E%20%26%20%22%E2%80%AE",
        "/badge/chat.svg?month=2020-01",
    )
    assert [title_of(each) for each in (whole, one, past, named, none)] == [
        "uptime: 99.953 %, kept so far",
        "uptime: 100.000 %, kept so far",
        "uptime: 99.982 %, kept",
        '<b> & "\ufffd: 99.953 %, kept so far',
        "uptime: no data",
    ]
    assert {each.headers["content-type"] for each in (whole, one, past, named, none)} == {"image/svg+xml"}
    assert "#2b7a0b" in whole.text
    assert "#6b6b6b" in none.text


def test_a_badge_of_a_broken_promise_is_red(history: History) -> None:
    """More minutes down than allowed: BREACHED in words and colour."""
    history.count([(EDGE + 20 + minute, 1, 0, 5, 0) for minute in range(60)])
    history.now = EDGE + 100
    history.judge()
    (answer,) = ask(page_of(history), "/badge/chat.svg")
    assert title_of(answer) == "uptime: 99.814 %, breached"
    assert "#c0392b" in answer.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/badge/chat/9.svg", 404),
        ("/badge/chta.svg", 404),
        ("/badge/chta/0.svg", 404),
        ("/badge/chat.png", 404),
        ("/badge/chat.svg?label=" + "x" * 65, 400),
        ("/badge/chat/99999999999999999999.svg", 404),
        ("/api/v1/unknown", 404),
    ],
)
def test_what_is_not_there(history: History, path: str, status: int) -> None:
    """An address that names nothing is answered 404, a label that is too long 400."""
    (answer,) = ask(page_of(history), path)
    assert answer.status_code == status


def test_the_public_sees_display_names_only(history: History) -> None:
    """Without a token no answer names a resource attribute or who recorded what; with it all is there."""
    settings = replace(guarded("chat"), display_names={"service.name=chat-0": "Front"})
    answers = ask(page_of(history, settings, live_of(history)), *MACHINES)
    for path, answer in zip(MACHINES, answers, strict=True):
        assert answer.status_code == 200, path
        for secret in ("service.name", "chat-0", "chat-1", "chat-2", "ops", "clocks of resources"):
            assert secret not in answer.text, path
    assert answers[1].json()["agreements"][0]["series"][0]["group"] == {"name": "Front"}
    assert "Series 2: downtime started" in answers[-1].text
    (table,) = ask(page_of(history, settings), "/api/v1/report?format=csv")
    assert table.status_code == 401
    (known,) = ask(page_of(history, settings), "/api/v1/report", headers=KNOWN)
    assert "chat-1" in known.text


def test_the_public_sees_public_agreements_only(history: History) -> None:
    """An agreement that is not public is as if it were not there; without any, a token is asked for."""
    other = replace(make_agreement(), name="billing")
    settings = guarded("billing")
    page = make_page(history.url, (*history.configured, other), settings, live=live_of(history))
    *answers, named, badge = ask(page, *MACHINES[:5], "/feed.atom", "/api/v1/report?agreement=chat", "/badge/chat.svg")
    assert all("chat" not in answer.text for answer in answers)
    assert "'billing'" in named.json()["error"]
    assert (named.status_code, badge.status_code) == (400, 404)
    for answer in ask(page_of(history, guarded()), *MACHINES):
        assert answer.status_code == 401


def test_before_the_first_look_at_the_ledger(history: History) -> None:
    """Nothing is known yet: machines are asked to come again."""
    page = page_of(history)
    page.figures = replace(page.figures, agreements=())
    for answer in ask(page, *MACHINES):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_before_anything_is_judged(tmp_path: Path) -> None:
    """A new ledger: the running month, empty, and nothing that fails."""
    history = History(tmp_path, make_agreement())
    paths = [path for path in MACHINES if "live" not in path]
    answers = dict(zip(paths, ask(make_page(history.url, history.configured), *paths), strict=True))
    assert {answer.status_code for answer in answers.values()} == {200}
    assert answers["/api/v1/report"].json()["agreements"][0]["series"] == []
    assert title_of(answers["/badge/chat.svg"]) == "uptime: no data"
    history.stop()


def titles_of(feed: httpx.Response) -> list[str]:
    """The titles of a feed's entries as they are; feedparser takes some of them for markup."""
    return [str(each.text) for each in ET.fromstring(feed.content).iterfind("{*}entry/{*}title")]  # noqa: S314 - ours.


def title_of(answer: httpx.Response) -> str:
    """What a badge says, to those who cannot see it."""
    title = ET.fromstring(answer.content).findtext("{http://www.w3.org/2000/svg}title")  # noqa: S314 - ours.
    assert title is not None
    return title


def _component(**more: Any) -> Object:  # noqa: ANN401 - of JSON Schema.
    names = ("id", "name", "created_at", "updated_at", "description", "page_id")
    return {
        "type": "object",
        "required": [*names, "status", "position", "showcase", "start_date", "group_id", "group"],
        "properties": {
            "status": {
                "enum": ["operational", "degraded_performance", "partial_outage", "major_outage", "under_maintenance"]
            },
            "position": {"type": "integer"},
            "group": {"type": "boolean"},
            **more,
        },
    }


def _incidents(statuses: list[str], *names: str) -> Object:
    return {
        "type": "array",
        "items": {
            "type": "object",
            "required": [
                *("id", "name", "status", "created_at", "updated_at", "monitoring_at", "resolved_at", "impact"),
                *("shortlink", "started_at", "page_id", "incident_updates", "components", *names),
            ],
            "properties": {
                "status": {"enum": statuses},
                "impact": {"enum": ["none", "minor", "major", "critical", "maintenance"]},
                "components": {"type": "array", "items": _component()},
                "incident_updates": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": [
                            *("id", "incident_id", "status", "body", "created_at", "updated_at", "display_at"),
                            "affected_components",
                        ],
                    },
                },
            },
        },
    }


# As Atlassian documents `summary.json` at https://metastatuspage.com/api and its clients type it.
SUMMARY_SCHEMA: Object = {
    "type": "object",
    "required": ["page", "components", "incidents", "scheduled_maintenances", "status"],
    "properties": {
        "page": {"type": "object", "required": ["id", "name", "url", "time_zone", "updated_at"]},
        "components": {"type": "array", "items": _component()},
        "incidents": _incidents(["investigating", "identified", "monitoring"]),
        "scheduled_maintenances": _incidents(
            ["scheduled", "in_progress", "verifying"], "scheduled_for", "scheduled_until"
        ),
        "status": {
            "type": "object",
            "required": ["indicator", "description"],
            "properties": {"indicator": {"enum": ["none", "minor", "major", "critical", "maintenance"]}},
        },
    },
}
