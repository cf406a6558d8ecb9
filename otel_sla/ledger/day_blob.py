"""A series' day of counts as one small blob.

Counts change little from minute to minute, and failures are rare. So each column's 1,440 counts are kept in the
smallest of three forms: as the distance to their smallest one, as the steps from minute to minute, or, when most
minutes hold the smallest count, as a list of the others. Numbers take as many half bytes as the widest one needs.
General compression would save a fifth of that and take three times as long to read (`benchmarks/ledger.py`).

A day on which nothing is counted beside outcomes (`counts.Count`) holds their three columns, another one all nine.

Dimensions:
    n_days: days asked for.
    n_columns: N_OUTCOMES or N_COUNTS.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otel_sla.arrays import Int64Array
from otel_sla.errors import LedgerCorrupt
from otel_sla.sla.counts import MINUTES_PER_DAY, N_COUNTS, N_OUTCOMES

_HALF_DAY = MINUTES_PER_DAY // 2
_FORMATS = {1: N_OUTCOMES, 2: N_COUNTS}  # Format -> columns that the day holds.
FORMAT_OF_ALL = 2

_DISTANCES, _STEPS, _EXCEPTIONS = 0, 1, 2
# Half bytes of a number: the whole ones are little-endian integers, 1 is two numbers to the byte, 3 is 2 and 1.
_WIDTHS = (0, 1, 2, 3, 4, 8, 16)
_WHOLE = {2: "<u1", 4: "<u2", 8: "<u4", 16: "<u8"}
_INT32_MAX = 2**31 - 1
_PLACE_SIZE = 2  # Bytes; the minute of the day of an exception.


def _header(n_columns: int) -> np.dtype[np.void]:
    fields = [
        ("format", "u1"),
        ("form", "u1", (n_columns,)),
        ("width", "u1", (n_columns,)),  # One of _WIDTHS.
        ("size", "<u2", (n_columns,)),  # Bytes of the column.
        ("first", "<i8", (n_columns,)),  # The smallest count; of steps, the first count.
        ("step", "<i8", (n_columns,)),  # The smallest step.
    ]
    return np.dtype(fields)


_HEADERS = {number: _header(n_columns) for number, n_columns in _FORMATS.items()}


def pack_day(counts: Int64Array) -> bytes:
    """Pack one day.

    Args:
        counts: int64[n_columns, 1440], columns as in `counts.Count`, in [0, COUNT_MAX].
    """
    assert counts.shape in [(n, MINUTES_PER_DAY) for n in _FORMATS.values()], f"no day of counts: {counts.shape}"
    assert counts.min() >= 0, "a count below zero"
    number = FORMAT_OF_ALL if counts[N_OUTCOMES:].any() else 1
    forms, widths, firsts, steps, stored = zip(*map(_smallest, counts[: _FORMATS[number]]), strict=True)
    sizes = tuple(map(len, stored))
    header = np.array([(number, forms, widths, sizes, firsts, steps)], dtype=_HEADERS[number])
    return b"".join((header.tobytes(), *stored))


def unpack_days(blobs: Sequence[bytes], out: Int64Array) -> None:
    """Unpack days into `out`; what it held is overwritten.

    Args:
        blobs: n_days results of `pack_day`.
        out: int64[n_columns, n_days, 1440], the first so many columns of `counts.Count`.

    Raises:
        LedgerCorrupt: A blob was not made by `pack_day`.
    """
    assert out.shape[1:] == (len(blobs), MINUTES_PER_DAY), f"no room for {len(blobs)} days in {out.shape}"
    by_format: dict[int, list[int]] = {}
    for place, blob in enumerate(blobs):
        by_format.setdefault(blob[0] if blob else 0, []).append(place)
    for number, places in by_format.items():
        if number not in _FORMATS:
            raise LedgerCorrupt("a packed day is of no known format")
        try:
            if len(places) == len(blobs):
                _unpack_alike(blobs, number, out)
                continue
            some = np.empty((len(out), len(places), MINUTES_PER_DAY), dtype=np.int64)
            _unpack_alike([blobs[place] for place in places], number, some)
            out[:, places] = some
        except (ValueError, IndexError, KeyError) as error:
            raise LedgerCorrupt(f"a packed day cannot be read: {error}") from error


def unpack_day(blob: bytes) -> Int64Array:
    """Unpack one day: int64[N_COUNTS, 1440]; otherwise as `unpack_days`."""
    out = np.empty((N_COUNTS, 1, MINUTES_PER_DAY), dtype=np.int64)
    unpack_days([blob], out)
    return out[:, 0]


def _unpack_alike(blobs: Sequence[bytes], number: int, out: Int64Array) -> None:
    """Unpack days of one format."""
    header = _HEADERS[number]
    headers = np.frombuffer(b"".join([blob[: header.itemsize] for blob in blobs]), dtype=header)
    if len(headers) != len(blobs):
        raise LedgerCorrupt("a packed day is cut off")
    starts = np.full(len(blobs), header.itemsize, dtype=np.int64)
    for index in range(min(_FORMATS[number], len(out))):
        stops = starts + headers["size"][:, index]
        spans = zip(blobs, starts.tolist(), stops.tolist(), strict=True)
        stored = [blob[start:stop] for blob, start, stop in spans]
        _unpack_column(stored, headers, index, out[index])
        starts = stops
    out[_FORMATS[number] :] = 0


def _smallest(column: Int64Array) -> tuple[int, int, int, int, bytes]:
    """Give form, width, first, step and bytes of the form that takes the fewest."""
    first = int(column.min())
    distances = column - first
    width = _width_of(int(distances.max()))
    places = np.flatnonzero(distances).astype("<u2")
    whole = max(2, width + (width & 1))
    if len(places) * (_PLACE_SIZE + whole / 2) < _HALF_DAY * width:
        values = distances[places].astype(_WHOLE[whole])
        return _EXCEPTIONS, whole, first, 0, places.tobytes() + values.tobytes()
    steps = np.diff(column)
    step = int(steps.min())
    steps_width = _width_of(int(steps.max()) - step)
    if steps_width < width:
        numbers = np.concatenate((np.zeros(1, dtype=np.int64), steps - step))
        return _STEPS, steps_width, int(column[0]), step, _stored(numbers, steps_width)
    return _DISTANCES, width, first, 0, _stored(distances, width)


def _width_of(number: int) -> int:
    return next(width for width in _WIDTHS if number < 1 << (4 * width))


def _stored(numbers: Int64Array, width: int) -> bytes:
    if width in _WHOLE:
        return numbers.astype(_WHOLE[width]).tobytes()
    # Half bytes: the two halves of the day share a byte, so that each is taken out in one piece.
    top = (numbers >> (4 * max(width - 1, 0))).astype(np.uint8)
    halves = (top[:_HALF_DAY] | (top[_HALF_DAY:] << 4)).tobytes()
    whole = (numbers & 0xFF).astype(np.uint8).tobytes()
    return {0: b"", 1: halves, 3: whole + halves}[width]


def _unpack_column(stored: list[bytes], headers: NDArray[np.void], index: int, out: Int64Array) -> None:
    # Days of a month mostly have one form: a handful of array operations instead of a handful for each day.
    forms = headers["form"][:, index].astype(np.int64) << 8 | headers["width"][:, index]
    for form_and_width in set(forms.tolist()):
        form, width = divmod(form_and_width, 1 << 8)
        is_chosen = forms == form_and_width
        is_all = bool(is_chosen.all())
        chosen = stored if is_all else [stored[place] for place in np.flatnonzero(is_chosen).tolist()]
        first, step = (headers[name][is_chosen, index, None] for name in ("first", "step"))
        if form == _EXCEPTIONS:
            target = out if is_all else np.empty((len(chosen), MINUTES_PER_DAY), dtype=np.int64)
            _put_exceptions(chosen, width, first, target)
            if not is_all:
                out[is_chosen] = target
            continue
        numbers = _numbers(b"".join(chosen), width, len(chosen))
        counts = _steps_taken(numbers, width, first, step) if form == _STEPS else _moved(numbers, width, first)
        out[... if is_all else is_chosen] = counts


def _moved(numbers: NDArray[Any], width: int, first: Int64Array) -> NDArray[Any]:
    """Add each day's smallest count to the distances."""
    if not first.any():
        return numbers
    narrow = _narrow(int(first.max()) + (1 << 4 * width))
    counts = numbers.astype(narrow)
    counts += first.astype(narrow)
    return counts


def _steps_taken(numbers: NDArray[Any], width: int, first: Int64Array, step: Int64Array) -> NDArray[Any]:
    """Add each day's smallest step to the others, and all of them up."""
    step_max = int(np.abs(step).max()) + (1 << 4 * width)
    narrow = _narrow(int(first.max()) + MINUTES_PER_DAY * step_max)
    counts = numbers.astype(narrow)
    counts += step.astype(narrow)
    counts[:, :1] = first
    np.cumsum(counts, axis=1, out=counts)
    return counts


def _narrow(count_max: int) -> type[np.signedinteger[Any]]:
    """Sums of half the width take half the time, and are widened when they are done."""
    return np.int32 if count_max <= _INT32_MAX else np.int64


def _put_exceptions(stored: list[bytes], width: int, first: Int64Array, out: Int64Array) -> None:
    value_size = width // 2
    sizes = [len(column) // (_PLACE_SIZE + value_size) for column in stored]
    bounds = list(zip(stored, [_PLACE_SIZE * size for size in sizes], strict=True))
    places = np.frombuffer(b"".join([column[:bound] for column, bound in bounds]), dtype="<u2")
    values = np.frombuffer(b"".join([column[bound:] for column, bound in bounds]), dtype=_WHOLE[width])
    days = np.repeat(np.arange(len(stored)), sizes)
    out[:] = first
    out[days, places] += values.astype(np.int64)


def _numbers(stored: bytes, width: int, n_days: int) -> NDArray[Any]:
    if width in _WHOLE:
        numbers = np.frombuffer(stored, dtype=_WHOLE[width]).reshape(n_days, MINUTES_PER_DAY)
        return numbers.astype(np.int64) if width == max(_WIDTHS) else numbers
    planes = np.frombuffer(stored, dtype=np.uint8).reshape(n_days, _HALF_DAY * {0: 0, 1: 1, 3: 3}[width])
    numbers = np.zeros((n_days, MINUTES_PER_DAY), dtype=np.uint16 if width == 3 else np.uint8)
    if width:
        halves = planes[:, -_HALF_DAY:]
        np.bitwise_and(halves, 0xF, out=numbers[:, :_HALF_DAY])
        np.right_shift(halves, 4, out=numbers[:, _HALF_DAY:])
    if width == 3:
        numbers <<= 8
        numbers |= planes[:, :MINUTES_PER_DAY]
    return numbers
