"""Requests as senders write them, and the limits of decoding."""

import struct

import numpy as np
import pytest
from builders import (
    START_UNIX_NANO,
    make_exception_event,
    make_request,
    make_request_of,
    make_resource_spans,
    make_span,
    realistic_request,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from upb_oracle import decode_with_upb, read_columns

from otel_sla.errors import DecodeError, RequestTooLarge
from otel_sla.spans.columns import COLUMNS, ValueType, WatchList
from otel_sla.spans.request import decode_request, is_within

WATCH = WatchList(
    span_keys=(b"http.route", b"http.response.status_code", b"error.type", b"server.port"),
    resource_keys=(b"service.name", b"host.name"),
)
NO_KEYS = WatchList((), ())


@pytest.mark.parametrize("seed", range(5))
def test_realistic_batch_is_what_upb_reads(seed: int) -> None:
    """A batch of several services comes out as upb has it, cell by cell."""
    body = realistic_request(300, seed)
    columns = decode_request(body, WATCH)
    assert (columns.n_spans, columns.n_resources) == (300, 3)
    assert read_columns(columns) == decode_with_upb(body, WATCH)


def test_spans_of_every_kind_have_a_row() -> None:
    """No kind is left out, and the order is the wire's."""
    body = make_request_of(*(make_span(kind=kind, end_time_unix_nano=kind + 1) for kind in (5, 2, 0, 3, 1, 4)))
    columns = decode_request(body, NO_KEYS)
    assert columns.kind.tolist() == [5, 2, 0, 3, 1, 4]
    assert columns.end_time_unix_nano.tolist() == [6, 3, 1, 4, 2, 5]


def test_values_are_typed_cells() -> None:
    """Each type of value is in its cell; arrays, maps, bytes and unset values are only there."""
    attributes = {"s": "é", "t": True, "i": -5, "d": 0.5, "b": b"x", "n": None, "l": ["x"], "m": {"k": 1}}
    watch = WatchList(tuple(key.encode() for key in attributes), ())
    columns = decode_request(make_request_of(make_span(attributes)), watch)
    assert columns.value_type.dtype == np.uint8
    assert columns.value_type.tolist() == [
        [ValueType.STRING, ValueType.BOOL, ValueType.INT, ValueType.DOUBLE, *[ValueType.OTHER] * 4]
    ]
    start, size = divmod(int(columns.value_bits[0, 0]), 2**32)
    assert columns.body[start : start + size].tobytes() == "é".encode()
    half = struct.unpack("<Q", struct.pack("<d", 0.5))[0]
    assert columns.value_bits[0, 1:4].tolist() == [1, 2**64 - 5, half]


def test_resources_are_found_by_their_bytes() -> None:
    """Each ResourceSpans has the range of its message, those without a span too."""
    parts = [
        make_resource_spans([make_span(), make_span()], {"service.name": "a"}),
        make_resource_spans([], {}),
        make_resource_spans([make_span()], {"service.name": "b", "host.name": "h"}),
    ]
    columns = decode_request(make_request(*parts), WATCH)
    ranges = zip(columns.resource_start.tolist(), columns.resource_stop.tolist(), strict=True)
    assert [columns.body[start:stop].tobytes() for start, stop in ranges] == [
        part.SerializeToString() for part in parts
    ]
    assert columns.resource_index.tolist() == [0, 0, 2]
    assert columns.resource_value_type.tolist() == [[1, 0], [0, 0], [1, 1]]


def test_events_and_links_do_not_lend_their_attributes() -> None:
    """An attribute of an event or a link is none of the span's."""
    link = Span.Link(trace_id=bytes(16), attributes=make_span({"error.type": "link"}).attributes)
    event = make_exception_event()
    event.attributes.extend(make_span({"error.type": "event"}).attributes)
    columns = decode_request(make_request_of(make_span(events=[event], links=[link])), WATCH)
    assert columns.value_type.tolist() == [[0, 0, 0, 0]]


def test_empty_request_has_no_rows() -> None:
    """No byte is a request without a span; the columns keep their widths."""
    columns = decode_request(b"", WATCH)
    assert (columns.n_spans, columns.n_resources) == (0, 0)
    assert columns.value_type.shape == (0, 4)
    assert columns.resource_value_bits.shape == (0, 2)


@pytest.mark.parametrize("wrap", [bytes, memoryview, lambda body: memoryview(bytearray(body))])
def test_body_is_not_copied(wrap: type) -> None:
    """Bytes, a view and a view of memory that can be written are read where they are."""
    body = wrap(realistic_request(3, 1))
    columns = decode_request(body, WATCH)
    assert columns.n_spans == 3
    assert columns.body.__array_interface__["data"][0] == np.frombuffer(body, dtype=np.uint8).ctypes.data


def test_slice_of_a_larger_body_is_read_alone() -> None:
    """What lies beside the slice, as in a file of many requests, is not read."""
    body = make_request_of(make_span({"http.route": "/v1"}))
    padded = memoryview(b"\xff" * 7 + body + b"\x0a\x00")
    assert read_columns(decode_request(padded[7:-2], WATCH)) == decode_with_upb(body, WATCH)
    with pytest.raises(DecodeError):
        decode_request(padded[7:-1], WATCH)


def test_request_of_empty_spans_is_held_to_the_limit() -> None:
    """Small bytes with large columns are refused before the columns are made, and the limit is exact."""
    body = make_request(make_resource_spans([Span()] * 50_000))
    columns = decode_request(body, WATCH)
    total = sum(getattr(columns, name).nbytes for name in COLUMNS if name != "body")
    assert total > 6 * len(body)
    assert decode_request(body, WATCH, columns_size_bytes_max=total).n_spans == 50_000
    with pytest.raises(RequestTooLarge, match=r"50000 spans"):
        decode_request(body, WATCH, columns_size_bytes_max=total - 1)


@pytest.mark.parametrize("keys_count", [1, 20, 300])
def test_each_of_many_keys_has_its_column(keys_count: int) -> None:
    """Keys of one size, of many sizes and ones that begin or end alike are told apart."""
    keys = [f"{'k' * (number % 7)}{number}.{'z' * (number % 11)}" for number in range(keys_count)]
    assert len(set(keys)) == keys_count
    body = make_request_of(make_span({key: number for number, key in enumerate(reversed(keys))} | {"k": 1}))
    columns = decode_request(body, WatchList(tuple(key.encode() for key in keys), ()))
    assert columns.value_bits.tolist() == [list(range(keys_count - 1, -1, -1))]


def test_long_watched_key_is_found() -> None:
    """A key whose size takes two bytes on the wire is one like others."""
    key = "k" * 300
    columns = decode_request(make_request_of(make_span({key: 1})), WatchList((b"a", key.encode()), ()))
    assert columns.value_type.tolist() == [[ValueType.ABSENT, ValueType.INT]]


def test_keys_of_any_size_are_watched() -> None:
    """A table of more than 64 KiB of keys finds its last key as it finds its first."""
    keys = tuple(f"{number:0300}".encode() for number in range(300))
    body = make_request_of(make_span({keys[0].decode(): 7, keys[-1].decode(): 8}))
    columns = decode_request(body, WatchList(keys, ()))
    assert columns.value_bits[0, [0, -1]].tolist() == [7, 8]
    assert int(columns.value_type.sum()) == 2 * ValueType.INT


def test_error_says_where_and_why() -> None:
    """A sender learns the offset of what is broken."""
    body = make_request_of(make_span({"http.route": "/v1"}))
    with pytest.raises(DecodeError, match=r"not an OTLP trace request: a length past the end .* at byte 1$"):
        decode_request(body[:-1], WATCH)


def test_columns_do_not_depend_on_earlier_requests() -> None:
    """The same bytes give the same columns, whatever was decoded before."""
    body = realistic_request(20, 3)
    first = read_columns(decode_request(body, WATCH))
    decode_request(realistic_request(200, 4), WATCH)
    assert read_columns(decode_request(body, WATCH)) == first
    assert first.spans[0][2] >= START_UNIX_NANO


@pytest.mark.parametrize("keys_count", [0, 40])
def test_keys_of_one_size_and_none_at_all(keys_count: int) -> None:
    """Nothing watched gives no cells, and keys that differ in one byte only are told apart."""
    keys = tuple(b"http.request.header.x%02d" % number for number in range(keys_count))
    body = make_request_of(make_span({key.decode(): number for number, key in enumerate(keys)} | {"a": "b"}))
    watch = WatchList(keys, keys)
    columns = decode_request(body, watch)
    assert columns.value_bits.tolist() == [list(range(keys_count))]
    assert read_columns(columns) == decode_with_upb(body, watch)


def test_realistic_request_cut_anywhere_is_judged_as_by_upb() -> None:
    """A connection that ends early leaves a request that upb rejects, or the ResourceSpans that were whole."""
    body = realistic_request(3, 5)
    accepted = 0
    for stop in range(len(body)):
        expected = decode_with_upb(body[:stop], WATCH)
        if expected is None:
            with pytest.raises(DecodeError):
                decode_request(body[:stop], WATCH)
        else:
            accepted += 1
            assert read_columns(decode_request(body[:stop], WATCH)) == expected
    assert accepted == decode_request(body, WATCH).n_resources


def test_spans_that_get_shorter_than_the_first_are_all_there() -> None:
    """Rows are guessed from a scope's first spans: where far more follow, they are counted and decoded all the same."""
    long = [make_span({"a": "x" * 300})] * 40
    body = make_request(make_resource_spans([*long, *[Span()] * 3000]), make_resource_spans(long))
    columns = decode_request(body, WATCH)
    assert columns.n_spans == 3080
    assert read_columns(columns) == decode_with_upb(body, WATCH)
    with pytest.raises(RequestTooLarge, match=r"3080 spans"):
        decode_request(body, WATCH, columns_size_bytes_max=100_000)


@pytest.mark.parametrize("seed", range(4))
def test_how_many_messages_there_are_is_known_before_decoding(seed: int) -> None:
    """To the message, as the columns have them; of what is no request nothing is raised."""
    body = realistic_request(30, seed) + realistic_request(7, seed + 10)
    columns = decode_request(body, WATCH)
    assert is_within(body, columns.n_resources, columns.n_spans)
    assert not is_within(body, columns.n_resources - 1, columns.n_spans)
    assert not is_within(body, columns.n_resources, columns.n_spans - 1)
    assert is_within(body[: len(body) // 2], columns.n_resources, columns.n_spans)
    assert is_within(b"\xff" * 20, 0, 0)


def test_keys_with_one_end_are_told_apart() -> None:
    """Keys of one size that end alike, and keys shorter than a word, have columns of their own."""
    keys = ("a.same.end", "b.same.end", "a.SAME.end", "same.end", "ame.end", "e", "d", "ed")
    body = make_request_of(make_span({key: index for index, key in enumerate((*keys, "c.same.end", "me.end"))}))
    columns = decode_request(body, WatchList(tuple(key.encode() for key in reversed(keys)), ()))
    assert columns.value_bits.tolist() == [list(reversed(range(len(keys))))]


def test_columns_are_made_by_their_names_only() -> None:
    """A column is the same array each time it is asked for; what is no column is an error."""
    columns = decode_request(make_request_of(make_span()), WATCH)
    assert columns.kind is columns.kind
    assert columns.n_span_keys == len(WATCH.span_keys)
    with pytest.raises(AttributeError, match="kinds"):
        _ = columns.kinds
