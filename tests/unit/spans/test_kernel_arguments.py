"""What kernels are handed: arrays by a table, bytes by words."""

import numpy as np
import pytest

from otel_sla.jit import ArrayTable, array_reader, buffer_of, kernel, multiply_folded, word_at

_read_arrays = array_reader("int32[]", "uint64[,]", "bool[]")


@kernel
def _sum_kernel(arrays, n_rows):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    numbers, cells, marks = _read_arrays(arrays)
    for row in range(n_rows):
        cells[row, 1] += np.uint64(numbers[row])
        marks[row] = True
    return cells.shape[1] + numbers.shape[0]


def test_kernel_takes_arrays_from_a_table() -> None:
    """One argument stands for arrays of several types; what the kernel writes is in them."""
    numbers, cells = np.arange(3, dtype=np.int32), np.zeros((3, 2), dtype=np.uint64)
    marks = np.zeros(3, dtype=np.bool_)
    table = ArrayTable((numbers, cells, marks))
    assert _sum_kernel(table.argument, 2) == 5
    assert cells.tolist() == [[0, 0], [0, 1], [0, 0]]
    assert marks.tolist() == [True, True, False]


@kernel
def _hash_kernel(left, right):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    return multiply_folded(left, right)


@kernel
def _word_kernel(buffer, position):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    return word_at(buffer, position)


@pytest.mark.parametrize("left", [0, 1, 0x9E37_79B9_7F4A_7C15, 2**64 - 1])
def test_compiled_words_are_those_of_plain_python(left: int) -> None:
    """A key is looked for by the hash that the table was written with, and words are read lowest byte first."""
    left_word, right_word = np.uint64(left), np.uint64(0xA409_3822_299F_31D1)
    product = left * 0xA409_3822_299F_31D1
    expected = (product & (2**64 - 1)) ^ (product >> 64)
    assert int(_hash_kernel(left_word, right_word)) == int(multiply_folded(left_word, right_word)) == expected
    array = np.frombuffer(b"-" + left.to_bytes(8, "little") + b"-", dtype=np.uint8)
    assert int(_word_kernel(buffer_of(array), 1)) == int(word_at(array, 1)) == left
    with pytest.raises(IndexError, match="8 bytes at 3 of 10"):
        word_at(array, 3)
