"""What each page shows to people."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from page_parts import NOW, START, ShownPage, page_series, window
from sla_parts import make_agreement

from otel_sla.page.settings import PageSettings
from otel_sla.receiver.settings import BearerSettings
from otel_sla.sla.agreement import ExclusionReason

OUTAGE = START + 5 * 1440 + 600
HOURLY = range(START - 20 * 1440, NOW, 60)


def text_of(page: str) -> str:
    """What is to be read, in one line."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).replace("\u00a0", " ").split())


@pytest.fixture
def eventful(tmp_path: Path) -> ShownPage:
    """Two services since October; one was down for an hour, half of which is excluded."""
    shown = ShownPage(tmp_path)
    shown.count((), [], judged_before=None)
    shown.exclude(window(OUTAGE, 30, "power cut"))
    shown.exclude(window(OUTAGE + 30, 30, "was our own UPS after all"), withdrawn_because="our own fault")
    rows = [(minute, series_id, 10, 0, 0) for minute in HOURLY for series_id in (0, 1)]
    shown.count(page_series(["chat-1", "chat-2"]), [*rows, *((OUTAGE + n, 0, 0, 10, 0) for n in range(1, 60))])
    shown.see([(0, 0, 8, 2), (1, 0, 40, 0), (0, 1, 5, 0)])
    return shown


def test_the_overview_has_verdict_budget_and_what_happens_now(eventful: ShownPage) -> None:
    """One look: the promise, what is left of it, and the newest minutes, marked as not judged."""
    page = eventful.get("/")
    said = text_of(page)
    assert "✓ The target of 99.9 % monthly uptime is kept by all 2 series so far" in said
    assert "99.930 % target 99.9 %; the worst of 2 series, service.name=chat-1" in said
    assert "13 min left 30 of 43 min used" in said
    assert "Now not judged yet" in said
    assert "15 req 13.33 % failed" in said, "all series of the running minute"
    assert "20.00 % ▲ of 10" in said, "above the limit, and not by colour alone"
    assert said.index("chat-1") < said.index("service.name=chat-2"), "the worst first"
    assert 'title="2026-11-21 10:00 UTC"' in page


def test_the_bars_have_their_figures_and_a_way_to_the_table(eventful: ShownPage) -> None:
    """A day's minutes down and excluded are in the strip, which leads to the series' page without a script, too."""
    page = eventful.get("/")
    strip = re.search(r'<a class="strip" href="([^"]+)" data-days="([^"]*)" aria-label="([^"]+)"', page)
    assert strip is not None
    address, days, label = strip.groups()
    assert "74+1:30,30,1357" in days
    assert label == "service.name=chat-1, 90 days: 30 minutes down, 30 excluded"
    assert "2026-11-06" in eventful.get(address)
    assert page.count('<path class="down"') == 2, "in the strip and in the legend"


def test_an_empty_page_says_what_to_do(tmp_path: Path) -> None:
    """Before the first span there is an address to send to; the first one is listed before it is judged."""
    shown = ShownPage(tmp_path)
    shown.count((), [], judged_before=None)
    shown.see([])
    assert "Send spans of kind SERVER to OTLP/gRPC: localhost:4317" in text_of(shown.get("/"))
    shown.points(("otelcol_receiver_accepted_spans", {}, 7))
    assert "7 spans arrived since the start, and no agreement covers any" in text_of(shown.get("/"))
    shown.count(page_series(["chat-1"]), [(NOW, 0, 1, 0, 0)], judged_before=None)
    shown.see([(0, 0, 1, 0)])
    said = text_of(shown.get("/"))
    assert "Requests arrive; no minute of this month is judged yet" in said
    assert "service.name=chat-1 the first minute is judged after 10:01 0.00 % of 1" in said
    assert "Send spans" not in said


def test_a_pipeline_that_does_not_answer_is_said(eventful: ShownPage) -> None:
    """Judged figures stay; what happens now is not invented. One that takes no spans says why."""
    eventful.live = None
    said = text_of(eventful.get("/"))
    assert "The pipeline does not answer" in said
    assert "not judged yet" not in said
    assert "30 of 43 min used" in said
    eventful.see([], reason="the disk is full")
    assert "No spans are taken: the disk is full" in text_of(eventful.get("/"))
    assert "✗ No spans are taken: the disk is full" in text_of(eventful.get("/pipeline"))


def test_many_series_are_paged_and_found(tmp_path: Path) -> None:
    """Fifty at a time, the worst first; the search finds parts of names, whatever their case."""
    shown = ShownPage(tmp_path)
    n = 120
    rows = [(START + minute, number, 10, 0, 0) for number in range(n) for minute in (0, 30)]
    shown.count(page_series([f"s{number:03}" for number in range(n)]), [*rows, (START + 31, 77, 0, 10, 0)])
    first = shown.get("/")
    assert first.count('class="strip"') == 50
    assert "Page 1 of 3" in text_of(first)
    assert "service.name=s077" in first
    assert len(first) < 60_000
    address = re.search(r'rel="next" href="([^"]+)"', first)
    assert address is not None
    assert "Page 2 of 3" in text_of(shown.get(address.group(1).replace("&amp;", "&")))
    assert shown.get("/?page=3").count('class="strip"') == 20
    assert shown.get("/?page=99").count('class="strip"') == 20, "the last page"
    found = shown.get("/?q=S07")
    assert found.count('class="strip"') == 10
    assert "10 of 120 series" in text_of(found)
    assert "No series is found" in text_of(shown.get("/?q=<b>"))


@pytest.mark.parametrize(
    "path", ["/", "/agreements/chat/2026-11", "/agreements/chat/series/0", "/agreements/chat/history"]
)
def test_what_senders_chose_is_text(tmp_path: Path, path: str) -> None:
    """Markup, quotes and signs that turn the reading order make no element and hide nothing, whatever their length."""
    shown = ShownPage(tmp_path)
    value = "<script>\"'&\u202e" + "x" * 1000
    shown.count(page_series([value]), [(START, 0, 10, 0, 0)])
    page = shown.get(path)
    assert "&lt;script&gt;" in page
    assert page.count("<script") == 1, "our own"
    assert "\u202e" not in page
    assert " style=" not in page
    assert len(page) < 60_000


def test_a_month_has_its_report_and_its_neighbours(eventful: ShownPage) -> None:
    """The report is that of `report --format html`, with the ways to other months."""
    page = eventful.get("/agreements/chat/2026-11")
    said = text_of(page)
    assert "(43,200 \u2212 30) / 43,200 = 43,170 / 43,200" in said
    assert "What was agreed" in said
    assert "power cut" in said
    assert page.count('class="calendar"') == 2
    assert 'href="/agreements/chat/2026-10"' in page
    assert 'href="/agreements/chat/2026-12"' not in page
    eventful.get("/agreements/chat/2026-10")
    assert "the page has the months" in eventful.get("/agreements/chat/2027-01", 404)
    assert "is written YYYY-MM" in eventful.get("/agreements/chat/november", 404)
    eventful.get("/agreements/other/2026-11", 404)


def test_a_series_has_its_days_and_minutes(eventful: ShownPage) -> None:
    """The worst day is shown unless another is asked for: as a strip, as a graph, and in words."""
    page = eventful.get("/agreements/chat/series/0")
    said = text_of(page)
    assert "Fri 6 November 2026, minute by minute" in said
    assert "10:30 11:00 30 down" in said
    assert "10:00 10:30 30 excluded" in said
    assert "above 5 %" in said
    assert "590 of 590 power cut ; was our own UPS after all (withdrawn)" in said, "the notes of a period"
    assert "power cut" in said
    other = text_of(eventful.get("/agreements/chat/series/0?month=2026-11&day=2026-11-08"))
    assert "Sun 8 November 2026, minute by minute" in other
    assert "Nothing of this series is judged in September 2026" in text_of(
        eventful.get("/agreements/chat/series/0?month=2026-09")
    )
    eventful.get("/agreements/chat/series/7", 404)
    eventful.get("/agreements/chat/series/0?month=x", 404)


def test_a_year_at_a_glance(eventful: ShownPage) -> None:
    """The history has each series and each month with figures, and their verdicts in words."""
    said = text_of(eventful.get("/agreements/chat/history"))
    assert "service.name=chat-1 ✓ 99.930 % kept so far ✓ 100.000 % kept" in said
    assert "Sep" not in said


def test_the_trail_of_exclusions(eventful: ShownPage) -> None:
    """Recorded, withdrawn and refused ones are there, by whom and why."""
    maintenance = {"reason": ExclusionReason.SCHEDULED_MAINTENANCE, "announced_at": datetime(2026, 11, 5, tzinfo=UTC)}
    eventful.exclude(window(OUTAGE, 10, "told too late", **maintenance))
    said = text_of(eventful.get("/exclusions"))
    assert "power cut" in said
    assert "by ops@example.com accepted" in said
    assert "withdrawn by anna@example.com, 1970-01-01 00:00 UTC: our own fault" in said
    assert "told too late" in said
    assert "refused : notice too short" in said


def test_the_pipeline_page_says_whether_spans_arrive(eventful: ShownPage) -> None:
    """Rate, refusals by reason, ledger and share of sampled spans; figures of the pipeline's own metrics."""
    backend = {"exporter": "otlp/backend", "data_type": "logs"}
    eventful.points(
        ("otelcol_receiver_accepted_spans", {}, 1000),
        ("sla.receiver.late_spans", {}, 12),
        ("sla.receiver.sampled_spans", {}, 250),
        ("sla.receiver.unusable_status_spans", {"key": "http.status_code"}, 3),
        ("sla.ledger.size", {}, 3 * 1024**2),
        ("otelcol_exporter_queue_size", backend, 4),
        ("sla.exporter.oldest_age", backend, 61.0),
        ("sla.exporter.failed_attempts", {**backend, "reason": "backend"}, 2),
    )
    assert "spans per second, from the next look on" in text_of(eventful.get("/pipeline"))
    assert eventful.live is not None
    points = (("otelcol_receiver_accepted_spans", {}, 6000), *eventful.live.points[1:])
    eventful.live = replace(eventful.live, now_unix_nano=eventful.live.now_unix_nano + 4 * 10**9, points=points)
    said = text_of(eventful.get("/pipeline"))
    assert "✓ Spans are taken" in said
    assert "1,250.0 spans per second over the last 4 s" in said
    assert "covered requests of the last full minute: 40; 15 in the running one" in said
    assert "too late, their minute is sealed 12" in said
    assert "Sampled 4.16 %" in said
    assert "Ledger 3.0 MiB" in said
    assert "cannot be read (http.status_code) 3" in said
    assert "otlp/backend events 4 61 s none yet 2 backend" in said


def test_title_and_logo_are_configured(tmp_path: Path) -> None:
    """Both are on each page; without a logo there is none to load."""
    logo = tmp_path / "logo.svg"
    logo.write_text("<svg/>")
    shown = ShownPage(tmp_path, settings=PageSettings(title="Example & Co", logo=logo))
    shown.count((), [], judged_before=None)
    page = shown.get("/")
    assert "<title>Example &amp; Co</title>" in page
    assert '<img src="/logo"' in page
    answer = shown.ask("/logo")
    assert (answer.text, answer.headers["content-type"]) == ("<svg/>", "image/svg+xml")
    logo.unlink()
    shown.get("/logo", 404)


def test_names_with_slashes_have_addresses(tmp_path: Path) -> None:
    """An agreement may be called as its owner likes."""
    agreement = replace(make_agreement(), name="a/b ?#&<é")
    shown = ShownPage(tmp_path, [agreement])
    shown.count(page_series(["x"], agreement.name), [(START, 0, 1, 0, 0)])
    links = re.findall(r'href="(/agreements/[^"]+)"', shown.get("/"))
    assert len(set(links)) == 3, links
    for link in links:
        shown.get(link)


def test_nothing_foreign_is_loaded(eventful: ShownPage) -> None:
    """Each page loads this origin's files only, has no script or style of its own, and the policy forbids others."""
    for path in ("/", "/agreements/chat/2026-11", "/agreements/chat/series/0", "/exclusions", "/pipeline"):
        answer = eventful.ask(path)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert not re.findall(r'(?:src|href)="(?!/|#|\?)', answer.text), path
        assert not re.findall(r"<style|\son\w+=|\sstyle=|<script(?! src)", answer.text), path


def test_the_public_sees_names_and_figures_alone(tmp_path: Path) -> None:
    """Without a token there are the public agreements: no terms, no names of operators, no pipeline."""
    tokens = BearerSettings(tokens=("secret",))
    agreements = (make_agreement(), replace(make_agreement(), name="internal"))
    shown = ShownPage(tmp_path, agreements, PageSettings(auth=tokens, public=("chat",)))
    shown.exclude(window(START, 30, "power cut"))
    shown.count(page_series(["chat-1"]), [(START, 0, 1, 0, 0)])
    page = shown.get("/")
    assert "internal" not in page
    assert "/pipeline" not in page
    said = text_of(shown.get("/agreements/chat/2026-11"))
    assert "power cut" in said
    assert "ops@example.com" not in said
    assert "Covered service" not in said
    shown.get("/agreements/internal/2026-11", 404)
    shown.get("/pipeline", 401)
    shown.get("/exclusions", 401)


def test_an_agreement_that_was_removed_is_marked(tmp_path: Path) -> None:
    """It is no longer configured, and its month is still there."""
    shown = ShownPage(tmp_path, [make_agreement(), replace(make_agreement(), name="gone")])
    shown.count(page_series(["x"], "gone"), [(START, 0, 1, 0, 0)])
    shown.agreements = shown.agreements[:1]
    shown.read()
    assert "gone no longer configured" in text_of(shown.get("/"))
    said = text_of(shown.get("/agreements/gone/2026-11"))
    assert "/ gone no longer configured" in said
    assert "The agreement is no longer configured" in said


def test_a_report_of_many_series_is_paged(tmp_path: Path) -> None:
    """Fifty rows at a time, the worst first, and calendars of the first ten of them."""
    shown = ShownPage(tmp_path)
    rows = [(START, number, 10, 0, 0) for number in range(120)]
    shown.count(page_series([f"s{number:03}" for number in range(120)]), [*rows, (START + 31, 77, 0, 10, 0)])
    first, last = (shown.get(f"/agreements/chat/2026-11{query}") for query in ("", "?page=9"))
    for page, number, n_rows in ((first, 1, 50), (last, 3, 20)):
        assert f"Page {number} of 3" in text_of(page)
        assert page.count('data-name="Monthly uptime"') == n_rows
        assert page.count('class="calendar"') == 10
        assert "kept by all 120 series so far" in text_of(page)
    assert first.index("service.name=s077") < first.index("service.name=s000")


def test_what_is_down_now_is_beside_the_verdict(eventful: ShownPage) -> None:
    """The newest judged minutes of one of two series are down, and those that run are above its limit."""
    assert "down since" not in text_of(eventful.get("/"))
    later = NOW + 5
    eventful.count((), [(NOW + minute, 1, 0, 10, 0) for minute in range(5)], judged_before=later)
    eventful.see([(1, 0, 90, 0), (1, 1, 0, 10), (0, 0, 1, 0)])
    said = text_of(eventful.get("/"))
    assert "▼ 1 series down since 10:00" in said
    assert "10.00 % failed ▲ 1 above the limit" in said
    assert "▲ series above the limit of" in said
    eventful.exclude(window(NOW, 60, "planned"))
    eventful.read()
    eventful.see([])
    assert "down since" not in text_of(eventful.get("/"))


def test_periods_have_exclusions_where_any_touches(eventful: ShownPage) -> None:
    """One series' downtime was excluded in part; the other's was not, and has no empty column."""
    eventful.count((), [(OUTAGE + 1440 + minute, 1, 0, 10, 0) for minute in range(5)])
    column = '<th scope="col">Failed of valid</th><th scope="col">Exclusions</th>'
    assert column in eventful.get("/agreements/chat/series/0")
    periods = eventful.get("/agreements/chat/series/1").partition('class="periods"')[2]
    assert 'data-name="Excluded">0' in periods
    assert column not in periods


def test_long_names_are_whole_in_their_title(tmp_path: Path) -> None:
    """The style cuts what is shown to two lines."""
    shown = ShownPage(tmp_path)
    shown.count(page_series(["x" * 1000]), [(START, 0, 1, 0, 0)])
    for path in ("/", "/agreements/chat/history"):
        assert f'title="service.name={"x" * 1000}"><bdi>' in shown.get(path)
