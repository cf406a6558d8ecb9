"""Parameters of the API: how each is read, and what the OpenAPI document says of it."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request

from otel_sla.sla.months import YEAR_MAX, YEAR_MIN, Month

T = TypeVar("T")

Object = dict[str, Any]

PERIODS_MAX = 1000  # In one answer.
_LABEL_MAX = 64


@dataclass(frozen=True, slots=True)
class Parameter(Generic[T]):
    """A parameter of the query.

    Attributes:
        read: Reads its text; its ValueError says what is right.
        schema: Of the OpenAPI document.
    """

    name: str
    description: str
    read: Callable[[str], T]
    schema: Mapping[str, object] = field(default_factory=lambda: {"type": "string"})

    def of(self, request: Request) -> T | None:
        """Read what a request says; None: nothing.

        Raises:
            HTTPException: It cannot be used.
        """
        texts = request.query_params.getlist(self.name)
        if not texts:
            return None
        if len(texts) > 1:
            raise refuse(self.name, "must be given once")
        try:
            return self.read(texts[0])
        except ValueError as error:
            raise refuse(self.name, str(error)) from error


@dataclass(frozen=True, slots=True)
class Api:
    """What the OpenAPI document says of one address."""

    summary: str
    parameters: Sequence[Parameter[Any]] = ()
    contents: Mapping[str, Object] = field(default_factory=dict)  # By media type: the schema.


def refuse(name: str, message: str) -> HTTPException:
    """Answer a parameter that cannot be used."""
    return HTTPException(400, f"{name} {message}")


def refuse_unknown(request: Request, parameters: Sequence[Parameter[Any]]) -> None:
    """Refuse what an address has no parameter for: a misspelt one would be passed over.

    Raises:
        HTTPException: There is such a one.
    """
    known = [each.name for each in parameters]
    for name in request.query_params:
        if name not in known:
            raise refuse(repr(name), f"is no parameter here; there are {', '.join(known) or 'none'}")


def _read_month(text: str) -> Month:
    try:
        return Month.parse(text)
    except ValueError as error:
        raise ValueError(f"must be a month: {error}") from error


def _read_format(text: str) -> str:
    if text not in ("json", "csv"):
        raise ValueError(f"must be json or csv, not {text!r}")
    return text


def _read_moment(text: str) -> datetime:
    message = f"must be a time with an offset such as 2026-12-01T00:00:00Z, not {text!r}"
    try:
        # In a query, a + that is not escaped is a blank.
        moment = datetime.fromisoformat(re.sub(r" (\d\d:?\d\d)$", r"+\1", text))
    except ValueError as error:
        raise ValueError(message) from error
    if moment.tzinfo is None or not YEAR_MIN <= moment.year <= YEAR_MAX:
        raise ValueError(message)
    return moment


def _read_limit(text: str) -> int:
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= PERIODS_MAX:
        raise ValueError(f"must be a number from 1 to {PERIODS_MAX}, not {text!r}")
    return int(text)


def _read_cursor(text: str) -> tuple[int, int]:
    found = re.fullmatch("([0-9]{1,10})-([0-9]{1,10})", text)
    if found is None:
        raise ValueError(f"must be `next` of an answer, not {text!r}")
    return int(found[1]), int(found[2])


def _read_label(text: str) -> str:
    if len(text) > _LABEL_MAX:
        raise ValueError(f"must have at most {_LABEL_MAX} characters, not {len(text)}")
    return text


_TIME = {"type": "string", "format": "date-time"}

MONTH = Parameter(
    "month",
    "YYYY-MM; without it the month that runs.",
    _read_month,
    {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$"},
)
AGREEMENT = Parameter("agreement", "Only the agreement of this name.", str)
FORMAT = Parameter("format", "Without it JSON.", _read_format, {"type": "string", "enum": ["json", "csv"]})
FROM = Parameter("from", "Only periods that end behind this time; without it a year back.", _read_moment, _TIME)
TO = Parameter("to", "Only periods that begin before this time.", _read_moment, _TIME)
LIMIT = Parameter(
    "limit",
    "So many periods at most; 100 without it.",
    _read_limit,
    {"type": "integer", "minimum": 1, "maximum": PERIODS_MAX},
)
CURSOR = Parameter("cursor", "`next` of the answer before.", _read_cursor)
LABEL = Parameter("label", "The left text.", _read_label, {"type": "string", "maxLength": _LABEL_MAX})
