"""A recorded file as a stream of bytes, expanded if it is compressed; never more than a piece of it in memory.

What a file is compressed by is seen from its first bytes. None of these can begin a file that is not compressed: JSON
begins with a brace, and as the length of a message they would be above every limit.
"""

import io
from typing import Protocol

import zstandard
from isal import isal_zlib

from otel_sla.errors import ReplayError

_GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE_MAGIC = b"\x2a\x4d\x18"  # After a byte of 0x50 to 0x5f.
_MAGIC_SIZE = 4
_GZIP_WBITS = 31
_GZIP_READ_SIZE_BYTES = 64 * 1024  # What isal is given at once; it copies what it has not consumed at each step.
_READ_SIZE_BYTES = 256 * 1024
# What zstd's own command line takes without being asked: `zstd --long` makes frames of this window.
ZSTD_WINDOW_SIZE_BYTES_MAX = 128 * 1024 * 1024
_DAMAGED: tuple[type[Exception], ...] = (zstandard.ZstdError, isal_zlib.error)  # type: ignore[assignment]


class _Readable(Protocol):
    def readinto(self, buffer: memoryview, /) -> int | None: ...


class _TalliedFile(io.RawIOBase):
    """Counts how many bytes of a file were read."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self.size_bytes_read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        size = self._file.readinto(buffer)
        self.size_bytes_read += size
        return size


class _GzipSource:
    """Expands gzip, all members. isal's own file keeps back what it has when the end is missing; this gives it."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._member = isal_zlib.decompressobj(_GZIP_WBITS)
        self._rest = b""

    def readinto(self, buffer: memoryview) -> int:
        while True:
            rest = self._rest or self._file.read(_GZIP_READ_SIZE_BYTES)
            is_at_end = not rest
            if self._member.eof:
                rest = rest.lstrip(b"\0")  # Archivers pad with zeros behind the last member.
                if rest:
                    self._member = isal_zlib.decompressobj(_GZIP_WBITS)
            expanded = b""
            if not self._member.eof:
                expanded = self._member.decompress(rest, len(buffer))
                rest = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            self._rest = rest
            if expanded or is_at_end:
                buffer[: len(expanded)] = expanded
                return len(expanded)


class ByteStream(io.RawIOBase):
    """The expanded bytes of one file.

    A compressed file that ends too early, as one does that is still written or whose copy was cut off, gives what can
    be had of it. Reading raises a ReplayError if the file cannot be read, or is not what its compression says.

    Args:
        name: What messages call the file.
        file: Open for reading, at its start; buffered.

    Raises:
        ReplayError: It cannot be read.
    """

    def __init__(self, name: str, file: io.BufferedIOBase) -> None:
        self._name = name
        self._size_bytes_given = 0
        self._ahead = bytearray()
        self._tally = _TalliedFile(file)
        try:
            self._source = _expanded(io.BufferedReader(self._tally, _READ_SIZE_BYTES))
        except OSError as error:
            raise self._unreadable(error) from error

    @property
    def size_bytes_read(self) -> int:
        """Bytes of the file as it is stored that were read so far."""
        return self._tally.size_bytes_read

    def peek(self, size_bytes: int) -> bytes:
        """Give as many of the next bytes, fewer if the stream ends before; they are read again afterwards."""
        buffer = memoryview(bytearray(size_bytes))
        size = 0
        while size < size_bytes and (more := self.readinto(buffer[size:])):
            size += more
        self._ahead[:0] = buffer[:size]
        return bytes(buffer[:size])

    def readable(self) -> bool:  # noqa: D102 - io's own.
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # noqa: D102 - io's own.
        piece = self._ahead[: len(buffer)]
        if piece:
            buffer[: len(piece)] = piece
            del self._ahead[: len(piece)]
            return len(piece)
        try:
            size = self._source.readinto(buffer) or 0
        except _DAMAGED as error:
            message = f"{self._name} is damaged: it cannot be expanded behind byte {self._size_bytes_given}: {error}"
            raise ReplayError(message) from error
        except OSError as error:
            raise self._unreadable(error) from error
        self._size_bytes_given += size
        return size

    def _unreadable(self, error: OSError) -> ReplayError:
        return ReplayError(f"{self._name} cannot be read: {error.strerror or error}")


def _expanded(file: io.BufferedReader) -> _Readable:
    head = file.peek(_MAGIC_SIZE)[:_MAGIC_SIZE]
    if head.startswith(_GZIP_MAGIC):
        return _GzipSource(file)
    if head == ZSTD_MAGIC or head[1:] == _ZSTD_SKIPPABLE_MAGIC:
        expander = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_SIZE_BYTES_MAX)
        # Several frames in a row: the exporter ends one whenever it flushes.
        return expander.stream_reader(file, read_size=_READ_SIZE_BYTES, read_across_frames=True)
    return file
