"""Closes minutes: finds what has become old enough to judge, and what follows from it.

Takes a snapshot of the ledger and how far time has come; gives one `Closing`, which the writer makes durable as a
whole.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from otel_sla.judging.clock import MinuteMarks
from otel_sla.judging.judging_pass import SERIES_PER_SNAPSHOT_MAX, JudgingPass
from otel_sla.judging.series_state import SeriesState
from otel_sla.ledger.reader import LedgerReadings, ReadingStopped
from otel_sla.ledger.records import Closing
from otel_sla.sla.agreement import Agreement

# Series times minutes that are judged in one go: some 100 MB while they are read, some tenths of a second.
PIECE_MINUTES_MAX = 250_000
# Re-opened series that are published in one go: an acknowledgement waits for that to be written.
LATE_SERIES_MAX = 256


class Judge:
    """Finds what to publish, a bounded piece at a time. Remembers nothing that the ledger does not say; on one thread.

    What it remembers of series in trouble (`series_state`) keeps each pass short; any change of the past drops it.
    Changes of the past are published first, then late spans, then what is new.

    Args:
        reader: A reading connection of its own.
        agreements: As configured.
        versions: The ledger's version of each one's terms, by name; of those removed too.
        removed: Those that are no longer configured, by their last terms. They stay judged (clause 22).
        piece_minutes_max: Series times minutes of one piece.
        late_series_max: Series of one piece, where many were re-opened.
        series_per_snapshot_max: Series that are judged in one snapshot of the ledger.
    """

    def __init__(  # noqa: PLR0913 - three are limits, which tests set lower.
        self,
        reader: LedgerReadings,
        agreements: Sequence[Agreement],
        versions: Mapping[str, int],
        removed: Sequence[Agreement] = (),
        *,
        piece_minutes_max: int = PIECE_MINUTES_MAX,
        late_series_max: int = LATE_SERIES_MAX,
        series_per_snapshot_max: int = SERIES_PER_SNAPSHOT_MAX,
    ) -> None:
        self._reader = reader
        self._states: dict[int, SeriesState] = {}  # By series: of those that were looked at closely.
        self._begin_pass = partial(
            JudgingPass,
            reader,
            tuple(agreements),
            tuple(removed),
            versions,
            states=self._states,
            series_per_snapshot_max=series_per_snapshot_max,
        )
        self._piece_minutes_max = piece_minutes_max
        self._late_series_max = late_series_max
        self._progress: MinuteMarks | None = None  # Of the last call.
        self._nothing_at: tuple[MinuteMarks, int] | None = None  # Where the last call found nothing, if it did.
        self._late_left = 0  # Pieces of re-opened series before what is new.
        self._may_have_missed = True  # What is configured changes between runs only.

    def find(self, progress: MinuteMarks) -> Closing | None:
        """Give what has to be published; None if nothing has happened, or the reader has given up.

        A closing whose `published_before` is not all of the progress is one piece: the next call gives the next one.

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
            found = self._begin_pass(progress)
            closing = (found.stopped() if self._may_have_missed else None) or found.changed()
            if closing is not None:
                self._states.clear()
                return closing
            if progress != self._progress:
                # Late spans, however many, must not keep new minutes from being published.
                self._progress, self._late_left = progress, len(found.late_series()) // self._late_series_max
            if self._late_left > 0:
                self._late_left -= 1
                return found.late_judged(self._late_series_max)
            closing = found.advanced(self._piece_minutes_max, may_have_missed=self._may_have_missed)
            self._may_have_missed &= closing is None
            return closing
