"""How far a source has been counted: its place in the ledger, and whether it is still the same source.

A source is known by its first record, whatever its name is and however it is compressed. With the place goes a digest
of all records before it: what was appended to since goes on from there; what begins alike but is not the same is
found out before anything is counted twice.
"""

from dataclasses import dataclass, replace

from otel_sla.errors import ReplayError
from otel_sla.ledger.reader import LedgerReadings
from otel_sla.ledger.records import Position
from otel_sla.replay.records import Record

_HINT = "nothing more was counted of it; replay the file that was counted, or use another ledger.url"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the counting of one source goes on."""

    name: str  # What messages call the source.
    source: str  # Key in the ledger.
    offset: int | None  # End of the last record that was counted; None: nothing yet.
    check: int | None  # Digest of the records up to there.

    @classmethod
    def find(cls, ledger: LedgerReadings, name: str, first: Record) -> "Place":
        """Find the place of the source that begins with this record."""
        source = f"replay:{first.check:016x}"
        return cls(name, source, ledger.position(source), ledger.position(_check_key(source)))

    def has_counted(self, record: Record) -> bool:
        """Tell whether an earlier run counted the record.

        Raises:
            ReplayError: This is not the source that the earlier run counted.
        """
        if self.offset is None or record.start >= self.offset:
            return False
        if record.stop > self.offset or (record.stop == self.offset and record.check != self.check):
            message = f"{self.name} begins like a file that was counted up to byte {self.offset}, but is not the same"
            raise ReplayError(message, _HINT)
        return True

    def check_end(self, stop: int) -> None:
        """Look at where the source ends.

        Raises:
            ReplayError: Before the place: whether it is the same source cannot be known.
        """
        if self.offset is not None and stop < self.offset:
            message = f"{self.name} ends at byte {stop}, but was counted up to byte {self.offset}: it is cut off"
            raise ReplayError(message, _HINT)

    def moved(self, offset: int, check: int) -> tuple["Place", tuple[Position, ...]]:
        """Give the place behind another record, and what goes into the ledger in the transaction of its counts."""
        positions = (
            Position(self.source, self.offset, offset),
            Position(_check_key(self.source), self.check, check),
        )
        return replace(self, offset=offset, check=check), positions


def _check_key(source: str) -> str:
    return f"{source}:check"
