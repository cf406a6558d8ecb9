"""Large bodies over gRPC by many connections at once, as quickly as the windows allow."""

import selectors
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import h2.connection
import h2.events
from pipeline_parts import EXPORT

from hostile.floods import Flood, Found
from hostile.target import MIB, Target

_PIECE = 16384  # What a frame may hold.
_WINDOW = 65535
_SETTINGS, _PING, _RESET, _GOAWAY, _WINDOW_UPDATE = 4, 6, 3, 7, 8
_INITIAL_WINDOW_SIZE = 4
_ACK = 1


def every_large_flood() -> list[Flood]:
    """Connections that nobody knows, and such that sent a small body before."""
    kinds = ((16, 60, False), (60, 30, False), (24, 60, True))
    return [
        Flood(
            f"{count} {'known ' if is_known else ''}connections of {size_mib} MiB, grpc",
            large_bodies(count, size_mib * MIB, is_known=is_known),
        )
        for count, size_mib, is_known in kinds
    ]


def large_bodies(count: int, size_bytes: int, *, is_known: bool) -> Callable[[Target, float], Found]:
    """Connections that claim a body each, let it become late, and then send all of it but the end."""

    def attack(target: Target, seconds: float) -> Found:
        senders = [_Sender(target.grpc_port, size_bytes, is_known=is_known) for _ in range(count)]
        with selectors.DefaultSelector() as selector:
            for sender in senders:
                selector.register(sender.connection, selectors.EVENT_READ, sender)
            begin_s = time.monotonic() + 0.12  # Behind it a body is late.
            while (now_s := time.monotonic()) < begin_s + seconds and any(sender.is_open for sender in senders):
                for key, _events in selector.select(0 if now_s > begin_s else 0.01):
                    key.data.read()
                for sender in senders:
                    sender.write(may_send=now_s > begin_s)
        for sender in senders:
            sender.connection.close()
        sent = Counter(sender.n_sent // MIB for sender in senders)
        return [], f"MiB that were taken, and of how many: {dict(sorted(sent.items()))}"

    return attack


class _Sender:
    """One connection with one body; frames are made and read by hand, as a library would be too slow to harm."""

    def __init__(self, port: int, size_bytes: int, *, is_known: bool) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._size_bytes = size_bytes
        self._stream = 3 if is_known else 1
        opening = h2.connection.H2Connection()
        opening.initiate_connection()
        if is_known:
            _open_call(opening, 1, struct.pack(">BI", 0, 0), ends=True)
            self.connection.sendall(opening.data_to_send())
            while not _has_ended(opening, self.connection.recv(1 << 16)):
                self.connection.sendall(opening.data_to_send())
        claim = struct.pack(">BI", 0, size_bytes) + b"\x0a"
        _open_call(opening, self._stream, claim, ends=False)
        self.connection.sendall(opening.data_to_send())
        self.connection.setblocking(False)  # noqa: FBT003 - the standard library's signature.
        self.n_sent = len(claim)
        self.is_open = True
        self._windows = {0: _WINDOW - self.n_sent - 5 * is_known, self._stream: _WINDOW - self.n_sent}
        self._initial_window = _WINDOW
        self._frame = _head(_PIECE, 0, 0, self._stream) + bytes(_PIECE)
        self._unread, self._unsent = b"", b""

    def read(self) -> None:
        """See how much more may be sent, and whether there is an answer."""
        try:
            data = self.connection.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.is_open = self.is_open and data != b""
        self._unread += data
        while len(self._unread) >= 9 and len(self._unread) >= (end := 9 + int.from_bytes(self._unread[:3])):
            kind, flags, stream = struct.unpack(">BBI", self._unread[3:9])
            payload, self._unread = self._unread[9:end], self._unread[end:]
            self._see(kind, flags, stream, payload)

    def write(self, *, may_send: bool) -> None:
        """Send as much as fits."""
        with suppress(BlockingIOError):
            while self.is_open and (self._unsent or (may_send and self._next())):
                try:
                    self._unsent = self._unsent[self.connection.send(self._unsent) :]
                except ConnectionError:
                    self.is_open = False

    def _next(self) -> bool:
        room = min(*self._windows.values(), self._size_bytes - self.n_sent)
        frames = min(16, room // _PIECE)
        self._unsent = self._frame * frames
        self.n_sent += frames * _PIECE
        for stream in self._windows:
            self._windows[stream] -= frames * _PIECE
        return frames > 0

    def _see(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _WINDOW_UPDATE and stream in self._windows:
            self._windows[stream] += int.from_bytes(payload)
        elif kind == _SETTINGS and not flags & _ACK:
            for number, value in struct.iter_unpack(">HI", payload):
                if number == _INITIAL_WINDOW_SIZE:
                    self._windows[self._stream] += value - self._initial_window
                    self._initial_window = value
            self._unsent += _head(0, _SETTINGS, _ACK, 0)
        elif kind == _PING and not flags & _ACK:
            self._unsent += _head(len(payload), _PING, _ACK, 0) + payload
        elif kind == _GOAWAY or (kind == _RESET and stream == self._stream):
            self.is_open = False


def _head(size_bytes: int, kind: int, flags: int, stream: int) -> bytes:
    return struct.pack(">I", size_bytes)[1:] + struct.pack(">BBI", kind, flags, stream)


def _open_call(connection: h2.connection.H2Connection, stream: int, data: bytes, *, ends: bool) -> None:
    names = {":method": "POST", ":scheme": "http", ":path": EXPORT, ":authority": "x", "te": "trailers"}
    connection.send_headers(stream, [*names.items(), ("content-type", "application/grpc")])
    connection.send_data(stream, data, end_stream=ends)


def _has_ended(connection: h2.connection.H2Connection, data: bytes) -> bool:
    return any(isinstance(event, h2.events.StreamEnded) for event in connection.receive_data(data))
