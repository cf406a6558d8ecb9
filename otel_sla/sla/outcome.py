"""Clause 4: from status codes to what became of a request, as one table.

A request's status is one small number, its *status index*, whatever protocol it came by:

::

    0 .. 499    HTTP 100 .. 599
    500 .. 516  gRPC 0 .. 16
    517         no usable status code, but span status ERROR or an error.type (rule 9)
    518         nothing of all that (rule 10)

The table has a row of INVALID (rule 1) and two rows for each agreement: one that fails its failing set (rule 4) and
one that does not, for a request whose code attribute says that it was another error (rule 5).
"""

from collections.abc import Sequence

import numpy as np

from otel_sla.sla.agreement import Agreement, NoStatusCode, Outcome
from otel_sla.spans.columns import UInt8Array, ValueType

HTTP_STATUS_KEYS = ("http.response.status_code", "http.status_code")
GRPC_STATUS_KEYS = ("rpc.grpc.status_code", "rpc.response.status_code", "rpc.status_code")
ERROR_TYPE_KEY = "error.type"

NO_STATUS = -1
GRPC_STATUS_INDEX = 500
ERROR_STATUS_INDEX = 517
NEITHER_STATUS_INDEX = 518
STATUS_INDEX_COUNT = 519

INVALID_ROW = 0

_GRPC_NAMES = (
    b"OK",
    b"CANCELLED",
    b"UNKNOWN",
    b"INVALID_ARGUMENT",
    b"DEADLINE_EXCEEDED",
    b"NOT_FOUND",
    b"ALREADY_EXISTS",
    b"PERMISSION_DENIED",
    b"RESOURCE_EXHAUSTED",
    b"FAILED_PRECONDITION",
    b"ABORTED",
    b"OUT_OF_RANGE",
    b"UNIMPLEMENTED",
    b"INTERNAL",
    b"UNAVAILABLE",
    b"DATA_LOSS",
    b"UNAUTHENTICATED",
)
_GRPC_BY_NAME = {name: code for code, name in enumerate(_GRPC_NAMES)}
_GRPC_FAILED = (b"UNKNOWN", b"DEADLINE_EXCEEDED", b"UNIMPLEMENTED", b"INTERNAL", b"UNAVAILABLE", b"DATA_LOSS")

_RULE_9 = {
    NoStatusCode.SPAN_STATUS: Outcome.FAILED,
    NoStatusCode.SUCCEEDED: Outcome.SUCCEEDED,
    NoStatusCode.INVALID: Outcome.INVALID,
}


def status_index(key: str, value_type: ValueType, text: bytes) -> int:
    """Read a span attribute as a status code; NO_STATUS if it holds no usable one or its key is none of them.

    >>> status_index("http.status_code", ValueType.STRING, b"503")
    403
    >>> status_index("rpc.status_code", ValueType.STRING, b"INTERNAL")
    513
    >>> status_index("http.status_code", ValueType.DOUBLE, b"503.0")
    -1
    """
    if key in HTTP_STATUS_KEYS:
        status = _whole_number(value_type, text)
        return status - 100 if status is not None and 100 <= status <= 599 else NO_STATUS
    if key not in GRPC_STATUS_KEYS:
        return NO_STATUS
    # The first of them was always an int; text in it is some other thing.
    if value_type is ValueType.STRING and key == GRPC_STATUS_KEYS[0]:
        return NO_STATUS
    code = _whole_number(value_type, text)
    if code is None and value_type is ValueType.STRING:
        code = _GRPC_BY_NAME.get(text)
    return GRPC_STATUS_INDEX + code if code is not None and 0 <= code < len(_GRPC_NAMES) else NO_STATUS


def failing_row(agreement_index: int) -> int:
    """The agreement's row of the outcome table in which the failing set fails."""
    return 1 + 2 * agreement_index


def sparing_row(agreement_index: int) -> int:
    """The agreement's row in which the failing set succeeds: the code attribute names another error."""
    return 2 + 2 * agreement_index


def outcome_table(agreements: Sequence[Agreement]) -> UInt8Array:
    """Make the table.

    Returns:
        uint8[1 + 2 * n_agreements, STATUS_INDEX_COUNT]. An Outcome for each row and status index.
    """
    table = np.full((1 + 2 * len(agreements), STATUS_INDEX_COUNT), Outcome.SUCCEEDED, dtype=np.uint8)
    table[:, 300:400] = Outcome.INVALID  # Rule 3; rules 2, 5, 6 and 10 are what the table began with.
    table[:, GRPC_STATUS_INDEX + 1 : ERROR_STATUS_INDEX] = Outcome.INVALID  # Rule 8.
    for name in _GRPC_FAILED:
        table[:, GRPC_STATUS_INDEX + _GRPC_BY_NAME[name]] = Outcome.FAILED  # Rule 7.
    for index, agreement in enumerate(agreements):
        for row in (failing_row(index), sparing_row(index)):
            table[row, ERROR_STATUS_INDEX] = _RULE_9[agreement.no_status_code]
        for status in agreement.failed_http_status:
            table[failing_row(index), status - 100] = Outcome.FAILED  # Rule 4.
    table[INVALID_ROW] = Outcome.INVALID  # Rule 1.
    return table


def _whole_number(value_type: ValueType, text: bytes) -> int | None:
    """The number of an int, or of a string of ASCII digits that is not too long to be a status code."""
    if value_type is ValueType.INT:
        return int(text)
    # bytes.isdigit knows ASCII only; a string of any length is a status if all but its end are zeros.
    if value_type is ValueType.STRING and text.isdigit():
        digits = text.lstrip(b"0")
        return int(digits or b"0") if len(digits) <= 3 else None
    return None
