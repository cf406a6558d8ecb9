"""One field's value in OTLP's JSON to what stands behind its tag in protobuf.

Each function takes what was read and raises `TypeError`, `ValueError` or `OverflowError` for what the field cannot
hold; which key that was is told by the caller.
"""

import base64
import binascii
import re
import struct
from collections.abc import Callable
from typing import Any

Encode = Callable[[Any], bytes]

VARINT, FIXED64, SIZED, FIXED32 = 0, 1, 2, 5  # Wire types.

_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_FLOAT_NAMES = frozenset({"NaN", "Infinity", "-Infinity"})
_HEX_FIELDS = frozenset({"trace_id", "span_id", "parent_span_id"})
_SMALL_VARINTS = tuple(bytes((value,)) for value in range(128))
_UINT64_MASK = (1 << 64) - 1
# Halves of surrogate pairs; the others stand for bytes that are no UTF-8 (`surrogateescape`).
_HALF = re.compile(r"[\ud800-\udc7f\udd00-\udfff]")


def write_varint(value: int) -> bytes:
    """Write a number from 0 to 2^64 - 1.

    >>> write_varint(300).hex()
    'ac02'
    """
    if value < 128:
        return _SMALL_VARINTS[value]
    if value < 16384:
        return bytes((value & 0x7F | 0x80, value >> 7))
    out = bytearray()
    while value >= 128:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encoder_of(field: Any) -> tuple[int, Encode]:  # noqa: ANN401 - protobuf's descriptors have no types.
    """Give the wire type of a scalar field, and what encodes its values."""
    if field.type == field.TYPE_BYTES:
        return SIZED, _encode_hex if field.name in _HEX_FIELDS else _encode_base64
    if field.type == field.TYPE_ENUM:
        return VARINT, _enum_encoder(field.enum_type.values_by_name)
    encoders: dict[int, tuple[int, Encode]] = {
        field.TYPE_STRING: (SIZED, _encode_text),
        field.TYPE_BOOL: (VARINT, _encode_bool),
        field.TYPE_INT32: (VARINT, _encode_int32),
        field.TYPE_INT64: (VARINT, _encode_int64),
        field.TYPE_UINT32: (VARINT, _encode_uint32),
        field.TYPE_UINT64: (VARINT, _encode_uint64),
        field.TYPE_FIXED32: (FIXED32, _encode_fixed32),
        field.TYPE_FIXED64: (FIXED64, _encode_fixed64),
        field.TYPE_DOUBLE: (FIXED64, _encode_double),
    }
    return encoders[field.type]


def _to_integer(value: object) -> int:
    if value.__class__ is int:
        return value
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, str):
        if value.isdecimal() and value.isascii():
            return int(value)
        number = _NUMBER.fullmatch(value)
        if number is None:
            raise ValueError
        if number.group(1) is None and number.group(2) is None:
            return int(value)
        value = float(value)
    if isinstance(value, float) and not value.is_integer():
        raise ValueError
    return int(value)  # type: ignore[call-overload, no-any-return]


def _in_range(value: object, start: int, stop: int) -> int:
    number = _to_integer(value)
    if not start <= number < stop:
        raise OverflowError
    return number


def _encode_int32(value: object) -> bytes:
    return write_varint(_in_range(value, -(1 << 31), 1 << 31) & _UINT64_MASK)


def _encode_int64(value: object) -> bytes:
    return write_varint(_in_range(value, -(1 << 63), 1 << 63) & _UINT64_MASK)


def _encode_uint32(value: object) -> bytes:
    return write_varint(_in_range(value, 0, 1 << 32))


def _encode_uint64(value: object) -> bytes:
    return write_varint(_in_range(value, 0, 1 << 64))


def _encode_fixed32(value: object) -> bytes:
    return _to_integer(value).to_bytes(4, "little")


def _encode_fixed64(value: object) -> bytes:
    return _to_integer(value).to_bytes(8, "little")


def _enum_encoder(values: Any) -> Encode:  # noqa: ANN401
    encoded_of = {name: _encode_int32(value.number) for name, value in values.items()}

    def encode(value: object) -> bytes:
        if value.__class__ is str:
            encoded = encoded_of.get(value)
            if encoded is None:
                raise ValueError
            return encoded
        return _encode_int32(value)

    return encode


def _encode_double(value: object) -> bytes:
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, str) and value not in _FLOAT_NAMES and _NUMBER.fullmatch(value) is None:
        raise ValueError
    return struct.pack("<d", float(value))  # type: ignore[arg-type]


def _encode_bool(value: object) -> bytes:
    if not isinstance(value, bool):
        raise TypeError
    return b"\x01" if value else b"\x00"


def _to_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _encode_text(value: object) -> bytes:
    if value.__class__ is not str:
        raise TypeError
    try:
        text: bytes = value.encode()
    except UnicodeEncodeError:  # A half becomes a replacement, as in the Collector; bytes stay as they came.
        text = _HALF.sub("\N{REPLACEMENT CHARACTER}", value).encode("utf-8", "surrogateescape")
    return write_varint(len(text)) + text


def _encode_hex(value: object) -> bytes:
    content = binascii.unhexlify(_to_text(value))
    return write_varint(len(content)) + content


def _encode_base64(value: object) -> bytes:
    """Read either alphabet, with or without padding, as proto3's JSON asks."""
    text = _to_text(value).replace("-", "+").replace("_", "/").rstrip("=")
    content = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    return write_varint(len(content)) + content
