r"""Cuts a stream into records: a line of JSON each, or a message each behind its length.

The Collector's file exporter (fileexporter/file_writer.go) writes

::

    format: json                        <JSON> \n
    format: proto                       <size, 4 bytes, big-endian> <protobuf>
    either with compression: zstd       <size, 4 bytes, big-endian> <zstd frame of JSON or protobuf>

and, behind its feature gate exporter.file.nativeCompression, the first two inside a stream of zstd.

A file may begin in the middle of a record, as the rest of one that was rotated or cut does, and a crash of its writer
leaves zeros, or half a record with the next one behind it on the same line.

A place in a stream is an offset in its expanded bytes, always the end of a record; so a compressed copy of a file has
the same places. A line's end is before its line break, for a last line may get its break later.
"""

import itertools
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import xxhash

from otel_sla.errors import DecodeError, ReplayError
from otel_sla.replay.settings import Format
from otel_sla.replay.streams import ByteStream
from otel_sla.spans.otlp_json import load_json

NO_FORMAT = "neither JSON lines nor length-prefixed messages (UTF-16? a JSON array?)"
RECORD_SIZE_BYTES_MAX = 64 * 1024 * 1024
_CHECK_MASK = (1 << 63) - 1  # SQLite's integers have a sign.
_SIZE_OF_SIZE = 4
_WINDOW_SIZE_BYTES = 1024 * 1024
_BLANK = b" \t\r\n"
# What may stand before a record on its line: a byte order mark, and zeros where a write was lost.
_PADDING = re.compile(rb"[\0 \t\r\n]*+(?:\xef\xbb\xbf[\0 \t\r\n]*+)?")
# As a length followed by protobuf or a zstd frame this were no key's first letter.
_RECORD_IN_PADDING = re.compile(_PADDING.pattern + rb'\{[ \t\r\n]*+"[A-Za-z_]')
_BRACE = ord("{")
_LENGTH_FIRST_BYTE_MAX = 4  # Of lengths up to the bound.


@dataclass(frozen=True, slots=True)
class Record:
    """One record."""

    where: str  # `line 12` or `record 12 at byte 3456`, for people.
    start: int  # Offset in the stream, bytes.
    stop: int
    check: int  # Digest of all records so far, this one included; in [0, 2^63).
    content: memoryview  # Until the next record is asked for. Empty if there is a problem.
    problem: str = ""  # Why there is no content.
    padding_size_bytes: int = 0  # Zeros and a byte order mark, before the content.


class StreamBuffer:
    """The part of a stream that is in memory; grows with what has to be in one piece."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._buffer = bytearray(_WINDOW_SIZE_BYTES)
        self._start = 0
        self._stop = 0
        self.offset = 0  # Of the first byte that is held.

    def __len__(self) -> int:
        return self._stop - self._start

    def fetch(self) -> bool:
        """Read some more; False at the end. Views are void afterwards."""
        if self._stop == len(self._buffer):
            self._make_room()
        size = self._stream.read_into(memoryview(self._buffer)[self._stop :])
        self._stop += size
        return size > 0

    def have(self, size_bytes: int) -> bool:
        """Read until so many bytes are held; False if the stream has fewer."""
        while len(self) < size_bytes:
            if not self.fetch():
                return False
        return True

    def find(self, text: bytes, start: int) -> int:
        """Give the index at which this begins from index `start` on, -1 if it does not."""
        found = self._buffer.find(text, self._start + start, self._stop)
        return found if found < 0 else found - self._start

    def view(self, size_bytes: int) -> memoryview:
        """Give the first bytes that are held."""
        return memoryview(self._buffer)[self._start : min(self._start + size_bytes, self._stop)]

    def drop(self, size_bytes: int) -> None:
        """Go on behind the first bytes."""
        assert size_bytes <= len(self), f"{size_bytes} of {len(self)} bytes"
        self._start += size_bytes
        self.offset += size_bytes

    def _make_room(self) -> None:
        held = self._buffer[self._start : self._stop]
        if 2 * len(held) > len(self._buffer):
            self._buffer = bytearray(2 * len(self._buffer))
        self._buffer[: len(held)] = held
        self._start, self._stop = 0, len(held)


class Records(ABC):
    """The records of one stream, to be walked through once.

    Args:
        name: What messages call the stream.
        window: At the start of the stream.
        size_bytes_max: Bound of a record.
    """

    def __init__(self, name: str, window: StreamBuffer, size_bytes_max: int) -> None:
        self._name = name
        self._window = window
        self._size_bytes_max = size_bytes_max
        self._hasher = xxhash.xxh3_128()
        self.incomplete_size_bytes = 0  # At the end: bytes behind the last whole record.

    @abstractmethod
    def __iter__(self) -> Iterator[Record]:
        """Walk through the records; stops before one that the stream does not have whole."""

    def _record(self, where: str, size_bytes: int, *, head_size_bytes: int = 0, padding_size_bytes: int = 0) -> Record:
        raw = self._window.view(size_bytes)
        self._hasher.update(raw)
        start = self._window.offset
        content = raw[head_size_bytes + padding_size_bytes :]
        return Record(where, start, start + size_bytes, self._check, content, padding_size_bytes=padding_size_bytes)

    @property
    def _check(self) -> int:
        return int(self._hasher.intdigest()) & _CHECK_MASK


class JsonLines(Records):
    """Lines; blank ones are no records."""

    def __iter__(self) -> Iterator[Record]:
        for number in itertools.count(1):
            size_bytes, has_break = self._measure()
            if size_bytes > self._size_bytes_max:
                yield self._skip_long_line(f"line {number}")
            elif self._is_blank(size_bytes):
                self._window.drop(size_bytes)
            else:
                padding_size_bytes = self._measure_padding(size_bytes)
                if not has_break and not is_json(self._window.view(size_bytes)[padding_size_bytes:]):
                    self.incomplete_size_bytes = size_bytes
                    return
                yield self._record(f"line {number}", size_bytes, padding_size_bytes=padding_size_bytes)
                self._window.drop(size_bytes)
            if not self._window.have(1):
                return
            self._window.drop(1)

    def _measure(self) -> tuple[int, bool]:
        """Give the size of the line, and whether it ends with a break; of a line that is too long, some size."""
        searched = 0
        while True:
            found = self._window.find(b"\n", searched)
            if found >= 0:
                return found, True
            searched = len(self._window)
            if searched > self._size_bytes_max or not self._window.fetch():
                return searched, False

    def _measure_padding(self, size_bytes: int) -> int:
        line = self._window.view(size_bytes)
        if line[0] == _BRACE:
            return 0
        found = _PADDING.match(line)
        assert found is not None, "it matches nothing, too"
        return found.end() if found[0].strip(_BLANK) else 0

    def _is_blank(self, size_bytes: int) -> bool:
        return not bytes(self._window.view(size_bytes)[:64]).strip(_BLANK) and (
            not bytes(self._window.view(size_bytes)).strip(_BLANK)
        )

    def _skip_long_line(self, where: str) -> Record:
        start = self._window.offset
        found = -1
        while found < 0:
            found = self._window.find(b"\n", 0)
            size_bytes = len(self._window) if found < 0 else found
            self._hasher.update(self._window.view(size_bytes))
            self._window.drop(size_bytes)
            if found < 0 and not self._window.fetch():
                break
        problem = f"longer than {self._size_bytes_max} bytes"
        return Record(where, start, self._window.offset, self._check, memoryview(b""), problem)


class LengthPrefixed(Records):
    """Messages, each behind its length."""

    def __iter__(self) -> Iterator[Record]:
        for number in itertools.count(1):
            if not self._window.have(_SIZE_OF_SIZE):
                break
            where = f"record {number} at byte {self._window.offset}"
            size_bytes = int.from_bytes(self._window.view(_SIZE_OF_SIZE), "big")
            if size_bytes > self._size_bytes_max:
                if number == 1:
                    raise ReplayError(f"{self._name}: {NO_FORMAT}")
                raise ReplayError(
                    f"{self._name}, {where}: a length of {size_bytes} bytes, more than {self._size_bytes_max}:"
                    " damaged; where the next record begins is not known"
                )
            if not self._window.have(_SIZE_OF_SIZE + size_bytes):
                break
            yield self._record(where, _SIZE_OF_SIZE + size_bytes, head_size_bytes=_SIZE_OF_SIZE)
            self._window.drop(_SIZE_OF_SIZE + size_bytes)
        self.incomplete_size_bytes = len(self._window)


def open_records(
    name: str, stream: ByteStream, wanted: Format, *, size_bytes_max: int = RECORD_SIZE_BYTES_MAX
) -> Records:
    """Cut a stream into records, by the format asked for or the one that its beginning shows.

    Raises:
        ReplayError: It cannot be read.
    """
    window = StreamBuffer(stream)
    if wanted is Format.AUTO:
        wanted = Format.JSON if _looks_like_json(window, size_bytes_max) else Format.PROTO
    kind = JsonLines if wanted is Format.JSON else LengthPrefixed
    return kind(name, window, size_bytes_max)


def _looks_like_json(window: StreamBuffer, size_bytes_max: int) -> bool:
    """Tell by the beginning, or where that is no length, by a line that begins as JSON."""
    window.have(_WINDOW_SIZE_BYTES)
    while len(window) <= size_bytes_max and _PADDING.fullmatch(window.view(len(window))) and window.fetch():
        pass
    if _RECORD_IN_PADDING.match(window.view(len(window))) is not None:
        return True
    text = bytes(window.view(len(window))).lstrip(_BLANK)
    if not text or text[0] == _BRACE:  # Blank lines are no length.
        return True
    if text[0] <= _LENGTH_FIRST_BYTE_MAX:
        return False
    searched = 0
    while (found := window.find(b"\n{", searched)) < 0:
        searched = max(len(window) - 1, 0)
        if searched > size_bytes_max or not window.fetch():
            break
    return found >= 0


def is_json(text: memoryview) -> bool:
    """Tell whether this is one whole JSON value."""
    try:
        load_json(text)
    except DecodeError:
        return False
    return True
