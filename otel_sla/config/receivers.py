"""`receivers`: where spans come in. Names and meanings are the Collector's where it has the same setting."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, PlainSerializer, model_validator

from otel_sla.config.parse import NANOS_PER_S, seconds
from otel_sla.config.section import (
    Endpoint,
    OneOrMore,
    PositiveDuration,
    Secret,
    Section,
    Text,
    rule_problems,
)
from otel_sla.receiver.settings import (
    BearerSettings,
    CorsSettings,
    GrpcServerSettings,
    HttpServerSettings,
    TlsSettings,
)

_GRPC = GrpcServerSettings()
_HTTP = HttpServerSettings()
_CORS = CorsSettings()
_RELOAD_INTERVAL_NANOS = int(TlsSettings(cert_file=Path(), key_file=Path()).reload_interval_s * NANOS_PER_S)

FilePath = Annotated[Path, PlainSerializer(str, return_type=str)]
PositiveInt = Annotated[int, Field(ge=1)]


def _nanos(seconds: float) -> int:
    return round(seconds * NANOS_PER_S)


class _Guarded(Section):
    """A section with settings that keep strangers out."""

    @model_validator(mode="before")
    @classmethod
    def no_guard_is_left_empty(cls, value: object) -> object:
        """A template that found no value leaves it empty; taken for a default, everybody would be let in."""
        if isinstance(value, dict):
            empty = [key for key in ("tls", "auth", "client_ca_file") if key in value and value[key] is None]
            if empty:
                raise rule_problems([((key,), "is left empty: give it a value, or leave the key out") for key in empty])
        return value


class TlsSection(_Guarded):
    """TLS of a server, from PEM files. They are read again when they change."""

    cert_file: FilePath = Field(description="Certificate chain, PEM.", examples=["/etc/otel-sla/tls.crt"])
    key_file: FilePath = Field(description="Private key, PEM.", examples=["/etc/otel-sla/tls.key"])
    client_ca_file: FilePath | None = Field(
        default=None, description="Every sender must present a certificate that is signed by one of these (mTLS)."
    )
    reload_interval: PositiveDuration = Field(
        default=_RELOAD_INTERVAL_NANOS, description="How often, at most, the files are looked at for a change."
    )

    def build(self) -> TlsSettings:
        """Give the plain value."""
        return TlsSettings(
            cert_file=self.cert_file,
            key_file=self.key_file,
            client_ca_file=self.client_ca_file,
            reload_interval_s=seconds(self.reload_interval),
        )


class Auth(Section):
    """Senders must say `authorization: Bearer <token>` with one of these tokens; several at once allow rotation."""

    tokens: OneOrMore[Secret] = Field(
        default=(), description="Accepted tokens; best given as `${env:NAME}`.", examples=["[${env:OTEL_SLA_TOKEN}]"]
    )
    tokens_file: FilePath | None = Field(
        default=None,
        description="File with one accepted token per line; blank lines and lines that begin with `#` are skipped.",
        examples=["/run/secrets/otel-sla-tokens"],
    )
    reload_interval: PositiveDuration = Field(
        default=_RELOAD_INTERVAL_NANOS, description="How often, at most, the file is looked at for a change."
    )

    @model_validator(mode="after")
    def some_token_is_accepted(self) -> Self:
        """Without any token nobody could send, which no one means."""
        problems = [
            (("tokens", index), "must be ASCII, and not empty")
            for index, token in enumerate(self.tokens)
            if not token.get_secret_value().strip() or not token.get_secret_value().isascii()
        ]
        if problems:
            raise rule_problems(problems)
        if not self.tokens and self.tokens_file is None:
            raise ValueError("needs tokens, tokens_file, or both")
        return self

    def build(self) -> BearerSettings:
        """Give the plain value."""
        return BearerSettings(
            tokens=tuple(token.get_secret_value() for token in self.tokens),
            tokens_file=self.tokens_file,
            reload_interval_s=seconds(self.reload_interval),
        )


class KeepaliveServerParameters(Section):
    """What the server does with connections that are silent or old."""

    time: PositiveDuration = Field(
        default=_nanos(_GRPC.keepalive_time_s),
        description="A silent connection is asked after this long whether it is alive.",
    )
    timeout: PositiveDuration = Field(
        default=_nanos(_GRPC.keepalive_timeout_s),
        description="It is closed if it does not answer within this time.",
    )
    max_connection_age: PositiveDuration | None = Field(
        default=None,
        description="Senders must connect anew after this long, so that a load balancer can spread them.",
        examples=["5m"],
    )
    max_connection_age_grace: PositiveDuration = Field(
        default=_nanos(_GRPC.max_connection_age_grace_s),
        description="How long requests that are under way may still take then.",
    )


class KeepaliveEnforcementPolicy(Section):
    """What the server does with senders that ping too often."""

    min_time: PositiveDuration = Field(
        default=_nanos(_GRPC.keepalive_min_time_s),
        description="A sender that pings more often than this is disconnected.",
    )


class Keepalive(Section):
    """Keepalive of gRPC connections."""

    server_parameters: KeepaliveServerParameters = Field(
        default=KeepaliveServerParameters(), description="Silent and old connections."
    )
    enforcement_policy: KeepaliveEnforcementPolicy = Field(
        default=KeepaliveEnforcementPolicy(), description="Senders that ping too often."
    )


class Grpc(_Guarded):
    """OTLP over gRPC."""

    endpoint: Endpoint = Field(
        default=_GRPC.endpoint,
        description="Address to listen on; port 0 takes a free one. Use `0.0.0.0:4317` for all interfaces.",
    )
    max_recv_msg_size_mib: PositiveInt = Field(
        default=_GRPC.max_recv_msg_size_mib,
        le=2047,
        description="Largest request, after decompression. 64 MiB is what OTLP recommends.",
    )
    max_concurrent_streams: PositiveInt = Field(
        default=_GRPC.max_concurrent_streams, description="Requests at once on one connection; more wait."
    )
    connections_max: PositiveInt = Field(
        default=_GRPC.connections_max, description="Connections of a process; gRPC closes more, and tells nobody."
    )
    body_timeout: PositiveDuration = Field(
        default=_nanos(_GRPC.body_timeout_s), description="From a request's headers to the end of its body."
    )
    handshake_timeout: PositiveDuration = Field(
        default=_nanos(_GRPC.handshake_timeout_s),
        description="From the connection to the end of TLS and HTTP/2 set-up.",
    )
    keepalive: Keepalive = Field(default=Keepalive(), description="Keepalive of connections.")
    tls: TlsSection | None = Field(default=None, description="TLS and mTLS; without it the port is plain text.")
    auth: Auth | None = Field(default=None, description="Bearer tokens; without it every sender is welcome.")

    def build(self) -> GrpcServerSettings:
        """Give the plain value."""
        parameters = self.keepalive.server_parameters
        age = parameters.max_connection_age
        return GrpcServerSettings(
            endpoint=self.endpoint,
            max_recv_msg_size_mib=self.max_recv_msg_size_mib,
            max_concurrent_streams=self.max_concurrent_streams,
            connections_max=self.connections_max,
            body_timeout_s=seconds(self.body_timeout),
            handshake_timeout_s=seconds(self.handshake_timeout),
            keepalive_time_s=seconds(parameters.time),
            keepalive_timeout_s=seconds(parameters.timeout),
            keepalive_min_time_s=seconds(self.keepalive.enforcement_policy.min_time),
            max_connection_age_s=None if age is None else seconds(age),
            max_connection_age_grace_s=seconds(parameters.max_connection_age_grace),
            tls=self.tls.build() if self.tls else None,
            auth=self.auth.build() if self.auth else None,
        )


class CorsSection(Section):
    """Which web pages may send spans from a browser."""

    allowed_origins: OneOrMore[Text] = Field(
        default=(), description="Origins; `*` stands for any text.", examples=["[https://*.example.com]"]
    )
    allowed_headers: OneOrMore[Text] = Field(
        default=(), description="Request headers besides `content-type` and those that browsers always allow."
    )
    max_age: int = Field(
        default=_CORS.max_age_s, ge=0, description="Seconds for which a browser may keep the preflight's answer."
    )

    def build(self) -> CorsSettings:
        """Give the plain value."""
        return CorsSettings(
            allowed_origins=self.allowed_origins, allowed_headers=self.allowed_headers, max_age_s=self.max_age
        )


class Http(_Guarded):
    """OTLP over HTTP, protobuf and JSON; also serves `/healthz` and `/readyz`."""

    endpoint: Endpoint = Field(
        default=_HTTP.endpoint,
        description="Address to listen on; port 0 takes a free one. Use `0.0.0.0:4318` for all interfaces.",
    )
    traces_url_path: str = Field(
        default=_HTTP.traces_url_path, pattern="^/[^?#]*$", description="Path that spans are sent to."
    )
    max_request_body_size_mib: PositiveInt = Field(
        default=_HTTP.max_request_body_size_mib,
        le=2047,
        description="Largest request, both as sent and decompressed. 64 MiB is what OTLP recommends.",
    )
    connections_max: PositiveInt = Field(
        default=_HTTP.connections_max,
        description="Connections of a process; more are answered 503, with `tls` closed before their handshake, and"
        " counted in `sla.receiver.refused_connections`.",
    )
    header_timeout: PositiveDuration = Field(
        default=_nanos(_HTTP.header_timeout_s),
        description="From a request's first byte to the end of its headers; of a TLS handshake, too.",
    )
    body_timeout: PositiveDuration = Field(
        default=_nanos(_HTTP.body_timeout_s), description="From a request's headers to the end of its body."
    )
    keep_alive_timeout: PositiveDuration = Field(
        default=_nanos(_HTTP.keep_alive_timeout_s), description="A connection without a request is closed after this."
    )
    cors: CorsSection | None = Field(default=None, description="Web pages that may send spans; without it, none.")
    tls: TlsSection | None = Field(default=None, description="TLS and mTLS; without it the port is plain text.")
    auth: Auth | None = Field(default=None, description="Bearer tokens; without it every sender is welcome.")

    def build(self) -> HttpServerSettings:
        """Give the plain value."""
        return HttpServerSettings(
            endpoint=self.endpoint,
            traces_url_path=self.traces_url_path,
            max_request_body_size_mib=self.max_request_body_size_mib,
            connections_max=self.connections_max,
            header_timeout_s=seconds(self.header_timeout),
            body_timeout_s=seconds(self.body_timeout),
            keep_alive_timeout_s=seconds(self.keep_alive_timeout),
            cors=self.cors.build() if self.cors else None,
            tls=self.tls.build() if self.tls else None,
            auth=self.auth.build() if self.auth else None,
        )


class Protocols(Section):
    """Only the protocols that are named are served; `grpc:` with nothing behind it is served with its defaults."""

    grpc: Grpc | None = Field(default=None, description="OTLP over gRPC.")
    http: Http | None = Field(default=None, description="OTLP over HTTP.")

    @model_validator(mode="before")
    @classmethod
    def _named_is_served(cls, value: object) -> object:
        if not value:
            return {"grpc": {}, "http": {}} if value is None or value == {} else value
        if isinstance(value, dict):
            return {key: {} if item is None and key in cls.model_fields else item for key, item in value.items()}
        return value

    @model_validator(mode="after")
    def endpoints_differ(self) -> Self:
        """Two servers cannot share a port."""
        if (
            self.grpc
            and self.http
            and self.grpc.endpoint == self.http.endpoint
            and not self.grpc.endpoint.endswith(":0")
        ):
            raise rule_problems([(("http", "endpoint"), f"grpc has {self.grpc.endpoint} already; each needs its own")])
        return self


class Otlp(Section):
    """The OTLP receiver."""

    protocols: Protocols = Field(
        default=Protocols(grpc=Grpc(), http=Http()), description="What is served; both by default."
    )


class Receivers(Section):
    """Where spans come in."""

    otlp: Otlp = Field(default=Otlp(), description="The OTLP receiver.")
