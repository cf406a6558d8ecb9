"""An agreement as the JSON that the ledger keeps of it, and back.

A closed month stays judged by the terms that closed it, whatever is configured since. So the terms are kept exact:
ratios as "n/d", times with their offset.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from datetime import date
from enum import Enum
from fractions import Fraction
from functools import cache
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from otel_sla.errors import LedgerCorrupt
from otel_sla.ledger.records import Json
from otel_sla.ledger.sql import from_json
from otel_sla.sla.agreement import FIRST_RULES, Agreement, Counting, ExclusionWindow

SCHEMA = "otel-sla.terms/v2"
# What the first schema does not say: the outcome rules of its time had nothing of it.
_SCHEMA_V1 = "otel-sla.terms/v1"
_V1_DEFAULTS: Json = {
    "covered_any": [],
    "failed": [],
    "failed_grpc_status": [2, 4, 12, 13, 14, 15],  # Those of 0.1.0, whatever the default is since.
    "counting": Counting.REQUESTS.value,
    "outcome_rules": FIRST_RULES,
}


def terms_of(agreement: Agreement) -> Json:
    """Give the agreement as plain dicts, lists, strings and numbers: equal ones for equal agreements."""
    return {"schema": SCHEMA, **_to_plain(agreement)}


def agreement_of(terms: Json) -> Agreement:
    """Give back the agreement that `terms_of` made the terms of, in this version or in an earlier one.

    Raises:
        LedgerCorrupt: These are no such terms.
    """
    known = {**_V1_DEFAULTS, **terms, "schema": SCHEMA} if terms.get("schema") == _SCHEMA_V1 else terms
    if known.get("schema") != SCHEMA:
        raise LedgerCorrupt(f"the terms of an agreement are {known.get('schema')!r}, this otel-sla reads {SCHEMA!r}")
    try:
        agreement: Agreement = _decoder(Agreement)(known)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise LedgerCorrupt(f"the terms of an agreement cannot be read: {error!r}") from error
    return agreement


def window_row(window: ExclusionWindow) -> tuple[str | None, ...]:
    """Give the columns of an exclusion, in the order of its fields; times keep the offset that they were given with."""
    group = None if window.group is None else json.dumps(window.group)
    return (*(_to_plain(window) | {"group": group}).values(),)


def window_of(row: Iterable[str | None]) -> ExclusionWindow:
    """Undo `window_row`."""
    terms: dict[str, Any] = dict(zip(_names(ExclusionWindow), row, strict=True))
    terms["group"] = from_json(terms["group"])
    window: ExclusionWindow = _decoder(ExclusionWindow)(terms)
    return window


def _to_plain(value: Any) -> Any:  # noqa: ANN401 - fields of any type
    match value:
        case Enum():
            return value.value
        case Fraction():
            return f"{value.numerator}/{value.denominator}"
        case date():  # A datetime too, with its offset.
            return value.isoformat()
        case frozenset():
            return sorted(value)
        case tuple():
            return [_to_plain(item) for item in value]
    return {name: _to_plain(getattr(value, name)) for name in _names(value)} if is_dataclass(value) else value


def _names(record: Any) -> Iterator[str]:  # noqa: ANN401 - a dataclass or a value of one
    """Give the names of the fields that a record is made of; the others follow from them."""
    return (field.name for field in fields(record) if field.init)


@cache
def _decoder(kind: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - any annotation of a field
    """Give the function that undoes `_to_plain` for values of this type."""
    origin, arguments = get_origin(kind), get_args(kind)
    items = [_decoder(argument) for argument in arguments if argument not in {Ellipsis, NoneType}]
    if origin is UnionType:
        return lambda plain: None if plain is None else items[0](plain)
    if origin is tuple and Ellipsis not in arguments:
        return lambda plain: tuple(item(part) for item, part in zip(items, plain, strict=True))
    if origin is not None:
        return lambda plain: origin(map(items[0], plain))
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        decoders = {name: _decoder(hints[name]) for name in _names(kind)}
        return lambda plain: kind(**{name: decode(plain[name]) for name, decode in decoders.items()})  # type: ignore[operator]
    if issubclass(kind, date):
        from_text: Callable[[Any], Any] = kind.fromisoformat
        return from_text
    return kind if issubclass(kind, Enum | Fraction) else lambda plain: plain
