"""Figures to the backend: minute after minute, those that were told again after the new ones."""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from otel_sla.exporter.otlp_data import count_points
from otel_sla.exporter.protocols import Backlog, FigureBatch, Sender
from otel_sla.exporter.quarantine import Parcels
from otel_sla.exporter.refusal import Answer, Refused
from otel_sla.ledger.records import RefusedPoints
from otel_sla.self_metrics import ExporterCounts
from otel_sla.sla.uptime import MinuteFigures

_log = logging.getLogger(__name__)

FIGURES_MAX = 200  # In one request: some 3,000 points, 0.3 MB; receivers take 4 MiB by default.
BATCH_FIGURES = 5_000  # About so many are in memory at once, but at least those of one minute.
BATCH_MINUTES_MAX = 60

Call = Callable[[Callable[[], Answer]], Awaitable[Answer]]  # Makes a blocking call of the sender elsewhere.
Clock = Callable[[], float]  # Seconds.


class FiguresDelivery:
    """Delivers figures, and keeps the books of their parcels."""

    def __init__(self, sender: Sender, backlog: Backlog, call: Call, counts: ExporterCounts, clock: Clock) -> None:
        self._sender = sender
        self._backlog = backlog
        self._call = call
        self._counts = counts
        self._parcels: Parcels[MinuteFigures] = Parcels(self._send, self, FIGURES_MAX, clock)
        self._minutes_max = 1
        self._batch: FigureBatch | None = None  # Under way; kept while the backend does not take it.
        self._n_done = 0  # Figures of the batch that were delivered or refused for good.
        self._refused: RefusedPoints | None = None  # Of the batch.

    async def deliver(self) -> bool:
        """Deliver one batch of figures, or what is left of it.

        Returns:
            Whether more may be left. Between batches it is the events' turn.

        Raises:
            Refused: The rest has to wait.
            LedgerError: It cannot be read or written.
        """
        if self._batch is None:
            self._batch = await self._backlog.figures(self._minutes_max)
            self._n_done, self._refused = 0, None
        batch = self._batch
        if batch is None:
            return False
        try:
            await self._parcels.deliver(batch.figures[self._n_done :])
        except Refused:
            if len(batch.figures) == 1:
                # Whether it is the figures or the backend can only be told with others beside them.
                self._batch = None
                self._minutes_max = min(BATCH_MINUTES_MAX, 2 * self._minutes_max)
            raise
        await self._backlog.delivered_figures(batch, self._refused)
        self._batch = None
        self._minutes_max = next_minutes_max(self._minutes_max, len(batch.figures))
        return True

    async def delivered(self, items: Sequence[MinuteFigures], answer: Answer) -> None:
        """Implement `parcel.Books`."""
        self._n_done += len(items)
        if not answer.is_sent:
            return
        self._counts.figures.note_success()
        n_points = sum(map(count_points, items))
        rejected = min(answer.rejected_count, n_points)
        self._counts.sent_metric_points += n_points - rejected
        self._counts.send_failed_metric_points += rejected
        if rejected:
            self._tell_refused(items, rejected, f"{rejected} of {n_points} points were rejected: {answer.message}")

    async def set_aside(self, item: MinuteFigures, reason: str) -> None:
        """Implement `parcel.Books`. The minute stays in the ledger and in every report."""
        self._n_done += 1
        n_points = count_points(item)
        self._counts.send_failed_metric_points += n_points
        self._tell_refused([item], n_points, reason)

    async def find_witness(self, later: Sequence[MinuteFigures]) -> Sequence[MinuteFigures]:
        """Implement `parcel.Books`: points say themselves which minute they are of, so any of them."""
        return later[-1:]

    def _tell_refused(self, items: Sequence[MinuteFigures], n_points: int, reason: str) -> None:
        minutes = [item.epoch_minute for item in items]
        before = self._refused
        if before is None:  # A line per batch: a backend that takes no late points refuses each of them.
            _log.warning("points that the backend will not take: %s", reason, extra={"action": "points_refused"})
        else:
            minutes += [before.first_minute, before.last_minute]
            n_points += before.count
        self._refused = RefusedPoints(n_points, min(minutes), max(minutes), reason, time.time_ns())

    async def _send(self, figures: Sequence[MinuteFigures]) -> Answer:
        return await self._call(lambda: self._sender.send_figures(figures))


def next_minutes_max(minutes_max: int, n_figures: int) -> int:
    """Give how many minutes to read next, so that about BATCH_FIGURES are in memory however many series there are.

    >>> next_minutes_max(4, 100), next_minutes_max(60, 100), next_minutes_max(4, 9_000), next_minutes_max(1, 10_000)
    (8, 60, 2, 1)
    """
    if n_figures > BATCH_FIGURES:
        return max(1, minutes_max // 2)
    return min(BATCH_MINUTES_MAX, 2 * minutes_max) if 2 * n_figures <= BATCH_FIGURES else minutes_max
