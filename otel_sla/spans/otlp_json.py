"""OTLP's JSON to the same request in protobuf bytes, so that one decoder and one accountant serve both.

OTLP's mapping (docs/specification.md, "JSON Protobuf Encoding") is proto3's with these differences: trace and span ids
are hex, enums are integers, and unknown keys are ignored. What the Collector's receiver takes besides is taken too:
keys in snake_case, enums by name, null in lists, text that is no UTF-8, values nested however deep. The fields come
from the descriptors of opentelemetry-proto, in the order of their numbers, so that the bytes are those of protobuf's
own serializer. Going through its objects instead takes four times as long, `google.protobuf.json_format` ten times.
"""

import base64
import binascii
import json
import re
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NoReturn

import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from otel_sla.errors import DecodeError

_DEPTH_MAX = 100  # Messages within messages; what lies deeper is left out, and nothing that counts does.
_LEVELS_MAX = 500  # Of JSON, which is more than that many messages have.
# What parsing and converting takes at most, measured with tracemalloc: orjson's tree by the length of the text, then
# CPython's objects with their slot in the parent, once as read and once as converted.
_SIZE_BYTES_PER_BYTE = 13
_SIZE_BYTES_PER_CONTAINER = 130
_SIZE_BYTES_PER_VALUE = 80
_SEEN_MAX = 4096  # Attributes that are remembered,
_TEXT_SIZE_MAX = 256  # of fewer characters than this: less than 8 MiB in all.
_VARINT, _FIXED64, _SIZED, _FIXED32 = 0, 1, 2, 5  # Wire types.
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_FLOAT_NAMES = frozenset({"NaN", "Infinity", "-Infinity"})
_HEX_FIELDS = frozenset({"trace_id", "span_id", "parent_span_id"})
_SMALL_VARINTS = tuple(bytes((value,)) for value in range(128))
_UINT64_MASK = (1 << 64) - 1
# Halves of surrogate pairs; the others stand for bytes that are no UTF-8 (`surrogateescape`).
_HALF = re.compile(r"[\ud800-\udc7f\udd00-\udfff]")
_Encode = Callable[[Any], bytes]  # A scalar's value to what stands behind its tag.
_TEXT_KINDS = frozenset(("stringValue", "intValue", "doubleValue", "bytesValue"))  # What may be written as text.


class JsonDecodeError(DecodeError):
    """The text is no JSON, or its value is no `ExportTraceServiceRequest`."""

    def __init__(self, reason: str, offset: int = 0) -> None:
        super().__init__(reason, offset)
        self.args = (f"not an OTLP trace request in JSON: {reason}",)


def estimate_size_bytes(body: bytes) -> int:
    """Bound the memory that `convert_json` takes, by the punctuation, before it is taken.

    Real requests take about 17 times their size, a body of empty lists takes 33 times.
    """
    containers = body.count(b"{") + body.count(b"[")
    values = body.count(b",") + body.count(b":")
    return len(body) * _SIZE_BYTES_PER_BYTE + containers * _SIZE_BYTES_PER_CONTAINER + values * _SIZE_BYTES_PER_VALUE


def convert_json(body: bytes | memoryview) -> bytes:
    """Convert a request in OTLP's JSON to protobuf.

    Raises:
        DecodeError: It is no such request.
    """
    return convert_value(load_json(body))


def convert_value(value: Any) -> bytes:  # noqa: ANN401 - whatever JSON can hold.
    """Convert a request that `load_json` gave; errors are those of `convert_json`."""
    return _ROOT.encode(value, 0)


def load_json(body: bytes | memoryview) -> Any:  # noqa: ANN401
    """Read JSON, also with halves of surrogate pairs and bytes that are no UTF-8: they are surrogates in its strings.

    Raises:
        DecodeError: It is no JSON.
    """
    content = bytes(body)
    if not content:
        raise JsonDecodeError("the body is empty")
    if sum(map(content.count, _ROOT_KEYS)) < 2:  # Of a key that stands twice orjson gives the last.
        with suppress(orjson.JSONDecodeError):
            return orjson.loads(content)
    with suppress(RecursionError):
        return _load_any_text(content)
    return _load_any_text(_without_depths(content))


_ROOT_KEYS = (b'"resourceSpans"', b'"resource_spans"')
_ESCAPES = re.compile(rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][c-fC-F]..)|.)", re.DOTALL)


def _load_any_text(content: bytes) -> Any:  # noqa: ANN401
    text = bytearray(content)
    for escape in _ESCAPES.finditer(content):
        if escape[1]:  # A second half without its first would be taken for a byte that is no UTF-8.
            text[escape.start() : escape.end()] = rb"\ufffd"
    try:
        return json.loads(
            text.decode("utf-8", "surrogateescape"), parse_constant=_refuse_constant, object_pairs_hook=_merged
        )
    except json.JSONDecodeError as error:
        raise JsonDecodeError(f"{error.msg} at character {error.pos}") from None
    except ValueError as error:
        raise JsonDecodeError(str(error)) from None  # A number of too many digits.


def _refuse_constant(name: str) -> NoReturn:
    raise JsonDecodeError(f"{name} is no JSON")


def _merged(pairs: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    """Make an object; of a key that stands twice the lists become one, as the Collector has it, or the last counts."""
    merged: dict[str, Any] = {}
    for key, item in pairs:
        known = merged.get(key)
        if isinstance(known, list) and (item is None or isinstance(item, list)):
            known += item or []
        else:
            merged[key] = item
    return merged


_TOKENS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)


def _without_depths(content: bytes) -> bytes:
    """Empty the arrays and objects that lie deeper than `_LEVELS_MAX`."""
    parts, kept_to, level = [], 0, 0
    for token in _TOKENS.finditer(content):
        match token[0]:
            case b"[" | b"{":
                level += 1
                if level == _LEVELS_MAX:
                    parts.append(content[kept_to : token.end()])
            case b"]" | b"}":
                if level == _LEVELS_MAX:
                    kept_to = token.start()
                level -= 1
    return b"".join((*parts, content[kept_to:] if level < _LEVELS_MAX else b""))


_EncodeField = Callable[[Any, int], bytes]  # From a value and its depth, with the tag; empty if it is the default.


class _Message:
    """One kind of message, and how each of its fields is encoded."""

    def __init__(self, descriptor: Any) -> None:  # noqa: ANN401 - protobuf's descriptors have no types.
        self._name = descriptor.name
        _messages[descriptor.full_name] = self  # Before its fields: an AnyValue may hold others.
        fields = sorted(descriptor.fields, key=lambda field: field.number)
        self._fields = [(field.json_name, _field_encoder(field)) for field in fields]
        self._key_of = {field.name: field.json_name for field in fields if field.name != field.json_name}
        self._field_of = dict(self._fields)
        self._is_choice = all(field.containing_oneof is not None for field in fields)

    def encode(self, value: object, depth: int) -> bytes:
        """Encode a JSON object; null is "not there"."""
        if value is None or depth >= _DEPTH_MAX:
            return b""
        if not isinstance(value, dict):
            raise JsonDecodeError(f"{self._name} is {_name_of(value)}, not an object")
        if self._is_choice:
            return self._encode_choice(value, depth)
        encoded = [encode(item, depth) for key, encode in self._fields if (item := value.get(key)) is not None]
        if len(encoded) != len(value) and not self._key_of.keys().isdisjoint(value):
            return self.encode(_merged((self._key_of.get(key, key), item) for key, item in value.items()), depth)
        return b"".join(encoded)

    def _encode_choice(self, value: dict[str, Any], depth: int) -> bytes:
        """Encode the one member that is set; of several the last."""
        encoded = b""
        for key, item in value.items():
            encode = self._field_of.get(self._key_of.get(key, key))
            if encode is not None and item is not None:
                encoded = encode(item, depth)
        return encoded


_messages: dict[str, _Message] = {}  # By full name.


def _message_of(descriptor: Any) -> _Message:  # noqa: ANN401
    known = _messages.get(descriptor.full_name)
    return _Message(descriptor) if known is None else known


def _field_encoder(field: Any) -> _EncodeField:  # noqa: ANN401
    if field.message_type is not None:
        encode_one = _message_field(field)
    else:
        wire_type, encode = _encoder_of(field)
        encode_one = _scalar_field(field, wire_type, encode)
    if not field.is_repeated:
        return encode_one
    if field.message_type is KeyValue.DESCRIPTOR:
        return _attributes(field.json_name, encode_one)
    return _repeated(field.json_name, encode_one)


def _message_field(field: Any) -> _EncodeField:  # noqa: ANN401
    tag = _varint(field.number << 3 | _SIZED)
    encode = _message_of(field.message_type).encode

    def encode_field(value: object, depth: int) -> bytes:
        content = encode(value, depth + 1)
        return tag + _varint(len(content)) + content

    return encode_field


def _scalar_field(field: Any, wire_type: int, encode: _Encode) -> _EncodeField:  # noqa: ANN401
    tag = _varint(field.number << 3 | wire_type)
    key = field.json_name
    defaults = frozenset() if field.has_presence or field.is_repeated else frozenset((b"\0", bytes(4), bytes(8)))

    def encode_field(value: object, _: int) -> bytes:
        try:
            content = encode(value)
        except (ValueError, TypeError, OverflowError):
            # Of an array or object not even the beginning: repr writes all of it first, and recurses.
            shown = "" if isinstance(value, dict | list) else f" {value!r:.40}"
            raise JsonDecodeError(f"{key} cannot be {_name_of(value)}{shown}") from None
        return b"" if content in defaults else tag + content

    return encode_field


def _attributes(key: str, encode: _EncodeField) -> _EncodeField:
    """Remember attributes whose value is written as text: most of a request's were in it, or in another, before."""
    seen: dict[tuple[object, ...], bytes] = {}
    encode_all = _repeated(key, encode)

    def encode_new(attribute: object, depth: int) -> bytes:
        encoded = encode(attribute, depth)
        # Only text is remembered, as 1, 1.0 and true are equal; and nothing that has further members.
        match attribute:
            case {"key": str(name), "value": {**member}, **more} if not more and len(member) == 1:
                ((kind, content),) = member.items()
                if kind in _TEXT_KINDS and isinstance(content, str) and len(name) + len(content) < _TEXT_SIZE_MAX:
                    if len(seen) >= _SEEN_MAX:
                        seen.clear()
                    seen[name, (kind, content)] = encoded
        return encoded

    def encode_field(attributes: object, depth: int) -> bytes:
        if not isinstance(attributes, list) or depth > _DEPTH_MAX // 2:
            return encode_all(attributes, depth)
        parts = []
        for attribute in attributes:
            try:
                is_plain = len(attribute) == 2
                encoded = seen.get((attribute["key"], *attribute["value"].items())) if is_plain else None
            except (TypeError, KeyError, AttributeError):
                encoded = None
            parts.append(encode_new(attribute, depth) if encoded is None else encoded)
        return b"".join(parts)

    return encode_field


def _repeated(key: str, encode: _EncodeField) -> _EncodeField:
    def encode_field(values: object, depth: int) -> bytes:
        if not isinstance(values, list):
            raise JsonDecodeError(f"{key} is {_name_of(values)}, not an array")
        return b"".join([encode(value, depth) for value in values])

    return encode_field


def _name_of(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _varint(value: int) -> bytes:
    if value < 128:
        return _SMALL_VARINTS[value]
    out = bytearray()
    while value >= 128:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _encoder_of(field: Any) -> tuple[int, _Encode]:  # noqa: ANN401 - protobuf's descriptors have no types.
    """Give the wire type of a scalar field, and what encodes its values.

    An encoder raises `TypeError`, `ValueError` or `OverflowError` for what the field cannot hold.
    """
    if field.type == field.TYPE_BYTES:
        return _SIZED, _encode_hex if field.name in _HEX_FIELDS else _encode_base64
    if field.type == field.TYPE_ENUM:
        return _VARINT, _enum_encoder(field.enum_type.values_by_name)
    encoders: dict[int, tuple[int, _Encode]] = {
        field.TYPE_STRING: (_SIZED, _encode_text),
        field.TYPE_BOOL: (_VARINT, _encode_bool),
        field.TYPE_INT32: (_VARINT, _varint_encoder(-(1 << 31), 1 << 31)),
        field.TYPE_INT64: (_VARINT, _varint_encoder(-(1 << 63), 1 << 63)),
        field.TYPE_UINT32: (_VARINT, _varint_encoder(0, 1 << 32)),
        field.TYPE_UINT64: (_VARINT, _varint_encoder(0, 1 << 64)),
        field.TYPE_FIXED32: (_FIXED32, lambda value: _to_integer(value).to_bytes(4, "little")),
        field.TYPE_FIXED64: (_FIXED64, lambda value: _to_integer(value).to_bytes(8, "little")),
        field.TYPE_DOUBLE: (_FIXED64, _encode_double),
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


def _varint_encoder(start: int, stop: int) -> _Encode:
    def encode(value: object) -> bytes:
        number = _to_integer(value)
        if not start <= number < stop:
            raise OverflowError
        return _varint(number & _UINT64_MASK)

    return encode


def _enum_encoder(values: Any) -> _Encode:  # noqa: ANN401
    encode_number = _varint_encoder(-(1 << 31), 1 << 31)
    encoded_of = {name: encode_number(value.number) for name, value in values.items()}

    def encode(value: object) -> bytes:
        if value.__class__ is str:
            encoded = encoded_of.get(value)
            if encoded is None:
                raise ValueError
            return encoded
        return encode_number(value)

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


def _encode_text(value: object) -> bytes:
    if value.__class__ is not str:
        raise TypeError
    try:
        text: bytes = value.encode()
    except UnicodeEncodeError:  # A half becomes a replacement, as in the Collector; bytes stay as they came.
        text = _HALF.sub("\N{REPLACEMENT CHARACTER}", value).encode("utf-8", "surrogateescape")
    return _varint(len(text)) + text


def _encode_hex(value: object) -> bytes:
    if not isinstance(value, str):
        raise TypeError
    content = binascii.unhexlify(value)
    return _varint(len(content)) + content


def _encode_base64(value: object) -> bytes:
    """Read either alphabet, with or without padding, as proto3's JSON asks."""
    if not isinstance(value, str):
        raise TypeError
    text = value.replace("-", "+").replace("_", "/").rstrip("=")
    content = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    return _varint(len(content)) + content


_ROOT = _Message(ExportTraceServiceRequest.DESCRIPTOR)
