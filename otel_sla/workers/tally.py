"""What workers tell of their own work, added up."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Totals:
    """What all workers together have done; the counters never go down."""

    grpc: Counter[str] = field(default_factory=Counter)
    http: Counter[int] = field(default_factory=Counter)
    overloaded: int = 0

    def add(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        """Take up what one worker has done since it told the last time."""
        self.grpc.update({code: count - before["grpc"].get(code, 0) for code, count in now["grpc"].items()})
        self.http.update({int(code): count - before["http"].get(code, 0) for code, count in now["http"].items()})
        self.overloaded += now["overloaded"] - before["overloaded"]


NOTHING: dict[str, Any] = {
    "grpc": {},
    "http": {},
    "overloaded": 0,
    "in_flight_bytes": 0,
    "rss_bytes": 0,
    "cpu_s": 0.0,
}
