"""Tells for most new messages without a look at the disk that the ledger has no fingerprint of theirs.

A look-up takes 8 us, and gives the interpreter's lock away. Every fingerprint of a minute behind the last one that the
ledger had at the start was written by this process; for each of these minutes it keeps a Bloom filter. What a filter
does not rule out is for the ledger to say.
"""

from collections.abc import Iterable

_FILTER_BITS = 1 << 23  # 1 MiB of a minute: of 500,000 fingerprints one in 500 is looked up in vain.
_FILTERS_MAX = 8
_MINUTES_MAX = 100_000  # Of which it is remembered that they have fingerprints.
_MASK = _FILTER_BITS - 1
_NEVER = 1 << 62


class CountedFilter:
    """What this process has written.

    Args:
        first_own_minute: Minutes from this one on had no fingerprint in the ledger when this process opened it.
    """

    def __init__(self, first_own_minute: int) -> None:
        self._first_own_minute = first_own_minute
        self._filters: dict[int, bytearray] = {}  # By minute.
        self._written: set[int] = set()  # Minutes that have fingerprints of this process.

    def may_be_counted(self, minute: int, fingerprint: bytes) -> bool:
        """Tell whether the ledger has to be asked; False: it has no such fingerprint."""
        if minute < self._first_own_minute:
            return True
        bits = self._filters.get(minute)
        if bits is None:
            return minute in self._written
        low, high = int.from_bytes(fingerprint[:8], "little"), int.from_bytes(fingerprint[8:], "little")
        # Two bits of each half of the fingerprint, which is a keyed hash and so needs no other.
        return bool(
            bits[(low & _MASK) >> 3] & (1 << (low & 7))
            and bits[(high & _MASK) >> 3] & (1 << (high & 7))
            and bits[((low := low >> 32) & _MASK) >> 3] & (1 << (low & 7))
            and bits[((high := high >> 32) & _MASK) >> 3] & (1 << (high & 7))
        )

    def add(self, fingerprints: Iterable[tuple[int, bytes]]) -> None:
        """Take up what has been committed: (minute, fingerprint) each."""
        for minute, fingerprint in fingerprints:
            if minute < self._first_own_minute:
                continue
            bits = self._filters.get(minute)
            if bits is None:
                bits = self._new_filter(minute)
                if bits is None:
                    continue
            for half in (fingerprint[:8], fingerprint[8:]):
                number = int.from_bytes(half, "little")
                for place in (number, number >> 32):
                    bits[(place & _MASK) >> 3] |= 1 << (place & 7)

    def forget_before(self, minute: int) -> None:
        """Let go of minutes whose spans are not accepted any more; of them the ledger is asked."""
        if minute <= self._first_own_minute:
            return
        self._first_own_minute = minute
        self._written = {written for written in self._written if written >= minute}
        for old in [kept for kept in self._filters if kept < minute]:
            del self._filters[old]

    def _new_filter(self, minute: int) -> bytearray | None:
        """Begin the filter of a minute, unless it was there once and is not complete any more."""
        if minute in self._written:
            return None
        if len(self._written) == _MINUTES_MAX:  # Nobody's clock is that wrong: the ledger is asked from now on.
            self._first_own_minute = _NEVER
            self._filters.clear()
            self._written.clear()
            return None
        self._written.add(minute)
        if len(self._filters) == _FILTERS_MAX:
            oldest = min(self._filters)
            if minute < oldest:  # Those who are up to date are the most.
                return None
            del self._filters[oldest]
        bits = self._filters[minute] = bytearray(_FILTER_BITS // 8)
        return bits
