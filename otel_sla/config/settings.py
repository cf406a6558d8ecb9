"""What the pipeline is told, as plain values: where pydantic stops."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from otel_sla.receiver.settings import ReceiverSettings
from otel_sla.sla.agreement import Agreement


class LogLevel(Enum):
    """What is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class LogFormat(Enum):
    """How it is logged."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """`telemetry.logs`."""

    level: LogLevel
    format: LogFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSettings:
    """`ledger`."""

    url: str  # sqlite:///relative.db or sqlite:////absolute.db.
    retention_s: float  # At least a month and late_spans_max_s.


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorSettings:
    """`processor`. Its memory limit is part of the receiver's settings."""

    grace_s: float
    late_spans_max_s: float  # At least grace_s.
    future_spans_max_s: float
    series_max: int  # Per agreement.


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTlsSettings:
    """`tls` of an exporter."""

    insecure: bool = False  # Plain text.
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DebugSettings:
    """`exporters.debug`: the log."""

    name: str  # The component id.
    interval_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpSettings:
    """An exporter that speaks OTLP. None leaves a setting to the standard environment variables."""

    name: str  # The component id.
    is_http: bool  # Else gRPC.
    endpoint: str | None = None  # gRPC: host:port or URL; HTTP: base URL.
    metrics_endpoint: str | None = None  # HTTP: full URL, instead of endpoint + /v1/metrics.
    logs_endpoint: str | None = None  # HTTP: full URL, instead of endpoint + /v1/logs.
    tls: ClientTlsSettings | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    compression: str | None = None  # none, gzip, deflate.
    timeout_s: float | None = None
    interval_s: float = 60.0


ExporterSettings = DebugSettings | OtlpSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One checked configuration."""

    source: str  # The file's name, or what stood in for it.
    receiver: ReceiverSettings
    ledger: LedgerSettings
    processor: ProcessorSettings
    exporters: tuple[ExporterSettings, ...]  # At least one.
    agreements: tuple[Agreement, ...]  # At least one; names are unique.
    logs: LogSettings
    effective: str  # All of it as YAML, defaults written out and secrets masked.
