"""Errors on their way from the process that counts to the one that answers."""

import orjson

from otel_sla.errors import DecodeError, LedgerError, LedgerUnavailable, Overloaded, RequestTooLarge

_BY_NAME: dict[str, type[Exception]] = {
    error.__name__: error for error in (RequestTooLarge, Overloaded, LedgerError, LedgerUnavailable)
}


class CountingFailed(Exception):
    """A mistake of ours in the process that counts; its log has it."""


def encode_error(error: Exception) -> bytes:
    """Write down what the sender is to be told."""
    if isinstance(error, DecodeError):
        return orjson.dumps(["DecodeError", error.reason, error.offset])
    name = next(
        (name for name in (type(error).__name__, "LedgerError") if isinstance(error, _BY_NAME.get(name, ()))), ""
    )
    return orjson.dumps([name, str(error)])


def decode_error(payload: bytes | memoryview) -> Exception:
    """Undo `encode_error`."""
    name, *arguments = orjson.loads(payload)
    if name == "DecodeError":
        return DecodeError(*arguments)
    return _BY_NAME.get(name, CountingFailed)(*arguments)
