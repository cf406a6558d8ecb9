"""A series' day of counts as one small blob.

Counts change little from minute to minute, and failures are rare. So each outcome's 1,440 counts are kept as the
distance to their smallest one, or as the steps from minute to minute, whichever is narrower, in as many half bytes
as the widest needs. A column of mostly equal values is deflated as well; noise is not, because inflating it would cost
more time than all the rest of reading a month (`benchmarks/ledger.py`).

Dimensions:
    n_days: days asked for.
"""

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from otel_sla.errors import LedgerCorrupt
from otel_sla.spans.columns import BoolArray, Int64Array, UInt8Array

MINUTES_PER_DAY = 1440
_HALF_DAY = MINUTES_PER_DAY // 2
N_OUTCOMES = 3
_FORMAT = 1
_DEFLATE_LEVEL = 6
# Deflated only if that leaves at most this share: it costs some 10 us per column and day to inflate.
_DEFLATED_SHARE_MAX = 0.33

_HEADER = np.dtype(
    [
        ("format", "u1"),
        ("half_bytes", "u1", (N_OUTCOMES,)),  # Width of a number; 0: all numbers are 0.
        ("is_steps", "u1", (N_OUTCOMES,)),  # Numbers are steps from minute to minute instead of counts.
        ("is_deflated", "u1", (N_OUTCOMES,)),
        ("size", "<u2", (N_OUTCOMES,)),  # Bytes of the column, as stored.
        ("first", "<i8", (N_OUTCOMES,)),  # Added to every count.
        ("step", "<i8", (N_OUTCOMES,)),  # Added to every step.
    ]
)


def pack_day(counts: Int64Array, *, is_final: bool = True) -> bytes:
    """Pack one day.

    Args:
        counts: int64[3, 1440], requests. Not negative.
        is_final: Take the time to deflate.
    """
    assert counts.shape == (N_OUTCOMES, MINUTES_PER_DAY), f"a day has 3 x 1440 counts, not {counts.shape}"
    assert counts.min() >= 0, "a count below zero"
    header = np.zeros(1, dtype=_HEADER)
    header["format"] = _FORMAT
    columns = []
    for outcome in range(N_OUTCOMES):
        column = counts[outcome]
        first, step = int(column.min()), 0
        numbers = column - first
        steps = np.diff(column, prepend=column[0])
        if (int(steps.max()) - int(steps.min())).bit_length() < int(numbers.max()).bit_length():
            first, step = int(column[0]), int(steps.min())
            numbers = steps - step
            header["is_steps"][0, outcome] = 1
        half_bytes = -(-int(numbers.max()).bit_length() // 4)
        stored = _to_half_bytes(numbers, half_bytes)
        deflated = zlib.compress(stored, _DEFLATE_LEVEL, wbits=-zlib.MAX_WBITS) if is_final else stored
        if len(deflated) < len(stored) * _DEFLATED_SHARE_MAX:
            stored = deflated
            header["is_deflated"][0, outcome] = 1
        header["half_bytes"][0, outcome] = half_bytes
        header["size"][0, outcome] = len(stored)
        header["first"][0, outcome] = first
        header["step"][0, outcome] = step
        columns.append(stored)
    return b"".join((header.tobytes(), *columns))


def unpack_days(blobs: Sequence[bytes], out: Int64Array) -> None:
    """Unpack days into `out`; what it held is overwritten.

    Args:
        blobs: n_days results of `pack_day`.
        out: int64[3, n_days, 1440], requests.

    Raises:
        LedgerCorrupt: A blob was not made by `pack_day`.
    """
    assert out.shape == (N_OUTCOMES, len(blobs), MINUTES_PER_DAY), f"no room for {len(blobs)} days in {out.shape}"
    if not blobs:
        return
    try:
        headers = np.frombuffer(b"".join([blob[: _HEADER.itemsize] for blob in blobs]), dtype=_HEADER)
        if len(headers) != len(blobs) or (headers["format"] != _FORMAT).any():
            raise LedgerCorrupt("a packed day is of no known format")
        _unpack_columns(blobs, headers, out)
    except (zlib.error, ValueError) as error:
        raise LedgerCorrupt(f"a packed day cannot be read: {error}") from error


def _unpack_columns(blobs: Sequence[bytes], headers: NDArray[np.void], out: Int64Array) -> None:
    starts = np.full(len(blobs), _HEADER.itemsize, dtype=np.int64)
    for outcome in range(N_OUTCOMES):
        stops = starts + headers["size"][:, outcome]
        half_bytes = headers["half_bytes"][:, outcome]
        is_deflated = headers["is_deflated"][:, outcome]
        # Days of a month mostly have one width: a handful of array operations instead of a handful for each day.
        for width in set(half_bytes.tolist()):
            is_width = half_bytes == width
            stored = [
                _inflated(blobs[day][start:stop], deflated)
                for day, start, stop, deflated in zip(
                    np.flatnonzero(is_width).tolist(),
                    starts[is_width].tolist(),
                    stops[is_width].tolist(),
                    is_deflated[is_width].tolist(),
                    strict=True,
                )
            ]
            _put(out[outcome], is_width, _from_half_bytes(b"".join(stored), width, len(stored)))
        starts = stops
        steps = headers["is_steps"][:, outcome] != 0
        if steps.any():
            _sum_steps(out[outcome], steps, headers["step"][:, outcome])
        out[outcome] += headers["first"][:, outcome, None]


def _inflated(stored: bytes, is_deflated: int) -> bytes:
    return zlib.decompress(stored, wbits=-zlib.MAX_WBITS) if is_deflated else stored


def _put(out: Int64Array, is_chosen: BoolArray, numbers: Int64Array | UInt8Array) -> None:
    if is_chosen.all():
        out[:] = numbers
    else:
        out[is_chosen] = numbers


def _sum_steps(out: Int64Array, is_steps: BoolArray, step: Int64Array) -> None:
    numbers = out if is_steps.all() else out[is_steps]
    numbers += step[is_steps, None]
    numbers[:, 0] = 0  # The first minute's step is from itself.
    np.cumsum(numbers, axis=1, out=numbers)
    if numbers is not out:
        out[is_steps] = numbers


def _to_half_bytes(numbers: Int64Array, half_bytes: int) -> bytes:
    """Store whole bytes, lowest first, each for all minutes; then the odd half byte, two half days in one byte."""
    planes = [((numbers >> (8 * place)) & 0xFF).astype(np.uint8).tobytes() for place in range(half_bytes // 2)]
    if half_bytes % 2:
        top = ((numbers >> (4 * (half_bytes - 1))) & 0xF).astype(np.uint8)
        planes.append((top[:_HALF_DAY] | (top[_HALF_DAY:] << 4)).tobytes())
    return b"".join(planes)


def _from_half_bytes(stored: bytes, half_bytes: int, n_days: int) -> Int64Array | UInt8Array:
    n_bytes = half_bytes // 2
    planes = np.frombuffer(stored, dtype=np.uint8).reshape(n_days, half_bytes * _HALF_DAY)
    if half_bytes == 2:
        return planes
    numbers = np.zeros((n_days, MINUTES_PER_DAY), dtype=np.int64)
    for place in range(n_bytes):
        plane = planes[:, place * MINUTES_PER_DAY : (place + 1) * MINUTES_PER_DAY]
        numbers |= plane.astype(np.int64) << (8 * place)
    if half_bytes % 2:
        top = planes[:, n_bytes * MINUTES_PER_DAY :]
        numbers[:, :_HALF_DAY] |= (top & 0xF).astype(np.int64) << (8 * n_bytes)
        numbers[:, _HALF_DAY:] |= (top >> 4).astype(np.int64) << (8 * n_bytes)
    return numbers
