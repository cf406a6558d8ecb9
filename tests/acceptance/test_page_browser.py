"""The status page in Chromium: seen live and afterwards, by keyboard, without script, on a telephone, in the dark."""

import base64
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import builders
import parts
import pytest
from demo_hour import MINUTES, ShownHour
from page_parts import EPOCH, window
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from otel_sla.ledger.exclusion_writer import ExclusionWriter

WAIT_S = 60.0  # For what is waited for; never reached unless a test fails.
DESK, TELEPHONE = 1280, 390
PAGES = (
    "",
    "?q=service-1",
    "agreements/shop/2026-11",
    "agreements/shop/series/0?day=2026-11-01",
    "agreements/shop/history",
    "exclusions",
    "pipeline",
)
_QUIET = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
_QUIET += " --disable-component-update --disable-sync --hide-scrollbars"
# What axe-core finds (in the dark, only colours are others): rule, how many places, and the first of them.
_AXE = """
const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const runOnly = matchMedia("(prefers-color-scheme: dark)").matches ? ["color-contrast"] : tags;
axe.run(document, { runOnly, resultTypes: ["violations"] }).then(
  (result) => arguments[0](result.violations.map(
    ({ id, nodes }) => `${id}, ${nodes.length} times: ${nodes[0].html} ${nodes[0].failureSummary}`)));
"""


class Browser:
    """A headless Chromium, one window."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, address: str, *, width: int = DESK, scheme: str = "light") -> None:
        """Load a page."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get(address)

    @contextmanager
    def without_script(self) -> Iterator[None]:
        """Pages run no script meanwhile; what the test evaluates does."""
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        try:
            yield
        finally:
            self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})

    def evaluate(self, expression: str) -> Any:  # noqa: ANN401  JavaScript's values
        """Evaluate JavaScript in the page."""
        return self.driver.execute_script(f"return {expression}")

    def text(self, selector: str = "main") -> str:
        """What of an element can be read, however wide the spaces are."""
        text = self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")
        return re.sub(r"\s+", " ", text)

    def until(self, is_so: Callable[[], object]) -> None:
        """Return once it is so."""
        WebDriverWait(self.driver, WAIT_S, 0.05).until(lambda _: is_so(), f"{self.driver.current_url}: {self.text()}")

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def press_tab_until(self, selector: str) -> None:
        """Go on to the first thing that can be reached by Tab and is such an element."""
        for _ in range(100):
            self.press(Keys.TAB)
            if self.evaluate(f"document.activeElement.matches({json.dumps(selector)})"):
                return
        raise AssertionError(f"Tab does not reach {selector}")

    def logged(self) -> list[str]:
        """What the console has been given since it was asked last: errors, and what the policy of content refused."""
        return [each["message"] for each in self.driver.get_log("browser")]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Debian's Chromium and its driver."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        problem = "Chromium or its driver is not installed: on Debian, apt-get install chromium chromium-driver"
        if os.environ.get(parts.REQUIRED_VARIABLE):
            pytest.fail(problem)
        pytest.skip(problem)
    options = ChromeOptions()
    options.binary_location = chromium
    for argument in (*_QUIET.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options, ChromeService(chromedriver))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


@pytest.fixture
def browser(opened: Browser) -> Browser:
    """The browser, without what an earlier test left."""
    opened.open("about:blank")
    opened.logged()
    return opened


@pytest.fixture(scope="module")
def url(opened: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page after the demo's hour, in which 60 more services answered once and minutes were excluded."""
    with ShownHour.shown(tmp_path_factory.mktemp("hour")) as hour:
        for index in range(len(MINUTES)):
            hour.send_minute(index)
            if index == 30:
                for number in range(60):
                    span = builders.make_span(end_time_unix_nano=hour.clock.now + 1, trace_id=(number + 1).to_bytes(16))
                    hour.send(builders.make_request_of(span, resource={"service.name": f"service-{number}"}))
            hour.end_minute()
        with closing(ExclusionWriter.open(hour.config.ledger.url)) as writer:
            writer.record_exclusion("shop", window(MINUTES[22], 3, "The provider's network failed."), {})
            number = writer.record_exclusion("shop", window(MINUTES[40], 5, "The provider's storage failed."), {})
            writer.withdraw_exclusion(number, withdrawn_by="anna@example.com", withdrawn_at=EPOCH, why="It did not.")
        hour.end_minute()
        opened.open(hour.url)
        opened.until(lambda: opened.evaluate("document.querySelector('.strip[aria-label*=\"3 excluded\"]')"))
        opened.until(lambda: "are being read" not in opened.text())
        yield hour.url


def test_an_outage_is_seen_live_judged_and_revised(browser: Browser, tmp_path: Path) -> None:
    """Without a reload: failures of the running minute, their bar in red once judged, revised, kept over a restart."""
    with ShownHour.shown(tmp_path) as hour:
        browser.open(hour.url)
        browser.until(lambda: "Send spans of kind SERVER to" in browser.text())
        browser.evaluate("window.isFirst = true")
        for index in range(6):
            hour.send_minute(index)
            hour.end_minute()
        hour.send_minute(6)
        browser.until(lambda: "60.00 % ▲ of 50" in browser.text("table.series"))
        assert "not judged yet" in browser.text(".card")
        assert not browser.evaluate("document.querySelector('.strip path:is(.down, .long), .breached')")
        browser.press_tab_until(".strip[aria-label*=checkout]")
        browser.until(lambda: browser.text(".tip") == "2026-11-01: no downtime")

        hour.end_minute()
        hour.end_minute()
        browser.until(lambda: browser.text(".tip") == "2026-11-01: 1 min down")
        assert "checkout, 90 days: 1 minute down" in browser.evaluate("document.activeElement.ariaLabel")
        bar = browser.evaluate(
            "getComputedStyle(document.querySelector('.days.days path.down, .days path.long')).stroke"
        )
        red, green, blue = map(int, re.findall(r"\d+", bar)[:3])
        assert red > 2 * max(green, blue)
        assert "1 of 21 min used" in browser.text()

        late = [
            builders.make_span(end_time_unix_nano=MINUTES[6] * builders.MINUTE_NANOS + 1, trace_id=(n + 1).to_bytes(16))
            for n in range(1000)
        ]
        hour.send(builders.make_request_of(*late, resource={"service.name": "checkout"}))
        hour.judge()
        browser.until(lambda: browser.text(".tip") == "2026-11-01: no downtime")
        assert "0 of 21 min used" in browser.text()

        before = browser.text()
        assert browser.logged() == []
        hour.stop()
        browser.until(lambda: "No answer since" in browser.text("#lost:not([hidden])"))
        hour.start()
        browser.until(lambda: browser.evaluate("document.querySelector('#lost').hidden"))
        browser.until(lambda: browser.text() == before)
        assert browser.evaluate("window.isFirst")
        assert all("net::ERR_" in line for line in browser.logged())


def test_the_hour_can_be_read_by_keyboard_alone(browser: Browser, url: str) -> None:
    """Tab reaches the content and a strip; arrows give a day's figures, Escape hides them, Enter opens the series."""
    browser.open(url)
    browser.press(Keys.TAB)
    assert browser.text(":focus") == "Skip to content"
    browser.press(Keys.ENTER)
    assert browser.evaluate("document.activeElement.id") == "main"
    browser.press_tab_until(".strip")
    assert browser.text(".tip") == "2026-11-01: 24 min down, 3 min excluded, 5 min without data"
    outline = browser.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert float(outline.removesuffix("px")) >= 2
    browser.press(Keys.ARROW_LEFT)
    assert browser.text(".tip") == "2026-10-31: no figures"
    browser.press(Keys.HOME)
    assert browser.text(".tip") == "2026-08-04: no figures"
    browser.press(Keys.END)
    assert browser.text(".tip").startswith("2026-11-01: 24 min down")
    browser.press(Keys.ESCAPE)
    assert browser.text(".tip") == ""
    browser.press(Keys.ENTER)
    browser.until(lambda: "minute by minute" in browser.text())
    assert browser.text("h1") == "service.name=checkout"
    browser.press_tab_until("summary")
    browser.press(Keys.ENTER)
    assert "06:00" not in browser.text("details tr:nth-child(2)")
    assert browser.text("details").count(" down") == 2
    browser.press_tab_until(".days-table a")
    assert browser.logged() == []


def test_the_page_is_whole_without_script(browser: Browser, url: str) -> None:
    """Figures and links are those of the page with script; what is live loads itself anew."""
    shown = {}
    for page in PAGES:
        browser.open(url + page)
        shown[page] = browser.text()
    with browser.without_script():
        for page in PAGES:
            browser.open(url + page)
            assert browser.evaluate("document.querySelector('.tip')") is None
            if page != "pipeline":  # Its figures are of now.
                assert browser.text() == shown[page]
        browser.open(url)
        assert browser.evaluate("document.querySelector('meta[http-equiv=refresh]').content") == "10"
        assert "BREACHED" in browser.text(".verdict").upper()
        browser.driver.find_element(By.LINK_TEXT, "service.name=checkout").click()
        browser.until(lambda: "minute by minute" in browser.text())
        browser.driver.find_element(By.LINK_TEXT, "History").click()
        browser.until(lambda: "99.944 %" in browser.text("table.history"))
    assert browser.logged() == []


def test_each_page_fits_a_telephone_and_a_desk(browser: Browser, url: str) -> None:
    """From 390 to 1,920 pixels nothing has to be scrolled sideways."""
    too_wide = []
    for width in (TELEPHONE, 768, DESK, 1920):
        for page in PAGES:
            browser.open(url + page, width=width)
            if browser.evaluate("document.documentElement.scrollWidth") > width:
                too_wide.append((page, width))
    assert too_wide == []


@pytest.mark.parametrize(("width", "scheme"), [(DESK, "light"), (DESK, "dark"), (TELEPHONE, "light")])
def test_axe_finds_no_violation(axe_script: str, browser: Browser, url: str, width: int, scheme: str) -> None:
    """axe-core, which others wrote, finds nothing that breaks WCAG 2.2 AA or good practice, in light and dark."""
    found = {}
    for page in PAGES:
        browser.open(url + page, width=width, scheme=scheme)
        browser.driver.execute_script(axe_script)
        found[page] = browser.driver.execute_async_script(_AXE)
    assert found == {page: [] for page in PAGES}


def test_the_dark_page_is_dark(browser: Browser, url: str) -> None:
    """Who prefers dark gets light letters on dark ground."""
    for scheme, is_dark in (("light", False), ("dark", True)):
        browser.open(url, scheme=scheme)
        ground, letters = (
            sum(map(int, re.findall(r"\d+", browser.evaluate(f"getComputedStyle(document.body).{name}"))[:3])) / 3
            for name in ("backgroundColor", "color")
        )
        assert (ground < 80, letters < 80) == (is_dark, not is_dark)


def test_each_page_prints(browser: Browser, url: str) -> None:
    """On paper there are letters, and no more sheets than the figures need."""
    for page in PAGES:
        browser.open(url + page)
        printed = base64.b64decode(browser.driver.print_page())
        assert b"/Font" in printed
        assert 1 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 12, page
