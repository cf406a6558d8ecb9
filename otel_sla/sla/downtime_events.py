"""Events of a series: those by which what was published of it becomes what is judged now.

They are the difference of two judgements, so that whoever adds up all events has the last one, however often the past
was revised (docs/events.md has the rule for adding up, and all attributes).

What is published is a *stretch*: a maximal run of minutes that are down raw and have one adjusted state. A stretch that
is down adjusted too is a downtime period that counts. The others, excluded or too short a remnant beside an exclusion,
have event names of their own, so that nobody is woken by them. Stretches that adjoin make one raw downtime period.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import numpy as np

from otel_sla.arrays import BoolArray, Int8Array
from otel_sla.sla.agreement import Outcome
from otel_sla.sla.counts import exact_sum
from otel_sla.sla.downtime import JudgedMinutes, JudgedSeries, MinuteState, is_state, runs
from otel_sla.sla.events import AttributeValue, Event, Severity, Subject, make_event, make_id
from otel_sla.sla.figures_text import minute_text

_NOT_DOWN = -1


class Cause(Enum):
    """Why something that was published is something else now."""

    LATE_SPANS = "late_spans"
    EXCLUSION_ADDED = "exclusion_added"
    EXCLUSION_WITHDRAWN = "exclusion_withdrawn"
    CONFIGURATION = "configuration"


class NewEvents(NamedTuple):
    """The events to publish, in order, and the number of revisions of the series up to now."""

    events: tuple[Event, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Consecutive minutes that are down raw and of one adjusted state."""

    state: MinuteState  # DOWN, EXCLUDED, or UP for a remnant that is too short to count.
    start_minute: int
    stop_minute: int
    is_open: bool  # It reaches the last judged minute.
    valid: int  # Requests; adjusted ones are cut off to whole ones.
    failed: int
    peak_error_rate: float  # In [0, 1]; -1 if no minute has data.

    @property
    def figures(self) -> tuple[int, int, int, float] | None:
        """What is published at its end; None as long as it has none."""
        return None if self.is_open else (self.stop_minute, self.valid, self.failed, self.peak_error_rate)


def change_events(subject: Subject, old: JudgedSeries, new: JudgedSeries, cause: Cause, revision: int) -> NewEvents:
    """Give the events that follow from what a series was published as and what it is now.

    Args:
        subject: The series and its agreement.
        old: As published last, judged anew from the counts of then; without minutes if nothing was published. It is no
            part of `new`: a run that was too short then may have grown since.
        new: Starts with `old` and stops with it or later; no run is cut by its start, and before it nothing differs.
        cause: Why minutes of `old` differ, if any does.
        revision: Number of revisions of the series so far, 0 at first; the one returned is handed in next time. By it
            a fact that is published again after it was taken back is another event.

    Returns:
        Revised minutes first, then stretches in the order of time.
    """
    assert old.judged.start_minute == new.judged.start_minute, "both start together"
    assert old.judged.stop_minute <= new.judged.stop_minute, "what was judged stays judged"
    if not _may_have_events(old, new):
        return NewEvents((), revision)
    revised = _revised(old.judged, new.judged)
    changes = list(_changes(_stretches(old), _stretches(new)))
    published_before = old.judged.stop_minute
    is_revision = bool(revised.any()) or any(change.was_published for change in changes)
    number = revision + is_revision
    mark: dict[str, AttributeValue] = {"sla.revision.number": number}
    cause_mark: dict[str, AttributeValue] = {**mark, "sla.revision.cause": cause.value}
    events = list(_revision_events(subject, revised, old.judged, new.judged, cause_mark))
    for change in sorted(changes, key=_Change.order):
        is_of_the_past = is_revision and change.is_of_the_past(published_before)
        events.extend(_stretch_events(subject, change, cause_mark if is_of_the_past else mark))
    return NewEvents(tuple(events), number)


def _may_have_events(old: JudgedSeries, new: JudgedSeries) -> bool:
    """Whether anything can have happened; the common minute of a series that is up ends here."""
    n_published = len(old.judged.raw)
    return bool(
        is_state(new.judged.raw, MinuteState.DOWN).any()
        or (old.judged.raw != new.judged.raw[:n_published]).any()
        or (old.judged.adjusted != new.judged.adjusted[:n_published]).any()
    )


def _revised(old: JudgedMinutes, new: JudgedMinutes) -> BoolArray:
    """Mark the published minutes whose state is another now, leaving out a run that has only grown (clause 7)."""
    n_published = len(old.raw)
    revised: BoolArray = (old.raw != new.raw[:n_published]) | (old.adjusted != new.adjusted[:n_published])
    if not revised.any() or len(new.raw) == n_published or new.unfiltered[n_published] != MinuteState.DOWN:
        return revised
    is_as_before = (
        is_state(old.unfiltered, MinuteState.DOWN)
        & is_state(new.unfiltered[:n_published], MinuteState.DOWN)
        & (is_state(old.adjusted, MinuteState.EXCLUDED) == is_state(new.adjusted[:n_published], MinuteState.EXCLUDED))
    )
    others = np.flatnonzero(~is_as_before)
    grown = slice(int(others[-1]) + 1 if len(others) else 0, n_published)
    is_less = is_state(old.raw, MinuteState.DOWN) & ~is_state(new.raw[:n_published], MinuteState.DOWN)
    is_less |= is_state(old.adjusted, MinuteState.DOWN) & ~is_state(new.adjusted[:n_published], MinuteState.DOWN)
    revised[grown] &= is_less[grown]
    return revised


def _stretches(series: JudgedSeries) -> list[_Stretch]:
    judged = series.judged
    n_minutes = len(judged.raw)
    states: Int8Array = np.where(is_state(judged.raw, MinuteState.DOWN), judged.adjusted, np.int8(_NOT_DOWN))
    found = []
    for state in (MinuteState.DOWN, MinuteState.EXCLUDED, MinuteState.UP):
        for start, stop in runs(is_state(states, state)).tolist():
            rows = series.counts.counts[start:stop]
            succeeded, failed = rows[:, Outcome.SUCCEEDED], rows[:, Outcome.FAILED]
            valid = succeeded.astype(np.float64) + failed
            has_data = valid > 0
            rates = failed[has_data] / valid[has_data]
            n_failed = exact_sum(failed)
            found.append(
                _Stretch(
                    state=state,
                    start_minute=judged.start_minute + start,
                    stop_minute=judged.start_minute + stop,
                    is_open=stop == n_minutes,
                    valid=(exact_sum(succeeded) + n_failed) // series.counts.parts,
                    failed=n_failed // series.counts.parts,
                    peak_error_rate=float(rates.max(initial=-1.0)),
                )
            )
    return found


class _Change(NamedTuple):
    """One stretch, by its state and first minute, in the old series and in the new one; not the same in both."""

    before: _Stretch | None
    now: _Stretch | None

    @property
    def stretch(self) -> _Stretch:
        stretch = self.now or self.before
        assert stretch is not None, "a change is one of something"
        return stretch

    @property
    def was_published(self) -> bool:
        """Whether its end was published."""
        return self.before is not None and not self.before.is_open

    def order(self) -> tuple[int, bool, int]:
        """Sort key: by time, what goes before what comes."""
        return (self.stretch.start_minute, self.now is not None, self.stretch.state)

    def is_of_the_past(self, published_before: int) -> bool:
        """Whether it changes what was published, rather than going on from it."""
        if self.before is None or self.now is None or self.was_published:
            return self.stretch.start_minute < published_before
        return self.now.stop_minute < published_before


def _changes(old: list[_Stretch], new: list[_Stretch]) -> Iterator[_Change]:
    before = {(stretch.state, stretch.start_minute): stretch for stretch in old}
    for stretch in new:
        earlier = before.pop((stretch.state, stretch.start_minute), None)
        if earlier is None or earlier.figures != stretch.figures:
            yield _Change(earlier, stretch)
    for stretch in before.values():
        yield _Change(stretch, None)


def _revision_events(
    subject: Subject, revised: BoolArray, old: JudgedMinutes, new: JudgedMinutes, mark: dict[str, AttributeValue]
) -> Iterator[Event]:
    """Consecutive minutes of the same change are one event: so is a long outage that is taken back."""
    for start, stop in runs(revised).tolist():
        kinds = np.stack((old.adjusted[start:stop], new.adjusted[start:stop], old.raw[start:stop], new.raw[start:stop]))
        cuts = np.flatnonzero((kinds[:, 1:] != kinds[:, :-1]).any(axis=0)) + 1
        for first, last in zip([0, *cuts.tolist()], [*cuts.tolist(), stop - start], strict=True):
            was, is_now, was_raw, is_raw_now = (MinuteState(state).wire_name for state in kinds[:, first].tolist())
            minute, count = new.start_minute + start + first, last - first
            phrase = "minute" if count == 1 else f"{count} minutes"
            attributes = {
                "sla.minute.start": minute_text(minute),
                "sla.minute.count": count,
                "sla.minute.state": is_now,
                "sla.minute.previous_state": was,
                "sla.minute.raw_state": is_raw_now,
                "sla.minute.previous_raw_state": was_raw,
                **mark,
            }
            body = f"{phrase} from {minute_text(minute)} revised from {was} to {is_now} ({mark['sla.revision.cause']})"
            yield make_event(subject, "sla.verdict.revised", minute, Severity.WARN, body, attributes)


def _stretch_events(subject: Subject, change: _Change, mark: dict[str, AttributeValue]) -> Iterator[Event]:
    stretch = change.stretch
    counts = stretch.state == MinuteState.DOWN
    name, phrase = ("sla.downtime", "downtime") if counts else ("sla.excluded_downtime", "excluded downtime")
    start = minute_text(stretch.start_minute)
    attributes: dict[str, AttributeValue] = {
        "sla.downtime.id": make_id(subject, stretch.state.wire_name, stretch.start_minute),
        "sla.downtime.start": start,
        "sla.minute.state": stretch.state.wire_name,
        **mark,
    }
    if change.now is None:
        body = f"{phrase} of {start} is none any more"
        yield make_event(subject, f"{name}.withdrawn", stretch.start_minute, Severity.WARN, body, attributes)
        return
    if change.before is None or stretch.is_open:
        severity = Severity.ERROR if counts else Severity.INFO
        body = f"{phrase} started at {start}"
        yield make_event(subject, f"{name}.started", stretch.start_minute, severity, body, attributes)
    if not stretch.is_open:
        minutes = stretch.stop_minute - stretch.start_minute
        attributes |= {
            "sla.downtime.stop": minute_text(stretch.stop_minute),
            "sla.downtime.duration": 60 * minutes,
            "sla.downtime.requests.valid": stretch.valid,
            "sla.downtime.requests.failed": stretch.failed,
        }
        if stretch.peak_error_rate >= 0:
            attributes["sla.downtime.peak_error_rate"] = stretch.peak_error_rate
        body = f"{phrase} of {start} ended after {minutes} min, {stretch.failed} of {stretch.valid} requests failed"
        yield make_event(subject, f"{name}.ended", stretch.stop_minute, Severity.INFO, body, attributes)
