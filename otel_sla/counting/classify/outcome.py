"""Clause 4: from status codes to what became of a request, as one table.

A request's status is one small number, its *status index*, whatever protocol it came by:

::

    0 .. 499    HTTP 100 .. 599
    500 .. 516  gRPC 0 .. 16
    517         no usable status code, but span status ERROR or an error.type (rule 11)
    518         nothing of all that (rule 11)

Which one decides is settled before: a usable gRPC status, unless an HTTP status from 400 on stands beside it.

The table has a row of INVALID (rule 1), one of FAILED (rule 2) and two for each agreement: one that fails its failing
HTTP statuses (rule 4) and one that spares them, for a request whose code attribute says that it was another error.
"""

from collections.abc import Sequence

import numpy as np
from google.rpc.code_pb2 import Code

from otel_sla.arrays import UInt8Array
from otel_sla.sla.agreement import (
    GRPC_STATUS_KEYS,
    HTTP_STATUS_KEYS,
    SERVER_FAULT_GRPC_STATUS,
    Agreement,
    NoStatusCode,
    Outcome,
)
from otel_sla.sla.counts import SPARED_BIT
from otel_sla.spans.columns import ValueType

ERROR_TYPE_KEY = "error.type"
HTTP_KEY_COUNT = len(HTTP_STATUS_KEYS)
STATUS_KEY_COUNT = HTTP_KEY_COUNT + len(GRPC_STATUS_KEYS)

NO_STATUS = -1
HTTP_DECIDES_FROM = 300  # Status index of HTTP 400.
GRPC_STATUS_INDEX = 500
ERROR_STATUS_INDEX = 517
NEITHER_STATUS_INDEX = 518
STATUS_INDEX_COUNT = 519

INVALID_ROW = 0
FAILED_ROW = 1

_GRPC_BY_NAME = {name.encode(): code for name, code in Code.items()} | {b"CANCELED": 1}
_GRPC_BY_NAME |= {name.replace(b"_", b""): code for name, code in _GRPC_BY_NAME.items()}

# Rule 11, with an error and without.
_NO_STATUS_CODE = {
    NoStatusCode.SPAN_STATUS: (Outcome.FAILED, Outcome.SUCCEEDED),
    NoStatusCode.SUCCEEDED: (Outcome.SUCCEEDED, Outcome.SUCCEEDED),
    NoStatusCode.INVALID: (Outcome.INVALID, Outcome.INVALID),
}


def status_index(key: str, value_type: ValueType, text: bytes) -> int:
    """Read a span attribute as a status code; NO_STATUS if it holds no usable one or its key is none of them.

    >>> status_index("http.status_code", ValueType.STRING, b"503")
    403
    >>> status_index("http.status_code", ValueType.DOUBLE, b"503.0")
    403
    >>> status_index("rpc.status_code", ValueType.STRING, b"Internal")
    513
    """
    if key in HTTP_STATUS_KEYS:
        status = _whole_number(value_type, text)
        return status - 100 if status is not None and 100 <= status <= 599 else NO_STATUS
    if key not in GRPC_STATUS_KEYS:
        return NO_STATUS
    code = _whole_number(value_type, text)
    if code is None and value_type is ValueType.STRING:
        code = _GRPC_BY_NAME.get(text.upper())
    return GRPC_STATUS_INDEX + code if code is not None and 0 <= code < len(Code.keys()) else NO_STATUS


def failing_row(agreement_index: int) -> int:
    """The agreement's row of the outcome table in which the failing HTTP statuses fail."""
    return 2 + 2 * agreement_index


def sparing_row(agreement_index: int) -> int:
    """The agreement's row in which they succeed and are spared: the code attribute names another error."""
    return 3 + 2 * agreement_index


def outcome_table(agreements: Sequence[Agreement]) -> UInt8Array:
    """Give an Outcome for each row and status index, with SPARED_BIT where only the code spares it.

    Returns:
        uint8[2 + 2 * n_agreements, STATUS_INDEX_COUNT].
    """
    table = np.full((2 + 2 * len(agreements), STATUS_INDEX_COUNT), Outcome.SUCCEEDED, dtype=np.uint8)
    table[:, 300:400] = Outcome.INVALID  # Rule 3; rules 5, 6, 8 and 10 are what the table began with.
    table[:, GRPC_STATUS_INDEX + 1 : ERROR_STATUS_INDEX] = Outcome.INVALID  # Rule 9.
    for index, agreement in enumerate(agreements):
        for row in (failing_row(index), sparing_row(index)):
            for code in SERVER_FAULT_GRPC_STATUS:  # Rules 7 and 8.
                is_failed = code in agreement.failed_grpc_status
                table[row, GRPC_STATUS_INDEX + code] = Outcome.FAILED if is_failed else Outcome.SUCCEEDED
            table[row, [ERROR_STATUS_INDEX, NEITHER_STATUS_INDEX]] = _NO_STATUS_CODE[agreement.no_status_code]
        for status in agreement.failed_http_status:  # Rule 4.
            table[failing_row(index), status - 100] = Outcome.FAILED
            table[sparing_row(index), status - 100] = Outcome.SUCCEEDED | SPARED_BIT
    table[INVALID_ROW] = Outcome.INVALID  # Rule 1.
    table[FAILED_ROW] = Outcome.FAILED  # Rule 2.
    return table


def _whole_number(value_type: ValueType, text: bytes) -> int | None:
    """The number of an int, a whole double, or a string of ASCII digits that is not too long to be a status code."""
    if value_type is ValueType.INT:
        return int(text)
    if value_type is ValueType.DOUBLE:
        number = float(text)
        return int(number) if number.is_integer() else None
    # bytes.isdigit knows ASCII only; a string of any length is a status if all but its end are zeros.
    if value_type is ValueType.STRING and text.isdigit():
        digits = text.lstrip(b"0")
        return int(digits or b"0") if len(digits) <= 3 else None
    return None
