"""Routes of the page, who may see what, caching, and the headers that every answer bears."""

import asyncio
import base64
import binascii
import hashlib
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import NamedTuple, TypeVar
from weakref import WeakValueDictionary

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from otel_sla.errors import LedgerError
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.threads import LedgerThread
from otel_sla.page.figures import AgreementMonths, Figures
from otel_sla.page.live import LiveState
from otel_sla.page.parameters import Api, refuse_unknown
from otel_sla.page.pipeline_state import AcceptedSpans
from otel_sla.page.settings import PageSettings, PageTask
from otel_sla.receiver.responses import Unauthenticated
from otel_sla.receiver.security.bearer import BearerAuth
from otel_sla.report.html.page import TEMPLATES
from otel_sla.report.wording import pairs_text, printable, series_name
from otel_sla.sla.months import EPOCH
from otel_sla.sla.series import Series

# No foreign resource, no inline script or style: what senders put into names can at most be text.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_CACHED_MAX = 128
_CACHED_SIZE_BYTES_MAX = 32 << 20  # The report of a thousand series may have 10 MB.
_QUERY_SIZE_MAX = 1024  # Bytes.
_PIECE_SIZE = 64 * 1024  # Bytes, of what is written at once: a connection whose client reads slowly holds no more.
_READING_MAX = 16  # Requests that wait for the ledger; more are answered 503.
_STATIC = {each.name: each for each in (resources.files("otel_sla.page") / "static").iterdir()}

_Result = TypeVar("_Result")
_Key = tuple[str, str, str, bool]  # Host, which links may begin with; path, query, whether the view is public.


@dataclass(frozen=True, slots=True)
class Content:
    """What a handler gives."""

    body: bytes
    media_type: str
    max_age_s: int = 0  # For which it may be used without asking again.
    headers: dict[str, str] = field(default_factory=dict)


class _Cached(NamedTuple):
    """What was rendered last for one key, and of what."""

    generation: int  # Of the figures.
    live: LiveState | None
    content: Content
    tag: str


@dataclass(frozen=True, slots=True)
class View:
    """What one request may see, as of one moment."""

    page: "Page"
    request: Request
    figures: Figures
    live: LiveState | None  # None: the pipeline does not answer.
    is_public: bool  # Without a token: display names only, and of the public agreements only.

    @property
    def settings(self) -> PageSettings:
        """What the configuration says."""
        return self.page.task.settings

    @property
    def url(self) -> str:
        """Where the page is reached; ends without a slash."""
        return (self.settings.public_url or str(self.request.base_url)).rstrip("/")

    @property
    def moment(self) -> datetime:
        """When the newest judged minute had elapsed: a report of this moment has the same figures.

        Now, as long as no minute is judged.
        """
        if not self.figures.judged_before:
            return datetime.now(UTC)
        return EPOCH + timedelta(minutes=self.figures.judged_before, seconds=math.ceil(self.page.task.grace_s))

    @property
    def agreements(self) -> tuple[AgreementMonths, ...]:
        """The agreements that may be seen."""
        public = self.settings.public
        return tuple(each for each in self.figures.agreements if not self.is_public or each.agreement.name in public)

    def name_of(self, series: Series) -> str:
        """Name a series as this view may; what senders wrote is for those with a token."""
        name = series_name(series)
        is_named_by_us = series.is_overflow or not series.group
        others = name if is_named_by_us or not self.is_public else f"Series {series.series_id + 1}"
        return self.settings.display_names.get(name, others)

    def name_of_group(self, group: tuple[tuple[str, str], ...]) -> str:
        """Name the series of a window that is meant for one."""
        return printable(pairs_text(dict(group)))

    async def read(self, function: Callable[[LedgerReader], _Result]) -> _Result:
        """Read the ledger on the page's own thread.

        Raises:
            HTTPException: It cannot be read, or too many requests wait for it.
        """
        try:
            return await self.page.read(function)
        except LedgerError as error:
            # The error names the ledger's file.
            reason = "the ledger cannot be read" if self.is_public else f"{error}; {error.hint}"
            raise HTTPException(503, reason) from error

    def agreement(self, name: str) -> AgreementMonths:
        """Find an agreement that may be seen.

        Raises:
            HTTPException: There is none of this name.
        """
        found = next((each for each in self.agreements if each.agreement.name == name), None)
        if found is None:
            raise HTTPException(404, "there is no such agreement")
        return found


Handler = Callable[[View], Awaitable[Content]]


@dataclass(frozen=True, slots=True)
class PageRoute:
    """One address.

    Attributes:
        is_live: Its content changes with the live state, not only with what is judged.
        is_for_all: It has a public view; others need a token where tokens are configured.
        api: What the OpenAPI document says of it; None: it is for people.
    """

    path: str
    handler: Handler
    is_live: bool = False
    is_for_all: bool = True
    api: Api | None = None


class PiecewiseResponse(Response):
    """An answer that is written as fast as the client reads it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - Starlette's.
        """Write it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for start in range(0, max(1, len(self.body)), _PIECE_SIZE):
            stop = start + _PIECE_SIZE
            piece = self.body[start:stop]
            await send({"type": "http.response.body", "body": piece, "more_body": stop < len(self.body)})


class Page:
    """The application.

    Args:
        task: What it serves.
        ask_live: Asks the pipeline; None: it does not answer.
        routes: All addresses.

    Attributes:
        figures: What is judged; whoever reads the ledger sets it.
    """

    def __init__(
        self, task: PageTask, ask_live: Callable[[], Awaitable[LiveState | None]], routes: Sequence[PageRoute]
    ) -> None:
        self.task, self.routes = task, routes
        self.figures = Figures()
        self.auth = None if task.settings.auth is None else BearerAuth(task.settings.auth, "page")
        self.accepted = AcceptedSpans()
        self._ask_live = ask_live
        self._ledger: LedgerThread[LedgerReader] | None = None  # Opened by whoever first needs it.
        self._opening = asyncio.Lock()
        self._n_reading = 0
        # Whoever asks for the same gets the same, rendered once.
        self._rendering: WeakValueDictionary[_Key, asyncio.Lock] = WeakValueDictionary()
        self._cached: OrderedDict[_Key, _Cached] = OrderedDict()
        self.app = Starlette(
            routes=[
                *(Route(each.path, self._endpoint(each), methods=["GET"]) for each in routes),
                Route("/static/{name}", _static, methods=["GET"]),
                Route("/logo", self._logo, methods=["GET"]),
                Route("/sign-in", self._sign_in, methods=["GET"]),
            ],
            exception_handlers={HTTPException: _refused},
        )
        self.app.router.redirect_slashes = False

    async def close(self) -> None:
        """Close the ledger."""
        if self._ledger is not None:
            await self._ledger.close()

    async def read(self, function: Callable[[LedgerReader], _Result]) -> _Result:
        """Read the ledger on a thread of its own, one request after the other; for what is not among the figures.

        Raises:
            LedgerError: It cannot be read.
            HTTPException: Too many requests wait for it.
        """
        if self._n_reading >= _READING_MAX:
            raise HTTPException(503, "too many ask for what has to be read", {"Retry-After": "2"})
        self._n_reading += 1
        try:
            async with self._opening:
                if self._ledger is None:
                    ledger = LedgerThread("page-details", lambda: LedgerReader.open(self.task.ledger_url))
                    await ledger.open()
                    self._ledger = ledger
            return await self._ledger.call(function)
        finally:
            self._n_reading -= 1

    def _endpoint(self, route: PageRoute) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            if len(request.scope["query_string"]) > _QUERY_SIZE_MAX:
                raise HTTPException(414, "the query is too long")
            is_public = not self._is_known(request)
            if is_public and not (route.is_for_all and self.task.settings.public):
                raise _token_needed()
            if route.api is not None:
                refuse_unknown(request, route.api.parameters)
                if not self.figures.agreements:
                    raise HTTPException(503, "the ledger is being read", {"Retry-After": "1"})
            live = await self._ask_live() if route.is_live else None
            view = View(self, request, self.figures, live, is_public)
            content, tag = await self._render(route, view)
            headers = {**_HEADERS, **content.headers, "ETag": tag, "Vary": "Authorization"}
            scope = "public" if self.auth is None or is_public else "private"
            headers["Cache-Control"] = f"{scope}, max-age={content.max_age_s}" if content.max_age_s else "no-cache"
            if tag in request.headers.get("if-none-match", ""):
                return Response(status_code=304, headers=headers)
            return PiecewiseResponse(content.body, media_type=content.media_type, headers=headers)

        return answer

    async def _render(self, route: PageRoute, view: View) -> tuple[Content, str]:
        url = view.request.url
        key = (url.netloc, url.path, url.query, view.is_public)
        generation, live = view.figures.generation, view.live
        lock = self._rendering.setdefault(key, asyncio.Lock())
        async with lock:
            cached = self._cached.get(key)
            if cached is None or cached.generation != generation or cached.live is not live:
                content = await route.handler(view)
                tag = f'"{hashlib.sha256(content.body).hexdigest()[:20]}"'
                cached = self._cached[key] = _Cached(generation, live, content, tag)
            self._cached.move_to_end(key)
            while len(self._cached) > _CACHED_MAX or self.cached_size() > _CACHED_SIZE_BYTES_MAX:
                self._cached.popitem(last=False)
            return cached.content, cached.tag

    async def _sign_in(self, request: Request) -> Response:
        """Have a browser ask for the token; from then on it sends it to all addresses beside this one, `/` too."""
        if not self._is_known(request):
            raise _token_needed()
        return RedirectResponse("/", 303, {**_HEADERS, "Cache-Control": "no-store"})

    async def _logo(self, _request: Request) -> Response:
        logo = self.task.settings.logo
        media_type = {".svg": "image/svg+xml", ".png": "image/png"}.get(logo.suffix.lower()) if logo else None
        try:
            content = logo.read_bytes() if logo and media_type else None
        except OSError:
            content = None
        if content is None:
            raise HTTPException(404, "there is no logo")
        return Response(content, media_type=media_type, headers={**_HEADERS, "Cache-Control": "max-age=300"})

    def cached_size(self) -> int:
        """Bytes of all that is cached."""
        return sum(len(each.content.body) for each in self._cached.values())

    def _is_known(self, request: Request) -> bool:
        """Whether the request may see everything. A browser sends the token as the password of Basic credentials."""
        if self.auth is None:
            return True
        scheme, _, said = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                said = base64.b64decode(said, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return False
        try:
            self.auth.check(f"Bearer {said}")
        except Unauthenticated:
            return False
        return True


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    media_type = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}.get(name.rpartition(".")[2])
    file = _STATIC.get(name)
    if name == "report.css":  # What pages share with `report --format html`.
        content = TEMPLATES.get_template("style.css").render().encode()
    elif media_type is None or file is None:
        raise HTTPException(404)
    else:
        content = file.read_bytes()
    return Response(content, media_type=media_type, headers={**_HEADERS, "Cache-Control": "no-cache"})


def _token_needed() -> HTTPException:
    return HTTPException(401, "a token is needed", {"WWW-Authenticate": 'Basic realm="otel-sla"'})


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for it"
    headers = {**_HEADERS, **(error.headers or {})}
    if request.url.path.startswith("/api/"):
        return Response(orjson.dumps({"error": error.detail}), error.status_code, headers, "application/json")
    return Response(f"{error.status_code}: {error.detail}\n", error.status_code, headers, "text/plain")
