"""One attempt to send one request, over gRPC or HTTP; whether it may be tried again is decided as OTLP says."""

import asyncio
import gzip
from collections.abc import Mapping
from typing import Protocol

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from pipeline_parts import EXPORT

from .pieces import Encoding

# docs/specification.md of OTLP, "Failures".
_RETRYABLE = {
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
_RETRYABLE_HTTP = {429, 502, 503, 504}
_CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # A connection for each sender.
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 100),
)


class NotAnswered(Exception):
    """The sender does not know whether the request was counted, or was told to repeat it."""

    def __init__(self, reason: str, delay_s: float = 0.0) -> None:
        self.reason = reason
        self.delay_s = delay_s  # At least this long, says the receiver.
        super().__init__(reason)


class Transport(Protocol):
    """A way to a receiver."""

    async def export(self, body: bytes, timeout_s: float) -> None:
        """Send one request; returns when all of it was acknowledged.

        Raises:
            NotAnswered: It may, and must, be sent again.
            AssertionError: An OTLP sender would drop it.
        """

    async def close(self) -> None:
        """End the connections."""


class GrpcTransport:
    """OTLP/gRPC."""

    def __init__(self, port: int, *, is_compressed: bool) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_CHANNEL_OPTIONS)
        self._call = self._channel.unary_unary(EXPORT)
        self._compression = grpc.Compression.Gzip if is_compressed else grpc.Compression.NoCompression

    async def export(self, body: bytes, timeout_s: float) -> None:
        """Implement Transport."""
        try:
            answer = await self._call(body, timeout=timeout_s, compression=self._compression)
        except grpc.aio.AioRpcError as error:
            raise _failure_of(error) from None
        assert answer == b"", f"not taken in full: {answer!r}"

    async def close(self) -> None:
        """Implement Transport."""
        await self._channel.close()


def _failure_of(error: grpc.aio.AioRpcError) -> NotAnswered | AssertionError:
    trailers = {} if error.trailing_metadata() is None else dict(error.trailing_metadata())
    delay_s = _delay_s(trailers.get("grpc-status-details-bin"))
    is_told_when = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and delay_s > 0
    if error.code() in _RETRYABLE or is_told_when:
        return NotAnswered(error.code().name, delay_s)
    return AssertionError(f"dropped: {error.code()} {error.details()}")


def _delay_s(details: bytes | None) -> float:
    info = RetryInfo()
    for detail in Status.FromString(details or b"").details:
        if detail.Unpack(info):
            return float(info.retry_delay.ToNanoseconds()) / 1e9
    return 0.0


class HttpTransport:
    """OTLP/HTTP, with connections that are kept while they last."""

    def __init__(self, port: int, encoding: Encoding, *, is_compressed: bool) -> None:
        self._port = port
        self._is_compressed = is_compressed
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        compression = "content-encoding: gzip\r\n" if is_compressed else ""
        self._head = f"POST /v1/traces HTTP/1.1\r\nhost: test\r\ncontent-type: {encoding.value}\r\n{compression}"
        self._answer = b"" if encoding is Encoding.PROTOBUF else b"{}"

    async def export(self, body: bytes, timeout_s: float) -> None:
        """Implement Transport."""
        if self._is_compressed:
            body = gzip.compress(body, compresslevel=1)
        try:
            async with asyncio.timeout(timeout_s):
                status, headers, answer = await self._post(body)
        except (OSError, EOFError, TimeoutError) as error:  # TimeoutError: as a sender's own limit.
            raise NotAnswered(type(error).__name__) from None
        if status in _RETRYABLE_HTTP:
            raise NotAnswered(str(status), float(headers.get("retry-after", 0)))
        assert status == 200, f"dropped: {status} {answer!r}"
        assert answer == self._answer, f"not taken in full: {answer!r}"

    async def _post(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        is_kept = False
        try:
            writer.write(f"{self._head}content-length: {len(body)}\r\n\r\n".encode() + body)
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().splitlines()
            headers = dict(line.split(": ", 1) for line in lines[1:] if line)
            answer = await reader.readexactly(int(headers.get("content-length", 0)))
            is_kept = headers.get("connection") != "close"
        finally:
            if is_kept:
                self._idle.append((reader, writer))
            else:
                writer.close()
        return int(lines[0].split()[1]), headers, answer

    async def close(self) -> None:
        """Implement Transport."""
        for _, writer in self._idle:
            writer.close()
        self._idle = []
