"""Sends a request again and again and reads no answer; a process that takes nothing else of the machine.

`python unread.py PORT [CERTIFICATE]`, with the request on its standard input; the server's certificate is PEM.
"""

import os
import socket
import ssl
import sys
from contextlib import closing, suppress

BLOCK_SIZE_BYTES = 256 * 1024  # What a server's event loop reads at once.
_STUCK_S = 1.0  # A sender whom nobody reads from any more comes again.


def send_unread(port: int, request: bytes, certificate: str = "", *, is_short: bool = False) -> int:
    """Send on one connection until nobody reads any more; gives the bytes sent.

    Args:
        port: Of the server.
        request: Is sent again and again.
        certificate: PEM, of a server with TLS.
        is_short: Whether the kernels of both sides hold some kilobytes of answers, and not megabytes as on loopback.
    """
    block = request * (BLOCK_SIZE_BYTES // len(request))
    sent_bytes = 0
    connection = socket.socket()
    if is_short:  # The server's is some segments long, which are of 64 KB on loopback.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)
    connection.settimeout(_STUCK_S)
    connection.connect(("127.0.0.1", port))
    if certificate:
        connection = ssl.create_default_context(cadata=certificate).wrap_socket(connection, server_hostname="localhost")
    with closing(connection), suppress(OSError):
        while True:
            connection.sendall(block)
            sent_bytes += len(block)
    return sent_bytes


if __name__ == "__main__":
    os.nice(19)  # It would be on a machine of its own.
    wanted = sys.stdin.buffer.read()
    while True:
        with suppress(OSError):  # Of a handshake that was not waited for.
            send_unread(int(sys.argv[1]), wanted, *sys.argv[2:])
