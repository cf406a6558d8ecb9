"""Events to the backend: in the order of the ledger's outbox, each at least once."""

import logging
from collections.abc import Awaitable, Callable, Sequence

from otel_sla.exporter.protocols import Backlog, Sender
from otel_sla.exporter.quarantine import Parcels
from otel_sla.exporter.refusal import Answer
from otel_sla.ledger.records import StoredEvent
from otel_sla.self_metrics import ExporterCounts

_log = logging.getLogger(__name__)

EVENTS_MAX = 100  # In one request.

Call = Callable[[Callable[[], Answer]], Awaitable[Answer]]  # Makes a blocking call of the sender elsewhere.
Clock = Callable[[], float]  # Seconds.


class EventsDelivery:
    """Delivers events, and keeps the books of their parcels."""

    def __init__(self, sender: Sender, backlog: Backlog, call: Call, counts: ExporterCounts, clock: Clock) -> None:
        self._sender = sender
        self._backlog = backlog
        self._call = call
        self._counts = counts
        self._parcels: Parcels[StoredEvent] = Parcels(self._send, self, EVENTS_MAX, clock)

    async def deliver(self) -> bool:
        """Deliver until no event is left.

        Returns:
            False: nothing is left.

        Raises:
            Refused: The rest has to wait.
            LedgerError: It cannot be read or written.
        """
        while stored := await self._backlog.events(EVENTS_MAX):
            await self._parcels.deliver(stored)
        return False

    async def delivered(self, items: Sequence[StoredEvent], answer: Answer) -> None:
        """Implement `parcel.Books`."""
        rejected = min(answer.rejected_count, len(items))
        if rejected:
            # Which ones, the answer does not say, and OTLP forbids to send them again: each is kept with the reason.
            which = "" if rejected == len(items) else f"{rejected} of {len(items)} events, perhaps this one, "
            for item in items:
                await self._backlog.set_aside(item, f"{which}rejected by the backend: {answer.message}")
            _log.warning(
                "%d of %d events were rejected: %s",
                rejected,
                len(items),
                answer.message,
                extra={"action": "events_rejected"},
            )
        else:
            await self._backlog.delivered_events(items[-1].event_id)
        if answer.is_sent:
            self._counts.events.note_success()
            self._counts.sent_log_records += len(items) - rejected
        self._counts.send_failed_log_records += rejected

    async def set_aside(self, item: StoredEvent, reason: str) -> None:
        """Implement `parcel.Books`."""
        await self._backlog.set_aside(item, reason)
        self._counts.send_failed_log_records += 1
        _log.error(
            "event %d (%s) is set aside, the backend will not take it: %s",
            item.event_id,
            item.event.name,
            reason,
            extra={"action": "event_set_aside"},
        )

    async def find_witness(self, later: Sequence[StoredEvent]) -> Sequence[StoredEvent]:  # noqa: ARG002
        """Implement `parcel.Books`: one of those that follow would overtake, so it is one of before this process."""
        event = await self._backlog.last_event()
        return () if event is None else (event,)

    async def _send(self, stored: Sequence[StoredEvent]) -> Answer:
        events = [item.event for item in stored]
        return await self._call(lambda: self._sender.send_events(events))
