"""From `host:port` to addresses and sockets, with one clear error where that fails."""

import asyncio
import errno
import ipaddress
import logging
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from otel_sla.errors import ListenError
from otel_sla.receiver.settings import GrpcServerSettings, HttpServerSettings

_log = logging.getLogger(__name__)

_BACKLOG = 1024
_ACCEPT_AGAIN_S = 1.0  # Where the system has no room for a connection; asyncio's own server waits as long.
# 4317 and 4318 are the ports of every OTLP receiver.
_IN_USE_HINT = (
    "most likely an OpenTelemetry Collector listens there already: set receivers.otlp.protocols.{protocol}.endpoint to"
    " another port, such as localhost:{port} (docs/collector.md)"
)
_OTHER_PORTS = {"gRPC": 14417, "HTTP": 14418}
# A name such as localhost may have an address of a family that this machine does not run.
_NO_SUCH_ADDRESS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


@dataclass(frozen=True, slots=True)
class Address:
    """One address to listen on."""

    family: socket.AddressFamily
    host: str  # Numeric.
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.family == socket.AF_INET6 else f"{self.host}:{self.port}"


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """Split `host:port` or `[ipv6]:port`; an empty host means all addresses.

    >>> split_endpoint("[::1]:4317")
    ('::1', 4317)

    Raises:
        ListenError: It is neither.
    """
    host, colon, port = endpoint.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ListenError(f"endpoint {endpoint!r} is not host:port")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ListenError(f"endpoint {endpoint!r} is not host:port; an IPv6 address is written in brackets")
    return host, int(port)


async def open_sockets(endpoint: str, protocol: str) -> list[socket.socket]:
    """Listen on every address of `endpoint`; with port 0 all get the same free port.

    Args:
        endpoint: `host:port`.
        protocol: For the error's text.

    Raises:
        ListenError: A name that does not resolve, a port in use, no right to bind it.
    """
    host, port = split_endpoint(endpoint)
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenError(f"cannot listen on {endpoint} ({protocol}): {error.strerror or error}") from error
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            try:
                sockets.append(_bind(family, str(address[0]), port))
            except OSError as error:
                if error.errno in _NO_SUCH_ADDRESS and len(found) > 1:
                    continue
                raise
            port = sockets[-1].getsockname()[1]
    except OSError as error:
        close_sockets(sockets)
        reason = os.strerror(error.errno) if error.errno else str(error)
        refused = ListenError(f"cannot listen on {endpoint} ({protocol}): {reason}")
        if error.errno == errno.EADDRINUSE and protocol in _OTHER_PORTS:
            refused.hint = _IN_USE_HINT.format(protocol=protocol.lower(), port=_OTHER_PORTS[protocol])
        raise refused from error
    if not sockets:
        raise ListenError(f"cannot listen on {endpoint} ({protocol}): this machine has no such address")
    return sockets


def close_sockets(sockets: list[socket.socket]) -> None:
    """Close them all."""
    for opened in sockets:
        opened.close()


def addresses_of(sockets: list[socket.socket]) -> list[Address]:
    """Where they listen."""
    return [Address(opened.family, *opened.getsockname()[:2]) for opened in sockets]


def warn_if_open(addresses: list[Address], settings: GrpcServerSettings | HttpServerSettings) -> None:
    """Warn once if other machines can send here and need no credentials."""
    beyond = beyond_loopback(addresses)
    if beyond and not (settings.tls or settings.auth):
        _log.warning(
            "%s: anybody who reaches %s can send spans; set tls.client_ca_file or auth, or listen on localhost",
            settings.source,
            beyond,
            extra={"action": "endpoint_open"},
        )


def beyond_loopback(addresses: Sequence[Address]) -> str:
    """Name the addresses that other machines may reach; empty if there is none."""
    return ", ".join(str(address) for address in addresses if not ipaddress.ip_address(address.host).is_loopback)


async def accept_all(listening: socket.socket, take: Callable[[socket.socket], None]) -> None:
    """Give each connection to `take`, which owns it then, until this is cancelled; `listening` is closed in the end."""
    loop, is_failing = asyncio.get_running_loop(), False
    with listening:
        while True:
            try:
                accepted, _ = await loop.sock_accept(listening)
            except ConnectionAbortedError:  # By the client.
                continue
            except OSError as error:
                if not is_failing:
                    _log.warning("connections cannot be accepted: %s", error, extra={"action": "accept_failed"})
                is_failing = True
                await asyncio.sleep(_ACCEPT_AGAIN_S)
                continue
            is_failing = False
            take(accepted)
            await asyncio.sleep(0)  # Many new connections must not delay open ones.


def _bind(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    # Named TCP, or asyncio leaves Nagle's delay on: answers of two writes took 40 ms.
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # Else a restart waits for TIME_WAIT to pass.
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # The IPv4 address has its own socket.
        opened.bind((host, port))
        opened.listen(_BACKLOG)
        opened.setblocking(False)  # noqa: FBT003 - the standard library's signature.
    except OSError:
        opened.close()
        raise
    return opened
