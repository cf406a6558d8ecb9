"""Events of a month: its promise is broken, and the figures that it is closed with."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from otel_sla.sla.agreement import Agreement
from otel_sla.sla.downtime import JudgedSeries, MinuteState, is_state
from otel_sla.sla.downtime_events import NewEvents
from otel_sla.sla.events import AttributeValue, Event, Severity, Subject, make_event
from otel_sla.sla.figures_text import counted, minute_text, percent_text, ratio_text, term_percent_text, term_text
from otel_sla.sla.months import MinuteRange, Month, month_range
from otel_sla.sla.uptime import MonthFigures, downtime_minutes_allowed


@dataclass(frozen=True, slots=True)
class Promise:
    """What an agreement promises of a calendar month."""

    month: Month
    minutes: MinuteRange  # `months.month_range` of it.
    target: Fraction  # Of the month's minutes, those that may not be down; 0 < target <= 1.
    down_before: int = 0  # Minutes that are down and lie before those that are looked at.

    @classmethod
    def of(cls, agreement: Agreement, month: Month) -> "Promise":
        """Give what `agreement` promises of `month`."""
        return cls(month, month_range(month, agreement.time_zone), agreement.target)

    @property
    def allowed(self) -> int:
        """Minutes that may be down."""
        return downtime_minutes_allowed(self.minutes.n_minutes, self.target)


def breach_event(
    subject: Subject,
    old: JudgedSeries,
    new: JudgedSeries,
    promise: Promise,
    revision: int,
    *,
    was_promised: Promise | None = None,
) -> NewEvents:
    """Give the event, if any, that a month became impossible to meet at some minute, or is possible again.

    `old`, `new` and `revision` are as for `downtime_events.change_events`. `promise` says how many of the month's
    minutes before their start are down; `was_promised` is what `old` was published by, if that was something else.
    """
    was = _breaking_minute(old, was_promised or promise)
    is_now = _breaking_minute(new, promise)
    if was == is_now:
        return NewEvents((), revision)
    is_revision = was is not None or (is_now is not None and is_now < old.judged.stop_minute)
    number = revision + is_revision
    attributes: dict[str, AttributeValue] = {
        "sla.month.name": str(promise.month),
        "sla.month.target": term_text(promise.target),
        "sla.month.minutes": promise.minutes.n_minutes,
        "sla.month.downtime_minutes_allowed": promise.allowed,
        "sla.revision.number": number,
    }
    target = term_percent_text(promise.target)
    if is_now is None:
        assert was is not None, "they differ"
        body = f"{promise.month} can keep its {target} again"
        event = make_event(subject, "sla.target.breach_withdrawn", was + 1, Severity.WARN, body, attributes)
        return NewEvents((event,), number)
    attributes["sla.month.breached_at"] = minute_text(is_now + 1)
    allowed = counted(promise.allowed, "minute")
    body = f"{promise.month} has more than {allowed} of downtime, its {target} cannot be kept"
    # Only moved: no new alarm, but nothing that was published is replaced in silence.
    severity = Severity.ERROR if was is None else Severity.INFO
    return NewEvents((make_event(subject, "sla.target.breached", is_now + 1, severity, body, attributes),), number)


def month_closed_event(
    subject: Subject, month: Month, figures: MonthFigures, revision: int, supersedes: str | None
) -> Event:
    """Give the event of a month whose last minute is sealed, with its figures.

    The agreement is the version that judged the month. `revision` is 0 the first time, and one more each time that the
    figures differ from those published last, by the event with the `uid` that `supersedes` is.
    """
    assert figures.elapsed == figures.total, "a month that runs is not closed"
    assert (supersedes is None) == (revision == 0), "a revision names what it supersedes"
    attributes: dict[str, AttributeValue] = {
        "sla.month.name": str(month),
        "sla.month.start": minute_text(figures.minutes.start_minute),
        "sla.month.stop": minute_text(figures.minutes.stop_minute),
        "sla.month.minutes": figures.total,
        "sla.month.up_minutes": figures.up,
        "sla.month.downtime_minutes": figures.down,
        "sla.month.raw_downtime_minutes": figures.down_raw,
        "sla.month.excluded_minutes": figures.excluded,
        "sla.month.low_traffic_minutes": figures.low_traffic,
        "sla.month.no_data_minutes": figures.no_data,
        "sla.month.data_minutes": figures.with_data,
        "sla.month.requests.valid": figures.valid,
        "sla.month.requests.failed": figures.failed,
        "sla.month.requests.invalid": figures.invalid,
        "sla.month.requests.spared": figures.spans.spared,
        "sla.month.requests.sampled": figures.spans.sampled,
        "sla.month.uptime": ratio_text(figures.monthly_uptime),
        "sla.month.raw_uptime": ratio_text(figures.monthly_uptime_raw),
        "sla.month.coverage": ratio_text(figures.coverage) if figures.coverage is not None else "",
        "sla.month.target": term_text(figures.target),
        "sla.month.downtime_minutes_allowed": figures.downtime_minutes_allowed,
        "sla.month.is_breached": figures.is_breached,
        "sla.revision.number": revision,
    }
    if supersedes is not None:
        attributes["sla.revision.supersedes"] = supersedes
    verb = "closed" if revision == 0 else "closed again"
    body = f"{month} {verb} with {percent_text(figures.monthly_uptime)}, {counted(figures.down, 'minute')} of downtime"
    severity = Severity.WARN if figures.is_breached else Severity.INFO
    return make_event(subject, "sla.month.closed", figures.minutes.stop_minute, severity, body, attributes)


def _breaking_minute(series: JudgedSeries, promise: Promise) -> int | None:
    """Find the epoch minute that is one more down minute of the month than allowed; it is before the first one if the
    minutes before that are too many already.
    """
    judged, allowed = series.judged, promise.allowed - promise.down_before
    if allowed < 0:
        return judged.start_minute - 1
    start = max(0, promise.minutes.start_minute - judged.start_minute)
    stop = max(start, promise.minutes.stop_minute - judged.start_minute)
    down = np.flatnonzero(is_state(judged.adjusted[start:stop], MinuteState.DOWN))
    return judged.start_minute + start + int(down[allowed]) if allowed < len(down) else None
