"""Closes minutes: finds what has become old enough to judge, and what follows from it.

Takes a snapshot of the ledger and how far time has come; gives one `Closing`, which the writer makes durable as a
whole.
"""

from collections.abc import Mapping, Sequence

from otel_sla.judging.clock import MinuteMarks
from otel_sla.judging.look import BROUGHT_BACK_MAX, Look
from otel_sla.judging.standing import Standing
from otel_sla.ledger.reader import LedgerReadings, ReadingStopped
from otel_sla.ledger.records import Closing
from otel_sla.sla.agreement import Agreement

# Series times minutes that are judged in one go: some 100 MB while they are read, some tenths of a second.
PIECE_MINUTES_MAX = 250_000
# Re-opened series that are told in one go: an acknowledgement waits for that to be written.
LATE_SERIES_MAX = 256


class Judge:
    """Finds what to tell, a bounded piece at a time. Remembers nothing that the ledger does not say; on one thread.

    What it remembers of series in trouble (`standing.Standing`) keeps each look short; any change of the past drops it.

    What changes the past is told first, each change by itself: other terms, then what is counted at all, then
    exclusions; then what is new.

    Args:
        reader: A reading connection of its own.
        agreements: As configured.
        versions: The ledger's version of each one's terms, by name; of those removed too.
        removed: Those that are no longer configured, by their last terms. They stay judged (clause 22).
        piece_minutes_max: Series times minutes of one piece.
        late_series_max: Series of one piece, where many were re-opened.
    """

    def __init__(
        self,
        reader: LedgerReadings,
        agreements: Sequence[Agreement],
        versions: Mapping[str, int],
        removed: Sequence[Agreement] = (),
        *,
        piece_minutes_max: int = PIECE_MINUTES_MAX,
        late_series_max: int = LATE_SERIES_MAX,
    ) -> None:
        self._reader = reader
        self._versions = dict(versions)
        self._configured = tuple(agreements)
        self._removed = tuple(removed)
        self._piece_minutes_max = piece_minutes_max
        self._late_series_max = late_series_max
        self._progress: MinuteMarks | None = None  # Of the last call.
        self._nothing_at: tuple[MinuteMarks, int] | None = None  # Where the last call found nothing, if it did.
        self._late_left = 0  # Pieces of re-opened series before what is new.
        self._standings: dict[int, Standing] = {}  # By series: of those that were looked at closely.
        self._may_have_forgotten = True  # What is configured changes between runs only.

    def find(self, progress: MinuteMarks) -> Closing | None:
        """Look for what has to be told; None if nothing has happened, or the reader has given up.

        A closing whose `told_before` is not all of the progress is one piece: the next call gives the next one.

        Raises:
            LedgerError: The ledger cannot be read.
        """
        try:
            seen = progress, self._reader.data_version()
            if seen == self._nothing_at:
                return None
            closing = self._find(progress)
        except ReadingStopped:
            return None
        self._nothing_at = seen if closing is None else None
        return closing

    def _find(self, progress: MinuteMarks) -> Closing | None:
        with self._reader.snapshot():
            look = Look(self._reader, self._configured, self._removed, self._versions, progress, self._standings)
            stopped = look.next_stopped() if self._may_have_forgotten else None
            closing = self._find_changed(look) if stopped is None else look.stopped(*stopped)
            if closing is not None:
                self._standings.clear()
                return closing
            if progress != self._progress:
                # What comes late meanwhile, however much, must not keep what is new from being told.
                self._progress, self._late_left = progress, look.late_series_count() // self._late_series_max
            if self._late_left > 0:
                self._late_left -= 1
                return look.late_told(self._late_series_max)
            closing = look.advanced(self._piece_minutes_max, may_have_forgotten=self._may_have_forgotten)
            self._may_have_forgotten &= closing is None
            return closing

    def _find_changed(self, look: Look) -> Closing | None:
        changed = look.next_changed_terms()
        if changed is not None:
            return look.terms_changed(*changed)
        retired, brought_back = look.next_change_of_counting()
        if retired:
            return Closing(judged_before=None, sealed_before=None, retired=tuple(retired.items()))
        if brought_back:
            return look.brought_back(brought_back[:BROUGHT_BACK_MAX])
        changes = look.next_exclusion_changes()
        return look.exclusions_changed(changes) if changes else None
