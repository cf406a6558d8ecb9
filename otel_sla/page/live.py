"""What the pipeline answers when its page asks: the ring's newest minutes, and how the pipeline does.

Dimensions:
    n_rows: (series, minute) pairs with a request among the newest minutes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from otel_sla.arrays import Int64Array
from otel_sla.receiver.responses import Readiness

LIVE_MINUTES = 5  # The running one, and those before it.


@dataclass(frozen=True, slots=True)
class LiveMinutes:
    """Requests of the newest minutes as the ring holds them; nothing of it is judged."""

    newest_minute: int  # Epoch minute: the running one, by the pipeline's clock.
    series_id: Int64Array  # int64[n_rows].
    epoch_minute: Int64Array  # int64[n_rows].
    outcomes: Int64Array  # int64[n_rows, 3], requests. Columns as in agreement.Outcome.


@dataclass(frozen=True, slots=True)
class LiveState:
    """What the pipeline knows and the ledger does not."""

    minutes: LiveMinutes
    now_unix_nano: int
    readiness: Readiness
    newest_span_unix_s: Mapping[str, float | None] = field(default_factory=dict)  # By agreement.
    points: tuple[tuple[str, Mapping[str, str], float], ...] = ()  # Self-metrics but histograms: name, attributes.
