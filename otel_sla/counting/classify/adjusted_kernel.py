"""Clause 19: how many requests a sampled span stands for."""

import numpy as np

from otel_sla.jit import inner_kernel
from otel_sla.sla.counts import COUNT_MAX, PARTS_PER_REQUEST

_ALL = np.uint64(1 << 56)  # What a threshold is a part of.
_QUOTIENT_MAX = np.uint64(1 << 43)  # From here on 2^20 times it is past any count.
_BYTE, _HALF_BYTE, _ONE = np.uint64(8), np.uint64(4), np.uint64(1)
_PARTS = np.uint64(PARTS_PER_REQUEST)


@inner_kernel
def excess_of(threshold: np.int64) -> np.int64:
    """Give 2^76 / (2^56 - T) - 2^20, rounded to nearest, half up, and at most COUNT_MAX.

    `threshold` is T, in [0, 2^56). The division is a long one: 2^76 has no room in 64 bits.
    """
    divisor = _ALL - np.uint64(threshold)
    quotient = _ALL // divisor
    if quotient >= _QUOTIENT_MAX:
        return np.int64(COUNT_MAX)
    rest = _ALL - quotient * divisor
    rest <<= _BYTE
    quotient = quotient << _BYTE | rest // divisor
    rest = rest % divisor << _BYTE
    quotient = quotient << _BYTE | rest // divisor
    rest = rest % divisor << _HALF_BYTE
    quotient = quotient << _HALF_BYTE | rest // divisor
    rest = rest % divisor
    if rest << _ONE >= divisor:
        quotient += _ONE
    return min(np.int64(quotient - _PARTS), np.int64(COUNT_MAX))
