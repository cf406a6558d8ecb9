"""Durations, ratios, status codes and times, from text and back.

Each `parse_…` raises ValueError with a message that completes "<path>: …" for people.
"""

import re
import zoneinfo
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Context, Decimal, Inexact, localcontext
from difflib import get_close_matches
from fractions import Fraction

from otel_sla.report.terms import status_ranges
from otel_sla.sla.agreement import SERVER_FAULT_NAMES
from otel_sla.sla.months import YEAR_MAX, YEAR_MIN

_NANOS_PER_S = 10**9
_NANOS_PER_UNIT = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6} | {
    unit: seconds * _NANOS_PER_S for unit, seconds in (("s", 1), ("m", 60), ("h", 3600), ("d", 86400))
}
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h|d)", re.ASCII)
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+", re.ASCII)
_DURATION_NANOS_MAX = 2**63 - 1  # Go's, about 292 years.
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIME_START = re.compile(rf"{_DATE.pattern}[T ]\d{{2}}:\d{{2}}", re.ASCII)
_SPACED_OFFSET = re.compile(r" ([+-]\d{2}:\d{2})$", re.ASCII)
_TEXT_SIZE_MAX = 64  # No honest number is longer; conversion time grows with the square of it.


def parse_duration(text: str) -> float:
    """Read a duration as Go writes them, with `d` for 24 hours besides; gives seconds.

    >>> parse_duration("1h30m"), parse_duration("250ms")
    (5400.0, 0.25)
    """
    if text.strip() == "0":
        return 0.0
    if len(text) > _TEXT_SIZE_MAX or not _DURATION.fullmatch(text):
        unit = f"; did you mean '{text}s'?" if _NUMBER.fullmatch(text) and not text.startswith("-") else ""
        raise ValueError(f"must be a duration such as 90s, 1h30m or 400d, not {text!r}{unit}")
    nanos = sum(Fraction(number) * _NANOS_PER_UNIT[unit] for number, unit in _DURATION_PART.findall(text))
    if nanos > _DURATION_NANOS_MAX:
        raise ValueError(f"must be a duration of less than 106751d, not {text!r}")
    return int(nanos) / _NANOS_PER_S


def format_duration(seconds: float) -> str:
    """Write a duration so that `parse_duration` reads the same.

    >>> format_duration(5400), format_duration(400 * 86400)
    ('1h30m', '400d')
    """
    nanos = round(seconds * _NANOS_PER_S)
    if nanos >= 2 * _NANOS_PER_UNIT["d"] and nanos % _NANOS_PER_UNIT["d"] == 0:
        return f"{nanos // _NANOS_PER_UNIT['d']}d"
    text = ""
    for unit in ("h", "m", "s", "ms", "us", "ns"):
        count, nanos = divmod(nanos, _NANOS_PER_UNIT[unit])
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def parse_ratio(text: str) -> Fraction:
    """Read a ratio exactly, from a percentage or from a number.

    >>> parse_ratio("5%"), parse_ratio("0.05"), parse_ratio("99.9%")
    (Fraction(1, 20), Fraction(1, 20), Fraction(999, 1000))
    """
    number = text.removesuffix("%").strip()
    if len(text) > _TEXT_SIZE_MAX or not _NUMBER.fullmatch(number):
        point = text.replace(",", ".", 1)
        meant = f"; did you mean {point}?" if "," in text and _NUMBER.fullmatch(number.replace(",", ".", 1)) else ""
        raise ValueError(f"must be a percentage such as 5% or a ratio such as 0.05, not {text!r}{meant}")
    value = Fraction(number)
    if text.endswith("%"):
        value /= 100
    elif value > 1:
        raise ValueError(f"must be at most 1, not {text}; did you mean {text}%?")
    if not 0 <= value <= 1:
        raise ValueError(f"must be from 0% to 100%, not {text}")
    return value


def format_ratio(ratio: Fraction) -> str:
    """Write a ratio that came from text as an exact percentage.

    >>> format_ratio(Fraction(999, 1000)), format_ratio(Fraction(1, 20))
    ('99.9%', '5%')
    """
    percent = ratio * 100
    with localcontext(Context(prec=2 * _TEXT_SIZE_MAX, traps=[Inexact])):
        return f"{(Decimal(percent.numerator) / percent.denominator).normalize():f}%"


def parse_status_set(text: str) -> frozenset[int]:
    """Read `500`, `500-599` or `5xx`; only 500 to 599 can fail (clause 4).

    >>> sorted(parse_status_set("502-504"))
    [502, 503, 504]
    """
    match = re.fullmatch(r"(\d{3})(?:\s*-\s*(\d{3}))?|(\d)xx", text.strip(), re.ASCII | re.IGNORECASE)
    if match is None:
        raise ValueError(f"must be an HTTP status such as 500, a range such as 500-504, or 5xx; not {text!r}")
    start = int(match[1] or match[3] + "00")
    last = int(match[2] or match[1] or match[3] + "99")
    if start > last:
        raise ValueError(f"the range {text} is empty: {start} is above {last}")
    if start < 500 or last > 599:
        raise ValueError(f"only 500 to 599 can fail, not {text}: a 4xx is the client's fault, the rest succeeded")
    return frozenset(range(start, last + 1))


def format_status_set(statuses: frozenset[int]) -> list[str]:
    """Write status codes as the shortest list of ranges.

    >>> format_status_set(frozenset({500, 502, 503}))
    ['500', '502-503']
    """
    if statuses == frozenset(range(500, 600)):
        return ["5xx"]
    return status_ranges(statuses)


def parse_grpc_status(text: str) -> int:
    """Read a gRPC code, by its name in any writing or by its number; only the server's faults can fail (clause 4).

    >>> parse_grpc_status("INTERNAL"), parse_grpc_status("DeadlineExceeded"), parse_grpc_status("14")
    (13, 4, 14)
    """
    written = text.strip().replace("_", "").upper()
    for code, name in SERVER_FAULT_NAMES.items():
        if written in (str(code), name.replace("_", "")):
            return code
    *most, last = SERVER_FAULT_NAMES.values()
    raise ValueError(
        f"only {', '.join(most)} and {last} can fail, not {text!r}: any other code is the client's fault or a success"
    )


def format_grpc_status_set(codes: Iterable[int]) -> list[str]:
    """Write gRPC codes by their names."""
    return [SERVER_FAULT_NAMES[code] for code in sorted(set(codes))]


def parse_time(text: str) -> datetime:
    """Read an ISO 8601 time; without an offset it is naive, for the agreement's zone to settle.

    The times that reports and lists show can be given as they stand there.

    >>> parse_time("2026-11-06 20:00 +05:30").isoformat()
    '2026-11-06T20:00:00+05:30'
    """
    written = re.sub(" UTC$", "Z", _SPACED_OFFSET.sub(r"\1", text))
    try:
        time = datetime.fromisoformat(written if _TIME_START.match(written) else "")
    except ValueError as error:
        example = "2026-11-06T20:00:00Z or 2026-11-06T20:00 (local)"
        raise ValueError(f"must be a time such as {example}, not {text!r}") from error
    if not YEAR_MIN <= time.year <= YEAR_MAX:  # Near datetime's own edges, no other time zone's time can be given.
        raise ValueError(f"must be in one of the years {YEAR_MIN} to {YEAR_MAX}, not {text!r}")
    return time


def parse_date(text: str) -> date:
    """Read an ISO 8601 date."""
    try:
        return date.fromisoformat(text if _DATE.fullmatch(text) else "")
    except ValueError as error:
        raise ValueError(f"must be a date such as 2026-12-25, not {text!r}") from error


def check_zone(name: str) -> str:
    """Return `name` if it is a time zone.

    Raises:
        ValueError: It is none; the message names the nearest.
    """
    # Asked first, as a name with `..` or a folder's name makes ZoneInfo fail in other ways.
    if name in zoneinfo.available_timezones():
        return name
    zones = sorted(zoneinfo.available_timezones())
    by_lower = {zone.lower(): zone for zone in zones}
    by_city = {zone.rpartition("/")[2].lower(): zone for zone in reversed(zones)}
    hint = ""
    for names in (by_city, by_lower):  # The whole name before the city's alone.
        near = get_close_matches(name.strip().lower().replace(" ", "_"), names, n=1, cutoff=0.7)
        hint = f"; did you mean {names[near[0]]!r}?" if near else hint
    raise ValueError(f"must be an IANA time zone, not {name!r}{hint}")


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
    offsets = " or ".join(choice.isoformat().removeprefix(time.isoformat()) for choice in (earlier, later))
    raise ValueError(f"{time.isoformat()} happens twice in {zone}, where clocks are put back then; add {offsets}")
