"""Which terms judge which minute, where an agreement's terms have changed.

A closed month stays judged by the terms that closed it; an open one is judged, as a whole, by those of today. Events
have to be cut in the same way, or they would add up to other figures than the reports.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from otel_sla.judging.series_judge import History, Terms, joined, judge
from otel_sla.sla.agreement import Agreement
from otel_sla.sla.counts import parts_of
from otel_sla.sla.downtime import JudgedSeries, SeriesCounts
from otel_sla.sla.months import MinuteRange
from otel_sla.sla.series import Series

AsPublished = Callable[[SeriesCounts], SeriesCounts]


@dataclass(frozen=True, slots=True)
class ClosedTerms:
    """Closed months whose terms are not those of today."""

    terms: Terms
    stop_minute: int  # Epoch minute; where the next ones start.


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
        for closed in self.closed:
            if epoch_minute < closed.stop_minute:
                return closed.terms.agreement
        return self.current.agreement

    def judged(
        self,
        series: Series,
        minutes: MinuteRange,
        counts_of: Callable[[Terms], SeriesCounts],
        as_published: AsPublished,
    ) -> JudgedSeries:
        """Judge minutes, each by the terms of its month, and as many before as a run at their start reaches back.

        `counts_of` gives their counts, as terms need them (`History.counts`), and `as_published` what of these is
        judged.
        """
        closed = [(each.terms, each.stop_minute) for each in self.closed if each.stop_minute > minutes.start_minute]
        pieces: list[JudgedSeries] = []
        cuts: list[int] = []
        for terms, stop_minute in [*closed, (self.current, None)]:
            pieces.append(judge(series, terms, as_published(counts_of(terms))))
            if stop_minute is None or stop_minute >= pieces[0].judged.stop_minute:
                break
            cuts.append(stop_minute)
        if len(pieces) == 1:
            return pieces[0]
        first = pieces[0].judged
        bounds = zip([first.start_minute, *cuts], [*cuts, first.stop_minute], strict=True)
        return joined([piece.part(start, stop) for piece, (start, stop) in zip(pieces, bounds, strict=True)])


Side = tuple[TermsOverTime, AsPublished]


def judged_alike(history: History, series: Series, minutes: MinuteRange, sides: Sequence[Side]) -> list[JudgedSeries]:
    """Judge the same minutes by the terms of several sides, from a common start on that cuts no run of either."""
    known: dict[tuple[int, int], SeriesCounts] = {}  # By terms, as their identity: they are large and few.

    def counts_of(terms: Terms) -> SeriesCounts:
        key = id(terms), minutes.start_minute
        if key not in known:
            rows = history.rows(series, parts_of(terms.agreement.counting), minutes)
            known[key] = history.counts(series, terms, minutes.start_minute, rows)
        return known[key]

    while True:
        found = [timeline.judged(series, minutes, counts_of, as_published) for timeline, as_published in sides]
        start_minute = min(judged.judged.start_minute for judged in found)
        if all(judged.judged.start_minute == start_minute for judged in found):
            return found
        minutes = MinuteRange(start_minute, minutes.stop_minute)
