"""What the delivery stands between: the backlog that the ledger keeps, and the sender that speaks to the backend."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from otel_sla.exporter.refusal import Answer
from otel_sla.ledger.records import RefusedPoints, StoredEvent
from otel_sla.sla.events import Event
from otel_sla.sla.uptime import MinuteFigures


@dataclass(frozen=True, slots=True)
class FigureBatch:
    """Figures to deliver together, and what the cursor becomes when they are delivered."""

    figures: tuple[MinuteFigures, ...]
    exported_before: int | None  # Epoch minute; None: these are minutes that were told again.
    retold_id: int | None  # The last `ledger.records.Retold` in them; None: these are new minutes.


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much lies behind an exporter's cursor, and when the oldest of it happened, ns since the Unix epoch.

    Minutes that are told again are not in it.
    """

    n_events: int = 0
    oldest_event_unix_nano: int | None = None
    n_minutes: int = 0
    oldest_minute_unix_nano: int | None = None  # Its end.


class Backlog(Protocol):
    """What one exporter still has to deliver."""

    async def events(self, limit: int) -> tuple[StoredEvent, ...]:
        """Give the next events behind the cursor."""

    async def last_event(self) -> StoredEvent | None:
        """Give the last event at or before the cursor that is not set aside; None if there is none."""

    async def delivered_events(self, event_id: int) -> None:
        """Move the cursor behind an event."""

    async def set_aside(self, event: StoredEvent, reason: str) -> None:
        """Keep that the backend will never take an event, and move the cursor behind it."""

    async def figures(self, minutes_max: int) -> FigureBatch | None:
        """Give the figures of the next minutes; None if there are none."""

    async def waiting(self) -> Waiting:
        """Count what is behind the cursor."""

    async def delivered_figures(self, batch: FigureBatch, refused: RefusedPoints | None) -> None:
        """Move the cursor behind a batch, and keep what of it the backend will never take."""


class Sender(Protocol):
    """What speaks to the backend. Calls block, on one thread; `close` may be called on another."""

    def send_events(self, events: Sequence[Event]) -> Answer:
        """Send events in one request, or raise `Refused`."""

    def send_figures(self, figures: Sequence[MinuteFigures]) -> Answer:
        """Send the points of minutes in one request, or raise `Refused`."""

    def close(self) -> None:
        """End calls that are under way and close the connections."""
