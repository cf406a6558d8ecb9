"""The settings of the pipeline as plain values; pydantic stops here."""

from dataclasses import dataclass

from otel_sla.exporter.settings import ExporterSettings, NotificationSettings, OtlpSettings
from otel_sla.judging.settings import ProcessorSettings
from otel_sla.logs import LogSettings
from otel_sla.page.settings import PageSettings
from otel_sla.receiver.settings import ReceiverSettings
from otel_sla.sla.agreement import Agreement


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """`telemetry.metrics`, where it names an exporter."""

    exporter: OtlpSettings
    interval_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSettings:
    """`ledger`."""

    url: str  # sqlite:///relative.db or sqlite:////absolute.db.
    retention_s: float  # At least a month and late_spans_max_s.
    may_create: bool  # A new ledger, where there is none.


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One checked configuration."""

    source: str  # The file's name, or what stood in for it.
    receiver: ReceiverSettings
    ledger: LedgerSettings
    processor: ProcessorSettings
    exporters: tuple[ExporterSettings, ...]  # At least one.
    notifications: tuple[NotificationSettings, ...]
    agreements: tuple[Agreement, ...]  # At least one; names are unique.
    logs: LogSettings
    metrics: MetricsSettings | None  # None: only at `GET /metrics`.
    page: PageSettings | None  # None: it is not served.
    effective: str  # All of it as YAML, defaults written out and secrets masked.
