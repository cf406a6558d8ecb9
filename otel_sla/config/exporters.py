"""`exporters`: where verdicts and events go. Names and meanings are the Collector's."""

import re
from difflib import get_close_matches
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, WithJsonSchema, field_validator, model_validator

from otel_sla.config.problems import find_problems
from otel_sla.config.section import (
    NOT_EMPTY,
    FilePath,
    PositiveDuration,
    Secret,
    Section,
    Text,
    build,
    host_port,
    rule_problems,
)
from otel_sla.config.yaml_file import Problem, Tree
from otel_sla.exporter.settings import DebugSettings, ExporterSettings, OtlpSettings, Signal

INTERVAL_S = DebugSettings(name="").interval_s


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

    insecure: bool = False
    """Plain text, no TLS."""
    ca_file: FilePath | None = None
    """Who may have signed the backend's certificate; without it, the system's authorities."""
    cert_file: FilePath | None = None
    """Our own certificate (mTLS); needs `key_file`."""
    key_file: FilePath | None = None
    """Its private key; needs `cert_file`."""

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


class DebugExporter(Section):
    """Writes verdicts and events as readable log lines."""

    interval: PositiveDuration = INTERVAL_S
    """How often figures are written."""


class _OtlpExporter(Section):
    endpoint: str | None = None  # Each protocol says what it is; here it takes its place as the first key.
    tls: ClientTls | None = None
    """TLS towards the backend; without it, TLS unless the endpoint is an `http://` URL."""
    headers: dict[Text, Secret] = Field(default={}, examples=["{authorization: 'Bearer ${env:BACKEND_TOKEN}'}"])
    """Headers of each request, such as credentials. Without it, those of `OTEL_EXPORTER_OTLP_HEADERS`."""
    compression: Literal["none", "gzip", "deflate"] | None = None
    """How requests are compressed. Without it, as `OTEL_EXPORTER_OTLP_COMPRESSION` says, else none."""
    timeout: PositiveDuration | None = None
    """How long one attempt may take. Without it, as `OTEL_EXPORTER_OTLP_TIMEOUT` says, else 10s."""
    interval: PositiveDuration = INTERVAL_S
    """How often figures are sent; events are sent at once."""
    signals: Signals = Field(default=tuple(Signal), examples=["[metrics]"])
    """What is sent: figures (`metrics`), events (`logs`). What happens while one is left out is not sent later.
    Prometheus takes metrics only."""

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


class OtlpGrpcExporter(_OtlpExporter):
    """OTLP over gRPC: `otlp_grpc`, and `otlp`, the Collector's older name for it."""

    endpoint: GrpcTarget | None = Field(default=None, examples=["localhost:14317"])
    """The backend. Without it, that of `OTEL_EXPORTER_OTLP_ENDPOINT`, else localhost:4317."""

    @model_validator(mode="after")
    def compression_is_known_to_grpc(self) -> Self:
        """Deflate is spoken over HTTP only."""
        if self.compression == "deflate":
            raise rule_problems([(("compression",), "must be none or gzip over gRPC, not deflate")])
        return self


class OtlpHttpExporter(_OtlpExporter):
    """OTLP over HTTP, as protobuf: `otlp_http`, and `otlphttp`, the Collector's older name for it."""

    endpoint: Url | None = Field(default=None, examples=["https://otlp.example.com"])
    """The backend's base URL, to which `/v1/metrics` and `/v1/logs` are added. Without it, that of
    `OTEL_EXPORTER_OTLP_ENDPOINT`, else http://localhost:4318."""
    metrics_endpoint: Url | None = None
    """Full URL for metrics, where it is another."""
    logs_endpoint: Url | None = None
    """Full URL for events, where it is another."""

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


Exporter = DebugExporter | OtlpGrpcExporter | OtlpHttpExporter

_TYPES: dict[str, type[Exporter]] = {
    "otlp": OtlpGrpcExporter,
    "otlp_grpc": OtlpGrpcExporter,
    "otlp_http": OtlpHttpExporter,
    "otlphttp": OtlpHttpExporter,
    "debug": DebugExporter,
}


def _type_of(component_id: str) -> type[Exporter]:
    name, slash, rest = component_id.partition("/")
    if slash and not rest.strip():
        raise ValueError(f"needs a name after the slash, as in {name}/2")
    if name in _TYPES:
        return _TYPES[name]
    near = get_close_matches(name, _TYPES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(_TYPES)}"
    raise ValueError(f"is no exporter that is known; {hint}")


def check_exporters(given: dict[str, Tree]) -> tuple[dict[str, Exporter], list[Problem]]:
    """Check each exporter by the type that its id, `type` or `type/name`, names; give those, and what is wrong.

    The field's own validator cannot: after an error in it pydantic leaves out the document's rules.
    """
    exporters: dict[str, Exporter] = {}
    problems: list[Problem] = []
    for component_id, keys in given.items():
        place = ("exporters", component_id)
        try:
            section = _type_of(component_id)
            exporters[component_id] = section.model_validate(keys)
        except ValidationError as error:
            exporters[component_id] = section.model_construct()  # `telemetry.metrics.exporter` may name it.
            problems += [((*place, *loc), message) for loc, message in find_problems(error, section)]
        except ValueError as error:
            problems.append((place, str(error)))
    return exporters, problems


def build_exporter(component_id: str, exporter: Exporter) -> ExporterSettings:
    """Give the plain settings."""
    if isinstance(exporter, DebugExporter):
        return build(DebugSettings, exporter, name=component_id)
    return build(OtlpSettings, exporter, name=component_id, is_http=isinstance(exporter, OtlpHttpExporter))
