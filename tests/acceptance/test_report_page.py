"""The report's page as a browser shows and prints it: on a desk, on a telephone, on paper."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from report_parts import eventful_month, make_report
from sla_parts import make_agreement

from otel_sla.report.document import Report
from otel_sla.report.html.page import render_html
from otel_sla.sla.months import Month, month_range

_QUIET = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
_QUIET += " --disable-component-update --disable-sync"

# Runs beside the page, which itself runs no script: what reaches beyond its place, and the smallest letters.
_MEASURE = """
const page = document.getElementById("page").contentDocument;
const wide = [...page.querySelectorAll(".calendar th, .calendar td, caption, p, h3")]
  .filter(element => element.scrollWidth > element.clientWidth + 1).map(element => element.textContent);
const drawings = [...page.querySelectorAll(".calendar td svg")].map(drawing => drawing.getBoundingClientRect().width);
const letters = [...page.querySelectorAll(".calendar th, .calendar td, .axis text")]
  .map(element => parseFloat(page.defaultView.getComputedStyle(element).fontSize));
document.getElementById("found").textContent = JSON.stringify({
  wide, page: page.documentElement.scrollWidth, drawing: Math.min(...drawings), letters: Math.min(...letters)});
"""


@pytest.fixture(scope="session")
def chromium() -> str:
    """Chromium, which may be missing anywhere."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("Chromium is not installed: on Debian, apt-get install chromium")
    return found


def busy_month() -> Report:
    """A month in which each day's words are as long as they come, of a series with a long name."""
    start = month_range(Month(2026, 10), "Europe/Berlin").start_minute
    counts = {start + n: (0, 5, 0) if n % 1440 < 1200 else (5, 0, 0) for n in range(44_700)}
    series = ("chat", (("service.name", b"payments-of-the-european-region.production.example.com/and-a-path"),))
    agreement = make_agreement(time_zone="Europe/Berlin")
    return make_report([agreement], {series: counts}, Month(2026, 10), start + 44_700, is_drawn=True)


def run(chromium: str, folder: Path, *arguments: str) -> str:
    """What Chromium writes to standard output."""
    command = [chromium, "--headless", *_QUIET.split(), f"--user-data-dir={folder / 'profile'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.parametrize("width", [390, 1100])
@pytest.mark.parametrize("report", [eventful_month(is_drawn=True), busy_month()], ids=["eventful", "busy"])
def test_the_page_can_be_read_at_any_width(chromium: str, tmp_path: Path, report: Report, width: int) -> None:
    """On a telephone and on a desk: nothing to scroll sideways, no label cut, letters of 12 pixels and more."""
    page = html.escape(render_html(report))
    frame = f'<iframe id="page" style="width:{width}px;height:900px;border:0" srcdoc="{page}"></iframe>'
    script = f"<script>onload = () => {{ {_MEASURE} }}</script>"
    (tmp_path / "outer.html").write_text(f"{frame}<pre id=found></pre>{script}", encoding="utf-8")
    shown = run(chromium, tmp_path, "--window-size=1300,1000", "--dump-dom", f"file://{tmp_path}/outer.html")
    found = json.loads(html.unescape(re.findall(r'<pre id="found">(.*?)</pre>', shown, re.DOTALL)[0]))
    assert found["wide"] == []
    assert found["page"] <= width
    assert found["drawing"] >= width / 2
    assert found["letters"] >= 12


def test_the_page_prints_on_few_sheets(chromium: str, tmp_path: Path) -> None:
    """Two series with their calendars, terms and exclusions are three sheets."""
    (tmp_path / "report.html").write_text(render_html(eventful_month(is_drawn=True)), encoding="utf-8")
    run(chromium, tmp_path, f"--print-to-pdf={tmp_path}/report.pdf", f"file://{tmp_path}/report.html")
    assert len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "report.pdf").read_bytes())) <= 3
