"""The remembered state of a series: what judging new minutes has to know of those before them.

Without it each pass over a series that is down would go back to the start of its month, whose down minutes a breach
counts, or of its outage. It is worked out from what was judged, holds as long as nothing of the past changes, and is
worked out anew where it is not known: it says nothing that the ledger does not.
"""

from dataclasses import dataclass, replace

import numpy as np

from otel_sla.sla.agreement import DowntimeTerms, NoData
from otel_sla.sla.downtime import JudgedMinutes, MinuteState, SeriesCounts, is_state, unfiltered_states
from otel_sla.sla.month_events import Promise
from otel_sla.sla.months import MinuteRange


@dataclass(frozen=True, slots=True)
class SeriesState:
    """The state of one series behind the last minute that was published of it."""

    published_before: int  # Epoch minute: one past that minute.
    month: MinuteRange  # That published_before lies in, by the terms that judge it.
    open_minute: int  # Start of the down minutes, before clause 7, that reach published_before; that, if none do.
    down_before: int  # Minutes of the month before open_minute that are down after exclusions.
    down: int  # Those before published_before.
    last: MinuteState  # Of the last minute, before exclusions and clause 7.
    is_down: bool  # The last minute is down after exclusions and clause 7.

    @classmethod
    def of(cls, judged: JudgedMinutes, month: MinuteRange, down_before: int) -> "SeriesState":
        """Give the state behind judged minutes, at least one, whose start cuts no run.

        The minute behind them lies in `month`, of which `down_before` minutes before them are down after exclusions.
        """
        others = np.flatnonzero(~is_state(judged.unfiltered, MinuteState.DOWN))
        open_minute = judged.start_minute + (int(others[-1]) + 1 if len(others) else 0)
        down = judged.start_minute + np.flatnonzero(is_state(judged.adjusted, MinuteState.DOWN))
        first, start_of_run = np.searchsorted(down, (month.start_minute, open_minute)).tolist()
        return cls(
            published_before=judged.stop_minute,
            month=month,
            open_minute=open_minute,
            down_before=down_before + max(0, start_of_run - first),
            down=down_before + len(down) - first,
            last=MinuteState(judged.unfiltered[-1]),
            is_down=bool(judged.adjusted[-1] == MinuteState.DOWN),
        )

    def after_unseen(self, published_before: int, month: MinuteRange) -> "SeriesState":
        """Give the state behind minutes that need not be judged, as it was down in none of them."""
        down = self.down if month == self.month else 0
        # Whether the last one was up or had too few requests was not looked at either.
        return SeriesState(
            published_before, month, published_before, down, down, MinuteState.LOW_TRAFFIC, is_down=False
        )

    def after(
        self, counts: SeriesCounts, terms: DowntimeTerms, promise: Promise, *, is_covered: bool
    ) -> "SeriesState | None":
        """Give the state behind minutes of which nothing is to be published; None: something may be.

        `counts` are of the minutes from published_before on, at least one, and `carried` is filled in here. `promise`
        is of the month that the minute behind them lies in. `is_covered`: exclusions cover any of them.
        """
        was_down, month = self.last is MinuteState.DOWN, promise.minutes
        if self.last is MinuteState.LOW_TRAFFIC and terms.no_data is NoData.CARRY:
            return None
        carried = MinuteState.DOWN if was_down else MinuteState.UP
        states = unfiltered_states(replace(counts, carried=carried), terms)
        is_down = is_state(states, MinuteState.DOWN)
        if not was_down:
            if is_down.any():
                return None
            later = self.after_unseen(counts.stop_minute, month)
            return replace(later, last=MinuteState(states[-1]))
        down = self.down + len(states)
        is_breach = self.down <= promise.allowed < down
        if month != self.month or not (self.is_down and is_down.all()) or is_covered or is_breach:
            return None
        return replace(self, published_before=counts.stop_minute, down=down)
