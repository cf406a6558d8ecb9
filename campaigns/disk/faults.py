"""A disk of which one call fails."""

import errno
from collections import Counter
from dataclasses import dataclass

from disk.calls import Refusal
from disk.record import Record

_GROWING = frozenset({"open", "write", "truncate"})  # What a full disk refuses.


@dataclass(frozen=True, slots=True)
class Fault:
    """From which call on, of those that it can happen to, and how.

    Args:
        kind: `EIO`: any call; `ENOSPC`: what needs space; `short`: a write is done by half, the next one not at all.
        lasts: All later calls of this kind fail too, until the process ends.
    """

    kind: str
    lasts: bool = False

    def is_possible(self, call: str) -> bool:
        """Whether a call can fail like this."""
        if self.kind == "short":
            return call == "write"
        return self.kind == "EIO" or call in _GROWING


FAULTS = (
    Fault("EIO"),
    Fault("EIO", lasts=True),
    Fault("ENOSPC"),
    Fault("ENOSPC", lasts=True),
    Fault("short"),
    Fault("short", lasts=True),
)


class FaultyDisk(Record):
    """A record in which call number `at` (from 0) fails; None: none does.

    Only those that can fail like this are counted.
    """

    def __init__(self, before: dict[str, bytes], fault: Fault, at: int | None) -> None:
        super().__init__(before)
        self._fault = fault
        self._at = at
        self.n_calls = 0
        self.refused: Counter[str] = Counter()  # Calls that failed, by kind.
        self.refused_at = 0  # Operations that were recorded before the first of them.

    def refusal(self, call: str, name: str) -> Refusal | None:  # noqa: ARG002 - the protocol's.
        """Refuse the one call; while it lasts, all that follow."""
        if not self._fault.is_possible(call):
            return None
        number, self.n_calls = self.n_calls, self.n_calls + 1
        if self._at is None or number < self._at:
            return None
        is_short = self._fault.kind == "short"
        if number > self._at + int(is_short) and not self._fault.lasts:
            return None
        if not self.refused:
            self.refused_at = len(self.operations)
        self.refused[call] += 1
        if is_short and number == self._at:
            return Refusal(errno.ENOSPC, is_short=True)
        return Refusal(errno.EIO if self._fault.kind == "EIO" else errno.ENOSPC)
