"""The page's application over a ledger, asked inside of a test without a port."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import timedelta

import httpx

from otel_sla.ledger.reader import LedgerReader
from otel_sla.logs import LogFormat, LogLevel, LogSettings
from otel_sla.page.app import Page
from otel_sla.page.figures import Figures, FiguresReader
from otel_sla.page.live import LiveState
from otel_sla.page.routes import ROUTES
from otel_sla.page.settings import PageSettings, PageTask
from otel_sla.receiver.settings import BearerSettings
from otel_sla.sla.agreement import Agreement

TOKEN = "s3cret-of-the-page"  # noqa: S105 - of tests.
KNOWN = {"Authorization": f"Bearer {TOKEN}"}


def read_figures(url: str, agreements: Sequence[Agreement]) -> Figures:
    """What the page knows of a ledger after its first look."""
    with closing(LedgerReader.open(url)) as reader:
        return read_all(reader, agreements)


def read_all(reader: LedgerReader, agreements: Sequence[Agreement]) -> Figures:
    """What the page knows of a ledger after its first look."""
    figures = FiguresReader(reader, agreements)
    while figures.step():
        pass
    return figures.figures


def make_page(
    url: str,
    agreements: Sequence[Agreement],
    settings: PageSettings | None = None,
    *,
    grace: timedelta = timedelta(),
    live: LiveState | None = None,
) -> Page:
    """The page of a ledger as its judge left it, and of one live state."""

    async def give_live() -> LiveState | None:
        return live

    task = PageTask(
        settings=settings or PageSettings(),
        listening=(),
        ledger_url=url,
        agreements=tuple(agreements),
        grace_s=grace.total_seconds(),
        receivers=(),
        logs=LogSettings(level=LogLevel.WARN, format=LogFormat.TEXT),
    )
    page = Page(task, give_live, ROUTES)
    page.figures = read_figures(url, agreements)
    return page


def guarded(*public: str) -> PageSettings:
    """Settings with a token, and agreements that are shown without."""
    return PageSettings(auth=BearerSettings(tokens=(TOKEN,)), public=public, public_url="https://status.example.com")


def ask(page: Page, *paths: str, headers: Mapping[str, str] | None = None) -> list[httpx.Response]:
    """Ask for several addresses, one after the other."""

    async def scenario() -> list[httpx.Response]:
        transport = httpx.ASGITransport(page.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://page.test", headers=headers) as client:
            answers = [await client.get(path) for path in paths]
        await page.close()
        return answers

    return asyncio.run(scenario())
