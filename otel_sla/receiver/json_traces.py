"""OTLP's JSON to the same request in protobuf bytes, so that one decoder and one accountant serve both.

OTLP's mapping (docs/specification.md, "JSON Protobuf Encoding") is proto3's with these differences: trace and span ids
are hex, enums are integers, keys are lowerCamelCase only, and unknown keys are ignored. The fields come from the
descriptors of opentelemetry-proto; `google.protobuf.json_format` reads ids as base64 and is several times slower.
"""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_sla.errors import DecodeError

_DEPTH_MAX = 100  # Messages within messages; protobuf parsers stop there too.
_HEX_FIELDS = frozenset({"trace_id", "span_id", "parent_span_id"})
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_FLOAT_NAMES = frozenset({"NaN", "Infinity", "-Infinity"})
# What parsing and converting takes at most, measured with tracemalloc: orjson's tree by the length of the text, then
# CPython's objects with their slot in the parent, once as read and once as converted.
_SIZE_BYTES_PER_BYTE = 13
_SIZE_BYTES_PER_CONTAINER = 130
_SIZE_BYTES_PER_VALUE = 80


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


def convert_json(body: bytes) -> bytes:
    """Convert a request in OTLP's JSON to protobuf.

    Raises:
        DecodeError: It is no such request.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise JsonDecodeError(f"{error.msg} at character {error.pos}") from None
    try:
        fields = _convert_message(value, _ROOT, 0)
        encoded: bytes = ExportTraceServiceRequest(**fields).SerializeToString()
    except (ValueError, TypeError) as error:  # What protobuf says about a number out of range.
        raise JsonDecodeError(str(error)) from None
    return encoded


@dataclass(frozen=True, slots=True)
class _Field:
    name: str  # As in the .proto.
    key: str  # As in JSON.
    is_repeated: bool
    convert: Callable[[Any], Any] | None  # None for a message,
    message: Any  # whose descriptor this is.


_fields_of: dict[str, dict[str, _Field]] = {}  # Full name of a message -> JSON key -> field.


def _fields(descriptor: Any) -> dict[str, _Field]:  # noqa: ANN401 - protobuf's descriptors have no types.
    known = _fields_of.get(descriptor.full_name)
    if known is None:
        known = {field.json_name: _field(field) for field in descriptor.fields}
        _fields_of[descriptor.full_name] = known
    return known


def _field(field: Any) -> _Field:  # noqa: ANN401
    convert = None if field.message_type is not None else _converter(field)
    return _Field(field.name, field.json_name, field.is_repeated, convert, field.message_type)


def _convert_message(value: object, descriptor: Any, depth: int) -> dict[str, Any]:  # noqa: ANN401
    """Convert a JSON object to the keyword arguments of the message's class."""
    if not isinstance(value, dict):
        raise JsonDecodeError(f"{descriptor.name} is {_name_of(value)}, not an object")
    if depth > _DEPTH_MAX:
        raise JsonDecodeError(f"more than {_DEPTH_MAX} messages within each other")
    known = _fields(descriptor)
    fields: dict[str, Any] = {}
    for key, item in value.items():
        field = known.get(key)
        if field is None or item is None:  # null is "not there".
            continue
        if not field.is_repeated:
            fields[field.name] = _convert_value(item, field, depth)
        elif isinstance(item, list):
            fields[field.name] = [_convert_value(one, field, depth) for one in item]
        else:
            raise JsonDecodeError(f"{key} is {_name_of(item)}, not an array")
    return fields


def _convert_value(value: object, field: _Field, depth: int) -> object:
    if field.convert is None:
        return _convert_message(value, field.message, depth + 1)
    try:
        return field.convert(value)
    except (ValueError, TypeError, OverflowError):
        raise JsonDecodeError(f"{field.key} cannot be {_name_of(value)} {value!r:.40}") from None


def _to_integer(value: object) -> int:
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, str):
        number = _NUMBER.fullmatch(value)
        if number is None:
            raise ValueError
        if number.group(1) is None and number.group(2) is None:
            return int(value)
        value = float(value)
    if isinstance(value, float) and not value.is_integer():
        raise ValueError
    return int(value)  # type: ignore[call-overload, no-any-return]


def _to_enum(value: object) -> int:
    if isinstance(value, str):
        raise TypeError
    return _to_integer(value)


def _to_float(value: object) -> float:
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, str) and value not in _FLOAT_NAMES and _NUMBER.fullmatch(value) is None:
        raise ValueError
    return float(value)  # type: ignore[arg-type]


def _to_bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _to_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _from_hex(value: object) -> bytes:
    return binascii.unhexlify(_to_text(value))


def _from_base64(value: object) -> bytes:
    """Read either alphabet, with or without padding, as proto3's JSON asks."""
    text = _to_text(value).replace("-", "+").replace("_", "/").rstrip("=")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _converter(field: Any) -> Callable[[Any], Any]:  # noqa: ANN401
    if field.type == field.TYPE_BYTES:
        return _from_hex if field.name in _HEX_FIELDS else _from_base64
    if field.type == field.TYPE_ENUM:
        return _to_enum
    return _OF_CPP_TYPE[field.cpp_type]


def _name_of(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


_ROOT = ExportTraceServiceRequest.DESCRIPTOR
_FIELD = type(_ROOT.fields[0])
_OF_CPP_TYPE: dict[int, Callable[[Any], Any]] = {
    _FIELD.CPPTYPE_INT32: _to_integer,
    _FIELD.CPPTYPE_INT64: _to_integer,
    _FIELD.CPPTYPE_UINT32: _to_integer,
    _FIELD.CPPTYPE_UINT64: _to_integer,
    _FIELD.CPPTYPE_FLOAT: _to_float,
    _FIELD.CPPTYPE_DOUBLE: _to_float,
    _FIELD.CPPTYPE_BOOL: _to_bool,
    _FIELD.CPPTYPE_STRING: _to_text,
}
