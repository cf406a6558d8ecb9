"""Bloom filters rule out, for most new messages and without a look-up, that the ledger has their fingerprints.

A look-up takes 8 us, 18 where the ledger holds many millions, and releases the interpreter's lock. Each of the newest
minutes has a filter and, beside a large ledger, each block of the minutes before. Filters hold what this process has
written; what the ledger had at the start is loaded block by block, the newest first. Where a filter does not rule a
fingerprint out, or its minute has no filter, the ledger is asked.

A message that is counted may also hold an end time that is years ahead, and its fingerprint then has that minute. All
such fingerprints share one filter, so that a sender whose clock is wrong takes no filter from the others.
"""

import struct
from collections.abc import Iterable

import numpy as np

from otel_sla.counting.repeats.fingerprint import newest_accepted_minute
from otel_sla.sla.counts import AcceptWindow

BLOCK_MINUTES = 32
FINGERPRINT_SIZE_BYTES = 16
FILTER_BITS = 1 << 23  # 1 MiB of a minute: of 500,000 fingerprints one in 500 is looked up in vain.
_NEVER = 1 << 62

_Fingerprint = tuple[int, bytes]  # (newest minute, 16 bytes).


class BloomFilter:
    """The filters of one ledger.

    Args:
        first_own_minute: Minutes from this one on had no fingerprint in the ledger when this process opened it, but for
            those in `ahead`.
        ahead: `filter_bits` of these; None: there were none.
        n_bits: Of one filter; a power of two.
        filters_max: Minutes with a filter of their own.
        blocks_max: 30 hours; where spans are accepted for longer, the ledger is asked for those before.
        minutes_max: Minutes of which it is remembered that they have fingerprints.
    """

    def __init__(
        self,
        first_own_minute: int,
        ahead: bytes | None = None,
        *,
        n_bits: int = FILTER_BITS,
        filters_max: int = 8,
        blocks_max: int = 56,
        minutes_max: int = 100_000,
    ) -> None:
        self.filters_max, self.blocks_max, self._minutes_max = filters_max, blocks_max, minutes_max
        self._size_bytes, self._mask = n_bits // 8, n_bits - 1
        self._first_own_minute = first_own_minute
        self._known_from = first_own_minute  # Of the minutes before it the ledger is asked.
        self._keeps_blocks = False
        self._kept_from = 0  # Of the minutes before it no block is kept. Never behind `_known_from`.
        self._sealed_before = 0
        self._ahead = None if ahead is None else bytearray(ahead)  # Of minutes that were not accepted yet by then.
        self._filters: dict[int, bytearray] = {}  # By minute.
        self._blocks: dict[int, bytearray] = {}  # By minute // BLOCK_MINUTES: of minutes without a filter of their own.
        self._written: set[int] = set()  # Minutes that have fingerprints of this process.

    def keep_blocks(self) -> None:
        """Take the memory, 56 MiB at most, for older minutes as well; before anything else is called."""
        assert not self._written, "nothing was left out so far"
        self._keeps_blocks = True

    def may_be_counted(self, minute: int, fingerprint: bytes) -> bool:
        """Tell whether the ledger has to be asked; False: it has no such fingerprint."""
        if minute < self._known_from:
            return True
        bits = self._filters.get(minute) or self._blocks.get(minute // BLOCK_MINUTES)
        if bits is None:
            if minute in self._written and not self._keeps_blocks:
                return True
        elif _may_have(bits, fingerprint, self._mask):
            return True
        return self._ahead is not None and _may_have(self._ahead, fingerprint, self._mask)

    def take_up(self, fingerprints: Iterable[_Fingerprint], window: AcceptWindow) -> None:
        """Add what has been committed, and drop the filters of minutes that are not accepted any more.

        Args:
            fingerprints: Of any minutes.
            window: What is accepted now.
        """
        self.add(fingerprints, newest_accepted_minute(window))
        self.forget_before(window.sealed_before_minute)

    def add(self, fingerprints: Iterable[_Fingerprint], newest_minute: int = _NEVER) -> None:
        """Add what has been committed.

        Args:
            fingerprints: Of any minutes.
            newest_minute: That is accepted now; of later ones none gets a filter of its own.
        """
        for minute, fingerprint in fingerprints:
            if minute > newest_minute:
                if self._ahead is None:
                    self._ahead = bytearray(self._size_bytes)
                bits: bytearray | None = self._ahead
            else:
                bits = self._filters.get(minute) or self._new_filter(minute) or self._block(minute // BLOCK_MINUTES)
            if bits is None:
                continue
            for place in struct.unpack("<4I", fingerprint):
                bits[(place & self._mask) >> 3] |= 1 << (place & 7)

    def next_to_load(self) -> int:
        """Give the newest minute of which the ledger has to be asked; `load` makes the block that it is in known."""
        return self._known_from - 1

    def load(self, block: int, bits: bytes) -> None:
        """Add `filter_bits` of all that the ledger has of a block, read after it was the next to load."""
        start_minute = block * BLOCK_MINUTES
        if not self._keeps_blocks or start_minute < self._kept_from or self._known_from > start_minute + BLOCK_MINUTES:
            return
        self._merge(block, bits)
        if start_minute >= self._kept_from:
            self._known_from = min(self._known_from, max(start_minute, self._sealed_before))

    def forget_before(self, minute: int) -> None:
        """Drop the filters of minutes whose spans are not accepted any more; of them the ledger is asked."""
        if minute <= self._sealed_before:
            return
        self._sealed_before = minute
        self._known_from = max(self._known_from, minute)
        self._kept_from = max(self._kept_from, minute // BLOCK_MINUTES * BLOCK_MINUTES)
        self._written = {written for written in self._written if written >= minute}
        for old in [kept for kept in self._filters if kept < minute]:
            del self._filters[old]
        for block in [block for block in self._blocks if block < minute // BLOCK_MINUTES]:
            del self._blocks[block]

    def _new_filter(self, minute: int) -> bytearray | None:
        """Begin the filter of a minute, unless there is anything of it elsewhere, or others are newer."""
        if minute < self._first_own_minute or minute < self._known_from or minute in self._written:
            return None
        if len(self._written) == self._minutes_max:  # No clock is that wrong: the ledger is asked from now on.
            self._known_from = self._kept_from = _NEVER
            self._filters.clear()
            self._blocks.clear()
            self._written.clear()
            return None
        self._written.add(minute)
        if len(self._filters) == self.filters_max:
            oldest = min(self._filters)
            if minute < oldest:  # Keep the newest minutes: most traffic is current.
                return None
            self._merge(oldest // BLOCK_MINUTES, self._filters.pop(oldest))
        bits = self._filters[minute] = bytearray(self._size_bytes)
        return bits

    def _block(self, block: int) -> bytearray | None:
        """Give what a block's fingerprints are kept in; None: nothing is kept of it."""
        bits = self._blocks.get(block)
        if bits is None and self._keeps_blocks and block * BLOCK_MINUTES >= self._kept_from:
            bits = self._blocks[block] = bytearray(self._size_bytes)
            if len(self._blocks) > self.blocks_max:
                oldest = min(self._blocks)
                del self._blocks[oldest]
                self._kept_from = (oldest + 1) * BLOCK_MINUTES
                self._known_from = max(self._known_from, self._kept_from)
                return self._blocks.get(block)
        return bits

    def _merge(self, block: int, bits: bytes | bytearray) -> None:
        kept = self._block(block)
        if kept is not None:
            words = np.frombuffer(kept, dtype=np.uint64)
            np.bitwise_or(words, np.frombuffer(bits, dtype=np.uint64), out=words)


def _may_have(bits: bytearray, fingerprint: bytes, mask: int) -> bool:
    low, high = int.from_bytes(fingerprint[:8], "little"), int.from_bytes(fingerprint[8:], "little")
    # Two bits of each half of the fingerprint, which is a keyed hash and so needs no other.
    return bool(
        bits[(low & mask) >> 3] & (1 << (low & 7))
        and bits[(high & mask) >> 3] & (1 << (high & 7))
        and bits[((low := low >> 32) & mask) >> 3] & (1 << (low & 7))
        and bits[((high := high >> 32) & mask) >> 3] & (1 << (high & 7))
    )


def filter_bits(fingerprints: Iterable[bytes], n_bits: int = FILTER_BITS) -> bytes:
    """Give the bits of many fingerprints, as a filter has them.

    Args:
        fingerprints: Any number of 16 bytes in each.
        n_bits: Of the filter.
    """
    bits = np.zeros(n_bits, dtype=np.bool_)
    for piece in fingerprints:
        bits[np.frombuffer(piece, dtype="<u4") & (n_bits - 1)] = True
    return np.packbits(bits, bitorder="little").tobytes()


def full_bits() -> bytes:
    """Give the bits of a filter that rules nothing out."""
    return b"\xff" * (FILTER_BITS // 8)
