"""Windows of time that do not count as downtime: which are accepted, which minutes they cover (clauses 12 to 14).

Exclusion by what a span shows is classification's matter; here are the windows that only people know of.

Dimensions:
    n_minutes: consecutive minutes from `start_minute` on.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from otel_sla.arrays import BoolArray
from otel_sla.sla.agreement import Agreement, ExclusionReason, ExclusionTerms, ExclusionWindow
from otel_sla.sla.downtime import JudgedMinutes, MinuteState, is_state
from otel_sla.sla.months import MinuteRange
from otel_sla.sla.series import Series

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)


class Refusal(Enum):
    """Why a window is kept and reported, but excludes nothing."""

    NOTICE_TOO_SHORT = "notice_too_short"
    WITHDRAWN = "withdrawn"  # It was recorded and taken back (clause 15).


def latest_announcement(start: datetime, terms: ExclusionTerms, time_zone: str) -> date:
    """Give the last local date on which maintenance from `start` on can be announced in time (clause 14)."""
    start_date = np.datetime64(start.astimezone(ZoneInfo(time_zone)).date(), "D")
    holidays = np.array(terms.holidays, dtype="datetime64[D]")
    latest_date = np.busday_offset(start_date, -terms.notice_business_days_min, roll="backward", holidays=holidays)
    return date.fromisoformat(str(latest_date))


def find_refusal(window: ExclusionWindow, terms: ExclusionTerms, time_zone: str) -> Refusal | None:
    """Tell why a window that was not withdrawn is refused; None if it is accepted.

    Clause 14: scheduled maintenance needs `notice_business_days_min` business days between the local date of its
    announcement and that of its start. A start on a day that is none rolls back to the business day before it.
    """
    if window.reason is not ExclusionReason.SCHEDULED_MAINTENANCE:
        return None
    if window.announced_at is None:
        return Refusal.NOTICE_TOO_SHORT
    announced_date = window.announced_at.astimezone(ZoneInfo(time_zone)).date()
    is_in_time = announced_date <= latest_announcement(window.start, terms, time_zone)
    return None if is_in_time else Refusal.NOTICE_TOO_SHORT


def is_accepted(window: ExclusionWindow, terms: ExclusionTerms, time_zone: str) -> bool:
    """Whether the window excludes anything at all (clause 14)."""
    return find_refusal(window, terms, time_zone) is None


def is_in_scope(window: ExclusionWindow, group: Mapping[str, str]) -> bool:
    """Whether the window is meant for the series of this group: for all of the agreement, or for just this one.

    Args:
        window: Of the series' own agreement.
        group: `Series.group_text`.
    """
    return window.group is None or dict(window.group) == dict(group)


def windows_of_no_series(
    agreements: Iterable[Agreement], all_series: Iterable[Series]
) -> Iterator[tuple[Agreement, ExclusionWindow]]:
    """Give configured windows of a group that neither `group_by` makes nor a former one made: they exclude nothing.

    Args:
        agreements: As configured.
        all_series: Of the ledger.
    """
    known = [(series.agreement, series.group_text) for series in all_series]
    for agreement in agreements:
        for window in agreement.exclusions.windows:
            group = dict(window.group or ())
            is_former = window.group is not None and set(group) != set(agreement.group_by)
            if is_former and (agreement.name, group) not in known:
                yield agreement, window


def covered_minutes(window: ExclusionWindow) -> MinuteRange:
    """Give the epoch minutes that the window covers whole (clause 13); may be empty."""
    start_minute = -((_EPOCH - window.start) // _MINUTE)
    stop_minute = (window.stop - _EPOCH) // _MINUTE
    return MinuteRange(start_minute, max(start_minute, stop_minute))


def accepted_windows(
    windows: Iterable[ExclusionWindow], terms: ExclusionTerms, time_zone: str
) -> tuple[ExclusionWindow, ...]:
    """Give those of the windows that exclude."""
    return tuple(window for window in windows if is_accepted(window, terms, time_zone))


class CoveredMinutes(NamedTuple):
    """What one accepted window excludes, worked out once for all series."""

    minutes: MinuteRange
    group: dict[str, str] | None  # None: all series of the agreement.


def all_covered(accepted: Iterable[ExclusionWindow]) -> tuple[CoveredMinutes, ...]:
    """Work out what accepted windows exclude."""
    return tuple(
        CoveredMinutes(covered_minutes(window), None if window.group is None else dict(window.group))
        for window in accepted
    )


def excluded_minutes(
    covered: Iterable[CoveredMinutes], group: Mapping[str, str], start_minute: int, stop_minute: int
) -> BoolArray:
    """Mark the minutes that some window covers whole.

    Args:
        covered: By the accepted windows of the series' agreement (`all_covered`); other groups' are left out.
        group: `Series.group_text`.
        start_minute: Epoch minute of the first element.
        stop_minute: One past the last.

    Returns:
        bool[n_minutes], owned by the caller.
    """
    excluded = np.zeros(stop_minute - start_minute, dtype=np.bool_)
    for (first_minute, end_minute), of_group in covered:
        if first_minute < stop_minute and end_minute > start_minute and of_group in (None, group):
            excluded[max(0, first_minute - start_minute) : end_minute - start_minute] = True
    return excluded


def covered_from(covered: Iterable[CoveredMinutes], group: Mapping[str, str], epoch_minute: int) -> int | None:
    """Give the first minute of the windows that cover a minute of a series; None: none does."""
    starts = (
        minutes.start_minute
        for minutes, of_group in covered
        if minutes.start_minute <= epoch_minute < minutes.stop_minute and of_group in (None, group)
    )
    return min(starts, default=None)


def minutes_saved(accepted: Iterable[ExclusionWindow], judged: JudgedMinutes, minutes: MinuteRange) -> list[int]:
    """Count the minutes within `minutes` that each accepted window took out of downtime (clauses 13 and 15).

    They are down raw and excluded after. A minute that several windows cover counts for the first of them, so that the
    windows' minutes add up to what they saved together.

    Args:
        accepted: Meant for the series, in the order of time.
        judged: The series' states by these windows.
        minutes: Within which to count.
    """
    windows = list(accepted)
    if not windows:
        return []
    start_minute = min(max(minutes.start_minute, judged.start_minute), judged.stop_minute)
    part = judged.part(start_minute, max(start_minute, min(minutes.stop_minute, judged.stop_minute)))
    saved = is_state(part.raw, MinuteState.DOWN) & is_state(part.adjusted, MinuteState.EXCLUDED)
    found = []
    for window in windows:
        covered = covered_minutes(window)
        of_window = saved[max(0, covered.start_minute - start_minute) : max(0, covered.stop_minute - start_minute)]
        found.append(int(np.count_nonzero(of_window)))
        of_window[:] = False
    return found
