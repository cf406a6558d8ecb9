import grpc
import pytest

from otel_sla import errors
from otel_sla.receiver.responses import refusal_of

# What OTLP's specification lets a sender repeat; RESOURCE_EXHAUSTED only with RetryInfo.
REPEATED_CODES = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
REPEATED_HTTP_STATUS = {429, 502, 503, 504}


def all_errors() -> list[errors.OtelSlaError]:
    """One of each error of the tree, also those that other modules add to it."""
    made: list[errors.OtelSlaError] = []
    waiting: list[type[errors.OtelSlaError]] = [errors.OtelSlaError]
    while waiting:
        kind = waiting.pop()
        waiting.extend(kind.__subclasses__())
        if kind.__module__.startswith("otel_sla.exporter"):
            continue  # A backend's answer to us never becomes ours to a sender.
        if kind is errors.ConfigError:
            made.append(errors.ConfigError("f", [errors.ConfigProblem("a", "b")]))
        elif kind is errors.DecodeError:
            made.append(errors.DecodeError("x", 1))
        elif kind.__name__ == "MethodNotAllowed":
            made.append(kind("GET", "POST"))
        else:
            made.append(kind("x"))
    return made


@pytest.mark.parametrize("error", all_errors(), ids=lambda error: type(error).__name__)
def test_both_protocols_give_the_same_advice(error: errors.OtelSlaError) -> None:
    """Whether a sender repeats a request is the same over gRPC and HTTP, and a delay is at most 2 s."""
    refusal = refusal_of(error)
    assert (refusal.code in REPEATED_CODES) == (refusal.http_status in REPEATED_HTTP_STATUS)
    assert refusal.retry_delay_s is None or 0 < refusal.retry_delay_s <= 2
    assert refusal.retry_after_s is None or refusal.retry_after_s in {1, 2}


@pytest.mark.parametrize(
    "error", [e for e in all_errors() if isinstance(e, errors.LedgerError | errors.Overloaded)], ids=str
)
def test_what_is_not_the_senders_fault_may_be_repeated(error: errors.OtelSlaError) -> None:
    """No ledger fault and no overload makes a sender drop its spans."""
    assert refusal_of(error).code is grpc.StatusCode.UNAVAILABLE


def test_an_unforeseen_error_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A bug of ours is logged with its traceback once, and the sender gets no detail."""

    class Unforeseen(Exception):
        pass

    for _ in range(3):
        refusal = refusal_of(Unforeseen("secret"))
    assert refusal.code is grpc.StatusCode.INTERNAL
    assert "secret" not in refusal.message
    assert [record.exc_info is not None for record in caplog.records] == [True]
