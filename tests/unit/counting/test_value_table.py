"""The numbers of distinct values, at every size of text that the kernel reads in another way."""

import numpy as np
import pytest
from column_parts import SpanRow, make_columns

from otel_sla.counting.classify.value_table import PUBLIC_HASH_KEY, ValueTable
from otel_sla.spans.columns import ValueType, WatchList

SIZES = (0, 1, 6, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40, 41)


@pytest.mark.parametrize("hash_mask", [0xFFFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF_0000_0001, 0])
def test_texts_that_differ_in_one_byte_are_two_values(hash_mask: int) -> None:
    """Each text has one number and is kept as it is, wherever it differs from another and however hashes collide."""
    texts = [b"a" * size for size in SIZES]
    texts += [b"a" * at + b"b" + b"a" * (size - at - 1) for size in SIZES for at in range(size)]
    columns = make_columns(WatchList((b"k",), ()), [SpanRow({"k": text}) for text in (*texts, *reversed(texts))])
    table = ValueTable(0, 1, np.zeros(1, dtype=np.int32), values_max=1000, text_bytes_max=1 << 16, hash_mask=hash_mask)
    n_spans = 2 * len(texts)
    assert table.number(columns, 0, n_spans) == n_spans
    assert table.ids.span[:n_spans, 0].tolist() == [*range(1, 1 + len(texts)), *range(len(texts), 0, -1)]
    assert list(table.drain_new()) == [(1 + n, 0, ValueType.STRING, text) for n, text in enumerate(texts)]


@pytest.mark.parametrize(("hash_key", "is_slow"), [(PUBLIC_HASH_KEY, True), ((5**27, 7**22, 11**18, 13**17), False)])
def test_values_that_are_made_to_collide_need_the_key(hash_key: tuple[int, ...], is_slow: bool) -> None:  # noqa: FBT001
    """Texts that begin with a word of the key stand in one row of slots, each found by going past all before it."""
    texts = [PUBLIC_HASH_KEY[0].to_bytes(8, "little") + number.to_bytes(8, "little") for number in range(500)]
    columns = make_columns(WatchList((b"k",), ()), [SpanRow({"k": text}) for text in texts])
    table = ValueTable(0, 1, np.zeros(1, dtype=np.int32), values_max=1000, text_bytes_max=1 << 16, hash_key=hash_key)
    assert table.number(columns, 0, len(texts)) == len(texts)
    rows = "".join("x" if slot else " " for slot in table.arrays.slots.tolist()).split()
    assert (max(map(len, rows)) >= len(texts)) is is_slow
