"""The settings of the page: plain values, built and checked by `config`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from otel_sla.logs import LogSettings
from otel_sla.receiver.settings import BearerSettings, TlsSettings
from otel_sla.sla.agreement import Agreement


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSettings:
    """`page`."""

    source: ClassVar = "page"  # Its part of the configuration, for errors.
    endpoint: str = "localhost:4319"  # `host:port`, `[ipv6]:port`; port 0 takes a free one.
    title: str = "Uptime"  # Of every page.
    logo: Path | None = None  # SVG or PNG, shown beside the title.
    public_url: str | None = None  # Where people reach the page, for links in feeds; None: as the request says.
    public: tuple[str, ...] = ()  # Agreements that are shown without a token.
    # By a series' name as reports have it (`key=value, key=value`).
    display_names: Mapping[str, str] = field(default_factory=dict)
    connections_max: int = 256  # More are answered 503.
    tls: TlsSettings | None = None
    auth: BearerSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTask:
    """What the page's process gets first."""

    settings: PageSettings
    listening: tuple[int, ...]  # Descriptors of the sockets.
    ledger_url: str
    agreements: tuple[Agreement, ...]  # As configured.
    grace_s: float
    receivers: tuple[str, ...]  # Where spans are taken, in words: what somebody does who sees an empty page.
    logs: LogSettings
