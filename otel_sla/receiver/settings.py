"""The settings of the receiving servers: plain values, built and checked by `config`.

The names are the Collector's (`receivers.otlp.protocols.grpc` and `.http`) where it has the same setting; the
defaults here are the defaults of the configuration. Durations are seconds, sizes are mebibytes.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

BYTES_PER_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """`tls`: PEM files, read again when they change, so that a rotated certificate needs no restart."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None  # Given: every sender must present a certificate that it signed.
    reload_interval_s: float = 10.0  # Between two looks at the files.


@dataclass(frozen=True, slots=True, kw_only=True)
class BearerSettings:
    """`auth`: a sender must say `authorization: Bearer <token>` with any of these tokens.

    At least one token, or a file of them; several are valid at once, so that they can be rotated.
    """

    tokens: tuple[str, ...] = field(default=(), repr=False)
    tokens_file: Path | None = None  # One token per line; blank lines and lines with `#` are skipped.
    reload_interval_s: float = 10.0  # Between two looks at the file.


@dataclass(frozen=True, slots=True, kw_only=True)
class CorsSettings:
    """`cors`: which web pages may send spans."""

    allowed_origins: tuple[str, ...] = ()  # Globs as in the Collector: `https://*.example.com`; `*` for all.
    allowed_headers: tuple[str, ...] = ()  # Besides those that browsers always allow and `content-type`.
    max_age_s: int = 7200  # How long a browser may keep the preflight's answer.


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcServerSettings:
    """`receivers.otlp.protocols.grpc`."""

    source: ClassVar = "receivers.otlp.protocols.grpc"  # Its part of the configuration, for errors.
    endpoint: str = "localhost:4317"  # `host:port`, `[ipv6]:port`; port 0 takes a free one.
    max_recv_msg_size_mib: int = 64  # Of one request, after decompression.
    max_concurrent_streams: int = 256  # Per connection; more wait on the sender's side.
    connections_max: int = 1024  # gRPC closes more, silently.
    body_timeout_s: float = 10.0  # For the body to arrive; a large one has it once more after its turn.
    handshake_timeout_s: float = 10.0  # From the connection to the end of TLS and HTTP/2 settings.
    keepalive_time_s: float = 60.0  # A silent connection is pinged after this long,
    keepalive_timeout_s: float = 20.0  # and closed if it does not answer in this time.
    keepalive_min_time_s: float = 10.0  # A sender that pings more often without data is disconnected.
    max_connection_age_s: float | None = None  # Given: senders must reconnect, so that a balancer spreads them.
    max_connection_age_grace_s: float = 30.0  # For the requests that are under way then.
    tls: TlsSettings | None = None
    auth: BearerSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpServerSettings:
    """`receivers.otlp.protocols.http`."""

    source: ClassVar = "receivers.otlp.protocols.http"
    endpoint: str = "localhost:4318"  # `host:port`, `[ipv6]:port`; port 0 takes a free one.
    traces_url_path: str = "/v1/traces"
    max_request_body_size_mib: int = 64  # Of one request, both as sent and expanded.
    connections_max: int = 1024  # More are answered 503, or closed where there is TLS.
    header_timeout_s: float = 10.0  # From the connection, or a request's first byte, to the end of its headers.
    body_timeout_s: float = 10.0  # For the body to arrive; a large one has it once more after its turn.
    keep_alive_timeout_s: float = 60.0  # A connection without a request is closed after this long.
    cors: CorsSettings | None = None
    tls: TlsSettings | None = None
    auth: BearerSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverSettings:
    """`receivers.otlp`."""

    grpc: GrpcServerSettings | None = field(default_factory=GrpcServerSettings)  # None: not served.
    http: HttpServerSettings | None = field(default_factory=HttpServerSettings)  # None: not served.
    memory_limit_mib: int = 512  # Requests being read or counted, of both servers together.
