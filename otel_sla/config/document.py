"""The whole file: one section per stage, and the rules between them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from otel_sla.config.agreements import AgreementSection
from otel_sla.config.exporters import INTERVAL_S, DebugExporter, Exporter
from otel_sla.config.notifications import NotificationSection
from otel_sla.config.page import PageSection
from otel_sla.config.parse import format_duration
from otel_sla.config.receivers import Receivers
from otel_sla.config.section import NOT_EMPTY, Duration, PositiveDuration, PositiveInt, Section, Text, rule_problems
from otel_sla.config.yaml_file import Loc, Problem
from otel_sla.exporter.settings import Signal
from otel_sla.logs import LogFormat, LogLevel
from otel_sla.receiver.settings import ReceiverSettings

_SQLITE = "sqlite:///"
_DAY_S = 86400.0
_MONTH_S = 32 * _DAY_S  # More than any month, clock changes included.


def sqlite_url_in(folder: Path, url: str) -> str:
    """Let a relative path start at a folder.

    >>> sqlite_url_in(Path("conf"), "sqlite:///otel-sla.db"), sqlite_url_in(Path("conf"), "sqlite:////var/a.db")
    ('sqlite:///conf/otel-sla.db', 'sqlite:////var/a.db')
    """
    return f"{_SQLITE}{sqlite_path_in(folder, url)}"


def sqlite_path_in(folder: Path, url: str) -> Path:
    """Give the path of the file that `sqlite_url_in` names."""
    return folder / url.removeprefix(_SQLITE)


def _ledger_url(text: str) -> str:
    if not text.startswith(_SQLITE) or not text.removeprefix(_SQLITE).strip("/"):
        raise ValueError(f"must be sqlite:///relative.db or sqlite:////absolute.db, not {text!r}")
    return text


class LedgerSection(Section):
    """Where counts are kept: the truth that every figure derives from."""

    url: Annotated[str, AfterValidator(_ledger_url), WithJsonSchema({"type": "URL"})] = Field(
        default="sqlite:///otel-sla.db", examples=["sqlite:////var/lib/otel-sla/ledger.db"]
    )
    """SQLite file; three slashes before a path that starts at this file's folder (of a pipe, at the working
    directory), four before an absolute one."""
    retention: PositiveDuration = 400 * _DAY_S
    """For how long counts are kept; what months were closed with is kept for ever. At least 32d and
    `processor.late_spans_max` together, as a month needs them to be judged."""
    create: bool = True
    """Make a new ledger where there is none. With `false` a ledger that was moved away stops the start."""


class Processor(Section):
    """When minutes are judged, and what bounds the work."""

    grace: Duration = 60.0
    """A minute is judged this long after its end, for spans that are under way (clause 17)."""
    late_spans_max: PositiveDuration = _DAY_S
    """For how long a span is accepted after its minute; then the minute is sealed (clause 16)."""
    future_spans_max: Duration = 300.0
    """How far ahead of our clock a span may end (clause 16)."""
    series_max: PositiveInt = Field(default=10_000, le=10_000_000)
    """Series per agreement; what comes after is counted in one overflow series."""
    memory_limit_mib: PositiveInt = ReceiverSettings().memory_limit_mib
    """Requests that are being read or counted, of both protocols; senders are asked to wait above it."""

    @model_validator(mode="after")
    def late_spans_max_covers_grace(self) -> Self:
        """A minute cannot be sealed before it is judged."""
        if self.late_spans_max < self.grace:
            late, grace = format_duration(self.late_spans_max), format_duration(self.grace)
            raise rule_problems([(("late_spans_max",), f"must not be shorter than grace: {late} is below {grace}")])
        return self


class Logs(Section):
    """Our own log, on standard error."""

    level: LogLevel = LogLevel.INFO
    """Least severity that is logged."""
    format: LogFormat = LogFormat.TEXT
    """Lines for people, or one JSON object per line."""


class Metrics(Section):
    """Our own metrics, which `GET /metrics` of the HTTP port shows in any case."""

    exporter: str | None = Field(default=None, examples=["otlp"])
    """One of `exporters`, by its id, whose backend gets them too, over OTLP; without it none does."""
    interval: PositiveDuration = INTERVAL_S
    """How often they are sent."""


class Telemetry(Section):
    """What otel-sla says of itself."""

    logs: Logs = Logs()
    metrics: Metrics = Metrics()


class ConfigDocument(Section):
    """The configuration; everything may be left out."""

    receivers: Receivers = Receivers()
    ledger: LedgerSection = LedgerSection()
    processor: Processor = Processor()
    exporters: dict[str, Exporter] = Field(default={})
    """Where verdicts and events go, by component id: `type` or `type/name`."""
    notifications: dict[Text, NotificationSection] = Field(default={})
    """Whom messages are sent to, by a name for each target; see below."""
    agreements: Annotated[tuple[AgreementSection, ...], NOT_EMPTY] = (AgreementSection(name="default"),)
    """What is promised; by default one agreement `default` that covers all."""
    page: Annotated[PageSection | None, BeforeValidator(lambda value: None if value is False else value)] = (
        PageSection()
    )
    """The status page; `null` leaves it out."""
    telemetry: Telemetry = Telemetry()

    @model_validator(mode="before")
    @classmethod
    def _page_may_be_left_out(cls, value: object) -> object:
        """Of other keys an empty value means the default; `page: null` means that there is none."""
        if isinstance(value, dict) and "page" in value and value["page"] is None:
            return {**value, "page": False}
        return value

    @model_validator(mode="after")
    def sections_fit_together(self) -> Self:
        """One rule for all, as pydantic leaves out what comes after a broken one."""
        if problems := [*self._short_retention(), *self._absent_metrics_exporter(), *self._absent_agreements()]:
            raise rule_problems(problems)
        return self

    def _short_retention(self) -> Iterator[Problem]:
        """What is dropped before the month is sealed would be missing from its figure."""
        needed = _MONTH_S + self.processor.late_spans_max
        if self.ledger.retention < needed:
            retention, least = format_duration(self.ledger.retention), format_duration(needed)
            message = f"must be at least {least} (32d and processor.late_spans_max), not {retention}"
            yield ("ledger", "retention"), message

    def _absent_metrics_exporter(self) -> Iterator[Problem]:
        """Our own metrics go to a backend that is named, that speaks OTLP, and that is to have metrics."""
        name = self.telemetry.metrics.exporter
        otlp = {key: each for key, each in self.exporters.items() if not isinstance(each, DebugExporter)}
        known = [key for key, exporter in otlp.items() if Signal.METRICS in exporter.signals]
        if name is not None and name not in known:
            choices = ", ".join(known) or "there is none"
            message = f"must be one of the OTLP exporters of metrics ({choices}), not {name!r}"
            yield ("telemetry", "metrics", "exporter"), message

    def _absent_agreements(self) -> Iterator[Problem]:
        """What is shown to everybody, or sent, is of an agreement that there is."""
        names = [agreement.name for agreement in self.agreements]
        asked: dict[Loc, Sequence[str]] = {("page", "public"): self.page.public if self.page else ()}
        asked |= {("notifications", name, "agreements"): each.agreements for name, each in self.notifications.items()}
        for place, asked_names in asked.items():
            for index, name in enumerate(asked_names):
                if name not in names:
                    yield (*place, index), f"must be the name of an agreement ({', '.join(names)}), not {name!r}"
