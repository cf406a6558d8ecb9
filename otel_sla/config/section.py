"""What all sections of the configuration have in common, and the types of their settings.

A setting's type reads text (see `yaml_file`), and writes itself back as text for `validate`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass
from datetime import date, datetime
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from otel_sla.config import parse
from otel_sla.config.yaml_file import Problem

Value = TypeVar("Value")
Settings = TypeVar("Settings")
MASK = "****"
_ENDINGS: dict[Any, str] = {tuple: "[]", dict: ".<name>"}
RULES_ERROR = "otel_sla_rules"  # pydantic's error type for `RuleProblems`.


class Section(BaseModel):
    """A mapping of the file. A key that is written without a value leaves its default."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _leave_defaults_for_empty_values(cls, value: object) -> object:
        if value is None:
            return {}
        if isinstance(value, dict):
            return {key: item for key, item in value.items() if item is not None or key not in cls.model_fields}
        return value


def build(settings: type[Settings], *sections: Section, **given: object) -> Settings:
    """Make plain settings: each field of a dataclass has the value of the key of its name, or of that without `_s`.

    A field without a key in `sections` keeps its default; one that is a dataclass is built likewise; `given` are fields
    that are something else than their key's value.
    """
    hints = get_type_hints(settings)
    values = {key: getattr(section, key) for section in sections for key in type(section).model_fields}
    keys = {name: name.removesuffix("_s") for name in hints if name not in given}
    plain = {name: _plain(values[key], hints[name]) for name, key in keys.items() if key in values}
    return settings(**given, **plain)


def _plain(value: object, hint: Any) -> object:  # noqa: ANN401 - any annotation.
    match value:
        case SecretStr():
            return value.get_secret_value()
        case Section():
            settings: Any = next(filter(is_dataclass, (hint, *get_args(hint))))
            return build(settings, value)
        case tuple():
            return (get_origin(hint) or tuple)(_plain(item, None) for item in value)
        case dict():
            return {key: _plain(item, None) for key, item in value.items()}
    return value


def section_in(annotation: Any) -> type[Section] | None:  # noqa: ANN401 - any annotation.
    """Find the section that a key of this type holds: alone, in a list, or where it is not None."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    if get_origin(annotation) is dict:
        annotation = get_args(annotation)[1]  # Of exporters a union, as they differ by type.
        return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None
    return next(filter(None, map(section_in, get_args(annotation))), None)


def sections_below(section: type[Section], above: str = "") -> Iterator[tuple[str, type[Section]]]:
    """Give all sections within a section with their paths; `[]` follows a list's key, `.<name>` a mapping's."""
    for name, field in section.model_fields.items():
        inner = section_in(field.annotation)
        if inner is not None:
            path = f"{above}{name}{_ENDINGS.get(get_origin(field.annotation), '')}"
            yield path, inner
            yield from sections_below(inner, f"{path}.")


def rule_problems(problems: Sequence[Problem]) -> PydanticCustomError:
    """Make the error that carries every broken rule of a section, each with its place within the section."""
    return PydanticCustomError(RULES_ERROR, "rules", {"problems": tuple(problems)})


def _of_text(parse: Any, kind: str) -> BeforeValidator:  # noqa: ANN401 - any parser of text.
    def read(value: object) -> object:
        if isinstance(value, str):
            return parse(value)
        if isinstance(value, (dict, list)) or value is None:
            raise ValueError(f"must be {kind}, not {kind_of(value)}")
        return value

    return BeforeValidator(read)


def kind_of(value: object) -> str:
    """Name what stands in a place, for people."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return "nothing" if value is None else repr(value)


def _not_empty(value: Sequence[Value]) -> Sequence[Value]:
    # pydantic's own check would also complain of a list whose items are all wrong.
    if not value:
        raise ValueError("must not be empty")
    return value


def host_port(text: str) -> str:
    """Return `text` if it is a network address with a port."""
    host, colon, port = text.rpartition(":")
    is_host = host and "/" not in text and (":" not in host or (host.startswith("[") and host.endswith("]")))
    if not (colon and is_host and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"must be host:port such as localhost:4317 or [::1]:4317, not {text!r}")
    return text


# Seconds.
Duration = Annotated[
    float,
    _of_text(parse.parse_duration, "a duration"),
    PlainSerializer(parse.format_duration, return_type=str),
    WithJsonSchema({"type": "duration"}),
]
PositiveDuration = Annotated[Duration, Field(gt=0)]
Ratio = Annotated[
    Fraction,
    _of_text(parse.parse_ratio, "a percentage or a ratio"),
    PlainSerializer(parse.format_ratio, return_type=str),
    WithJsonSchema({"type": "ratio"}),
]
Time = Annotated[
    datetime,
    PlainValidator(_of_text(parse.parse_time, "a time").func),
    PlainSerializer(datetime.isoformat, return_type=str),
    WithJsonSchema({"type": "time"}),
]
Date = Annotated[
    date,
    PlainValidator(_of_text(parse.parse_date, "a date").func),
    PlainSerializer(date.isoformat, return_type=str),
    WithJsonSchema({"type": "date"}),
]
PositiveInt = Annotated[int, Field(ge=1)]
FilePath = Annotated[Path, PlainSerializer(str, return_type=str)]
Text = Annotated[str, StringConstraints(min_length=1)]
Endpoint = Annotated[str, AfterValidator(host_port), WithJsonSchema({"type": "host:port"})]
Secret = Annotated[SecretStr, PlainSerializer(lambda _: MASK, return_type=str), WithJsonSchema({"type": "secret"})]
NOT_EMPTY = AfterValidator(_not_empty)
# A single text where a list is expected.
ONE_OR_MORE = BeforeValidator(lambda value: [value] if isinstance(value, str) else value)
OneOrMore = Annotated[tuple[Value, ...], ONE_OR_MORE]
Statuses = Annotated[
    OneOrMore[Annotated[frozenset[int], _of_text(parse.parse_status_set, "an HTTP status")]],
    NOT_EMPTY,
    PlainSerializer(lambda sets: parse.format_status_set(frozenset().union(*sets)), return_type=list[str]),
    WithJsonSchema({"type": "list of HTTP statuses"}),
]
GrpcStatuses = Annotated[
    OneOrMore[Annotated[int, _of_text(parse.parse_grpc_status, "a gRPC code")]],
    PlainSerializer(parse.format_grpc_status_set, return_type=list[str]),
    WithJsonSchema({"type": "list of gRPC codes"}),
]
