"""Requests that nobody sends by mistake: bombs, lies about lengths, endless nesting, millions of nothings."""

import zlib

import cramjam
import zstandard
from isal import isal_zlib

MIB = 1 << 20
BOMB_SIZE_BYTES = 400 * MIB


def sized(number: int, content: bytes) -> bytes:
    """A length-delimited field, as in protobuf."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    """A protobuf varint."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def gzip_bomb(size_bytes: int = BOMB_SIZE_BYTES) -> bytes:
    """Zeros, a thousandth of their size."""
    compressor = isal_zlib.compressobj(0, isal_zlib.DEFLATED, 31)
    pieces = [compressor.compress(bytes(MIB)) for _ in range(size_bytes // MIB)]
    return b"".join((*pieces, compressor.flush()))


def zstd_bomb(size_bytes: int = BOMB_SIZE_BYTES) -> bytes:
    """Zeros, a thirty thousandth of their size."""
    compressor = zstandard.ZstdCompressor(1).compressobj()
    pieces = [compressor.compress(bytes(MIB)) for _ in range(size_bytes // MIB)]
    return b"".join((*pieces, compressor.flush()))


def zlib_bomb(size_bytes: int = BOMB_SIZE_BYTES) -> bytes:
    """Zeros, a thousandth of their size."""
    compressor = isal_zlib.compressobj(0, isal_zlib.DEFLATED, 15)
    pieces = [compressor.compress(bytes(MIB)) for _ in range(size_bytes // MIB)]
    return b"".join((*pieces, compressor.flush()))


def lz4_bomb(size_bytes: int = BOMB_SIZE_BYTES) -> bytes:
    """Zeros, a part in 250 of their size."""
    return bytes(cramjam.lz4.compress(bytes(size_bytes)))


def snappy_bomb(size_bytes: int = BOMB_SIZE_BYTES) -> bytes:
    """Zeros in one block, a twentieth of their size."""
    return bytes(cramjam.snappy.compress_raw(bytes(size_bytes)))


def snappy_stream_bomb(size_bytes: int = BOMB_SIZE_BYTES) -> bytes:
    """The same as a stream."""
    return bytes(cramjam.snappy.compress(bytes(size_bytes)))


def gzip(body: bytes) -> bytes:
    """One member."""
    compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
    return compressor.compress(body) + compressor.flush()


def in_span(content: bytes) -> bytes:
    """A request of one span with these fields."""
    return sized(1, sized(2, sized(2, content)))


def nested_value(levels: int) -> bytes:
    """A span with an attribute that is an array in an array in an array."""
    value = b"\x0a\x01x"
    for _ in range(levels):
        value = sized(5, sized(1, value))
    return in_span(sized(9, sized(1, b"k") + sized(2, value)))


def nested_value_json(levels: int) -> bytes:
    """The same in JSON."""
    opening, closing = b'{"arrayValue":{"values":[', b"]}}"
    value = opening * levels + b'{"stringValue":"x"}' + closing * levels
    span = b'{"attributes":[{"key":"k","value":' + value + b"}]}"
    return b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + span + b"]}]}]}"


def claimed(number: int, size_bytes: int) -> bytes:
    """A span's field that claims a size and ends there."""
    return in_span(varint(number << 3 | 2) + varint(size_bytes))


def filled(unit: bytes, levels: tuple[int, ...], size_bytes: int) -> bytes:
    """A request of nearly `size_bytes` that is `unit` again and again, within messages of these field numbers."""
    content = unit * ((size_bytes - 6 * len(levels)) // len(unit))
    for number in reversed(levels):
        content = sized(number, content)
    return content
