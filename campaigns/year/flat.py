"""What must not grow: memory, and the ledger's file once its retention has passed."""

from collections.abc import Mapping, Sequence

RSS_GROWTH_MAX = 1.15
LEDGER_GROWTH_MAX = 1.15
LOG_BYTES_MAX = 64 << 20
_RETAINED_DAYS = 150  # 100 days, and as much as whole months and a week before them take.


def problems_of_sizes(sizes: Sequence[Mapping[str, int]]) -> list[str]:
    """Where the last quarter of the days is larger than those of the same length after the first quarter.

    Of the ledger only where the year is long enough for that: its retention has to pass first.
    """
    found = [f"day {each['day']}: a log of {each['log']} bytes" for each in sizes if each["log"] > LOG_BYTES_MAX]
    quarter = len(sizes) // 4
    if quarter == 0:
        return found
    rss = _growth("rss", sizes[quarter : 2 * quarter], sizes[-quarter:])
    if rss > RSS_GROWTH_MAX:
        found.append(f"memory grew by {rss - 1:.1%}")
    retained = [each for each in sizes if each["day"] >= _RETAINED_DAYS]
    half = len(retained) // 2
    if half > _RETAINED_DAYS // 2:
        ledger = _growth("ledger", retained[:half], retained[half:])
        if ledger > LEDGER_GROWTH_MAX:
            found.append(f"the ledger grew by {ledger - 1:.1%} after its retention")
    return found


def _growth(key: str, before: Sequence[Mapping[str, int]], after: Sequence[Mapping[str, int]]) -> float:
    return max(each[key] for each in after) / max(each[key] for each in before)
