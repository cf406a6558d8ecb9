"""Time zones by their IANA names, and local times in them."""

import zoneinfo
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches


def check_zone(name: str) -> str:
    """Return `name` if it is a time zone.

    Raises:
        ValueError: It is none; the message names the nearest.
    """
    # Asked first, as a name with `..` or a folder's name makes ZoneInfo fail in other ways.
    if name in zoneinfo.available_timezones():
        return name
    raise ValueError(f"must be an IANA time zone, not {name!r}{_nearest(name)}")


def _nearest(name: str) -> str:
    zones = sorted(zoneinfo.available_timezones())
    by_lower = {zone.lower(): zone for zone in zones}
    by_city = {zone.rpartition("/")[2].lower(): zone for zone in reversed(zones)}
    wanted = name.strip().lower().replace(" ", "_")
    near = get_close_matches(wanted, by_lower, n=1, cutoff=0.7)
    if near:
        return f"; did you mean {by_lower[near[0]]!r}?"
    near = get_close_matches(wanted, by_city, n=1, cutoff=0.7)
    return f"; did you mean {by_city[near[0]]!r}?" if near else ""


def settle_time(time: datetime, zone: str) -> datetime:
    """Give an aware time; one without an offset is local to `zone`.

    Raises:
        ValueError: The local time does not exist there, or happens twice, as clocks are changed.
    """
    if time.tzinfo is not None:
        return time
    earlier = time.replace(tzinfo=zoneinfo.ZoneInfo(zone), fold=0)
    later = time.replace(tzinfo=zoneinfo.ZoneInfo(zone), fold=1)
    if earlier.utcoffset() == later.utcoffset():
        return earlier
    if earlier.astimezone(UTC).astimezone(earlier.tzinfo).replace(tzinfo=None) != time:
        raise ValueError(f"{time.isoformat()} does not exist in {zone}, where clocks are put forward then")
    offsets = " or ".join(_offset_text(choice.utcoffset()) for choice in (earlier, later))
    raise ValueError(f"{time.isoformat()} happens twice in {zone}, where clocks are put back then; add {offsets}")


def _offset_text(offset: timedelta | None) -> str:
    assert offset is not None, "an aware time has an offset"
    minutes = int(offset.total_seconds() // 60)
    sign = "-" if minutes < 0 else "+"
    return f"{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
