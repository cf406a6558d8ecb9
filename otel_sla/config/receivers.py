"""`receivers`: where spans come in. Names and meanings are the Collector's where it has the same setting."""

from typing import Self

from pydantic import Field, model_validator

from otel_sla.config.section import (
    Endpoint,
    FilePath,
    OneOrMore,
    PositiveDuration,
    PositiveInt,
    Secret,
    Section,
    Text,
    build,
    rule_problems,
)
from otel_sla.receiver.settings import BearerSettings, CorsSettings, GrpcServerSettings, HttpServerSettings

_GRPC = GrpcServerSettings()
_HTTP = HttpServerSettings()
_CORS = CorsSettings()
_RELOAD_INTERVAL_S = BearerSettings().reload_interval_s


class Guarded(Section):
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


class TlsSection(Guarded):
    """TLS of a server, from PEM files. They are read again when they change."""

    cert_file: FilePath = Field(examples=["/etc/otel-sla/tls.crt"])
    """Certificate chain, PEM."""
    key_file: FilePath = Field(examples=["/etc/otel-sla/tls.key"])
    """Private key, PEM."""
    client_ca_file: FilePath | None = None
    """Every sender must present a certificate that is signed by one of these (mTLS)."""
    reload_interval: PositiveDuration = _RELOAD_INTERVAL_S
    """How often, at most, the files are looked at for a change."""


class Auth(Section):
    """Senders must say `authorization: Bearer <token>` with one of these tokens; several at once allow rotation."""

    tokens: OneOrMore[Secret] = Field(default=(), examples=["[${env:OTEL_SLA_TOKEN}]"])
    """Accepted tokens; best given as `${env:NAME}`."""
    tokens_file: FilePath | None = Field(default=None, examples=["/run/secrets/otel-sla-tokens"])
    """File with one accepted token per line; blank lines and lines that begin with `#` are skipped."""
    reload_interval: PositiveDuration = _RELOAD_INTERVAL_S
    """How often, at most, the file is looked at for a change."""

    @model_validator(mode="after")
    def some_token_is_accepted(self) -> Self:
        """Without any token nobody could send, which no one means."""
        tokens = [token.get_secret_value() for token in self.tokens]
        wrong = [index for index, token in enumerate(tokens) if not token.strip() or not token.isascii()]
        if wrong:
            raise rule_problems([(("tokens", index), "must be ASCII, and not empty") for index in wrong])
        if not self.tokens and self.tokens_file is None:
            raise ValueError("needs tokens, tokens_file, or both")
        return self


class KeepaliveServerParameters(Section):
    """What the server does with connections that are silent or old."""

    time: PositiveDuration = _GRPC.keepalive_time_s
    """A silent connection is asked after this long whether it is alive."""
    timeout: PositiveDuration = _GRPC.keepalive_timeout_s
    """It is closed if it does not answer within this time."""
    max_connection_age: PositiveDuration | None = Field(default=None, examples=["5m"])
    """Senders must connect anew after this long, so that a load balancer can spread them."""
    max_connection_age_grace: PositiveDuration = _GRPC.max_connection_age_grace_s
    """How long requests that are under way may still take then."""


class KeepaliveEnforcementPolicy(Section):
    """What the server does with senders that ping too often."""

    min_time: PositiveDuration = _GRPC.keepalive_min_time_s
    """A sender that pings more often than this is disconnected."""


class Keepalive(Section):
    """Keepalive of gRPC connections."""

    server_parameters: KeepaliveServerParameters = KeepaliveServerParameters()
    enforcement_policy: KeepaliveEnforcementPolicy = KeepaliveEnforcementPolicy()


class Grpc(Guarded):
    """OTLP over gRPC."""

    endpoint: Endpoint = _GRPC.endpoint
    """Address to listen on; port 0 takes a free one. Use `0.0.0.0:4317` for all interfaces."""
    max_recv_msg_size_mib: PositiveInt = Field(default=_GRPC.max_recv_msg_size_mib, le=2047)
    """Largest request, after decompression. 64 MiB is what OTLP recommends."""
    max_concurrent_streams: PositiveInt = _GRPC.max_concurrent_streams
    """Requests at once on one connection; more wait."""
    connections_max: PositiveInt = _GRPC.connections_max
    """Connections of a process; gRPC closes more without a log line."""
    body_timeout: PositiveDuration = _GRPC.body_timeout_s
    """For a request's body to arrive; a large one has it once more after its turn."""
    handshake_timeout: PositiveDuration = _GRPC.handshake_timeout_s
    """From the connection to the end of TLS and HTTP/2 set-up."""
    keepalive: Keepalive = Keepalive()
    tls: TlsSection | None = None
    """TLS and mTLS; without it the port is plain text."""
    auth: Auth | None = None
    """Bearer tokens; without it every sender is welcome."""

    def build(self) -> GrpcServerSettings:
        """Give the plain settings, which have the keepalive's among them."""
        parameters, policy = self.keepalive.server_parameters, self.keepalive.enforcement_policy
        times = {"time": parameters.time, "timeout": parameters.timeout, "min_time": policy.min_time}
        of_keepalive = {f"keepalive_{key}_s": time for key, time in times.items()}
        return build(GrpcServerSettings, self, parameters, **of_keepalive)


class CorsSection(Section):
    """Which web pages may send spans from a browser."""

    allowed_origins: OneOrMore[Text] = Field(default=(), examples=["[https://*.example.com]"])
    """Origins; `*` stands for any text."""
    allowed_headers: OneOrMore[Text] = ()
    """Request headers besides `content-type` and those that browsers always allow."""
    max_age: int = Field(default=_CORS.max_age_s, ge=0)
    """Seconds for which a browser may keep the preflight's answer."""


class Http(Guarded):
    """OTLP over HTTP, protobuf and JSON; also serves `/healthz` and `/readyz`."""

    endpoint: Endpoint = _HTTP.endpoint
    """Address to listen on; port 0 takes a free one. Use `0.0.0.0:4318` for all interfaces."""
    traces_url_path: str = Field(default=_HTTP.traces_url_path, pattern="^/[^?#]*$")
    """Path that spans are sent to."""
    max_request_body_size_mib: PositiveInt = Field(default=_HTTP.max_request_body_size_mib, le=2047)
    """Largest request, both as sent and decompressed. 64 MiB is what OTLP recommends."""
    connections_max: PositiveInt = _HTTP.connections_max
    """Connections of a process; more are answered 503 (with `tls`, closed before their handshake), and counted in
    `sla.receiver.refused_connections`."""
    header_timeout: PositiveDuration = _HTTP.header_timeout_s
    """From a request's first byte to the end of its headers; of a TLS handshake, too."""
    body_timeout: PositiveDuration = _HTTP.body_timeout_s
    """For a request's body to arrive; a large one has it once more after its turn."""
    keep_alive_timeout: PositiveDuration = _HTTP.keep_alive_timeout_s
    """A connection without a request is closed after this."""
    cors: CorsSection | None = None
    """Web pages that may send spans; without it, none."""
    tls: TlsSection | None = None
    """TLS and mTLS; without it the port is plain text."""
    auth: Auth | None = None
    """Bearer tokens; without it every sender is welcome."""


class Protocols(Section):
    """Only the protocols that are named are served; `grpc:` with nothing behind it is served with its defaults."""

    grpc: Grpc | None = None
    http: Http | None = None

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
        endpoint = self.grpc.endpoint if self.grpc else None
        if endpoint and self.http and endpoint == self.http.endpoint and not endpoint.endswith(":0"):
            raise rule_problems([(("http", "endpoint"), f"grpc has {endpoint} already; each needs its own")])
        return self


class Otlp(Section):
    """The OTLP receiver."""

    protocols: Protocols = Protocols(grpc=Grpc(), http=Http())
    """What is served; both by default."""


class Receivers(Section):
    """Where spans come in."""

    otlp: Otlp = Otlp()
