"""Which terms judge which minute, where an agreement's terms have changed.

A closed month stays judged by the terms that closed it; an open one is judged, as a whole, by those of today. So the
minutes of one series may lie in several *eras*, each judged by terms of its own. What is told of them has to be cut in
the same way, or the events would add up to other figures than the reports.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from otel_sla.arrays import Int64Array
from otel_sla.judging.series_judge import History, Terms, joined, judge
from otel_sla.sla.agreement import Agreement
from otel_sla.sla.counts import parts_of
from otel_sla.sla.downtime import JudgedSeries, SeriesCounts
from otel_sla.sla.months import MinuteRange
from otel_sla.sla.series import Series

AsTold = Callable[[SeriesCounts], SeriesCounts]


@dataclass(frozen=True, slots=True)
class ClosedTerms:
    """Closed months whose terms are not those of today."""

    terms: Terms
    stop_minute: int  # Epoch minute; where the next era starts.


@dataclass(frozen=True, slots=True)
class TermsOverTime:
    """The terms of all minutes of an agreement, as they hold at one time."""

    closed: tuple[ClosedTerms, ...]  # In the order of time; most agreements have none.
    current: Terms

    @property
    def open_minute(self) -> int:
        """The first epoch minute that the current terms judge."""
        return self.closed[-1].stop_minute if self.closed else 0

    def agreement_at(self, epoch_minute: int) -> Agreement:
        """Give the agreement that judges a minute."""
        for era in self.closed:
            if epoch_minute < era.stop_minute:
                return era.terms.agreement
        return self.current.agreement

    def judged(self, counts_of: "CountsOf", minutes: MinuteRange, as_told: AsTold) -> JudgedSeries:
        """Judge minutes, each by its own era's terms, and as many before as a run at their start reaches back.

        Args:
            counts_of: Gives the counts of `minutes` of a series of the agreement, as terms need them.
            minutes: The minutes asked for.
            as_told: Gives the counts that are judged, for those that are held.
        """
        eras = [era for era in self.closed if era.stop_minute > minutes.start_minute]
        pieces: list[JudgedSeries] = []
        cuts: list[int] = []
        for terms, stop_minute in [*((era.terms, era.stop_minute) for era in eras), (self.current, None)]:
            pieces.append(judge(counts_of.series, terms, as_told(counts_of(terms))))
            if stop_minute is None or stop_minute >= pieces[0].judged.stop_minute:
                break
            cuts.append(stop_minute)
        if len(pieces) == 1:
            return pieces[0]
        first = pieces[0].judged
        bounds = zip([first.start_minute, *cuts], [*cuts, first.stop_minute], strict=True)
        return joined([piece.part(start, stop) for piece, (start, stop) in zip(pieces, bounds, strict=True)])


class CountsOf:
    """The counts of one series in a range of minutes, read once for all terms that judge them.

    Args:
        history: Gives the counts.
        series: Whose.
        minutes: The minutes asked for; with as many before as a run at their start reaches back.
    """

    def __init__(self, history: History, series: Series, minutes: MinuteRange) -> None:
        self.series = series
        self._history = history
        self._minutes = minutes
        self._rows: dict[int, Int64Array] = {}  # By the parts of a request.
        self._of_terms: dict[int, SeriesCounts] = {}  # By the identity of terms, which are as large as they are few.

    def __call__(self, terms: Terms) -> SeriesCounts:
        """Give them as the terms need them."""
        if id(terms) not in self._of_terms:
            parts = parts_of(terms.agreement.counting)
            if parts not in self._rows:
                self._rows[parts] = self._history.rows(self.series, parts, self._minutes)
            counts = self._history.counts(self.series, terms, self._minutes.start_minute, self._rows[parts])
            self._of_terms[id(terms)] = counts
        return self._of_terms[id(terms)]


def judged_alike(
    history: History, series: Series, minutes: MinuteRange, sides: Sequence[tuple[TermsOverTime, AsTold]]
) -> list[JudgedSeries]:
    """Judge the same minutes by several eras' terms, from a common start on that cuts no run of either."""
    while True:
        counts_of = CountsOf(history, series, minutes)
        found = [eras.judged(counts_of, minutes, as_told) for eras, as_told in sides]
        start_minute = min(judged.judged.start_minute for judged in found)
        if all(judged.judged.start_minute == start_minute for judged in found):
            return found
        minutes = MinuteRange(start_minute, minutes.stop_minute)
