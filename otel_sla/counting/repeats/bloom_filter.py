"""Bloom filters rule out, for most new messages and without a look-up, that the ledger has their fingerprints.

A look-up takes 8 us, 18 where the ledger holds many millions. Each of the newest minutes has a filter, of what this
process has written. Where it does not rule a fingerprint out, or a minute has no filter, the ledger is asked.

A message that is counted may also hold an end time that is years ahead, and its fingerprint then has that minute. All
such fingerprints share one filter, so that a sender whose clock is wrong takes no filter from the others.
"""

import struct
from collections.abc import Iterable

import numpy as np

from otel_sla.counting.repeats.fingerprint import Fingerprint, newest_accepted_minute
from otel_sla.ledger.reader import LedgerReader
from otel_sla.sla.counts import AcceptWindow

AHEAD_FINGERPRINTS_MAX = 500_000  # Read at a start, for a quarter of a second.
_AHEAD_PIECES_MAX = 10_000
_FINGERPRINT_SIZE_BYTES = 16
FILTER_BITS = 1 << 23  # 1 MiB of a minute: of 500,000 fingerprints one in 500 is looked up in vain.
FULL_BITS = b"\xff" * (FILTER_BITS // 8)  # Of a filter that rules nothing out.


class BloomFilter:
    """The filters of one ledger.

    Args:
        first_own_minute: Minutes from this one on had no fingerprint in the ledger when this process opened it, but for
            those in `ahead`.
        ahead: `filter_bits` of these; None: there were none.
        n_bits: Of one filter; a power of two.
        filters_max: Minutes with a filter of their own: the newest, as most traffic is current.
    """

    def __init__(
        self, first_own_minute: int, ahead: bytes | None = None, *, n_bits: int = FILTER_BITS, filters_max: int = 8
    ) -> None:
        self.filters_max = filters_max
        self._size_bytes, self._mask = n_bits // 8, n_bits - 1
        self._known_from = first_own_minute  # Of the minutes before it the ledger is asked.
        self._ahead = None if ahead is None else bytearray(ahead)  # Of minutes that were not accepted yet by then.
        self._filters: dict[int, bytearray] = {}  # By minute.

    def may_be_counted(self, minute: int, fingerprint: bytes) -> bool:
        """Whether the ledger has to be asked; False: it has no such fingerprint."""
        if minute < self._known_from:
            return True
        filters = self._filters.get(minute), self._ahead
        return any(bits is not None and _may_have(bits, fingerprint, self._mask) for bits in filters)

    def add(self, fingerprints: Iterable[Fingerprint], newest_minute: int) -> None:
        """Add what has been committed; later minutes than `newest_minute`, which is accepted now, share a filter."""
        for minute, fingerprint in fingerprints:
            if minute > newest_minute:
                self._ahead = self._ahead or bytearray(self._size_bytes)
                bits: bytearray | None = self._ahead
            else:
                bits = self._filters.get(minute) or self._new_filter(minute)
            if bits is not None:
                for place in struct.unpack("<4I", fingerprint):
                    bits[(place & self._mask) >> 3] |= 1 << (place & 7)

    def forget_before(self, minute: int) -> None:
        """Drop the filters of earlier minutes: of them the ledger is asked."""
        self._known_from = max(self._known_from, minute)
        for old in [kept for kept in self._filters if kept < minute]:
            del self._filters[old]

    def _new_filter(self, minute: int) -> bytearray | None:
        if minute < self._known_from:
            return None
        self._filters[minute] = bytearray(self._size_bytes)
        if len(self._filters) > self.filters_max:
            self.forget_before(min(self._filters) + 1)
        return self._filters.get(minute)


def _may_have(bits: bytearray, fingerprint: bytes, mask: int) -> bool:
    # The fingerprint is a keyed hash, so a filter needs no other.
    return all(bits[(place & mask) >> 3] & 1 << (place & 7) for place in struct.unpack("<4I", fingerprint))


def filter_bits(fingerprints: Iterable[bytes], n_bits: int = FILTER_BITS) -> bytes:
    """Give the bits of many fingerprints, any number of 16 bytes in each, as a filter of `n_bits` has them."""
    bits = np.zeros(n_bits, dtype=np.bool_)
    for piece in fingerprints:
        bits[np.frombuffer(piece, dtype="<u4") & (n_bits - 1)] = True
    return np.packbits(bits, bitorder="little").tobytes()


def new_filter(
    reader: LedgerReader, window: AcceptWindow, *, ahead_fingerprints_max: int = AHEAD_FINGERPRINTS_MAX
) -> BloomFilter:
    """Make the filter for a ledger as it is, with what it holds of minutes that are not accepted yet.

    Args:
        reader: Of a ledger that nothing has been appended to since it was opened for writing.
        window: What is accepted now. Of what the ledger has up to its end, the ledger is asked.
        ahead_fingerprints_max: Of minutes that are not accepted yet; beside more, the ledger is asked for all.
    """
    newest_minute = newest_accepted_minute(window)
    _, last_minute = reader.fingerprint_minutes() or (0, -1)
    if last_minute <= newest_minute:
        return BloomFilter(last_minute + 1)
    pieces: list[bytes] = []
    n_left = ahead_fingerprints_max * _FINGERPRINT_SIZE_BYTES
    for piece in reader.fingerprints_of(newest_minute + 1, last_minute + 1):
        pieces.append(piece)
        n_left -= len(piece)
        if n_left < 0 or len(pieces) > _AHEAD_PIECES_MAX:
            return BloomFilter(newest_minute + 1, FULL_BITS)
    return BloomFilter(newest_minute + 1, filter_bits(pieces))
