"""Who sees what on the page, and what bounds a request."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import httpx

from otel_sla.ledger.writer import Ledger
from otel_sla.logs import LogFormat, LogLevel, LogSettings
from otel_sla.page.app import Content, Page, PageRoute, View
from otel_sla.page.live import LiveState
from otel_sla.page.routes import ROUTES
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


def make_page(settings: PageSettings, *routes: PageRoute, ledger_url: str = "") -> Page:
    """A page without a pipeline."""

    async def no_live() -> LiveState | None:
        return None

    logs = LogSettings(level=LogLevel.WARN, format=LogFormat.TEXT)
    task = PageTask(
        settings=settings, listening=(), ledger_url=ledger_url, agreements=(), grace_s=0, logs=logs, receivers=()
    )
    return Page(task, no_live, routes)


def ask(page: Page, paths: Sequence[str], headers: Mapping[str, str] | None = None) -> list[httpx.Response]:
    """Ask for all at once."""

    async def scenario() -> list[httpx.Response]:
        transport = httpx.ASGITransport(page.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://page.test", headers=headers) as client:
            answers = await asyncio.gather(*(client.get(path) for path in paths))
        await page.close()
        return answers

    return asyncio.run(scenario())


async def name_all(view: View) -> Content:
    """Name the series that the view shows."""
    return Content("\n".join(map(view.name_of, SERIES)).encode(), "text/plain")


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
        "Chat for ACME",
        "Series 2",
        "all series beyond the limit",
        "all requests",
    ]
    assert known.text.splitlines()[:2] == ["Chat for ACME", "service.name=chat-2, tenant=acme"]


async def read_ledger(view: View) -> Content:
    """Read what is not among the figures."""
    await view.read(lambda reader: reader.n_series())
    return Content(b"read", "text/plain")


def test_readings_of_the_ledger_queue_within_a_bound(tmp_path: Path) -> None:
    """Forty different questions at once that read the ledger: sixteen are answered, the others are to come again."""
    with closing(Ledger.open(url := f"sqlite:///{tmp_path}/ledger.db")):
        pass
    page = make_page(PageSettings(), PageRoute("/", read_ledger), ledger_url=url)
    answers = ask(page, [f"/?q={number}" for number in range(40)])
    assert Counter(answer.status_code for answer in answers) == {200: 16, 503: 24}
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 503)


def test_what_a_request_may_be() -> None:
    """A long query, an unknown path, one with a slash behind it: refused."""
    page = make_page(PageSettings(), PageRoute("/", name_all), PageRoute("/more", name_all))
    paths = ["/?" + "a" * 1025, "/?" + "a" * 1024, "/absent", "/more/", "/static/" + "a" * 300]
    assert [answer.status_code for answer in ask(page, paths)] == [414, 200, 404, 404, 404]


def test_answers_are_cached_within_a_bound() -> None:
    """A hundred different answers of a megabyte: no more than 32 of them are kept."""

    async def large(_view: View) -> Content:
        return Content(bytes(1 << 20), "text/plain")

    page = make_page(PageSettings(), PageRoute("/", large))
    ask(page, [f"/?q={number}" for number in range(100)])
    assert page.cached_size() == 32 << 20


def test_the_public_can_sign_in() -> None:
    """The public view leads to an address that asks for the token, and from there back."""
    page = make_page(PageSettings(auth=BearerSettings(tokens=(TOKEN,)), public=("chat",)), *ROUTES)
    shown, asked = ask(page, ["/", "/sign-in"])
    assert '<a href="/sign-in">Sign in</a>' in shown.text
    assert (asked.status_code, asked.headers["www-authenticate"]) == (401, 'Basic realm="otel-sla"')
    shown, answered = ask(page, ["/", "/sign-in"], KNOWN)
    assert "Sign in" not in shown.text
    assert (answered.status_code, answered.headers["location"]) == (303, "/")


def test_the_public_does_not_see_where_the_ledger_is(tmp_path: Path) -> None:
    """It cannot be read: those with a token see why."""
    settings = PageSettings(auth=BearerSettings(tokens=(TOKEN,)), public=("chat",))
    page = make_page(settings, PageRoute("/", read_ledger), ledger_url=f"sqlite:///{tmp_path}/absent.db")
    (public,), (known,) = ask(page, ["/"]), ask(page, ["/"], KNOWN)
    assert (public.status_code, public.text) == (503, "503: the ledger cannot be read\n")
    assert known.status_code == 503
    assert "absent.db" in known.text
