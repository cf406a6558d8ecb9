"""What workers tell of their own work, added up."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from otel_sla.errors import DecodeError, LedgerError, LedgerUnavailable, Overloaded, RequestTooLarge
from otel_sla.logs import LogSettings
from otel_sla.receiver.settings import ReceiverSettings
from otel_sla.receiver.sockets import Address


@dataclass
class WorkerTotals:
    """What all workers together have done; the counters never go down."""

    grpc: Counter[str] = field(default_factory=Counter)
    http: Counter[int] = field(default_factory=Counter)
    overloaded: int = 0

    def add(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        """Take up what one worker has done since it told the last time."""
        self.grpc.update({code: count - before["grpc"].get(code, 0) for code, count in now["grpc"].items()})
        self.http.update({int(code): count - before["http"].get(code, 0) for code, count in now["http"].items()})
        self.overloaded += now["overloaded"] - before["overloaded"]


NOTHING: dict[str, Any] = {
    "grpc": {},
    "http": {},
    "overloaded": 0,
    "in_flight_bytes": 0,
    "rss_bytes": 0,
    "cpu_s": 0.0,
}


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


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker is told first."""

    receiver: ReceiverSettings  # `memory_limit_mib` is this worker's share.
    grpc_addresses: Sequence[Address]
    http_addresses: Sequence[Address]
    logs: LogSettings
    shared_memory: tuple[int, int] | None  # Its descriptor and its size in bytes, if there is any.
