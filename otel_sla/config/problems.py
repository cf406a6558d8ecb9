"""Turns pydantic's findings into problems that a reader of the file understands."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from otel_sla.config.section import RULES_ERROR, Section, kind_of, section_in, sections_below
from otel_sla.config.yaml_file import Loc, Problem, path_text
from otel_sla.errors import ConfigProblem

_MESSAGES: Mapping[str, str] = {
    "missing": "is required",
    "int_parsing_size": "is too large a number",
    "path_type": "must be a file's path, not {kind}",
    "string_type": "must be a text, not {kind}",
    "string_too_long": "must be at most {max_length} characters long",
    "string_pattern_mismatch": "must match {pattern}, not {kind}",
    "greater_than": "must be longer than 0s",  # Asked of durations only.
    "greater_than_equal": "must be at least {ge}, not {given}",
    "less_than_equal": "must be at most {le}, not {given}",
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "must be a whole number, not {kind}"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "must be true or false, not {kind}"),
    **dict.fromkeys(("model_type", "dict_type"), "must be a mapping of keys to values, not {kind}"),
    **dict.fromkeys(("tuple_type", "frozen_set_type", "list_type"), "must be a list, not {kind}"),
    **dict.fromkeys(("too_short", "string_too_short"), "must not be empty"),
}
_REMOVED: Mapping[Loc, str] = {
    ("processor", "processes"): "no longer exists: leave it out; for more than one process can take, run several"
    " otel-sla with a ledger each behind the Collector's routing connector (docs/performance.md#limits)",
}


def find_problems(error: ValidationError, section: type[Section]) -> list[Problem]:
    """List every problem of a validation with its place within the section."""
    found: list[Problem] = []
    for details in error.errors(include_url=False):
        loc = tuple(part for part in details["loc"] if part != "[key]")
        if details["type"] == RULES_ERROR:
            found += [((*loc, *place), message) for place, message in details["ctx"]["problems"]]
        else:
            found.append((loc, _message(details, loc, section)))
    return found


def locate(found: Iterable[Problem], lines: Mapping[Loc, int]) -> list[ConfigProblem]:
    """Write problems for people, with the line of the place or of what it should stand in, in the file's order."""
    located: list[tuple[int, str, str]] = []
    for loc, message in found:
        line = next((lines[loc[:size]] for size in range(len(loc), 0, -1) if loc[:size] in lines), 0)
        located.append((line, path_text(loc), f"{message} (line {line})" if line else message))
    return [ConfigProblem(path, message) for _, path, message in sorted(located)]


def _message(details: ErrorDetails, loc: Loc, section: type[Section]) -> str:
    given, context = details["input"], details.get("ctx", {})
    match details["type"]:
        case "extra_forbidden":
            return _REMOVED.get(loc) or _unknown_key(loc, section)
        case "value_error":
            return str(context["error"])
        case "enum" | "literal_error":
            return _not_a_choice(given, context["expected"])
        case kind:
            text = _MESSAGES.get(kind, "{said}, not {kind}")
            return text.format(given=given, kind=kind_of(given), said=details["msg"], **context)


def _not_a_choice(given: object, expected: str) -> str:
    choices = [choice.strip(" '") for choice in expected.replace(" or ", ",").split(",")]
    near = get_close_matches(given, choices, n=1) if isinstance(given, str) else []
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"must be one of {', '.join(choices)}; not {kind_of(given)}{hint}"


def _unknown_key(loc: Loc, section: type[Section]) -> str:
    *above, key = (part for part in loc if isinstance(part, str))
    parts = iter(above)
    for part in parts:
        if get_origin(section.model_fields[part].annotation) is dict:
            next(parts)  # The name of what the mapping holds.
        inner = section_in(section.model_fields[part].annotation)
        assert inner is not None, "only sections refuse keys"
        section = inner
    near = get_close_matches(key.lower(), section.model_fields, n=1, cutoff=0.6)
    deeper = [f"{path}.{key}" for path, inner in sections_below(section) if key in inner.model_fields]
    meant = near or [path for path in deeper if "[]" not in path and "<" not in path]
    if meant:
        return f"unknown key; did you mean {meant[0]!r}?"
    return f"unknown key; known here: {', '.join(section.model_fields)}"
