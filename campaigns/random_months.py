"""Whole random months as counts: traffic, silence and windows at the edges of months, of days and of clock changes."""

import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import agreements
import naive

from otel_sla.sla.agreement import Agreement, Counting, ExclusionWindow

# Local months whose clocks change, in either direction, by an hour or by half of one; and some without.
MONTHS = {
    "America/New_York": ("2026-03", "2026-11"),
    "Australia/Lord_Howe": ("2026-04", "2026-10"),
    "Africa/Casablanca": ("2026-02", "2026-03", "2027-02"),
    "Asia/Kolkata": ("2026-10", "2028-02"),
    "Europe/Berlin": ("2026-03", "2026-10"),
    "UTC": ("2026-02", "2028-02"),
}
COUNTS = (
    *([20, 0, 0], [19, 1, 0], [18, 2, 1], [18, 1, 0], [0, 1, 0], [1, 0, 0], [1, 1, 3], [0, 5, 0], [71, 29, 0]),
    *([95, 5, 0], [94, 6, 0], [0, 0, 4], [5, 5, 5], [2999, 1, 0], [0, 20, 0], [10**7, 10**6, 10**6]),
)


@dataclass(frozen=True, slots=True)
class MonthCase:
    """Agreements, what was counted, the windows that were recorded, and the moment of the report."""

    source: str  # The call that gives it.
    is_packed: bool  # Whether the ledger holds the past packed.
    agreements: tuple[Agreement, ...]
    series: dict[naive.SeriesKey, naive.MinuteCounts]
    recorded: tuple[tuple[str, ExclusionWindow, bool], ...]  # Agreement, window, whether it was withdrawn.
    months: tuple[str, ...]
    grace: timedelta
    now: int  # ns since the Unix epoch.

    @property
    def moment(self) -> datetime:
        """The moment of the report."""
        return naive.EPOCH + timedelta(microseconds=self.now // 1000)

    @property
    def standing(self) -> dict[str, tuple[ExclusionWindow, ...]]:
        """The recorded windows that were not withdrawn, by agreement."""
        names = {name for name, _, _ in self.recorded}
        return {
            name: tuple(window for owner, window, is_withdrawn in self.recorded if owner == name and not is_withdrawn)
            for name in names
        }


def random_month(seed: int) -> MonthCase:
    """One month; zones and months take turns, all else is drawn."""
    rng = random.Random(seed)
    zone = list(MONTHS)[seed % len(MONTHS)]
    month = MONTHS[zone][seed // len(MONTHS) % len(MONTHS[zone])]
    minutes = naive.month_minutes(month, zone)
    anchors = [minutes.start, minutes.stop, *_clock_changes(minutes, zone), rng.choice(minutes), rng.choice(minutes)]
    terms = tuple(_random_terms(rng, number, zone, anchors) for number in range(rng.choice((1, 1, 2))))
    series: dict[naive.SeriesKey, naive.MinuteCounts] = {}
    for agreement in terms:
        for service in rng.sample((b"chat-1", b"chat-2", b"tools"), rng.choice((1, 1, 2))):
            group = tuple((key, service) for key in agreement.group_by)
            series[agreement.name, group] = _random_counts(rng, anchors, minutes)
    recorded = tuple(
        (agreement.name, _random_window(rng, agreement.group_by, anchors), rng.random() < 0.3)
        for agreement in terms
        for _ in range(rng.choice((0, 0, 1, 3)))
    )
    grace = timedelta(seconds=rng.choice((0, 60, 90)))
    now_minute = rng.choice((minutes.stop + rng.randrange(4), minutes.stop + 4000, rng.choice(anchors) + 300))
    seconds = rng.choice((0, 29, 30, 59))
    return MonthCase(
        source=f"random_month({seed})",
        is_packed=rng.random() < 0.5,
        agreements=terms,
        series=series,
        recorded=recorded,
        months=(month,),
        grace=grace,
        now=now_minute * naive.NANOS_PER_MINUTE + seconds * 10**9,
    )


def moment_of(minute: int) -> datetime:
    """The start of a minute."""
    return naive.EPOCH + timedelta(minutes=minute)


def _clock_changes(minutes: range, zone: str) -> list[int]:
    """The minutes in which the local clock is set."""
    offsets = {minute: moment_of(minute).astimezone(ZoneInfo(zone)).utcoffset() for minute in minutes[::30]}
    return [minute for minute in minutes[30::30] if offsets[minute] != offsets[minute - 30]]


def _random_terms(rng: random.Random, number: int, zone: str, anchors: list[int]) -> Agreement:
    present = moment_of(rng.choice(anchors))
    agreement = agreements.random_agreement(rng, f"agreement-{number}", present)
    group_by = rng.choice(((), ("service.name",)))
    days = [(present + timedelta(days=offset)).date() for offset in range(-12, 4)]
    exclusions = replace(
        agreement.exclusions,
        holidays=tuple(sorted(rng.sample(days, rng.choice((0, 1, 4))))),
        windows=tuple(_random_window(rng, group_by, anchors) for _ in range(rng.choice((0, 1, 3)))),
    )
    # A second agreement of another zone: its month begins and ends elsewhere in the same counts.
    time_zone = zone if number == 0 else rng.choice(tuple(MONTHS))
    counting = rng.choice(list(Counting))
    terms = replace(agreement, group_by=group_by, exclusions=exclusions, time_zone=time_zone, counting=counting)
    return replace(terms, outcome_rules=rng.choice((1, 2, 2)))


def _random_window(rng: random.Random, group_by: tuple[str, ...], anchors: list[int]) -> ExclusionWindow:
    """A window around an anchor: its notice given some days before, at any hour of the day."""
    start = moment_of(rng.choice(anchors) - rng.choice((0, 1, 7, 60, 1440)))
    start += timedelta(seconds=rng.choice((0, 0, 1, 59)))
    window = agreements._random_window(rng, group_by, start)
    stop = start + timedelta(seconds=rng.choice((30, 60, 61, 599, 7200, 100_000)))
    announced_at = start - timedelta(minutes=rng.randrange(9 * 1440)) if rng.random() < 0.9 else None
    return replace(window, start=start, stop=stop, announced_at=announced_at, recorded_at=stop)


def _random_counts(rng: random.Random, anchors: list[int], minutes: range) -> naive.MinuteCounts:
    """Stretches of like minutes around the anchors, sometimes a day of them, and silence between.

    In some series requests are spared, or of sampled traces.
    """
    counts: naive.MinuteCounts = {}
    kinds = [_with_beside(rng, row) for row in COUNTS] if rng.random() < 0.5 else COUNTS
    for anchor in rng.sample(anchors, rng.randrange(1, len(anchors) + 1)):
        minute = anchor - rng.choice((0, 1, 2, 30, 700))
        for _ in range(rng.choice((1, 3, 8))):
            row = rng.choice(kinds)
            for _ in range(rng.choice((1, 1, 2, 3, 5, 44, 200))):
                counts[minute] = list(row)
                minute += 1
            minute += rng.choice((0, 0, 1, 2, 60))
    if rng.random() < 0.2:
        first = rng.choice(minutes)
        counts.update({minute: list(rng.choice(kinds)) for minute in range(first, first + 1440)})
    return counts


def _with_beside(rng: random.Random, row: list[int]) -> list[int]:
    """The same requests, some spared, some of sampled traces: kept one in a few, in 100,000, or in no whole number."""
    spans = sum(row)
    thresholded = rng.randrange(spans + 1)
    sampled = rng.randrange(thresholded + 1)
    factor = rng.choice((0, 0, 1, 1, 15, 99_999, Fraction(1, 3), Fraction(1, 2**20)))
    # Tail samplers keep the errors whole: mostly the others stand for more than themselves.
    excess = [rng.choice((0, int(requests * factor * 2**20))) if sampled else 0 for requests in row]
    return [*row, rng.randrange(row[0] + 1), sampled, thresholded, *excess]
