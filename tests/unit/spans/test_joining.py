"""Requests that are decoded as one: which may be, and what comes of them."""

import builders
import pytest

from otel_sla.spans.columns import WatchList
from otel_sla.spans.request import decode_request, is_joinable

BODY = builders.realistic_request(20, seed=1)


def test_requests_that_tile_are_joinable_and_decode_to_all_their_spans() -> None:
    """Two requests one behind the other hold the spans of both, each ResourceSpans at its place."""
    other = builders.realistic_request(30, seed=2)
    assert is_joinable(BODY, 10)
    assert is_joinable(other, 10)
    watch = WatchList((), ())
    columns = decode_request(BODY + other, watch)
    assert columns.n_spans == 50
    first = decode_request(BODY, watch)
    pieces = [BODY[start:stop] for start, stop in zip(first.resource_start, first.resource_stop, strict=True)]
    starts, stops = columns.resource_start[: len(pieces)], columns.resource_stop[: len(pieces)]
    assert pieces == [(BODY + other)[start:stop] for start, stop in zip(starts, stops, strict=True)]


@pytest.mark.parametrize("cut", range(1, len(BODY), 97))
def test_a_request_that_is_cut_off_is_not_joinable(cut: int) -> None:
    """It would take the next sender's spans for its own, or lose the end of a message without anybody's notice."""
    whole = decode_request(BODY, WatchList((), ()))
    if cut not in {0, *whole.resource_stop.tolist()}:
        assert not is_joinable(BODY[:cut], 10)


def test_empty_broken_and_full_requests_go_alone() -> None:
    """Unknown fields at the end are skipped in a joined request as they are in one; what is cut off cannot be."""
    assert is_joinable(BODY + bytes([0x12, 0]), 10)
    assert decode_request(BODY + bytes([0x12, 0]) + BODY, WatchList((), ())).n_spans == 40
    assert not is_joinable(b"", 10)
    for body in (b"\x0a", b"\x0a\x80", b"\x0a\x05abc", b"\x12\x00", BODY + b"\x08", BODY + b"\x0b"):
        assert not is_joinable(memoryview(body), 10)
    assert not is_joinable(bytes([0x0A, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]), 10)
    assert not is_joinable(BODY, 2), "more messages than are looked at"
