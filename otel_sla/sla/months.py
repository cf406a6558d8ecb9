"""Calendar months in an agreement's time zone, as ranges of epoch minutes (clause 8), and how long they are kept."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

YEAR_MIN = 1970
YEAR_MAX = 9997  # Local midnights and their neighbours stay within what datetime can hold.

# How long counts are kept: a run of down minutes, or a silence, may go over a month's first minute, so a week before it
# is kept too.
_LEAD_MINUTES = 7 * 24 * 60
_WEST_MINUTES = 12 * 60  # No zone is further behind UTC,
_EAST_MINUTES = 14 * 60  # and none further ahead.

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month; which minutes it has depends on the time zone."""

    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> "Month":
        """Read `YYYY-MM`.

        Raises:
            ValueError: It is no such text, or outside the years that can be judged.

        >>> Month.parse("2026-11").next
        Month(year=2026, month=12)
        """
        if not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", text):
            raise ValueError(f"a month is written YYYY-MM, as in 2026-11, not {text!r}")
        year, month = map(int, text.split("-"))
        if not YEAR_MIN <= year <= YEAR_MAX:
            raise ValueError(f"a month is one of the years {YEAR_MIN} to {YEAR_MAX}, not of {text[:4]}")
        return cls(year, month)

    @property
    def next(self) -> "Month":
        """The month after this one."""
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    @property
    def previous(self) -> "Month":
        """The month before this one."""
        return Month(self.year - (self.month == 1), (self.month - 2) % 12 + 1)

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"


class MinuteRange(NamedTuple):
    """Epoch minutes `[start_minute, stop_minute)`."""

    start_minute: int
    stop_minute: int

    @property
    def n_minutes(self) -> int:
        """Minutes in the range."""
        return self.stop_minute - self.start_minute


@lru_cache(maxsize=4096)
def month_range(month: Month, time_zone: str) -> MinuteRange:
    """Give the real minutes between the month's two local midnights (clause 8); those of consecutive months adjoin.

    >>> month_range(Month(2026, 3), "America/New_York").n_minutes
    44580
    """
    zone = ZoneInfo(time_zone)
    return MinuteRange(_first_minute(_first_day(month), zone), _first_minute(_first_day(month.next), zone))


@lru_cache(maxsize=256)
def day_ranges(month: Month, time_zone: str) -> tuple[tuple[date, MinuteRange], ...]:
    """Give the month's local days, each with its real minutes; the ranges adjoin and make up the month's.

    A day has 1,440 minutes unless the clock is changed on it. One that the calendar leaves out is not there.
    """
    zone = ZoneInfo(time_zone)
    first, stop = _first_day(month), _first_day(month.next)
    days = [first + timedelta(days=n) for n in range((stop - first).days)]
    edges = [_first_minute(day, zone) for day in [*days, stop]]
    ranges = map(MinuteRange, edges, edges[1:])
    return tuple((day, minutes) for day, minutes in zip(days, ranges, strict=True) if minutes.n_minutes)


@lru_cache(maxsize=65536)
def month_of(epoch_minute: int, time_zone: str) -> Month:
    """Give the month that a minute falls to: the one whose range holds it."""
    local = _local(epoch_minute, ZoneInfo(time_zone))
    month = Month(local.year, local.month)
    # A clock set back across the first midnight shows the old month's date once more.
    is_over = epoch_minute >= month_range(month, time_zone).stop_minute
    return month.next if is_over else month


def local_date(epoch_minute: int, time_zone: str) -> date:
    """Give the local day that a minute's start falls on."""
    return _local(epoch_minute, ZoneInfo(time_zone)).date()


def months_between(start_minute: int, stop_minute: int, time_zone: str) -> Iterator[Month]:
    """Go through the local months that the epoch minutes `[start_minute, stop_minute)` touch, by time."""
    if start_minute >= stop_minute:
        return
    month, last = month_of(start_minute, time_zone), month_of(stop_minute - 1, time_zone)
    while month != last:
        yield month
        month = month.next
    yield last


def expire_before(oldest_minute: int) -> int:
    """Give the epoch minute before which counts may go, if those from `oldest_minute` on have to be kept.

    Every month that this minute lies in, in whatever time zone, stays whole: one of which some days are gone would be
    judged by what is left, as if the rest had been silent.
    """
    month = month_of(max(0, oldest_minute - _WEST_MINUTES), "UTC")
    return max(0, month_range(month, "UTC").start_minute - _EAST_MINUTES - _LEAD_MINUTES)


def kept_from(expired_before: int) -> int:
    """Give the first epoch minute that can still be judged, by the ledger's `expired_before`."""
    return expired_before + _LEAD_MINUTES if expired_before else 0


def is_kept(month: MinuteRange, expired_before: int) -> bool:
    """Whether all counts are there that a month (`month_range`) is judged by."""
    return month.start_minute >= kept_from(expired_before)


def _first_day(month: Month) -> date:
    return date(month.year, month.month, 1)


def _first_minute(day: date, zone: ZoneInfo) -> int:
    """Find the first whole minute at or after the day's local midnight.

    Of a midnight that exists twice it is the earlier one, of one that the clock jumps over the first minute after it.
    """
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    first = _minute_at_or_after(midnight)
    second = _minute_at_or_after(midnight.replace(fold=1))
    if second >= first:
        return first
    # Inside a jump the offset after it reads an instant before it, and the other way round: the jump lies between.
    before, after = second, first
    while after - before > 1:
        middle = (before + after) // 2
        if _local(middle, zone).date() < day:
            before = middle
        else:
            after = middle
    return after


def _minute_at_or_after(moment: datetime) -> int:
    """Epoch minute that starts at the moment, or the next one; some old offsets have seconds."""
    return -((EPOCH - moment) // _MINUTE)


def _local(epoch_minute: int, zone: ZoneInfo) -> datetime:
    return (EPOCH + epoch_minute * _MINUTE).astimezone(zone)
