"""Holds the ledger against what was sent."""

from collections import Counter
from dataclasses import dataclass

import xxhash

from otel_sla.ledger.reader import LedgerReader
from otel_sla.sla.agreement import Outcome

from .pieces import Cell, Piece


@dataclass(slots=True)
class Found:
    """What one look at the ledger found of the messages that earlier looks did not."""

    acknowledged: int = 0
    unanswered: int = 0  # In the ledger, and their sender does not know.
    absent: int = 0


class Tally:
    """What was sent to one ledger."""

    def __init__(self) -> None:
        self._not_found_yet: list[Piece] = []
        self._found: Counter[Cell] = Counter()

    def add(self, piece: Piece) -> None:
        """Take up a message, before it is sent for the first time."""
        self._not_found_yet.append(piece)

    def check(self, reader: LedgerReader) -> Found:
        """AssertionError if an acknowledged message is not in the ledger, or one in it is not counted just once."""
        found = Found()
        absent = []
        for piece in self._not_found_yet:
            fingerprint = xxhash.xxh3_128_digest(piece.message, reader.fingerprint_seed)
            if reader.is_counted(piece.newest_minute, fingerprint):
                self._found.update(piece.requests)
                found.acknowledged += piece.is_acknowledged
                found.unanswered += not piece.is_acknowledged
            else:
                absent.append(piece)
        lost = [piece.requests for piece in absent if piece.is_acknowledged]
        assert not lost, f"acknowledged and not in the ledger: {lost}"
        counted = counted_requests(reader)
        assert counted == self._found, (
            f"counted too often: {counted - self._found}, not at all: {self._found - counted}"
        )
        self._not_found_yet = absent
        found.absent = len(absent)
        return found

    @property
    def requests(self) -> int:
        """Those that were found so far."""
        return self._found.total()


def counted_requests(reader: LedgerReader) -> Counter[Cell]:
    """All counts of the ledger."""
    names = {series.series_id: series.group_text["service.name"] for series in reader.series()}
    rows = reader.counts(0, 1 << 40)
    counted: Counter[Cell] = Counter()
    for series_id, minute, counts in zip(
        rows.series_id.tolist(), rows.epoch_minute.tolist(), rows.counts.tolist(), strict=True
    ):
        counted.update({(names[series_id], minute, outcome): counts[outcome] for outcome in Outcome if counts[outcome]})
    return counted
