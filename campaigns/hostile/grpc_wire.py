"""gRPC as no client library would speak it: HTTP/2 by frames."""

import ssl
import struct
from collections.abc import Iterable
from contextlib import suppress

import grpc
import h2.config
import h2.connection
import h2.events
import h2.exceptions
from pipeline_parts import EXPORT

from hostile.http_wire import connect

_NAMES = {str(code.value[0]): code.name for code in grpc.StatusCode}


def message(body: bytes, *, size_bytes: int | None = None, is_compressed: bool = False) -> bytes:
    """A length-prefixed message; `size_bytes` is what it claims."""
    return struct.pack(">BI", is_compressed, len(body) if size_bytes is None else size_bytes) + body


class Call:
    """One call on a connection of its own."""

    def __init__(
        self,
        port: int,
        *,
        path: str = EXPORT,
        timeout_s: float = 30,
        tls: ssl.SSLContext | None = None,
        **headers: str,
    ) -> None:
        if tls is not None:
            tls.set_alpn_protocols(["h2"])
        self._socket = connect(port, timeout_s, tls)
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._stream = self._h2.get_next_available_stream_id()
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": "localhost",
            "te": "trailers",
            "content-type": "application/grpc",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        self._h2.send_headers(self._stream, list(fields.items()))
        self._answer = ""
        self.n_sent = 0  # Bytes of the body.
        self._flush()

    def send(self, pieces: Iterable[bytes], *, ends: bool = True) -> None:
        """Send what the server lets us; stops where it has answered."""
        with suppress(ConnectionError, ssl.SSLError, h2.exceptions.ProtocolError):
            for piece in pieces:
                view = memoryview(piece)
                while view and not self._answer:
                    room = min(
                        self._h2.local_flow_control_window(self._stream), self._h2.max_outbound_frame_size, len(view)
                    )
                    if room <= 0:
                        self._read()
                        continue
                    self._h2.send_data(self._stream, view[:room])
                    self._flush()
                    view = view[room:]
                    self.n_sent += room
            if ends and not self._answer:
                self._h2.end_stream(self._stream)
                self._flush()

    def answer(self) -> str:
        """Wait for the gRPC status code's name, an HTTP status, or "reset", "goaway", "closed", "silence", "alert"."""
        try:
            while not self._answer:
                self._read()
        except ConnectionError:
            self._answer = "closed"
        except ssl.SSLError:
            self._answer = "alert"
        self._socket.close()
        return self._answer

    def _flush(self) -> None:
        self._socket.sendall(self._h2.data_to_send())

    def _read(self) -> None:
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            self._answer = "silence"
            return
        if not data:
            self._answer = "closed"
            return
        for event in self._h2.receive_data(data):
            self._see(event)
        self._flush()

    def _see(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            headers = dict(event.headers)
            if "grpc-status" in headers:
                self._answer = _NAMES[headers["grpc-status"]]
            elif headers.get(":status", "200") != "200":
                self._answer = headers[":status"]
        elif isinstance(event, h2.events.StreamReset):
            self._answer = self._answer or "reset"
        elif isinstance(event, h2.events.ConnectionTerminated):
            self._answer = self._answer or "goaway"
        elif isinstance(event, h2.events.DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length, self._stream)


def call(port: int, pieces: Iterable[bytes], *, tls: ssl.SSLContext | None = None, **headers: str) -> str:
    """Send one whole call; gives the status code's name."""
    opened = Call(port, tls=tls, **headers)
    opened.send(pieces)
    return opened.answer()
