"""Turns pydantic's findings into problems that a reader of the file understands."""

import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from otel_sla.config.section import RULES_ERROR, kind_of
from otel_sla.config.yaml_file import Loc, Problem, path_text
from otel_sla.errors import ConfigProblem


def find_problems(error: ValidationError, model: type[BaseModel], prefix: Loc = ()) -> list[Problem]:
    """List every problem of a validation with its place; `prefix` is where `model` stands in the file."""
    found: list[Problem] = []
    for details in error.errors(include_url=False):
        loc = tuple(part for part in details["loc"] if part != "[key]")
        if details["type"] == RULES_ERROR:
            found += [((*prefix, *loc, *place), message) for place, message in details["ctx"]["problems"]]
        else:
            found.append(((*prefix, *loc), _message(details, loc, model)))
    return found


def locate(found: Iterable[Problem], lines: Mapping[Loc, int]) -> list[ConfigProblem]:
    """Write problems for people, with the line of the place or of what it should stand in, in the file's order."""
    located: list[tuple[int, str, str]] = []
    for loc, message in found:
        line = _line(loc, lines)
        located.append((line, path_text(loc), f"{message} (line {line})" if line else message))
    return [ConfigProblem(path, message) for _, path, message in sorted(located)]


def _line(loc: Loc, lines: Mapping[Loc, int]) -> int:
    for length in range(len(loc), 0, -1):
        if loc[:length] in lines:
            return lines[loc[:length]]
    return 0


def _message(details: ErrorDetails, loc: Loc, model: type[BaseModel]) -> str:
    given = details["input"]
    context = details.get("ctx", {})
    if details["type"] == "extra_forbidden":
        return _unknown_key(loc, model)
    if details["type"] == "value_error":
        return str(context["error"])
    write = _MESSAGES.get(details["type"])
    return write(given, context) if write else f"{details['msg']}, not {kind_of(given)}"


def _not_a_choice(given: object, context: Mapping[str, Any]) -> str:
    choices = [choice.strip(" '") for choice in context["expected"].replace(" or ", ",").split(",")]
    near = get_close_matches(given, choices, n=1) if isinstance(given, str) else []
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"must be one of {', '.join(choices)}; not {kind_of(given)}{hint}"


_MESSAGES: Mapping[str, Callable[[Any, Mapping[str, Any]], str]] = {
    "missing": lambda _given, _context: "is required",
    "int_parsing": lambda given, _context: f"must be a whole number, not {kind_of(given)}",
    "int_type": lambda given, _context: f"must be a whole number, not {kind_of(given)}",
    "int_from_float": lambda given, _context: f"must be a whole number, not {kind_of(given)}",
    "int_parsing_size": lambda _given, _context: "is too large a number",
    "bool_parsing": lambda given, _context: f"must be true or false, not {kind_of(given)}",
    "bool_type": lambda given, _context: f"must be true or false, not {kind_of(given)}",
    "string_type": lambda given, _context: f"must be a text, not {kind_of(given)}",
    "path_type": lambda given, _context: f"must be a file's path, not {kind_of(given)}",
    "model_type": lambda given, _context: f"must be a mapping of keys to values, not {kind_of(given)}",
    "dict_type": lambda given, _context: f"must be a mapping of keys to values, not {kind_of(given)}",
    "tuple_type": lambda given, _context: f"must be a list, not {kind_of(given)}",
    "frozen_set_type": lambda given, _context: f"must be a list, not {kind_of(given)}",
    "list_type": lambda given, _context: f"must be a list, not {kind_of(given)}",
    "too_short": lambda _given, _context: "must not be empty",
    "string_too_short": lambda _given, _context: "must not be empty",
    "string_too_long": lambda _given, context: f"must be at most {context['max_length']} characters long",
    "string_pattern_mismatch": lambda given, context: f"must match {context['pattern']}, not {kind_of(given)}",
    "greater_than_equal": lambda given, context: f"must be at least {context['ge']}, not {given}",
    "less_than_equal": lambda given, context: f"must be at most {context['le']}, not {given}",
    "enum": _not_a_choice,
}


def _unknown_key(loc: Loc, model: type[BaseModel]) -> str:
    key = str(loc[-1])
    section = _section_at(model, loc[:-1])
    known = list(section.model_fields)
    near = get_close_matches(key.lower(), known, n=1, cutoff=0.6)
    if near:
        return f"unknown key; did you mean {near[0]!r}?"
    deeper = [path for path in _paths_below(section) if path[-1] == key]
    if deeper:
        return f"unknown key; did you mean {path_text(deeper[0])!r}?"
    return f"unknown key; known here: {', '.join(known)}"


def _section_at(model: type[BaseModel], loc: Loc) -> type[BaseModel]:
    here: Any = model
    for part in loc:
        if isinstance(here, type) and issubclass(here, BaseModel):
            here = _plain_type(here.model_fields[str(part)].annotation)
        else:
            # A list's items, or a mapping's values.
            here = _plain_type([argument for argument in get_args(here) if argument is not Ellipsis][-1])
    section: type[BaseModel] = here
    assert issubclass(section, BaseModel), "only sections refuse keys"
    return section


def _plain_type(annotation: Any) -> Any:  # noqa: ANN401 - any annotation.
    """Take away `Annotated` and `| None`."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            annotation = next(choice for choice in get_args(annotation) if choice is not type(None))
        else:
            return annotation


def _paths_below(section: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in section.model_fields.items():
        yield (*above, name)
        inner = _plain_type(field.annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _paths_below(inner, (*above, name))
