"""The fingerprints of one replay: what it has seen lately, and what the ledger remembers."""

from otel_sla.ledger.reader import LedgerReadings

REMEMBERED_MAX = 2_000_000
_LAST_MINUTE = (1 << 63) - 1


class SeenMessages:
    """Remembers the fingerprints that a replay met, in a memory of bounded size.

    The ledger forgets the fingerprints of sealed minutes, as no sender may repeat those; a recorded file may. So all
    that a replay meets is remembered here too, also what it only passes because an earlier run counted it.

    Guarantee: a repetition is found if the ledger has its fingerprint, or if it is in the files of one command and at
    most `remembered_max / 2` other messages lie between. Senders repeat within minutes; at 10,000 spans/s in messages
    of 100, a million are those of almost three hours.

    Args:
        ledger: Its fingerprints count as seen.
        remembered_max: Fingerprints, some 100 bytes each.
    """

    def __init__(self, ledger: LedgerReadings, remembered_max: int = REMEMBERED_MAX) -> None:
        self._ledger = ledger
        self._generation_size_max = remembered_max // 2
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()
        # What the ledger had before: a look-up takes 15 us, a tenth of all for messages of 170 spans.
        self._first_minute, self._last_minute = ledger.fingerprint_minutes() or (0, -1)
        # What this replay writes itself is in the sets for longer than in the ledger's log.
        self._has_log = ledger.has_fingerprint_log()

    def is_new(self, newest_minute: int, fingerprint: bytes) -> bool:
        """Tell whether a message was not seen before; from now on it is."""
        if fingerprint in self._young or fingerprint in self._old:
            return False
        self.remember(fingerprint)
        if not self._first_minute <= newest_minute <= self._last_minute:
            return True
        return not self._ledger.is_counted(newest_minute, fingerprint, in_log=self._has_log)

    def remember(self, fingerprint: bytes) -> None:
        """Take up a message that was counted before."""
        if len(self._young) >= self._generation_size_max:
            if self._old:  # What is forgotten here may be in the ledger by now.
                self._first_minute, self._last_minute = 0, _LAST_MINUTE
            self._old, self._young = self._young, set()
        self._young.add(fingerprint)
