"""HTTP/1.1 as no client library would speak it."""

import socket
import ssl
from collections.abc import Iterable
from contextlib import closing, suppress

PROTOBUF = "application/x-protobuf"


def head(size_bytes: int | None = None, *, method: str = "POST", path: str = "/v1/traces", **headers: str) -> bytes:
    """A request's head; underscores in the names stand for hyphens."""
    fields = {"host": "localhost", "content_type": PROTOBUF, **headers}
    if size_bytes is not None:
        fields["content_length"] = str(size_bytes)
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items() if value)
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()


def connect(port: int, timeout_s: float, tls: ssl.SSLContext | None = None) -> socket.socket:
    """Open a connection, with TLS or in plain text."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
    return connection if tls is None else tls.wrap_socket(connection, server_hostname="localhost")


def exchange(
    port: int,
    pieces: Iterable[bytes],
    *,
    timeout_s: float = 30,
    ends: bool = False,
    tls: ssl.SSLContext | None = None,
) -> str:
    """Write the pieces, then give the first answer's status code, or "closed", "silence" or TLS's "alert".

    Args:
        port: The server's.
        pieces: What is written.
        timeout_s: For the answer.
        ends: Whether our side of the connection is closed after the last piece.
        tls: How we show who we are.
    """
    with closing(connect(port, timeout_s, tls)) as connection:
        with suppress(
            ConnectionError, ssl.SSLError
        ):  # An answer may come before the server has read, or wants to read, it all.
            for piece in pieces:
                connection.sendall(piece)
            if ends:
                connection.shutdown(socket.SHUT_WR)
        return read_status(connection)


def read_status(connection: socket.socket) -> str:
    """Read an answer's status code."""
    answer = b""
    try:
        while b"\r\n\r\n" not in answer:
            piece = connection.recv(65536)
            if not piece:
                return "closed"
            answer += piece
    except ConnectionError:
        return "closed"
    except ssl.SSLError:
        return "alert"
    except TimeoutError:
        return "silence"
    return answer.split(b" ", 2)[1].decode()


def post(port: int, body: bytes, *, tls: ssl.SSLContext | None = None, **headers: str) -> str:
    """Send one whole request; gives the answer's status code."""
    return exchange(port, [head(len(body), **headers), body], tls=tls)
