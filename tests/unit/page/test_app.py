"""Who sees what on the page, and what bounds a request."""

import asyncio
from collections.abc import Mapping, Sequence

import httpx

from otel_sla.logs import LogFormat, LogLevel, LogSettings
from otel_sla.page.app import Content, Page, PageRoute, View
from otel_sla.page.live import LiveState
from otel_sla.page.settings import PageSettings, PageTask
from otel_sla.receiver.settings import BearerSettings
from otel_sla.sla.series import OVERFLOW_GROUP, Series

TOKEN = "s3cret-of-the-page"  # noqa: S105 - of tests.
KNOWN = {"authorization": f"Bearer {TOKEN}"}
SERIES = (
    Series(0, "chat", (("service.name", b"chat-1"), ("tenant", b"acme")), is_overflow=False),
    Series(1, "chat", (("service.name", b"chat-2"), ("tenant", b"acme")), is_overflow=False),
    Series(2, "chat", OVERFLOW_GROUP, is_overflow=True),
    Series(3, "chat", (), is_overflow=False),
)


def make_page(settings: PageSettings, *routes: PageRoute) -> Page:
    """A page without a pipeline."""

    async def no_live() -> LiveState | None:
        return None

    logs = LogSettings(level=LogLevel.WARN, format=LogFormat.TEXT)
    task = PageTask(settings=settings, listening=(), ledger_url="", agreements=(), grace_s=0, logs=logs)
    return Page(task, no_live, routes)


def ask(page: Page, paths: Sequence[str], headers: Mapping[str, str] | None = None) -> list[httpx.Response]:
    """Ask for all at once."""

    async def scenario() -> list[httpx.Response]:
        transport = httpx.ASGITransport(page.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://page.test", headers=headers) as client:
            return await asyncio.gather(*(client.get(path) for path in paths))

    return asyncio.run(scenario())


async def name_all(view: View) -> Content:
    """Name the series that the view shows."""
    lines = [f"{view.name_of(each)}|{view.may_see(each)}" for each in SERIES]
    return Content("\n".join(lines).encode(), "text/plain")


def test_without_a_token_senders_values_are_not_shown() -> None:
    """Two series, one with a display name: the other's values are for those with a token."""
    settings = PageSettings(
        auth=BearerSettings(tokens=(TOKEN,)),
        public=("chat",),
        display_names={"service.name=chat-1, tenant=acme": "Chat for ACME"},
    )
    page = make_page(settings, PageRoute("/", name_all))
    (public,), (known,) = ask(page, ["/"]), ask(page, ["/"], KNOWN)
    assert public.text.splitlines() == [
        "Chat for ACME|True",
        "unnamed series|False",
        "all series beyond the limit|True",
        "all requests|True",
    ]
    assert known.text.splitlines()[:2] == ["Chat for ACME|True", "service.name=chat-2, tenant=acme|True"]
