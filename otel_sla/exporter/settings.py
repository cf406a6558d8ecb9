"""The settings of the exporters: plain values, built and checked by `config`.

None leaves a setting to the standard environment variables (`OTEL_EXPORTER_OTLP_*`), which the library reads.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path


class Signal(Enum):
    """What an exporter may send."""

    METRICS = "metrics"  # Figures.
    LOGS = "logs"  # Events.


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTlsSettings:
    """`tls` of an exporter: PEM files; without a CA file, the authorities of the system are trusted."""

    insecure: bool = False  # Plain text.
    ca_file: Path | None = None
    cert_file: Path | None = None  # Our own, for mTLS; together with key_file.
    key_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DebugSettings:
    """`exporters.debug`."""

    name: str  # The component id.
    interval_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpSettings:
    """An exporter that speaks OTLP."""

    name: str  # The component id.
    is_http: bool  # Else gRPC.
    endpoint: str | None = None  # gRPC: host:port or URL; HTTP: base URL.
    metrics_endpoint: str | None = None  # HTTP: full URL, instead of endpoint + /v1/metrics.
    logs_endpoint: str | None = None  # HTTP: full URL, instead of endpoint + /v1/logs.
    tls: ClientTlsSettings | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # Empty: those of the environment.
    compression: str | None = None  # none, gzip; over HTTP also deflate.
    timeout_s: float | None = None  # Of one attempt.
    interval_s: float = 60.0  # Between two deliveries of figures, at least.
    signals: frozenset[Signal] = frozenset(Signal)  # At least one.


class Topic(Enum):
    """What people may be notified of."""

    DOWNTIME = "downtime"  # Started, ended, withdrawn, and minutes that were revised.
    BUDGET = "budget"  # 50, 80 and 100 % of the downtime that the month bears.
    BREACH = "breach"
    MONTH_CLOSED = "month_closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationSettings:
    """One of `notifications`."""

    target: str  # Its key.
    urls: tuple[str, ...] = field(repr=False)  # Apprise's; secrets are part of them.
    agreements: tuple[str, ...] = ()  # Empty: all.
    on: frozenset[Topic] = frozenset(Topic)
    interval_s: float = 60.0  # Between two messages, at least.

    @property
    def name(self) -> str:
        """The component id, the name of its cursor."""
        return f"notifications/{self.target}"


ExporterSettings = DebugSettings | OtlpSettings
