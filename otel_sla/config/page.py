"""`page`: the status page for people, and its API."""

from typing import Self

from pydantic import Field, model_validator

from otel_sla.config.exporters import Url
from otel_sla.config.receivers import Auth, Guarded, TlsSection
from otel_sla.config.section import Endpoint, FilePath, OneOrMore, PositiveInt, Text
from otel_sla.page.settings import PageSettings

_PAGE = PageSettings()


class PageSection(Guarded):
    """The status page, its API, badges and feed, on a port of its own. `page: null` leaves it out."""

    endpoint: Endpoint = _PAGE.endpoint
    """Address to listen on; port 0 takes a free one. Use `0.0.0.0:4319` for all interfaces."""
    title: Text = _PAGE.title
    """Title of every page."""
    logo: FilePath | None = Field(default=None, examples=["/etc/otel-sla/logo.svg"])
    """SVG or PNG file, shown beside the title."""
    public_url: Url | None = Field(default=None, examples=["https://status.example.com"])
    """Where people reach the page; links in feeds and notifications begin with it."""
    public: OneOrMore[Text] = Field(default=(), examples=["[checkout]"])
    """Agreements that are shown to those without a token, by display names only; needs `auth`."""
    display_names: dict[Text, Text] = Field(default={}, examples=["{service.name=chat-1: Chat}"])
    """Names to show instead of a series' name as reports have it. Those without a token see `Series 1`, `Series 2`, …
    where there is none.
    """
    connections_max: PositiveInt = _PAGE.connections_max
    """Connections; more are answered 503."""
    tls: TlsSection | None = None
    """TLS and mTLS; without it the port is plain text."""
    auth: Auth | None = None
    """Tokens; a browser asks for one as a password. Without it everybody who reaches the port sees everything."""

    @model_validator(mode="after")
    def public_needs_auth(self) -> Self:
        """Without tokens all agreements are shown to everybody, which a list of some would hide."""
        if self.public and self.auth is None:
            raise ValueError("public needs auth: without it everybody sees every agreement")
        return self
