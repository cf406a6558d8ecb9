"""What all sections of the configuration have in common, and the types of their settings.

A setting's type reads text (see `yaml_file`), and writes itself back as text for `validate`.
"""

from collections.abc import Callable, Sequence
from datetime import date, datetime
from fractions import Fraction
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
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
MASK = "****"
RULES_ERROR = "otel_sla_rules"  # pydantic's error type for `RuleProblems`.


class Section(BaseModel):
    """A mapping of the file. A key that is written without a value leaves its default."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_enum_values=False)

    @model_validator(mode="before")
    @classmethod
    def _leave_defaults_for_empty_values(cls, value: object) -> object:
        if value is None:
            return {}
        if isinstance(value, dict):
            return {key: item for key, item in value.items() if item is not None or key not in cls.model_fields}
        return value


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


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _not_empty(value: Sequence[Value]) -> Sequence[Value]:
    # pydantic's own check would also complain of a list whose items are all wrong.
    if not value:
        raise ValueError("must not be empty")
    return value


def _positive(nanos: int) -> int:
    if nanos == 0:
        raise ValueError("must be longer than 0s")
    return nanos


def host_port(text: str) -> str:
    """Return `text` if it is a network address with a port."""
    host, colon, port = text.rpartition(":")
    is_host = host and "/" not in text and (":" not in host or (host.startswith("[") and host.endswith("]")))
    if not (colon and is_host and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"must be host:port such as localhost:4317 or [::1]:4317, not {text!r}")
    return text


def _set_of(parse: Callable[[str], frozenset[int]], kind: str) -> BeforeValidator:
    """Read a list of texts, or a single one, each of which stands for some numbers."""

    def read(value: object) -> object:
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list):
            return value
        numbers: set[int] = set()
        problems: list[Problem] = []
        for index, item in enumerate(value):
            try:
                if not isinstance(item, str):
                    raise ValueError(f"must be {kind}, not {kind_of(item)}")  # noqa: TRY301, TRY004 - as what parses it.
                numbers |= parse(item)
            except ValueError as error:
                problems.append(((index,), str(error)))
        if problems:
            raise rule_problems(problems)
        return frozenset(numbers)

    return BeforeValidator(read)


def _names_a_status(statuses: frozenset[int]) -> frozenset[int]:
    if not statuses:
        raise ValueError("must name at least one status")
    return statuses


_duration_text = PlainSerializer(parse.format_duration, return_type=str)

# Nanoseconds.
Duration = Annotated[
    int,
    _of_text(parse.parse_duration_nanos, "a duration"),
    _duration_text,
    WithJsonSchema({"type": "duration"}),
]
PositiveDuration = Annotated[
    int,
    _of_text(parse.parse_duration_nanos, "a duration"),
    AfterValidator(_positive),
    _duration_text,
    WithJsonSchema({"type": "duration"}),
]
Ratio = Annotated[
    Fraction,
    _of_text(parse.parse_ratio, "a percentage or a ratio"),
    PlainSerializer(parse.format_ratio, return_type=str),
    WithJsonSchema({"type": "ratio"}),
]
StatusSet = Annotated[
    frozenset[int],
    _set_of(parse.parse_status_set, "an HTTP status"),
    AfterValidator(_names_a_status),
    PlainSerializer(parse.format_status_set, return_type=list[str]),
    WithJsonSchema({"type": "list of HTTP statuses"}),
]
GrpcStatusSet = Annotated[
    frozenset[int],
    _set_of(lambda text: frozenset({parse.parse_grpc_status(text)}), "a gRPC code"),
    PlainSerializer(parse.format_grpc_status_set, return_type=list[str]),
    WithJsonSchema({"type": "list of gRPC codes"}),
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
Text = Annotated[str, StringConstraints(min_length=1)]
Endpoint = Annotated[str, AfterValidator(host_port), WithJsonSchema({"type": "host:port"})]
Secret = Annotated[SecretStr, PlainSerializer(lambda _: MASK, return_type=str), WithJsonSchema({"type": "secret"})]
NOT_EMPTY = AfterValidator(_not_empty)
ONE_OR_MORE = BeforeValidator(_one_or_more)  # A single text where a list is expected.
OneOrMore = Annotated[tuple[Value, ...], ONE_OR_MORE]
