"""Which version of an agreement's terms counted which minutes (clause 22), found as counts are written."""

from collections.abc import Iterable, Iterator, Sequence

from otel_sla.ledger.records import Commit
from otel_sla.sla.series import Series

_MINUTES_PER_DAY = 1440
_KNOWN_MAX = 65_536


class CountedMinutes:
    """Remembers what is written already, so that a new minute of an agreement is written once, not with each request.

    Args:
        all_series: Of the ledger.
    """

    def __init__(self, all_series: Iterable[Series]) -> None:
        self._agreement_of = {series.series_id: series.agreement for series in all_series}
        self._known: set[tuple[str, int, int]] = set()  # Agreement, version, minute.

    def each_new(self, commit: Commit, rows: Sequence[tuple[int, ...]]) -> Iterator[tuple[str, int, int, int, int]]:
        """Give (agreement, version, day, first minute, last minute) of what a commit adds.

        What was given counts as written: if that transaction fails, this ledger is not written any more.

        Args:
            commit: Its versions and new series.
            rows: (minute, series_id, …) of its counts.
        """
        for series in commit.new_series:
            self._agreement_of[series.series_id] = series.agreement
        if len(self._known) > _KNOWN_MAX:
            self._known.clear()
        for minute, series_id, *_ in rows if commit.versions else ():
            agreement = self._agreement_of[series_id]
            version = commit.versions.get(agreement)
            if version is not None and (agreement, version, minute) not in self._known:
                self._known.add((agreement, version, minute))
                yield agreement, version, minute // _MINUTES_PER_DAY, minute, minute
