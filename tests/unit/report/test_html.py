"""The report as HTML: one file that loads nothing, in which senders' text is text, with the figures of the JSON."""

from html.parser import HTMLParser

import pytest
from report_parts import eventful_month, make_report
from sla_parts import make_agreement

from otel_sla.report.document import Report, draw_worst
from otel_sla.report.html.page import SECTIONS_MAX, render_html
from otel_sla.report.json import report_object
from otel_sla.sla.figures_text import minute_text
from otel_sla.sla.months import Month, month_range

NOVEMBER = Month(2026, 11)
START = month_range(NOVEMBER, "UTC").start_minute
VOID = {"meta", "br", "path", "rect", "circle", "line", "use"}


class Page(HTMLParser):
    """Reads a page and insists that every element is closed."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what was opened."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Only the innermost is closed."""
        assert tag in VOID or self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note what is to be read."""
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def count(self, name: str) -> int:
        """How many elements of a name there are."""
        return sum(tag == name for tag, _ in self.tags)

    @property
    def text(self) -> str:
        """All that is to be read."""
        return "".join(self.words)


def report_of(n_series: int, value: str = "s", *, n_down: int = 0, elapsed: int = 43_200) -> Report:
    """A month of several series, the first `n_down` minutes of which are down for the last series."""
    last = n_series - 1
    counted = {
        ("chat", (("service.name", f"{value}{number:04}".encode()),)): {
            START + n: (0, 5, 0) if number == last and n < n_down else (5, 0, 0) for n in range(60)
        }
        for number in range(n_series)
    }
    return make_report([make_agreement()], counted, NOVEMBER, START + elapsed, is_drawn=True)


def test_a_page_needs_nothing_else() -> None:
    """Nothing is loaded and nothing runs: no script, no link but to itself, no address of anything."""
    page = render_html(eventful_month(is_drawn=True))
    read = Page(page)
    assert read.count("script") == read.count("link") == read.count("img") == read.count("iframe") == 0
    for _, attributes in read.tags:
        assert not [key for key in attributes if key.startswith("on") or key in {"src", "style"}]
        assert (attributes.get("href") or "#").startswith("#")
    assert "@import" not in page
    assert "http://" not in page


@pytest.mark.parametrize(
    "value", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style><b>", "&lt;b&gt;", "'a'"]
)
def test_what_senders_chose_is_text(value: str) -> None:
    """Markup in a group's value is shown as it was written, and makes no element."""
    read = Page(render_html(report_of(1, value)))
    assert f"service.name={value}0000" in read.text
    plain = Page(render_html(report_of(1)))
    assert [tag for tag, _ in read.tags] == [tag for tag, _ in plain.tags]


def test_signs_that_turn_text_are_replaced() -> None:
    """A name cannot reverse what stands beside it, nor hide."""
    page = render_html(report_of(1, "a\u202eb\x00"))
    assert "\u202e" not in page
    assert "a\ufffdb\ufffd0000" in page
    assert "service.name=two\ufffdlines0000" in render_html(report_of(1, "two\nlines")), "as in the table"


def test_a_raw_figure_is_named_beside_it() -> None:
    """The overview's head names the figure after exclusions; the one before them says so itself."""
    page = render_html(eventful_month())
    said = Page(page).text
    assert '<th scope="col">Monthly uptime</th>' in page
    assert '<th scope="col">Downtime of allowed</th>' in page
    assert "99.88425\u00a0%before exclusions 99.86111\u00a0%" in said
    assert said.count("before exclusions 9") == 1, "the series without exclusions has the one figure"


def test_figures_are_those_of_the_json() -> None:
    """Raw and adjusted figures, with numerators and denominators, periods and exclusions are all there."""
    report = eventful_month(is_drawn=True)
    said = Page(render_html(report)).text
    broken = report_object(report)["agreements"][0]["series"][0]
    assert broken["monthly_uptime"].startswith("0.9988425")
    for words in (
        "99.884259\u00a0%",  # No line is broken before the sign.
        "99.861111\u00a0%",
        "(43,200 \u2212 50) / 43,200 = 43,150 / 43,200",
        "(43,200 \u2212 60) / 43,200 = 43,140 / 43,200",
        "43,200 \u00d7 (1 \u2212 0.999) = 43.2 minutes",
        "21,630 minutes with data / 43,200 elapsed",
        "540 of 600",
        "2026-11-06 19:50 UTC",
        "REFUSED: notice too short",
        "database upgrade",
        "ops@example.com",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (report_of(1), "\u2713 The target of 99.9\u00a0% monthly uptime is kept"),
        (report_of(1, n_down=44), "\u2717 The target of 99.9\u00a0% monthly uptime is BREACHED"),
        (report_of(3, n_down=44), "is BREACHED by 1 of 3 series"),
        (report_of(3, elapsed=60), "is kept by all 3 series so far"),
        (report_of(3, elapsed=60), "of which 60 have elapsed, until 2026-11-01 01:00 UTC"),
        (report_of(0), "Nothing to judge"),
    ],
)
def test_the_verdict_is_said_in_words(report: Report, words: str) -> None:
    """Whoever reads but the first lines knows how it ended."""
    assert words in Page(render_html(report)).text


def test_many_series_stay_readable() -> None:
    """The table has every series; only the worst have a section, which is said, with a way from the table to it."""
    read = Page(render_html(report_of(SECTIONS_MAX + 3, n_down=5)))
    said = read.text
    assert all(f"service.name=s{number:04}" in said for number in range(SECTIONS_MAX + 3))
    assert read.count("h3") == SECTIONS_MAX
    assert f"The {SECTIONS_MAX} with the most downtime follow" in said
    anchors = {attributes["id"] for tag, attributes in read.tags if tag == "h3"}
    assert {str(attributes["href"])[1:] for tag, attributes in read.tags if tag == "a"} == anchors
    assert f"a0-s{SECTIONS_MAX + 2}" in anchors, "the series that was down is among them"


def test_a_series_that_flaps() -> None:
    """Of very many periods the longest are listed in the order of time, which is said."""
    down = {*range(10, 12), 20, *range(30, 33)}
    counts = {START + n: (0, 1, 0) if n in down else (1, 0, 0) for n in range(60)}
    counted = {("chat", (("service.name", b"a"),)): counts}
    report = make_report([make_agreement()], counted, NOVEMBER, START + 100)
    said = Page(render_html(report, periods_max=2)).text
    assert "The 2 longest of 3" in said
    first, second, short = (minute_text(START + n)[11:16] for n in (10, 30, 20))
    assert 0 < said.find(f"2026-11-01 {first} UTC") < said.find(f"2026-11-01 {second} UTC")
    assert f"2026-11-01 {short} UTC" not in said


def test_clause_8_local_times_have_their_offset() -> None:
    """A period is given in the agreement's time zone and in UTC."""
    agreement = make_agreement(time_zone="Asia/Kolkata")
    start = month_range(NOVEMBER, "Asia/Kolkata").start_minute
    counted = {("chat", (("service.name", b"a"),)): {start: (0, 1, 0)}}
    said = Page(render_html(make_report([agreement], counted, NOVEMBER, start + 10))).text
    assert "2026-11-01 00:00 +05:30" in said
    assert "2026-10-31 18:30 UTC" in said


def test_without_single_minutes_there_is_no_calendar() -> None:
    """A report that kept no states is written all the same."""
    assert 'class="calendar"' not in render_html(eventful_month())
    assert render_html(eventful_month(is_drawn=True)).count('class="calendar"') == 2


def test_only_the_worst_keep_their_minutes() -> None:
    """Of several series the one with the most downtime is drawn."""
    reports = list(report_of(4, n_down=3).agreements[0].series)
    assert [report.states is not None for report in draw_worst(reports, 1)] == [False, False, False, True]


def test_the_same_month_gives_the_same_bytes() -> None:
    """Written twice, the page is the same bytes."""
    assert len({render_html(eventful_month(is_drawn=True)) for _ in range(2)}) == 1
