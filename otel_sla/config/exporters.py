"""`exporters`: where verdicts and events go. Names and meanings are the Collector's."""

import re
from dataclasses import replace
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, PlainSerializer, SecretStr, WithJsonSchema, field_validator, model_validator

from otel_sla.config.parse import NANOS_PER_S, seconds
from otel_sla.config.section import NOT_EMPTY, PositiveDuration, Secret, Section, Text, host_port, rule_problems
from otel_sla.exporter.settings import ClientTlsSettings, DebugSettings, OtlpSettings, Signal

FilePath = Annotated[Path, PlainSerializer(str, return_type=str)]
INTERVAL_NANOS = 60 * NANOS_PER_S
_FROM_ENVIRONMENT = "Without it, what the environment's `OTEL_EXPORTER_OTLP_{}` says"


class Compression(Enum):
    """How requests to the backend are compressed."""

    NONE = "none"
    GZIP = "gzip"
    DEFLATE = "deflate"


def _url(text: str) -> str:
    scheme, _, rest = text.partition("://")
    if scheme not in ("http", "https") or not rest.strip("/"):
        raise ValueError(f"must be a URL such as http://localhost:4318, not {text!r}")
    return text


def _host_port_or_url(text: str) -> str:
    return _url(text) if "://" in text else host_port(text)


Url = Annotated[str, AfterValidator(_url), WithJsonSchema({"type": "URL"})]
Signals = Annotated[tuple[Signal, ...], NOT_EMPTY, WithJsonSchema({"type": "list of `metrics`, `logs`"})]
GrpcTarget = Annotated[str, AfterValidator(_host_port_or_url), WithJsonSchema({"type": "host:port"})]


class ClientTls(Section):
    """TLS towards the backend, from PEM files."""

    insecure: bool = Field(default=False, description="Plain text, no TLS.")
    ca_file: FilePath | None = Field(
        default=None, description="Who may have signed the backend's certificate; without it, the system's authorities."
    )
    cert_file: FilePath | None = Field(default=None, description="Our own certificate (mTLS); needs `key_file`.")
    key_file: FilePath | None = Field(default=None, description="Its private key; needs `cert_file`.")

    @model_validator(mode="after")
    def files_fit_together(self) -> Self:
        """A certificate is of use only with its key, and neither without TLS."""
        problems = []
        if (self.cert_file is None) != (self.key_file is None):
            missing = "key_file" if self.key_file is None else "cert_file"
            problems.append(((missing,), "is required: cert_file and key_file belong together"))
        if self.insecure and (self.ca_file or self.cert_file):
            problems.append((("insecure",), "must be false where certificates are given"))
        if problems:
            raise rule_problems(problems)
        return self

    def build(self) -> ClientTlsSettings:
        """Give the plain value."""
        return ClientTlsSettings(
            insecure=self.insecure, ca_file=self.ca_file, cert_file=self.cert_file, key_file=self.key_file
        )


class DebugExporter(Section):
    """Writes verdicts and events as readable log lines."""

    interval: PositiveDuration = Field(default=INTERVAL_NANOS, description="How often figures are written.")

    def build(self, component_id: str) -> DebugSettings:
        """Give the plain value."""
        return DebugSettings(name=component_id, interval_s=seconds(self.interval))


class _OtlpExporter(Section):
    endpoint: str | None = None  # Each protocol says what it is; here it takes its place as the first key.
    tls: ClientTls | None = Field(
        default=None, description="TLS towards the backend; without it, TLS unless the endpoint is an `http://` URL."
    )
    headers: dict[Text, Secret] = Field(
        default={},
        description="Headers of each request, such as credentials. " + _FROM_ENVIRONMENT.format("HEADERS") + ".",
        examples=["{authorization: 'Bearer ${env:BACKEND_TOKEN}'}"],
    )
    compression: Compression | None = Field(
        default=None,
        description="How requests are compressed. " + _FROM_ENVIRONMENT.format("COMPRESSION") + ", else none.",
    )
    timeout: PositiveDuration | None = Field(
        default=None,
        description="How long one attempt may take. " + _FROM_ENVIRONMENT.format("TIMEOUT") + ", else 10s.",
    )
    interval: PositiveDuration = Field(
        default=INTERVAL_NANOS, description="How often figures are sent; events are sent at once."
    )
    signals: Signals = Field(
        default=tuple(Signal),
        description="What is sent: figures (`metrics`), events (`logs`). What happens while a signal is left out is not"
        " sent later. Prometheus takes metrics only.",
        examples=["[metrics]"],
    )

    @field_validator("headers", mode="after")
    @classmethod
    def headers_can_be_sent(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        """What gRPC or HTTP cannot send would be refused with each request, as if by the backend."""
        for key, secret in value.items():
            if re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", key) is None:
                raise ValueError(f"{key!r} is no header's name: letters, digits and -")
            if re.fullmatch(r"[\x20-\x7e]*", secret.get_secret_value()) is None:
                raise ValueError(f"the value of {key} must be printable ASCII on one line")
        return value

    def _build(self, component_id: str) -> OtlpSettings:
        return OtlpSettings(
            name=component_id,
            is_http=isinstance(self, OtlpHttpExporter),
            tls=self.tls.build() if self.tls else None,
            headers={key: value.get_secret_value() for key, value in self.headers.items()},
            compression=self.compression.value if self.compression else None,
            timeout_s=None if self.timeout is None else seconds(self.timeout),
            interval_s=seconds(self.interval),
            signals=frozenset(self.signals),
        )


class OtlpGrpcExporter(_OtlpExporter):
    """OTLP over gRPC: `otlp_grpc`, and `otlp`, the Collector's older name for it."""

    endpoint: GrpcTarget | None = Field(
        default=None,
        description="The backend. " + _FROM_ENVIRONMENT.format("ENDPOINT") + ", else localhost:4317.",
        examples=["localhost:14317"],
    )

    @model_validator(mode="after")
    def compression_is_known_to_grpc(self) -> Self:
        """Deflate is spoken over HTTP only."""
        if self.compression is Compression.DEFLATE:
            raise rule_problems([(("compression",), "must be none or gzip over gRPC, not deflate")])
        return self

    def build(self, component_id: str) -> OtlpSettings:
        """Give the plain value."""
        return replace(self._build(component_id), endpoint=self.endpoint)


class OtlpHttpExporter(_OtlpExporter):
    """OTLP over HTTP, as protobuf: `otlp_http`, and `otlphttp`, the Collector's older name for it."""

    endpoint: Url | None = Field(
        default=None,
        description="The backend's base URL; `/v1/metrics` and `/v1/logs` are added to it. "
        + _FROM_ENVIRONMENT.format("ENDPOINT")
        + ", else http://localhost:4318.",
        examples=["https://otlp.example.com"],
    )
    metrics_endpoint: Url | None = Field(default=None, description="Full URL for metrics, where it is another.")
    logs_endpoint: Url | None = Field(default=None, description="Full URL for events, where it is another.")

    @model_validator(mode="after")
    def endpoints_are_of_signals_that_are_sent(self) -> Self:
        """A URL for what is never sent is a mistake in the one or the other."""
        urls = {Signal.METRICS: self.metrics_endpoint, Signal.LOGS: self.logs_endpoint}
        unused = [signal.value for signal, url in urls.items() if url and signal not in self.signals]
        if unused:
            raise rule_problems(
                [((f"{name}_endpoint",), f"is of no use: signals leaves out {name}") for name in unused]
            )
        return self

    def build(self, component_id: str) -> OtlpSettings:
        """Give the plain value."""
        return replace(
            self._build(component_id),
            endpoint=self.endpoint,
            metrics_endpoint=self.metrics_endpoint,
            logs_endpoint=self.logs_endpoint,
        )


Exporter = DebugExporter | OtlpGrpcExporter | OtlpHttpExporter

EXPORTER_TYPES: dict[str, type[Exporter]] = {
    "otlp": OtlpGrpcExporter,
    "otlp_grpc": OtlpGrpcExporter,
    "otlp_http": OtlpHttpExporter,
    "otlphttp": OtlpHttpExporter,
    "debug": DebugExporter,
}


def exporter_type(component_id: str) -> type[Exporter]:
    """Find the section of an exporter by its id, `type` or `type/name`.

    Raises:
        ValueError: There is no such type; the message names the nearest.
    """
    name, slash, rest = component_id.partition("/")
    if slash and not rest.strip():
        raise ValueError(f"needs a name after the slash, as in {name}/2")
    if name in EXPORTER_TYPES:
        return EXPORTER_TYPES[name]
    near = get_close_matches(name, EXPORTER_TYPES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(EXPORTER_TYPES)}"
    raise ValueError(f"is no exporter that is known; {hint}")
