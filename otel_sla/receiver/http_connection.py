"""A connection of the HTTP server: uvicorn's protocol on httptools, with the limits on time and size that it lacks."""

import asyncio
import logging
from functools import partial
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState as UvicornState

from otel_sla.receiver.accounting import Receipt
from otel_sla.receiver.http_app import IS_WELCOME, HttpApp
from otel_sla.receiver.http_upgrade import Parser, head_without_offer
from otel_sla.receiver.settings import HttpServerSettings

_HEADERS_SIZE_BYTES_MAX = 64 * 1024
# Of a body that nobody wants, taken and dropped: many clients read no answer before they have sent all of it.
_UNWANTED_SIZE_BYTES_MAX = 1024 * 1024
_LINGER_S = 1.0  # For a refused sender to read why; closed at once, what it sends would make its side drop the answer.
_REFUSED_MAX = 256  # At a time; others are closed unheard, or they would be in no limit.
_TOO_MANY_CONNECTIONS = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)
# uvicorn writes a line for each malformed request; anybody could fill a disk with them.
_silent = logging.getLogger("otel_sla.receiver.http.silent")
_silent.setLevel(logging.CRITICAL + 1)


class State(UvicornState):
    """What the connections of one server share."""

    def __init__(self) -> None:
        super().__init__()
        self.handshakes: set[asyncio.Protocol] = set()  # Connections that have not been made yet, but accepted.
        self.refused: set[_Connection] = set()  # Connections over the limit, for the moment that they last.
        self.is_empty = asyncio.Event()  # No connection is left.
        self.is_empty.set()

    @property
    def open_count(self) -> int:
        """How many connections count for the limit."""
        return len(self.connections) + len(self.handshakes)

    def begin_handshake(self, connection: asyncio.Protocol) -> None:
        """Count a connection that is in its TLS handshake."""
        self.handshakes.add(connection)
        self.is_empty.clear()

    def end_handshake(self, connection: asyncio.Protocol) -> None:
        """Count it no more: it was made, or is gone."""
        self.handshakes.discard(connection)
        self.end_connection()

    def end_connection(self) -> None:
        """Tell those who wait for the end of all when the last one is gone."""
        if not self.open_count and not self.refused:
            self.is_empty.set()


class Config(uvicorn.Config):
    """uvicorn's settings, and ours for the protocol."""

    def __init__(self, app: HttpApp, settings: HttpServerSettings) -> None:
        super().__init__(
            app,
            http=_Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
        )
        self.settings = settings
        self.own_app = app
        self.load()

    def new_connection(self, state: State) -> asyncio.Protocol:
        """Give what serves a connection that has just been made."""
        return _Connection(self, state)


class _Connection(HttpToolsProtocol):
    """One connection.

    uvicorn limits the time between requests, the application that of a body that it reads. Here are the others: for
    headers, for the rest of a body after an answer that did not wait for it, and for a sender that reads no answers.
    """

    def __init__(self, config: Config, state: State) -> None:
        super().__init__(config, state, app_state={})
        self.logger = _silent
        self.access_log = False
        self.parser: Parser = Parser(self)
        self._is_offer = False  # An upgrade is offered: the message is not begun, it will come again.
        self.timeout_keep_alive = config.settings.keep_alive_timeout_s  # type: ignore[assignment]  # For call_later.
        self._state = state
        self._app = config.own_app
        self._settings = config.settings
        self._is_parsing = False
        self._unstarted: tuple[RequestResponseCycle, Any] | None = None  # Until what has arrived is parsed.
        self._is_in_message = False
        self._is_in_headers = False
        self._headers_size_bytes = 0
        self._unwanted_size_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._state.handshakes.discard(self)
        self._state.is_empty.clear()
        if self._state.open_count > self._settings.connections_max:
            self._refuse()
        else:
            self._set_deadline(self._settings.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clear_deadline()
        self._clear_write_deadline()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        self._state.refused.discard(self)
        self._state.end_connection()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing() or self in self._state.refused:
            return
        if not self._is_in_message and self._deadline is None and self._is_idle():
            self._set_deadline(self._settings.header_timeout_s)  # Empty lines begin no message, but end the idle time.
        if self._is_in_headers:
            self._headers_size_bytes += len(data)
        self._parse(data)
        while self._is_offer and not self.transport.is_closing():
            self._is_offer = False
            method, version, rest = self.parser.get_method(), self.parser.get_http_version(), self.parser.rest
            head = head_without_offer(method, self.url, version, self.headers)
            self.parser = Parser(self)
            self._parse(head + (rest or b""))
        if self._is_in_headers and self._headers_size_bytes > _HEADERS_SIZE_BYTES_MAX:
            self.send_400_response("The headers are too large.")
        if self._is_in_message and self._unwanted_size_bytes > _UNWANTED_SIZE_BYTES_MAX:
            self.transport.pause_reading()
            self._turn_away()

    def _parse(self, data: bytes) -> None:
        self._is_parsing = True
        try:
            super().data_received(data)
        finally:
            self._is_parsing = False
            unstarted, self._unstarted = self._unstarted, None
            if unstarted is not None:
                self._start_asgi_task(*unstarted)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401 - uvicorn's.
        """Start once what has arrived is parsed: often that is all of the request."""
        if self._is_parsing:
            self._unstarted = cycle, app
        elif not self._begin_whole(cycle):
            super()._start_asgi_task(cycle, app)

    def _begin_whole(self, cycle: RequestResponseCycle) -> bool:
        if cycle.more_body or self.flow.write_paused:
            return False
        begun = self._app.begin(cycle.scope, cycle.body)
        if begun is None:
            return False
        cycle.body = bytearray()
        begun.add_done_callback(self.tasks.discard)
        begun.add_done_callback(partial(self._answer_whole, cycle))
        self.tasks.add(begun)  # type: ignore[arg-type]  # A stop waits for them and cancels them alike.
        return True

    def _answer_whole(self, cycle: RequestResponseCycle, begun: asyncio.Future[Receipt]) -> None:
        answer = self._app.answer_begun(cycle.scope, begun)
        if cycle.disconnected or self.transport.is_closing():
            return
        headers = [*cycle.default_headers, *answer.all_headers()]
        if not cycle.keep_alive:
            headers.append((b"connection", b"close"))
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[answer.http_status], head, answer.body))
        cycle.response_started = cycle.response_complete = True
        cycle.on_response = _nothing  # Else it is held by what it holds.
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_message = self._is_in_headers = True
        self._headers_size_bytes = self._unwanted_size_bytes = 0
        if self._deadline is None:
            self._set_deadline(self._settings.header_timeout_s)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_headers:  # Else a trailer; nobody reads them, and they have no end.
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_headers = False
        if self.parser.is_offer():
            self._is_offer = True
            return
        self._clear_deadline()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self.cycle.response_complete and IS_WELCOME not in self.scope["state"]:
            self._unwanted_size_bytes += len(body)

    def on_message_complete(self) -> None:
        if self._is_offer:
            return
        self._is_in_message = False
        self._clear_deadline()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._set_write_deadline()  # It closes when all is written, which a sender that does not read prevents.
        elif self._is_in_message and not self._is_in_headers:
            self._set_deadline(self._settings.body_timeout_s)

    def _refuse(self) -> None:
        if len(self._state.refused) >= _REFUSED_MAX:
            self.transport.abort()
            return
        self.transport.write(_TOO_MANY_CONNECTIONS)
        self._turn_away()

    def _turn_away(self) -> None:
        """Take nothing more, and close when the sender has had time to read its answer."""
        self.connections.discard(self)
        self._state.refused.add(self)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._set_deadline(_LINGER_S)

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _set_deadline(self, after_s: float) -> None:
        self._clear_deadline()
        self._deadline = self.loop.call_later(after_s, self._give_up)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._set_write_deadline()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._clear_write_deadline()

    def timeout_keep_alive_handler(self) -> None:
        self._give_up()

    def _set_write_deadline(self) -> None:
        self._clear_write_deadline()
        self._write_deadline = self.loop.call_later(self._settings.body_timeout_s, self._give_up)

    def _clear_write_deadline(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def _give_up(self) -> None:
        """End the connection; what is written to a sender that does not read would otherwise keep it for ever."""
        self._clear_deadline()
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()


def _nothing() -> None:
    """Nobody waits for the end of this answer."""
