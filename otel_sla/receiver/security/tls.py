"""TLS for both servers: certificates that are read again when they change, and mTLS.

A rotated certificate serves the next connection; connections that are open keep the one that they began with.
"""

import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

from otel_sla.errors import ConfigError, ConfigProblem
from otel_sla.receiver.security.watched_files import WatchedFiles, describe
from otel_sla.receiver.settings import TlsSettings

_log = logging.getLogger(__name__)

_TIME_CODES = (9, 10)  # OpenSSL's: not yet valid, expired.


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What the files say, checked: the key belongs to the certificate."""

    pems: tuple[bytes, ...]  # Certificate chain, key, and the CA of the senders' certificates if there is one.
    context: ssl.SSLContext


class ServerTls:
    """The certificates of one server.

    Args:
        settings: The files.
        source: The part of the configuration that names them, for errors.
        clock_s: Monotonic seconds.

    Raises:
        ConfigError: The files cannot be used.
    """

    def __init__(self, settings: TlsSettings, source: str, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._source = source
        self._paths = [settings.cert_file, settings.key_file]
        if settings.client_ca_file is not None:
            self._paths.append(settings.client_ca_file)
        names = (f"{source}.tls", "certificates", "tls")
        try:
            self._files = WatchedFiles(self._paths, settings.reload_interval_s, clock_s, self._load, names)
        except OSError as error:
            raise ConfigError(source, [ConfigProblem("tls", describe(error))]) from error
        self.reload = self._files.reload

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """Build what a gRPC server is given; it asks again for each connection."""
        given = self._files.current()

        def ask() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            current = self._files.current()
            if current is given:
                return None
            given = current
            return _grpc_configuration(current)

        is_client_checked = self._settings.client_ca_file is not None
        return grpc.dynamic_ssl_server_credentials(_grpc_configuration(given), ask, is_client_checked)

    def ssl_context(self) -> ssl.SSLContext:
        """Build what an asyncio server is given; each connection takes the certificates that are current then."""
        context = self._load_context()
        context.sni_callback = self._on_client_hello
        return context

    def _on_client_hello(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        # OpenSSL asks here for every handshake, whether the client names the server or not. The connection takes the
        # certificate and the CA of the context that it is moved to.
        connection.context = self._files.current().context

    def _load(self) -> _Loaded:
        pems = _read_all(self._paths)
        context = self._load_context()
        if _read_all(self._paths) != pems:
            raise OSError("the files changed while they were read")
        if reason := _why_not_valid(self._settings):
            _log.warning(
                "%s.tls: no sender that checks %s will accept it: %s",
                self._source,
                self._settings.cert_file,
                reason,
                extra={"action": "tls_not_valid"},
            )
        return _Loaded(pems, context)

    def _load_context(self) -> ssl.SSLContext:
        settings = self._settings
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        # A resumed session would not show its certificate again, also after its CA was withdrawn.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        context.load_cert_chain(settings.cert_file, settings.key_file)
        if settings.client_ca_file is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(settings.client_ca_file)
        return context


def _grpc_configuration(loaded: _Loaded) -> grpc.ServerCertificateConfiguration:
    cert, key, *client_ca = loaded.pems
    return grpc.ssl_server_certificate_configuration([(key, cert)], client_ca[0] if client_ca else None)


def _why_not_valid(settings: TlsSettings) -> str:
    """Say why the certificate's time is not now; empty if it is. Python reads no certificate but in a handshake."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(settings.cert_file, settings.key_file)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # Its issuer does not matter.
    client.load_verify_locations(settings.cert_file)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    sender, receiver = client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)
    for side in (sender, receiver, sender):
        try:
            side.do_handshake()
        except ssl.SSLCertVerificationError as error:
            return error.verify_message if error.verify_code in _TIME_CODES else ""
        except ssl.SSLError:  # It waits for the other.
            continue
    return ""


def _read_all(paths: list[Path]) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in paths)
