"""Windows of time that do not count as downtime: which are accepted, which minutes they cover (clauses 12 to 14).

Exclusion by what a span shows is the classifier's matter; here are the windows that only people know of.

Dimensions:
    n_minutes: consecutive minutes from `start_minute` on.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from zoneinfo import ZoneInfo

import numpy as np

from otel_sla.arrays import BoolArray
from otel_sla.sla.agreement import Agreement, ExclusionReason, ExclusionTerms, ExclusionWindow
from otel_sla.sla.downtime import JudgedMinutes, MinuteState, is_state
from otel_sla.sla.months import MinuteRange
from otel_sla.sla.series import Series


class Refusal(Enum):
    """Why a window is kept and reported, but excludes nothing."""

    NOTICE_TOO_SHORT = "notice_too_short"
    WITHDRAWN = "withdrawn"  # It was recorded and taken back (clause 15).


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Who took an exclusion back, when and why (clause 15)."""

    change: int
    withdrawn_by: str
    withdrawn_at: datetime  # Aware.
    why: str
    figures_before: Mapping[str, object] | None  # JSON values.


@dataclass(frozen=True, slots=True)
class ExclusionRecord:
    """One exclusion recorded at run time (clauses 13 and 15); never deleted."""

    exclusion_id: int
    change: int  # Number of the change that recorded it; changes are numbered from 1 without gaps.
    agreement: str
    window: ExclusionWindow  # With recorded_by and recorded_at.
    figures_before: Mapping[str, object] | None  # JSON values.
    withdrawal: Withdrawal | None


def last_change(records: Iterable[ExclusionRecord]) -> int:
    """Give the number of the last recording or withdrawal; 0 if there was none."""
    changes = (record.change if record.withdrawal is None else record.withdrawal.change for record in records)
    return max(changes, default=0)


def latest_announcement(start: datetime, terms: ExclusionTerms, time_zone: str) -> date:
    """Give the last local date on which maintenance from `start` on can be announced in time (clause 14)."""
    start_date = np.datetime64(start.astimezone(ZoneInfo(time_zone)).date(), "D")
    holidays = np.array(terms.holidays, dtype="datetime64[D]")
    latest_date = np.busday_offset(start_date, -terms.notice_business_days_min, roll="backward", holidays=holidays)
    return date.fromisoformat(str(latest_date))


def find_refusal(window: ExclusionWindow, terms: ExclusionTerms, time_zone: str) -> Refusal | None:
    """Give why a window that was not withdrawn is refused; None if it is accepted.

    Clause 14: scheduled maintenance needs `notice_business_days_min` business days between the local dates of its
    announcement and of its start. A start on a day that is none rolls back to the business day before it.
    """
    if window.reason is not ExclusionReason.SCHEDULED_MAINTENANCE:
        return None
    if window.announced_at is None:
        return Refusal.NOTICE_TOO_SHORT
    announced_date = window.announced_at.astimezone(ZoneInfo(time_zone)).date()
    is_in_time = announced_date <= latest_announcement(window.start, terms, time_zone)
    return None if is_in_time else Refusal.NOTICE_TOO_SHORT


def is_in_scope(window: ExclusionWindow, group: Mapping[str, str]) -> bool:
    """Whether a window of the series' agreement is meant for its group (`Series.group_text`), or for all."""
    return window.group is None or dict(window.group) == group


def windows_of_no_series(
    agreements: Iterable[Agreement], all_series: Iterable[Series]
) -> Iterator[tuple[Agreement, ExclusionWindow]]:
    """Give configured windows that exclude nothing: their group is none of `group_by`, nor of any series so far."""
    known = [(series.agreement, series.group_text) for series in all_series]
    for agreement in agreements:
        for window in agreement.exclusions.windows:
            group = dict(window.group or ())
            is_former = window.group is not None and set(group) != set(agreement.group_by)
            if is_former and (agreement.name, group) not in known:
                yield agreement, window


def accepted_windows(
    windows: Iterable[ExclusionWindow], terms: ExclusionTerms, time_zone: str
) -> tuple[ExclusionWindow, ...]:
    """Give those of the windows that exclude (clause 14)."""
    return tuple(window for window in windows if find_refusal(window, terms, time_zone) is None)


def excluded_minutes(
    accepted: Iterable[ExclusionWindow], group: Mapping[str, str], start_minute: int, stop_minute: int
) -> BoolArray:
    """Mark the minutes that some window covers whole (clause 13): bool[n_minutes], owned by the caller.

    `accepted` are the agreement's windows; those of other groups than `group` (`Series.group_text`) are left out.
    """
    excluded = np.zeros(stop_minute - start_minute, dtype=np.bool_)
    for window in accepted:
        first_minute, end_minute = window.minutes
        if first_minute < stop_minute and end_minute > start_minute and is_in_scope(window, group):
            excluded[max(0, first_minute - start_minute) : end_minute - start_minute] = True
    return excluded


def covered_from(accepted: Iterable[ExclusionWindow], group: Mapping[str, str], epoch_minute: int) -> int | None:
    """Give the first minute of the windows that cover a minute of a series; None: none does."""
    starts = (
        window.minutes.start_minute
        for window in accepted
        if window.minutes.start_minute <= epoch_minute < window.minutes.stop_minute and is_in_scope(window, group)
    )
    return min(starts, default=None)


def minutes_saved(accepted: Iterable[ExclusionWindow], judged: JudgedMinutes, minutes: MinuteRange) -> list[int]:
    """Count the minutes within `minutes` that each window took out of downtime (clauses 13 and 15).

    They are down raw and excluded after. A minute that several windows cover counts for the first of them, so that the
    windows' minutes add up to what they saved together. The windows, in the order of time, are those that exclude and
    are meant for the series, and `judged` are its states by them.
    """
    windows = list(accepted)
    if not windows:
        return []
    start_minute = min(max(minutes.start_minute, judged.start_minute), judged.stop_minute)
    part = judged.part(start_minute, max(start_minute, min(minutes.stop_minute, judged.stop_minute)))
    saved = is_state(part.raw, MinuteState.DOWN) & is_state(part.adjusted, MinuteState.EXCLUDED)
    found = []
    for window in windows:
        covered = window.minutes
        of_window = saved[max(0, covered.start_minute - start_minute) : max(0, covered.stop_minute - start_minute)]
        found.append(int(np.count_nonzero(of_window)))
        of_window[:] = False
    return found
