"""What each answer of a backend means."""

import grpc
import pytest

from otel_sla.exporter.refusal import Blame, Refused, grpc_blame, http_blame, one_line

RETRYABLE = {"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"}


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_grpc_code_has_its_meaning(code: grpc.StatusCode) -> None:
    """A code that OTLP lets be retried blames the backend, and only INVALID_ARGUMENT blames the item at once."""
    blame = grpc_blame(code, None)
    assert (blame is Blame.BACKEND) == (code.name in RETRYABLE)
    assert (blame is Blame.ITEM) == (code is grpc.StatusCode.INVALID_ARGUMENT)


def test_resource_exhausted_is_busy_only_with_a_delay() -> None:
    """RESOURCE_EXHAUSTED is retried where the backend says when, as OTLP has it."""
    assert grpc_blame(grpc.StatusCode.RESOURCE_EXHAUSTED, 0.0) is Blame.BACKEND
    assert grpc_blame(grpc.StatusCode.RESOURCE_EXHAUSTED, None) is Blame.UNCLEAR


@pytest.mark.parametrize(
    ("statuses", "blame"),
    [
        ((408, 429, 502, 503, 504), Blame.BACKEND),
        ((301, 302, 307, 401, 403, 404, 405, 407, 415, 501), Blame.US),
        ((400, 413, 422), Blame.ITEM),
        ((402, 418, 500, 505, 599), Blame.UNCLEAR),
    ],
)
def test_http_statuses(statuses: tuple[int, ...], blame: Blame) -> None:
    """Each status has one meaning; what is not known is unclear, not lost."""
    assert {http_blame(status) for status in statuses} == {blame}


@pytest.mark.parametrize("blame", list(Blame))
def test_only_the_item_is_not_retried(blame: Blame) -> None:
    """A refusal may be tried again unless the item is to blame."""
    assert Refused("no", blame).is_retryable == (blame is not Blame.ITEM)


def test_long_answers_are_cut() -> None:
    """A page of HTML becomes one line of a bounded size."""
    text = one_line("<html>\n" + "word " * 1000)
    assert len(text) == 300
    assert "\n" not in text
