"""Makes the Bloom filter of counted messages, and loads what a large ledger holds into it while requests are served.

A start does not wait for it: until a block of minutes is loaded, or if it cannot be read, the ledger is asked.
"""

import asyncio
import logging
import time
from functools import partial
from pathlib import Path

from otel_sla.counting.repeats.bloom_filter import (
    BLOCK_MINUTES,
    FINGERPRINT_SIZE_BYTES,
    BloomFilter,
    filter_bits,
    full_bits,
)
from otel_sla.counting.repeats.fingerprint import newest_accepted_minute
from otel_sla.errors import LedgerError
from otel_sla.ledger.reader import LedgerReader
from otel_sla.ledger.threads import LedgerThread
from otel_sla.sla.counts import AcceptWindow

_log = logging.getLogger(__name__)

AHEAD_FINGERPRINTS_MAX = 500_000  # Read at a start, for a quarter of a second.
_AHEAD_PIECES_MAX = 10_000


def new_filter(
    reader: LedgerReader, window: AcceptWindow, *, ahead_fingerprints_max: int = AHEAD_FINGERPRINTS_MAX
) -> BloomFilter:
    """Make the filter for a ledger as it is, with what it holds of minutes that are not accepted yet.

    Args:
        reader: Of a ledger that nothing has been appended to since it was opened for writing.
        window: What is accepted now. What the ledger has up to its end is not loaded here.
        ahead_fingerprints_max: Of minutes that are not accepted yet; beside more, the ledger is asked for all.

    Raises:
        LedgerError: It cannot be read.
    """
    newest_minute = newest_accepted_minute(window)
    _, last_minute = reader.fingerprint_minutes() or (0, -1)
    if last_minute <= newest_minute:
        return BloomFilter(last_minute + 1)
    pieces: list[bytes] = []
    n_left = ahead_fingerprints_max * FINGERPRINT_SIZE_BYTES
    for piece in reader.fingerprints_of(newest_minute + 1, last_minute + 1):
        pieces.append(piece)
        n_left -= len(piece)
        if n_left < 0 or len(pieces) > _AHEAD_PIECES_MAX:
            return BloomFilter(newest_minute + 1, full_bits())
    return BloomFilter(newest_minute + 1, filter_bits(pieces))


class FilterLoading:
    """One loading, on a thread of its own.

    Args:
        url: Of the ledger.
        path: Its file.
        filter_: Is loaded, the newest minutes first.
        from_minute: Epoch minute. Of earlier ones nothing is accepted any more.
        ledger_size_bytes_min: In a smaller ledger a look-up costs little more than a filter: nothing is loaded.
    """

    def __init__(
        self,
        url: str,
        path: Path,
        filter_: BloomFilter,
        from_minute: int,
        *,
        ledger_size_bytes_min: int = 64 * 1024 * 1024,
    ) -> None:
        self._path = path
        self._ledger_size_bytes_min = ledger_size_bytes_min
        self._filter = filter_
        self._from_minute = from_minute
        self._thread = LedgerThread("filter", lambda: LedgerReader.open(url))
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False

    def start(self) -> None:
        """Begin, if the ledger is large; before the first request."""
        if self._path.stat().st_size >= self._ledger_size_bytes_min:
            self._filter.keep_blocks()
            self._task = asyncio.create_task(self._load())

    async def finish(self) -> None:
        """Wait until all is loaded that can be."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def close(self) -> None:
        """End it soon; safe when it was never started, and twice."""
        self._is_closing = True
        self._thread.give_up()
        await self.finish()
        await self._thread.close()

    async def _load(self) -> None:
        started_s, n_blocks = time.monotonic(), 0
        try:
            await self._thread.open()
            ends = await self._thread.call(lambda reader: reader.fingerprint_minutes())
            first_minute = self._from_minute if ends is None else max(ends[0], self._from_minute)
            while (minute := self._filter.next_to_load()) >= first_minute and not self._is_closing:
                block = minute // BLOCK_MINUTES
                self._filter.load(block, await self._thread.call(partial(_read, block)))
                if self._filter.next_to_load() >= minute:
                    break
                n_blocks += 1
        except LedgerError:
            return  # The ledger is asked from now on, and fails itself.
        _log.info(
            "the filter of counted messages is loaded: %d blocks of %d minutes in %.1f s",
            n_blocks,
            BLOCK_MINUTES,
            time.monotonic() - started_s,
            extra={"action": "filter_loaded"},
        )


def _read(block: int, reader: LedgerReader) -> bytes:
    start_minute = block * BLOCK_MINUTES
    return filter_bits(reader.fingerprints_of(start_minute, start_minute + BLOCK_MINUTES))
