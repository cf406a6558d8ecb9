"""Lets connections with TLS into the HTTP server.

asyncio's own server shows a connection only when its TLS handshake is over: before, it would be in no limit, and would
outlive the server. So connections are accepted here, and counted from then on.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

from otel_sla.receiver.http_connection import Connection, State
from otel_sla.receiver.refusals import REFUSED_CONNECTION
from otel_sla.receiver.settings import HttpServerSettings

_log = logging.getLogger(__name__)

_AGAIN_S = 1.0  # Where the system has no room for a connection; asyncio's own server waits as long.


class TlsDoor:
    """One listening socket.

    Args:
        listening: Owned from now on.
        new_connection: Makes what serves a connection.
        state: What they share.
        settings: The limits on time and number.
        context: The certificates.
    """

    def __init__(
        self,
        listening: socket.socket,
        new_connection: Callable[[], Connection],
        state: State,
        settings: HttpServerSettings,
        context: ssl.SSLContext,
    ) -> None:
        self._new_connection = new_connection
        self._state = state
        self._settings = settings
        self._context = context
        self._handshakes: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.create_task(self._accept_all(listening))

    async def close(self) -> None:
        """Let nobody in any more, those neither who are in their handshake."""
        self._accepting.cancel()
        await asyncio.wait((self._accepting,))  # After that each handshake has begun, and closes what it has.
        for handshake in self._handshakes:
            handshake.cancel()
        if self._handshakes:
            await asyncio.wait(self._handshakes)

    async def _accept_all(self, listening: socket.socket) -> None:
        loop, is_failing = asyncio.get_running_loop(), False
        with listening:
            while True:
                try:
                    accepted, _ = await loop.sock_accept(listening)
                except ConnectionAbortedError:  # By who connected.
                    continue
                except OSError as error:
                    if not is_failing:
                        _log.warning("connections cannot be accepted: %s", error, extra={"action": "accept_failed"})
                    is_failing = True
                    await asyncio.sleep(_AGAIN_S)
                    continue
                is_failing = False
                self._let_in(accepted)
                await asyncio.sleep(0)  # Many who connect at once must not hold up those who send.

    def _let_in(self, accepted: socket.socket) -> None:
        """Begin a handshake. What is over the limit is closed: without a handshake nothing can be answered."""
        if self._state.open_count >= self._settings.connections_max:
            accepted.close()
            self._state.refusals.add(REFUSED_CONNECTION)
            return
        handshake = asyncio.create_task(self._shake_hands(accepted))
        self._handshakes.add(handshake)
        handshake.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, accepted: socket.socket) -> None:
        settings = self._settings
        connection = self._new_connection()
        self._state.begin_handshake(connection)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=settings.header_timeout_s,
                ssl_shutdown_timeout=settings.body_timeout_s,  # Of a sender that does not read.
            )
        except OSError:
            pass  # Of the handshake or the network; it is closed.
        finally:
            self._state.end_handshake(connection)
