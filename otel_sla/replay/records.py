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

import io
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
_READ_SIZE_BYTES = 1024 * 1024
_BLANK = b" \t\r\n"
# What may stand before a record on its line: a byte order mark, and zeros where a write was lost.
_PADDING = re.compile(rb"[\0 \t\r\n]*+(?:\xef\xbb\xbf[\0 \t\r\n]*+)?")
# As a length followed by protobuf or a zstd frame this were no key's first letter.
_RECORD_IN_PADDING = re.compile(_PADDING.pattern + rb'\{[ \t\r\n]*+"[A-Za-z_]')
_LENGTH_FIRST_BYTE_MAX = 4  # Of lengths up to the bound.


@dataclass(frozen=True, slots=True)
class Record:
    """One record."""

    where: str  # `line 12` or `record 12 at byte 3456`, for people.
    start: int  # Offset in the stream, bytes.
    stop: int
    check: int  # Digest of all records so far, this one included; in [0, 2^63).
    content: bytes  # Empty if there is a problem.
    problem: str = ""  # Why there is no content.
    padding_size_bytes: int = 0  # Zeros and a byte order mark, before the content.


class Records(ABC):
    """The records of one stream, to be walked through once.

    Args:
        name: What messages call the stream.
        stream: At its start.
        size_bytes_max: Bound of a record.
    """

    def __init__(self, name: str, stream: ByteStream, size_bytes_max: int) -> None:
        self._name = name
        self._stream = io.BufferedReader(stream, _READ_SIZE_BYTES)
        self._size_bytes_max = size_bytes_max
        self._hasher = xxhash.xxh3_128()
        self._offset = 0  # Of the next record.
        self.incomplete_size_bytes = 0  # At the end: bytes behind the last whole record.

    @abstractmethod
    def __iter__(self) -> Iterator[Record]:
        """Walk through the records; stops before one that the stream does not have whole."""

    def _check(self, *texts: bytes) -> int:
        for text in texts:
            self._hasher.update(text)
        return int(self._hasher.intdigest()) & _CHECK_MASK


class JsonLines(Records):
    """Lines; blank ones are no records."""

    def __iter__(self) -> Iterator[Record]:
        number = 0
        while line := self._stream.readline(self._size_bytes_max + 1):
            number += 1
            text, start = line.removesuffix(b"\n"), self._offset
            if len(text) > self._size_bytes_max:
                yield self._skip_long_line(f"line {number}", text)
                continue
            self._offset += len(line)
            if not text.strip(_BLANK):
                continue
            found = _PADDING.match(text)
            assert found is not None, "it matches nothing, too"
            padding_size_bytes = found.end() if found[0].strip(_BLANK) else 0
            content = text[padding_size_bytes:]
            if text is line and not is_json(content):
                self.incomplete_size_bytes = len(line)
                return
            stop, check = start + len(text), self._check(text)
            yield Record(f"line {number}", start, stop, check, content, padding_size_bytes=padding_size_bytes)

    def _skip_long_line(self, where: str, text: bytes) -> Record:
        start = stop = self._offset
        line = text
        while line:
            text = line.removesuffix(b"\n")
            check = self._check(text)
            stop += len(text)
            line = self._stream.readline(_READ_SIZE_BYTES) if text is line else b""
        self._offset = stop + 1
        return Record(where, start, stop, check, b"", f"longer than {self._size_bytes_max} bytes")


class LengthPrefixed(Records):
    """Messages, each behind its length."""

    def __iter__(self) -> Iterator[Record]:
        for number in itertools.count(1):
            start = self._offset
            size = self._stream.read(_SIZE_OF_SIZE)
            where, size_bytes = f"record {number} at byte {start}", int.from_bytes(size, "big")
            if len(size) == _SIZE_OF_SIZE and size_bytes > self._size_bytes_max:
                if number == 1:
                    raise ReplayError(f"{self._name}: {NO_FORMAT}")
                raise ReplayError(
                    f"{self._name}, {where}: a length of {size_bytes} bytes, more than {self._size_bytes_max}:"
                    " damaged; where the next record begins is not known"
                )
            content = self._stream.read(size_bytes)
            if len(size) < _SIZE_OF_SIZE or len(content) < size_bytes:
                self.incomplete_size_bytes = len(size) + len(content)
                return
            self._offset = start + _SIZE_OF_SIZE + size_bytes
            yield Record(where, start, self._offset, self._check(size, content), content)


def open_records(
    name: str, stream: ByteStream, wanted: Format, *, size_bytes_max: int = RECORD_SIZE_BYTES_MAX
) -> Records:
    """Cut a stream into records, by the format asked for or the one that its beginning shows.

    Raises:
        ReplayError: It cannot be read.
    """
    if wanted is Format.AUTO:
        wanted = Format.JSON if _looks_like_json(stream, size_bytes_max) else Format.PROTO
    kind = JsonLines if wanted is Format.JSON else LengthPrefixed
    return kind(name, stream, size_bytes_max)


def _looks_like_json(stream: ByteStream, size_bytes_max: int) -> bool:
    """Decide by the beginning, or where that is no length, by a line that begins as JSON."""
    size_bytes = _READ_SIZE_BYTES
    text = stream.peek(size_bytes)
    while size_bytes <= len(text) <= size_bytes_max and _PADDING.fullmatch(text):
        size_bytes *= 2
        text = stream.peek(size_bytes)
    if _RECORD_IN_PADDING.match(text) is not None:
        return True
    first = text.lstrip(_BLANK)[:1]
    if first in {b"", b"{"}:  # Blank lines are no length.
        return True
    if first[0] <= _LENGTH_FIRST_BYTE_MAX:
        return False
    while size_bytes <= len(text) <= size_bytes_max and b"\n{" not in text:
        size_bytes *= 2
        text = stream.peek(size_bytes)
    return b"\n{" in text


def is_json(text: bytes) -> bool:
    """Whether this is one whole JSON value."""
    try:
        load_json(text)
    except DecodeError:
        return False
    return True
